"""python -m pytest tests/test_analysis.py

What records say, against published values, counting by plain loops, and simulated experiments whose truth is known.
"""

import itertools
import math
import random
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

import analysis
from analysis import Row, Run, Share, accuracy_interval, student_quantile, wilson
from dataset import CharCorruptionDataset
from recipe import COURSE
from test_report import MACHINE, OFFERS, ROWS, make_questions, write_record
from trainer import learning_rate_factor

Z = statistics.NormalDist().inv_cdf(0.975)


# ---- intervals ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("right, n, low, high", [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                                 (1, 29, 0.0061, 0.1718)])
def test_wilson_is_the_published_interval(right, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3."""
    assert wilson(right / n, n) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 7.5, 40, 500])
@pytest.mark.parametrize("share", [0, 0.05, 1 / 3, 0.5, 0.9, 1])
def test_wilsons_bounds_solve_its_equation(share, n):
    # (share - p)² = z² p (1 - p) / n
    p = sorted(np.roots([1 + Z * Z / n, -2 * share - Z * Z / n, share * share]).real)
    assert wilson(share, n) == pytest.approx(p, abs=1e-6)
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1


def test_of_no_trial_every_share_is_possible():
    assert wilson(0.3, 0) == (0, 1)
    assert math.isnan(Share(0, 0).value) and all(map(math.isnan, Share(0, 0).interval()))
    assert Share(15, 148).interval() == wilson(15 / 148, 148)


def test_a_share_of_several_seeds_counts_each_question_once():
    assert Share(45, 444, 3).interval() == wilson(45 / 444, 148) and Share(45, 444, 3).value == 45 / 444
    assert math.isnan(Share(0, 0, 2).interval()[0])


@pytest.mark.parametrize("freedom, quantile", [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042),
                                               (120, 1.980), (1e6, 1.960)])
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, abs=5.1e-4)


@pytest.mark.parametrize("probability, quantiles", [(0.95, (6.314, 2.920, 2.132)), (0.995, (63.657, 9.925, 4.604))])
def test_students_quantiles_of_other_probabilities(probability, quantiles):
    assert [student_quantile(freedom, probability) for freedom in (1, 2, 4)] == pytest.approx(list(quantiles), abs=5.1e-4)


def students_share(t, freedom, pieces=200_000):
    """P(0 < T < t), from the density without its constant: the midpoint rule after the substitution x = u / (1 - u)."""
    u = (np.arange(pieces) + 0.5) / pieces
    x = u / (1 - u)
    weights = (1 + x * x / freedom) ** (-(freedom + 1) / 2) / (1 - u) ** 2
    return weights[x < t].sum() / weights.sum() / 2


@pytest.mark.parametrize("freedom", [1, 1.01, 1.3, 1.5, 2.5, math.pi, 4.2, 7.7, 19.6, 66.6, 300.5])
def test_students_quantile_has_its_probability_below_it(freedom):
    assert students_share(student_quantile(freedom), freedom) == pytest.approx(0.475, abs=1e-5)


def test_one_seed_has_wilsons_interval():
    correct = [1] * 81 + [0] * 182
    assert accuracy_interval([correct]) == (81 / 263, wilson(81 / 263, 263))
    assert accuracy_interval([[1]]) == (1, wilson(1, 1))


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("right", [0, 1, 30, 79, 80])
def test_seeds_that_answer_alike_tell_no_more_than_one(right, seeds):
    """With Student's t for the variance of 80 questions, which is as good as not known to be a share's."""
    correct = [1] * right + [0] * (80 - right)
    mean, (low, high) = accuracy_interval([correct] * seeds)
    one_low, one_high = wilson(right / 80, 80)
    assert mean == pytest.approx(right / 80)
    assert low <= one_low + 1e-12 and high >= one_high - 1e-12
    assert high - low < 1.035 * (one_high - one_low)
    if 0 < right < 80:
        assert (low, high) == pytest.approx(wilson(right / 80, 79, student_quantile(79)))


def test_seeds_that_err_independently_narrow_the_interval():
    draw = random.Random(1)
    correct = [[int(draw.random() < 0.3) for _ in range(200)] for _ in range(8)]
    mean, (low, high) = accuracy_interval(correct)
    one_low, one_high = wilson(mean, 200)
    assert low < mean < high
    assert 1 / math.sqrt(8) < (high - low) / (one_high - one_low) < 2 / math.sqrt(8)  # the rest, which is all there is here, counts twice


def test_seeds_that_differ_as_a_whole_widen_the_interval():
    correct = [[1] * 60 + [0] * 140, [1] * 20 + [0] * 180, [1] * 100 + [0] * 100]
    mean, (low, high) = accuracy_interval(correct)
    assert mean == pytest.approx(0.3)
    assert high - low > 2 * (wilson(0.3, 200)[1] - wilson(0.3, 200)[0])


def test_the_interval_is_wilsons_for_the_variance_by_mean_squares():
    """
    By the mean squares of an analysis of variance the variance of the mean is (questions + seeds - rest) / (S·Q); the rest is not
    taken off.
    """
    draw = np.random.default_rng(3)
    compared = {}
    for _ in range(60):
        S, Q = draw.integers(2, 6), draw.integers(3, 30)
        seeds = draw.choice([0, 0.2])
        y = (draw.random((S, Q)) < np.clip(0.4 + seeds * draw.standard_normal((S, 1)) + 0.3 * draw.standard_normal(Q), 0, 1)).astype(float)
        mean, by_seed, by_question = y.mean(), y.mean(axis=1, keepdims=True), y.mean(axis=0)
        squares = [S * ((by_question - mean) ** 2).sum() / (Q - 1), Q * ((by_seed - mean) ** 2).sum() / (S - 1)]
        parts = np.array(squares) / (S * Q)
        if parts.sum() > 1e-9 and 0 < mean < 1:
            found, interval = accuracy_interval(y.astype(int).tolist())
            freedom = parts.sum() ** 2 / (parts ** 2 / [Q - 1, S - 1]).sum()
            n = mean * (1 - mean) / parts.sum()
            assert found == pytest.approx(mean)
            assert interval == pytest.approx(wilson(mean, n, student_quantile(freedom)))
            compared[n > Q] = compared.get(n > Q, 0) + 1
    assert sum(compared.values()) > 50 and min(compared[True], compared[False]) > 5, compared


def coverage(seeds, questions, effect, truth, experiments, spread=0.2):
    """In how many of so many experiments the interval holds the truth; effect(size): how much better seeds are than others."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(experiments):
        chance = np.clip(truth + effect(draw, (seeds, 1)) + draw.choice([-spread, spread], questions), 0, 1)
        _, (low, high) = accuracy_interval((draw.random((seeds, questions)) < chance).astype(int).tolist())
        held += low <= truth <= high
    return held / experiments


def test_the_interval_holds_the_truth_in_95_of_100_experiments():
    """Of 12 seeds and 60 questions, both drawn anew each time, each seed and each question better or worse than others."""
    assert 0.935 < coverage(12, 60, lambda draw, size: draw.choice([-0.06, 0.06], size), 0.4, 3000) < 0.97


def test_the_interval_holds_the_truth_about_as_often_with_three_seeds():
    """Of seeds that differ as the public copies of the assignment do, by 4.5 points."""
    assert 0.93 < coverage(3, 200, lambda draw, size: draw.normal(0, 0.045, size), 0.3, 1500) < 0.975


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("S, Q", [(3, 50), (2, 1), (1, 1)])
def test_all_wrong_and_all_right_have_intervals_too(value, S, Q):
    assert accuracy_interval([[value] * Q] * S) == (value, wilson(value, Q))


# ---- intervals by resampling ----------------------------------------------------------------------------------------

def binomial_quantile(probability, n, p):
    """The least number that so many of n trials do not exceed with that probability."""
    below = 0.0
    for k in range(n + 1):
        below += math.comb(n, k) * p ** k * (1 - p) ** (n - k)
        if below >= probability:
            return k


@pytest.mark.parametrize("right, n", [(10, 40), (3, 150), (250, 500)])
def test_of_0_and_1_the_bootstrap_is_the_binomials(right, n):
    """A sample of n with replacement has as many 1 as n trials of the share in it: their quantiles are known."""
    low, high = analysis.mean_interval([[1]] * right + [[0]] * (n - right))
    tails = [[binomial_quantile(tail + change, n, right / n) / n for change in (-0.01, 0.01)] for tail in (0.025, 0.975)]
    assert tails[0][0] <= low <= tails[0][1] < right / n < tails[1][0] <= high <= tails[1][1]


def test_numbers_of_one_group_are_drawn_together():
    """So that seeds that say the same tell no more than one; and of several means the interval is of the same width as by formula."""
    draw = random.Random(1)
    values = [draw.gauss(3, 2) for _ in range(300)]
    low, high = analysis.mean_interval([[value] for value in values])
    assert analysis.mean_interval([[value] * 3 for value in values]) == pytest.approx((low, high))
    half = Z * statistics.pstdev(values) / math.sqrt(300)
    assert (low, high) == pytest.approx((statistics.fmean(values) - half, statistics.fmean(values) + half), abs=0.1 * half)
    uneven = analysis.mean_interval([[0, 0, 0, 0], [1]])  # one drawn twice, or both: of 0 and 1 the mean is 1/5
    assert uneven == (0, 1) and analysis.mean_interval([[0.3, 0.5]]) == (0.4, 0.4)


def test_the_bootstrap_of_pairs_is_that_by_plain_loops():
    """Drawn here person by person, with another generator; ties among the numbers."""
    draw = random.Random(2)
    some = [[round(draw.random() ** 0.5, 1) for _ in range(draw.choice([1, 2, 3]))] for _ in range(25)]
    others = [[round(draw.random(), 1) for _ in range(2)] for _ in range(15)]
    found = []
    for _ in range(3000):
        ours, theirs = ([p for group in draw.choices(groups, k=len(groups)) for p in group] for groups in (some, others))
        found.append(analysis.higher(sorted(ours), sorted(theirs)))
    cuts = statistics.quantiles(found, n=40)
    assert analysis.higher_interval(some, others) == pytest.approx((cuts[0], cuts[-1]), abs=0.012)
    assert cuts[-1] - cuts[0] > 0.1


def test_the_bootstrap_of_pairs_is_as_wide_as_the_formula():
    """
    DeLong, DeLong and Clarke-Pearson 1988: the variance from each number's share of the others that it exceeds. Both sides are as many and
    in order, so that the same draws for both would show.
    """
    draw = random.Random(3)
    some, others = (sorted(draw.gauss(mean, 1) for _ in range(200)) for mean in (0.4, 0))
    of_some = [statistics.fmean(a > b for b in others) for a in some]
    of_others = [statistics.fmean(a > b for a in some) for b in others]
    half = Z * math.sqrt(statistics.variance(of_some) / 200 + statistics.variance(of_others) / 200)
    middle = statistics.fmean(of_some)
    bounds = analysis.higher_interval([[a] for a in some], [[b] for b in others])
    assert bounds == pytest.approx((middle - half, middle + half), abs=0.1 * half)


def test_the_bootstrap_of_a_ranking_draws_a_question_with_all_its_answers():
    """As above by plain loops. Answers of several seeds to one question are alike, right or wrong, so that the groups matter."""
    draw = random.Random(4)
    groups = []
    for _ in range(30):
        skill = draw.random()
        right = int(draw.random() < skill)
        groups.append([(round(0.8 * skill + 0.2 * draw.random(), 1), right if draw.random() < 0.9 else 1 - right) for _ in range(3)])
    found = []
    for _ in range(3000):
        pairs = [pair for group in draw.choices(groups, k=len(groups)) for pair in group]
        found.append(analysis.ranking_quality(pairs))
    cuts = statistics.quantiles(found, n=40)
    assert analysis.ranking_interval(groups) == pytest.approx((cuts[0], cuts[-1]), abs=0.012)
    alone = analysis.ranking_interval([[pair] for group in groups for pair in group])
    assert (cuts[-1] - cuts[0]) - (alone[1] - alone[0]) > 0.02


def test_draws_without_a_right_answer_say_nothing_of_a_ranking(monkeypatch):
    monkeypatch.setattr(analysis, "FEWEST", 1)
    assert analysis.ranking_interval([[(0.9, 1)], *([(p / 10, 0)] for p in range(8))]) == (1, 1)
    assert analysis.ranking_interval([[(0.5, 1), (0.5, 0)]]) == (0.5, 0.5)


def test_few_right_answers_do_not_tell_how_well_answers_are_ranked():
    """Not nine of them, and not ten of nine questions."""
    wrong = [[(p / 100, 0)] for p in range(50)]
    assert analysis.ranking_interval([*wrong, *([(0.9, 1)] for _ in range(10))]) == (1, 1)
    nine = [[(0.9, 1)] for _ in range(9)]
    assert analysis.ranking_interval([*wrong, *nine]) is None and analysis.ranking_interval([*wrong, [(0.9, 1)] * 2, *nine[1:]]) is None
    assert analysis.ranking_interval([[(p / 100, 1)] for p in range(50)]) is None


# ---- a run by hand --------------------------------------------------------------------------------------------------

def answer(probability, correct, kind="right", **more):
    return {"probability": probability, "correct": correct, "kind": kind, **more}


def row_of(answers, beam=None, invented=(), dev=None, beamed=None):
    return Row({}, answers, beam or answers, list(invented), {"dev": dev or [], "beam": beamed or [], "test": []}, {})


def run_of(rows, documents):
    return Run(Path(), {}, [{"document": document} for document in documents], rows)


@pytest.fixture
def two_runs():
    """Two seeds of one row, and one that lacks it."""
    first = row_of([answer(0.9, 1), answer(0.5, 0, "nowhere"), answer(0.5, 1), answer(0.2, 0, "empty")],
                   [answer(0.95, 1, proven=1), answer(0.6, 1, proven=0), answer(0.4, 0, proven=1), answer(0.2, 0, proven=1)],
                   [{"question": name, "prediction": place, "probability": p} for name, place, p in (
                       ("Ann", "London", 0.5), ("Bob", "Rome", 0.1), ("Cid", "London", 0.9))],
                   ["Oslo", "Rom", "Bonn", ""], ["Oslo", "Rome", "Bern", ""])
    second = row_of([answer(0.8, 0, "in finetuning"), answer(0.5, 1), answer(0.3, 0, "in the corpus"), answer(0.1, 0, "in the document")],
                    [answer(0.8, 0, proven=0), answer(0.5, 1, proven=1), answer(0.3, 0, proven=0), answer(0.1, 0, proven=0)],
                    [{"question": "Bob", "prediction": "Paris", "probability": 0.2},
                     {"question": "Ann", "prediction": "London", "probability": 0.8}],
                    ["a", "b", "c", "d"], ["a", "b", "c", "d"])
    documents = ["early", "late", "early", "none"]
    return [run_of({"x": first}, documents), run_of({"x": second}, documents), run_of({"y": first}, documents)]


def test_right_answers_are_counted_by_what_was_offered(two_runs):
    found = analysis.split(two_runs, "x", lambda question: question["document"])
    assert found == {"early": Share(2, 4, 2), "late": Share(1, 2, 2), "none": Share(0, 2, 2)}
    found = analysis.split(two_runs[1:], "x", lambda question: question["document"] == "early")
    assert found == {True: Share(0, 2, 1), False: Share(1, 2, 1)}
    assert analysis.split(two_runs, "z", lambda question: question["document"]) == {}


@pytest.mark.parametrize("end, group", [(1, "1–56"), (56, "1–56"), (57, "57–84"), (84, "57–84"), (85, "85–112"), (112, "85–112")])
def test_how_early_a_place_ends(end, group):
    assert group in analysis.how_early({"document": "early", "place_end": end})
    assert analysis.how_early({"document": "late", "place_end": end}) is None


@pytest.mark.parametrize("end", [1, 4, 5, 30, 56, 100, 111, 112])
def test_how_often_a_place_is_read_whole(end):
    """Counted in what pretraining is given of a document that has its only z there."""
    torch.manual_seed(end)
    dataset = CharCorruptionDataset("a" * (end - 1) + "z" + "a" * (130 - end), COURSE.block_size)
    assert dataset.longest == analysis.LONGEST
    read = np.mean([(torch.cat(dataset[0]) == dataset.stoi["z"]).any().item() for _ in range(3000)])
    assert read == pytest.approx(analysis.read_whole(end), abs=4 * math.sqrt(0.25 / 3000)) and (read == 1) == (end <= 4)


def test_places_by_where_they_end(tmp_path):
    written = [write_record(tmp_path / str(seed), seed=seed, rows=rows) for seed, rows in ((0, ROWS), (1, ROWS[:2]))]
    (runs,) = analysis.load_runs(tmp_path).values()
    questions = make_questions(40, True)
    for row in ROWS:
        having = [record for record in written if row in record]
        expected = []
        for name, ends in (("1–56", (20, 56)), ("57–84", (84,)), ("85–112", (112,))):
            at = [i for i, question in enumerate(questions) if question["document"] == "early" and question["place_end"] in ends]
            right = sum(record[row]["dev"][i]["correct"] for record in having for i in at)
            known = [(record[row]["dev"][i]["correct"], line["document"]) for record in having for i in at for line in record[row]["recall"]
                     if line["line"] == record[row]["dev"][i]["line"]]
            asked = [correct for correct, document in known if document]
            seeds = len(having) if known else 1
            expected.append(analysis.PlaceEnd(
                name, Share(right, len(at) * len(having), len(having)), Share(len(asked), len(known), seeds),
                Share(sum(asked), len(asked), seeds), pytest.approx(statistics.fmean((113 - questions[i]["place_end"]) / 109 for i in at))))
            assert bool(known) == (row != ROWS[0])
        assert analysis.by_place_end(runs, row) == expected
    assert analysis.by_place_end(runs, "z") == []


@pytest.mark.parametrize("invented", [True, False])
def test_the_splits_part_the_questions_in_a_fixed_order(tmp_path, invented):
    """Whatever the order of the questions; each group of splits has every question once, for which it holds."""
    by_order = []
    for number, offers in enumerate((OFFERS, OFFERS[::-1])):
        written = [write_record(tmp_path / f"{number}" / f"{seed}", seed=seed, rows=rows, offers=offers, invented=invented, data="quick")
                   for seed, rows in ((0, ROWS), (1, ROWS[:2]))]
        (runs,) = analysis.load_runs(tmp_path / str(number)).values()
        found = dict(analysis.splits(runs))
        by_order.append(list(found)[:7])
        questions = make_questions(40, True, offers)
        assert all(list(shares) == list(ROWS) for shares in found.values()) and len(found) == 11 - 2 * (not invented)
        for group in (analysis.offered, analysis.how_early, analysis.in_finetuning, *[analysis.best_guess_right] * invented):
            names = [group(question) for question in questions]
            for name in set(names) - {None}:
                at = [i for i in range(40) if names[i] == name]
                for row, shares in found.pop(name).items():
                    having = [record for record in written if row in record]
                    right = sum(record[row]["dev"][i]["correct"] for record in having for i in at)
                    assert shares == Share(right, len(at) * len(having), len(having))
        assert not found
    assert by_order[0] == by_order[1]


def test_what_a_question_offers():
    found = [analysis.offered({"document": document}) for document in ("early", "late", "absent", "none")]
    assert len(set(found)) == 4
    never, once, often = (analysis.in_finetuning({"finetuning": count}) for count in (0, 1, 7))
    assert never != once == often
    guesses = [analysis.best_guess_right({"best_guess": "Hull", "place": place}) for place in ("Hull", "Bonn")]
    assert guesses[0].endswith("right") and guesses[1].endswith("wrong")


def test_answers_are_pooled_the_most_probable_first(two_runs):
    pairs = analysis.pooled(two_runs, "x")
    assert [p for p, _ in pairs] == [0.9, 0.8, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]
    assert sorted(pairs) == sorted([(0.9, 1), (0.5, 0), (0.5, 1), (0.2, 0), (0.8, 0), (0.5, 1), (0.3, 0), (0.1, 0)])


def test_what_is_answered_about_invented_people(two_runs):
    found = analysis.guessing(two_runs, "x")
    assert (found.asked, len(found.shares), found.above_half) == (5, 3, 2 / 5)
    assert list(found.shares.items())[0] == ("London", 3 / 5) and set(found.shares.values()) == {1 / 5, 3 / 5}
    assert found.mean_probability == pytest.approx(0.5) and found.median_probability == 0.5
    assert (found.expected, found.shuffled, found.best) == (None, None, None)
    assert analysis.guessing(two_runs, "z") is None


def test_in_an_invented_world_guesses_have_an_expected_accuracy():
    invented = [{"question": f"{best}", "prediction": "Rome", "probability": 0.5, "by_name": said, "by_any_name": anybodys,
                 "best_guess_probability": best} for said, anybodys, best in ((0.1, 0.05, 0.3), (0.2, 0.01, 0.2), (0, 0.03, 0.4))]
    run = run_of({"x": row_of([answer(0.5, 1, by_name=0.25), answer(0.5, 1, by_name=0.05)], invented=invented)}, ["early"] * 2)
    found = analysis.guessing([run], "x")
    assert (found.expected, found.shuffled, found.best) == (pytest.approx(0.1), pytest.approx(0.03), pytest.approx(0.3))
    assert analysis.expected_of_guesses([run], "x") == pytest.approx(0.15)
    assert found.expected_interval == analysis.mean_interval([[0.1], [0.2], [0]])
    assert found.shuffled_interval == analysis.mean_interval([[0.05], [0.01], [0.03]])
    assert found.gain_interval == pytest.approx(analysis.mean_interval([[0.05], [0.19], [-0.03]]))
    twice = analysis.guessing([run, run], "x")
    assert twice.expected_interval == pytest.approx(found.expected_interval)  # the same people: no more is known


def test_the_shares_of_places_begin_with_the_most_frequent():
    answers = [{"question": "Ann", "prediction": place, "probability": 0.5} for place in "ABBCCCDDDD"]
    for number in range(10):
        random.Random(number).shuffle(answers)
        found = analysis.guessing([run_of({"x": row_of([answer(0.5, 1)], invented=answers)}, ["early"])], "x")
        assert list(found.shares.items()) == [("D", 0.4), ("C", 0.3), ("B", 0.2), ("A", 0.1)]


def test_without_known_probabilities_nothing_is_expected_of_names(two_runs):
    assert analysis.expected_of_guesses(two_runs, "x") is None
    assert analysis.expected_of_guesses(two_runs, "z") is None


@pytest.mark.parametrize("correct, early", [(1, [[0.9], [0.5]]), (0, [[0.8], [0.3]])])
def test_people_read_of_are_told_apart_from_invented_ones_by_probability(two_runs, correct, early):
    numbers, invented = [number for group in early for number in group], [0.5, 0.1, 0.9, 0.2, 0.8]
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(numbers, invented)]
    share, (low, high) = analysis.told_apart(two_runs, "x", correct)
    assert share == pytest.approx(sum(pairs) / len(pairs)) and 0 <= low <= share <= high <= 1
    assert analysis.compared(two_runs, "x", correct) == (early, [[0.5, 0.8], [0.1, 0.2], [0.9]])
    assert analysis.told_apart([run_of({"x": two_runs[0].rows["x"]}, ["late"] * 4)], "x", correct) is None
    assert analysis.told_apart([run_of({"x": row_of([answer(0.5, correct)])}, ["early"])], "x", correct) is None


