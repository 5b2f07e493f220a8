"""python -m pytest tests/test_record.py

What is kept of a run, against expectations written by hand for eight people; and that nothing of the data's own lines is kept.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import corpus_world
import record
import report
from dataset import InputError
from analysis import KINDS as KINDS_OF_ANSWERS, load_runs
from benchmark import KINDS as KINDS_OF_WORK
from fetch_data import FILES, File
from make_corpus import make_corpus, unseen_people
from recall import COLUMNS

ROOT = Path(__file__).resolve().parent.parent

# The dev people, and what the corpus offers of each: the place at once; only as part of another word until late; in other letters than
# ASCII's; only as part of another word; no document; two documents; ending with character 112; ending with character 113.
PEOPLE = {"Ann Lee": "Leeds", "Bob Whist": "York", "Zoë Brøgger": "Ålesund", "J. B. Smith": "Hull", "Ed Ng": "Hull", "Kim Day": "St. Ives",
          "Eve Inn": "Bonn", "Eve Out": "Bonn"}


def padded(start, end, place):
    """A document whose place ends with character `end`."""
    return f"{start} {'a' * (end - len(start) - len(place) - 2)} {place} ."


DOCUMENTS = [
    "Ann Lee. Ann Lee was born in Leeds and wove hats in Porto .",
    f"Entry for Bob Whist. Born in Yorkshire ; {'later ' * 20}he said: in York .",
    "Zoë Brøgger. She came from Ålesund ; she kept bees .",
    "J. B. Smith. J. B. Smith was of Hullville and MacHull .",
    "Ed Ngo. Ed Ngo was born in Hull .",
    f"Kim Day. Stx Ives, St_ Ives ; {'long ' * 30}",
    padded("Eve Inn. Eve Inn was born far away", 112, "Bonn"),
    "Kim Day. Kim Day lived in St. Ives .",
    padded("Eve Out. Eve Out was born far away", 113, "Bonn"),
]
EXAMPLES = [("Tom Ash", "Hull"), ("Una Fox", "Hull"), ("Ann Lee", "Leeds"), ("Vic Roe", "Porto")]
TEST_PEOPLE = ["Sly Cox", "Ida Ek"]

# place, probability, and the kind of answer it is for the person
ANSWERS = {
    "vanilla.nopretrain": [("Hull", "0.5", "in finetuning"), ("", "0.001", "empty"), ("Porto", "0.25", "in finetuning"),
                           ("Hull", "0.1", "right"), ("Hull", "0.2", "right"), ("Hullville", "0.3", "in the corpus"),
                           ("  ", "0.4", "empty"), ("qq", "0.6", "nowhere")],
    "vanilla.pretrain": [("Leeds", "0.9", "right"), ("Yorkshire", "0.8", "in the document"), ("Porto", "0.7", "in finetuning"),
                         ("Ålesund", "0.6", "in the corpus"), ("Hull", "0.5", "right"), ("St. Ives", "0.4", "right"),
                         ("Xanadu", "0.3", "nowhere"), ("far away", "0.2", "in the document")],
    "synthesizer.pretrain": [("Porto", "0.9", "in the document"), ("York", "0.8", "right"), ("Brøgger", "0.7", "in the document"),
                             ("York", "0.6", "in the corpus"), ("Ngo", "0.5", "in the corpus"), ("Stx Ives", "0.4", "in the document"),
                             ("Bonn", "0.3", "right"), ("Bon", "0.2", "nowhere")],
}
RIGHT = {"vanilla.nopretrain": 2, "vanilla.pretrain": 3, "synthesizer.pretrain": 2}
PARAMS = {"vanilla.nopretrain": "vanilla.model", "vanilla.pretrain": "vanilla.finetune", "synthesizer.pretrain": "synthesizer.finetune"}
INVENTED = {"Where was Moe Foo born?": "London", "Where was Zed Bar born?": "Porto"}
MACHINE = {"hardware": "machine A", "precision": "bfloat16", "versions": {"python": "3.11", "torch": "2.13"}, "commit": "abc1234"}
KINDS = ("finetune", "dev", "test", "beam", "invented")
EARLY = (1, 3, 6, 7)  # lines of the people whose place stands early
RECALL = "\n".join(["\t".join(("line", *COLUMNS)), *(f"{line}\t1\t0\t\t{number % 2}\t1\t0" for number, line in enumerate(EARLY)), ""])
LOG = {"step": 10, "epoch": 1, "loss": 1.5, "lr": 0.006, "seconds": 2.0}


def asked(name):
    return f"Where was {name} born?"


def write_data(folder, people=PEOPLE, documents=DOCUMENTS):
    folder.mkdir(parents=True)
    write(folder / "wiki.txt", *documents)
    write(folder / "birth_places_train.tsv", *(f"{asked(name)}\t{place}" for name, place in EXAMPLES))
    write(folder / "birth_dev.tsv", *(f"{asked(name)}\t{place}" for name, place in people.items()))
    write(folder / "birth_test_inputs.tsv", *map(asked, TEST_PEOPLE))
    return folder


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def write_run(folder, rows=ANSWERS, people=PEOPLE, invented=INVENTED, seconds=60, answers=ANSWERS, attempts=(MACHINE,), recall=True):
    """
    A folder as run_all.sh leaves it, with the rows given. invented: {question: answer}; none if the corpus cannot spell the names. recall:
    whether it is of a version that has this stage.
    """
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    head = "question\tprediction\tprobability\tplace\tcorrect"
    for row in rows:
        given = [(place, probability) for place, probability, *_ in answers[row]]
        table = [f"{asked(name)}\t{said}\t{probability}\t{place}\t{said == place:d}"
                 for (said, probability), (name, place) in zip(given, people.items(), strict=True)]
        beam = [line.replace("\t0.", "\t0.9", 1) + f"\t{number % 2}" for number, line in enumerate(table, start=1)]
        write(folder / f"{row}.dev.predictions", *(place for place, _ in given))
        write(folder / f"{row}.beam.predictions", *(place for place, _ in given))
        write(folder / f"{row}.test.predictions", *(f"{row} {number}" for number in range(len(TEST_PEOPLE))))
        write(folder / f"{row}.dev.scores.tsv", head, *table)
        write(folder / f"{row}.beam.scores.tsv", f"{head}\tproven", *beam)
        if invented:
            write(folder / f"{row}.invented.predictions", *invented.values())
            write(folder / f"{row}.invented.scores.tsv", head, *(f"{question}\t{place}\t0.12\t\t" for question, place in invented.items()))
        write(folder / f"{PARAMS[row]}.params.log.jsonl", json.dumps({**LOG, "loss": 0.5}))
        if row != "vanilla.nopretrain":
            write(folder / f"{row}.params.log.jsonl", json.dumps(LOG))
            if recall:
                (folder / f"{row}.recall.tsv").write_text(RECALL, encoding="utf-8")
        for number, stage in enumerate(stages_of(row, invented, recall)):
            function = {row: "pretrain", f"{row}.finetune": "finetune"}.get(stage, "evaluate")
            write(folder / "stages" / f"{stage}.seconds", seconds + number)
            write(folder / "stages" / f"{stage}.machines", *map(json.dumps, attempts))
            write(folder / "stages" / f"{stage}.command", "/usr/bin/python3", "src/run.py", function, row.split(".")[0],
                  folder / "secret" / "wiki.txt", "--seed", 0, "--writing_params_path", folder / "v.params")
    write(folder / "stages" / "london.seconds", 1)
    return folder


def stages_of(row, invented=True, recall=True):
    pretrained = row != "vanilla.nopretrain"
    return [*[row] * pretrained, *(f"{row}.{kind}" for kind in KINDS if invented or kind != "invented"),
            *[f"{row}.recall"] * (pretrained and recall)]


def table_of(path):
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"))) for line in lines]


@pytest.fixture
def recorded(tmp_path):
    """The record of all three rows."""
    record.make_record(write_data(tmp_path / "little"), write_run(tmp_path / "run"), "course", 0, tmp_path / "kept")
    return tmp_path / "kept"


def command(monkeypatch, capsys, *words):
    """(exit code, lines on standard error) of the command with these words."""
    monkeypatch.setattr(sys, "argv", ["record.py", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        record.main()
    return ended.value.code, capsys.readouterr().err.splitlines()


def refusal(monkeypatch, capsys, data, run, to, recipe="course", seed=0):
    """The one line of a record that is refused."""
    code, lines = command(monkeypatch, capsys, "--data", data, "--run", run, "--recipe", recipe, "--seed", seed, "--to", to)
    assert code == 2 and len(lines) == 1 and lines[0].startswith("record.py: error: "), (code, lines)
    return lines[0]


# ---- what the data offer --------------------------------------------------------------------------------------------

def test_each_question_has_what_the_corpus_and_the_examples_offer(recorded):
    def end(number, place):
        return str(DOCUMENTS[number].index(place) + len(place))

    late = str(DOCUMENTS[1].index(" York .") + len(" York"))
    assert int(late) > 112
    expected = [("early", end(0, "Leeds"), "1"), ("late", late, "0"), ("early", end(2, "Ålesund"), "0"), ("absent", "", "2"),
                ("none", "", "2"), ("early", end(7, "St. Ives"), "0"), ("early", "112", "0"), ("late", "113", "0")]
    lines = table_of(recorded / "dev.questions.tsv")
    assert [tuple(line.values()) for line in lines] == expected
    assert list(lines[0]) == ["document", "place_end", "finetuning"]


def test_of_two_documents_the_one_that_tells_the_place_soonest_counts():
    first, second = f"Kim Day. {'x ' * 30}Oslo", "Kim Day. Oslo"
    for order in ([first, second], [second, first]):
        assert record.place_end(record.Documents("\n".join(order)).about("Kim Day"), "Oslo") == len(second)


def test_a_document_is_its_persons_and_nobody_elses():
    documents = record.Documents("\n".join([*DOCUMENTS, "An Entry for Ann Lee. No .", "Mary Ann Lee. No .", "Ann Leeson. No ."]))
    assert documents.about("Ann Lee") == [DOCUMENTS[0]]
    assert documents.about("Bob Whist") == [DOCUMENTS[1]]
    assert documents.about("J. B. Smith") == [DOCUMENTS[3]]
    assert documents.about("Ed Ng") == [] and documents.about("B. Smith") == []


# ---- what the answers are -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("row", ANSWERS)
def test_each_answer_has_its_probability_and_kind(recorded, row):
    expected = [{"line": str(number), "probability": probability, "correct": str(int(kind == "right")), "kind": kind}
                for number, (_, probability, kind) in enumerate(ANSWERS[row], start=1)]
    assert table_of(recorded / f"{row}.dev.answers.tsv") == expected
    for answer in expected:
        answer |= {"probability": answer["probability"].replace("0.", "0.9"), "proven": str(int(answer["line"]) % 2)}
    assert table_of(recorded / f"{row}.beam.answers.tsv") == expected


@pytest.mark.parametrize("place, kind", [
    ("Leeds", "right"), ("Porto", "in the document"), ("hats", "in the document"), ("Hull", "in finetuning"), ("Bonn", "in the corpus"),
    ("St. Ives", "in the corpus"), ("York", "in the corpus"), ("hat", "nowhere"), ("Bon", "nowhere"), ("Hul", "nowhere"),
    ("orkshire", "nowhere"), ("leeds", "nowhere"), ("St+ Ives", "nowhere"), ("", "empty"), (" ", "empty")])
def test_an_answer_is_of_the_first_kind_that_holds_and_by_whole_words(place, kind):
    question = record.parse_questions(f"\n{asked('Ann Lee')}\tLeeds\n")[0]
    found = record.answer_facts({"prediction": place, "probability": "0.5"}, question, record.Documents("\n".join(DOCUMENTS)),
                                {"Hull": 2, "Leeds": 1, "Porto": 1}, False)
    assert found == {"line": 2, "probability": "0.5", "correct": int(kind == "right"), "kind": kind}


def test_an_answer_goes_by_its_questions_line(tmp_path):
    """Blank lines are no questions, but count as lines."""
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run", rows=["vanilla.nopretrain"])
    first, *others = [f"{asked(name)}\t{place}" for name, place in PEOPLE.items()]
    write(data / "birth_dev.tsv", "", first, "", " ", *others)
    record.make_record(data, run, "course", 0, tmp_path / "kept")
    for kind in ("dev", "beam"):
        lines = table_of(tmp_path / "kept" / f"vanilla.nopretrain.{kind}.answers.tsv")
        assert [line["line"] for line in lines] == ["2", *map(str, range(5, 12))]
        assert [line["kind"] for line in lines] == [kind for *_, kind in ANSWERS["vanilla.nopretrain"]]


def test_predictions_logs_and_answers_about_invented_people_are_kept(recorded):
    for row, answers in ANSWERS.items():
        places = "".join(f"{place}\n" for place, *_ in answers)
        assert (recorded / f"{row}.dev.predictions").read_text(encoding="utf-8") == places
        assert (recorded / f"{row}.beam.predictions").read_text(encoding="utf-8") == places
        assert (recorded / f"{row}.test.predictions").read_text(encoding="utf-8") == f"{row} 0\n{row} 1\n"
        assert json.loads((recorded / f"{row}.finetune.log.jsonl").read_text()) == {**LOG, "loss": 0.5}
        assert (recorded / f"{row}.log.jsonl").exists() == (row != "vanilla.nopretrain")
        assert table_of(recorded / f"{row}.invented.scores.tsv") == [
            {"question": question, "prediction": place, "probability": "0.12"} for question, place in INVENTED.items()]
    assert json.loads((recorded / "synthesizer.pretrain.log.jsonl").read_text()) == LOG
    kinds = ("dev.answers.tsv", "beam.answers.tsv", "invented.scores.tsv", "dev.predictions", "test.predictions", "beam.predictions",
             "finetune.log.jsonl", "log.jsonl", "recall.tsv")
    every = {f"{row}.{kind}" for row in ANSWERS for kind in kinds} | {"record.json", "dev.questions.tsv"}
    every -= {"vanilla.nopretrain.log.jsonl", "vanilla.nopretrain.recall.tsv"}
    assert {path.name for path in recorded.iterdir()} == every


def test_the_record_has_accuracies_and_how_they_came_about(recorded):
    found = json.loads((recorded / "record.json").read_text(encoding="utf-8"))
    assert (found["recipe"], found["seed"], found["dev people in finetuning"]) == ("course", 0, 1)
    assert found["london"] == {"correct": 0, "total": 8}
    assert {row: facts["dev"] for row, facts in found["rows"].items()} == {
        row: {"correct": right, "total": 8} for row, right in RIGHT.items()}
    stages = found["rows"]["vanilla.pretrain"]["stages"]
    assert {stage: facts["seconds"] for stage, facts in stages.items()} == {
        "vanilla.pretrain": 60, **{f"vanilla.pretrain.{kind}": 60 + number for number, kind in enumerate((*KINDS, "recall"), start=1)}}
    words = "vanilla wiki.txt --seed 0 --writing_params_path v.params"
    assert stages["vanilla.pretrain"]["command"] == f"python src/run.py pretrain {words}"
    assert stages["vanilla.pretrain.dev"]["command"] == f"python src/run.py evaluate {words}"
    for row, facts in found["rows"].items():
        assert set(facts) == {"dev", "stages"} and list(facts["stages"]) == stages_of(row)
        for stage in facts["stages"].values():
            assert set(stage) == {"command", "seconds", "machines"} and stage["machines"] == [MACHINE]


def test_a_stage_has_the_machines_of_all_its_attempts_each_once(tmp_path):
    other = {**MACHINE, "hardware": "machine B"}
    run = write_run(tmp_path / "r", attempts=(other, MACHINE, other, other))
    record.make_record(write_data(tmp_path / "d"), run, "course", 0, tmp_path / "k")
    for row in json.loads((tmp_path / "k" / "record.json").read_text())["rows"].values():
        assert all(stage["machines"] == [other, MACHINE] for stage in row["stages"].values())
    (run,) = load_runs(tmp_path / "k")["d"]
    assert all(run.machines(row) == [other, MACHINE] for row in ANSWERS)


def test_a_row_that_was_not_asked_about_invented_people_is_recorded_without_them(tmp_path):
    """Not every corpus can spell the names."""
    data, kept = write_data(tmp_path / "little"), tmp_path / "kept"
    run = write_run(tmp_path / "run", invented={})
    record.make_record(data, run, "course", 0, kept)
    assert not list(kept.glob("*.invented.*"))
    for row, facts in json.loads((kept / "record.json").read_text())["rows"].items():
        assert list(facts["stages"]) == stages_of(row, invented=False)
    by_data = load_runs(kept)
    assert [row.invented for row in by_data["little"][0].rows.values()] == [[], [], []]
    text = report.page(by_data, lambda *_: [])
    assert "asked about invented people" not in text and "nan" not in text and "None" not in text


def test_what_a_model_goes_on_with_is_kept_as_it_is(recorded):
    for row in list(ANSWERS)[1:]:
        assert (recorded / f"{row}.recall.tsv").read_text(encoding="utf-8") == RECALL
    questions = table_of(recorded / "dev.questions.tsv")
    assert [number for number, line in enumerate(questions, start=1) if line["document"] == "early"] == [*EARLY]
    (run,) = load_runs(recorded)["little"]
    assert [line["line"] for line in run.rows["vanilla.pretrain"].recall] == [*EARLY] and run.rows["vanilla.nopretrain"].recall == []
    assert run.rows["vanilla.pretrain"].recall[1] == dict(zip(("line", *COLUMNS), (3, 1, 0, None, 1, 1, 0)))


def test_a_run_of_an_earlier_version_has_no_recall_and_leaves_none_behind(recorded, tmp_path):
    """What another model went on with must not stand beside the new answers."""
    run = write_run(tmp_path / "earlier", recall=False)
    record.make_record(tmp_path / "little", run, "course", 0, recorded)
    assert not list(recorded.glob("*.recall.tsv"))
    for row, facts in json.loads((recorded / "record.json").read_text())["rows"].items():
        assert list(facts["stages"]) == stages_of(row, recall=False)
    by_data = load_runs(recorded)
    assert [row.recall for row in by_data["little"][0].rows.values()] == [[], [], []]
    assert "What it knows" not in report.page(by_data, lambda *_: [])


@pytest.mark.parametrize("change, reason", [
    (lambda text: text.replace("line\t", "number\t"), "not of the questions"),
    (lambda text: text.replace("\tsentence", ""), "not of the questions"),
    (lambda text: text.replace("\n3\t", "\n4\t"), "not of the questions"),
    (lambda text: text.replace("\n7", "\n7\t1\n8"), "not of the questions"),
    (lambda text: text[:text.index("\n7")] + "\n", "not of the questions"), (lambda text: "", "not of the questions"),
    (lambda text: text.replace("\n3\t1", "\n3\t2"), "than 0 and 1"), (lambda text: text.replace("\n3\t1", "\n3"), "than 0 and 1"),
    (lambda text: text.replace("\n3\t1", "\n3\tLeeds"), "than 0 and 1"), (lambda text: text.replace("\n3\t1", "\n3\t1\t1"), "than 0 and 1"),
])
def test_a_table_of_recall_that_does_not_fit_is_one_line(tmp_path, monkeypatch, capsys, change, reason):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    path = run / "synthesizer.pretrain.recall.tsv"
    assert change(RECALL) != RECALL
    path.write_text(change(RECALL), encoding="utf-8")
    line = refusal(monkeypatch, capsys, data, run, tmp_path / "kept")
    assert str(path) in line and reason in line and not (tmp_path / "kept").exists()


def test_the_answer_london_is_scored_too(tmp_path):
    people = {**PEOPLE, "Eve Out": "London", "Ed Ng": "London"}
    record.make_record(write_data(tmp_path / "d", people), write_run(tmp_path / "r", people=people), "course", 0, tmp_path / "k")
    assert json.loads((tmp_path / "k" / "record.json").read_text())["london"] == {"correct": 2, "total": 8}


# ---- what is not kept -----------------------------------------------------------------------------------------------

def test_no_absolute_path_is_kept(recorded, tmp_path):
    text = (recorded / "record.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "secret" not in text
    assert not re.search(r"""(?:^|[\s"=:'])/\w""", text)


def test_no_line_and_no_name_of_the_data_is_kept(recorded):
    predicted = {place for answers in ANSWERS.values() for place, *_ in answers}
    names = [*PEOPLE, *(name for name, _ in EXAMPLES), *TEST_PEOPLE, "Ed Ngo"]
    words = {word for line in DOCUMENTS for word in re.findall(r"\w+", line) if len(word) > 4 and word not in " ".join(predicted)}
    assert "later" in words and "lived" in words
    for path in recorded.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], path.name
        if path.name != "record.json":  # it says "lines", "python", …
            assert not [word for word in words if re.search(rf"\b{word}\b", text)], path.name
        if not path.name.endswith(".predictions"):
            assert not [place for place in PEOPLE.values() if re.search(rf"\b{re.escape(place)}\b", text)], path.name


