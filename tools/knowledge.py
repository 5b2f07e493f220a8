"""The report's sections about what a model has learned, beside what it can be asked for: each claim only where intervals bear it."""
import analysis
from pieces import (LABELS, RUNG_LABELS, below, between, counted, heading, name_of, number, percent, prose, rows_in, table)


def lateness(by_data, row="vanilla.pretrain"):
    """Whether accuracy falls with how late a place stands, in each data set of which the figures tell: how often both ends are read."""
    found = {data: analysis.by_place_end(runs, row) for data, runs in by_data.items()}
    ends = {data: (groups[0], groups[-1]) for data, groups in found.items() if len(groups) > 1}
    falling = {data for data, (first, last) in ends.items() if first.right.interval()[0] > last.right.interval()[1]}
    texts = []
    for data, (first, last) in sorted(ends.items(), key=lambda item: item[0] not in falling):
        if data not in falling and first.right.interval()[1] < last.right.interval()[0]:
            continue  # a rise, of which nothing is known
        what = "accuracy falls with how late a place stands"
        if data not in falling:
            what = "no such fall can be seen"
        text = f"""On {name_of(data)} {what}: of the answers of the row “{LABELS[row]}” {percent(first.right.value)} are right where the
            place ends among characters {first.characters} ({between(first.right.interval())}), {percent(last.right.value)} where it ends
            among characters {last.characters} ({between(last.right.interval())})."""
        closer = data not in falling and any(ends[other][0].read / ends[other][1].read > first.read / last.read for other in falling)
        text += f""" The former are read whole in {percent(first.read, 0)} of pretraining's passes over their document, the latter in
            {percent(last.read, 0)}"""
        text += ": these places stand at more similar positions, so that less of a difference is to be expected." if closer else "."
        if data in falling and first.known.total and below(last.known, first.known):
            groups = found[data]
            text += f""" What stands late is learned less often: from their document the pretrained model knows the place of
                {in_turn(group.known for group in groups)}, from the first of these groups to the last. The question finds
                {in_turn(group.found for group in groups)} of those known."""
        texts.append(prose(text))
    return [" ".join([*texts, "In brackets 95% intervals."]), ""] if falling else []


def in_turn(shares):
    """Several analysis.Shares in a sentence."""
    *most, last = [f"{share.count} of {share.total}" for share in shares]
    return f"{', '.join(most)} and {last}"


def knowledge_section(by_data, plots):
    """What a model goes on with without being asked, beside what it answers; nothing of records that have not measured it."""
    parts = []
    for data, runs in by_data.items():
        ladders = {row: analysis.ladder(runs, row) for row in rows_in(runs)}
        ladders = {row: rungs for row, rungs in ladders.items() if rungs}
        if not ladders:
            continue
        heads = [f"{LABELS[row]} ({number(rungs['document'].seeds, 'seed')})" for row, rungs in ladders.items()]
        lines = [[RUNG_LABELS[rung], *(in_a_cell(rungs[rung]) for rungs in ladders.values())] for rung in analysis.RUNGS]
        crosses = [[name, *(in_a_cell(analysis.crossed(runs, row, given, then)) for row in ladders)] for name, given, then in (
            ("answered right: also known from the document", "question", "document"),
            ("known from the document: answered right", "document", "question"),
            ("found by the sentence: answered right", "sentence", "question"))]
        crosses.append(["all: found by one at least of the sentence, the question and another's document with their name",
                        *(in_a_cell(analysis.by_name_alone(runs, row)) for row in ladders)])
        parts += [heading(data, 4), "",
                  *plots(data, "ladder", "Bars of the share of people with whose place a model goes on, for each text that it is given."),
                  table(["what produces the person's place", *heads], *lines), "",
                  table(["of these people", *heads], *crosses), "",
                  *what_is_known(data, ladders, {row: analysis.by_name_alone(runs, row) for row in ladders})]
    return [] if not parts else ["### What it knows and what it can be asked for", "", prose("""
        A question finds only what can be asked for. What a model has learned of somebody can be measured without asking: it is given a text
        to go on with, character by character the most probable one, and goes on with the place or not (`tools/recall.py`). The people are
        those of the dev questions whose place stands within the first 112 characters of their document. *The sentence* is always the
        same, of the name alone; on the quick corpus it begins with “Entry for”, as the documents do. *Another name*: the full name and
        the last name of the next one of these people in place of the person's own, where both have different places. *Known from the
        document*: the pretrained model goes on with the place after the person's own document. In brackets 95% intervals."""), "", *parts]


