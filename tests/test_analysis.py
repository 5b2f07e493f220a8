"""What records say, against counting by plain loops over runs made by hand."""

import itertools
import math
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

import analysis
import intervals
import invented
import logs
from dataset import CharCorruptionDataset
from intervals import Share
from load import Row, Run, load_runs, rows_in
from recipe import COURSE
from records import ROWS, make_log, make_questions, pooled, write_record


def answer(probability, correct, kind="right", **more):
    return {"probability": probability, "correct": correct, "kind": kind, **more}


def row_of(answers, beam=None, invented=(), dev=(), beamed=()):
    places = {"dev": list(dev), "beam": list(beamed), "test": []}
    return Row(answers, beam or answers, list(invented), places, {})


def run_of(rows, documents):
    return Run(Path(), {}, [{"document": document} for document in documents], rows)


@pytest.fixture
def two_runs():
    """Two seeds of the row x, and a third run without it."""
    kinds = ("right", "nowhere", "right", "empty")
    first = row_of(
        [
            answer(p, c, k)
            for p, c, k in zip((0.9, 0.5, 0.5, 0.2), (1, 0, 1, 0), kinds, strict=True)
        ],
        [
            answer(p, c, proven=n)
            for p, c, n in ((0.95, 1, 1), (0.6, 1, 0), (0.4, 0, 1), (0.2, 0, 1))
        ],
        [
            {"question": name, "prediction": place, "probability": p}
            for name, place, p in (
                ("Ann", "London", 0.5),
                ("Bob", "Rome", 0.1),
                ("Cid", "London", 0.9),
            )
        ],
        ["Oslo", "Rom", "Bonn", ""],
        ["Oslo", "Rome", "Bern", ""],
    )
    kinds = ("in finetuning", "right", "in the corpus", "in the document")
    second = row_of(
        [
            answer(p, c, k)
            for p, c, k in zip((0.8, 0.5, 0.3, 0.1), (0, 1, 0, 0), kinds, strict=True)
        ],
        [
            answer(p, c, proven=n)
            for p, c, n in ((0.8, 0, 0), (0.5, 1, 1), (0.3, 0, 0), (0.1, 0, 0))
        ],
        [
            {"question": "Bob", "prediction": "Paris", "probability": 0.2},
            {"question": "Ann", "prediction": "London", "probability": 0.8},
        ],
        "abcd",
        "abcd",
    )
    documents = ["early", "late", "early", "none"]
    return [run_of(rows, documents) for rows in ({"x": first}, {"x": second}, {"y": first})]


# ---- right answers, completions --------------------------------------------------------------


def test_right_answers_are_counted_by_what_the_data_offer(two_runs):
    assert analysis.share_right(two_runs, "x", analysis.offers("early")) == Share(2, 4, 2)
    assert analysis.share_right(two_runs[1:], "x", analysis.offers("late")) == Share(1, 1, 1)
    assert analysis.share_right(two_runs, "z", analysis.offers("late")).total == 0


@pytest.mark.parametrize("end", [1, 4, 5, 56, 111, 112])
def test_how_often_a_place_is_read_to_its_end(end):
    """Counted in what pretraining gets of a document that has its only z there."""
    torch.manual_seed(end)
    document = "a" * (end - 1) + "z" + "a" * (130 - end)
    dataset = CharCorruptionDataset(document, COURSE.block_size)
    z = dataset.stoi["z"]
    read = np.mean([(torch.cat(dataset[0]) == z).any().item() for _ in range(1500)])
    assert read == pytest.approx(analysis.read_whole(end), abs=4 * math.sqrt(0.25 / 1500))
    assert (read == 1) == (end <= 4)