def test_answers_of_several_seeds_about_one_person_are_a_group(two_runs):
    two_runs[1].rows["x"].answers[0]["correct"] = 1
    assert analysis.compared(two_runs, "x", 1)[0] == [[0.9, 0.8], [0.5]]


def people_named(*names_and_places):
    answers = [{"question": f"Where was {name} born?", "prediction": place, "probability": 0.5} for name, place in names_and_places]
    return run_of({"x": row_of([answer(0.5, 1)], invented=answers)}, ["early"])


def test_people_of_one_first_name_are_compared_within_a_run():
    one = people_named(("Ann Lee", "Rome"), ("Bo Lee", "Rome"), ("Ann Ray", "Rome"), ("Ann", "Oslo"), ("Bo May", "Rome"), ("Annie Lee", "Rome"))
    other = people_named(("Ann Lee", "Paris"), ("Bo Ray", "Bern"), ("Bo Lee", "Bern"))
    found = analysis.same_name([one, other], "x")
    assert found.same == Share(3, 5, 2)  # of the Anns one pair of three, the Bos of either run
    assert found.by_chance == pytest.approx((4 * (5 * 4) / (6 * 5) + 1 * (2 * 1) / (3 * 2)) / 5)
    assert found.by_chance < found.most_by_chance <= 1
    assert analysis.same_name([one], "x").same == Share(2, 4, 1)


