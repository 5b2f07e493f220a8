"""
What is kept of a run of run_all.sh: figures, logs and predictions, small and without parameters.

    python tools/record.py --data DIR --run RUN_DIR --recipe NAME --seed N --to RECORD_DIR

RECORD_DIR then has all that tools/report.py needs:

    record.json               data, recipe, seed; for each row of the results table its dev accuracy, and the commands with their
                              seconds and the machine, versions and commit that they ran on
    dev.questions.tsv         for each dev question what the data offer: see question_facts()
    ROW.dev.predictions …     the predicted places of dev and test, and of dev with --beam
    ROW.dev.answers.tsv …     for each prediction its probability, whether it is right, and what it is: see answer_facts()
    ROW.invented.scores.tsv   the answers about people who are in no document
    ROW.recall.tsv            what the model goes on with where it is not asked, of a pretrained row: see tools/recall.py
    ROW.….log.jsonl           loss and learning rate

Of the data themselves no line is in it, unless they are the project's own: questions go by their number. What RECORD_DIR has of other rows
of the same recipe, seed and data stays, so that rows can be run at different times.
"""
import argparse
import csv
import hashlib
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from dataset import InputError, one_line, parse_questions, read_text  # noqa: E402
from utils import score_places  # noqa: E402

from corpus_world import best_guess, place_posterior  # noqa: E402
from documents import Documents, name_in, offered, place_end  # noqa: E402
from fetch_data import FILES  # noqa: E402
from make_corpus import make_corpus  # noqa: E402
from recall import COLUMNS  # noqa: E402

# The rows of the results table, and the parameter file that each one's finetuning writes.
ROWS = {"vanilla.nopretrain": "vanilla.model.params", "vanilla.pretrain": "vanilla.finetune.params",
        "synthesizer.pretrain": "synthesizer.finetune.params"}


def make_record(data, run, recipe, seed, to):
    """Writes the record of a run's folder to the folder `to`. Raises InputError for files that are missing or do not fit."""
    texts = {name: read_text(data / name) for name in (file.name for file in FILES)}
    name, invented = name_of_data(data, texts)
    head = {"data": {"name": name, "sha256": {file: digest(text) for file, text in texts.items()}}, "recipe": recipe, "seed": seed}
    rows = kept_rows(to / "record.json", head)

    questions = parse_questions(texts["birth_dev.tsv"])
    if questions[0].place is None:
        raise InputError(f"{data / 'birth_dev.tsv'}: no places in it to score against")
    documents = Documents(texts["wiki.txt"])
    examples = parse_questions(texts["birth_places_train.tsv"])
    finetuning = Counter(example.place for example in examples)
    taught = {name_in(example.text) for example in examples}
    head["dev people in finetuning"] = sum(name_in(question.text) in taught for question in questions)
    files = {"dev.questions.tsv": table(question_facts(question, documents, finetuning, invented) for question in questions)}

    found = [row for row in ROWS if (run / f"{row}.dev.predictions").exists()]
    if not found:
        raise InputError(f"{run}: no predictions of dev in it")
    for row in found:
        for kind in ("dev", "test", "beam"):
            files[f"{row}.{kind}.predictions"] = read_text(run / f"{row}.{kind}.predictions")
        for kind in ("dev", "beam"):
            path = run / f"{row}.{kind}.scores.tsv"
            answers = matched(path, read_scores(path), questions, lines(files[f"{row}.{kind}.predictions"]))
            files[f"{row}.{kind}.answers.tsv"] = table(answer_facts(answer, question, documents, finetuning, invented)
                                                       for answer, question in zip(answers, questions))
        if (run / f"{row}.invented.predictions").exists():  # not every corpus can spell the names
            files[f"{row}.invented.scores.tsv"] = table(invented_facts(read_scores(run / f"{row}.invented.scores.tsv"), invented))
        if (run / f"{row}.recall.tsv").exists():  # runs of earlier versions have none
            early = [question.line for question in questions if offered(documents.about(name_in(question.text)), question.place) == "early"]
            files[f"{row}.recall.tsv"] = checked_recall(run / f"{row}.recall.tsv", early)
        files[f"{row}.finetune.log.jsonl"] = read_text(run / f"{ROWS[row]}.log.jsonl")
        if row != "vanilla.nopretrain":
            files[f"{row}.log.jsonl"] = read_text(run / f"{row}.params.log.jsonl")
        total, correct = score_places(questions, lines(files[f"{row}.dev.predictions"]))
        rows[row] = {"dev": {"correct": int(correct), "total": int(total)}, "stages": stages(run, row)}
    london = score_places(questions, ["London"] * len(questions))
    head["london"] = {"correct": int(london[1]), "total": int(london[0])}
    head["rows"] = {row: rows[row] for row in ROWS if row in rows}
    files["record.json"] = json.dumps(head, indent=1) + "\n"
    to.mkdir(parents=True, exist_ok=True)
    for row in found:  # what an earlier record of it had and this one has not
        for kind in ("invented.scores", "recall"):
            (to / f"{row}.{kind}.tsv").unlink(missing_ok=True)
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8", newline="\n")


def name_of_data(data, texts):
    """What the files are called in reports, and whether tools/make_corpus.py has made them. Known names are for known files."""
    for size, name in (("full", "bundled"), ("quick", "quick")):
        if texts == make_corpus(size).files():
            return name, True
    if all(digest(texts[file.name]) == file.sha256 for file in FILES):
        return "course", False
    name = data.resolve().name
    return (f"{name} (other files)" if name in ("bundled", "quick", "course") else name), False