@pytest.mark.parametrize("world", [True, False])
def test_the_splits_have_every_question_in_one_group_of_each_sort(tmp_path, world):
    written = [
        write_record(tmp_path / str(seed), seed=seed, rows=rows, invented=world)
        for seed, rows in ((0, ROWS), (1, ROWS[:2]))
    ]
    (runs,) = load_runs(tmp_path).values()
    found, questions = analysis.splits(runs), make_questions(40, world)
    assert [len(shares) for _, shares in found] == [3] * (11 if world else 9)
    assert all(list(shares) == rows_in(runs) for _, shares in found)

    def right(row, holds):
        at = [i for i, question in enumerate(questions) if holds(question)]
        having = [record for record in written if row in record]
        count = sum(record[row]["dev"][i]["correct"] for record in having for i in at)
        return Share(count, len(at) * len(having), len(having))

    for row in ROWS:
        shares = [share[row] for _, share in found]
        assert shares[0] == right(row, lambda q: q["document"] == "early")
        assert shares[2] == right(row, lambda q: q["document"] == "early" and q["place_end"] == 84)
        assert shares[4] == right(row, lambda q: q["document"] == "late")
        assert shares[7] == right(row, lambda q: q["finetuning"] > 0)
        totals, whole = [share.total for share in shares], len(pooled(written, row))
        assert sum(totals[1:4]) == totals[0] and totals[0] + sum(totals[4:7]) == whole
        assert sum(totals[7:9]) == whole and sum(totals[9:]) in (0, whole)
        if world:
            assert shares[9] == right(row, lambda q: q["best_guess"] == q["place"])


@pytest.fixture
def probed_runs():
    """Two seeds with completions for the questions in lines 1, 3 and 4; one without."""
    kinds = ("right", "nowhere", "in finetuning", "in the corpus")
    answers = [answer(0.5, int(k == "right"), k, line=n) for n, k in enumerate(kinds, start=1)]
    names = ("line", *(rung for rung in analysis.RUNGS if rung != "question"))

    def row(*lines):
        found = row_of(answers)
        found.recall = [dict(zip(names, line, strict=True)) for line in lines]
        return found

    none = None
    first = row((1, 1, 0, 0, 0, 1, 0), (3, 1, none, none, 1, 0, 0), (4, 1, 0, 1, 0, 0, 1))
    second = row((1, 0, 1, 1, 0, 0, 0), (3, 1, none, none, 0, 1, 0), (4, 0, 0, 0, 1, 0, 0))
    documents = ["early", "none", "early", "early"]
    rows = ({"x": first}, {"x": second}, {"x": row()}, {"y": first})
    return [run_of(one, documents) for one in rows]


def test_the_ladder_pools_the_seeds_with_completions(probed_runs):
    expected = [(4, 6), (1, 4), (2, 4), (2, 6), (2, 6), (2, 6), (1, 6)]
    assert list(analysis.ladder(probed_runs, "x").values()) == [Share(*one, 2) for one in expected]
    assert analysis.ladder(probed_runs, "z") == {} == analysis.ladder(probed_runs[2:3], "x")


def test_of_those_found_one_way_some_are_found_another(probed_runs):
    assert analysis.crossed(probed_runs, "x", "question", "document") == Share(1, 2, 2)
    assert analysis.crossed(probed_runs, "x", "document", "question") == Share(1, 4, 2)
    # Of one of them it could not be asked.
    assert analysis.crossed(probed_runs, "x", "document", "document_other_own") == Share(0, 2, 2)


def test_a_name_alone_stands_in_the_sentence_the_question_and_the_document_before(probed_runs):
    """The first person's name stands in the document of the last."""

    def names():
        return [[p["name"] for p in of_run] for of_run in analysis.people(probed_runs, "x")]

    assert names() == [[1, 1, 0], [1, 1, 1]]
    probed_runs[0].rows["x"].answers[0]["correct"] = 0
    assert names()[0] == [1, 1, 0]
    probed_runs[0].rows["x"].recall[2]["document_other_other"] = None
    assert names()[0] == [0, 1, 0]


# ---- calibration -----------------------------------------------------------------------------


def random_pairs(seed, count):
    draw = random.Random(seed)
    pairs = [(round(draw.random(), 1), int(draw.random() < 0.4)) for _ in range(count)]
    return sorted(pairs, key=lambda pair: -pair[0])


def test_answers_are_pooled_the_most_probable_first(two_runs):
    pairs = analysis.pooled(two_runs, "x")
    assert [p for p, _ in pairs] == [0.9, 0.8, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]
    assert sum(correct for _, correct in pairs) == 3
    assert analysis.by_question(two_runs, "x")[0] == [(0.9, 1), (0.8, 0)]