def test_chance_agrees_with_all_orders_of_the_answers():
    people = [("Ann", "A"), ("Ann", "A"), ("Ann", "B"), ("Bo", "B"), ("Bo", "C"), ("Cy", "A")]
    names, places = zip(*people)
    pairs = [(0, 1), (0, 2), (1, 2), (3, 4)]
    shares = [statistics.fmean(order[i] == order[j] for i, j in pairs) for order in itertools.permutations(places)]
    found = analysis.same_name([people_named(*people)], "x")
    assert found.by_chance == pytest.approx(statistics.fmean(shares)) and found.most_by_chance == max(shares)
    assert found.same == Share(1, 4, 1)


def test_without_two_of_one_name_nothing_is_compared(two_runs):
    assert analysis.same_name([people_named(("Ann", "A"), ("Bo", "A"))], "x") is None
    assert analysis.same_name([people_named(("Ann", "A"))] * 2, "x") is None  # of two runs: the same person
    assert analysis.same_name(two_runs, "z") is None


def probes(*lines):
    """Lines of ROW.recall.tsv: line, document, other's own, other's other, sentence, after finetuning the document and the sentence."""
    return [dict(zip(("line", *(rung for rung in analysis.RUNGS if rung != "question")), values)) for values in lines]


@pytest.fixture
def probed_runs():
    """Two seeds of four questions, of which those in lines 1, 3 and 4 stand early; a seed that has not measured it; and another row."""
    answers = [{**answer(0.5, correct, kind), "line": line} for line, correct, kind in (
        (1, 1, "right"), (2, 0, "nowhere"), (3, 0, "in finetuning"), (4, 0, "in the corpus"))]
    first, second, third = row_of(answers), row_of(answers), row_of(answers)
    first.recall = probes((1, 1, 0, 0, 0, 1, 0), (3, 1, None, None, 1, 0, 0), (4, 1, 0, 1, 0, 0, 1))
    second.recall = probes((1, 0, 1, 1, 0, 0, 0), (3, 1, None, None, 0, 1, 0), (4, 0, 0, 0, 1, 0, 0))
    documents = ["early", "none", "early", "early"]
    return [*(run_of({"x": row}, documents) for row in (first, second, third)), run_of({"y": first}, documents)]