def digest(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def kept_rows(path, head):
    """The rows that an earlier record of the same run has. Raises InputError if it is another run's."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    different = [name for name in head if earlier.get(name) != head[name]]
    if different:
        raise InputError(f"{path}: the record of a run with another {' and '.join(different)}")
    return earlier["rows"]


# ---- what the data offer, and what the answers are ------------------------------------------------------------------

def question_facts(question, documents, finetuning, invented):
    """
    document: where the person's document has the place, see documents.offered(). place_end: characters until it has been read.
    finetuning: how many of the finetuning examples have this place as their answer. In an invented world also the person, and
    best_guess, the most probable place of that name, with its probability.
    """
    name = name_in(question.text)
    about = documents.about(name)
    end = place_end(about, question.place)
    facts = {"document": offered(about, question.place), "place_end": "" if end is None else end, "finetuning": finetuning[question.place]}
    if invented:
        guess, probability = best_guess(name)
        facts |= {"name": name, "place": question.place, "best_guess": guess, "best_guess_probability": short(probability)}
    return facts


def answer_facts(answer, question, documents, finetuning, invented):
    """
    kind: "right"; or of a wrong answer the first that holds of "empty", "in the document" of this person, "in finetuning" as an answer,
    "in the corpus" anywhere, as words of their own, "nowhere". proven, of a beam search: 1 if no other answer can be more probable.
    by_name, in an invented world: how probable the predicted place is for somebody of that name.
    """
    name, place = name_in(question.text), answer["prediction"]
    if place == question.place:
        kind = "right"
    elif not place.strip():
        kind = "empty"
    elif place_end(documents.about(name), place) is not None:
        kind = "in the document"
    elif place in finetuning:
        kind = "in finetuning"
    else:
        kind = "nowhere" if place_end([documents.wiki], place) is None else "in the corpus"
    facts = {"line": question.line, "probability": answer["probability"], "correct": int(kind == "right"), "kind": kind}
    facts |= {"proven": answer["proven"]} if "proven" in answer else {}
    return facts | ({"by_name": short(place_posterior(name).get(place, 0))} if invented else {})


def invented_facts(answers, invented):
    """
    Of each answer the question, the prediction and its probability. In an invented world also by_name, as above; by_any_name, the same for
    anybody of those who are asked about, on the mean; and best_guess_probability.
    """
    names = [name_in(answer["question"]) for answer in answers]
    worlds = [place_posterior(name) for name in names] if invented else []
    for number, answer in enumerate(answers):
        facts = {name: answer[name] for name in ("question", "prediction", "probability")}
        if invented:
            place = answer["prediction"]
            facts |= {"by_name": short(worlds[number].get(place, 0)),
                      "by_any_name": short(sum(world.get(place, 0) for world in worlds) / len(worlds)),
                      "best_guess_probability": short(best_guess(names[number])[1])}
        yield facts


def short(number):
    return f"{number:.4g}"


# ---- files ----------------------------------------------------------------------------------------------------------

def read_scores(path):
    """The rows of a table that run.py evaluate --scores_path has written."""
    header, *others = lines(read_text(path))
    return [dict(zip(header.split("\t"), line.split("\t"))) for line in others]


def lines(text):
    return text.removesuffix("\n").split("\n")


def matched(path, answers, questions, predictions):
    """The answers of the file `path`. Raises InputError if they are not those to the questions, or not those of the file of predictions."""
    if [answer["question"] for answer in answers] != [question.text for question in questions]:
        raise InputError(f"{path}: not of the questions in birth_dev.tsv")
    if [answer["prediction"] for answer in answers] != [place.replace("\t", " ") for place in predictions]:
        raise InputError(f"{path}: other predictions than the file beside it has")
    return answers


def checked_recall(path, early):
    """The text of a table by tools/recall.py. Raises InputError if it is not of the questions in these lines, whose places stand early."""
    text = read_text(path)
    head, *others = [line.split("\t") for line in lines(text)]
    if head != ["line", *COLUMNS] or [line[0] for line in others] != list(map(str, early)):
        raise InputError(f"{path}: not of the questions in birth_dev.tsv whose places stand early")
    if not all(len(line) == len(head) and set(line[1:]) <= {"", "0", "1"} for line in others):
        raise InputError(f"{path}: holds something else than 0 and 1")
    return text


def table(rows):
    """The text of a TSV file of dicts that have the same keys."""
    rows = list(rows)
    if not rows:
        raise ValueError("a table without rows")
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def stages(run, row):
    """{stage: its command, its seconds, the machines that it ran on} for the stages of a row. Folders are left out of commands."""
    names = [f"{row}.{kind}" for kind in ("finetune", "dev", "test", "beam", "invented")]
    if row != "vanilla.nopretrain":
        names.insert(0, row)
    if not (run / f"{row}.invented.predictions").exists():
        names.remove(f"{row}.invented")
    if (run / f"{row}.recall.tsv").exists():
        names.append(f"{row}.recall")
    found = {}
    for name in names:
        path = run / "stages" / name
        words = [Path(word).name if os.path.isabs(word) else word for word in lines(read_text(f"{path}.command"))]
        attempts = dict.fromkeys(lines(read_text(f"{path}.machines")))  # without doubles
        found[name] = {"command": " ".join(["python", *words[1:]]), "seconds": int(read_text(f"{path}.seconds")),
                       "machines": [json.loads(attempt) for attempt in attempts]}
    return found


def main():
    parser = argparse.ArgumentParser(description="Keep what is worth keeping of a run of run_all.sh.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four data files")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--to", type=Path, required=True, help="folder of the record")
    args = parser.parse_args()
    try:
        make_record(args.data, args.run, args.recipe, args.seed, args.to)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error)
        if not isinstance(error, (InputError, OSError)):  # a file that is not of the form that our own tools write
            reason = f"a file in {args.run}, {args.to} or {args.data} is damaged: {type(error).__name__} {error}"
        print(f"record.py: error: {one_line(reason)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
