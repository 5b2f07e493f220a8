"""
The course of a training, from its log: a list of {"step", "epoch", "loss", "lr", "seconds"}, an
entry for every ten steps.
"""

import statistics
from collections import Counter


def thinned(log, points=650):
    """About `points` lines of a log, each with the mean loss of the steps that it stands for."""
    width, before, joined = max(1, round(len(log) / points)), 0, []
    for start in range(0, len(log), width):
        part = log[start : start + width]
        loss, steps = 0.0, 0
        for line in part:
            loss += line["loss"] * (line["step"] - before)
            steps += line["step"] - before
            before = line["step"]
        joined.append({**part[-1], "loss": loss / steps})
    return joined


def phases(log):
    """[("falls", "rises" or "stays", first step, last step)] of the learning rate."""
    found = []
    for before, after in zip(log, log[1:], strict=False):
        change = after["lr"] - before["lr"]
        what = "rises" if change > 0 else "falls" if change < 0 else "stays"
        if found and found[-1][0] == what:
            found[-1] = (what, found[-1][1], after["step"])
        else:
            found.append((what, before["step"], after["step"]))
    return found


def loss_up_to(log, step):
    """The mean loss of the hundred steps up to one that the log has, or of as many as it has."""
    at = next(number for number, line in enumerate(log) if line["step"] == step)
    return statistics.fmean(line["loss"] for line in log[max(0, at - 9) : at + 1])


def epoch_losses(log):
    """[mean loss of each epoch]. A line that spans two epochs counts in the later one."""
    sums, steps, before = Counter(), Counter(), 0
    for line in log:
        sums[line["epoch"]] += (line["step"] - before) * line["loss"]
        steps[line["epoch"]] += line["step"] - before
        before = line["step"]
    return [sums[epoch] / steps[epoch] for epoch in sums]
