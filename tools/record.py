"""
What is kept of a run of run_all.sh: figures, logs and predictions, small and without parameters.

    python tools/record.py --data DIR --run RUN_DIR --recipe NAME --seed N --to RECORD_DIR

RECORD_DIR then has all that tools/report.py needs:

    record.json               data, recipe, seed; for each row of the results table its dev accuracy, the commands with their commit
                              and seconds, and the machine
    dev.questions.tsv         for each dev question what the data offer: see question_facts()
    ROW.dev.predictions …     the predicted places of dev and test, and of dev with --beam
    ROW.dev.answers.tsv …     for each prediction its probability, whether it is right, and what it is: see answer_facts()
    ROW.invented.scores.tsv   the answers about people who are in no document
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
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from dataset import InputError, one_line, parse_questions, read_text  # noqa: E402
from hardware import choose_device, choose_precision  # noqa: E402
from utils import score_places  # noqa: E402

from corpus_world import best_guess, place_posterior  # noqa: E402
from fetch_data import FILES  # noqa: E402
from machine import hardware, versions  # noqa: E402
from make_corpus import QUICK_TITLE, READ, make_corpus  # noqa: E402

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
    taught = {name_in(example) for example in examples}
    head["dev people in finetuning"] = sum(name_in(question) in taught for question in questions)
    files = {"dev.questions.tsv": table(question_facts(question, documents, finetuning, invented) for question in questions)}

    found = [row for row in ROWS if (run / f"{row}.dev.predictions").exists()]
    if not found:
        raise InputError(f"{run}: no predictions of dev in it")
    for row in found:
        for kind in ("dev", "beam"):
            answers = read_scores(run / f"{row}.{kind}.scores.tsv")
            files[f"{row}.{kind}.answers.tsv"] = table(
                answer_facts(number, answer, question, documents, finetuning, invented)
                for number, (answer, question) in enumerate(matched(answers, questions), start=1))
        for kind in ("dev", "test", "beam"):
            files[f"{row}.{kind}.predictions"] = read_text(run / f"{row}.{kind}.predictions")
        files[f"{row}.invented.scores.tsv"] = table(
            invented_facts(answer, invented) for answer in read_scores(run / f"{row}.invented.scores.tsv"))
        files[f"{row}.finetune.log.jsonl"] = read_text(run / f"{ROWS[row]}.log.jsonl")
        if row != "vanilla.nopretrain":
            files[f"{row}.log.jsonl"] = read_text(run / f"{row}.params.log.jsonl")
        places = files[f"{row}.dev.predictions"].removesuffix("\n").split("\n")
        total, correct = score_places(questions, places)
        facts = {"dev": {"correct": int(correct), "total": int(total)}, "stages": stages(run, row)}
        if facts.items() <= rows.get(row, {}).items():  # recorded before, perhaps on another machine
            continue
        rows[row] = {**facts, "hardware": hardware(), "versions": versions(),
                     "precision": str(choose_precision("auto", choose_device())).removeprefix("torch.")}
    london = score_places(questions, ["London"] * len(questions))
    head["london"] = {"correct": int(london[1]), "total": int(london[0])}
    head["rows"] = {row: rows[row] for row in ROWS if row in rows}
    files["record.json"] = json.dumps(head, indent=1) + "\n"
    to.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8", newline="\n")


def name_of_data(data, texts):
    """What the files are called in reports, and whether tools/make_corpus.py has made them."""
    corpus = data / "corpus.json"
    if corpus.exists():
        return json.loads(corpus.read_text(encoding="utf-8"))["size"], True
    if data.resolve() == ROOT and texts["wiki.txt"] == make_corpus().wiki():
        return "bundled", True
    if all(digest(texts[file.name]) == file.sha256 for file in FILES):
        return "course", False
    return data.resolve().name, False


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

class Documents:
    """A corpus's documents by the name of their person, `Name. Text`."""

    def __init__(self, wiki):
        self.wiki, self.lines = wiki, wiki.split("\n")

    def about(self, name):
        """The person's documents: none, one, or several."""
        return [line for line in self.lines if line.startswith((f"{name}. ", f"{QUICK_TITLE}{name}. "))]


