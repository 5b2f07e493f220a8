"""python -m pytest tests/test_report.py

RESULTS.md's tables and sentences against counting by plain loops over records made up here; the kept records in results/ against the data
that they name; and README's tables.
"""

import hashlib
import itertools
import json
import math
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import knowledge
import make_corpus
import part3
import pieces
import readme_tables
import report
from recall import COLUMNS
from utils import evaluate_places

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((ROOT / "results").rglob("record.json"))
ROWS = ("vanilla.nopretrain", "vanilla.pretrain", "synthesizer.pretrain")
SKILL = {"vanilla.nopretrain": 0.05, "vanilla.pretrain": 0.5, "synthesizer.pretrain": 0.25}
MACHINE = {"hardware": "a machine", "precision": "bfloat16", "versions": {"python": "3.11", "torch": "2.13"}, "commit": "abc1234"}
WRONG = {"in the document": "Farm", "in finetuning": "London", "in the corpus": "Mill", "nowhere": "Xyz", "empty": ""}
OFFERS = [("early", 20), ("early", 56), ("early", 84), ("early", 112), ("late", 130), ("absent", ""), ("none", "")]


# ---- records made up ------------------------------------------------------------------------------------------------

def make_questions(count, invented, offers=OFFERS):
    found = []
    for i in range(count):
        document, end = offers[i % len(offers)]
        found.append({"document": document, "place_end": end, "finetuning": i % 3})
        if invented:
            found[-1] |= {"name": f"Person {i}", "place": f"Town {i % 5}", "best_guess": f"Town {i % 5}" if i % 4 == 0 else "London",
                          "best_guess_probability": 0.05 + 0.01 * (i % 10)}
    return found


def make_answers(draw, count, skill, invented, wrong, scale=1):
    """
    Answers with ties among their probabilities, of all kinds. skill: the probability of a right one, or several in turn. Each has the
    line after its number, as if the questions began with a blank one.
    """
    skill, found = skill if isinstance(skill, list) else [skill], []
    for i in range(count):
        correct = int(draw.random() < skill[i % len(skill)])
        kind = "right" if correct else draw.choice(list(wrong))
        probability = scale * round(draw.random(), draw.choice([1, 3]))
        one = {"line": i + 2, "probability": f"{probability:.4g}", "correct": correct, "kind": kind}
        if invented:
            one["by_name"] = f"{0.2 * draw.random():.4g}"
        found.append({**one, "prediction": f"Town {i % 5}" if correct else wrong[kind]})
    return found


