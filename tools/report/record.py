"""
Keeps what is worth keeping of a run of run_all.sh: figures, logs and predictions, no parameters.

    python tools/report/record.py --data DIR --run RUN_DIR --to RECORD_DIR

RECORD_DIR then holds what tools/report/report.py needs; results/README.md explains its files. A
row is VARIANT.nopretrain or VARIANT.pretrain. A record holds no line of the data, unless the data
are the project's own: questions go by their number. Rows that RECORD_DIR has already, of the same
data, recipe and seed, stay: rows can be run at different times.
"""

import argparse
import csv
import functools
import hashlib
import io
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus", "tools/experiments")]
from attention import VARIANTS  # noqa: E402
from dataset import parse_questions  # noqa: E402
from documents import Documents, find_place, name_in, offered, place_end  # noqa: E402
from fetch_data import SHA256  # noqa: E402
from make_corpus import make_corpus  # noqa: E402
from recall import COLUMNS  # noqa: E402
from runs.console import fail  # noqa: E402
from runs.inputs import InputError, errors_name, read_text  # noqa: E402
from utils import score_places  # noqa: E402
from world import best_guess, place_posterior  # noqa: E402

ROWS = [f"{variant}.{kind}" for variant in VARIANTS for kind in ("nopretrain", "pretrain")]


def logs_of(row):
    """{stage: the parameter file that it writes, beside which its log lies}."""
    variant, _, kind = row.partition(".")
    if kind == "nopretrain":
        return {"finetune": f"{variant}.model.params"}
    return {"finetune": f"{variant}.finetune.params", "pretrain": f"{row}.params"}


def settings_of(run):
    """(recipe, seed) of a run_all.sh's output folder. Raises InputError if it is none."""
    found = re.match(r"recipe=(\w+) seed=(\d+) ", read_text(run / "settings"))
    if found is None:
        raise InputError(f"{run / 'settings'}: no recipe and seed; is it of run_all.sh?")
    return found[1], int(found[2])


def make_record(data, run, to):
    """
    Writes the record of the run in the folder `run` to the folder `to`. Raises InputError for
    files that are missing or do not belong together; `to` is then as it was.
    """
    recipe, seed = settings_of(run)
    texts = {file: read_text(data / file) for file in SHA256}
    name, invented = name_of_data(data, texts)
    digests = digests_of(texts)
    head = {"data": {"name": name, "sha256": digests}, "recipe": recipe, "seed": seed}
    rows = kept_rows(to / "record.json", head)

    with errors_name(data / "birth_dev.tsv"):
        questions = parse_questions(texts["birth_dev.tsv"])
    with errors_name(data / "birth_places_train.tsv"):
        examples = parse_questions(texts["birth_places_train.tsv"])
    if questions[0].place is None:
        raise InputError(f"{data / 'birth_dev.tsv'}: no places in it to score against")
    world = World(Documents(texts["wiki.txt"]), Counter(one.place for one in examples), invented)
    taught = {name_in(example.text) for example in examples}
    head["dev people in finetuning"] = sum(name_in(one.text) in taught for one in questions)
    offers = [question_facts(question, world) for question in questions]
    files = {"dev.questions.tsv": tsv(offers)}

    # A row whose beam search has not run yet is not complete.
    found = [row for row in ROWS if (run / f"{row}.beam.predictions").exists()]
    if not found:
        raise InputError(f"{run}: no row with all predictions in it")
    for row in found:
        files |= files_of_row(run, row, questions, offers, world)
        places = lines(files[f"{row}.dev.predictions"])
        rows[row] = {"dev": score(questions, places), "stages": stages(run, row)}
    head["london"] = score(questions, ["London"] * len(questions))
    head["rows"] = {row: rows[row] for row in [*ROWS, *rows] if row in rows}
    files["record.json"] = json.dumps(head, indent=1) + "\n"
    to.mkdir(parents=True, exist_ok=True)
    for row in found:  # what an earlier record of it had and this one has not
        for kind in ("invented.scores", "recall"):
            (to / f"{row}.{kind}.tsv").unlink(missing_ok=True)
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8", newline="\n")


