"""
Intervals against published values, plain loops, formulas, and simulations whose truth is known.
"""

import itertools
import math
import random
import statistics

import numpy as np
import pytest

import intervals
from intervals import Share, accuracy_interval, student_quantile, wilson

Z = statistics.NormalDist().inv_cdf(0.975)


@pytest.mark.parametrize(
    "right, n, low, high",
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_the_published_interval(right, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3."""
    assert wilson(right / n, n) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("n", [1, 7.5, 500])
@pytest.mark.parametrize("share", [0, 0.05, 1 / 3, 1])
def test_wilsons_bounds_solve_its_equation(share, n):
    # (share - p)² = z² p (1 - p) / n
    bounds = np.roots([1 + Z * Z / n, -2 * share - Z * Z / n, share * share]).real
    assert wilson(share, n) == pytest.approx(sorted(bounds), abs=1e-6)


def test_a_share_counts_each_question_once():
    assert Share(45, 444, 3).interval() == wilson(45 / 444, 148)
    assert wilson(0.3, 0) == (0, 1)
    assert math.isnan(Share(0, 0).value) and all(map(math.isnan, Share(0, 0).interval()))


@pytest.mark.parametrize(
    "freedom, quantile",
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042), (120, 1.980), (1e6, 1.960)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, abs=5.1e-4)


@pytest.mark.parametrize("freedom", [1.01, 1.5, 2.5, math.pi, 19.6])
def test_students_quantile_has_its_probability_below_it(freedom):
    """By the midpoint rule, after the substitution x = u / (1 - u), without the constant."""
    u = (np.arange(200_000) + 0.5) / 200_000
    x = u / (1 - u)
    weights = (1 + x * x / freedom) ** (-(freedom + 1) / 2) / (1 - u) ** 2
    below = weights[x < student_quantile(freedom)].sum() / weights.sum() / 2
    assert below == pytest.approx(0.475, abs=1e-5)


def test_one_seed_has_wilsons_interval():
    correct = [1] * 81 + [0] * 182
    assert accuracy_interval([correct]) == (81 / 263, wilson(81 / 263, 263))
    assert accuracy_interval([[1]]) == (1, wilson(1, 1))
    assert accuracy_interval([[0] * 50] * 3) == (0, wilson(0, 50))


@pytest.mark.parametrize("seeds", [2, 5])
def test_seeds_that_answer_alike_tell_no_more_than_one(seeds):
    correct = [1] * 30 + [0] * 50
    mean, bounds = accuracy_interval([correct] * seeds)
    assert mean == pytest.approx(30 / 80)
    assert bounds == pytest.approx(wilson(30 / 80, 79, student_quantile(79)))


def test_the_interval_is_wilsons_for_the_variance_by_mean_squares():
    """
    By the mean squares of an analysis of variance the variance of the mean is (questions + seeds -
    rest) / (S·Q). The rest is not taken off.
    """
    draw, compared = np.random.default_rng(3), 0
    for _ in range(60):
        S, Q = draw.integers(2, 6), draw.integers(3, 30)
        effects = draw.choice([0, 0.2]) * draw.standard_normal((S, 1))
        chance = np.clip(0.4 + effects + 0.3 * draw.standard_normal(Q), 0, 1)
        y = (draw.random((S, Q)) < chance).astype(float)
        mean, by_seed, by_question = y.mean(), y.mean(axis=1), y.mean(axis=0)
        squares = [S * ((by_question - mean) ** 2).sum() / (Q - 1)]
        squares += [Q * ((by_seed - mean) ** 2).sum() / (S - 1)]
        parts = np.array(squares) / (S * Q)
        if parts.sum() > 1e-9 and 0 < mean < 1:
            freedom = parts.sum() ** 2 / (parts**2 / [Q - 1, S - 1]).sum()
            n = mean * (1 - mean) / parts.sum()
            expected = wilson(mean, n, student_quantile(freedom))
            found, bounds = accuracy_interval(y.astype(int).tolist())
            assert found == pytest.approx(mean) and bounds == pytest.approx(expected)
            compared += 1
    assert compared > 50


@pytest.mark.slow
@pytest.mark.parametrize("seeds, questions, spread", [(12, 60, 0.06), (3, 200, 0.045)])
def test_the_interval_holds_the_truth_in_95_of_100_experiments(seeds, questions, spread):
    """Seeds and questions are drawn again in each experiment, each better or worse than others."""
    draw, held, experiments = np.random.default_rng(0), 0, 600
    for _ in range(experiments):
        chance = 0.4 + draw.normal(0, spread, (seeds, 1)) + draw.choice([-0.2, 0.2], questions)
        right = draw.random((seeds, questions)) < np.clip(chance, 0, 1)
        _, (low, high) = accuracy_interval(right.astype(int).tolist())
        held += low <= 0.4 <= high
    assert 0.93 < held / experiments < 0.985


# ---- the bootstrap ---------------------------------------------------------------------------


def test_the_mean_has_the_interval_of_the_normal_formula_and_groups_count_once():
    draw = random.Random(1)
    values = [draw.gauss(3, 2) for _ in range(300)]
    low, high = intervals.mean_interval([[value] for value in values])
    half = Z * statistics.pstdev(values) / math.sqrt(300)
    middle = statistics.fmean(values)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.1 * half)
    assert intervals.mean_interval([[value] * 3 for value in values]) == pytest.approx((low, high))
    assert intervals.mean_interval([[0, 0, 0, 0], [1]]) == (0, 1)


def quantiles_by_loops(draw, statistic, *sides):
    """The interval of statistic(numbers of each side), with whole groups drawn in plain loops."""
    found = []
    for _ in range(3000):
        drawn = (draw.choices(groups, k=len(groups)) for groups in sides)
        found.append(statistic(*([one for group in side for one in group] for side in drawn)))
    cuts = statistics.quantiles(found, n=40)
    return cuts[0], cuts[-1]


def test_higher_counts_pairs_and_its_interval_is_that_by_plain_loops():
    draw = random.Random(2)
    some = [
        [round(draw.random() ** 0.5, 1) for _ in range(draw.choice([1, 3]))] for _ in range(25)
    ]
    others = [[round(draw.random(), 1) for _ in range(2)] for _ in range(15)]
    one, other = sum(some, []), sum(others, [])
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(one, other)]
    assert intervals.higher(one, other) == pytest.approx(statistics.fmean(pairs))
    expected = quantiles_by_loops(draw, intervals.higher, some, others)
    assert intervals.higher_interval(some, others) == pytest.approx(expected, abs=0.012)


def test_the_interval_of_higher_is_as_wide_as_the_formula():
    """DeLong, DeLong and Clarke-Pearson 1988."""
    draw = random.Random(3)
    some, others = (sorted(draw.gauss(mean, 1) for _ in range(200)) for mean in (0.4, 0))
    of_some = [statistics.fmean(a > b for b in others) for a in some]
    of_others = [statistics.fmean(a > b for a in some) for b in others]
    parts = statistics.variance(of_some), statistics.variance(of_others)
    half, middle = Z * math.sqrt(sum(parts) / 200), statistics.fmean(of_some)
    bounds = intervals.higher_interval([[a] for a in some], [[b] for b in others])
    assert bounds == pytest.approx((middle - half, middle + half), abs=0.1 * half)


def test_few_groups_do_not_tell_which_side_is_higher():
    ten = [[number / 10] for number in range(10)]
    assert intervals.higher_interval(ten, ten) is not None
    assert (
        intervals.higher_interval(ten[1:], ten) is None is intervals.higher_interval(ten, ten[1:])
    )


def test_the_interval_of_a_ranking_is_that_by_plain_loops():
    """A question is drawn with the answers of all its seeds, which are alike."""
    draw, groups = random.Random(4), []
    for _ in range(30):
        skill = draw.random()
        right = int(draw.random() < skill)
        seeds = [right if draw.random() < 0.9 else 1 - right for _ in range(3)]
        groups.append([(round(0.8 * skill + 0.2 * draw.random(), 1), one) for one in seeds])
    expected = quantiles_by_loops(draw, intervals.ranking_quality, groups)
    assert intervals.ranking_interval(groups) == pytest.approx(expected, abs=0.012)
    low, high = intervals.ranking_interval([[pair] for group in groups for pair in group])
    assert high - low < expected[1] - expected[0] - 0.02


def test_few_right_answers_do_not_tell_how_well_answers_are_ranked(monkeypatch):
    wrong, right = [[(p / 100, 0)] for p in range(50)], [[(0.9, 1)] for _ in range(10)]
    assert intervals.ranking_interval([*wrong, *right]) == (1, 1)
    assert intervals.ranking_interval([*wrong, *right[1:]]) is None
    assert (
        intervals.ranking_interval(right) is None and intervals.ranking_quality([(1, 1)]) is None
    )
    monkeypatch.setattr(intervals, "FEWEST", 1)  # draws without a right answer are left out
    assert intervals.ranking_interval([[(0.9, 1)], *wrong[:8]]) == (1, 1)
