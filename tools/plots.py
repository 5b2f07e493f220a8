"""
The plots of the report, drawn with matplotlib from kept records, each in a light and a dark version.

draw(name, runs, path, theme): name is a key of PLOTS, runs are the analysis.Runs of one data set. The same runs give the same bytes.
"""
import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, PercentFormatter

import analysis
from pieces import LABELS, RUNG_LABELS, having, rows_in

# Backgrounds are those of GitHub's pages. The rows' colours are told apart with any colour vision (Okabe and Ito 2008).
THEMES = {
    "light": {"background": "#ffffff", "text": "#1f2328", "grid": "#d0d7de",
              "rows": {"vanilla.nopretrain": "#6e7781", "vanilla.pretrain": "#0072b2", "synthesizer.pretrain": "#c25400"}},
    "dark": {"background": "#0d1117", "text": "#e6edf3", "grid": "#30363d",
             "rows": {"vanilla.nopretrain": "#9da7b3", "vanilla.pretrain": "#56b4e9", "synthesizer.pretrain": "#e69f00"}},
}


def draw(name, runs, path, theme):
    colours = THEMES[theme]
    text, background = colours["text"], colours["background"]
    style = {"figure.facecolor": background, "axes.facecolor": background, "savefig.facecolor": background, "text.color": text,
             "axes.labelcolor": text, "axes.edgecolor": colours["grid"], "xtick.color": text, "ytick.color": text,
             "grid.color": colours["grid"], "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
             "legend.frameon": False,
             "font.size": 10, "axes.titlesize": 10, "svg.hashsalt": "report", "lines.linewidth": 1.4}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **style}):
        figure = PLOTS[name](runs, colours)
        figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None, bbox_inches="tight")
        plt.close(figure)


def training(runs, colours):
    """Loss and learning rate over the steps of pretraining; a line for each seed, of a row all in one colour."""
    figure, (losses, rates) = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True, height_ratios=(2, 1), layout="constrained")
    drawn_rate = False
    for row in rows_in(runs):
        label = LABELS[row]
        for run in having(runs, row):
            log = run.rows[row].logs.get("pretrain")
            if log is None:
                continue
            log = analysis.thinned(log, 325)
            losses.plot([record["step"] for record in log], [record["loss"] for record in log], color=colours["rows"][row], label=label)
            label = None
            if not drawn_rate:
                rates.plot([record["step"] for record in log], [record["lr"] for record in log], color=colours["text"])
                drawn_rate = True
    losses.set_ylabel("training loss, nats a character")
    losses.set_ylim(bottom=0)
    losses.legend()
    rates.set(ylabel="learning rate", xlabel="step (one batch each)", ylim=(0, None))
    rates.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    return figure


def recall_by_offer(runs, colours):
    """Accuracy by what the data offered, with 95% intervals."""
    return bars(rows_in(runs), analysis.splits(runs), colours, "questions", "right answers, % (95% interval)")


def ladder(runs, colours):
    """What a model goes on with after each text that it is given, with 95% intervals; of the rows that have measured it."""
    ladders = {row: analysis.ladder(runs, row) for row in rows_in(runs) if analysis.ladder(runs, row)}
    groups = [(RUNG_LABELS[rung], {row: rungs[rung] for row, rungs in ladders.items()}) for rung in analysis.RUNGS]
    figure = bars(list(ladders), groups, colours, "people", "goes on with the place, or answers it, % (95% interval)")
    figure.axes[0].set_xlim(0, 1)
    return figure


def bars(rows, groups, colours, what, label):
    """A bar for each row in each group. groups: [(name, {row: Share})], the first on top. what: the shares are of."""
    figure, axes = plt.subplots(figsize=(8.6, 0.9 + 0.62 * len(groups)), layout="constrained")
    height = 0.8 / len(rows)
    for place, row in enumerate(rows):
        shares = [group[row] for _, group in groups]
        at = [-index - place * height for index in range(len(groups))]
        values = [share.value for share in shares]
        errors = [[max(0, value - share.interval()[0]) for value, share in zip(values, shares)],
                  [max(0, share.interval()[1] - value) for value, share in zip(values, shares)]]
        axes.barh(at, values, height * 0.9, color=colours["rows"][row], label=LABELS[row], xerr=errors,
                  error_kw={"ecolor": colours["text"], "elinewidth": 1, "capsize": 2})
    totals = [group[rows[0]].total // group[rows[0]].seeds for _, group in groups]
    axes.set_yticks([-index - height * (len(rows) - 1) / 2 for index in range(len(groups))],
                    [f"{name}\n({total} {what})" for (name, _), total in zip(groups, totals)], fontsize=8)
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=len(rows))
    return figure


def belief(runs, colours):
    """Reliability, and accuracy over coverage."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.1), layout="constrained")
    left.plot([0, 1], [0, 1], color=colours["text"], linestyle=":", linewidth=1, label="as often right as it says")
    for row in rows_in(runs):
        pairs, colour = analysis.pooled(runs, row), colours["rows"][row]
        bins = analysis.reliability(pairs, seeds=len(having(runs, row)))
        values = [one.right.value for one in bins]
        errors = [[max(0, value - one.right.interval()[0]) for value, one in zip(values, bins)],
                  [max(0, one.right.interval()[1] - value) for value, one in zip(values, bins)]]
        left.errorbar([one.probability for one in bins], values, errors, color=colour, marker="o", markersize=4, elinewidth=0.8, capsize=2,
                      label=LABELS[row])
        curve = [point for point in analysis.coverage_curve(pairs) if point[0] * len(pairs) > 9.5]  # fewer answers say little
        right.plot([point[0] for point in curve], [point[1] for point in curve], color=colour, label=LABELS[row])
    for axes, x, y in ((left, "probability of the answer, %", "right answers, % (95% interval)"),
                       (right, "coverage: questions answered, %", "right, of the questions answered, %")):
        axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    left.set_title("Reliability, a tenth of all answers a point")
    right.set_title("Accuracy against coverage")
    left.legend(fontsize=8)
    return figure


PLOTS = {"training": training, "recall": recall_by_offer, "ladder": ladder, "belief": belief}