def place_end(documents, place):
    """
    How many characters of a document must be read to have read the place, as a word of its own; of several documents the fewest; None
    if it is in none.
    """
    found = [re.search(rf"(?<!\w){re.escape(place)}(?!\w)", document) for document in documents]
    return min((one.end() for one in found if one), default=None)


def name_in(question):
    return question.text.removeprefix("Where was ").removesuffix(" born?")


def question_facts(question, documents, finetuning, invented):
    """
    document: where the person's document has the place: "early", within the READ characters that pretraining reads at most; "late",
    after them; "absent"; or "none", if there is no document. place_end: characters until it has been read. finetuning: how many of the
    finetuning examples have this place as their answer. In an invented world also the person, and best_guess, the most probable place
    of that name, with its probability.
    """
    about = documents.about(name_in(question))
    end = place_end(about, question.place)
    where = "none" if not about else "absent" if end is None else "early" if end <= READ else "late"
    facts = {"document": where, "place_end": "" if end is None else end, "finetuning": finetuning[question.place]}
    if invented:
        guess, probability = best_guess(name_in(question))
        facts |= {"name": name_in(question), "place": question.place, "best_guess": guess, "best_guess_probability": short(probability)}
    return facts


def answer_facts(number, answer, question, documents, finetuning, invented):
    """
    kind: "right"; or of a wrong answer the first that holds of "empty", "in the document" of this person, "in finetuning" as an answer, "in the
    corpus" anywhere, "nowhere". by_name, in an invented world: how probable the predicted place is for somebody of that name.
    """
    place = answer["prediction"]
    if place == question.place:
        kind = "right"
    elif not place.strip():
        kind = "empty"
    elif place_end(documents.about(name_in(question)), place) is not None:
        kind = "in the document"
    elif place in finetuning:
        kind = "in finetuning"
    else:
        kind = "in the corpus" if place in documents.wiki else "nowhere"
    facts = {"line": number, "probability": answer["probability"], "correct": int(kind == "right"), "kind": kind}
    return facts | ({"by_name": short(place_posterior(name_in(question)).get(place, 0))} if invented else {})


def invented_facts(answer, invented):
    """The question, the prediction and its probability; in an invented world by_name, as above, and the best guess's probability."""
    facts = {name: answer[name] for name in ("question", "prediction", "probability")}
    if invented:
        name = answer["question"].removeprefix("Where was ").removesuffix(" born?")
        facts |= {"by_name": short(place_posterior(name).get(answer["prediction"], 0)), "best_guess_probability": short(best_guess(name)[1])}
    return facts


def short(number):
    return f"{number:.4g}"


# ---- files ----------------------------------------------------------------------------------------------------------

def read_scores(path):
    """The rows of a table that run.py evaluate --scores_path has written."""
    header, *lines = read_text(path).removesuffix("\n").split("\n")
    return [dict(zip(header.split("\t"), line.split("\t"))) for line in lines]


def matched(answers, questions):
    if [answer["question"] for answer in answers] != [question.text for question in questions]:
        raise InputError("the scores are not those of the dev questions")
    return zip(answers, questions)


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
    """{stage: its command, the commit of the code, seconds} for the stages of a row. Folders are left out of commands."""
    found = {}
    for name in (row, *(f"{row}.{kind}" for kind in ("finetune", "dev", "test", "beam", "invented"))):
        path = run / "stages" / f"{name}.seconds"
        if not path.exists():  # nothing is pretrained for the row without pretraining
            continue
        commit, *words = read_text(path.with_name(f"{name}.command")).splitlines()
        words = [Path(word).name if os.path.isabs(word) else word for word in words]  # folders are nobody's concern
        found[name] = {"command": " ".join(["python", *words[1:]]), "commit": commit, "seconds": int(path.read_text())}
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
