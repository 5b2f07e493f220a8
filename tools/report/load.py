"""
Reads the records that record.py writes: a Run is one data set, recipe and seed; a Row is one line
of its results table, VARIANT.nopretrain or VARIANT.pretrain.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One row in one run. Tables are lists of dicts; results/README.md explains the columns."""

    answers: list  # to the dev questions, by greedy decoding
    beam: list  # by beam search
    invented: list  # to questions about invented people
    predictions: dict  # {"dev": places, "test": …, "beam": …}
    logs: dict  # {"pretrain": lines of the training's log, "finetune": …}
    recall: list = field(default_factory=list)  # completions; empty without pretraining

    def correct(self):
        """1 or 0 for each dev question."""
        return [answer["correct"] for answer in self.answers]


@dataclass
class Run:
    """One record."""

    folder: Path
    facts: dict  # record.json
    questions: list  # what the data offer for each dev question
    rows: dict  # {name: Row}

    @property
    def data(self):
        return with_recipe(self.facts["data"]["name"], self.facts["recipe"])

    @property
    def seed(self):
        return self.facts["seed"]

    @property
    def invented_world(self):
        """Whether the people come from tools/corpus, so that the probabilities are known."""
        return "best_guess" in self.questions[0]

    def stages(self, row):
        return self.facts["rows"][row]["stages"].values()

    def machines(self, row):
        """The machines that trained a row, as machine.py describes them, each once."""
        training = ("run.py pretrain ", "run.py finetune ")
        found = []
        for stage in self.stages(row):
            if any(command in stage["command"] for command in training):
                found += [machine for machine in stage["machines"] if machine not in found]
        return found

    def minutes(self, row=None):
        """Wall time of a row's stages; of all rows without `row`."""
        rows = [row] if row else self.facts["rows"]
        return sum(stage["seconds"] for name in rows for stage in self.stages(name)) / 60


def with_recipe(data, recipe):
    """The name of the data, with the recipe if it is not the data's own: `course-recall`."""
    return data if recipe in ("course", "quick") else f"{data}-{recipe}"


def having(runs, row):
    """The runs that have the row."""
    return [run for run in runs if row in run.rows]


def rows_in(runs):
    """The rows of the runs: vanilla's first, then each variant's as they were first seen."""
    seen = list(dict.fromkeys(row for run in runs for row in run.rows))
    variants = dict.fromkeys(["vanilla", *(row.partition(".")[0] for row in seen)])
    return [row for variant in variants for row in seen if row.partition(".")[0] == variant]


def load_runs(folder):
    """
    {data: its Runs by seed} for all records below a folder; the course's files first, then the
    bundled and the quick corpus. Raises ValueError for a record that is damaged, or that does not
    belong to the others of its data.
    """
    runs = []
    for path in folder.rglob("record.json"):
        try:
            runs.append(load_run(path.parent))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise ValueError(f"{path.parent} is not a complete record ({reason})") from None
    known = ("course", "bundled", "quick")
    found = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.data not in known, run.data, run.seed)):
        found[run.data].append(run)
    for data, group in found.items():
        parts = [(run.facts["data"], run.facts["recipe"]) for run in group]
        if any(part != parts[0] for part in parts):
            raise ValueError(f"the records of '{data}' have different files or recipes")
        seeds = [(run.seed, row) for run in group for row in run.rows]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"the records of '{data}' have a row of the same seed twice")
    return {data: found[data] for data in (*known, *found) if data in found}


def load_run(folder):
    facts = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    rows = {row: load_row(folder, row) for row in facts["rows"]}
    run = Run(folder, facts, read_table(folder / "dev.questions.tsv"), rows)
    _ = run.data, run.seed, run.minutes(), facts["recipe"], facts["london"]  # all there?
    return run


def load_row(folder, row):
    logs = {"pretrain": f"{row}.log.jsonl", "finetune": f"{row}.finetune.log.jsonl"}
    return Row(
        read_table(folder / f"{row}.dev.answers.tsv"),
        read_table(folder / f"{row}.beam.answers.tsv"),
        read_table(folder / f"{row}.invented.scores.tsv", missing=[]),
        {kind: lines(folder / f"{row}.{kind}.predictions") for kind in ("dev", "test", "beam")},
        {
            stage: [json.loads(line) for line in lines(folder / name)]
            for stage, name in logs.items()
            if (folder / name).exists()
        },
        read_table(folder / f"{row}.recall.tsv", missing=[], others=int_if_any),
    )


def lines(path):
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def int_if_any(text):
    return int(text) if text else None


FLOATS = ("probability", "by_name", "by_any_name", "best_guess_probability")
INTEGERS = ("proven", "correct", "finetuning", "line", "place_end")
NUMBERS = {**dict.fromkeys(FLOATS, float), **dict.fromkeys(INTEGERS, int_if_any)}


def read_table(path, missing=None, others=str):
    """
    The rows of a TSV file as dicts. others: makes the values of the columns that are not in
    NUMBERS. missing: what to return where there is no such file; None raises OSError.
    """
    if missing is not None and not path.exists():
        return missing
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        return [
            {name: NUMBERS.get(name, others)(text) for name, text in row.items()} for row in rows
        ]
