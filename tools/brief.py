"""What was found, in a few lines at the head of the report: each is said only where the figures, with their intervals, say so."""
import statistics

import analysis
from part3 import accuracy, shows_the_lift, tells_strangers
from pieces import LABELS, below, having, name_of, number, percent, prose


def in_brief(by_data):
    """The lines of the section, of the first data set that shows the lift that pretraining gives; none if there is no such data set."""
    for data, runs in by_data.items():
        if shows_the_lift(runs):
            found = [lift(runs), recall(runs), asked(runs), sure(runs), strangers(runs)]
            return ["## In brief", "", f"Of {name_of(data)}; where no row is named, of the pretrained vanilla model.", "",
                    *(f"- {prose(text)}" for text in found if text), ""]
    return []


def lift(runs):
    rows = [f"{accuracy(runs, row)} by {LABELS[row].replace(',', '')} ({number(len(having(runs, row)), 'seed')})"
            for row in ("vanilla.nopretrain", "vanilla.pretrain", "synthesizer.pretrain") if having(runs, row)]
    london = runs[0].facts["london"]
    return f"""**Reading lifts the accuracy.** Of the {len(runs[0].questions)} dev questions are answered right: {', '.join(rows)}; always
        answering London, {percent(london['correct'] / london['total'])}."""


def recall(runs):
    shares = analysis.split(runs, "vanilla.pretrain", lambda question: question["document"] == "early")
    if True not in shares or False not in shares or not below(shares[False], shares[True]):
        return None
    return f"""**It recalls.** Where the place stands in what pretraining reads of the person's document,
        {percent(shares[True].value)} of the answers are right, elsewhere {percent(shares[False].value)}."""


def asked(runs):
    rungs = analysis.ladder(runs, "vanilla.pretrain")
    if not rungs or not below(rungs["question"], rungs["document"]):
        return None
    return f"""**It knows more than it can be asked for.** Given a person's own document up to the place, the pretrained model goes on with
        the place for {percent(rungs['document'].value)} of them; the question finds {percent(rungs['question'].value)}."""


def sure(runs):
    pairs = analysis.pooled(runs, "vanilla.pretrain")
    told = analysis.ranking_interval(analysis.by_question(runs, "vanilla.pretrain"))
    above = [correct for probability, correct in pairs if probability > 0.5]
    surest = analysis.at_coverage(analysis.coverage_curve(pairs), 0.05)
    if surest is None or told is None or told[0] <= 0.5:
        return None
    right, (low, high) = analysis.accuracy_interval([run.rows["vanilla.pretrain"].correct() for run in having(runs, "vanilla.pretrain")])
    claimed = statistics.fmean(probability for probability, _ in pairs)
    claims = ", but claim too much" if claimed > high else ", but claim too little" if claimed < low else ""
    wrong = f", and of the answers that it gives more than ½, {percent(1 - statistics.fmean(above))} are wrong" if above else ""
    return f"""**Its probabilities tell something{claims}.** Where it is surest, in a twentieth of the questions,
        {percent(surest[1])} of the answers are right, of all {percent(right)}; its mean probability is {percent(claimed)}{wrong}."""


def strangers(runs):
    found, tells = analysis.guessing(runs, "vanilla.pretrain"), tells_strangers(runs)
    if tells is None:
        return None
    people = number(len(analysis.by_person(runs, "vanilla.pretrain")), "invented name")
    return f"""**It answers about people who do not exist.** Asked about {people}, it gives
        {number(len(found.shares), 'different answer')}, and its probability {'tells in part' if tells else 'hardly tells'} that these are
        guesses."""