def make_log(steps, an_epoch, bottom):
    """A record each ten steps: the loss falls, the rate goes down a cosine to a tenth of it and, after twice `bottom` steps, up again."""
    return [{"step": step, "epoch": -(-step // an_epoch), "loss": 3 * math.exp(-step / 200), "seconds": step * 0.5,
             "lr": 6e-3 * max(0.1, (1 + math.cos(math.pi * step / bottom)) / 2)} for step in [*range(10, steps, 10), steps]]


def write_table(path, rows):
    columns = [name for name in rows[0] if name != "prediction" or "question" in rows[0]]
    lines = ["\t".join(columns), *("\t".join(str(row[name]) for name in columns) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def change_table(path, change):
    """Rewrites a table of a record: change(its row as a dict, number) changes the row. Returns the rows."""
    head, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [dict(zip(head, line)) for line in lines]
    for number, row in enumerate(rows):
        change(row, number)
    write_table(path, rows)
    return rows


def make_recall(draw, answers, offers, knows):
    """
    What a model goes on with for the questions whose place stands early: of all after the document with the probability `knows`, of half
    as many after finetuning or by the sentence, of the fifth with another name the other's; every seventh has no other. Or `knows` has
    the probability of each column.
    """
    found = []
    for number, one in enumerate(one for i, one in enumerate(answers) if offers[i % len(offers)][0] == "early"):
        chances = knows if isinstance(knows, tuple) else (knows, 0.02, knows / 5, knows / 2, knows / 2, knows / 3)
        found.append({"line": one["line"], **{name: int(draw.random() < chance) for name, chance in zip(COLUMNS, chances)}})
        if number % 7 == 6:
            found[-1] |= {"document_other_own": "", "document_other_other": ""}
    return found


def write_record(folder, seed=0, data="quick", invented=True, rows=ROWS, count=40, recipe="quick", digest="a" * 64, skill=SKILL,
                 wrong=WRONG, offers=OFFERS, log=(460, 23, 460), asked=30, machine=MACHINE, scale=1, knows=0.9):
    """
    Writes a record as tools/record.py does. A row has been finetuned for 60 s and pretrained for 120 s, on `machine`, and asked for 30 s
    on another. asked: how many invented people, of a row or of all. knows: see make_recall(); None for a record of an earlier version.
    Returns for each row its answers to dev, by beam, and to invented people, and what it goes on with.
    """
    folder.mkdir(parents=True)
    write_table(folder / "dev.questions.tsv", make_questions(count, invented, offers))
    written, facts = {}, {}
    for row in rows:
        draw = random.Random(f"{seed} {row}")
        dev, others = (make_answers(draw, count, skill[row], invented, wrong, scale) for _ in range(2))
        beam = [{**draw.choice([before, before, after]), "proven": int(draw.random() < 0.7)} for before, after in zip(dev, others)]
        strangers = [{"question": f"Where was Name{i % 7} Stranger{i} born?", "prediction": draw.choice(["London", "Paris", "Rome", *wrong.values()]),
                      "probability": f"{draw.random():.3g}"} for i in range(asked[row] if isinstance(asked, dict) else asked)]
        if invented:
            strangers = [{**one, "by_name": f"{0.1 * draw.random():.3g}", "by_any_name": f"{0.05 * draw.random():.3g}",
                          "best_guess_probability": f"{0.2 * draw.random():.3g}"} for one in strangers]
        written[row] = {"dev": dev, "beam": beam, "invented": strangers}
        for kind in ("dev", "beam"):
            write_table(folder / f"{row}.{kind}.answers.tsv", written[row][kind])
            places = "".join(f"{one['prediction']}\n" for one in written[row][kind])
            (folder / f"{row}.{kind}.predictions").write_text(places, encoding="utf-8")
        (folder / f"{row}.test.predictions").write_text("London\n", encoding="utf-8")
        if strangers:
            write_table(folder / f"{row}.invented.scores.tsv", strangers)
        stages = {f"{row}.finetune": {"command": f"python src/run.py finetune {row}", "seconds": 60, "machines": [machine]},
                  f"{row}.dev": {"command": f"python src/run.py evaluate {row}", "seconds": 30,
                                 "machines": [{**machine, "hardware": "one that trains nothing", "commit": "fff0000"}]}}
        logs = {f"{row}.finetune.log.jsonl": make_log(60, 20, 60)}
        recall = make_recall(draw, dev, offers, knows) if knows is not None and row != "vanilla.nopretrain" else []
        written[row]["recall"] = recall
        if recall:
            write_table(folder / f"{row}.recall.tsv", recall)
            stages[f"{row}.recall"] = {"command": f"python tools/recall.py {row.split('.')[0]} wiki.txt", "seconds": 30,
                                       "machines": [{**machine, "hardware": "one that trains nothing", "commit": "fff0000"}]}
        if row != "vanilla.nopretrain":
            stages = {row: {"command": f"python src/run.py pretrain {row}", "seconds": 120, "machines": [machine]}, **stages}
            logs[f"{row}.log.jsonl"] = make_log(*log)
        for name, records in logs.items():
            (folder / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
        facts[row] = {"dev": {"correct": sum(one["correct"] for one in dev), "total": count}, "stages": stages}
    (folder / "record.json").write_text(json.dumps({
        "data": {"name": data, "sha256": {"wiki.txt": digest}}, "recipe": recipe, "seed": seed, "dev people in finetuning": 0,
        "london": {"correct": 1, "total": count}, "rows": facts}))
    return written


def page_of(folder):
    return report.page(analysis.load_runs(folder), lambda *_: [])


def parsed(text):
    """{first cell of the head: [a table's rows as {head: cell}, of all tables with that head]}."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        head, line, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in block.splitlines()]
        assert set(line) == {"---"} and all(len(row) == len(head) == len(line) for row in rows), block
        found.setdefault(head[0], []).extend(dict(zip(head, row)) for row in rows)
    return found


def figures(text):
    """The numbers of a text in their order."""
    return re.findall(r"\d+(?:[.,]\d+)*%?", text)


def per_cents(numbers, digits=1):
    return [f"{100 * number:.{digits}f}%" for number in numbers]


def share(count, total):
    return f"{100 * count / total:.1f}%"


def of_row(table, row, column=None):
    """The rows of a table about a row of the results, or its one row's cell."""
    lines = [line for line in table if report.LABELS[row] in line.values()]
    return lines if column is None else lines[0][column]


@pytest.fixture
def two_seeds(tmp_path):
    """A page of two seeds, and what was written of each."""
    written = [write_record(tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1)]
    return page_of(tmp_path), written


def pooled(written, row, kind="dev"):
    return [one for record in written for one in record[row][kind]]


# ---- the numbers ----------------------------------------------------------------------------------------------------

def test_the_table_has_mean_spread_and_interval_of_the_seeds(two_seeds):
    text, written = two_seeds
    table = parsed(text)["dev accuracy"]
    for row in ROWS:
        right = [sum(one["correct"] for one in record[row]["dev"]) for record in written]
        _, (low, high) = analysis.accuracy_interval([[one["correct"] for one in record[row]["dev"]] for record in written])
        assert of_row(table, row, "measured, mean") == share(sum(right), 80)
        assert of_row(table, row, "seeds") == "2"
        assert of_row(table, row, "lowest–highest seed") == f"{2.5 * min(right):.1f}–{2.5 * max(right):.1f}%"
        assert of_row(table, row, "95% interval") == f"{100 * low:.1f}–{100 * high:.1f}%"
    assert of_row(table, "london", "measured, mean") == "2.5%"
    best = statistics.fmean(question["best_guess_probability"] for question in make_questions(40, True))
    assert of_row(table, "name_only", "measured, mean") == f"{100 * best:.1f}%, expected"
    assert "40 questions. Machine: a machine (training in bfloat16; torch 2.13)." in text and "one that trains nothing" not in text


def test_every_machine_that_trained_is_named_once(tmp_path):
    machines = [MACHINE, {**MACHINE, "hardware": "a GPU", "commit": "def5678"}, {**MACHINE, "precision": "float32"},
                {**MACHINE, "commit": "0000000"}]
    for seed, machine in enumerate(machines):
        write_record(tmp_path / str(seed), seed=seed, machine=machine)
    runs = analysis.load_runs(tmp_path)["quick"]
    assert [run.machines(row) for run in runs for row in ROWS] == [[machine] for machine in machines for _ in ROWS]
    assert report.machines(runs) == ("a machine (training in bfloat16; torch 2.13); a GPU (training in bfloat16; torch 2.13); "
                                     "a machine (training in float32; torch 2.13)")


def test_one_seed_has_wilsons_interval_and_no_spread(tmp_path):
    written = write_record(tmp_path / "a")
    for line in parsed(page_of(tmp_path))["dev accuracy"][:3]:
        row = next(row for row in ROWS if report.LABELS[row] == line["dev accuracy"])
        right = sum(one["correct"] for one in written[row]["dev"])
        low, high = analysis.wilson(right / 40, 40)
        assert list(line.values())[1:] == [share(right, 40), "1", "–", f"{100 * low:.1f}–{100 * high:.1f}%"]


def test_reported_figures_stand_beside_those_on_the_courses_files_only(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False)
    write_record(tmp_path / "b", data="quick")
    text = page_of(tmp_path)
    course = next(line for line in text.splitlines() if line.startswith("| vanilla, pretrained |"))
    assert course.endswith("| 23.0% | 22% | 22% (14.6–28.0) |")
    assert text.count("14.6–28.0") == 1
    assert text.index("### The course’s files") < text.index(report.REPORTED_BY) < text.index("14.6–28.0")
    assert text.count(report.REPORTED_BY) == 1
    quick = analysis.load_runs(tmp_path)["quick"]
    assert report.results_table(quick, False) in text and "reported" not in report.results_table(quick, False)
    assert report.LABELS["name_only"] not in report.results_table(analysis.load_runs(tmp_path)["course"])


def test_a_row_that_has_not_been_run_says_so(tmp_path):
    write_record(tmp_path / "a", rows=ROWS[:2])
    text = page_of(tmp_path)
    table = parsed(text)["dev accuracy"]
    assert of_row(table, "synthesizer.pretrain", "measured, mean") == "not run yet"
    assert of_row(table, "synthesizer.pretrain", "seeds") == "0"
    assert text.count(report.LABELS["synthesizer.pretrain"]) == 1  # in no other table
    assert of_row(parsed(text)["right, of the questions answered"], "vanilla.pretrain")


def test_rows_with_different_numbers_of_seeds(tmp_path):
    written = [write_record(tmp_path / "a", seed=0), write_record(tmp_path / "b", seed=1, rows=ROWS[:1])]
    tables = parsed(page_of(tmp_path))
    assert [line["seeds"] for line in tables["dev accuracy"][:3]] == ["2", "1", "1"]
    right = sum(one["correct"] for one in pooled(written, ROWS[0]))
    assert of_row(tables["dev accuracy"], ROWS[0], "measured, mean") == share(right, 80)
    heads = list(tables["right answers, by what the data offered"][0])
    assert heads[1].endswith("(2 seeds)") and heads[2].endswith("(1 seed)")


# ---- the training ---------------------------------------------------------------------------------------------------

def test_the_training_table_has_the_losses_of_the_epochs(two_seeds):
    text, _ = two_seeds
    by_epoch = {}
    for before, record in zip([{"step": 0}, *make_log(460, 23, 460)], make_log(460, 23, 460)):
        by_epoch.setdefault(record["epoch"], []).extend([record["loss"]] * (record["step"] - before["step"]))
    losses = {epoch: statistics.fmean(steps) for epoch, steps in by_epoch.items()}
    expected = ["20", "460", f"{3 * math.exp(-10 / 200):.2f}", *(f"{losses[epoch]:.3f}" for epoch in (5, 10, 15, 20)),
                f"{make_log(60, 20, 60)[-1]['loss']:.3f}", f"{460 * 0.5 / 60:.1f}"]
    lines = parsed(text)["training loss"]
    assert [list(line.values()) for line in lines] == [[report.LABELS[row], str(seed), *expected] for row in ROWS[1:] for seed in (0, 1)]


def test_epochs_of_fewer_than_ten_steps_have_a_table_too(tmp_path):
    write_record(tmp_path / "a", log=(105, 3, 460))
    (line, _) = parsed(page_of(tmp_path))["training loss"]
    assert (line["epochs of pretraining"], line["steps of pretraining"]) == ("35", "105")
    assert line["loss in the last epoch"] == f"{3 * math.exp(-105 / 200):.3f}"


@pytest.mark.parametrize("log", [(460, 23, 460), (1500, 23, 460), (3000, 7, 200), (25, 23, 460), (20, 2, 10)])
def test_the_phases_of_the_learning_rate_have_the_loss_at_their_ends(tmp_path, log):
    write_record(tmp_path / "a", log=log)
    records = [{"step": 0}, *make_log(*log)]
    runs = []  # (sign of the change, number of the first record, number of the last)
    for i in range(2, len(records)):
        sign = (records[i]["lr"] > records[i - 1]["lr"]) - (records[i]["lr"] < records[i - 1]["lr"])
        if runs and runs[-1][0] == sign:
            runs[-1][2] = i
        else:
            runs.append([sign, i - 1, i])

    def loss(i):
        return f"{statistics.fmean(record['loss'] for record in records[max(1, i - 9):i + 1]):.3f}"

    text = "\n".join(report.schedule(make_log(*log)))
    (table,) = parsed(f"{text}\n").values()
    assert [list(line.values()) for line in table] == [
        [{1: "rises", -1: "falls", 0: "stays"}[sign], *(f"{records[first][kind]:,}–{records[last][kind]:,}" for kind in ("step", "epoch")),
         f"{records[first]['lr']:.2e} → {records[last]['lr']:.2e}", f"{loss(first)} → {loss(last)}"] for sign, first, last in runs]
    assert page_of(tmp_path).count(text) == 1


def test_at_the_peaks_of_a_cosine_the_table_has_the_peaks():
    """The rate of make_log() is least from 0.795 half cosines on, up to 1.205 of them, and back at its peak after two, at step 920."""
    (table,) = parsed("\n".join(report.schedule(make_log(1500, 23, 460))) + "\n").values()
    falls, stays, rises, *_ = [list(line.values()) for line in table]
    assert (falls[0], falls[1], falls[3].split(" → ")[1]) == ("falls", "10–370", "6.00e-04")
    assert (stays[0], stays[1], stays[3]) == ("stays", "370–550", "6.00e-04 → 6.00e-04")
    assert (rises[0], rises[1], rises[3]) == ("rises", "550–920", "6.00e-04 → 6.00e-03")
    assert rises[4] == " → ".join(f"{statistics.fmean(3 * math.exp(-(step - back) / 200) for back in range(0, 100, 10)):.3f}"
                                  for step in (550, 920))


def test_a_log_of_one_record_has_no_schedule(tmp_path):
    assert report.schedule(make_log(7, 23, 460)) == [] and len(make_log(7, 23, 460)) == 1
    write_record(tmp_path / "a", log=(7, 23, 460))
    assert len(parsed(page_of(tmp_path))["training loss"]) == 2


# ---- recall or guess ------------------------------------------------------------------------------------------------

def test_the_split_counts_right_answers_by_what_was_offered(two_seeds):
    text, written = two_seeds
    table = {line.pop("right answers, by what the data offered"): list(line.values())
             for line in parsed(text)["right answers, by what the data offered"]}
    questions = make_questions(40, True)

    def counted(holds):
        at = [i for i, question in enumerate(questions) if holds(question)]
        return [f"{right} of {2 * len(at)}: {share(right, 2 * len(at))}"
                for right in (sum(record[row]["dev"][i]["correct"] for record in written for i in at) for row in ROWS)]

    expected = {
        "place within the first 112 characters of the document": lambda q: q["document"] == "early",
        "place only after character 112": lambda q: q["document"] == "late",
        "place not in the document": lambda q: q["document"] == "absent",
        "no document": lambda q: q["document"] == "none",
        "… of these, its last letter among characters 1–56": lambda q: q["document"] == "early" and q["place_end"] <= 56,
        "… of these, its last letter among characters 57–84": lambda q: q["document"] == "early" and 56 < q["place_end"] <= 84,
        "… of these, its last letter among characters 85–112": lambda q: q["document"] == "early" and q["place_end"] > 84,
        "place is the answer of a finetuning example": lambda q: q["finetuning"] > 0,
        "place is in no finetuning example": lambda q: q["finetuning"] == 0,
        "the best guess from the name is right": lambda q: q["best_guess"] == q["place"],
        "the best guess from the name is wrong": lambda q: q["best_guess"] != q["place"],
    }
    assert table == {name: counted(holds) for name, holds in expected.items()}


def test_the_table_about_invented_people_counts_their_answers(two_seeds, tmp_path):
    (text, written), folder = two_seeds, tmp_path
    for row in ROWS:
        (line,) = of_row(parsed(text)["asked about invented people"], row)
        asked = pooled(written, row, "invented")
        places, probabilities = [one["prediction"] for one in asked], [float(one["probability"]) for one in asked]
        assert (line["questions"], line["different answers"]) == ("60", str(len(set(places))))
        assert (line["answering London"], line["answering Paris"]) == (share(places.count("London"), 60), share(places.count("Paris"), 60))
        shown = [re.fullmatch(r"(.+) (\d+)%", part).groups() for part in line["the five most frequent answers"].split(", ")]
        assert len(shown) == 5
        counts = sorted((places.count(place) for place in set(places)), reverse=True)[:5]
        assert [per_cent for _, per_cent in shown] == [f"{100 * count / 60:.0f}" for count in counts]
        assert all(per_cent == f"{100 * places.count('' if place == '(nothing)' else place) / 60:.0f}" for place, per_cent in shown)
        assert line["median of the answers' probabilities"] == f"{statistics.median(probabilities):.3f}"
        assert line["answers with a probability above ½"] == share(sum(p > 0.5 for p in probabilities), 60)
        assert list(line.values())[-6:-4] == [f"{apart(written, row, correct):.2f} ({low:.2f}–{high:.2f})" for correct in (1, 0)
                                              for low, high in [apart_interval(written, row, correct)]]
        by_chance = analysis.same_name([run for runs in analysis.load_runs(folder).values() for run in runs], row)
        assert list(line.values())[-4:] == ["{} of {} pairs; by chance ".format(*same_names(written, row))
                                            + f"{100 * by_chance.by_chance:.1f}%, at most {100 * by_chance.most_by_chance:.1f}%", *(
            f"{mean_name(asked, name)} ({100 * low:.1f}–{100 * high:.1f}%)"
            for name in ("by_name", "by_any_name") for low, high in [name_interval(written, row, name)]),
            mean_name(asked, "best_guess_probability")]


def test_the_table_about_invented_people_has_the_rows_that_were_asked(tmp_path):
    write_record(tmp_path / "a" / "r", asked={ROWS[0]: 5, ROWS[1]: 0, ROWS[2]: 7})
    text = page_of(tmp_path / "a")
    assert [line["questions"] for line in parsed(text)["asked about invented people"]] == ["5", "7"]
    write_record(tmp_path / "b" / "r", asked=0)
    text = page_of(tmp_path / "b")
    assert "asked about invented people" not in text and "nan" not in text and "None" not in text
    write_record(tmp_path / "c" / "r", invented=False)
    assert len(parsed(page_of(tmp_path / "c"))["asked about invented people"][0]) == 11  # without what is known of names


def mean_name(asked, name):
    return f"{100 * statistics.fmean(float(one[name]) for one in asked):.1f}%"


def name_interval(written, row, name):
    """Of a mean over people, each with the answers of all seeds."""
    return analysis.mean_interval([[float(one[name]) for one in person]
                                   for person in zip(*(record[row]["invented"] for record in written))])


def compared(written, row, correct, count):
    """Of each person whose place stands early the right or wrong answers' probabilities, and of each invented one all."""
    early = [[float(record[row]["dev"][i]["probability"]) for record in written if record[row]["dev"][i]["correct"] == correct]
             for i, question in enumerate(make_questions(count, True)) if question["document"] == "early"]
    return [person for person in early if person], [[float(one["probability"]) for one in person]
                                                    for person in zip(*(record[row]["invented"] for record in written))]


def apart_interval(written, row, correct, count=40):
    return analysis.higher_interval(*compared(written, row, correct, count))


def apart(written, row, correct, count=40):
    early, invented = ([p for person in people for p in person] for people in compared(written, row, correct, count))
    return statistics.fmean((p > q) + (p == q) / 2 for p, q in itertools.product(early, invented))


def same_names(written, row):
    """Of pairs of invented people with the same first name the share with the same answer, and how many pairs."""
    pairs = [one["prediction"] == other["prediction"] for record in written
             for one, other in itertools.combinations(record[row]["invented"], 2)
             if one["question"].split()[2] == other["question"].split()[2]]
    return f"{100 * statistics.fmean(pairs):.1f}%", f"{len(pairs)}"


def test_the_kinds_of_answers_are_shares_of_all(two_seeds):
    text, written = two_seeds
    lines = {line.pop("what the dev answers are"): list(line.values()) for line in parsed(text)["what the dev answers are"]}
    words = {"right": "right", "in the document": "wrong, but in the person's own document",
             "in finetuning": "wrong, and the answer of a finetuning example",
             "in the corpus": "wrong, and somewhere else in the corpus", "nowhere": "wrong, and nowhere in the corpus", "empty": "nothing"}
    for kind, name in words.items():
        assert lines[name] == [share(sum(one["kind"] == kind for one in pooled(written, row)), 80) for row in ROWS]
    assert lines["right, expected if only names were known"] == [
        f"{100 * statistics.fmean(float(one['by_name']) for one in pooled(written, row)):.1f}%" for row in ROWS]


EARLY_AND_LATE = [("early", 30), ("early", 100)]
ALIKE = [("early", 50), ("early", 60)]


def remark_of(folder):
    return "\n".join(report.lateness(analysis.load_runs(folder)))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("late_skill, falls", [(0.05, True), (0.6, False), (0.99, False)])
def test_a_fall_with_late_places_is_said_only_where_it_is(tmp_path, seeds, late_skill, falls):
    skill = {**SKILL, ROWS[1]: [0.6, late_skill]}
    written = [write_record(tmp_path / str(seed), seed=seed, offers=EARLY_AND_LATE, skill=skill, count=120) for seed in range(seeds)]
    text = remark_of(tmp_path)
    assert (text != "") == falls and (text in page_of(tmp_path))
    if falls:
        right = [sum(record[ROWS[1]]["dev"][i]["correct"] for record in written for i in range(first, 120, 2)) for first in (0, 1)]
        bounds = [per_cents(analysis.wilson(count / 60 / seeds, 60)) for count in right]
        assert figures(text.replace("–", " ")) == [
            share(right[0], 60 * seeds), "1", "56", bounds[0][0].rstrip("%"), bounds[0][1],
            share(right[1], 60 * seeds), "85", "112", bounds[1][0].rstrip("%"), bounds[1][1],
            f"{100 * 83 / 109:.0f}%", f"{100 * 13 / 109:.0f}%", "95%"]


def unlearned(folder, row, positions):
    """Makes a row know nobody from the document whose question stands at these positions. Returns its lines of recall by position."""
    def forget(line, _):
        if int(line["line"]) - 2 in positions:
            line["document"] = "0"
    return {int(line["line"]) - 2: line for line in change_table(folder / f"{row}.recall.tsv", forget)}


@pytest.mark.parametrize("less", [True, False])
def test_late_places_that_are_learned_less_often_are_said_to_be(tmp_path, less):
    skill = {**SKILL, ROWS[1]: [0.6, 0.05]}
    dev = write_record(tmp_path / "a", offers=EARLY_AND_LATE, skill=skill, count=120)[ROWS[1]]["dev"]
    lines = unlearned(tmp_path / "a", ROWS[1], range(1, 80, 2) if less else ())
    text = remark_of(tmp_path)
    assert ("learned less often" in text) == less
    if less:
        known = [[i for i in range(first, 120, 2) if lines[i]["document"] == "1"] for first in (0, 1)]
        assert figures(text.partition("learned less often")[2]) == [
            *(figure for group in known for figure in (str(len(group)), "60")),
            *(figure for group in known for figure in (str(sum(dev[i]["correct"] for i in group)), str(len(group)))), "95%"]


# ---- what is known --------------------------------------------------------------------------------------------------

def people_probed(written, row):
    """For each seed that has measured it, a dict for each person: the columns, what the question found, and whether the name alone did."""
    found = []
    for record in written:
        people = [dict(line) for line in record[row]["recall"]] if row in record else []
        for number, person in enumerate(people):
            (answer,) = [one for one in record[row]["dev"] if one["line"] == person["line"]]
            before = record[row]["recall"][number - 1]  # of the first, the last
            person["question"] = answer["correct"]
            person["name"] = int(person["sentence"] == 1 or answer["correct"] == 1 or before["document_other_other"] == 1)
        found += [people] * bool(people)
    return found


def probed(written, row, rung, among=lambda person: True):
    """How many, of how many who could be asked about, and of how many seeds."""
    seeds = people_probed(written, row)
    values = [person[rung] for people in seeds for person in people if among(person) and person[rung] != ""]
    return sum(values), len(values), len(seeds)


def probed_interval(count, total, seeds):
    return analysis.wilson(count / total, total / seeds)


def probed_cell(count, total, seeds):
    low, high = probed_interval(count, total, seeds)
    return f"{count} of {total}: {share(count, total)} ({100 * low:.1f}–{100 * high:.1f}%)"


def counted_figures(*parts):
    return [figure for count, total, _ in parts for figure in (f"{count:,}", f"{total:,}", share(count, total))]


def lower(some, others):
    return probed_interval(*some)[1] < probed_interval(*others)[0]


NAMELESS = (0.95, 0.9, 0.05, 0.9, 0.9, 0.1)  # of one who goes by the document's words whatever the name, and by the sentence as well
LADDER_LABELS = ["document", "document_other_own", "document_other_other", "sentence", "question", "finetuned_document",
                 "finetuned_sentence"]


def test_the_ladder_has_what_each_text_leads_to(two_seeds):
    text, written = two_seeds
    lines = parsed(text)["what produces the person's place"]
    assert list(lines[0])[1:] == [f"{report.LABELS[row]} (2 seeds)" for row in ROWS[1:]]
    assert [line["what produces the person's place"] for line in lines] == list(pieces.RUNG_LABELS.values())
    assert [*pieces.RUNG_LABELS] == LADDER_LABELS
    for rung, line in zip(LADDER_LABELS, lines, strict=True):
        assert list(line.values())[1:] == [probed_cell(*probed(written, row, rung)) for row in ROWS[1:]]
    totals = {rung: probed(written, ROWS[1], rung)[1] for rung in LADDER_LABELS}
    assert totals.pop("document_other_own") == totals.pop("document_other_other") == 42 and set(totals.values()) == {48}


def test_the_crosses_say_who_of_those_found_one_way_is_found_another(two_seeds):
    text, written = two_seeds
    crosses = [list(line.values())[1:] for line in parsed(text)["of these people"]]
    assert crosses == [[probed_cell(*probed(written, row, then, lambda person: given is None or person[given] == 1)) for row in ROWS[1:]]
                       for given, then in (("question", "document"), ("document", "question"), ("sentence", "question"), (None, "name"))]


def test_what_is_known_is_reported_of_the_seeds_that_have_measured_it(tmp_path):
    written = [write_record(tmp_path / "a", seed=0), write_record(tmp_path / "b", seed=1, knows=None),
               write_record(tmp_path / "c", seed=2, rows=ROWS[:2])]
    lines = parsed(page_of(tmp_path))["what produces the person's place"]
    assert list(lines[0])[1:] == [f"{report.LABELS[ROWS[1]]} (2 seeds)", f"{report.LABELS[ROWS[2]]} (1 seed)"]
    assert list(lines[0].values())[1:] == [probed_cell(*probed(written, row, "document")) for row in ROWS[1:]]


@pytest.mark.parametrize("settings", [dict(knows=None), dict(rows=ROWS[:1]), dict(offers=OFFERS[4:])])
def test_where_it_has_not_been_measured_nothing_is_said_of_what_is_known(tmp_path, settings):
    write_record(tmp_path / "a", count=140, **settings)
    shown = []
    text = report.page(analysis.load_runs(tmp_path), lambda data, name, alt: shown.append(name) or [])
    assert "What it knows" not in text and "by heart" not in text and "ladder" not in shown and "RUNG" not in text
    assert "goes on with" not in text


def test_of_a_crossing_of_nobody_there_is_a_dash(tmp_path):
    write_record(tmp_path / "a", skill=dict.fromkeys(ROWS, 0), knows=0)
    cells = [list(line.values())[1:] for line in parsed(page_of(tmp_path))["of these people"]]
    assert cells[:3] == [["–", "–"]] * 3 and all(cell.startswith("0 of ") or cell[0].isdigit() for cell in cells[3])


def test_of_the_ladder_only_what_its_intervals_show_is_said(tmp_path):
    """Each sentence appears with its figures if, and only if, its condition holds; each does both somewhere here."""
    seen = set()
    cases = itertools.product((0.3, 0.9, 1, NAMELESS), (0.02, 0.15, 0.45, 0.8), (1, 3), (40, 400))
    for number, (knows, skill, seeds, count) in enumerate(cases):
        folder = tmp_path / str(number)
        written = [write_record(folder / str(seed), seed=seed, rows=ROWS[1:2], skill={ROWS[1]: skill}, knows=knows, count=count)
                   for seed in range(seeds)]
        (runs,) = analysis.load_runs(folder).values()
        row = ROWS[1]
        document, own, others, sentence, question, finetuned, name = (
            probed(written, row, rung) for rung in (*LADDER_LABELS[:6], "name"))
        found = knowledge.what_is_known("quick", {row: analysis.ladder(runs, row)}, {row: analysis.by_name_alone(runs, row)})
        text = "\n".join(found)
        said = probed_interval(*document)[0] > 0.5 and lower(question, document)
        assert bool(found) == said and text in page_of(folder)
        seen.add(("by heart", said))
        if not said:
            continue
        conditions = {
            "It goes by the name": lower(own, document), "to that of the person named": lower(own, document) and lower(own, others),
            "calls up less": lower(sentence, document), "fewer than that sentence": lower(question, sentence),
            "more than that sentence": lower(sentence, question),
            "as many as that sentence": not lower(question, sentence) and not lower(sentence, question),
            "not the same people": all(lower(one, name) for one in (others, sentence, question)), "a price": lower(finetuned, document)}
        assert {words: words in text for words in conditions} == conditions
        seen.update(conditions.items())
        assert figures(text) == counted_figures(
            document, *[own] * conditions["It goes by the name"], *[others] * conditions["to that of the person named"],
            *[sentence] * conditions["calls up less"], question, *[name] * conditions["not the same people"],
            *[finetuned] * conditions["a price"])
    assert {condition for condition, _ in seen} == {"by heart", *conditions} and len(seen) == 2 * len({one for one, _ in seen})


# Probabilities of the columns of COLUMNS: all is known, and of the name alone much or little calls it up.
MUCH, LITTLE = (0.95, 0.02, 0.6, 0.7, 0.6, 0.5), (0.95, 0.02, 0.1, 0.2, 0.6, 0.5)


@pytest.mark.parametrize("first, second, same, access", [
    ((0.9, 0.15), (0.9, 0.15), "The same holds of the row “synthesizer, pretrained”.", False),
    # the sentence, of half as many, finds more than the question of the second alone
    ((0.9, 0.45), (0.9, 0.15), "The same holds of the row “synthesizer, pretrained”. What differs: Asked after finetuning", None),
    ((LITTLE, 0.45), (MUCH, 0.15), None, True),
    ((MUCH, 0.15), (LITTLE, 0.45), "The same holds of the row “synthesizer, pretrained”. What differs: Asked after finetuning", False),
    ((0.3, 0.15), (0.9, 0.15), None, False),       # of the first nothing can be said
    ((NAMELESS, 0.15), (0.9, 0.15), None, False)])  # of the second more than of the first
def test_of_a_second_row_is_said_what_differs_and_how_it_compares(tmp_path, first, second, same, access):
    written = {}
    for name, row, (knows, skill) in (("a", ROWS[1], first), ("b", ROWS[2], second)):
        written |= write_record(tmp_path / name, rows=[row], knows=knows, skill={row: skill}, count=400)
    (runs,) = analysis.load_runs(tmp_path).values()
    ladders, by_name = ({row: measure(runs, row) for row in ROWS[1:]} for measure in (analysis.ladder, analysis.by_name_alone))
    alone = [knowledge.what_is_known("quick", {row: ladders[row]}, by_name) for row in ROWS[1:]]
    both = knowledge.what_is_known("quick", ladders, by_name)
    assert both[:len(alone[0])] == alone[0] and alone[1]
    said, mark, comparison = both[len(alone[0])].partition(" Beside the row “vanilla, pretrained” it finds ")
    assert bool(mark) == bool(alone[0])
    if same is None:
        assert said == alone[1][0] or (not mark and both == alone[1])
    else:
        assert said.startswith(same)
        sentence = said.partition(" What differs: ")[2]
        assert sentence in alone[1][0] and sentence.count(". ") == 0 and bool(sentence) == ("differs" in same)
    if mark:
        found = [[probed([written], row, rung) for row in ROWS[1:]] for rung in ("sentence", "name", "question")]
        words = ["more" if lower(one, other) else "fewer" if lower(other, one) else "as many, within the intervals" for one, other in found]
        assert re.findall(r"(more|fewer|as many, within the intervals) by", comparison) == words
        assert figures(comparison) == [share(*one[:2]) for pair in found for one in reversed(pair)]
        without = words[1] != "fewer" and words[2] == "fewer"
        assert ("not knowledge" in comparison) == without and access in (without, None)


def test_where_there_is_no_fall_the_places_are_compared_with_those_where_there_is(tmp_path):
    def both(name, course, quick, skills=(0.6, 0.05), others=(0.6, 0.6)):
        write_record(tmp_path / name / "c", data="course", offers=course, skill={**SKILL, ROWS[1]: list(skills)}, count=120, invented=False)
        write_record(tmp_path / name / "q", data="quick", offers=quick, skill={**SKILL, ROWS[1]: list(others)}, count=120)
        return remark_of(tmp_path / name)

    closer = both("closer", EARLY_AND_LATE, ALIKE)
    places = [closer.index(words) for words in ("course’s files accuracy falls", "quick corpus no such fall", "more similar positions")]
    assert places == sorted(places)
    farther = both("farther", ALIKE, EARLY_AND_LATE)
    assert "quick corpus no such fall" in farther and "similar positions" not in farther
    both_fall = both("both", EARLY_AND_LATE, ALIKE, others=(0.6, 0.05))
    assert both_fall.count("accuracy falls") == 2 and "no such fall" not in both_fall
    turned = both("turned", EARLY_AND_LATE, ALIKE, skills=(0.6, 0.6), others=(0.6, 0.05))
    assert turned.index("quick corpus accuracy falls") < turned.index("course’s files no such fall") and "similar" not in turned
    rises = both("rises", EARLY_AND_LATE, ALIKE, others=(0.05, 0.6))
    assert "quick corpus" not in rises and "course’s files accuracy falls" in rises
    assert both("one group", EARLY_AND_LATE, ALIKE[:1]).count("On the") == 1
    assert both("no fall", EARLY_AND_LATE, ALIKE, skills=(0.6, 0.6)) == ""


# ---- belief and beam ------------------------------------------------------------------------------------------------

def test_the_table_of_belief_counts_what_is_right_above_each_threshold(two_seeds):
    text, written = two_seeds
    for row in ROWS:
        (line,) = of_row(parsed(text)["right, of the questions answered"], row)
        answers = [(float(one["probability"]), one["correct"]) for one in pooled(written, row)]
        for coverage in (5, 10, 20, 30, 50, 100):
            sets = [[one for one in answers if one[0] >= threshold] for threshold, _ in answers]
            answered = max((one for one in sets if len(one) <= 0.8 * coverage), key=len, default=None)
            expected = answered and f"{share(sum(c for _, c in answered), len(answered))} of {len(answered)} (≥ {min(answered)[0]:.2f})"
            assert line[f"answering {coverage}%"] == (expected or "–")
        wins = [(p > q) + (p == q) / 2 for p, right in answers for q, also in answers if right and not also]
        bounds = analysis.ranking_interval(list(zip(answers[:40], answers[40:])))       # of each question the answers of both seeds
        bounds = f"{bounds[0]:.2f}–{bounds[1]:.2f}" if bounds else "–"
        falling = sorted(answers, key=lambda one: -one[0])
        assert list(line.values())[-4:] == [
            f"{statistics.fmean(wins):.2f} ({bounds})", *(f"{100 * error(falling):.1f}%" for error in (
                analysis.calibration_error, analysis.calibration_error_by_chance)), f"{100 * statistics.fmean(p for p, _ in answers):.1f}%"]


def test_the_beams_table_compares_it_with_greedy_answers(two_seeds):
    text, written = two_seeds
    lines = [line for line in parsed(text)["data"] if "accuracy, beam 8" in line]
    assert len(lines) == 3
    for row, line in zip(ROWS, lines):
        greedy, beam = pooled(written, row), pooled(written, row, "beam")
        both = list(zip(greedy, beam))
        assert list(line.values()) == [
            "the quick corpus", report.LABELS[row], "80", str(sum(b["proven"] for b in beam)),
            str(sum(a["prediction"] != b["prediction"] for a, b in both)),
            str(sum(a["prediction"] != b["prediction"] and float(b["probability"]) > float(a["probability"]) for a, b in both)),
            str(sum(b["correct"] > a["correct"] for a, b in both)), str(sum(b["correct"] < a["correct"] for a, b in both)),
            share(sum(a["correct"] for a in greedy), 80), share(sum(b["correct"] for b in beam), 80)]
    assert all(any(line[f"greedy {one}, beam {other}"] != "0" for line in lines) for one, other in (("wrong", "right"), ("right", "wrong")))


# ---- part 3 ---------------------------------------------------------------------------------------------------------

MANY = 140
RECALLS = {**SKILL, "vanilla.pretrain": [0.9] * 4 + [0.1] * 3}


def essay_of(folder):
    return "\n".join(part3.essay(analysis.load_runs(folder)))


def parts_of(essay):
    """Its three parts, without the table."""
    assert len(re.findall(r"^\*\*\(", essay, flags=re.MULTILINE)) == 3
    text = re.sub(r"^\|.*\n", "", essay, flags=re.MULTILINE)
    assert "–" not in text and "nan" not in text and "None" not in text and ".." not in text and "  " not in text
    return [re.search(rf"\*\*\({part}\) .*?(?=\n\*\*\(|\Z)", text, flags=re.DOTALL)[0] for part in "abc"]


def figures_known(written):
    """What part (a) has of the ladder."""
    rungs = {rung: probed(written, ROWS[1], rung) for rung in (*LADDER_LABELS, "name")}
    if not rungs["document"][1] or not lower(rungs["question"], rungs["document"]):
        return []
    together = (lower(rungs["sentence"], rungs["name"]) and lower(rungs["question"], rungs["name"])
                and lower(rungs["name"], rungs["document"]))
    return counted_figures(rungs["document"], *[rungs["document_other_own"]] * lower(rungs["document_other_own"], rungs["document"]),
                           rungs["sentence"], rungs["question"], *[rungs["name"]] * together,
                           *[rungs["finetuned_document"]] * lower(rungs["finetuned_document"], rungs["document"]))


def figures_like_strangers(written, count):
    """What part (c) has of how answers compare with those about invented people."""
    (right, right_bounds), (wrong, wrong_bounds), (lucky, lucky_bounds) = (
        (f"{100 * apart(written, row, correct, count):.0f}%", apart_interval(written, row, correct, count))
        if all(compared(written, row, correct, count)) else ("", None)
        for row, correct in ((ROWS[1], 1), (ROWS[1], 0), (ROWS[0], 1)))
    if not right or not wrong:
        return []
    found = [right, *per_cents(right_bounds, 0), wrong, *per_cents(wrong_bounds, 0)]
    if lucky:
        found += [lucky, *per_cents(lucky_bounds, 0)]
    known = [person["question"] for people in people_probed(written, ROWS[1]) for person in people if person["document"]]
    if not all(known) and wrong_bounds[0] <= 0.5 <= wrong_bounds[1]:
        found += [str(len(known)), str(known.count(0))]
    return found


def test_the_essay_says_of_what_is_known_only_what_the_figures_show(tmp_path):
    """As the ladder's own paragraph does."""
    seen = set()
    half = (0.95, 0.02, 0.02, 0.48, 0.9, 0.3)
    cases = itertools.product((0.3, 0.9, NAMELESS, half), (0.25, 0.45, 0.7, 0.9), (105, 350))
    for number, (knows, skill, count) in enumerate(cases):
        folder, row = tmp_path / str(number), ROWS[1]
        written = [write_record(folder / str(seed), seed=seed, rows=ROWS[:2], count=count, knows=knows, asked=0, invented=False,
                                skill={ROWS[0]: 0, row: skill}) for seed in range(1 + number // 2 % 2)]
        why, *_ = parts_of(essay_of(folder))
        document, own, sentence, question, finetuned, name = (probed(written, row, rung) for rung in (
            "document", "document_other_own", "sentence", "question", "finetuned_document", "name"))
        told = lower(question, document)
        conditions = {
            "knowledge is there before finetuning": told, "it goes by the name": told and lower(own, document),
            "finds fewer": told and lower(question, sentence), "finds more": told and lower(sentence, question),
            "as many within": told and not lower(question, sentence) and not lower(sentence, question),
            "other people in part": told and lower(sentence, name) and lower(question, name) and lower(name, document),
            "costs some of what was known": told and lower(finetuned, document)}
        assert {words: words in why for words in conditions} == conditions
        seen |= {*conditions.items()}
        known = figures_known(written)
        assert bool(known) == told and (not known or figures(why.split("\n\n")[1]) == known)
    assert len(seen) == 2 * len({words for words, _ in seen})


@pytest.mark.parametrize("invented", [True, False])
@pytest.mark.parametrize("scale", [1, 0.4])
@pytest.mark.parametrize("skill", [SKILL, RECALLS])
def test_the_essay_has_the_figures_of_the_records(tmp_path, skill, scale, invented):
    written = [write_record(tmp_path / f"{seed}", seed=seed, count=MANY, skill=skill, scale=scale, invented=invented) for seed in (0, 1)]
    why, concern, strategy = parts_of(essay_of(tmp_path))
    without, answers = pooled(written, ROWS[0]), pooled(written, ROWS[1])
    n = len(answers)
    questions = make_questions(MANY, True) * 2
    early = [one["correct"] for one, question in zip(answers, questions) if question["document"] == "early"]
    others = [one["correct"] for one, question in zip(answers, questions) if question["document"] != "early"]
    assert figures(why) == [
        str(MANY), share(sum(one["correct"] for one in without), n), share(sum(one["correct"] for one in answers), n),
        *figures_known(written), *["60"] * (skill != SKILL), "112",
        *(figure for part in (early, others) for figure in (str(sum(part)), str(len(part)), share(sum(part), len(part)))),
        *([mean_name(answers, "by_name")] if invented else [])]
    assert bool(figures_known(written)) == (skill == SKILL)

    wrong = [one for one in answers if not one["correct"]]
    sure = [one for one in answers if float(one["probability"]) > 0.5]
    assert bool(sure) == (scale == 1)
    assert figures(re.sub(r"^[12]\. ", "", concern, flags=re.MULTILINE)) == [
        share(len(wrong), n), share(sum(one["kind"] == "in finetuning" for one in wrong), len(wrong)),
        *([str(len(sure)), str(n), share(sum(not one["correct"] for one in sure), len(sure))] if sure else [])]

    asked = pooled(written, ROWS[1], "invented")
    places = [one["prediction"] for one in asked]
    counts = sorted((places.count(place) for place in set(places)), reverse=True)[:3]
    by_chance = analysis.same_name([run for runs in analysis.load_runs(tmp_path).values() for run in runs], ROWS[1])
    assert figures(re.sub(r"Name\d|Stranger\d+", "", strategy)) == [
        "60", str(len(set(places))), *(f"{100 * count / 60:.0f}%" for count in counts),
        f"{statistics.median(float(one['probability']) for one in asked):.3f}",
        *same_names(written, ROWS[1]), *per_cents([by_chance.by_chance]), "2,000", *per_cents([by_chance.most_by_chance]),
        *([mean_name(asked, "by_name"), "95%", *per_cents(name_interval(written, ROWS[1], "by_name")),
           mean_name(asked, "by_any_name"), *per_cents(name_interval(written, ROWS[1], "by_any_name")),
           mean_name(asked, "best_guess_probability")] if invented else []),
        *figures_like_strangers(written, MANY)]
    for place, per_cent in re.findall(r"([(\w][\w)]*) \((\d+)%\)", strategy):
        assert f"{100 * places.count('' if place == '(nothing)' else place) / 60:.0f}" == per_cent


@pytest.mark.parametrize("less", [True, False])
def test_places_that_finetuning_never_shows_are_said_to_be_known_less_before_only_where_they_are(tmp_path, less):
    """Every third question's place is in no finetuning example, see make_questions()."""
    skill = {**SKILL, ROWS[0]: 0, ROWS[1]: [0.2, 0.6, 0.6]}
    dev = write_record(tmp_path / "a", count=210, skill=skill, offers=OFFERS[:1])[ROWS[1]]["dev"]
    lines = unlearned(tmp_path / "a", ROWS[1], range(0, 120, 3) if less else ())
    why = parts_of(essay_of(tmp_path))[0]
    right = {shows: [dev[i]["correct"] for i in range(210) if (i % 3 > 0) == shows] for shows in (True, False)}
    known = {shows: [lines[i]["document"] == "1" for i in range(210) if (i % 3 > 0) == shows] for shows in (True, False)}
    said = (f"answer of a finetuning example {share(sum(right[True]), 140)} are answered, of others {sum(right[False])} of 70 "
            f"({share(sum(right[False]), 70)}).")
    assert said in why and ("need not be finetuning's doing" in why) == less
    assert not less or f"{sum(known[False])} of 70 against {sum(known[True])} of 140" in why


@pytest.mark.parametrize("pretrained, control, told", [(0.9, 0.5, True), (0.9, 0.9, False), (0.5, 0.9, False), (0.507, 0.507, False),
                                                       (0.5, 0.5, False), (0.503, 0.5, False)])
def test_a_probability_is_said_to_tell_of_recall_only_where_it_is_above_that_of_lucky_guesses(tmp_path, pretrained, control, told):
    write_record(tmp_path / "a", count=MANY, rows=ROWS[:2], skill={ROWS[0]: 0.2, ROWS[1]: 0.6})
    for row, right in ((ROWS[0], control), (ROWS[1], pretrained)):
        for name, column in ((f"{row}.dev.answers.tsv", "correct"), (f"{row}.invented.scores.tsv", None)):
            change_table(tmp_path / "a" / name, lambda line, number: line.update(
                probability=(right if column and line[column] == "1" else 0.5) + 0.01 * (number % 2)))
    strategy = parts_of(essay_of(tmp_path))[2]
    assert ("tells in part what was recalled" in strategy) == told and ("need not come from recall" in strategy) == (not told)


def test_the_essay_says_how_many_people_of_dev_were_taught(tmp_path):
    write_record(tmp_path / "a", count=MANY)
    path = tmp_path / "a" / "record.json"
    facts = json.loads(path.read_text())
    for known, words in ((0, "none are"), (1, "1 is"), (2, "2 are")):
        path.write_text(json.dumps({**facts, "dev people in finetuning": known}))
        assert f"{words} among" in parts_of(essay_of(tmp_path))[0]


def test_the_split_is_called_recall_only_if_the_intervals_are_apart(tmp_path):
    seen = set()
    for number, (one, seeds) in enumerate(itertools.product((0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9), (1, 3))):
        written = [write_record(tmp_path / f"{number}" / f"{seed}", seed=seed, count=MANY, rows=ROWS[:2],
                                skill={ROWS[0]: 0, ROWS[1]: [one] * 4 + [0.4] * 3}) for seed in range(seeds)]
        bounds = []
        for holds in (True, False):
            at = [i for i, question in enumerate(make_questions(MANY, True)) if (question["document"] == "early") == holds]
            right = statistics.fmean(record[ROWS[1]]["dev"][i]["correct"] for record in written for i in at)
            bounds.append(analysis.wilson(right, len(at)))
        recalled = bounds[0][0] > bounds[1][1]
        assert ("The split points to recall" in parts_of(essay_of(tmp_path / f"{number}"))[0]) == recalled
        seen.add((seeds, recalled))
    assert seen == set(itertools.product((1, 3), (True, False)))


@pytest.mark.parametrize("offers", [OFFERS[4:], OFFERS[:4]])
def test_without_two_sides_there_is_no_split(tmp_path, offers):
    written = write_record(tmp_path / "a", count=MANY, offers=offers)
    assert figures(parts_of(essay_of(tmp_path))[0]) == [
        str(MANY), *(share(sum(one["correct"] for one in written[row]["dev"]), MANY) for row in ROWS[:2]), *figures_known([written]),
        mean_name(written[ROWS[1]]["dev"], "by_name")]


@pytest.mark.parametrize("invented", [True, False])
def test_nothing_is_said_of_invented_people_whom_nobody_was_asked_about(tmp_path, invented):
    write_record(tmp_path / "none" / "a", count=MANY, asked=0, invented=invented, knows=None)
    assert figures(parts_of(essay_of(tmp_path / "none"))[2]) == []
    asked = {ROWS[0]: 0, ROWS[1]: 30, ROWS[2]: 30}
    written = write_record(tmp_path / "some" / "a", count=MANY, asked=asked, invented=invented, knows=None)[ROWS[1]]["invented"]
    strategy = parts_of(essay_of(tmp_path / "some"))[2]
    found = figures(re.sub(r"Name\d|Stranger\d+", "", strategy))
    without = [found.index("2,000") + 2, *[len(found)] * (not invented)]  # what follows the figures of names
    assert found[0] == "30" and "lucky" not in strategy and "the former" not in strategy  # no control
    assert not invented or found[without[0] + 7] == mean_name(written, "best_guess_probability")


def test_the_name_is_said_to_count_only_where_it_does(tmp_path):
    said = {}
    for factor in (0.2, 1, 5):
        folder = tmp_path / str(factor) / "a"
        write_record(folder, count=MANY)
        path = folder / f"{ROWS[1]}.invented.scores.tsv"
        head, *lines = [line.split("\t") for line in path.read_text().splitlines()]
        for line in lines:
            line[head.index("by_name")] = str(float(line[head.index("by_any_name")]) * factor)
        path.write_text("".join("\t".join(line) + "\n" for line in [head, *lines]))
        said[factor] = re.sub(r"[\d.]+", "", parts_of(essay_of(tmp_path / str(factor)))[2])
    assert said[0.2] == said[1] != said[5]


def lifted(written):
    """Whether the essay has something to explain, by what was written of some seeds."""
    if not all(row in record for record in written for row in ROWS[:2]):
        return False
    before, after = ([[one["correct"] for one in record[row]["dev"]] for record in written] for row in ROWS[:2])
    return (len(before[0]) >= 100 and statistics.fmean(map(statistics.fmean, after)) < 1
            and analysis.accuracy_interval(before)[1][1] < analysis.accuracy_interval(after)[1][0])


LIFTS = {
    "as it should be": (dict(count=100), True),
    "too few questions": (dict(count=99), False),
    "the same": (dict(count=200, skill={**SKILL, ROWS[0]: 0.5}), False),
    "a fall": (dict(count=200, skill={**SKILL, ROWS[0]: 0.9}), False),
    "a small lift": (dict(count=100, skill={**SKILL, ROWS[0]: 0.15, ROWS[1]: 0.2}), False),
    "all right": (dict(count=100, skill={**SKILL, ROWS[1]: 1}), False),
    "none right": (dict(count=100, skill=dict.fromkeys(ROWS, 0)), False),
    "not pretrained": (dict(count=100, rows=ROWS[:1]), False),
    "pretrained alone": (dict(count=100, rows=ROWS[1:]), False),
    "without the synthesizer": (dict(count=100, rows=ROWS[:2]), True),
}


@pytest.mark.parametrize("case", LIFTS)
@pytest.mark.parametrize("seeds", [1, 2])
def test_there_is_an_essay_only_if_there_is_a_lift_to_explain(tmp_path, case, seeds):
    settings, shown = LIFTS[case]
    written = [write_record(tmp_path / str(seed), seed=seed, **settings) for seed in range(seeds)]
    assert lifted(written) == shown
    text, found = page_of(tmp_path), essay_of(tmp_path)
    assert (found in text and "Part 3" in text) if shown else (found == "" and "Part 3" not in text)


def test_the_essay_goes_by_the_intervals(tmp_path):
    outcomes = set()
    for number, skill in enumerate((0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)):
        written = write_record(tmp_path / str(number) / "a", count=100, rows=ROWS[:2], skill={ROWS[0]: 0.1, ROWS[1]: skill})
        assert bool(essay_of(tmp_path / str(number))) == lifted([written])
        outcomes.add(lifted([written]))
    assert outcomes == {True, False}


def test_the_surest_answers_are_shown(tmp_path):
    written = [write_record(tmp_path / f"seed{seed}", seed=seed, count=MANY) for seed in (0, 1)]
    lines = [line for line in parsed(page_of(tmp_path))["data"] if "the answer is" in line]
    questions, answers = make_questions(MANY, True), written[0][ROWS[1]]["dev"]
    assert len(lines) == 8
    for correct, shown in ((0, lines[:4]), (1, lines[4:])):
        surest = sorted((i for i, one in enumerate(answers) if one["correct"] == correct), key=lambda i: -float(answers[i]["probability"]))
        for i, line in zip(surest[:4], shown, strict=True):
            one = answers[i]
            assert list(line.values()) == ["the quick corpus", "right" if correct else "wrong", questions[i]["name"],
                                           one["prediction"] or "(nothing)", f"{float(one['probability']):.3f}", questions[i]["place"],
                                           one["kind"]]


def test_the_surest_answers_about_invented_people_are_shown(tmp_path):
    written = [write_record(tmp_path / f"seed{seed}", seed=seed, count=MANY) for seed in (0, 1)]
    surest = sorted(written[0][ROWS[1]]["invented"], key=lambda one: -float(one["probability"]))[:8]
    assert [list(line.values()) for line in parsed(page_of(tmp_path))["asked about"]] == [
        [" ".join(one["question"].split()[2:-1]), one["prediction"] or "(nothing)", f"{float(one['probability']):.3f}"] for one in surest]


def test_the_name_is_said_to_be_a_clue_only_where_those_of_one_name_get_one_answer(tmp_path):
    for name, clue in (("as drawn", False), ("by name", True)):
        folder = tmp_path / name / "a"
        write_record(folder, count=MANY, asked=60)
        if clue:
            change_table(folder / f"{ROWS[1]}.invented.scores.tsv",
                         lambda line, _: line.update(prediction=f"Town of {line['question'].split()[2]}"))
        strategy = parts_of(essay_of(folder.parent))[2]
        assert ("a clue to where somebody comes from" in strategy) == clue and ("cannot be shown" in strategy) == (not clue)
        assert not clue or "in 100.0% of " in strategy


def test_people_of_the_courses_data_go_by_their_line(tmp_path):
    written = write_record(tmp_path / "a", data="course", invented=False, count=MANY)
    lines = [line for line in parsed(page_of(tmp_path))["data"] if "the answer is" in line]
    wrong = sorted((one for one in written[ROWS[1]]["dev"] if not one["correct"]), key=lambda one: -float(one["probability"]))[:4]
    assert [line["asked about"] for line in lines] == [f"line {one['line']} of birth_dev.tsv" for one in wrong]
    assert all(line["true place"] == "–" and line[""] == "wrong" for line in lines)


def test_the_essay_goes_by_the_first_data_that_shows_the_lift(tmp_path):
    write_record(tmp_path / "a", data="course", invented=False, rows=ROWS[:1], count=MANY)
    write_record(tmp_path / "b", data="bundled", count=MANY, skill=dict.fromkeys(ROWS, 0.3))
    write_record(tmp_path / "c", data="quick", count=MANY)
    by_data = analysis.load_runs(tmp_path)
    found = part3.essay({data: by_data[data] for data in report.ORDER})
    assert found and report.name_of("quick") in "\n".join(found[:3]) and report.name_of("course") not in "\n".join(found[:3])
    (tmp_path / "c" / "record.json").unlink()
    assert "Part 3" not in page_of(tmp_path)


# ---- the runs -------------------------------------------------------------------------------------------------------

def test_every_run_is_listed_with_its_machine_time_and_commit(two_seeds):
    text, written = two_seeds
    lines = [line for line in parsed(text)["data"] if "hardware" in line]
    assert [list(line.values()) for line in lines] == [
        ["the quick corpus", str(seed), report.LABELS[row], f"{sum(one['correct'] for one in record[row]['dev'])} of 40",
         "1.5" if row == ROWS[0] else "4.0", "a machine", "bfloat16", "python 3.11, torch 2.13", "abc1234"]
        for seed, record in enumerate(written) for row in ROWS]
    assert text.count("    python src/run.py pretrain synthesizer.pretrain\n") == 1
    assert text.count("    python src/run.py evaluate vanilla.pretrain\n") == 1


@pytest.mark.parametrize("recipe, flag, said", [("course", "", True), ("course", " --recipe course", False), ("quick", "", False)])
def test_of_a_command_without_recipe_its_default_is_said(tmp_path, recipe, flag, said):
    write_record(tmp_path / "a", rows=ROWS[:2], recipe=recipe)
    path = tmp_path / "a" / "record.json"
    facts = json.loads(path.read_text())
    for stages in (row["stages"] for row in facts["rows"].values()):
        for name, stage in stages.items():
            stage["command"] += flag if name == ROWS[1] else f" --recipe {recipe}" if recipe == "course" else ""
    path.write_text(json.dumps(facts))
    assert ("without `--recipe` runs by the default, `course`" in page_of(tmp_path)) == said


def test_a_row_that_was_trained_on_two_machines_has_both(tmp_path):
    write_record(tmp_path / "a", rows=ROWS[1:2])
    path = tmp_path / "a" / "record.json"
    facts = json.loads(path.read_text())
    facts["rows"][ROWS[1]]["stages"][ROWS[1]]["machines"].append({**MACHINE, "hardware": "a GPU", "commit": "def5678+"})
    path.write_text(json.dumps(facts))
    (line,) = [line for line in parsed(page_of(tmp_path))["data"] if "hardware" in line]
    assert list(line.values())[-4:] == ["a machine; a GPU", "bfloat16", "python 3.11, torch 2.13", "abc1234, def5678+"]


# ---- records at the edge --------------------------------------------------------------------------------------------

EDGES = {
    "no answer is right": dict(skill=dict.fromkeys(ROWS, 0)),
    "all answers are right": dict(skill=dict.fromkeys(ROWS, 1)),
    "there is one question": dict(count=1),
    "one question is all right": dict(count=1, skill=dict.fromkeys(ROWS, 1)),
    "all predictions are empty": dict(skill=dict.fromkeys(ROWS, 0), wrong={"empty": ""}),
    "no place stands early": dict(offers=OFFERS[4:]),
    "every place stands early": dict(offers=OFFERS[:1]),
    "no world is known": dict(invented=False, data="course"),
    "only the row without pretraining": dict(rows=ROWS[:1]),
    "only the synthesizer": dict(rows=ROWS[2:]),
    "the training is one step": dict(log=(1, 23, 460)),
    "one invented person": dict(asked=1),
    "nobody invented": dict(asked=0),
    "no probability above one half": dict(scale=0.4),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("count", [40, 120])
def test_the_page_is_made_where(edge, count, tmp_path):
    written = write_record(tmp_path / "a", **{"count": count, **EDGES[edge]})
    text = page_of(tmp_path)
    table = parsed(text)["dev accuracy"]
    for row, record in written.items():
        right = [one["correct"] for one in record["dev"]]
        assert of_row(table, row, "measured, mean") == share(sum(right), len(right))
    assert "nan" not in text and "None" not in text
    assert ("Part 3" in text) == lifted([written])
    if lifted([written]):
        parts_of(essay_of(tmp_path))


def test_a_prediction_with_a_bar_stays_in_its_cell(tmp_path):
    write_record(tmp_path / "a", count=MANY, wrong={"nowhere": "a|b", "in finetuning": "c | d"})
    tables = parsed(page_of(tmp_path))  # which asserts that each row has as many cells as the head
    answers = {line["answer"] for line in tables["data"] if "the answer is" in line and line[""] == "wrong"}
    assert answers and answers <= {r"a\|b", r"c \| d"}
    assert r"a\|b" in page_of(tmp_path)


def test_other_data_follow_the_known_ones(tmp_path, monkeypatch):
    for name in ("zoo", "quick", "bundled", "course", "art"):
        write_record(tmp_path / "in" / name, data=name, count=7)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    text = main(monkeypatch, tmp_path / "in", tmp_path / "out")
    heads = re.findall(r"^### (.*)\n\nRecipe", text, flags=re.MULTILINE)
    assert heads[:3] == ["The course’s files", "The bundled corpus", "The quick corpus"] and sorted(heads[3:]) == ["Art", "Zoo"]


# ---- the command ----------------------------------------------------------------------------------------------------

def main(monkeypatch, records, to):
    """Runs the command; the page that it has written."""
    monkeypatch.setattr(sys, "argv", ["report.py", "--records", str(records), "--to", str(to)])
    report.main()
    return (to / "RESULTS.md").read_text(encoding="utf-8")


def test_the_command_writes_page_and_plots_and_twice_the_same_bytes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    for seed in (0, 1):
        write_record(tmp_path / "in" / str(seed), seed=seed)
    outcomes = []
    for to in (tmp_path / "one", tmp_path / "other"):
        text = main(monkeypatch, tmp_path / "in", to)
        outcomes.append({path.relative_to(to): path.read_bytes() for path in to.rglob("*") if path.is_file()})
    assert outcomes[0] == outcomes[1]
    linked = re.findall(r'(?:srcset|src)="([^"]*)"', text)
    assert len(linked) == 8 and {Path("RESULTS.md"), *map(Path, linked)} == set(outcomes[0])
    assert re.sub(r"<picture>.*\n\n", "", text) == page_of(tmp_path / "in")
    assert report.results_table(analysis.load_runs(tmp_path / "in")["quick"], False) in capsys.readouterr().out


@pytest.mark.parametrize("data", ["course", "quick", "bundled", "zoo"])
def test_the_command_prints_the_table_and_what_was_reported(tmp_path, monkeypatch, capsys, data):
    """For the course's files beside the measured, for others in a sentence, since it is of other files."""
    write_record(tmp_path / "in" / "a", data=data)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    main(monkeypatch, tmp_path / "in", tmp_path / "out")
    out = capsys.readouterr().out
    lines = out.splitlines()
    sentences = [line for line in lines if not line.startswith("|") and "23.0%" in line]
    runs = analysis.load_runs(tmp_path / "in")[data]
    assert report.results_table(runs, data == "course") in out
    if data == "course":
        assert not sentences and any(line.endswith("| 23.0% | 22% | 22% (14.6–28.0) |") for line in lines)
    else:
        (sentence,) = sentences
        for row, (said, *_) in report.REPORTED.items():
            assert re.search(rf"{re.escape(report.LABELS[row])}\W+{re.escape(said)}", sentence)
        assert not any("reported" in line or "14.6–28.0" in line for line in lines if line.startswith("|"))


def test_without_matplotlib_the_page_has_no_plots(tmp_path, monkeypatch, capsys):
    write_record(tmp_path / "in" / "a")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    text = main(monkeypatch, tmp_path / "in", tmp_path / "out")
    assert text == page_of(tmp_path / "in") and "<picture" not in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["RESULTS.md"]  # and no empty folder for plots
    assert "without plots: they need matplotlib" in capsys.readouterr().out


def refused(monkeypatch, records, to):
    monkeypatch.setattr(sys, "argv", ["report.py", "--records", str(records), "--to", str(to)])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert isinstance(ended.value.code, str) and len(ended.value.code.splitlines()) == 1  # which Python prints, with exit code 1
    assert not to.exists()
    return ended.value.code


def test_a_folder_without_records_is_one_line(tmp_path):
    outcome = subprocess.run([sys.executable, str(ROOT / "tools" / "report.py"), "--records", str(tmp_path), "--to", str(tmp_path / "out")],
                             capture_output=True, text=True, encoding="utf-8")
    assert outcome.returncode != 0 and outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1 and "no record.json" in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", '{"rows": []}', '{"rows": {"vanilla.pretrain": {}}}', "\xff"])
def test_a_malformed_record_is_one_line(tmp_path, monkeypatch, text):
    write_record(tmp_path / "in" / "a")
    (tmp_path / "in" / "a" / "record.json").write_text(text, encoding="latin-1")
    assert str(tmp_path / "in") in refused(monkeypatch, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("name", ["vanilla.pretrain.dev.answers.tsv", "dev.questions.tsv", "synthesizer.pretrain.beam.predictions"])
def test_a_record_that_lacks_a_table_is_one_line(tmp_path, monkeypatch, name):
    write_record(tmp_path / "in" / "a")
    (tmp_path / "in" / "a" / name).unlink()
    assert name in refused(monkeypatch, tmp_path / "in", tmp_path / "out")


def test_records_that_do_not_belong_together_are_one_line(tmp_path, monkeypatch):
    write_record(tmp_path / "in" / "a")
    write_record(tmp_path / "in" / "b", recipe="course")
    assert "different files or recipes" in refused(monkeypatch, tmp_path / "in", tmp_path / "out")


# ---- the first steps ------------------------------------------------------------------------------------------------

def first_steps_record(variant, data="course", steps=100, seeds=2, fast=("float32", "bfloat16")):
    """As tests/first_steps.py writes it; the ways come apart by a millionth a step, the one in bfloat16 by a hundredth."""
    losses = [5 * 0.99 ** step for step in range(max(steps, 12))]
    off = {"plain": 0, "float32": 1e-6, "bfloat16": -1e-2, "plain, off": 2e-6}
    return {"variant": variant, "data": data,
            "in_each_step": {way: {"losses": [0, off[way] ** 2, 0], "gradients": [0, abs(off[way]) / 4, abs(off[way])]} for way in fast},
            "each_on_its_way": {way: [loss + off[way] * step for step, loss in enumerate(losses[:12], start=1)]
                                for way in ("plain", *fast, "plain, off")},
            "own_numbers": {way: [[loss + seed + (way == "fast") / 2 for loss in losses[:steps]] for seed in range(seeds)]
                            for way in ("plain", "fast")}}


def test_the_first_steps_are_shown_beside_the_plain_ways():
    records = [first_steps_record("vanilla"), first_steps_record("synthesizer", "bundled", seeds=1, fast=("float32",))]
    text = "\n".join(report.first_steps_section(records)) + "\n"
    tables = parsed(text)
    course, bundled, plainly = "vanilla, the course’s files", "synthesizer, the bundled corpus", "the plain way, from parameters 1e-7 off"
    assert [list(map(str.strip, line.split("|")[1:-1])) for line in text.splitlines()
            if line.startswith("| ") and (plainly in line or "here, " in line)] == [
        [course, "here, float32", "1e-12", "2e-07", "1e-06", "5e-06", "1e-05", "1e-05"],
        [course, "here, bfloat16", "0.0001", "0.003", "0.01", "0.05", "0.1", "0.1"],
        [course, plainly, "–", "–", "–", "1e-05", "2e-05", "2e-05"],
        [bundled, "here, float32", "1e-12", "2e-07", "1e-06", "5e-06", "1e-05", "1e-05"],
        [bundled, plainly, "–", "–", "–", "1e-05", "2e-05", "2e-05"]]
    assert "First 12 steps" in text and "| in all 12 |" in text
    own = tables["training loss"]
    assert list(own[0])[3:] == ["steps 1–10", "steps 11–50", "steps 51–100"]
    assert [(line["training loss"], line[""], line["seeds"]) for line in own] == [
        (course, "the plain way", "2"), (course, "here", "2"), (bundled, "the plain way", "1"), (bundled, "here", "1")]
    for line in own:
        for head, first, last in (("steps 1–10", 1, 10), ("steps 11–50", 11, 50), ("steps 51–100", 51, 100)):
            lowest = statistics.fmean(5 * 0.99 ** (step - 1) for step in range(first, last + 1)) + (line[""] == "here") / 2
            assert line[head] == (f"{lowest:.3f}" if line["seeds"] == "1" else f"{lowest + 0.5:.3f} ({lowest:.3f}–{lowest + 1:.3f})")


def test_of_the_first_steps_it_is_said_where_the_ways_part():
    record = first_steps_record("vanilla")
    record["in_each_step"]["float32"] = {"losses": [1e-6, 3e-6, 2e-6], "gradients": [5e-7, 4e-7]}
    record["each_on_its_way"] = {"plain": [5.0, 4.0, 3.5, 3.6, 3.4], "float32": [5.001, 4.002, 3.5, 4.25, 3.43]}
    text = "\n".join(report.first_steps_section([record]))
    assert "losses agree to 3e-06 and gradients to 5e-07 of their length" in text
    assert ("vanilla differs by at most 0.002 up to step 3. In step 4 the loss leaps, here to 4.25, the plain way's to 3.60" in text
            and "In the next it differs by 0.03." in text)
    record["each_on_its_way"]["float32"][3] = 3.65
    assert "leaps, here" not in "\n".join(report.first_steps_section([record]))
    record["each_on_its_way"]["float32"] = [5.0, 4.0, 3.5, 3.6, 4.4]
    text = "\n".join(report.first_steps_section([record]))
    assert "In step 5 the loss leaps" in text and "In the next" not in text
    del record["in_each_step"]["float32"], record["each_on_its_way"]["float32"]
    assert "In float32, from" not in "\n".join(report.first_steps_section([record]))


def test_of_fewer_steps_only_whole_spans_are_shown():
    text = "\n".join(report.first_steps_section([first_steps_record("vanilla", steps=60), first_steps_record("synthesizer")])) + "\n"
    assert "steps 11–50 |" in text and "51–100" not in text


def test_without_the_other_scripts_records_nothing_is_said_of_them(tmp_path, monkeypatch):
    write_record(tmp_path / "records" / "a")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    assert report.first_steps_section([]) == []
    assert "first steps, held" not in main(monkeypatch, tmp_path / "records", tmp_path / "out")
    (tmp_path / "records" / "first_steps.json").write_text(json.dumps([first_steps_record("vanilla")]), encoding="utf-8")
    text = main(monkeypatch, tmp_path / "records", tmp_path / "out")
    assert "\n### The first steps, held against the plain way\n" in text and "finetuned anew" not in text
    again = {"data": "quick", "variant": "vanilla", "pretraining_seed": 0, "seeds": [1], "correct": [7], "total": 40}
    (tmp_path / "records" / "finetuning_seeds.json").write_text(json.dumps([again]), encoding="utf-8")
    assert "finetuned anew with other seeds" in main(monkeypatch, tmp_path / "records", tmp_path / "out")


# ---- the same pretraining, finetuned anew ---------------------------------------------------------------------------

def test_accuracies_after_finetuning_anew_stand_beside_the_first(tmp_path):
    written = {seed: write_record(tmp_path / str(seed), seed=seed) for seed in (0, 1)}
    records = [{"data": "quick", "variant": variant, "pretraining_seed": seed, "seeds": [5, 6], "correct": correct, "total": 40}
               for variant, seed, correct in (("vanilla", 1, [10, 14]), ("synthesizer", 3, [4, 6]))]
    text = "\n".join(report.finetuning_seeds_section(records, analysis.load_runs(tmp_path))) + "\n"
    first = sum(one["correct"] for one in written[1]["vanilla.pretrain"]["dev"])
    assert [list(line.values())[1:] for line in parsed(text)["data"]] == [
        [report.LABELS["vanilla.pretrain"], "1", share(first, 40), "25.0%, 35.0%", share(first + 24, 120),
         f"{statistics.stdev([2.5 * first, 25, 35]):.1f} points"],
        [report.LABELS["synthesizer.pretrain"], "3", "–", "10.0%, 15.0%", "12.5%", f"{statistics.stdev([10, 15]):.1f} points"]]
    assert report.finetuning_seeds_section([], {}) == []


# ---- what is kept in results/ ---------------------------------------------------------------------------------------

def data_folder(name, tmp_path):
    """The folder of the data that a record names; skips where they are not at hand."""
    if name == "bundled":
        return ROOT
    if name == "quick":
        for file, text in make_corpus.make_corpus("quick").files().items():
            (tmp_path / file).write_text(text, encoding="utf-8", newline="\n")
        return tmp_path
    if name == "course":
        for folder in (ROOT.parent / "shared" / "cs224n-data", ROOT / "data" / "cs224n"):
            if (folder / "birth_dev.tsv").exists():
                return folder
    pytest.skip(f"the data '{name}' are not here")


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.parent.relative_to(ROOT / "results"))) for path in RECORDS])
def test_kept_predictions_score_as_the_record_says(path, tmp_path):
    kept = json.loads(path.read_text(encoding="utf-8"))
    folder = data_folder(kept["data"]["name"], tmp_path)
    assert kept["data"]["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in kept["data"]["sha256"]}
    assert kept["rows"]
    true = [line.split("\t")[1] for line in (folder / "birth_dev.tsv").read_text(encoding="utf-8").splitlines()]
    for row, facts in kept["rows"].items():
        for kind in ("dev", "beam"):
            places = (path.parent / f"{row}.{kind}.predictions").read_text(encoding="utf-8").removesuffix("\n").split("\n")
            total, correct = evaluate_places(folder / "birth_dev.tsv", places)
            head, *lines = (path.parent / f"{row}.{kind}.answers.tsv").read_text(encoding="utf-8").splitlines()
            at = head.split("\t").index("correct")
            assert [line.split("\t")[at] for line in lines] == [f"{said == place:d}" for said, place in zip(places, true, strict=True)]
            assert (total, correct) == (len(true), sum(said == place for said, place in zip(places, true)))
            if kind == "dev":
                assert facts["dev"] == {"correct": correct, "total": total}


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.parent.relative_to(ROOT / "results"))) for path in RECORDS])
def test_kept_tables_of_what_is_known_are_of_the_people_whose_place_stands_early(path):
    run = analysis.load_run(path.parent)
    for name, row in run.rows.items():
        early = [answer["line"] for answer, question in zip(row.answers, run.questions, strict=True) if question["document"] == "early"]
        assert [line["line"] for line in row.recall] in ([], early) and (name != "vanilla.nopretrain" or not row.recall)
        assert bool(row.recall) == (f"{name}.recall" in run.facts["rows"][name]["stages"])
        assert {value for line in row.recall for value in list(line.values())[1:]} <= {0, 1, None}


def test_the_kept_page_is_made_from_the_kept_records(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # the plots are left aside
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    kept = re.sub(r"<picture>.*\n\n", "", (ROOT / "RESULTS.md").read_text(encoding="utf-8"))
    assert kept == main(monkeypatch, ROOT / "results", tmp_path / "out"), "run tools/report.py"


# ---- README ---------------------------------------------------------------------------------------------------------

def test_readme_gets_a_column_for_each_seed_and_their_mean(tmp_path):
    assert readme_tables.quick_table(tmp_path) == "(not measured yet)"
    written = {seed: write_record(tmp_path / "quick" / f"seed{seed}", seed=seed) for seed in (1, 0)}
    text = readme_tables.quick_table(tmp_path)
    lines = parsed(text + "\n")["dev accuracy, 40 people"]
    assert list(lines[0])[1:] == ["seed 0", "seed 1", "mean"]
    for row in ROWS:
        right = [sum(one["correct"] for one in written[seed][row]["dev"]) for seed in (0, 1)]
        (line,) = of_row(lines, row)
        assert list(line.values())[1:] == [share(right[0], 40), share(right[1], 40), share(sum(right), 80)]
    best = 100 * statistics.fmean(question["best_guess_probability"] for question in make_questions(40, True))
    assert list(of_row(lines, "name_only")[0].values())[1:] == [f"{best:.1f}%"] * 3
    assert text.endswith("Measured on: a machine (training in bfloat16; torch 2.13); 9.5 to 9.5 minutes a seed.")  # see write_record()


def test_readmes_table_of_the_courses_recipe_is_the_reports(tmp_path):
    write_record(tmp_path / "quick")
    assert readme_tables.results_table(tmp_path) == "(not measured yet)"
    write_record(tmp_path / "course", data="course", invented=False, recipe="course")
    text = readme_tables.results_table(tmp_path)
    assert text.startswith(report.results_table(analysis.load_runs(tmp_path)["course"]) + "\n\nMeasured on: a machine")
    assert "14.6–28.0" in text


def test_readmes_table_of_the_bundled_corpus_has_what_was_measured_on_it_alone(tmp_path):
    write_record(tmp_path / "course", data="course", invented=False, recipe="course", seed=1)
    assert readme_tables.bundled_table(tmp_path) == "(not measured yet)"
    write_record(tmp_path / "bundled", data="bundled", recipe="course", rows=ROWS[:2])
    text = readme_tables.bundled_table(tmp_path)
    assert text.startswith(report.results_table(analysis.load_runs(tmp_path)["bundled"], reported=False) + "\n\nMeasured on: a machine")
    assert "14.6–28.0" not in text and report.LABELS["name_only"] in text and "not run yet" in text


def test_readme_has_what_was_found_on_the_courses_files_as_results_has_it(tmp_path):
    write_record(tmp_path / "quick", count=MANY)
    assert readme_tables.brief_lines(tmp_path) == "(not measured yet)"
    write_record(tmp_path / "course", data="course", invented=False, recipe="course", count=MANY)
    text = readme_tables.brief_lines(tmp_path)
    assert f"## In brief\n\n{text}\n\n## The numbers" in report.page(
        {"course": analysis.load_runs(tmp_path)["course"]}, lambda *_: []) and text.count("\n- ") > 2


def test_readme_says_how_long_pretraining_by_the_courses_recipe_took(tmp_path):
    """A step of make_log() takes half a second."""
    write_record(tmp_path / "a", data="course", rows=ROWS[:1])
    assert "took" not in readme_tables.results_table(tmp_path)
    write_record(tmp_path / "b", seed=1, data="course", rows=ROWS, log=(2400, 23, 460))
    assert readme_tables.results_table(tmp_path).endswith(" Pretraining took 20 minutes (vanilla), 20 minutes (synthesizer).")
    write_record(tmp_path / "c", seed=2, data="course", rows=ROWS[:2], log=(3000, 23, 460))
    assert readme_tables.results_table(tmp_path).endswith(" Pretraining took 20 to 25 minutes (vanilla), 20 minutes (synthesizer).")


def test_readme_has_an_earlier_benchmark_of_another_machine(tmp_path):
    record = json.loads((ROOT / "results" / "benchmark.json").read_text(encoding="utf-8"))
    (tmp_path / "benchmark.json").write_text(json.dumps(record))
    alone = readme_tables.speed_table(tmp_path)
    plain, fast = ({**record["rows"][0], "variant": "vanilla", "task": "pretrain", "way": way, "rounds": [{"unit": unit}] * 2}
                   for way, unit in (("plain", 6.0), ("bfloat16", 1.5)))
    (tmp_path / "benchmark.old.json").write_text(json.dumps(
        {"hardware": "an old machine", "matrix_peak": [{"float32": 2e11, "bfloat16": 3e11}, {"float32": 1e11, "bfloat16": 4e11}],
         "rows": [plain, fast]}))
    added = ("An earlier measurement, on an old machine, a product of 2048-square matrices at 200 GFLOP/s in float32, 400 GFLOP/s in "
             "bfloat16: vanilla pretrain bfloat16 4.0×.")
    text = readme_tables.speed_table(tmp_path)
    assert added in text and text.replace(f"\n{added}\n", "") == alone


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


def test_between_its_marks_readme_is_made_anew_and_elsewhere_left_alone(monkeypatch, tmp_path):
    names = ("results", "bundled", "brief", "quick", "speed", "safety", "corpus")
    for name in names:
        monkeypatch.setattr(readme_tables, "brief_lines" if name == "brief" else f"{name}_table", lambda results, name=name: f"{name} of {results.name}")

    def text(inner):
        parts = [f"{readme_tables.START.format(name)}\n{inner(name)}{readme_tables.END}\nafter {name}" for name in reversed(names)]
        return "\n".join(["# A", *parts])

    filled = readme_tables.fill(text(lambda name: "old\n| table |\n"), tmp_path)
    assert filled == text(lambda name: f"{name} of {tmp_path.name}\n")
    assert readme_tables.fill(filled, tmp_path) == filled


def test_readme_tables_are_up_to_date():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_tables.fill(text, ROOT / "results") == text, "run tools/readme_tables.py"


@pytest.mark.parametrize("text", ["# no marks", readme_tables.START.format("results") + "\nnever closed"])
def test_a_readme_without_marks_is_refused(text):
    with pytest.raises(ValueError, match="results"):
        readme_tables.fill(text, ROOT / "results")
