"""The tables about the JSON files in results/, by hand."""

import json
import statistics
from pathlib import Path

import pytest

import ablation
import measured
from figures import Figures
from load import load_runs
from records import parsed, write_record

RESULTS = Path(__file__).resolve().parent.parent / "results"


def cells(text):
    (table,) = parsed(text)
    return [list(line.values()) for line in table]


def test_finetuning_seeds_stand_beside_the_run(tmp_path):
    written = write_record(tmp_path / "a", seed=1)["vanilla.pretrain"]["dev"]
    runs = load_runs(tmp_path)["quick"]
    records = [
        {"variant": variant, "pretraining_seed": seed, "correct": count, "total": 40}
        for variant, seed, counts in (("vanilla", 1, (10, 14)), ("synthesizer", 3, (4, 6)))
        for count in counts
    ]
    first = sum(one["correct"] for one in written)
    deviation = statistics.stdev([2.5 * first, 25, 35])
    own, mean = (f"{100 * count / 40:.1f}%" for count in (first, (first + 24) / 3))
    vanilla, synthesizer = cells(measured.finetuning_seeds(records, runs))
    assert vanilla[1:] == ["1", own, "25.0%, 35.0%", mean, f"{deviation:.1f} points"]
    assert synthesizer[1:5] == ["3", "–", "10.0%, 15.0%", "12.5%"]
    assert measured.finetuning_seeds([], runs) == "" == measured.first_steps([])


def test_an_ablation_is_compared_seed_by_seed():
    correct = {"nothing": [30, 20, 10], "Muon": [6, 4], "no dropout": [32]}
    records = [
        {"without": name, "seed": seed, "correct": count, "total": 40}
        for name, counts in correct.items()
        for seed, count in enumerate(counts)
    ]
    group = {"data": "bundled", "variant": "vanilla", "epochs": 25}
    records = [{**group, **one} for one in records]
    records.append({**records[0], "epochs": 2, "correct": 1})  # another length
    records.append({**records[0], "variant": "rope"})
    found = measured.ablated(records)
    assert found.keys() == {"vanilla", "rope"}
    assert "–" in measured.ablation({"Muon": {0: 0.5}})  # nothing to compare with yet
    whole, muon, dropout = cells(measured.ablation(found["vanilla"]))
    assert whole[1:] == ["50.0% (25.0–75.0%)", "3", "–"]
    assert muon[1:] == ["12.5% (10.0–15.0%)", "2", "50.0 (-77.1 to 177.1)"]
    assert dropout[1:] == ["80.0%", "1", "-5.0"]


def test_precisions_are_compared_seed_by_seed():
    """The interval is scipy.stats.ttest_rel's for the three seeds that both have."""
    correct = {"float32": {0: 10, 1: 20, 2: 12, 3: 40}, "bfloat16": {2: 10, 1: 16, 0: 10}}
    records = [
        {"variant": "x", "precision": precision, "seed": seed, "correct": count, "total": 100}
        for precision, counts in correct.items()
        for seed, count in counts.items()
    ]
    records.append({**records[0], "variant": "y"})  # one seed in one precision
    ((*cells_of_x, cost),) = cells(measured.precisions(records))
    assert cells_of_x == ["x", "3", "14.0% (10.0–20.0%)", "12.0% (10.0–16.0%)"]
    assert cost == "2.0 (-3.0 to 7.0)"  # 2 ± 4.3027 · 2 / √3


def test_a_table_names_its_machines_and_commits():
    records = [{"hardware": where, "commit": of} for where, of in ("ab", "cd", "ae", "ab")]
    text = measured.with_machines(records, lambda: "| a |")
    assert text.startswith("| a |\n\n") and "a (b, e); c (d)" in text
    assert measured.with_machines([], lambda: "") == ""


