"""
The tables of a run and of README. Run with: python -m pytest tests/test_report.py
"""
import json
import subprocess
import sys
from pathlib import Path

import pytest

import readme_tables
import report

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def finished_run(tmp_path):
    """A data folder with four questions, and a run's folder with predictions of them: 0, 2, 1 right, and 1 in London."""
    data, run = tmp_path / "data", tmp_path / "run"
    (run / "stages").mkdir(parents=True)
    data.mkdir()
    people = {"Ann Lee": "London", "Bo Ek": "Oslo", "Eva Rot": "Graz", "Tom Ash": "Leeds"}
    (data / "birth_dev.tsv").write_text("".join(f"Where was {name} born?\t{place}\n" for name, place in people.items()), encoding="utf-8")
    for row, places in (("vanilla.nopretrain", ["", "x", "y", "z"]), ("vanilla.pretrain", ["London", "Oslo", "Wien", ""]),
                        ("synthesizer.pretrain", ["Bonn", "Oslo", "Wien", "London"])):
        (run / f"{row}.dev.predictions").write_text("".join(f"{place}\n" for place in places), encoding="utf-8")
    (run / "stages" / "vanilla.pretrain.seconds").write_text("90\n")
    (run / "stages" / "london.seconds").write_text("30\n")
    return data, run


def make_report(data, run, recipe="quick"):
    return subprocess.run([sys.executable, str(ROOT / "tools" / "report.py"), "--data", str(data), "--out", str(run), "--recipe",
                           recipe, "--seed", "3"], capture_output=True, text=True, encoding="utf-8")


def test_the_table_scores_the_predictions_beside_the_reported_figures(finished_run):
    data, run = finished_run
    outcome = make_report(data, run)
    assert outcome.returncode == 0, outcome.stderr
    text = (run / "results.md").read_text(encoding="utf-8")
    assert text in outcome.stdout
    assert "| vanilla, without pretraining | 0 of 4 | 0.0% | 1.4% |" in text
    assert "| vanilla, pretrained | 2 of 4 | 50.0% | 23.0% |" in text
    assert "| synthesizer, pretrained | 1 of 4 | 25.0% | 14.4% |" in text
    assert "| answering London | 1 of 4 | 25.0% | 5.0% |" in text
    assert "Recipe quick, seed 3; 2.0 minutes in all." in text


def test_the_record_holds_what_a_comparison_needs(finished_run):
    data, run = finished_run
    make_report(data, run)
    record = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert record["dev"]["vanilla.pretrain"] == {"correct": 2, "total": 4}
    assert record["seconds"] == {"vanilla.pretrain": 90, "london": 30}
    assert record["seed"] == 3 and record["recipe"] == "quick"
    assert record["hardware"] and record["versions"]["torch"] and record["versions"]["python"]
    assert record["name_only_ceiling_percent"] is None


def test_the_best_guess_from_names_is_shown_for_an_invented_corpus_only(finished_run):
    data, run = finished_run
    assert "name alone" not in make_report(data, run).stdout
    (data / "corpus.json").write_text(json.dumps({"dev": {"best_guess_expected": 0.0951}}))
    assert "| the best guess from the name alone | expected | 9.5% | – |" in make_report(data, run).stdout


def test_missing_predictions_are_one_line(finished_run):
    data, run = finished_run
    (run / "synthesizer.pretrain.dev.predictions").unlink()
    outcome = make_report(data, run)
    assert outcome.returncode == 2
    assert len(outcome.stderr.splitlines()) == 1 and "synthesizer.pretrain.dev.predictions" in outcome.stderr


def test_stages_whose_names_hold_dots_are_kept_apart(finished_run):
    data, run = finished_run
    (run / "stages" / "vanilla.pretrain.dev.seconds").write_text("5\n")
    make_report(data, run)
    assert json.loads((run / "results.json").read_text())["seconds"]["vanilla.pretrain.dev"] == 5


def quick_results(folder, seeds_and_correct):
    for seed, correct in seeds_and_correct:
        run = folder / "quick" / f"seed{seed}"
        run.mkdir(parents=True)
        rows = {row: {"correct": correct, "total": 200} for row in report.REPORTED}
        (run / "results.json").write_text(json.dumps({
            "seed": seed, "dev": rows, "name_only_ceiling_percent": 9.0, "seconds": {"a": 60 * (seed + 1)}, "hardware": "a machine",
            "versions": {"python": "3", "torch": "2"}}))


def test_readme_gets_a_column_for_each_seed_and_their_mean(tmp_path):
    quick_results(tmp_path, [(1, 60), (0, 50)])
    table = readme_tables.quick_table(tmp_path)
    assert table.splitlines()[0].startswith("| dev accuracy, 200 people | seed 0 | seed 1 | mean |")
    assert "| vanilla, pretrained | 25.0% | 30.0% | 27.5% | 23.0% |" in table
    assert "a machine" in table and "1.0 to 2.0 minutes" in table


def test_readme_says_what_was_survived(tmp_path):
    assert readme_tables.safety_table(tmp_path) == "(not measured yet)"
    kills = {"function": "finetune", "variant": "vanilla", "recipe": "quick", "epochs": 30, "kills": 21, "while_writing": 10,
             "seconds_uninterrupted": 33.4, "differences": 0, "bytes_lost": 0}
    (tmp_path / "kills.json").write_text(json.dumps([kills]))
    assert readme_tables.safety_table(tmp_path).splitlines()[2:] == ["| finetune, vanilla, quick recipe, 30 epochs | 21 | 10 | 0 | 0 |"]
    fuzz = {"corpus": {"inputs": 100_000, "succeeded": 60_000, "refused": 39_990, "kinds": 12}}
    (tmp_path / "fuzz.json").write_text(json.dumps(fuzz))
    assert "| a pretraining corpus | 100,000 | 60,000 | 39,990 | 12 | 10 |" in readme_tables.safety_table(tmp_path)
    row = {"variant": "vanilla", "recipe": "course", "seconds": 300.4, "writings": 6, "megabytes": 39.9, "percent": 0.1234}
    (tmp_path / "resume_cost.json").write_text(json.dumps({"hardware": "a machine", "versions": {"torch": "2"}, "rows": [row]}))
    lines = readme_tables.safety_table(tmp_path).splitlines()
    assert lines[-3:] == ["| vanilla, course recipe | 39.9 | 6 | 300 | 0.12% |", "", "Measured on: a machine; torch 2."]


def test_readme_tables_are_up_to_date():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_tables.fill(text, ROOT / "results") == text, "run tools/readme_tables.py"


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="quick"):
        readme_tables.fill("# no marks", ROOT / "results")