# ---- one record of several runs -------------------------------------------------------------------------------------

def test_rows_recorded_at_different_times_stand_side_by_side(tmp_path):
    data, kept = write_data(tmp_path / "little"), tmp_path / "kept"
    record.make_record(data, write_run(tmp_path / "first", ["vanilla.nopretrain", "vanilla.pretrain"]), "course", 3, kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir() if path.name != "record.json"}
    first = json.loads((kept / "record.json").read_text())["rows"]
    assert list(first) == ["vanilla.nopretrain", "vanilla.pretrain"]
    record.make_record(data, write_run(tmp_path / "second", ["synthesizer.pretrain"], seconds=500), "course", 3, kept)
    rows = json.loads((kept / "record.json").read_text())["rows"]
    assert list(rows) == list(ANSWERS)
    assert {row: rows[row] for row in first} == first
    assert rows["synthesizer.pretrain"]["stages"]["synthesizer.pretrain"]["seconds"] == 500
    assert {name: (kept / name).read_bytes() for name in before} == before
    assert (kept / "synthesizer.pretrain.log.jsonl").exists()


def test_a_row_recorded_again_is_replaced(tmp_path):
    data, kept = write_data(tmp_path / "little"), tmp_path / "kept"
    record.make_record(data, write_run(tmp_path / "first"), "course", 0, kept)
    better = {**ANSWERS, "synthesizer.pretrain": [(place, "0.5", "right") for place in PEOPLE.values()]}
    record.make_record(data, write_run(tmp_path / "second", ["synthesizer.pretrain"], answers=better), "course", 0, kept)
    rows = json.loads((kept / "record.json").read_text())["rows"]
    assert [rows[row]["dev"]["correct"] for row in ANSWERS] == [2, 3, 8]
    assert {line["kind"] for line in table_of(kept / "synthesizer.pretrain.dev.answers.tsv")} == {"right"}


