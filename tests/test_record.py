"""
What is kept of a run, against expectations written by hand for eight people; and that no line of
other people's data is kept.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import record
import report
import world
from analysis import KINDS
from fetch_data import SHA256
from load import load_runs
from make_corpus import make_corpus, unseen_people
from recall import COLUMNS
from records import MACHINE

ROOT = Path(__file__).resolve().parent.parent

# The corpus offers, in turn: the place at once; first as a part of another word, then late; with
# letters outside ASCII; only as a part of another word; no document; two documents; a place that
# ends with character 112; one that ends with character 113.
PEOPLE = {
    "Ann Lee": "Leeds",
    "Bob Whist": "York",
    "Zoë Brøgger": "Ålesund",
    "J. B. Smith": "Hull",
    "Ed Ng": "Hull",
    "Kim Day": "St. Ives",
    "Eve Inn": "Bonn",
    "Eve Out": "Bonn",
}


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

PROBABILITIES = ("0.9", "0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2")
ANSWERS = {  # for each of them the place, and the kind of answer that it is
    row: [tuple(line.split(": ")) for line in text.strip("\n").split("\n")]
    for row, text in {
        "vanilla.nopretrain": """
Hull: in finetuning
: empty
Porto: in finetuning
Hull: right
Hull: right
Hullville: in the corpus
  : empty
qq: nowhere
""",
        "vanilla.pretrain": """
Leeds: right
Yorkshire: in the document
Porto: in finetuning
Ålesund: in the corpus
Hull: right
St. Ives: right
Xanadu: nowhere
far away: in the document
""",
        "synthesizer.pretrain": """
