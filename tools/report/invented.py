"""
Answers about invented people, whose names are in no document: does a model guess from the name,
and do the answers' probabilities tell such guesses from recall?

"Pooled" means over the answers of all seeds.
"""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from intervals import DRAWS, Share, higher, higher_interval, mean_interval
from load import having


def by_person(runs, row):
    """The answers about invented people: a list for each person, with the answers of all seeds."""
    found = defaultdict(list)
    for run in having(runs, row):
        for answer in run.rows[row].invented:
            found[answer["question"]].append(answer)
    return list(found.values())


@dataclass
class Guessing:
    """Answers about invented people, pooled."""

    asked: int
    shares: dict  # {place: its share of the answers}, the most frequent first
    median_probability: float
    above_half: float  # share of the answers with a probability above 1/2
    # In an invented world {name: (mean, 95% interval)}, else {}: by_name, the probability that the
    # answer is right; by_any_name, the same after the answers are shuffled among the people; gain,
    # their difference. best: the mean probability of the best guess.
    expected: dict
    best: float | None


def guessing(runs, row):
    """A Guessing; None if the row was not asked about invented people."""
    groups = by_person(runs, row)
    answers = [answer for group in groups for answer in group]
    if not answers:
        return None
    places = Counter(answer["prediction"] for answer in answers)
    probabilities = [answer["probability"] for answer in answers]
    expected, best = {}, None
    if "by_name" in answers[0]:
        best = statistics.fmean(answer["best_guess_probability"] for answer in answers)
        for name, value in (
            ("by_name", lambda answer: answer["by_name"]),
            ("by_any_name", lambda answer: answer["by_any_name"]),
            ("gain", lambda answer: answer["by_name"] - answer["by_any_name"]),
        ):
            numbers = [[value(answer) for answer in group] for group in groups]
            expected[name] = (statistics.fmean(map(value, answers)), mean_interval(numbers))
    return Guessing(
        len(answers),
        {place: count / len(answers) for place, count in places.most_common()},
        statistics.median(probabilities),
        sum(p > 0.5 for p in probabilities) / len(answers),
        expected,
        best,
    )


def told_apart(runs, row, correct):
    """
    How often a right (correct: 1) or wrong (0) answer about a person whose place stands early has
    a higher probability than one about an invented person (the area under the ROC curve), with
    its 95% interval. None without both kinds of answers.
    """
    early = defaultdict(list)
    for run in having(runs, row):
        for number, question in enumerate(run.questions):
            answer = run.rows[row].answers[number]
            if question["document"] == "early" and answer["correct"] == correct:
                early[number].append(answer["probability"])
    early = [early[number] for number in sorted(early)]
    invented = [[answer["probability"] for answer in one] for one in by_person(runs, row)]
    if not early or not invented:
        return None
    return higher(sum(early, []), sum(invented, [])), higher_interval(early, invented)


@dataclass
class SameName:
    """Pairs of invented people with the same first name: how often both get the same answer."""

    same: Share
    by_chance: float  # the expected share if the answers are shuffled among all invented people
    most_by_chance: float  # the largest share in DRAWS shuffles


def same_name(runs, row):
    """A SameName of the pairs within each run, pooled; None without pairs."""
    groups = []  # of each run: its answers' places as numbers, and the pairs as two index arrays
    for run in having(runs, row):
        answers = run.rows[row].invented
        names = [answer["question"].removeprefix("Where was ") for answer in answers]
        first = np.array([name.split(" ")[0] for name in names])
        one, other = np.nonzero(np.triu(np.equal.outer(first, first), k=1))
        if len(one):
            places = np.unique([answer["prediction"] for answer in answers], return_inverse=True)[
                1
            ]
            groups.append((places, one, other))
    total = sum(len(one) for _, one, _ in groups)
    if not total:
        return None
    dealt = np.random.RandomState(0)

    def agreeing(shuffle):
        found = ((shuffle(places), one, other) for places, one, other in groups)
        return sum(int(np.sum(places[one] == places[other])) for places, one, other in found)

    by_chance = 0.0
    for places, one, _ in groups:
        counts = np.bincount(places)
        agree = float(np.sum(counts * (counts - 1))) / (len(places) * (len(places) - 1))
        by_chance += len(one) * agree
    most = max(agreeing(dealt.permutation) for _ in range(DRAWS))
    same = Share(agreeing(lambda places: places), total, len(groups))
    return SameName(same, by_chance / total, most / total)
