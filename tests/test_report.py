"""
The pages' tables against counting by plain loops over records made up here; the command; and the
kept records and pages in results/.
"""

import hashlib
import json
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import answer_tables
import make_corpus
import report
import run_tables
from intervals import Share, accuracy_interval, wilson
from load import load_run, load_runs, rows_in
from records import OFFERS, ROWS, make_log, make_questions, parsed, pooled, write_record
from tables import label_of
from utils import evaluate_places

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((ROOT / "results").rglob("record.json"))
KEPT = [pytest.param(path, id=f"{path.parent.parent.name}-{path.parent.name}") for path in RECORDS]


@pytest.fixture
def two_seeds(tmp_path):
    """The runs of two seeds, and what was written of each."""
    written = [write_record(tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1)]
    return load_runs(tmp_path)["quick"], written


def column(text, row):
    """{first cell: cell} of a table's column for a row of the results."""
    (table,) = parsed(text)
    return {line[0]: line[label_of(row)] for line in table}


def percent(number):
    return f"{100 * number:.1f}%"


def test_the_accuracy_has_mean_spread_and_interval_of_the_seeds(two_seeds):
    runs, written = two_seeds
    (table,) = parsed(run_tables.accuracy(runs))
    for line, row in zip(table, ROWS, strict=False):
        right = [[one["correct"] for one in record[row]["dev"]] for record in written]
        _, (low, high) = accuracy_interval(right)
        shares = [sum(one) / 40 for one in right]
        spread = f"{100 * min(shares):.1f}–{percent(max(shares))}"
        expected = [percent(sum(shares) / 2), "2", spread, f"{100 * low:.1f}–{percent(high)}"]
        assert list(line.values()) == [label_of(row), *expected]
    best = statistics.fmean(one["best_guess_probability"] for one in make_questions(40, True))
    assert table[3]["measured, mean"] == "2.5%" and percent(best) in table[4]["measured, mean"]
    (by_seed,) = parsed(run_tables.by_seed(runs))
    for line, row in zip(by_seed, ROWS, strict=False):
        right = [sum(one["correct"] for one in record[row]["dev"]) / 40 for record in written]
        assert list(line.values())[1:] == [*map(percent, right), percent(sum(right) / 2)]


def test_reported_figures_stand_only_beside_the_courses_files(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False)
    write_record(tmp_path / "b", data="quick")
    found = load_runs(tmp_path)
    assert "14.6–28.0" in run_tables.accuracy(found["course"])
    assert "14.6–28.0" not in report.page(found["quick"])


def test_another_recipe_on_the_same_files_is_reported_by_itself(tmp_path):
    for recipe in ("course", "recall"):
        write_record(tmp_path / recipe, data="course", recipe=recipe, invented=False)
    found = load_runs(tmp_path)
    assert list(found) == ["course", "course-recall"]
    page = report.page(found["course-recall"])
    assert "the course's files, recipe recall" in page and "14.6–28.0" not in page


def test_a_new_variant_has_its_rows_without_a_list_of_variants(tmp_path):
    rows = ("dummy.pretrain", *ROWS)
    write_record(tmp_path / "a", data="course", invented=False, rows=rows)
    (runs,) = load_runs(tmp_path).values()
    assert rows_in(runs) == [*ROWS[:2], "dummy.pretrain", ROWS[2]]
    assert "dummy, pretrained" in run_tables.accuracy(runs)
    assert report.page(runs).count("dummy, pretrained") > 8


def test_the_training_has_the_losses_of_its_epochs(two_seeds):
    log = make_log(460, 23, 460)
    steps = {}
    for before, line in zip([{"step": 0}, *log], log, strict=False):
        losses = [line["loss"]] * (line["step"] - before["step"])
        steps[line["epoch"]] = steps.get(line["epoch"], []) + losses
    losses = [statistics.fmean(steps[epoch]) for epoch in (5, 10, 15, 20)]
    expected = ["460 (20)", f"{3 * math.exp(-10 / 200):.2f}", *(f"{loss:.3f}" for loss in losses)]
    expected += [f"{3 * math.exp(-60 / 200):.3f}", "3.8"]
    (table,) = parsed(run_tables.training(two_seeds[0]))
    assert [list(line.values())[1:] for line in table] == [expected] * 4


