"""
The tables about the runs of one data set: accuracy, training, machines. Each is a function of the
Runs and returns Markdown, or "" with nothing to show.
"""

import statistics

import logs
from intervals import Share, accuracy_interval
from load import having, rows_in
from tables import (
    BEST_GUESS,
    LONDON,
    REPORTED,
    between,
    label_of,
    percent,
    table,
)


def accuracy(runs, sources=3):
    """Dev accuracy over the seeds; on the course's files beside the figures of some sources."""
    course = runs[0].data == "course"
    reported = {row: said[:sources] for row, said in REPORTED.items()} if course else {}
    nothing = ("–",) * len(reported.get("london", ()))
    lines = []
    for row in rows_in(runs):
        correct = [run.rows[row].correct() for run in having(runs, row)]
        mean, interval = accuracy_interval(correct)
        shares = [statistics.fmean(one) for one in correct]
        spread = between((min(shares), max(shares))) if len(shares) > 1 else "–"
        cells = [label_of(row), percent(mean), len(correct), spread, between(interval)]
        lines.append([*cells, *reported.get(row, nothing)])
    london = Share(runs[0].facts["london"]["correct"], runs[0].facts["london"]["total"])
    cells = [LONDON, percent(london.value), "–", "–", between(london.interval())]
    lines.append([*cells, *reported.get("london", nothing)])
    if runs[0].invented_world:
        best = f"{percent(best_guess(runs[0]))}, expected"
        lines.append([BEST_GUESS, best, "–", "–", "–", *nothing])
    head = ["dev accuracy", "measured, mean", "seeds", "range over seeds", "95% interval"]
    others = ["reported", "another write-up", "public copies, median (range)"]
    return table([*head, *others[: len(nothing)]], *lines)


def best_guess(run):
    """The expected accuracy of the best guess from the names of the dev questions."""
    return statistics.fmean(question["best_guess_probability"] for question in run.questions)


def by_seed(runs):
    """Dev accuracy with a column for each seed."""
    head = [f"dev accuracy, {len(runs[0].questions)} people", *(f"seed {r.seed}" for r in runs)]
    lines = []
    for row in rows_in(runs):
        parts = [run.rows[row].correct() if row in run.rows else [] for run in runs]
        lines.append([label_of(row), [statistics.fmean(part) if part else None for part in parts]])
    of_london = [run.facts["london"] for run in runs]
    lines.append([LONDON, [part["correct"] / part["total"] for part in of_london]])
    if runs[0].invented_world:
        lines.append([BEST_GUESS, list(map(best_guess, runs))])
    for line in lines:
        mean = statistics.fmean(share for share in line[1] if share is not None)
        line[1:] = map(percent, [*line[1], mean])
    return table([*head, "mean"], *lines)


def pretrained(runs):
    """[(row, run)] of all trainings with a log of pretraining."""
    return [
        (row, run)
        for row in rows_in(runs)
        for run in having(runs, row)
        if "pretrain" in run.rows[row].logs
    ]


def training(runs):
    lines = []
    for row, run in pretrained(runs):
        log, tuned = run.rows[row].logs["pretrain"], run.rows[row].logs["finetune"]
        losses = logs.epoch_losses(log)
        at = [losses[max(1, round(len(losses) * part)) - 1] for part in (0.25, 0.5, 0.75, 1)]
        steps = f"{log[-1]['step']:,} ({log[-1]['epoch']})"
        first, *others = (log[0]["loss"], *at, tuned[-1]["loss"])
        losses = [f"{first:.2f}", *(f"{loss:.3f}" for loss in others)]
        minutes = f"{log[-1]['seconds'] / 60:.1f}"
        lines.append([f"{label_of(row)}, seed {run.seed}", steps, *losses, minutes])
    head = ["training loss", "steps (epochs)", "first ten steps", "epoch at a quarter", "at half"]
    head += ["at three quarters", "last epoch", "end of finetuning", "minutes of pretraining"]
    return table(head, *lines) if lines else ""


def schedule(runs):
    """The learning rate's phases in the first pretraining, and the loss at their ends."""
    log = next((run.rows[row].logs["pretrain"] for row, run in pretrained(runs)), [])
    at, lines = {line["step"]: line for line in log}, []
    for what, *steps in logs.phases(log):
        epochs = "–".join(str(at[step]["epoch"]) for step in steps)
        rates = " → ".join(f"{at[step]['lr']:.2e}" for step in steps)
        losses = " → ".join(f"{logs.loss_up_to(log, step):.3f}" for step in steps)
        lines.append([what, "–".join(f"{step:,}" for step in steps), epochs, rates, losses])
    return table(["learning rate", "steps", "epochs", "rate", "loss"], *lines) if lines else ""


def runs_table(runs):
    lines = []
    for run in runs:
        for row, facts in run.facts["rows"].items():
            found = [
                (
                    machine["hardware"],
                    machine["precision"],
                    ", ".join(map(" ".join, machine["versions"].items())),
                    str(machine["commit"]),
                )
                for machine in run.machines(row)
            ]
            parts = ["; ".join(dict.fromkeys(part)) for part in zip(*found, strict=True)]
            right = f"{facts['dev']['correct']} of {facts['dev']['total']}"
            lines.append([run.seed, label_of(row), right, f"{run.minutes(row):.1f}", *parts])
    head = ["seed", "", "right", "minutes", "hardware", "training in", "versions", "commit"]
    return table(head, *lines)


def machines(runs):
    """`AMD EPYC, 2 cores (training in bfloat16; torch 2.13.0)`, and others if there were."""
    found = (machine for run in runs for row in run.rows for machine in run.machines(row))
    names = (
        f"{one['hardware']} (training in {one['precision']}; torch {one['versions']['torch']})"
        for one in found
    )
    return "; ".join(dict.fromkeys(names))


TABLES = {
    "accuracy": accuracy,
    "by_seed": by_seed,
    "training": training,
    "schedule": schedule,
    "runs": runs_table,
}