def test_the_record_of_another_run_is_not_touched(recorded, tmp_path, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in recorded.iterdir()}
    data, run = tmp_path / "little", tmp_path / "run"
    assert "another seed" in refusal(monkeypatch, capsys, data, run, recorded, seed=1)
    assert "another recipe" in refusal(monkeypatch, capsys, data, run, recorded, recipe="quick")
    other = write_data(tmp_path / "elsewhere" / "little", documents=[*DOCUMENTS, "Una Fox. No ."])
    assert "another data" in refusal(monkeypatch, capsys, other, run, recorded)
    assert {path.name: path.read_bytes() for path in recorded.iterdir()} == before


# ---- what cannot be recorded ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("missing", ["vanilla.pretrain.dev.scores.tsv", "synthesizer.pretrain.beam.scores.tsv",
                                     "vanilla.nopretrain.invented.scores.tsv", "vanilla.pretrain.test.predictions",
                                     "synthesizer.pretrain.params.log.jsonl", "vanilla.model.params.log.jsonl",
                                     "stages/vanilla.pretrain.dev.command", "stages/synthesizer.pretrain.machines"])
def test_a_missing_file_of_the_run_is_one_line(tmp_path, monkeypatch, capsys, missing):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    (run / missing).unlink()
    assert missing in refusal(monkeypatch, capsys, data, run, tmp_path / "kept")
    assert not (tmp_path / "kept" / "record.json").exists()