def test_the_schedule_has_the_peaks_of_the_cosine(tmp_path):
    """A tenth of the peak from 0.795 to 1.205 half cosines; the peak again after two."""
    write_record(tmp_path / "a", log=(1500, 23, 460))
    (table,) = parsed(run_tables.schedule(load_runs(tmp_path)["quick"]))
    assert [(line[0], line["steps"]) for line in table[:3]] == [
        ("falls", "10–370"),
        ("stays", "370–550"),
        ("rises", "550–920"),
    ]
    means = [
        statistics.fmean(3 * math.exp(-(step - back) / 200) for back in range(0, 100, 10))
        for step in (550, 920)
    ]
    assert table[2]["loss"] == " → ".join(f"{mean:.3f}" for mean in means)


def counted(right, total, seeds=1):
    text = f"{right} of {total}: {percent(right / total)}"
    low, high = wilson(right / total, total / seeds)
    return text, f"{text} ({100 * low:.1f}–{percent(high)})"


def test_right_answers_and_completions_are_counted(two_seeds):
    runs, written = two_seeds
    questions = make_questions(40, True)
    for row in ROWS:
        at = [i for i, question in enumerate(questions) if question["document"] == "early"]
        right = sum(record[row]["dev"][i]["correct"] for record in written for i in at)
        cells = list(column(answer_tables.recall(runs), row).values())
        assert cells[:2] == ["2", counted(right, 2 * len(at))[0]]
    row = "vanilla.pretrain"
    lines = pooled(written, row, "recall")
    correct = {
        (n, one["line"]): one["correct"] for n, r in enumerate(written) for one in r[row]["dev"]
    }
    asked = [
        correct[n, one["line"]]
        for n, record in enumerate(written)
        for one in record[row]["recall"]
    ]
    cells = list(column(answer_tables.completions(runs), row).values())
    known = sum(one["document"] for one in lines)
    assert cells[1] == counted(known, len(lines), 2)[1]
    both = [one for one in lines if one["document_other_own"] != ""]
    assert cells[2] == counted(sum(one["document_other_own"] for one in both), len(both), 2)[1]
    assert cells[5] == counted(sum(asked), len(lines), 2)[1]
    right = sum(yes for yes, one in zip(asked, lines, strict=True) if one["document"])
    crossed = list(column(answer_tables.crosses(runs), row).values())
    assert crossed[1] == counted(right, known, 2)[1]
    assert label_of(ROWS[0]) not in answer_tables.completions(runs)

    (early,) = parsed(answer_tables.early(runs))
    first = next(line for line in early if line[0] == label_of(row))
    ends = [q["place_end"] for q in questions if q["document"] == "early" and q["place_end"] <= 56]
    assert list(first.values())[2] == f"{100 * statistics.fmean(113 - e for e in ends) / 109:.0f}%"
    positions = [i + 2 for i, q in enumerate(questions) if q["place_end"] in (20, 56)]
    right = sum(correct[n, line] for n in (0, 1) for line in positions)
    assert first["right answers"] == counted(right, 2 * len(positions), 2)[1]


def test_how_often_recall_reads_a_place_is_not_told(two_seeds):
    """Its pretraining does not cut documents to random lengths."""
    runs, _ = two_seeds
    (before,) = parsed(answer_tables.early(runs))
    for run in runs:
        run.facts["recipe"] = "recall"
    (after,) = parsed(answer_tables.early(runs))
    key = "epochs that read it to its end"
    assert {line[key] for line in after} == {"–"} != {line[key] for line in before}


def test_kinds_calibration_and_beam_search_are_counted(two_seeds):
    runs, written = two_seeds
    for row in ROWS:
        dev, beam = pooled(written, row), pooled(written, row, "beam")
        kinds = list(column(answer_tables.kinds(runs), row).values())
        assert kinds[0] == percent(sum(one["correct"] for one in dev) / 80)
        assert kinds[5] == percent(sum(one["kind"] == "empty" for one in dev) / 80)
        rising = sorted(dev, key=lambda one: float(one["probability"]))
        cells = column(answer_tables.calibration(runs), row)
        text = cells["accuracy at coverage 100%"]
        assert text.startswith(f"{kinds[0]} of 80 (≥ {float(rising[0]['probability']):.2f})")
        text = cells["accuracy at coverage 50%"]
        threshold = float(text.partition("≥ ")[2].rstrip(")"))
        above = [one["correct"] for one in dev if float(one["probability"]) >= threshold - 0.005]
        assert len(above) <= 40 and text.startswith(f"{percent(statistics.fmean(above))} of ")
        text = cells["coverage at accuracy 90%"]
        bounds = {float(one["probability"]) for one in dev}
        kept = [[d["correct"] for d in dev if float(d["probability"]) >= p] for p in bounds]
        best = max((len(one) for one in kept if statistics.fmean(one) >= 0.9), default=0)
        assert text.startswith(f"{percent(best / 80)} (≥ " if best else "none")
        cells = column(answer_tables.beam(runs), row)
        assert cells["accuracy, greedy decoding"] == kinds[0]
        assert cells["accuracy, beam search"] == percent(sum(one["correct"] for one in beam) / 80)
        gained = sum(b["correct"] > g["correct"] for g, b in zip(dev, beam, strict=True))
        assert cells["only beam search right"] == str(gained)