@pytest.mark.parametrize("count", [7, 50, 123])
def test_bins_have_as_many_answers_each(count):
    pairs = random_pairs(count, count)
    found = analysis.reliability(pairs, seeds=2)
    sizes = [share.total for _, share in found]
    assert sum(sizes) == count and max(sizes) - min(sizes) <= 1
    rising = pairs[::-1]
    first = rising[: sizes[0]]
    assert found[0][0] == pytest.approx(statistics.fmean(p for p, _ in first))
    assert found[0][1] == Share(sum(c for _, c in first), sizes[0], 2)
    error = sum(abs(share.count - mean * share.total) for mean, share in found) / count
    assert analysis.calibration_error(pairs) == pytest.approx(error)


def test_the_error_by_chance_is_that_of_calibrated_answers():
    draw = random.Random(5)
    probabilities = sorted((draw.random() for _ in range(300)), reverse=True)
    errors = [
        analysis.calibration_error([(p, int(draw.random() < p)) for p in probabilities])
        for _ in range(300)
    ]
    found = analysis.calibration_error_by_chance([(p, 0) for p in probabilities])
    assert found == pytest.approx(statistics.fmean(errors), rel=0.05)


def test_the_coverage_curve_is_that_of_every_threshold():
    pairs = random_pairs(1, 60)
    expected = []
    for threshold in sorted({p for p, _ in pairs}, reverse=True):
        kept = [correct for p, correct in pairs if p >= threshold]
        expected.append((len(kept) / 60, statistics.fmean(kept), threshold))
    assert np.allclose(analysis.coverage_curve(pairs), expected)
    for coverage in (0.05, 0.3, 1):
        below = [point for point in expected if point[0] <= coverage]
        found = analysis.at_coverage(pairs, coverage)
        assert found == pytest.approx(below[-1]) if below else found is None
    for accuracy in (0.1, 0.6, 1.1):
        above = [point for point in expected if point[1] >= accuracy]
        found = analysis.at_accuracy(pairs, accuracy)
        assert found == pytest.approx(above[-1]) if above else found is None


# ---- kinds, beam search, training ------------------------------------------------------------


def test_every_answer_is_of_one_kind(two_runs):
    expected = {kind: Share(1, 8, 2) for kind in analysis.KINDS} | {"right": Share(3, 8, 2)}
    assert analysis.kinds(two_runs, "x") == expected


def test_what_beam_search_changes(two_runs):
    """Rom → Rome: more probable and right. Bonn → Bern: less probable and wrong."""
    expected = analysis.BeamChange(
        asked=8, proven=4, different=2, more_probable=1, gained=1, lost=1
    )
    assert analysis.beam_change(two_runs, "x") == expected


@pytest.mark.parametrize("log", [(460, 23, 460), (1500, 23, 460), (25, 23, 460), (7, 23, 460)])
def test_a_log_has_phases_and_the_losses_of_its_epochs(log):
    lines = make_log(*log)
    signs = [
        {1: "rises", -1: "falls", 0: "stays"}[(b["lr"] > a["lr"]) - (b["lr"] < a["lr"])]
        for a, b in itertools.pairwise(lines)
    ]
    found = logs.phases(lines)
    assert [what for what, *_ in found] == [what for what, _ in itertools.groupby(signs)]
    joined = [(a[2], b[1]) for a, b in itertools.pairwise(found)]
    assert all(end == start for end, start in joined)
    if found:
        assert (found[0][1], found[-1][2]) == (10, log[0])

    steps = {}
    for before, line in zip([{"step": 0}, *lines], lines, strict=False):
        losses = [line["loss"]] * (line["step"] - before["step"])
        steps[line["epoch"]] = steps.get(line["epoch"], []) + losses
    means = [statistics.fmean(losses) for losses in steps.values()]
    assert logs.epoch_losses(lines) == pytest.approx(means)
    last = statistics.fmean(line["loss"] for line in lines[-10:])
    assert logs.loss_up_to(lines, log[0]) == pytest.approx(last)
    assert logs.loss_up_to(lines, lines[0]["step"]) == lines[0]["loss"]


def test_a_thinned_log_keeps_its_end_and_the_sum_of_its_losses():
    lines = make_log(14_953, 23, 4600)
    thin = logs.thinned(lines, 325)
    assert 300 <= len(thin) < 350 and thin[-1]["step"] == 14_953

    def total(log):
        steps = [0, *(line["step"] for line in log)]
        return sum(line["loss"] * (line["step"] - steps[i]) for i, line in enumerate(log))

    assert total(thin) == pytest.approx(total(lines))
    assert [line["step"] for line in logs.thinned(lines[:50], 325)] == list(range(10, 501, 10))