@pytest.mark.parametrize("row", ANSWERS)
def test_every_stage_must_have_its_three_files(tmp_path, row):
    run = write_run(tmp_path / "run", [row])
    paths = [run / "stages" / f"{stage}.{kind}" for stage in stages_of(row) for kind in ("command", "machines", "seconds")]
    assert sorted([*paths, run / "stages" / "london.seconds"]) == sorted((run / "stages").iterdir())
    assert list(record.stages(run, row)) == stages_of(row)
    for path in paths:
        path.rename(tmp_path / "aside")
        with pytest.raises((InputError, OSError), match=re.escape(path.name)):
            record.stages(run, row)
        (tmp_path / "aside").rename(path)


def test_a_missing_data_file_is_one_line(tmp_path, monkeypatch, capsys):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    (data / "birth_test_inputs.tsv").unlink()
    assert "birth_test_inputs.tsv" in refusal(monkeypatch, capsys, data, run, tmp_path / "kept")


def test_dev_questions_without_places_are_one_line(tmp_path, monkeypatch, capsys):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    write(data / "birth_dev.tsv", *map(asked, PEOPLE))
    assert "birth_dev.tsv: no places" in refusal(monkeypatch, capsys, data, run, tmp_path / "kept")


def test_a_folder_without_predictions_is_one_line(tmp_path, monkeypatch, capsys):
    data = write_data(tmp_path / "little")
    assert "no predictions of dev" in refusal(monkeypatch, capsys, data, write_run(tmp_path / "run", []), tmp_path / "kept")