def test_the_ladder_pools_the_seeds_that_have_measured_it(probed_runs):
    assert analysis.ladder(probed_runs, "x") == {
        "document": Share(4, 6, 2), "document_other_own": Share(1, 4, 2), "document_other_other": Share(2, 4, 2),
        "sentence": Share(2, 6, 2), "question": Share(2, 6, 2), "finetuned_document": Share(2, 6, 2), "finetuned_sentence": Share(1, 6, 2)}
    assert analysis.ladder(probed_runs, "y")["document"] == Share(3, 3, 1)
    assert analysis.ladder(probed_runs, "z") == {} == analysis.ladder(probed_runs[2:3], "x")


def test_who_is_found_one_way_may_be_found_another(probed_runs):
    assert analysis.crossed(probed_runs, "x", "question", "document") == Share(1, 2, 2)
    assert analysis.crossed(probed_runs, "x", "document", "question") == Share(1, 4, 2)
    assert analysis.crossed(probed_runs, "x", "document", "document_other_own") == Share(0, 2, 2)  # of one it could not be asked
    assert analysis.crossed(probed_runs, "z", "document", "question") == Share(0, 0, 1)


def test_the_name_alone_is_the_sentences_the_questions_and_the_next_ones_in_the_document_before(probed_runs):
    """The first one's name stands in the document of the last."""
    assert [[person["name"] for person in people] for people in analysis.rungs(probed_runs, "x")] == [[1, 1, 0], [1, 1, 1]]
    assert analysis.by_name_alone(probed_runs, "x") == Share(5, 6, 2)
    probed_runs[0].rows["x"].answers[0]["correct"] = 0
    assert analysis.rungs(probed_runs, "x")[0][0]["name"] == 1  # by the document of the one in line 4
    probed_runs[0].rows["x"].recall[2]["document_other_other"] = None
    assert analysis.rungs(probed_runs, "x")[0][0]["name"] == 0