# ---- invented people -------------------------------------------------------------------------


def test_answers_about_invented_people_are_pooled(two_runs):
    found = invented.guessing(two_runs, "x")
    assert (found.asked, found.above_half, found.median_probability) == (5, 2 / 5, 0.5)
    assert list(found.shares.items())[0] == ("London", 3 / 5) and len(found.shares) == 3
    assert (found.expected, found.best) == ({}, None)
    assert invented.guessing(two_runs, "z") is None


def test_in_an_invented_world_guesses_have_an_expected_accuracy():
    strangers = [
        {
            "question": str(best),
            "prediction": "Rome",
            "probability": 0.5,
            "by_name": said,
            "by_any_name": anybodys,
            "best_guess_probability": best,
        }
        for said, anybodys, best in ((0.1, 0.05, 0.3), (0.2, 0.01, 0.2), (0, 0.03, 0.4))
    ]
    answers = [answer(0.5, 1, by_name=0.25), answer(0.5, 1, by_name=0.05)]
    run = run_of({"x": row_of(answers, invented=strangers)}, ["early"] * 2)
    found = invented.guessing([run], "x")
    groups = {
        "by_name": ([0.1], [0.2], [0]),
        "by_any_name": ([0.05], [0.01], [0.03]),
        "gain": ([0.05], [0.19], [-0.03]),
    }
    for name, group in groups.items():
        mean, interval = found.expected[name]
        assert mean == pytest.approx(sum(sum(group, [])) / 3)
        assert interval == pytest.approx(intervals.mean_interval(group))
    assert found.best == pytest.approx(0.3)
    assert analysis.expected_of_guesses([run], "x") == pytest.approx(0.15)
    _, twice = invented.guessing([run, run], "x").expected["by_name"]
    assert twice == pytest.approx(found.expected["by_name"][1])  # the same people tell no more


@pytest.mark.parametrize("correct, early", [(1, [[0.9], [0.5]]), (0, [[0.8], [0.3]])])
def test_people_read_of_are_told_apart_from_invented_ones(two_runs, correct, early):
    strangers = [[0.5, 0.8], [0.1, 0.2], [0.9]]
    pairs = itertools.product(sum(early, []), sum(strangers, []))
    expected = statistics.fmean((a > b) + (a == b) / 2 for a, b in pairs)
    share, interval = invented.told_apart(two_runs, "x", correct)
    assert share == pytest.approx(expected)
    assert interval == intervals.higher_interval(early, strangers)
    assert invented.told_apart(two_runs[2:], "x", correct) is None


def people_named(*names_and_places):
    answers = [
        {"question": f"Where was {name} born?", "prediction": place, "probability": 0.5}
        for name, place in names_and_places
    ]
    return run_of({"x": row_of([answer(0.5, 1)], invented=answers)}, ["early"])


def test_people_with_the_same_first_name_are_compared_within_a_run():
    names = ("Ann Lee", "Bo Lee", "Ann Ray", "Ann", "Bo May", "Annie Lee")
    places = ("Rome", "Rome", "Rome", "Oslo", "Rome", "Rome")
    one = people_named(*zip(names, places, strict=True))
    other = people_named(("Ann Lee", "Paris"), ("Bo Ray", "Bern"), ("Bo Lee", "Bern"))
    found = invented.same_name([one, other], "x")
    assert found.same == Share(3, 5, 2)  # one of three pairs of Anns, and the Bos of either run
    assert found.by_chance == pytest.approx((4 * 20 / 30 + 1 * 2 / 6) / 5)
    assert invented.same_name([people_named(("Ann", "A"), ("Bo", "A"))] * 2, "x") is None


def test_chance_is_that_of_all_orders_of_the_answers():
    people = [("Ann", "A"), ("Ann", "A"), ("Ann", "B"), ("Bo", "B"), ("Bo", "C"), ("Cy", "A")]
    pairs = [(0, 1), (0, 2), (1, 2), (3, 4)]
    orders = itertools.permutations(place for _, place in people)
    shares = [statistics.fmean(order[i] == order[j] for i, j in pairs) for order in orders]
    found = invented.same_name([people_named(*people)], "x")
    assert found.by_chance == pytest.approx(statistics.fmean(shares))
    assert found.most_by_chance == max(shares)
