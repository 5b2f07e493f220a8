"""
The plots of the generated pages, drawn with matplotlib from the Runs of one data set, each for
light and dark pages. The same runs give the same bytes.
"""

from itertools import cycle

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, PercentFormatter

import analysis
import logs
from load import having, rows_in
from tables import RUNG_LABELS, label_of

# Backgrounds are those of GitHub's pages. The rows take their colours in order; any colour vision
# tells the first three apart (Okabe and Ito 2008).
THEMES = {
    "light": {
        "background": "#ffffff",
        "text": "#1f2328",
        "grid": "#d0d7de",
        "palette": ("#6e7781", "#0072b2", "#c25400", "#00805c", "#a6528a"),
    },
    "dark": {
        "background": "#0d1117",
        "text": "#e6edf3",
        "grid": "#30363d",
        "palette": ("#9da7b3", "#56b4e9", "#e69f00", "#2fc49b", "#e39ac4"),
    },
}


def colours_of(runs, theme):
    """A theme with "rows": {row: its colour}."""
    palette = cycle(THEMES[theme]["palette"])
    return {**THEMES[theme], "rows": dict(zip(rows_in(runs), palette, strict=False))}


def draw(name, runs, path, theme):
    """Draws the plot `name` of PLOTS into a file."""
    colours = colours_of(runs, theme)
    text, background, grid = colours["text"], colours["background"], colours["grid"]
    backgrounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    texts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    style = {
        **dict.fromkeys(backgrounds, background),
        **dict.fromkeys(texts, text),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), grid),
        **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
        **dict.fromkeys(("font.size", "axes.titlesize"), 10),
        "lines.linewidth": 1.4,
        "svg.hashsalt": "report",
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **style}):
        figure = PLOTS[name](runs, colours)
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def training(runs, colours):
    """Loss and learning rate over the steps of pretraining, with a line for each seed of a row."""
    figure, (losses, rates) = plt.subplots(
        2, 1, figsize=(8, 5.5), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    for row in rows_in(runs):
        label = label_of(row)
        for run in having(runs, row):
            if "pretrain" not in run.rows[row].logs:
                continue
            log = logs.thinned(run.rows[row].logs["pretrain"], 325)
            steps = [line["step"] for line in log]
            loss, colour = [line["loss"] for line in log], colours["rows"][row]
            losses.plot(steps, loss, color=colour, label=label)
            label = None
            if not rates.lines:
                rates.plot(steps, [line["lr"] for line in log], color=colours["text"])
    losses.set_ylabel("training loss, nats per character")
    losses.set_ylim(bottom=0)
    losses.legend()
    rates.set(ylabel="learning rate", xlabel="step (one batch each)", ylim=(0, None))
    rates.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    return figure


def recall(runs, colours):
    """Accuracy by what the data offer, with 95% intervals."""
    label = "right answers, % (95% interval)"
    return bars(rows_in(runs), analysis.splits(runs), colours, "questions", label)


def ladder(runs, colours):
    """What a model completes with the birthplace, with 95% intervals."""
    ladders = {row: analysis.ladder(runs, row) for row in rows_in(runs)}
    ladders = {row: found for row, found in ladders.items() if found}
    groups = [
        (RUNG_LABELS[rung], {row: found[rung] for row, found in ladders.items()})
        for rung in analysis.RUNGS
    ]
    label = "completed or answered with the birthplace, % (95% interval)"
    figure = bars(list(ladders), groups, colours, "people", label)
    figure.axes[0].set_xlim(0, 1)
    return figure


def bars(rows, groups, colours, what, label):
    """A bar for each row in each group. groups: [(name, {row: Share of `what`})], top first."""
    height = 0.9 + 0.62 * len(groups)
    figure, axes = plt.subplots(figsize=(8.6, height), layout="constrained")
    height = 0.8 / max(1, len(rows))
    for place, row in enumerate(rows):
        shares = [group[row] for _, group in groups]
        axes.barh(
            [-index - place * height for index in range(len(groups))],
            [share.value for share in shares],
            height * 0.9,
            color=colours["rows"][row],
            label=label_of(row),
            xerr=errors(shares),
            error_kw={"ecolor": colours["text"], "elinewidth": 1, "capsize": 2},
        )
    first = [next(iter(group.values()), None) for _, group in groups]
    totals = [share.total // share.seeds if share else 0 for share in first]
    axes.set_yticks(
        [-index - height * (len(rows) - 1) / 2 for index in range(len(groups))],
        [f"{name}\n({n} {what})" for (name, _), n in zip(groups, totals, strict=True)],
        fontsize=8,
    )
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    if rows:
        figure.legend(loc="outside lower center", ncols=len(rows))
    return figure


def errors(shares):
    """Shares' intervals as matplotlib takes them: the distances below and above."""
    below = [max(0, share.value - share.interval()[0]) for share in shares]
    return below, [max(0, share.interval()[1] - share.value) for share in shares]


def calibration(runs, colours):
    """Reliability, and accuracy against coverage."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.1), layout="constrained")
    diagonal = {"color": colours["text"], "linestyle": ":", "linewidth": 1}
    left.plot([0, 1], [0, 1], label="perfect calibration", **diagonal)
    for row in rows_in(runs):
        pairs = analysis.pooled(runs, row)
        means, shares = zip(
            *analysis.reliability(pairs, seeds=len(having(runs, row))), strict=True
        )
        style = {"color": colours["rows"][row], "label": label_of(row)}
        points = {"marker": "o", "markersize": 4, "elinewidth": 0.8, "capsize": 2}
        left.errorbar(means, [share.value for share in shares], errors(shares), **style, **points)
        curve = analysis.coverage_curve(pairs)
        curve = [point for point in curve if point[0] * len(pairs) > 9.5]  # fewer say little
        right.plot([point[0] for point in curve], [point[1] for point in curve], **style)
    left.set_title("Reliability: each point has a tenth of the answers")
    left.set(xlabel="probability of the answer, %", ylabel="right answers, % (95% interval)")
    right.set_title("Accuracy against coverage")
    right.set(xlabel="coverage: questions answered, %", ylabel="right, of those answered, %")
    for axes in (left, right):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    left.legend(fontsize=8)
    return figure


PLOTS = {"training": training, "recall": recall, "ladder": ladder, "calibration": calibration}