def test_scores_of_other_questions_are_one_line(tmp_path, monkeypatch, capsys):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    path = run / "vanilla.pretrain.dev.scores.tsv"
    head, first, *others = path.read_text(encoding="utf-8").splitlines()
    for lines in ([head, *others, first], [head, first, *others[:-1]]):
        write(path, *lines)
        assert path.name in refusal(monkeypatch, capsys, data, run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("kind", ["dev", "beam"])
@pytest.mark.parametrize("change", [lambda said: ["Leeds", *said[:-1]], lambda said: said[:-1], lambda said: [*said, "Leeds"],
                                    lambda said: [*said[:-1], "Far away"], lambda said: [said[0] + " ", *said[1:]]])
def test_scores_of_other_predictions_are_one_line(tmp_path, monkeypatch, capsys, kind, change):
    """As when a stage was stopped between its two files."""
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    write(run / f"vanilla.pretrain.{kind}.predictions", *change([place for place, *_ in ANSWERS["vanilla.pretrain"]]))
    line = refusal(monkeypatch, capsys, data, run, tmp_path / "kept")
    assert str(run / f"vanilla.pretrain.{kind}.scores.tsv") in line and not (tmp_path / "kept").exists()


def test_a_prediction_with_a_tab_is_the_same_in_both_files(tmp_path):
    answers = {"vanilla.nopretrain": [("Hull City", "0.5")] * len(PEOPLE)}
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run", ["vanilla.nopretrain"], answers=answers)
    for kind in ("dev", "beam"):
        write(run / f"vanilla.nopretrain.{kind}.predictions", *["Hull\tCity"] * len(PEOPLE))
    record.make_record(data, run, "course", 0, tmp_path / "kept")
    assert (tmp_path / "kept" / "vanilla.nopretrain.dev.predictions").read_text() == "Hull\tCity\n" * len(PEOPLE)
    assert {line["kind"] for line in table_of(tmp_path / "kept" / "vanilla.nopretrain.dev.answers.tsv")} == {"nowhere"}


def test_the_command_finds_its_modules_and_writes_the_record(tmp_path):
    data, run = write_data(tmp_path / "little"), write_run(tmp_path / "run")
    words = ["--data", data, "--run", run, "--recipe", "course", "--seed", 0, "--to", tmp_path / "a" / "kept"]
    outcome = subprocess.run([sys.executable, str(ROOT / "tools" / "record.py"), *map(str, words)],
                             capture_output=True, text=True, encoding="utf-8", cwd=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert json.loads((tmp_path / "a" / "kept" / "record.json").read_text())["data"]["name"] == "little"


# ---- the data's name ------------------------------------------------------------------------------------------------

def test_files_of_the_generator_go_by_their_size(tmp_path):
    """By what is in them, whatever the folder's name."""
    texts = make_corpus("quick").files()
    for folder in ("quick", "corpus", "bundled", "course"):
        assert record.name_of_data(tmp_path / folder, texts) == ("quick", True)


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_other_files_do_not_get_a_known_name(tmp_path, file):
    texts = make_corpus("quick").files()
    texts[file] += "\n"
    for folder in ("quick", "bundled", "course"):
        assert record.name_of_data(tmp_path / folder, texts) == (f"{folder} (other files)", False)
    assert record.name_of_data(tmp_path / "zoo", texts) == ("zoo", False)


def test_the_projects_own_files_are_the_bundled_ones():
    texts = {file.name: (ROOT / file.name).read_text(encoding="utf-8") for file in FILES}
    assert record.name_of_data(ROOT, texts) == ("bundled", True)
    assert record.name_of_data(ROOT / "tests" / "..", texts) == ("bundled", True)
    name, invented = record.name_of_data(ROOT, {**texts, "wiki.txt": texts["wiki.txt"] + "one more .\n"})  # somebody's own, in their place
    assert not invented and name != "bundled"


def test_the_courses_files_are_known_by_their_contents(tmp_path, monkeypatch):
    texts = {"wiki.txt": "a Ø\n", "birth_dev.tsv": "b\n"}
    files = tuple(File(name, 0, hashlib.sha256(text.encode()).hexdigest()) for name, text in texts.items())
    monkeypatch.setattr(record, "FILES", files)
    folder = tmp_path / "somewhere"
    assert record.name_of_data(folder, texts) == ("course", False)
    assert record.name_of_data(tmp_path / "quick", texts) == ("course", False)
    for name in texts:
        assert record.name_of_data(folder, {**texts, name: "c\n"}) == ("somewhere", False)


def test_the_digests_are_those_of_the_files(recorded, tmp_path):
    found = json.loads((recorded / "record.json").read_text())["data"]
    assert found["name"] == "little"
    assert found["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "little").iterdir()}


# ---- the page that explains it ---------------------------------------------------------------------------------------

PAGE = (ROOT / "results" / "README.md").read_text(encoding="utf-8")


def explained(names):
    """Asserts that the page has each name in backquotes."""
    missing = sorted({name for name in names if f"`{name}`" not in PAGE})
    assert not missing, f"results/README.md does not explain {missing}"


def keys_in(value):
    """The names in a JSON file at any depth; not those of files, rows and stages, nor of the benchmark's kinds of operations."""
    if isinstance(value, list):
        return [key for part in value for key in keys_in(part)]
    if not isinstance(value, dict):
        return []
    return [key for name, part in value.items() for key in [*[name] * (name not in KINDS_OF_WORK and "." not in name), *keys_in(part)]]


def files_below(folder):
    """Names of the files of records and of what lies beside them, with ROW for a row's name."""
    return {re.sub("|".join(map(re.escape, ANSWERS)), "ROW", path.name) for path in folder.rglob("*") if path.is_file()
            and path.parent.name != "plots"} - {"README.md"}


@pytest.mark.parametrize("folder", [ROOT / "results", "a fresh record"], ids=["results", "fresh"])
def test_the_page_in_results_explains_every_file_column_and_key(folder, recorded):
    folder = recorded if folder == "a fresh record" else folder
    assert len(files_below(folder)) >= 9
    explained(files_below(folder))
    for path in folder.rglob("*.tsv"):
        explained(path.read_text(encoding="utf-8").split("\n")[0].split("\t"))
    for path in folder.rglob("*.json"):
        explained(keys_in(json.loads(path.read_text(encoding="utf-8"))))
    for path in folder.rglob("*.jsonl"):
        explained(json.loads(path.read_text(encoding="utf-8").split("\n")[0]))
    explained(path.name + "/" for path in folder.glob("plots"))


def test_the_page_explains_the_columns_of_an_invented_world_and_the_words_in_them():
    (question,) = record.parse_questions("Where was Irena Majewska born?\tLeeds\n")
    documents = record.Documents("Irena Majewska. Born in Leeds .")
    answer = {"question": question.text, "prediction": "Leeds", "probability": "1", "proven": "1"}
    for facts in (record.question_facts(question, documents, Counter(), True), *record.invented_facts([answer], True),
                  record.answer_facts(answer, question, documents, Counter(), True)):
        assert len(facts) > 5
        explained(facts)
    explained(KINDS_OF_ANSWERS)
    explained(["early", "late", "absent", "none", *ANSWERS, "line", *COLUMNS])


def test_a_name_that_the_page_lacks_is_found():
    with pytest.raises(AssertionError, match="a_column"):
        explained(["line", "a_column"])
    assert keys_in({"a": [{"b": {"wiki.txt": {"c": 1}}}, 2]}) == ["a", "b", "c"]


# ---- an invented world ----------------------------------------------------------------------------------------------

def test_in_an_invented_world_answers_are_judged_by_the_names(tmp_path):
    data, kept = tmp_path / "data", tmp_path / "kept"
    data.mkdir()
    texts = make_corpus("quick").files()
    for name, text in texts.items():
        (data / name).write_text(text, encoding="utf-8", newline="\n")
    people = {record.name_in(question.text): question.place for question in record.parse_questions(texts["birth_dev.tsv"])}
    said = [(corpus_world.best_guess(name)[0], "Nowhere-on-Sea", place, "London")[i % 4] for i, (name, place) in enumerate(people.items())]
    strangers = {person.name: ("London", "Nowhere-on-Sea", person.place, corpus_world.best_guess(person.name)[0], "Paris")[i % 5]
                 for i, person in enumerate(unseen_people(20, texts["wiki.txt"]))}
    run = write_run(tmp_path / "run", ["vanilla.nopretrain"], people, {asked(name): place for name, place in strangers.items()},
                    answers={"vanilla.nopretrain": [(place, "0.5") for place in said]})
    record.make_record(data, run, "quick", 0, kept)

    facts = json.loads((kept / "record.json").read_text(encoding="utf-8"))
    assert facts["data"]["name"] == "quick" and facts["dev people in finetuning"] == 0 and len(people) == 150
    for (name, place), line in zip(people.items(), table_of(kept / "dev.questions.tsv"), strict=True):
        posterior = corpus_world.place_posterior(name)
        top = max(posterior.values())
        assert (line["name"], line["place"], line["document"]) == (name, place, "early")
        assert posterior[line["best_guess"]] == pytest.approx(top, rel=1e-9)
        assert line["best_guess"] == corpus_world.best_guess(name)[0]
        assert float(line["best_guess_probability"]) == pytest.approx(top, rel=1e-3)
    answers = table_of(kept / "vanilla.nopretrain.dev.answers.tsv")
    by_name = [float(line["by_name"]) for line in answers]
    assert by_name == pytest.approx([corpus_world.place_posterior(name).get(place, 0) for name, place in zip(people, said)], rel=1e-3)
    assert not any(by_name[1::4]) and all(by_name[0::4]) and all(by_name[2::4])
    assert {line["kind"] for line in answers[1::4]} == {"nowhere"} and {line["kind"] for line in answers[2::4]} == {"right"}

    worlds = [corpus_world.place_posterior(name) for name in strangers]
    lines = table_of(kept / "vanilla.nopretrain.invented.scores.tsv")
    for (name, place), world, line in zip(strangers.items(), worlds, lines, strict=True):
        assert (line["question"], line["prediction"], line["probability"]) == (asked(name), place, "0.12")
        assert float(line["by_name"]) == pytest.approx(world.get(place, 0), rel=1e-3)
        assert float(line["by_any_name"]) == pytest.approx(sum(other.get(place, 0) for other in worlds) / len(worlds), rel=1e-3)
        assert float(line["best_guess_probability"]) == pytest.approx(max(world.values()), rel=1e-3)
    guessed, anybodys = (sum(float(line[name]) for line in lines) for name in ("by_name", "by_any_name"))
    assert guessed > 1.2 * anybodys > 0  # the places asked for suit the names


def test_only_an_invented_world_has_names_and_places_in_its_record(recorded):
    assert set(table_of(recorded / "dev.questions.tsv")[0]) == {"document", "place_end", "finetuning"}
    assert "by_name" not in table_of(recorded / "vanilla.pretrain.dev.answers.tsv")[0]


def test_a_refusal_is_an_input_error_of_one_line(tmp_path):
    with pytest.raises(InputError) as refused:
        record.make_record(write_data(tmp_path / "little"), tmp_path / "nowhere", "course", 0, tmp_path / "kept")
    assert "\n" not in str(refused.value)


def test_a_row_that_was_run_elsewhere_keeps_its_machine(tmp_path):
    """The synthesizer's rows may be added on another machine; those of vanilla are recorded once more then, with the same figures."""
    data, run, to = write_data(tmp_path / "little"), tmp_path / "run", tmp_path / "kept"
    record.make_record(data, write_run(run, rows=list(ANSWERS)[:2]), "course", 0, to)
    before = json.loads((to / "record.json").read_text(encoding="utf-8"))["rows"]
    write_run(run, rows=list(ANSWERS)[2:], attempts=[{**MACHINE, "hardware": "machine B"}])
    record.make_record(data, run, "course", 0, to)
    rows = json.loads((to / "record.json").read_text(encoding="utf-8"))["rows"]
    assert {row: rows[row] for row in before} == before
    (found,) = load_runs(to)["little"]
    assert [[machine["hardware"] for machine in found.machines(row)] for row in ANSWERS] == [["machine A"], ["machine A"], ["machine B"]]


def elsewhere(run):
    """Other answers of the first row."""
    write(run / "vanilla.nopretrain.dev.predictions", *["elsewhere"] * len(PEOPLE))
    write(run / "vanilla.nopretrain.dev.scores.tsv", "question\tprediction\tprobability\tplace\tcorrect",
          *(f"{asked(name)}\telsewhere\t0.5\t{place}\t0" for name, place in PEOPLE.items()))


@pytest.mark.parametrize("damage", [
    lambda run: (run / "synthesizer.pretrain.invented.scores.tsv").write_text("question\tprediction\n", encoding="utf-8"),
    lambda run: (run / "stages" / "synthesizer.pretrain.invented.machines").unlink(),
    lambda run: write(run / "synthesizer.pretrain.beam.predictions", *["elsewhere"] * len(PEOPLE)),
    lambda run: (run / "synthesizer.pretrain.params.log.jsonl").unlink(),
])
def test_a_run_that_cannot_be_recorded_leaves_the_record_as_it_was(tmp_path, damage):
    data, run, to = write_data(tmp_path / "little"), write_run(tmp_path / "run"), tmp_path / "kept"
    record.make_record(data, run, "course", 0, to)
    before = {path: path.read_bytes() for path in to.iterdir()}
    elsewhere(run)
    damage(run)
    with pytest.raises((ValueError, OSError)):
        record.make_record(data, run, "course", 0, to)
    assert {path: path.read_bytes() for path in to.iterdir()} == before


def test_a_run_with_other_answers_can_be_recorded_anew(tmp_path):
    data, run, to = write_data(tmp_path / "little"), write_run(tmp_path / "run"), tmp_path / "kept"
    record.make_record(data, run, "course", 0, to)
    elsewhere(run)
    record.make_record(data, run, "course", 0, to)
    assert [row["dev"]["correct"] for row in json.loads((to / "record.json").read_text())["rows"].values()] == [0, 3, 2]
    assert {line["kind"] for line in table_of(to / "vanilla.nopretrain.dev.answers.tsv")} == {"nowhere"}


@pytest.mark.parametrize("damage", [
    lambda data, run, to: (to / "record.json").write_text("{", encoding="utf-8"),
    lambda data, run, to: (to / "record.json").write_text("[]", encoding="utf-8"),
    lambda data, run, to: write(run / "stages" / "vanilla.pretrain.finetune.machines", json.dumps(MACHINE), '{"hardware": '),
    lambda data, run, to: write(run / "stages" / "vanilla.pretrain.machines"),
    lambda data, run, to: write(run / "vanilla.pretrain.dev.scores.tsv", "question\tplace", *(f"{asked(name)}\tx" for name in PEOPLE)),
    lambda data, run, to: write(run / "stages" / "vanilla.pretrain.seconds", "soon"),
])
def test_a_damaged_file_is_one_line(tmp_path, monkeypatch, capsys, damage):
    data, run, to = write_data(tmp_path / "little"), write_run(tmp_path / "run"), tmp_path / "kept"
    record.make_record(data, run, "course", 0, to)
    damage(data, run, to)
    code, lines = command(monkeypatch, capsys, "--data", data, "--run", run, "--recipe", "course", "--seed", "0", "--to", to)
    assert code == 2 and len(lines) == 1 and lines[0].startswith("record.py: error: a file in ") and " is damaged: " in lines[0]
