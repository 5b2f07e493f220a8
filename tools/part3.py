"""
Part 3 of the assignment (2021), answered with measured figures: (a) why pretraining lifts the accuracy, (b) two reasons why fluent made-up
answers are a concern, (c) what the model does with a name that it never read.
"""
import statistics

import analysis
from pieces import LABELS, below, counted, having, in_words, name_of, percent, prose, shown, table


ENOUGH = 100  # questions, below which shares say too little


def essay(by_data):
    """
    The lines of the page, with the figures of the first data set that shows what is to be explained: more right answers with pretraining
    than without, beyond the intervals. None if there is no such data set.
    """
    for data, runs in by_data.items():
        if shows_the_lift(runs):
            return ["## Part 3 of the assignment, answered with these figures", "",
                    f"Figures are those of {name_of(data)} where nothing else is said, of the pretrained vanilla model.", "",
                    *why_pretraining(runs), *why_concern(runs, by_data), *what_strategy(runs, by_data)]
    return []


def shows_the_lift(runs):
    before, after = ([run.rows[row].correct() for run in having(runs, row)] for row in ("vanilla.nopretrain", "vanilla.pretrain"))
    if not before or not after or len(runs[0].questions) < ENOUGH or all(map(all, after)):
        return False
    return analysis.accuracy_interval(before)[1][1] < analysis.accuracy_interval(after)[1][0]


def accuracy(runs, row):
    return percent(statistics.fmean(c for run in having(runs, row) for c in run.rows[row].correct()))


def why_pretraining(runs):
    shares = analysis.split(runs, "vanilla.pretrain", lambda question: question["document"] == "early")
    early, others = shares.get(True), shares.get(False)
    known = runs[0].facts["dev people in finetuning"]
    text = prose(f"""
        Because the answers are in the text that it was pretrained on. Of the {len(runs[0].questions)} people of the dev questions
        {known or 'none'} {'is' if known == 1 else 'are'} among those of the finetuning examples, so a model that has only these can learn
        what an answer looks like and how places are spelled, and then has to guess: {accuracy(runs, 'vanilla.nopretrain')}. Span
        corruption asks for a place again and again, given the rest of its document, the name first; what links the name to the place is
        what lowers the loss.
        Finetuning then need not teach who was born where, only what is asked: {accuracy(runs, 'vanilla.pretrain')}.""")
    if early and others:
        recalled = early.interval()[0] > others.interval()[1]
        text += "\n\n" + prose(f"""
            {'The split says that this is recall: where' if recalled else 'Where'} the place stands within the first 112 characters of the
            person's document, {early.count} of {early.total} answers are right ({percent(early.value)}); where pretraining never reads it
            there, whether it stands later or not at all, {others.count} of {others.total} ({percent(others.value)}).""")
    shown_places = analysis.split(runs, "vanilla.pretrain", lambda question: question["finetuning"] > 0)
    if True in shown_places and False in shown_places and shown_places[True].interval()[0] > shown_places[False].interval()[1]:
        yes, no = shown_places[True], shown_places[False]
        text += " " + prose(f"""
            Which places finetuning shows matters, too: of places that are the answer of a finetuning example {percent(yes.value)} are
            recalled, of others {no.count} of {no.total} ({percent(no.value)}).""")
    text += known_before(runs)
    guessed = analysis.expected_of_guesses(runs, "vanilla.pretrain")
    if guessed is not None:
        text += " " + prose(f"""
            By the known probabilities of this world, {percent(guessed)} of the same answers would be right if names were all that the model
            knew.""")
    return [f"**(a) Why does pretraining lift the accuracy?** {text}", ""]


def known_before(runs):
    """That pretraining put it in and finetuning did not, where the figures say so: what the model goes on with before it is ever asked."""
    rungs = analysis.ladder(runs, "vanilla.pretrain")
    if not rungs or not below(rungs["question"], rungs["document"]):
        return ""
    document, own, sentence, question, finetuned = (rungs[rung] for rung in (
        "document", "document_other_own", "sentence", "question", "finetuned_document"))
    text = f"""That the knowledge is there before finetuning can be seen without a question: of the people whose place stands early, the
        pretrained model goes on with it after their own document up to the place for {counted(document)}"""
    if own.total and below(own, document):
        text += f", with another person's name put into the same texts for {counted(own)}: it goes by the name"
    text += f". Of the name alone, in the sentence “NAME. NAME was born in”, it finds {counted(sentence)}"
    if below(question, sentence):
        text += f"; the question that finetuning teaches finds fewer, {counted(question)}."
    elif below(sentence, question):
        text += f"; the question that finetuning teaches finds more, {counted(question)}."
    else:
        text += f", and the question that finetuning teaches as many within the intervals, {counted(question)}."
    by_name = analysis.by_name_alone(runs, "vanilla.pretrain")
    if below(sentence, by_name) and below(question, by_name) and below(by_name, document):
        text += f""" These are other people in part, and with the name in somebody else's document counted in, at least one of three such
            texts finds {counted(by_name)}: the words around a name decide whether it calls up the place."""
    if below(finetuned, document):
        text += f""" Finetuning adds no knowledge of these people, and takes some: after the same documents the finetuned model goes on with
            the place for {counted(finetuned)}."""
    return "\n\n" + prose(text)