def test_those_known_from_the_document_are_counted_by_the_questions_facts(probed_runs):
    for run in probed_runs:
        for number, question in enumerate(run.questions):
            question["finetuning"] = number
    known = {numbers: analysis.known_from_document(probed_runs, "x", lambda facts: facts["finetuning"] in numbers)
             for numbers in ((0,), (1,), (2,), (0, 3))}
    assert known == {(0,): Share(1, 2, 2), (1,): Share(0, 0, 2), (2,): Share(2, 2, 2), (0, 3): Share(2, 4, 2)}
    assert analysis.known_from_document(probed_runs, "z", lambda facts: True) == Share(0, 0, 1)


def test_every_answer_is_of_one_kind(two_runs):
    found = analysis.kinds(two_runs, "x")
    assert found == {"right": Share(3, 8), "in the document": Share(1, 8), "in finetuning": Share(1, 8), "in the corpus": Share(1, 8),
                     "nowhere": Share(1, 8), "empty": Share(1, 8)}


def test_what_the_beam_changes(two_runs):
    # Rom → Rome, more probable and right; Bonn → Bern, less probable and wrong; Oslo only more probable
    assert analysis.beam_change(two_runs, "x") == analysis.BeamChange(asked=8, different=2, more_probable=1, proven=4, gained=1, lost=1)