def files_of_row(run, row, questions, offers, world):
    """{name: text} of a row's files in the record."""
    files = {}
    for kind in ("dev", "test", "beam"):
        files[f"{row}.{kind}.predictions"] = read_text(run / f"{row}.{kind}.predictions")
    for kind in ("dev", "beam"):
        path = run / f"{row}.{kind}.scores.tsv"
        answers = matched(path, questions, lines(files[f"{row}.{kind}.predictions"]))
        both = zip(answers, questions, strict=True)
        files[f"{row}.{kind}.answers.tsv"] = tsv([answer_facts(*pair, world) for pair in both])
    if asked_about_invented(run, row):
        answers = read_scores(run / f"{row}.invented.scores.tsv")
        files[f"{row}.invented.scores.tsv"] = tsv(invented_facts(answers, world.invented))
    if completed(run, row):
        both = zip(questions, offers, strict=True)
        early = [question.line for question, facts in both if facts["document"] == "early"]
        files[f"{row}.recall.tsv"] = checked_recall(run / f"{row}.recall.tsv", early)
    for stage, params in logs_of(row).items():
        name = f"{row}.log.jsonl" if stage == "pretrain" else f"{row}.finetune.log.jsonl"
        files[name] = read_text(run / f"{params}.log.jsonl")
    return files


def asked_about_invented(run, row):
    """Not every corpus has the letters of the invented names."""
    return (run / f"{row}.invented.predictions").exists()


def completed(run, row):
    """Runs of earlier versions have no completions, nor do rows without pretraining."""
    return (run / f"{row}.recall.tsv").exists()


def name_of_data(data, texts):
    """
    (name, invented): what pages call the data, and whether tools/corpus/make_corpus.py made them.
    data: their folder. texts: {file name: text}.
    """
    for size, name in (("full", "bundled"), ("quick", "quick")):
        if texts == generated(size):
            return name, True
    if digests_of(texts) == SHA256:
        return "course", False
    name = data.resolve().name
    return (f"{name} (other files)" if name in ("bundled", "quick", "course") else name), False


@functools.cache
def generated(size):
    return make_corpus(size).files()


def digests_of(texts):
    return {file: hashlib.sha256(text.encode("utf-8")).hexdigest() for file, text in texts.items()}


