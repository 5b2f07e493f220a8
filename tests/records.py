"""Records made up for tests of tools/report, as tools/report/record.py writes them."""

import json
import math
import random
import re

from recall import COLUMNS

ROWS = ("vanilla.nopretrain", "vanilla.pretrain", "synthesizer.pretrain")
SKILL = {"vanilla.nopretrain": 0.05, "vanilla.pretrain": 0.5, "synthesizer.pretrain": 0.25}
WRONG = {
    "in the document": "Farm",
    "in finetuning": "London",
    "in the corpus": "Mill",
    "nowhere": "Xyz",
    "empty": "",
}
OFFERS = [
    ("early", 20),
    ("early", 56),
    ("early", 84),
    ("early", 112),
    ("late", 130),
    ("absent", ""),
    ("none", ""),
]
MACHINE = {
    "hardware": "a machine",
    "precision": "bfloat16",
    "versions": {"python": "3.11", "torch": "2.13"},
    "commit": "abc1234",
}
ANOTHER = {**MACHINE, "hardware": "one that trains nothing", "commit": "fff0000"}


def make_questions(count, invented, offers=OFFERS):
    """The lines of dev.questions.tsv."""
    found = []
    for i in range(count):
        document, end = offers[i % len(offers)]
        found.append({"document": document, "place_end": end, "finetuning": i % 3})
        if invented:
            guess = f"Town {i % 5}" if i % 4 == 0 else "London"
            found[-1] |= {"name": f"Person {i}", "place": f"Town {i % 5}", "best_guess": guess}
            found[-1]["best_guess_probability"] = 0.05 + 0.01 * (i % 10)
    return found


def make_answers(draw, count, skill, invented, wrong):
    """Answers of all kinds; many have the same probability. Their lines begin with 2."""
    found = []
    for i in range(count):
        correct = int(draw.random() < skill)
        kind = "right" if correct else draw.choice(list(wrong))
        probability = f"{round(draw.random(), draw.choice([1, 3])):.4g}"
        one = {"line": i + 2, "probability": probability, "correct": correct, "kind": kind}
        if invented:
            one["by_name"] = f"{0.2 * draw.random():.4g}"
        found.append({**one, "prediction": f"Town {i % 5}" if correct else wrong[kind]})
    return found


def make_strangers(draw, count, invented, wrong):
    """The lines of ROW.invented.scores.tsv; there are seven first names."""
    places, found = ["London", "Paris", "Rome", *wrong.values()], []
    for i in range(count):
        question = f"Where was Name{i % 7} Stranger{i} born?"
        found.append({"question": question, "prediction": draw.choice(places)})
        found[-1]["probability"] = f"{draw.random():.3g}"
        if invented:
            names = ("by_name", "by_any_name", "best_guess_probability")
            found[-1] |= {name: f"{0.1 * draw.random():.3g}" for name in names}
    return found


def make_recall(draw, answers, offers, knows):
    """The lines of ROW.recall.tsv. knows: the probability that the own document yields a place."""
    early = [one for i, one in enumerate(answers) if offers[i % len(offers)][0] == "early"]
    chances = (knows, 0.02, knows / 5, knows / 2, knows / 2, knows / 3)
    found = []
    for number, one in enumerate(early):
        known = {name: int(draw.random() < p) for name, p in zip(COLUMNS, chances, strict=True)}
        if number % 7 == 6:
            known |= {"document_other_own": "", "document_other_other": ""}
        found.append({"line": one["line"], **known})
    return found


def make_log(steps, an_epoch, bottom):
    """A line each ten steps. The rate is a cosine with its bottom at the step `bottom`."""
    return [
        {
            "step": step,
            "epoch": -(-step // an_epoch),
            "loss": 3 * math.exp(-step / 200),
            "lr": 6e-3 * max(0.1, (1 + math.cos(math.pi * step / bottom)) / 2),
            "seconds": step * 0.5,
        }
        for step in [*range(10, steps, 10), steps]
    ]


def write_table(path, rows):
    columns = [name for name in rows[0] if name != "prediction" or "question" in rows[0]]
    lines = ["\t".join(columns), *("\t".join(str(row[c]) for c in columns) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_record(
    folder,
    seed=0,
    data="quick",
    invented=True,
    rows=ROWS,
    count=40,
    recipe="quick",
    skill=SKILL,
    wrong=WRONG,
    offers=OFFERS,
    log=(460, 23, 460),
    asked=30,
    knows=0.9,
):
    """
    Writes a record. asked: how many invented people; knows: see make_recall(), None for a record
    without completions. Returns {row: {"dev", "beam", "invented", "recall": lines}}.
    """
    folder.mkdir(parents=True)
    write_table(folder / "dev.questions.tsv", make_questions(count, invented, offers))
    written, facts = {}, {}
    for row in rows:
        draw = random.Random(f"{seed} {row}")
        pretrained = row.endswith(".pretrain")
        chance = skill.get(row, 0.3)
        dev, others = (make_answers(draw, count, chance, invented, wrong) for _ in range(2))
        beam = [
            {**draw.choice([greedy, greedy, other]), "proven": int(draw.random() < 0.7)}
            for greedy, other in zip(dev, others, strict=True)
        ]
        made = {"dev": dev, "beam": beam, "invented": make_strangers(draw, asked, invented, wrong)}
        known = knows is not None and pretrained
        made["recall"] = make_recall(draw, dev, offers, knows) if known else []
        names = {"dev": "dev.answers", "beam": "beam.answers", "invented": "invented.scores"}
        for kind, lines in made.items():
            if lines:
                write_table(folder / f"{row}.{names.get(kind, kind)}.tsv", lines)
        for kind in ("dev", "beam"):
            places = "".join(f"{one['prediction']}\n" for one in made[kind])
            (folder / f"{row}.{kind}.predictions").write_text(places, encoding="utf-8")
        (folder / f"{row}.test.predictions").write_text("London\n", encoding="utf-8")
        logs = {f"{row}.finetune.log.jsonl": make_log(60, 20, 60)}
        logs |= {f"{row}.log.jsonl": make_log(*log)} if pretrained else {}
        for name, lines in logs.items():
            (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        stages = [("pretrain", row, 120, MACHINE)] if pretrained else []
        stages += [("finetune", f"{row}.finetune", 60, MACHINE)]
        stages += [("evaluate", f"{row}.dev", 30, ANOTHER)]
        facts[row] = {
            "dev": {"correct": sum(one["correct"] for one in dev), "total": count},
            "stages": {
                name: {
                    "command": f"python src/run.py {function} {row}",
                    "seconds": seconds,
                    "machines": [machine],
                }
                for function, name, seconds, machine in stages
            },
        }
        written[row] = made
    head = {
        "data": {"name": data, "sha256": {"wiki.txt": "a" * 64}},
        "recipe": recipe,
        "seed": seed,
        "dev people in finetuning": 0,
        "london": {"correct": 1, "total": count},
        "rows": facts,
    }
    (folder / "record.json").write_text(json.dumps(head))
    return written


def pooled(written, row, kind="dev"):
    """The lines of all seeds that have the row."""
    return [line for record in written if row in record for line in record[row][kind]]


def parsed(text):
    """[tables of a page], each a list of rows {head: cell}, the first head under the key 0."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        head, line, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
            for row in block.splitlines()
        ]
        assert set(line) == {"---"} and all(len(row) == len(head) for row in rows), block
        found.append([dict(zip([0, *head[1:]], row, strict=True)) for row in rows])
    return found
