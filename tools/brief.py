"""What was found, in a few lines at the head of the report: each is said only where the figures, with their intervals, say so."""
import statistics

import analysis
from knowledge import lacks_access
from part3 import accuracy, shows_the_lift
from pieces import below, between, having, name_of, number, percent, prose


def in_brief(by_data):
    """The lines of the section, of the first data set that shows the lift that pretraining gives; none if there is no such data set."""
    for data, runs in by_data.items():
        if shows_the_lift(runs):
            found = [lift(runs), recall(runs), asked(runs), synthesizer(runs), sure(runs), strangers(runs)]
            return ["## In brief", "", prose(f"""Figures are for {name_of(data)} and, where no other model is named, for the pretrained
                vanilla model, the course's GPT. The synthesizer is the same with the course's other attention."""), "",
                    *(f"- {prose(text)}" for text in found if text), ""]
    return []


def lift(runs):
    before, after, other = (f"{accuracy(runs, row)} ({number(len(having(runs, row)), 'seed')})" if having(runs, row) else None
                            for row in ("vanilla.nopretrain", "vanilla.pretrain", "synthesizer.pretrain"))
    _, interval = analysis.accuracy_interval([run.rows["vanilla.pretrain"].correct() for run in having(runs, "vanilla.pretrain")])
    london = runs[0].facts["london"]
    return f"""**Pretraining raises the accuracy** on {len(runs[0].questions)} dev questions from {before} to {after}, 95% interval
        {between(interval)}. {f'The synthesizer reaches {other}.' if other else ''} Always answering London gets
        {percent(london['correct'] / london['total'])}."""


def recall(runs):
    rungs, texts = analysis.ladder(runs, "vanilla.pretrain"), []
    if rungs and rungs["document_other_own"].total and below(rungs["document_other_own"], rungs["document"]):
        texts.append(f"""Given a person's own document up to the place, the pretrained model goes on with the place for
            {percent(rungs['document'].value)} of them; with another name put into the same texts, for
            {percent(rungs['document_other_own'].value)}.""")
    shares = analysis.split(runs, "vanilla.pretrain", lambda question: question["document"] == "early")
    if True in shares and False in shares and below(shares[False], shares[True]):
        texts.append(f"""Where the place stands in what pretraining reads of the document, {percent(shares[True].value)} of
            {shares[True].total} answers are right, elsewhere {percent(shares[False].value)} of {shares[False].total}.""")
    return f"**It recalls what it read.** {' '.join(texts)}" if texts else None


def asked(runs):
    rungs = analysis.ladder(runs, "vanilla.pretrain")
    if not rungs or not below(rungs["question"], rungs["document"]):
        return None
    return f"""**It knows more than it can be asked for.** Of the same people, whose place it knows from the document for
        {percent(rungs['document'].value)}, the question finds {percent(rungs['question'].value)}."""


def synthesizer(runs):
    rows = ("vanilla.pretrain", "synthesizer.pretrain")
    if not all(analysis.ladder(runs, row) for row in rows):
        return None
    (name, question), (others_name, others_question) = (
        (analysis.by_name_alone(runs, row), analysis.ladder(runs, row)["question"]) for row in rows)
    if not lacks_access((name, question), (others_name, others_question)):
        return None
    return f"""**The synthesizer has read as much, but is harder to ask.** One at least of three texts with a person's name brings up the
        place for {percent(others_name.value)} (vanilla: {percent(name.value)}), the question for {percent(others_question.value)}
        ({percent(question.value)})."""


def sure(runs):
    pairs = analysis.pooled(runs, "vanilla.pretrain")
    told = analysis.ranking_interval(analysis.by_question(runs, "vanilla.pretrain"))
    above = [correct for probability, correct in pairs if probability > 0.5]
    surest = analysis.at_coverage(analysis.coverage_curve(pairs), 0.05)
    if surest is None or told is None or told[0] <= 0.5:
        return None
    right, (low, high) = analysis.accuracy_interval([run.rows["vanilla.pretrain"].correct() for run in having(runs, "vanilla.pretrain")])
    claimed, count = statistics.fmean(probability for probability, _ in pairs), round(surest[0] * len(pairs))
    claims = " but overconfident" if claimed > high else " but underconfident" if claimed < low else ""
    interval = analysis.Share(round(surest[1] * count), count, len(having(runs, "vanilla.pretrain"))).interval()
    wrong = f", and of {len(above)} answers with a probability above ½ {percent(1 - statistics.fmean(above))} are wrong" if above else ""
    return f"""**Its probabilities are informative{claims}.** Of its {count} most probable answers {percent(surest[1])} are right (95%
        interval {between(interval)}), of all {percent(right)}; its mean probability is {percent(claimed)}{wrong}."""


def strangers(runs):
    found = analysis.guessing(runs, "vanilla.pretrain")
    right, wrong = (analysis.told_apart(runs, "vanilla.pretrain", correct) for correct in (1, 0))
    if found is None or right is None or wrong is None:
        return None

    def than(apart):
        return "less probable than" if apart[1][0] > 0.5 else "more probable than" if apart[1][1] < 0.5 else "as probable as"

    people = number(len(analysis.by_person(runs, "vanilla.pretrain")), "invented name")
    return f"""**It answers about people who do not exist.** Asked about {people}, it gives
        {number(len(found.shares), 'different answer')}, {than(right)} its right answers about people whom it could read of (AUROC
        {right[0]:.2f}) and {than(wrong)} its wrong ones ({wrong[0]:.2f})."""
