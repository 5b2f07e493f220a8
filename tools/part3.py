"""
Part 3 of the assignment (2021), answered with measured figures: (a) why pretraining lifts the accuracy, (b) two reasons why fluent made-up
answers are a concern, (c) what the model does with a name that it never read.
"""
import statistics

import analysis
from analysis import Share
from pieces import LABELS, having, name_of, percent, prose, shown, table


def essay(by_data):
    """The lines of the page, with the figures of the first data set that has the pretrained vanilla model."""
    found = [(data, runs) for data, runs in by_data.items() if having(runs, "vanilla.pretrain") and having(runs, "vanilla.nopretrain")]
    if not found:
        return []
    data, runs = found[0]
    return ["## Part 3 of the assignment, answered with these figures", "",
            f"Figures are those of {name_of(data)} where nothing else is said, of the pretrained vanilla model.", "",
            *why_pretraining(runs), *why_concern(runs, by_data), *what_strategy(runs, by_data)]


def accuracy(runs, row):
    return percent(statistics.fmean(c for run in having(runs, row) for c in run.rows[row].correct()))


def why_pretraining(runs):
    shares = analysis.split(runs, "vanilla.pretrain", lambda question, _: question["document"] == "early")
    early, others = shares.get(True, Share(0, 0)), shares.get(False)
    known = runs[0].facts["dev people in finetuning"]
    text = prose(f"""
        Because the answers are in the text that it was pretrained on, and in nothing else that it sees. Of the {len(runs[0].questions)}
        people of the dev questions {known or 'none'} {'is' if known < 2 else 'are'} among those of the finetuning examples, so a model
        that has only these can learn what an answer looks like and how places are spelled, and then has to guess:
        {accuracy(runs, 'vanilla.nopretrain')}. Span corruption asks for a place again and again, given the rest of its document, the name
        first; what links the name to the place is what lowers the loss. Finetuning then need not teach places, only that the question
        asks for them: {accuracy(runs, 'vanilla.pretrain')}. The split says that this is recall: where the place stands within the first
        112 characters of the person's document, {early.count} of {early.total} answers are right ({percent(early.value)})""")
    if others:
        text += prose(f"; where pretraining never reads it there, {others.count} of {others.total} ({percent(others.value)})")
    return [f"**(a) Why does pretraining lift the accuracy?** {text}.", ""]


def why_concern(runs, by_data):
    pairs = analysis.pooled(runs, "vanilla.pretrain")
    wrong = sum(not correct for _, correct in pairs)
    sure = [correct for p, correct in pairs if p > 0.5]
    places = analysis.kinds(runs, "vanilla.pretrain")["in finetuning"].count
    text = prose(f"""
        Of all answers {percent(wrong / len(pairs))} are wrong, and of the wrong ones {percent(places / wrong if wrong else None)} are
        places that are the right answer for somebody else in the finetuning examples: they read no worse than the right ones. Two
        reasons why that is a concern wherever people are shown such answers:""")
    first = prose("""
        *Nobody can check by reading.* A wrong place looks like a right one, so an error is found only by whoever knows already. An
        assistant that fills in a form, a biography or a search result passes it on, and the next text that is learned from may hold
        it.""")
    second = prose(f"""
        *What is sure of itself is believed.* The model gives {len(sure)} of {len(pairs):,} answers a probability above ½, and
        {percent(1 - statistics.fmean(sure) if sure else None)} of these are wrong. Whoever shows only the answer hides even what the model
        knows of its own doubt, and a person who is described wrongly has no way to see why.""")
    return ["**(b) Two reasons why fluent made-up answers are a concern.** " + text, "", f"1. {first}", f"2. {second}", "",
            "The wrong answers with the highest probability, first seed of each:", "", confident_errors(by_data), ""]


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
                lines.append([name_of(data), LABELS[row], question.get("name", f"line {i + 1} of birth_dev.tsv"),
                              shown(run.rows[row].predictions["dev"][i]), f"{answers[i]['probability']:.3f}", question.get("place", "–"),
                              answers[i]["kind"]])
    return table(["data", "", "asked about", "answer", "probability", "true place", "the answer is"], *lines)


def what_strategy(runs, by_data):
    found = analysis.guessing(runs, "vanilla.pretrain")
    most = ", ".join(f"{shown(place)} ({percent(share, 0)})" for place, share in list(found.shares.items())[:3])
    text = prose(f"""
        Asked about {found.asked:,} invented people, it answers all the same: {len(found.shares)} different places, most often {most},
        with a median probability of {found.median_probability:.3f}. What it can go by is the name alone: which places were frequent as answers,
        and which went with names that are spelled alike, the same given name, the same kind of surname.""")
    for data, group in by_data.items():
        if group[0].invented_world and having(group, "vanilla.pretrain"):
            guesses = analysis.guessing(group, "vanilla.pretrain")
            text += prose(f"""
                . On {name_of(data)}, whose probabilities are known, such answers would be right for {percent(guesses.expected)} of the
                people who could bear these names; the best guess that names allow reaches {percent(guesses.best)}.""").removeprefix(".")
    text += " " + prose(f"""
        It is a concern since nothing in the answer says that it is one of these: an answer about somebody whose place it could read has
        a higher probability than one about an invented person in {percent(analysis.told_apart(runs, 'vanilla.pretrain'), 0)} of all pairs
        (half would be no difference). And a guess from the name is a guess from what a name says of origin: people are then described by
        the group that their name suggests, and the rarer their case, the more surely wrongly.""")
    return [f"**(c) What does it do with a name that it never read?** {text}", ""]