def test_answers_about_invented_people_are_counted(two_seeds):
    runs, written = two_seeds
    for row in ROWS:
        asked = pooled(written, row, "invented")
        places = [one["prediction"] for one in asked]
        cells = column(answer_tables.invented_people(runs), row)
        assert (cells["questions"], cells["different answers"]) == ("60", str(len(set(places))))
        assert cells["London"] == percent(places.count("London") / 60)
        middle = statistics.median(float(one["probability"]) for one in asked)
        assert cells["median probability"] == f"{middle:.3f}"
        mean = statistics.fmean(float(one["by_name"]) for one in asked)
        assert cells["expected accuracy"].startswith(f"{percent(mean)} (")


def test_the_surest_answers_and_the_runs_are_listed(two_seeds):
    runs, written = two_seeds
    dev = written[0]["vanilla.pretrain"]["dev"]
    wrong = max(float(one["probability"]) for one in dev if not one["correct"])
    (table,) = parsed(answer_tables.surest(runs))
    assert float(table[0]["probability"]) == pytest.approx(wrong, abs=5e-4)
    assert [line["the answer is"] for line in table[4:]] == ["right"] * 4 + [
        "an invented person"
    ] * 8
    (lines,) = parsed(run_tables.runs_table(runs))
    right = [sum(one["correct"] for one in written[i][row]["dev"]) for i in (0, 1) for row in ROWS]
    assert [line["right"] for line in lines] == [f"{count} of 40" for count in right]
    assert [line["minutes"] for line in lines] == ["1.5", "3.5", "3.5"] * 2
    assert "one that trains nothing" not in report.page(runs)


def test_other_peoples_data_are_not_printed(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False)
    (table,) = parsed(answer_tables.surest(load_runs(tmp_path)["course"]))
    assert {line["true place"] for line in table} == {"–"}
    assert "right" not in {line["the answer is"] for line in table}


EDGES = {
    "no answer is right": {"skill": dict.fromkeys(ROWS, 0)},
    "all answers are right": {"skill": dict.fromkeys(ROWS, 1)},
    "there is one question": {"count": 1},
    "no place stands early": {"offers": OFFERS[4:]},
    "no world is known": {"invented": False},
    "only the row without pretraining": {"rows": ROWS[:1]},
    "only the synthesizer": {"rows": ROWS[2:]},
    "the training is one step": {"log": (1, 23, 460)},
    "nobody invented": {"asked": 0},
    "no completions": {"knows": None},
    "a bar in the answers": {"wrong": {"nowhere": "a|b"}},
}


@pytest.mark.parametrize("edge", EDGES)
def test_the_page_is_made_where(edge, tmp_path):
    write_record(tmp_path / "a", **EDGES[edge])
    text = report.page(load_runs(tmp_path)["quick"])
    assert parsed(text) and "nan" not in text and "None" not in text and "<!-- table" not in text
    assert not re.search(r"^## .*\n+(?=## |\Z)", text, flags=re.MULTILINE)


# ---- the command -----------------------------------------------------------------------------


def run_main(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, words)])
    report.main()


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "plots", raising=False)


