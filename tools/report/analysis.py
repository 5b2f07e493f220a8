"""
What the records say: where answers are right, what the models complete, calibration, kinds of
answers and beam search. invented.py and logs.py have the rest.

All of it is computed from the Runs of one data set. Nothing here reads the data or runs a model.
"Pooled" means over the questions of all seeds.
"""

import random
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from intervals import Share
from load import having, rows_in

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus")]
from dataset import CharCorruptionDataset  # noqa: E402
from documents import READ  # noqa: E402
from recipe import RECIPES  # noqa: E402

SHORTEST = 4  # pretraining cuts a document to a length from here to READ, all equally likely


def answers_of(runs, row):
    """The row's answers to the dev questions, pooled."""
    return [answer for run in having(runs, row) for answer in run.rows[row].answers]


# ---- where answers are right -----------------------------------------------------------------

# Where a person's document has the place: the column `document` of dev.questions.tsv.
OFFERED = {
    "early": f"place within the first {READ} characters of the document",
    "late": f"place only after character {READ}",
    "absent": "place not in the document",
    "none": "no document",
}
# Among which characters of the document the place ends, if pretraining reads it.
ENDS = ((1, READ // 2), (READ // 2 + 1, READ * 3 // 4), (READ * 3 // 4 + 1, READ))


def share_right(runs, row, among):
    """The Share of right answers, pooled, to the questions for which among(question) holds."""
    right = [
        answer["correct"]
        for run in having(runs, row)
        for question, answer in zip(run.questions, run.rows[row].answers, strict=True)
        if among(question)
    ]
    return Share(sum(right), len(right), max(1, len(having(runs, row))))


def offers(place):
    return lambda question: question["document"] == place


def ends_among(first, last):
    return lambda question: (
        question["document"] == "early" and first <= question["place_end"] <= last
    )


def in_finetuning(question):
    return question["finetuning"] > 0


def not_in_finetuning(question):
    return not in_finetuning(question)


# Groups of people whose place stands early.
EARLY_GROUPS = {
    **{f"ends among characters {first}–{last}": ends_among(first, last) for first, last in ENDS},
    "is an answer in the finetuning examples": in_finetuning,
    "is in no finetuning example": not_in_finetuning,
}


def splits(runs):
    """[(what the data offer, {row: Share right})], of the groups that have questions."""

    def guessed(question):
        return question["best_guess"] == question["place"]

    groups = [(OFFERED["early"], offers("early"))]
    for first, last in ENDS:
        groups += [
            (f"… of these, ending among characters {first}–{last}", ends_among(first, last))
        ]
    groups += [(OFFERED[place], offers(place)) for place in ("late", "absent", "none")]
    groups += [
        ("place is an answer in the finetuning examples", in_finetuning),
        ("place is in no finetuning example", not_in_finetuning),
    ]
    if runs[0].invented_world:
        groups += [
            ("best guess from the name alone is right", guessed),
            ("best guess from the name alone is wrong", lambda question: not guessed(question)),
        ]
    return [
        (name, {row: share_right(runs, row, among) for row in rows_in(runs)})
        for name, among in groups
        if any(map(among, runs[0].questions))
    ]


def early_shares(runs, row, among):
    """
    Of the people whose place stands early and for whose question among() holds, the Shares that
    are answered right and known from the own document, and, of those known, answered right.
    """

    def of(person):
        return among(person["facts"])

    return (
        share_of(runs, row, "question", of),
        share_of(runs, row, "document", of),
        share_of(runs, row, "question", lambda person: person["document"] and of(person)),
    )


def mean_read(runs, among):
    """
    The mean of read_whole() over these people; None if there are none, or if the recipe does not
    pretrain by span corruption.
    """
    if RECIPES[runs[0].facts["recipe"]].dataset is not CharCorruptionDataset:
        return None
    early = (one for one in runs[0].questions if one["document"] == "early" and among(one))
    return (
        statistics.fmean(ends)
        if (ends := [read_whole(one["place_end"]) for one in early])
        else None
    )


def read_whole(end):
    """The share of pretraining's epochs that read a place to its end, for one that ends there."""
    return (READ + 1 - max(end, SHORTEST)) / (READ + 1 - SHORTEST)


# ---- what the models complete ----------------------------------------------------------------

# What a model gets to complete: the columns of ROW.recall.tsv, and the question itself.
RUNGS = (
    "document",
    "document_other_own",
    "document_other_other",
    "sentence",
    "question",
    "finetuned_document",
    "finetuned_sentence",
)


def people(runs, row):
    """
    For each run with completions, a list of the people whose place stands early. Each is a dict of
    the rungs (1, 0, or None where it cannot be asked); "facts", the question's; and "name", 1 if
    one of the three texts that know only the name yields the place: the sentence, the question, or
    the previous person's document with this name in it.
    """
    found = []
    for run in having(runs, row):
        completions = run.rows[row].recall
        asked = {
            answer["line"]: {"facts": question, "question": answer["correct"]}
            for question, answer in zip(run.questions, run.rows[row].answers, strict=True)
        }
        of_run = [{**line, **asked[line["line"]]} for line in completions]
        for person, before in zip(of_run, completions[-1:] + completions, strict=False):
            texts = (person["sentence"], person["question"], before["document_other_other"])
            person["name"] = int(1 in texts)
        found += [of_run] if of_run else []
    return found


def share_of(runs, row, holds, among=lambda person: True):
    """The Share of people() for whom a rung holds, of those that it was asked of and `among`."""
    found = people(runs, row)
    of = [person for run in found for person in run if among(person) and person[holds] is not None]
    return Share(sum(person[holds] for person in of), len(of), max(1, len(found)))


def ladder(runs, row):
    """{rung: its Share}, pooled; {} without completions."""
    return {rung: share_of(runs, row, rung) for rung in RUNGS} if people(runs, row) else {}


def crossed(runs, row, given, then):
    """Of the people for whom the rung `given` yields the place, the Share for whom `then` does."""
    return share_of(runs, row, then, lambda person: person[given])


# ---- calibration -----------------------------------------------------------------------------


def pooled(runs, row):
    """[(probability, correct)] of the row's dev answers, the most probable first."""
    pairs = [(answer["probability"], answer["correct"]) for answer in answers_of(runs, row)]
    return sorted(pairs, key=lambda pair: -pair[0])


def by_question(runs, row):
    """The same in groups: for each question the pairs of all seeds."""
    answers = [run.rows[row].answers for run in having(runs, row)]
    return [
        [(answer["probability"], answer["correct"]) for answer in of_one]
        for of_one in zip(*answers, strict=True)
    ]


def reliability(pairs, bins=10, seeds=1):
    """
    [(mean probability, Share right)] of bins with equally many answers, the least probable first.
    pairs: see pooled(); seeds: how many it pools.
    """
    rising, found = pairs[::-1], []
    for number in range(bins):
        part = rising[len(rising) * number // bins : len(rising) * (number + 1) // bins]
        if part:
            right = Share(sum(correct for _, correct in part), len(part), seeds)
            found.append((statistics.fmean(probability for probability, _ in part), right))
    return found


def calibration_error(pairs, bins=10):
    """
    The expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599):
    |share right - mean probability|, averaged over all answers. Its bins have equally many answers
    instead of equal width.
    """
    found = reliability(pairs, bins)
    return sum(right.total * abs(right.value - mean) for mean, right in found) / len(pairs)


def calibration_error_by_chance(pairs, bins=10, draws=200):
    """The expected calibration error if exactly these probabilities were perfectly calibrated."""
    draw = random.Random(0).random
    return statistics.fmean(
        calibration_error([(p, int(draw() < p)) for p, _ in pairs], bins) for _ in range(draws)
    )


def coverage_curve(pairs):
    """
    [(coverage, accuracy, threshold)] of a model that answers only at or above a threshold, for
    each probability in turn. Answers of equal probability stand and fall together.
    """
    curve, right = [], 0
    for number, (probability, correct) in enumerate(pairs, start=1):
        right += correct
        if number == len(pairs) or pairs[number][0] < probability:
            curve.append((number / len(pairs), right / number, probability))
    return curve


def at_coverage(pairs, coverage):
    """The point of the coverage curve with the largest coverage up to this one, or None."""
    points = [point for point in coverage_curve(pairs) if point[0] <= coverage + 1e-9]
    return points[-1] if points else None


def at_accuracy(pairs, accuracy):
    """The point with the largest coverage at which accuracy is at least this, or None."""
    points = [point for point in coverage_curve(pairs) if point[1] >= accuracy - 1e-9]
    return points[-1] if points else None


# ---- kinds of answers, beam search -----------------------------------------------------------

KINDS = ("right", "in the document", "in finetuning", "in the corpus", "nowhere", "empty")


def kinds(runs, row):
    """{kind: Share of the row's dev answers}, pooled; record.answer_facts() explains the kinds."""
    counts = Counter(answer["kind"] for answer in answers_of(runs, row))
    return {kind: Share(counts[kind], counts.total(), len(having(runs, row))) for kind in KINDS}


def expected_of_guesses(runs, row):
    """The expected accuracy of the row's dev answers if it knew only names; None if unknown."""
    answers = answers_of(runs, row)
    known = bool(answers) and "by_name" in answers[0]
    return statistics.fmean(answer["by_name"] for answer in answers) if known else None


@dataclass
class BeamChange:
    """Beam search against greedy decoding, in numbers of dev questions."""

    asked: int = 0
    proven: int = 0  # no other answer can be more probable than beam search's
    different: int = 0
    more_probable: int = 0  # of the different ones, beam search's answer is the more probable
    gained: int = 0  # only beam search is right
    lost: int = 0  # only greedy decoding is right


def beam_change(runs, row):
    """A BeamChange, pooled."""
    change = BeamChange()
    for run in having(runs, row):
        one = run.rows[row]
        places = zip(one.predictions["dev"], one.predictions["beam"], strict=True)
        for greedy, beam, (before, after) in zip(one.answers, one.beam, places, strict=True):
            change.asked += 1
            change.proven += beam["proven"]
            change.different += before != after
            more_probable = beam["probability"] > greedy["probability"]
            change.more_probable += before != after and more_probable
            change.gained += beam["correct"] > greedy["correct"]
            change.lost += beam["correct"] < greedy["correct"]
    return change
