"""
Shares, means and rankings with 95% intervals: Wilson's, Student's t, and the bootstrap.

A share is a fraction in [0, 1]. An interval is a pair (low, high).
"""

import math
import statistics
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # standard normal quantile of a two-sided 95% interval
DRAWS = 2000  # of a bootstrap
FEWEST = 10  # questions with a right and with a wrong answer that an interval of both needs


def wilson(share, n, z=Z):
    """Wilson's interval (1927) of a share of n trials. n may be fractional."""
    if n == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class Share:
    """`count` of `total` answers; `seeds` is the number of runs that they come from."""

    count: int
    total: int
    seeds: int = 1

    @property
    def value(self):
        return self.count / self.total if self.total else math.nan

    def interval(self):
        """Wilson's. All runs were asked the same questions, so each question counts once."""
        if not self.total:
            return math.nan, math.nan
        return wilson(self.value, self.total / self.seeds)


def accuracy_interval(correct):
    """
    The mean accuracy and its 95% interval.

    correct: a list for each seed, with 0 or 1 for each question; the questions are the same.

    Questions and seeds are both samples. In the model y[s, q] = mean + seed + question + rest the
    variance of the mean is at most var(question means)/Q + var(seed means)/S. Both terms hold the
    rest; it is counted twice because two or three seeds often estimate their term far too small.
    The interval is Wilson's for the number of independent questions that has this variance. Its
    width is that of Student's t, with degrees of freedom by Satterthwaite (1946). With one seed it
    is Wilson's for Q questions and says nothing about other seeds.
    """
    S, Q = len(correct), len(correct[0])
    seed_means = [statistics.fmean(row) for row in correct]
    question_means = [statistics.fmean(column) for column in zip(*correct, strict=True)]
    mean = statistics.fmean(seed_means)
    n, z = Q, Z
    if S > 1 and Q > 1:
        of_questions = statistics.variance(question_means) / Q
        of_seeds = statistics.variance(seed_means) / S
        variance = of_questions + of_seeds
        if variance > 0 and 0 < mean < 1:
            n = mean * (1 - mean) / variance
            freedom = variance**2 / (of_questions**2 / (Q - 1) + of_seeds**2 / (S - 1))
            z = student_quantile(freedom)
    return mean, wilson(mean, n, z)


def mean_of_seeds(numbers):
    """The mean of numbers, one for each of several seeds, and its 95% interval by Student's t."""
    mean, count = statistics.fmean(numbers), len(numbers)
    half = student_quantile(count - 1) * statistics.stdev(numbers) / math.sqrt(count)
    return mean, (mean - half, mean + half)


def student_quantile(freedom, probability=0.975):
    """The quantile of Student's t. freedom: degrees of freedom, at least 1; may be fractional."""
    log_ratio = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    constant = math.exp(log_ratio) / math.sqrt(freedom * math.pi)

    def above_zero(t, pieces=400):
        """P(0 < T < t): Simpson's rule after the substitution t = √freedom · tan(angle)."""
        end = math.atan(t / math.sqrt(freedom))
        values = [math.cos(end * piece / pieces) ** (freedom - 1) for piece in range(pieces + 1)]
        weighted = values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])
        return constant * math.sqrt(freedom) * weighted * end / pieces / 3

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if above_zero(middle) < probability - 0.5:
            low = middle
        else:
            high = middle
    return (low + high) / 2


# ---- the bootstrap (Efron 1979) --------------------------------------------------------------
# It draws whole groups: the answers of several seeds to one question are not independent.


def resampled(count, seed):
    """How often each of `count` groups is drawn, with replacement: an array (DRAWS, count)."""
    # RandomState's numbers are the same in every version of numpy.
    samples = np.random.RandomState(seed).randint(count, size=(DRAWS, count))
    return np.stack([np.bincount(sample, minlength=count) for sample in samples])


def middle_95(estimates):
    return tuple(float(bound) for bound in np.percentile(estimates, [2.5, 97.5]))


def mean_interval(groups):
    """The interval of the mean of numbers in groups."""
    drawn = resampled(len(groups), seed=0)
    sums, sizes = np.array([sum(group) for group in groups]), np.array([*map(len, groups)])
    return middle_95(drawn @ sums / (drawn @ sizes))


def wins(some, others):
    """1 where a number of `some` is larger than one of `others`, 1/2 where it is equal, else 0."""
    difference = np.subtract.outer(np.concatenate(some), np.concatenate(others))
    return (difference > 0) + (difference == 0) / 2


def higher(some, others):
    """The probability that a number of `some` is larger than one of `others`; ties count half."""
    return float(wins([some], [others]).mean())


def higher_interval(some, others):
    """
    The interval of higher(), for numbers in groups; it draws the groups of both sides. None where
    one has fewer than FEWEST.
    """
    if min(len(some), len(others)) < FEWEST:
        return None
    starts = [np.cumsum([0, *map(len, groups)])[:-1] for groups in (some, others)]
    won = np.add.reduceat(wins(some, others), starts[0], axis=0)
    won = np.add.reduceat(won, starts[1], axis=1)  # (groups of some, groups of others)
    drawn, against = (resampled(len(groups), seed) for seed, groups in enumerate((some, others)))
    sizes = (np.array([*map(len, groups)]) for groups in (some, others))
    pairs = (drawn @ next(sizes)) * (against @ next(sizes))
    return middle_95(((drawn @ won) * against).sum(axis=1) / pairs)


def ranking_quality(pairs):
    """
    The area under the ROC curve of pairs (probability, correct): how often a right answer has a
    higher probability than a wrong one. Ties count half. None without right and wrong answers.
    """
    right, wrong = ([p for p, correct in pairs if bool(correct) == sort] for sort in (True, False))
    return higher(right, wrong) if right and wrong else None


def ranking_interval(groups):
    """
    The interval of ranking_quality(), for pairs in groups. None where fewer than FEWEST groups
    have a right answer, or a wrong one. A draw without right or wrong answers is left out.
    """
    right, wrong = (
        [[p for p, correct in group if bool(correct) == sort] for group in groups]
        for sort in (True, False)
    )
    if min(sum(map(bool, sort)) for sort in (right, wrong)) < FEWEST:
        return None
    of_right, of_wrong = (
        np.repeat(np.arange(len(groups)), [*map(len, sort)]) for sort in (right, wrong)
    )  # the group of each answer
    drawn = resampled(len(groups), seed=0)
    pairs = drawn[:, of_right].sum(axis=1) * drawn[:, of_wrong].sum(axis=1)
    won = ((drawn[:, of_right] @ wins(right, wrong)) * drawn[:, of_wrong]).sum(axis=1)
    return middle_95(won[pairs > 0] / pairs[pairs > 0])