@pytest.mark.slow
def test_the_command_writes_pages_and_the_plots_that_they_link(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    write_record(tmp_path / "in" / "a")
    write_record(tmp_path / "in" / "b", data="zoo")
    run_main(monkeypatch, "--records", tmp_path / "in", "--to", tmp_path / "out")
    run_main(monkeypatch, "--records", tmp_path / "in")
    for page, count in (("out/RESULTS.md", 16), ("in/zoo/README.md", 8)):
        path = tmp_path / page
        linked = re.findall(r'(?:srcset|src)="([^"]*)"', path.read_text(encoding="utf-8"))
        assert len(linked) == count and all((path.parent / link).exists() for link in linked)


def test_the_command_without_matplotlib(tmp_path, monkeypatch, capsys, no_matplotlib):
    write_record(tmp_path / "in" / "a")
    run_main(monkeypatch, "--records", tmp_path / "in", "--to", tmp_path / "out")
    runs = load_runs(tmp_path / "in")["quick"]
    assert (tmp_path / "out" / "RESULTS.md").read_text(encoding="utf-8") == report.page(runs)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["RESULTS.md"]
    out = capsys.readouterr().out
    assert run_tables.accuracy(runs) in out and str(tmp_path / "out" / "RESULTS.md") in out


def refused(monkeypatch, records, to):
    with pytest.raises(SystemExit) as ended:
        run_main(monkeypatch, "--records", records, "--to", to)
    assert isinstance(ended.value.code, str) and len(ended.value.code.splitlines()) == 1
    assert not to.exists()
    return ended.value.code


@pytest.mark.parametrize(
    "text",
    ["{", "7", '{"rows": {"vanilla.pretrain": {}}}'],
)
def test_a_damaged_record_is_one_line(tmp_path, monkeypatch, text):
    write_record(tmp_path / "in" / "a")
    (tmp_path / "in" / "a" / "record.json").write_text(text, encoding="latin-1")
    assert str(tmp_path / "in") in refused(monkeypatch, tmp_path / "in", tmp_path / "out")


def test_records_that_cannot_be_reported_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "record.json" in refused(monkeypatch, tmp_path / "empty", tmp_path / "out")
    write_record(tmp_path / "in" / "a")
    write_record(tmp_path / "in" / "b", recipe="course")
    assert "quick" in refused(monkeypatch, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a" / "dev.questions.tsv").unlink()
    assert "dev.questions.tsv" in refused(monkeypatch, tmp_path / "in", tmp_path / "out")


@pytest.mark.slow
def test_the_script_finds_its_modules(tmp_path):
    write_record(tmp_path / "in")
    words = [
        sys.executable,
        str(ROOT / "tools/report/report.py"),
        "--records",
        str(tmp_path / "in"),
    ]
    subprocess.run([*words, "--to", str(tmp_path / "out")], check=True, cwd=tmp_path)
    assert (tmp_path / "out" / "RESULTS.md").exists()


# ---- what is kept in results/ ----------------------------------------------------------------


def data_folder(name, tmp_path):
    """The folder of the data that a record names; skips if they are not here."""
    if name == "bundled":
        return ROOT
    if name == "quick":
        for file, text in make_corpus.make_corpus("quick").files().items():
            (tmp_path / file).write_text(text, encoding="utf-8", newline="\n")
        return tmp_path
    for folder in (ROOT.parent / "shared" / "cs224n-data", ROOT / "data" / "cs224n"):
        if name == "course" and (folder / "birth_dev.tsv").exists():
            return folder
    pytest.skip(f"the data '{name}' are not here")


@pytest.mark.parametrize("path", KEPT)
def test_kept_predictions_score_as_the_record_says(path, tmp_path):
    kept = json.loads(path.read_text(encoding="utf-8"))
    folder = data_folder(kept["data"]["name"], tmp_path)
    for file, digest in kept["data"]["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    run = load_run(path.parent)
    true = (folder / "birth_dev.tsv").read_text(encoding="utf-8").splitlines()
    true = [line.split("\t")[1] for line in true]
    for row, facts in kept["rows"].items():
        for kind, answers in (("dev", run.rows[row].answers), ("beam", run.rows[row].beam)):
            places = run.rows[row].predictions[kind]
            right = [int(said == place) for said, place in zip(places, true, strict=True)]
            assert [answer["correct"] for answer in answers] == right
            assert evaluate_places(folder / "birth_dev.tsv", places) == (len(true), sum(right))
        assert facts["dev"] == {"correct": sum(run.rows[row].correct()), "total": len(true)}
        both = zip(run.rows[row].answers, run.questions, strict=True)
        early = [answer["line"] for answer, question in both if question["document"] == "early"]
        assert [line["line"] for line in run.rows[row].recall] in ([], early)


@pytest.mark.slow
def test_the_kept_pages_are_made_from_the_kept_records(no_matplotlib):
    besides = report.measured.load(ROOT / "results")
    for data, runs in load_runs(ROOT / "results").items():
        kept = (ROOT / "results" / data / "README.md").read_text(encoding="utf-8")
        kept = re.sub(r"<picture>.*\n\n", "", kept)
        assert kept == report.page(runs, besides=besides), "run tools/report/report.py"


def test_a_share_of_nobody_is_a_dash():
    assert answer_tables.counted(Share(0, 0)) == "–"