def in_a_cell(share):
    return f"{share.count} of {share.total}: {percent(share.value)} ({between(share.interval())})" if share.total else "–"


def what_is_known(data, ladders, by_name):
    """
    What the figures of the rows' ladders say, where their intervals do: a paragraph for the first row that they say something of, and
    for the others what differs from it. by_name: {row: analysis.by_name_alone()}.
    """
    claims = {row: claims_of(rungs, by_name[row]) for row, rungs in ladders.items()}
    paragraphs, first = [], None
    for row, found in claims.items():
        if not found:
            continue
        if first is not None and set(found) == set(claims[first]):
            text = f"The same holds of the row “{LABELS[row]}”."
            other = [sentence for topic, (claim, sentence) in found.items() if claim != claims[first][topic][0]]
            text += " What differs: " * bool(other) + " ".join(other)
        else:
            text = f"On {name_of(data)} the row “{LABELS[row]}” " + " ".join(sentence for _, sentence in found.values())
        if first is not None:
            text += compared(*((ladders[one]["sentence"], by_name[one], ladders[one]["question"]) for one in (first, row)), LABELS[first])
        first = first or row
        paragraphs += [prose(text), ""]
    return paragraphs


def compared(before, now, label):
    """How a row's Shares found by the sentence, by one at least of three texts and by the question compare with those of another row."""
    found = [f"""{'more' if below(one, other) else 'fewer' if below(other, one) else 'as many, within the intervals'} {how}
        ({percent(other.value)} against {percent(one.value)})""" for how, one, other in zip(
            ("by the sentence", "by one at least of the three texts", "by the question"), before, now)]
    text = f" Beside the row “{label}” it finds {', '.join(found)}."
    if lacks_access(before[1:], now[1:]):
        text += " So what it lacks is not knowledge, but that the question calls it up."
    return text


def lacks_access(before, now):
    """Whether a row finds no fewer places by one at least of three texts than another, but fewer by the question; both as Shares."""
    return not below(now[0], before[0]) and below(now[1], before[1])


def claims_of(rungs, by_name):
    """{topic: (which of the possible claims, the sentence that makes it)} of one row, as far as its intervals bear it."""
    document, own, others, sentence, question, finetuned, _ = (rungs[rung] for rung in analysis.RUNGS)
    if document.interval()[0] <= 0.5 or not below(question, document):
        return {}
    found = {"document": (True, f"""has most of these places by heart: after the person's own document up to the place the pretrained
        model goes on with exactly the place of {counted(document)}.""")}
    if own.total and below(own, document):
        other = f", and to that of the person named for {counted(others)}" if below(own, others) else ""
        found["name"] = (bool(other), f"""It goes by the name: with another name put in, the same documents lead to their place for
            {counted(own)}{other}.""")
    if below(sentence, document):
        found["sentence"] = (True, f"""But the name alone calls up less: after a sentence that has nothing else of the person, it is the
            place of {counted(sentence)}.""")
    than = ("fewer than that sentence finds" if below(question, sentence) else "more than that sentence finds" if below(sentence, question)
            else "as many as that sentence finds, within the intervals")
    found["question"] = (than, f"Asked after finetuning, it is right about {counted(question)}, {than}.")
    if all(below(one, by_name) for one in (others, sentence, question) if one.total):
        found["together"] = (True, f"""And not the same people: the sentence, the question and another's document with the name put in
            find together the places of {counted(by_name)}, more than each of them. Whether a name calls up its place depends on
            the text around it, and on the position where it stands; which of the two matters more was not measured.""")
    if below(finetuned, document):
        found["finetuned"] = (True, f"""Finetuning has a price: after the same documents the finetuned model goes on with the place of
            {counted(finetuned)}, so that part of what was known has been overwritten or is no longer reached in this way.""")
    return found