def test_pages_quote_their_figures(tmp_path):
    shares = {"nothing": (10, 20), "short rows": (4, 5)}
    one = {"data": "a", "variant": "x", "epochs": 7, "total": 100}
    ablation = [
        {**one, "without": name, "seed": seed, "correct": count}
        for name, counts in shares.items()
        for seed, count in enumerate(counts)
    ]
    precisions = [
        {**one, "precision": name, "seed": seed, "correct": count}
        for name, counts in (("float32", (10, 14)), ("bfloat16", (9, 11)))
        for seed, count in enumerate(counts)
    ]
    for name, records in (("ablation", ablation), ("precisions", precisions)):
        (tmp_path / f"{name}.json").write_text(json.dumps(records), encoding="utf-8")
    found = Figures(tmp_path)
    assert (found["ablation.x.nothing"], found["ablation.x.short_rows"]) == ("15.0%", "4.5%")
    assert (found["ablation.epochs"], found["precisions.x.seeds"]) == ("7", "2")
    ranges = [found[f"precisions.x.{name}_range"] for name in ("float32", "bfloat16")]
    assert ranges == ["10.0–14.0%", "9.0–11.0%"]


def test_every_ingredient_has_a_line():
    assert measured.WITHOUT.keys() == ablation.WITHOUT.keys()


def test_first_steps_have_their_largest_differences():
    ways = {"baseline": 0, "float32": 1e-6, "baseline, off": 2e-6}
    losses = [5 * 0.99**step for step in range(100)]
    record = {
        "variant": "vanilla",
        "in_each_step": {"float32": {"losses": [0, 1e-12, 0], "gradients": [0, 2e-7, 1e-6]}},
        "each_on_its_way": {
            way: [loss + off * step for step, loss in enumerate(losses[:12], start=1)]
            for way, off in ways.items()
        },
        "own_numbers": {"baseline": [losses], "fast": [losses, [loss + 1 for loss in losses]]},
    }
    one, other = cells(measured.first_steps([record]))
    assert one[2:] == ["1e-12", "2e-07", "1e-06", "5e-06", "1e-05", "1e-05"]
    assert other[2:] == ["–", "–", "–", "1e-05", "2e-05", "2e-05"]
    baseline, fast = cells(measured.first_losses([record]))
    means = [statistics.fmean(losses[a:b]) for a, b in ((0, 10), (10, 50), (50, 100))]
    assert baseline[2:] == ["1", *(f"{mean:.3f}" for mean in means)]
    assert fast[3] == f"{means[0] + 0.5:.3f} ({means[0]:.3f}–{means[0] + 1:.3f})"
    record["own_numbers"] = {"baseline": [losses[:60]]}
    assert len(cells(measured.first_losses([record]))[0]) == 5


@pytest.fixture
def benchmark():
    """Half of the FLOPs at the peak, four times as fast as the baseline."""
    row = {"variant": "vanilla", "task": "pretrain", "steps": 2, "tokens": 100, "weights": 1000}
    profile = dict.fromkeys(["matmuls", "b", "c", "d"], 0.2)
    return {
        "hardware": "a machine",
        "versions": {"torch": "2"},
        "data": "course",
        "matrix_peak": [{"float32": 3e5, "bfloat16": 8e5}, {"float32": 1e5, "bfloat16": 1.2e6}],
        "rows": [
            {
                "commit": "abc",
                **row,
                "way": way,
                "rounds": [{"unit": unit, "whole": 9, "first": 3, "memory": 2**21}] * 2,
                **({"profile": profile} if way != "baseline" else {}),
            }
            for way, unit in (("bfloat16", 1.0), ("baseline", 4.0))
        ],
    }


def test_speed_ups_and_utilisation(benchmark):
    fast, baseline = cells(measured.speed(benchmark))
    assert fast[1:] == ["bfloat16", "2 (2–2)", "4.0×", "100", "50%", "9.0", "3.0", "2"]
    assert baseline[1:6] == ["baseline", "8 (8–8)", "1.0×", "25", "50%"]
    assert cells(measured.profile(benchmark)) == [
        ["vanilla, bfloat16", *["20%"] * 5, "20.0×", "8.0×"]
    ]


@pytest.mark.parametrize("name", ["kills", "fuzz", "corpus"])
def test_a_kept_file_has_a_line_for_each_entry(name):
    record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    found = cells(getattr(measured, name)(record))
    if name == "corpus":
        assert f"{record['documents']:,}" in found[0]
    else:
        assert len(found) == len(record)
    if name == "fuzz":
        assert {line[-1] for line in found} == {"0"}
