"""The benchmark keeps what it does not measure, if it is of one machine and one data set."""

import json
import sys

import pytest

import benchmark
from conftest import ROOT
from runs.inputs import InputError


def test_a_file_of_the_same_machine_and_data_keeps_its_rows(tmp_path):
    path = tmp_path / "benchmark.json"
    first = benchmark.new_record(ROOT, "course", path)
    kept = {"rows": [{"variant": "x"}], "matrix_peak": [1], "different_answers": {"x": 3}}
    path.write_text(json.dumps(first | kept | {"questions": 9}), encoding="utf-8")
    found = benchmark.new_record(ROOT, "course", path)
    assert (kept | {"questions": 9, "data": "bundled"}).items() <= found.items()


def test_a_variant_is_kept_when_it_is_measured(tmp_path, monkeypatch):
    path = tmp_path / "benchmark.json"

    def measure_variant(record, data, variant, *_):
        if variant == "rope":
            raise KeyboardInterrupt
        record["rows"].append({"variant": variant})

    monkeypatch.setattr(benchmark, "measure_variant", measure_variant)
    words = ["benchmark.py", "--out", str(path), "--variants", "vanilla", "rope"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main()
    assert json.loads(path.read_text())["rows"] == [{"variant": "vanilla"}]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "none" / "b.json")])
    with pytest.raises(InputError, match="none"):
        benchmark.main()


@pytest.mark.parametrize("name", ["hardware", "versions", "data", "recipe", "threads"])
def test_another_machines_or_another_datas_file_is_refused(tmp_path, name):
    path = tmp_path / "benchmark.json"
    record = benchmark.new_record(ROOT, "course", path)
    for other in (record | {name: "another"}, {}):
        path.write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(InputError, match="benchmark.json"):
            benchmark.new_record(ROOT, "course", path)