def why_concern(runs, by_data):
    pairs = analysis.pooled(runs, "vanilla.pretrain")
    wrong = sum(not correct for _, correct in pairs)
    sure = [correct for p, correct in pairs if p > 0.5]
    places = analysis.kinds(runs, "vanilla.pretrain")["in finetuning"].count
    text = prose(f"""
        Of all answers {percent(wrong / len(pairs))} are wrong, and of the wrong ones at least {percent(places / wrong)} are places that
        are the right answer for somebody else in the finetuning examples: they read no worse than the right ones. Two reasons why that is
        a concern wherever people are shown such answers:""")
    first = prose("""
        *Nobody can check by reading.* A wrong place looks like a right one, so an error is found only by whoever knows already. An
        assistant that fills in a form, a biography or a search result passes it on, and the next text that is learned from may hold
        it.""")
    second = "*What sounds sure is believed.* " + (prose(f"""
        The model gives {len(sure)} of {len(pairs):,} answers a probability above ½, and {percent(1 - statistics.fmean(sure))} of these are
        wrong. """) + " " if sure else "") + prose("""
        Whoever shows only the answer hides even what the model's probability says of doubt, and a person who is described wrongly has no
        way to see why.""")
    return ["**(b) Two reasons why fluent made-up answers are a concern.** " + text, "", f"1. {first}", f"2. {second}", "",
            prose("""The wrong answers with the highest probability, first seed of each. Right is only what has the same words: a part of
            a city is wrong where the city is expected. Names and places of files that are not the project's own are not printed."""), "",
            confident_errors(by_data), ""]


def confident_errors(by_data, count=4):
    """A table of the wrong answers with the highest probability. People of data that are not the project's own go by their line."""
    lines = []
    for data, runs in by_data.items():
        for row in ("vanilla.pretrain", "synthesizer.pretrain"):
            if not having(runs, row):
                continue
            run = having(runs, row)[0]
            answers = run.rows[row].answers
            wrong = [i for i in range(len(answers)) if not answers[i]["correct"]]
            for i in sorted(wrong, key=lambda i: -answers[i]["probability"])[:count]:
                question = run.questions[i]
                lines.append([name_of(data), LABELS[row], question.get("name", f"line {answers[i]['line']} of birth_dev.tsv"),
                              shown(run.rows[row].predictions["dev"][i]), f"{answers[i]['probability']:.3f}", question.get("place", "–"),
                              answers[i]["kind"]])
    return table(["data", "", "asked about", "answer", "probability", "true place", "the answer is"], *lines)


def tells_strangers(runs):
    """Whether an answer's probability tells, in part, invented people from those who could be read of; None if that is unmeasured."""
    found, control = (analysis.told_apart(runs, row) for row in ("vanilla.pretrain", "vanilla.nopretrain"))
    return None if found is None or control is None else found[0] > control[0] + 0.1


def what_strategy(runs, by_data):
    text = "It has the name alone to go by, and how often each place was an answer."
    found = analysis.guessing(runs, "vanilla.pretrain")
    if found is not None:
        most = ", ".join(f"{shown(place)} ({percent(share, 0)})" for place, share in list(found.shares.items())[:3])
        text = prose(f"""
            Asked about {found.asked:,} invented people, it answers all the same: {len(found.shares)} different places, most often {most},
            with a median probability of {found.median_probability:.3f}. It has the name alone to go by, and how often each place was
            an answer.""")
    for data, group in by_data.items():
        guesses = analysis.guessing(group, "vanilla.pretrain") if group[0].invented_world else None
        if guesses is not None:
            follows = guesses.gain_interval[0] > 0
            text += " " + prose(f"""
                On {name_of(data)}, whose probabilities are known, its answers about such people would be right for
                {percent(guesses.expected)} of those who could bear the name (95% interval {in_words(guesses.expected_interval)}), and for
                {percent(guesses.shuffled)} ({in_words(guesses.shuffled_interval)}) if they were dealt out to others of them: it
                {'guesses from the name' if follows else 'cannot be shown to make use of the name'}. The best guess that names allow
                reaches {percent(guesses.best)}.""")
    tells = tells_strangers(runs)
    if tells is not None:
        found, control = (analysis.told_apart(runs, row) for row in ("vanilla.pretrain", "vanilla.nopretrain"))
        text += " " + prose(f"""
            The text of an answer does not show that it is such a guess, and its probability
            {'tells it in part' if tells else 'hardly tells it'}: an answer about somebody whose place could be read has a higher one than an
            answer about an invented person in {percent(found[0], 0)} of all pairs ({in_words(found[1], 0)}), against
            {percent(control[0], 0)} ({in_words(control[1], 0)}) for the model that was not pretrained and so recalls nobody.""")
    rungs, guessed = analysis.ladder(runs, "vanilla.pretrain"), analysis.guessed_though_known(runs, "vanilla.pretrain")
    if rungs and below(rungs["question"], rungs["document"]) and guessed.interval()[0] > 0.5:
        text += "\n\n" + prose(f"""
            Nor need the name be new. Of people whose place the pretrained model goes on with after their own document, {guessed.total:,}
            of {rungs['document'].count:,} are answered wrong, and {percent(guessed.value)} of these answers are answers of finetuning
            examples: where the question does not reach what it has read, it guesses as it does for strangers.""")
    return [f"**(c) What does it do with a name that it never read?** {text} " + prose("""
        It is a concern because a guess from the name is a guess from what a name says of origin: people are described by the group that
        their name suggests, and whoever is the exception to it is described wrongly."""), ""]