Porto: in the document
York: right
Brøgger: in the document
York: in the corpus
Ngo: in the corpus
Stx Ives: in the document
Bonn: right
Bon: nowhere
""",
    }.items()
}
RIGHT = {"vanilla.nopretrain": 2, "vanilla.pretrain": 3, "synthesizer.pretrain": 2}
INVENTED = {"Where was Moe Foo born?": "London", "Where was Zed Bar born?": "Porto"}
EARLY = (1, 3, 6, 7)  # lines of the people whose place stands early
LINES = [f"{line}\t1\t0\t\t{number % 2}\t1\t0" for number, line in enumerate(EARLY)]
RECALL = "\n".join(["\t".join(("line", *COLUMNS)), *LINES, ""])
LOG = {"step": 10, "epoch": 1, "loss": 1.5, "lr": 0.006, "seconds": 2.0}
HEAD = "question\tprediction\tprobability\tplace\tcorrect"


def asked(name):
    return f"Where was {name} born?"


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def write_data(folder, people=PEOPLE, documents=DOCUMENTS):
    folder.mkdir(parents=True)
    write(folder / "wiki.txt", *documents)
    examples = (f"{asked(name)}\t{place}" for name, place in EXAMPLES)
    write(folder / "birth_places_train.tsv", *examples)
    write(folder / "birth_dev.tsv", *(f"{asked(name)}\t{place}" for name, place in people.items()))
    write(folder / "birth_test_inputs.tsv", *map(asked, TEST_PEOPLE))
    return folder


def stages_of(row, invented=True, recall=True):
    pretrained = row.endswith(".pretrain")
    kinds = ["finetune", "dev", "test", "beam", *["invented"] * bool(invented)]
    kinds += ["recall"] * (pretrained and recall)
    return [*[row] * pretrained, *(f"{row}.{kind}" for kind in kinds)]


def write_run(
    folder,
    rows=ANSWERS,
    people=PEOPLE,
    invented=INVENTED,
    answers=ANSWERS,
    attempts=(MACHINE,),
    recall=True,
    recipe="course",
    seed=0,
):
    """A folder as run_all.sh leaves it, with these rows. invented: {question: answer}."""
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    write(folder / "settings", f"recipe={recipe} seed={seed} data=1 2")
    for row in rows:
        variant, _, kind = row.partition(".")
        places = [place for place, _ in answers[row]]
        table = [
            f"{asked(name)}\t{said}\t{PROBABILITIES[i % 8]}\t{place}\t{said == place:d}"
            for i, (said, (name, place)) in enumerate(zip(places, people.items(), strict=True))
        ]
        beam = [f"{line}\t{number % 2}" for number, line in enumerate(table, start=1)]
        write(folder / f"{row}.dev.predictions", *places)
        write(folder / f"{row}.beam.predictions", *places)
        write(folder / f"{row}.test.predictions", *(f"{row} {n}" for n in range(2)))
        write(folder / f"{row}.dev.scores.tsv", HEAD, *table)
        write(folder / f"{row}.beam.scores.tsv", f"{HEAD}\tproven", *beam)
        if invented:
            lines = (f"{question}\t{place}\t0.12\t\t" for question, place in invented.items())
            write(folder / f"{row}.invented.predictions", *invented.values())
            write(folder / f"{row}.invented.scores.tsv", HEAD, *lines)
        params = f"{variant}.{'model' if kind == 'nopretrain' else 'finetune'}.params"
        write(folder / f"{params}.log.jsonl", json.dumps({**LOG, "loss": 0.5}))
        if kind == "pretrain":
            write(folder / f"{row}.params.log.jsonl", json.dumps(LOG))
            if recall:
                (folder / f"{row}.recall.tsv").write_text(RECALL, encoding="utf-8")
        for number, stage in enumerate(stages_of(row, invented, recall)):
            function = {row: "pretrain", f"{row}.finetune": "finetune"}.get(stage, "evaluate")
            write(folder / "stages" / f"{stage}.seconds", 60 + number)
            write(folder / "stages" / f"{stage}.machines", *map(json.dumps, attempts))
            words = ["/usr/bin/python3", "src/run.py", function, variant]
            words += [folder / "secret" / "wiki.txt", "--writing_params_path", folder / "v.params"]
            write(folder / "stages" / f"{stage}.command", *words)
    return folder


def table_of(path):
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def json_of(folder):
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


@pytest.fixture
def folders(tmp_path):
    """(data, run, an empty place for the record)."""
    return write_data(tmp_path / "little"), write_run(tmp_path / "run"), tmp_path / "kept"


@pytest.fixture
def recorded(folders):
    """The record of all three rows."""
    data, run, to = folders
    record.make_record(data, run, to)
    return to


def refusal(monkeypatch, capsys, data, run, to):
    """The one line of a record that is refused."""
    words = ["--data", data, "--run", run, "--to", to]
    monkeypatch.setattr(sys, "argv", ["record.py", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        record.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    return line


# ---- what is kept ----------------------------------------------------------------------------


def test_each_question_has_what_the_data_offer(recorded):
    late = str(DOCUMENTS[1].index(" York .") + len(" York"))
    ends = {
        i: str(DOCUMENTS[n].index(p) + len(p)) for i, n, p in ((0, 0, "Leeds"), (2, 2, "Ålesund"))
    }
    second = str(DOCUMENTS[7].index("St. Ives") + len("St. Ives"))
    assert [tuple(line.values()) for line in table_of(recorded / "dev.questions.tsv")] == [
        ("early", ends[0], "1"),
        ("late", late, "0"),
        ("early", ends[2], "0"),
        ("absent", "", "2"),
        ("none", "", "2"),
        ("early", second, "0"),
        ("early", "112", "0"),
        ("late", "113", "0"),
    ]


@pytest.mark.parametrize("row", ANSWERS)
def test_each_answer_has_its_probability_and_kind(recorded, row):
    expected = [
        {"line": str(i), "probability": p, "correct": str(int(kind == "right")), "kind": kind}
        for i, ((_, kind), p) in enumerate(zip(ANSWERS[row], PROBABILITIES, strict=True), start=1)
    ]
    assert table_of(recorded / f"{row}.dev.answers.tsv") == expected
    beam = [{**line, "proven": str(int(line["line"]) % 2)} for line in expected]
    assert table_of(recorded / f"{row}.beam.answers.tsv") == beam


@pytest.mark.parametrize(
    "place, kind",
    [
        ("Leeds", "right"),
        ("Porto", "in the document"),
        ("Hull", "in finetuning"),
        ("St. Ives", "in the corpus"),
        ("hat", "nowhere"),
        ("orkshire", "nowhere"),
        ("leeds", "nowhere"),
        ("St+ Ives", "nowhere"),
        (" ", "empty"),
    ],
)
def test_an_answer_is_of_the_first_kind_that_holds_by_whole_words(place, kind):
    question = record.parse_questions(f"\n{asked('Ann Lee')}\tLeeds\n")[0]
    documents = record.Documents("\n".join(DOCUMENTS))
    known = record.World(documents, {"Hull": 2, "Leeds": 1, "Porto": 1}, False)
    found = record.answer_facts({"prediction": place, "probability": "0.5"}, question, known)
    assert (found["line"], found["correct"], found["kind"]) == (2, int(kind == "right"), kind)


def test_predictions_logs_and_other_tables_are_kept(recorded):
    for row, answers in ANSWERS.items():
        places = "".join(f"{place}\n" for place, _ in answers)
        for kind in ("dev", "beam"):
            assert (recorded / f"{row}.{kind}.predictions").read_text(encoding="utf-8") == places
        assert (recorded / f"{row}.test.predictions").read_text() == f"{row} 0\n{row} 1\n"
        log = json.loads((recorded / f"{row}.finetune.log.jsonl").read_text())
        assert log["loss"] == 0.5
        assert [
            line["prediction"] for line in table_of(recorded / f"{row}.invented.scores.tsv")
        ] == [*INVENTED.values()]
        pretrained = row.endswith(".pretrain")
        assert (recorded / f"{row}.log.jsonl").exists() == pretrained
        assert not pretrained or (recorded / f"{row}.recall.tsv").read_text() == RECALL
    (run,) = load_runs(recorded)["little"]
    expected = dict(zip(("line", *COLUMNS), (3, 1, 0, None, 1, 1, 0), strict=True))
    assert run.rows["vanilla.pretrain"].recall[1] == expected


def test_the_record_has_accuracies_and_how_they_came_about(recorded):
    found = json_of(recorded)
    assert (found["recipe"], found["seed"], found["dev people in finetuning"]) == ("course", 0, 1)
    assert found["london"] == {"correct": 0, "total": 8}
    dev = {row: facts["dev"] for row, facts in found["rows"].items()}
    assert dev == {row: {"correct": right, "total": 8} for row, right in RIGHT.items()}
    for row, facts in found["rows"].items():
        assert list(facts["stages"]) == stages_of(row)
        for number, stage in enumerate(facts["stages"].values()):
            assert (stage["seconds"], stage["machines"]) == (60 + number, [MACHINE])
    command = found["rows"]["vanilla.pretrain"]["stages"]["vanilla.pretrain"]["command"]
    assert command == "python src/run.py pretrain vanilla wiki.txt --writing_params_path v.params"


def test_a_stage_has_the_machines_of_all_its_attempts_each_once(folders, tmp_path):
    other = {**MACHINE, "hardware": "machine B"}
    write_run(folders[1], attempts=(other, MACHINE, other, other))
    record.make_record(*folders[:2], folders[2])
    (run,) = load_runs(folders[2])["little"]
    assert all(run.machines(row) == [other, MACHINE] for row in ANSWERS)


def test_a_row_may_lack_invented_people_and_completions_and_leaves_no_old_ones(recorded, tmp_path):
    run = write_run(tmp_path / "earlier", invented={}, recall=False)
    record.make_record(tmp_path / "little", run, recorded)
    assert not [*recorded.glob("*.recall.tsv"), *recorded.glob("*.invented.*")]
    for row, facts in json_of(recorded)["rows"].items():
        assert list(facts["stages"]) == stages_of(row, invented=False, recall=False)
    text = report.page(load_runs(recorded)["little"])
    assert "## Completions" not in text and "## Invented people" not in text


def test_rows_of_any_variant_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROWS", [*record.ROWS, "dummy.nopretrain", "dummy.pretrain"])
    answers = {**ANSWERS, "dummy.pretrain": ANSWERS["vanilla.pretrain"]}
    run = write_run(tmp_path / "run", ["dummy.pretrain"], answers=answers)
    record.make_record(write_data(tmp_path / "d"), run, tmp_path / "k")
    assert json_of(tmp_path / "k")["rows"]["dummy.pretrain"]["dev"]["correct"] == 3


def test_rows_recorded_at_different_times_stand_side_by_side(folders, tmp_path):
    data, _, kept = folders
    first, second = list(ANSWERS)[:2], list(ANSWERS)[2:]
    record.make_record(data, write_run(tmp_path / "one", first, seed=3), kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    rows = json_of(kept)["rows"]
    record.make_record(data, write_run(tmp_path / "two", second, seed=3), kept)
    assert list(json_of(kept)["rows"]) == list(ANSWERS)
    assert {row: json_of(kept)["rows"][row] for row in rows} == rows
    del before["record.json"]
    assert {name: (kept / name).read_bytes() for name in before} == before
    places = [(place, "right") for place in PEOPLE.values()]
    answers = {**ANSWERS, second[0]: places}
    run = write_run(tmp_path / "three", second, answers=answers, seed=3)
    record.make_record(data, run, kept)
    dev = [row["dev"]["correct"] for row in json_of(kept)["rows"].values()]
    assert dev == [2, 3, 8]


# ---- what is not kept ------------------------------------------------------------------------


def test_no_path_no_line_and_no_name_of_the_data_is_kept(recorded, tmp_path):
    predicted = " ".join(place for answers in ANSWERS.values() for place, _ in answers)
    names = [*PEOPLE, *(name for name, _ in EXAMPLES), *TEST_PEOPLE]
    words = {word for line in DOCUMENTS for word in re.findall(r"\w{5,}", line)}
    words = {word for word in words if word not in predicted}
    assert {"later", "lived"} <= words
    for path in recorded.iterdir():
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text and "secret" not in text
        assert not [name for name in names if name in text], path.name
        if path.name != "record.json":
            assert not [word for word in words if re.search(rf"\b{word}\b", text)], path.name
        if not path.name.endswith(".predictions"):
            assert not [place for place in PEOPLE.values() if place in text], path.name


# ---- what cannot be recorded -----------------------------------------------------------------


def remove(name):
    return lambda data, run: (run / name).unlink()


def rewrite(name, *lines):
    return lambda data, run: write(run / name, *lines)


def change(name, old, new):
    def changed(data, run):
        text = (run / name).read_text(encoding="utf-8")
        assert old in text
        (run / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return changed


RECALLS = "synthesizer.pretrain.recall.tsv"
DAMAGES = {
    "no scores": ("vanilla.pretrain.dev.scores.tsv", remove("vanilla.pretrain.dev.scores.tsv")),
    "no machine": ("pretrain.machines", remove("stages/synthesizer.pretrain.machines")),
    "no data": (
        "birth_test_inputs.tsv",
        lambda data, run: (data / "birth_test_inputs.tsv").unlink(),
    ),
    "other predictions": (
        "vanilla.pretrain.beam.scores.tsv",
        rewrite("vanilla.pretrain.beam.predictions", *["x"] * 8),
    ),
    "other questions": ("dev.scores.tsv", change("vanilla.pretrain.dev.scores.tsv", "Ann", "Al")),
    "another line": (RECALLS, change(RECALLS, "\n3\t", "\n4\t")),
    "half a machine": ("damaged", rewrite("stages/vanilla.pretrain.machines", '{"hardware": ')),
    "no seconds": ("damaged", rewrite("stages/vanilla.pretrain.seconds", "soon")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_cannot_be_recorded_is_one_line_and_changes_nothing(
    recorded, folders, monkeypatch, capsys, damage
):
    before = {path: path.read_bytes() for path in recorded.iterdir()}
    named, spoil = DAMAGES[damage]
    data, run, _ = folders
    write(run / "vanilla.nopretrain.test.predictions", "else")  # as if the row were run again
    spoil(data, run)
    assert named in refusal(monkeypatch, capsys, data, run, recorded)
    assert {path: path.read_bytes() for path in recorded.iterdir()} == before


def test_a_row_that_is_not_complete_is_left_out(folders):
    """Of a run that was stopped in a row: the others are recorded."""
    data, run, to = folders
    for kind in ("test.predictions", "beam.predictions", "beam.scores.tsv"):
        (run / f"vanilla.nopretrain.{kind}").unlink()
    record.make_record(data, run, to)
    assert list(json_of(to)["rows"]) == ["vanilla.pretrain", "synthesizer.pretrain"]


def test_the_record_of_another_run_is_not_touched(
    recorded, folders, monkeypatch, capsys, tmp_path
):
    data, run, _ = folders
    before = {path.name: path.read_bytes() for path in recorded.iterdir()}
    for name, settings in (("seed", {"seed": 1}), ("recipe", {"recipe": "quick"})):
        other = write_run(tmp_path / name, **settings)
        assert name in refusal(monkeypatch, capsys, data, other, recorded)
    other = write_run(tmp_path / "no settings")
    (other / "settings").unlink()
    assert "settings" in refusal(monkeypatch, capsys, data, other, tmp_path / "new")
    other = write_data(tmp_path / "else" / "little", documents=[*DOCUMENTS, "Una Fox. No ."])
    assert "data" in refusal(monkeypatch, capsys, other, run, recorded)
    write(other / "birth_dev.tsv", *map(asked, PEOPLE))  # without places
    assert "birth_dev.tsv" in refusal(monkeypatch, capsys, other, run, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in recorded.iterdir()} == before
    (tmp_path / "nothing").mkdir()
    line = refusal(monkeypatch, capsys, data, tmp_path / "nothing", tmp_path / "new")
    assert str(tmp_path / "nothing") in line and not (tmp_path / "new").exists()
    (recorded / "record.json").write_text("{")
    assert str(recorded) in refusal(monkeypatch, capsys, data, run, recorded)


def test_a_prediction_with_a_tab_is_the_same_in_both_files(folders):
    data, run, to = folders
    for kind in ("dev", "beam"):
        path = run / f"vanilla.nopretrain.{kind}.scores.tsv"
        path.write_text(path.read_text().replace("\tPorto\t", "\tHull City\t"))
        places = [place for place, _ in ANSWERS["vanilla.nopretrain"]]
        places[2] = "Hull\tCity"
        write(run / f"vanilla.nopretrain.{kind}.predictions", *places)
    record.make_record(data, run, to)
    assert "Hull\tCity\n" in (to / "vanilla.nopretrain.dev.predictions").read_text()


@pytest.mark.slow
def test_the_script_finds_its_modules_and_writes_the_record(folders, tmp_path):
    data, run, to = folders
    words = ["--data", data, "--run", run, "--to", to / "a"]
    script = [sys.executable, str(ROOT / "tools" / "report" / "record.py")]
    subprocess.run([*script, *map(str, words)], check=True, cwd=tmp_path)
    assert json_of(to / "a")["data"]["name"] == "little"


# ---- the data's name -------------------------------------------------------------------------


def test_data_go_by_what_is_in_them(tmp_path, monkeypatch):
    quick = make_corpus("quick").files()
    own = {file: (ROOT / file).read_text(encoding="utf-8") for file in SHA256}
    assert record.name_of_data(tmp_path / "course", quick) == ("quick", True)
    assert record.name_of_data(tmp_path, own) == ("bundled", True)
    for file in SHA256:
        other = {**quick, file: quick[file] + "\n"}
        name = ("quick (other files)", False)
        assert record.name_of_data(tmp_path / "quick", other) == name
        assert record.name_of_data(tmp_path / "zoo", other) == ("zoo", False)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in other.items()}
    monkeypatch.setattr(record, "SHA256", digests)
    assert record.name_of_data(tmp_path / "zoo", other) == ("course", False)


def test_the_digests_are_those_of_the_files(recorded, folders):
    found = json_of(recorded)["data"]["sha256"]
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folders[0].iterdir()
    }
    assert found == digests


# ---- an invented world -----------------------------------------------------------------------


def test_in_an_invented_world_answers_are_judged_by_the_names(tmp_path):
    data, kept = tmp_path / "data", tmp_path / "kept"
    data.mkdir()
    texts = make_corpus("quick").files()
    for name, text in texts.items():
        (data / name).write_text(text, encoding="utf-8", newline="\n")
    questions = record.parse_questions(texts["birth_dev.tsv"])
    people = {record.name_in(question.text): question.place for question in questions}
    said = [
        (world.best_guess(name)[0], "Nowhere-on-Sea", place)[i % 3]
        for i, (name, place) in enumerate(people.items())
    ]
    strangers = {one.name: one.place for one in unseen_people(20, texts["wiki.txt"])}
    run = write_run(
        tmp_path / "run",
        ["vanilla.nopretrain"],
        people,
        {asked(name): place for name, place in strangers.items()},
        answers={"vanilla.nopretrain": [(place, "") for place in said]},
    )
    record.make_record(data, run, kept)
    assert json_of(kept)["data"]["name"] == "quick"
    lines = table_of(kept / "dev.questions.tsv")
    for (name, place), line in zip(people.items(), lines, strict=True):
        top = max(world.place_posterior(name).values())
        assert (line["name"], line["place"], line["document"]) == (name, place, "early")
        assert float(line["best_guess_probability"]) == pytest.approx(top, rel=1e-3)
    answers = table_of(kept / "vanilla.nopretrain.dev.answers.tsv")
    expected = [
        world.place_posterior(name).get(place, 0) for name, place in zip(people, said, strict=True)
    ]
    assert [float(line["by_name"]) for line in answers] == pytest.approx(expected, rel=1e-3)
    worlds = [world.place_posterior(name) for name in strangers]
    lines = table_of(kept / "vanilla.nopretrain.invented.scores.tsv")
    for place, own, line in zip(strangers.values(), worlds, lines, strict=True):
        mean = sum(other.get(place, 0) for other in worlds) / len(worlds)
        assert float(line["by_name"]) == pytest.approx(own.get(place, 0), rel=1e-3)
        assert float(line["by_any_name"]) == pytest.approx(mean, rel=1e-3)


# ---- the page that explains the files --------------------------------------------------------

PAGE = (ROOT / "results" / "README.md").read_text(encoding="utf-8")


def explained(names):
    missing = sorted({name for name in names if f"`{name}`" not in PAGE})
    assert not missing, f"results/README.md does not explain {missing}"


def keys_in(value):
    """The keys of a JSON value at any depth, without names of files, rows and stages."""
    if isinstance(value, list):
        return [key for part in value for key in keys_in(part)]
    if not isinstance(value, dict):
        return []
    own = [name for name in value if "." not in name]
    parts = (part for name, part in value.items() if name != "profile")  # kinds of operations
    return [*own, *(key for part in parts for key in keys_in(part))]


def test_results_readme_explains_every_file_column_and_key(recorded):
    for folder in (ROOT / "results", recorded):
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".svg"]
        files = [path for path in files if path.name != "README.md"]
        explained(re.sub(r"^\w+\.(no)?pretrain\b", "ROW", path.name) for path in files)
        for path in files:
            text = path.read_text(encoding="utf-8")
            first = text.partition("\n")[0]
            if path.suffix == ".tsv":
                explained(first.split("\t"))
            elif path.suffix in (".json", ".jsonl"):
                explained(keys_in(json.loads(text if path.suffix == ".json" else first)))
    explained([*KINDS, "early", "late", "absent", "none", *COLUMNS])