def kept_rows(path, head):
    """The rows of an earlier record of this run. Raises InputError for a record of another run."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    different = [name for name in head if earlier.get(name) != head[name]]
    if different:
        raise InputError(f"{path}: the record of a run with another {' and '.join(different)}")
    return earlier["rows"]


# ---- what the data offer, and what the answers are -------------------------------------------


class World:
    """What answers are judged by."""

    def __init__(self, documents, finetuning, invented):
        self.documents = documents  # a Documents
        self.finetuning = finetuning  # {place: how many finetuning examples have it as answer}
        self.invented = invented  # whether the probabilities of names and places are known


def question_facts(question, world):
    """A line of dev.questions.tsv: what the data offer for the question."""
    name, place = name_in(question.text), question.place
    about = world.documents.about(name)
    end = place_end(about, place)
    facts = {
        "document": offered(about, place),
        "place_end": "" if end is None else end,
        "finetuning": world.finetuning[place],
    }
    if world.invented:
        guess, probability = best_guess(name)
        facts |= {"name": name, "place": place, "best_guess": guess}
        facts["best_guess_probability"] = short(probability)
    return facts


def answer_facts(answer, question, world):
    """
    A line of ROW.dev.answers.tsv. kind: "right"; or, of a wrong answer, the first that holds of
    "empty", "in the document" of this person, "in finetuning" as an answer, "in the corpus" as
    whole words, "nowhere".
    """
    name, place = name_in(question.text), answer["prediction"]
    if place == question.place:
        kind = "right"
    elif not place.strip():
        kind = "empty"
    elif find_place(world.documents.about(name), place):
        kind = "in the document"
    elif place in world.finetuning:
        kind = "in finetuning"
    else:
        kind = "in the corpus" if find_place(world.documents.lines, place) else "nowhere"
    facts = {"line": question.line, "probability": answer["probability"]}
    facts |= {"correct": int(kind == "right"), "kind": kind}
    if "proven" in answer:
        facts["proven"] = answer["proven"]
    if world.invented:
        facts["by_name"] = short(place_posterior(name).get(place, 0))
    return facts


def invented_facts(answers, invented):
    """The lines of ROW.invented.scores.tsv."""
    names = [name_in(answer["question"]) for answer in answers]
    worlds = [place_posterior(name) for name in names] if invented else []
    found = []
    for number, answer in enumerate(answers):
        facts = {name: answer[name] for name in ("question", "prediction", "probability")}
        if invented:
            given = [world.get(answer["prediction"], 0) for world in worlds]
            facts["by_name"] = short(given[number])
            facts["by_any_name"] = short(sum(given) / len(given))
            facts["best_guess_probability"] = short(best_guess(names[number])[1])
        found.append(facts)
    return found


def short(number):
    return f"{number:.4g}"


def score(questions, places):
    total, correct = score_places(questions, places)
    return {"correct": int(correct), "total": int(total)}


# ---- files -----------------------------------------------------------------------------------


def read_scores(path):
    """The rows of a table that `run.py evaluate --scores_path` has written."""
    head, *others = lines(read_text(path))
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in others]


def lines(text):
    return text.removesuffix("\n").split("\n")


def matched(path, questions, predictions):
    """The rows of a table of scores. Raises InputError if it has other questions or answers."""
    answers = read_scores(path)
    if [answer["question"] for answer in answers] != [question.text for question in questions]:
        raise InputError(f"{path}: not of the questions in birth_dev.tsv")
    places = [place.replace("\t", " ") for place in predictions]
    if [answer["prediction"] for answer in answers] != places:
        raise InputError(f"{path}: other predictions than the file beside it")
    return answers


def checked_recall(path, early):
    """
    The text of a table by tools/experiments/recall.py. Raises InputError unless it is of the
    questions in the lines `early`.
    """
    text = read_text(path)
    head, *others = [line.split("\t") for line in lines(text)]
    if head != ["line", *COLUMNS] or [line[0] for line in others] != list(map(str, early)):
        raise InputError(f"{path}: not of the dev questions whose place stands early")
    if not all(len(line) == len(head) and set(line[1:]) <= {"", "0", "1"} for line in others):
        raise InputError(f"{path}: holds something else than 0 and 1")
    return text


def tsv(rows):
    """The text of a TSV file with a line for each dict; all have the same keys."""
    file = io.StringIO()
    form = {"delimiter": "\t", "lineterminator": "\n", "quoting": csv.QUOTE_NONE}
    writer = csv.DictWriter(file, rows[0].keys(), quotechar=None, **form)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def stages(run, row):
    """{stage: its command without folders, its seconds, the machines of all its attempts}."""
    names = [row] if "pretrain" in logs_of(row) else []
    names += [f"{row}.{kind}" for kind in ("finetune", "dev", "test", "beam")]
    names += [f"{row}.invented"] * asked_about_invented(run, row)
    names += [f"{row}.recall"] * completed(run, row)
    found = {}
    for name in names:
        path = run / "stages" / name
        words = lines(read_text(f"{path}.command"))
        words = [Path(word).name if os.path.isabs(word) else word for word in words]
        attempts = dict.fromkeys(lines(read_text(f"{path}.machines")))  # each once
        found[name] = {
            "command": " ".join(["python", *words[1:]]),
            "seconds": int(read_text(f"{path}.seconds")),
            "machines": [json.loads(attempt) for attempt in attempts],
        }
    return found


def main():
    parser = argparse.ArgumentParser(description="Keep what is worth keeping of a run_all.sh run.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four data files")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--to", type=Path, required=True, help="folder of the record")
    args = parser.parse_args()
    try:
        make_record(args.data, args.run, args.to)
    except (InputError, OSError) as error:
        fail("record.py", error)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        folders = f"{args.run}, {args.to} or {args.data}"
        reason = f"{type(error).__name__} {error}"
        fail("record.py", f"a file in {folders} is damaged: {reason}")


if __name__ == "__main__":
    from runs.console import command

    with command("record.py"):
        main()