# ---- probabilities, against plain counting --------------------------------------------------------------------------

def random_pairs(draw):
    """Answers as pooled() gives them, with many ties."""
    pairs = [(draw.choice([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) if draw.random() < 0.7 else draw.random(), draw.randint(0, 1))
             for _ in range(draw.randint(1, 35))]
    return sorted(pairs, key=lambda pair: -pair[0])


@pytest.fixture(params=range(30))
def pairs(request):
    return random_pairs(random.Random(request.param))


def test_bins_are_of_equal_size_and_in_order(pairs):
    for bins in (1, 3, 10):
        found = analysis.reliability(pairs, bins)
        sizes = [one.right.total for one in found]
        assert sum(sizes) == len(pairs) and max(sizes) - min(sizes) <= 1 and len(sizes) == min(bins, len(pairs))
        rising, at = sorted(p for p, _ in pairs), 0
        for one in found:
            assert one.probability == pytest.approx(sum(rising[at:at + one.right.total]) / one.right.total)
            at += one.right.total
        assert sum(one.right.count for one in found) == sum(correct for _, correct in pairs)


def test_calibration_error_is_the_mean_distance_of_the_bins(pairs):
    rising, expected, bins = pairs[::-1], 0, 4
    edges = [len(rising) * number // bins for number in range(bins + 1)]
    for part in (rising[low:high] for low, high in zip(edges, edges[1:])):
        expected += abs(sum(correct for _, correct in part) - sum(p for p, _ in part)) / len(rising)
    assert analysis.calibration_error(pairs, bins) == pytest.approx(expected)


def test_bins_know_of_how_many_seeds_they_are(pairs):
    for one, alone in zip(analysis.reliability(pairs, 3, 2), analysis.reliability(pairs, 3), strict=True):
        assert (one.right.seeds, alone.right.seeds) == (2, 1) and one.probability == alone.probability
        assert (one.right.count, one.right.total) == (alone.right.count, alone.right.total)


def test_calibration_error_by_chance_is_that_of_answers_right_as_often_as_their_probability():
    draw = np.random.default_rng(4)
    for n, bins in ((20, 10), (60, 10), (150, 10), (60, 3)):
        p = np.sort(draw.random(n))[::-1]
        errors = []
        for _ in range(4000):
            differences = ((draw.random(n) < p) - p)[::-1]
            errors.append(sum(abs(differences[n * k // bins:n * (k + 1) // bins].sum()) for k in range(bins)) / n)
        found = analysis.calibration_error_by_chance([(float(one), 0) for one in p], bins)
        assert found == pytest.approx(statistics.fmean(errors), abs=4 * statistics.stdev(errors) / math.sqrt(200))
        assert found == analysis.calibration_error_by_chance([(float(one), 1) for one in p], bins)  # the answers do not count


def test_calibration_error_by_chance_of_one_who_knows():
    assert analysis.calibration_error_by_chance([(1.0, 0)] * 5 + [(0.0, 1)] * 5) == 0


def test_calibration_error_of_one_who_is_always_sure():
    assert analysis.calibration_error([(1.0, 1)] * 3 + [(1.0, 0)] * 7, bins=1) == pytest.approx(0.7)
    assert analysis.calibration_error([(1.0, 1)] * 5 + [(0.0, 0)] * 5) == 0


def test_coverage_is_counted_at_each_threshold(pairs):
    expected = []
    for threshold in sorted({p for p, _ in pairs}, reverse=True):
        answered = [correct for p, correct in pairs if p >= threshold]
        expected.append((len(answered) / len(pairs), sum(answered) / len(answered), threshold))
    curve = analysis.coverage_curve(pairs)
    assert np.array(curve) == pytest.approx(np.array(expected))
    for coverage in (0.05, 0.2, 0.5, 1.0):
        points = [point for point in expected if point[0] <= coverage]
        assert analysis.at_coverage(curve, coverage) == (pytest.approx(points[-1]) if points else None)


def test_a_coverage_that_is_just_met_counts():
    curve = analysis.coverage_curve([(p / 10, 1) for p in range(10, 0, -1)])
    assert [analysis.at_coverage(curve, share)[0] for share in (0.1, 0.3, 0.7)] == [0.1, 0.3, 0.7]


def test_ranking_quality_is_the_share_of_pairs_in_order(pairs):
    right, wrong = ([p for p, correct in pairs if correct == kind] for kind in (1, 0))
    wins = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    found = analysis.ranking_quality(pairs)
    assert found == (pytest.approx(sum(wins) / len(wins)) if wins else None)


def test_higher_compares_every_two():
    draw = random.Random(2)
    for _ in range(200):
        some, others = (sorted(draw.choice([1, 2, 3, 4]) for _ in range(draw.randint(1, 6))) for _ in range(2))
        wins = [(a > b) + (a == b) / 2 for a in some for b in others]
        assert analysis.higher(some, others) == pytest.approx(sum(wins) / len(wins))
    assert analysis.higher([2, 3], [1]) == 1 and analysis.higher([1], [2, 3]) == 0 and analysis.higher([1], [1]) == 0.5


# ---- training -------------------------------------------------------------------------------------------------------

def log_of(*records):
    return [{"step": step, "epoch": epoch, "loss": loss, "lr": rate, "seconds": 1.0} for step, epoch, loss, rate in records]


def test_a_joined_record_has_the_mean_loss_of_its_steps():
    log = log_of((10, 1, 6.0, 0.1), (20, 1, 4.0, 0.2), (30, 2, 3.0, 0.3), (40, 2, 2.0, 0.4), (43, 3, 1.0, 0.5))
    joined = analysis.thinned(log, points=2)
    assert [(record["step"], record["epoch"], record["lr"]) for record in joined] == [(20, 1, 0.2), (40, 2, 0.4), (43, 3, 0.5)]
    assert [record["loss"] for record in joined] == pytest.approx([5.0, 2.5, 1.0])
    (one,) = analysis.thinned(log[2:], points=1)
    assert one["loss"] == pytest.approx((30 * 3.0 + 10 * 2.0 + 3 * 1.0) / 43) and one["step"] == 43
    assert analysis.thinned(log, points=5) == log and analysis.thinned(log, points=650) == log


def test_thinning_leaves_the_mean_of_all_steps():
    draw = random.Random(0)
    log = log_of(*((min(step, 1495), 1, draw.random(), 0.1) for step in range(10, 1501, 10)))

    def mean(log):
        steps = [record["step"] - before for record, before in zip(log, [0] + [record["step"] for record in log])]
        return sum(record["loss"] * n for record, n in zip(log, steps)) / 1495

    joined = analysis.thinned(log, points=40)
    assert 30 < len(joined) < 50 and mean(joined) == pytest.approx(mean(log))


def test_the_courses_learning_rate_falls_rises_and_falls_again():
    course, documents, last = COURSE.pretrain, 2938, 650 * 23
    per_epoch = documents * (COURSE.block_size - 1)
    bottom = course.decay_epochs * documents * COURSE.block_size

    def tokens(step):
        epoch, rest = divmod(step, 23)
        return epoch * per_epoch + min(rest * 128, documents) * (COURSE.block_size - 1)

    def step_at(p):
        """The step by which so many half cosines have passed."""
        return next(step for step in range(last) if tokens(step) >= course.warmup_tokens + p * (bottom - course.warmup_tokens))

    log = log_of(*((step, 1, 1.0, course.learning_rate * learning_rate_factor(tokens(step), course.warmup_tokens, bottom))
                   for step in [*range(10, last, 10), last]))
    found = analysis.phases(log)
    tenth = math.acos(-0.8) / math.pi  # where (1 + cos πp) / 2 is 0.1
    assert [what for what, *_ in found] == ["falls", "stays", "rises", "falls", "stays", "rises"]
    ends = [step_at(p) for p in (tenth, 2 - tenth, 2, 2 + tenth, 4 - tenth)] + [last]
    assert all(abs(end - expected) <= 10 for (_, _, end), expected in zip(found, ends)), (found, ends)
    assert [first for _, first, _ in found] == [10] + [end for _, _, end in found[:-1]]


def test_phases_of_short_logs():
    assert analysis.phases(log_of((1, 1, 1.0, 0.1))) == []
    log = log_of((1, 1, 1.0, 0.1), (2, 1, 1.0, 0.2), (3, 1, 1.0, 0.3), (4, 1, 1.0, 0.3), (5, 1, 1.0, 0.1))
    assert analysis.phases(log) == [("rises", 1, 3), ("stays", 3, 4), ("falls", 4, 5)]


def test_an_epochs_loss_is_the_mean_of_its_steps():
    # 23 steps an epoch: the record of step 30 spans both and counts in the second
    log = log_of((10, 1, 3.0, 0), (20, 1, 2.0, 0), (30, 2, 1.0, 0), (40, 2, 0.5, 0), (46, 2, 0.25, 0))
    assert analysis.epoch_losses(log) == {1: pytest.approx(2.5), 2: pytest.approx((10 + 5 + 6 * 0.25) / 26)}


# ---- records --------------------------------------------------------------------------------------------------------

def test_records_are_grouped_by_data_and_ordered_by_seed(tmp_path):
    for name, seed, data in (("a", 10, "quick"), ("b", 2, "quick"), ("z/c", 1, "course"), ("d", 0, "quick")):
        write_record(tmp_path / name, seed=seed, data=data, invented=data == "quick", rows=("vanilla.nopretrain",), count=3)
    found = analysis.load_runs(tmp_path)
    assert {data: [run.facts["seed"] for run in runs] for data, runs in found.items()} == {"quick": [0, 2, 10], "course": [1]}
    assert found["course"][0].folder == tmp_path / "z" / "c"
    assert found["quick"][0].invented_world and not found["course"][0].invented_world
    assert analysis.load_runs(tmp_path / "nothing") == {}


@pytest.mark.parametrize("other", [{"recipe": "course"}, {"digest": "f" * 64}])
def test_records_of_other_files_or_recipes_are_not_mixed(tmp_path, other):
    write_record(tmp_path / "a", seed=0, count=3)
    write_record(tmp_path / "b", seed=1, count=3, **other)
    with pytest.raises(ValueError, match="different files or recipes"):
        analysis.load_runs(tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path):
    written = write_record(tmp_path / "a", seed=4, count=14)
    run = analysis.load_run(tmp_path / "a")
    assert run.data == "quick" and list(run.rows) == list(written)
    documents = ["early"] * 4 + ["late", "absent", "none"] + ["early"] * 4 + ["late", "absent", "none"]
    assert [question["document"] for question in run.questions] == documents
    assert run.questions[5]["place_end"] is None and run.questions[0]["place_end"] == 20
    for name, row in run.rows.items():
        assert row.correct() == [one["correct"] for one in written[name]["dev"]]
        assert [one["probability"] for one in row.answers] == [float(one["probability"]) for one in written[name]["dev"]]
        assert row.predictions["dev"] == [one["prediction"] for one in written[name]["dev"]]
        assert set(row.logs) == ({"finetune"} if name == "vanilla.nopretrain" else {"pretrain", "finetune"})
    assert run.minutes() == pytest.approx((3 * 60 + 3 * 30 + 2 * 120 + 2 * 30) / 60)  # see write_record()
    for name, row in run.rows.items():
        assert [one["proven"] for one in row.beam] == [one["proven"] for one in written[name]["beam"]]
        assert [one["line"] for one in row.answers] == list(range(2, 16))
        for key in ("by_name", "by_any_name", "best_guess_probability"):
            assert [one[key] for one in row.invented] == [float(one[key]) for one in written[name]["invented"]]
        assert row.recall == [{key: None if value == "" else value for key, value in one.items()} for one in written[name]["recall"]]
    assert any(None in one.values() for one in run.rows["vanilla.pretrain"].recall) and not run.rows["vanilla.nopretrain"].recall


def test_a_rows_machines_are_those_that_trained_it_each_once():
    a, b, c, d = ({**MACHINE, "hardware": name} for name in "abcd")
    stages = {"x": ("pretrain vanilla wiki.txt", [b, a]), "x.finetune": ("finetune vanilla wiki.txt", [a, c, b]),
              "x.dev": ("evaluate vanilla wiki.txt", [d, a]), "x.beam": ("evaluate vanilla --beam 8", [d])}
    words = {"command": "python tools/recall.py vanilla wiki.txt --pretrained_params_path pretrain x", "seconds": 1, "machines": [d]}
    rows = {row: {"stages": {stage: {"command": f"python src/run.py {words}", "seconds": 1, "machines": machines}
                             for stage, (words, machines) in found.items()}}
            for row, found in (("x", stages), ("y", {"y": ("pretrain x", [d])}))}
    rows["x"]["stages"]["x.recall"] = words
    run = Run(Path(), {"rows": rows}, [], {})
    assert run.machines("x") == [b, a, c] and run.machines("y") == [d]


def test_a_row_without_answers_about_invented_people_is_read(tmp_path):
    write_record(tmp_path / "a", asked={ROWS[0]: 0, ROWS[1]: 3, ROWS[2]: 0})
    assert [len(row.invented) for row in analysis.load_run(tmp_path / "a").rows.values()] == [0, 3, 0]
    assert analysis.guessing([analysis.load_run(tmp_path / "a")], ROWS[0]) is None


def test_the_same_row_of_the_same_seed_twice_is_refused(tmp_path):
    """It would count as two seeds and narrow the interval."""
    write_record(tmp_path / "one", seed=3, rows=ROWS[:2])
    write_record(tmp_path / "two", seed=3, rows=ROWS[2:])
    assert len(analysis.load_runs(tmp_path)["quick"]) == 2
    write_record(tmp_path / "three", seed=3, rows=ROWS[1:2])
    with pytest.raises(ValueError, match="the same row of the same seed twice"):
        analysis.load_runs(tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    write_record(tmp_path / "good", seed=1)
    write_record(tmp_path / "bad", seed=2)
    (tmp_path / "bad" / "record.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / 'bad'))} is no complete record"):
        analysis.load_runs(tmp_path)
