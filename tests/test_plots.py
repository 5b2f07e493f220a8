"""python -m pytest tests/test_plots.py

The plots' files, and what is drawn in them: their axes are looked at before they become a file. Skipped without matplotlib.
"""

import math
import statistics
import sys

import pytest

import analysis
import pieces
import report
from test_report import LADDER_LABELS, ROWS, make_log, make_questions, probed, probed_interval, write_record

matplotlib = pytest.importorskip("matplotlib")
import plots  # noqa: E402

CASES = {
    "one seed": [dict()],
    "two seeds": [dict(seed=0), dict(seed=1)],
    "only vanilla": [dict(rows=ROWS[:2])],
    "the synthesizer of one seed only": [dict(seed=0, rows=ROWS[:2]), dict(seed=1)],
    "none right": [dict(skill=dict.fromkeys(ROWS, 0))],
    "all right": [dict(skill=dict.fromkeys(ROWS, 1))],
    "few questions": [dict(count=3)],
    "nobody invented": [dict(asked=0)],
    "what is known measured of one seed only": [dict(seed=0, knows=None), dict(seed=1)],
    "nothing known": [dict(knows=0)],
    "no world known": [dict(invented=False, data="course")],
}


def runs_of(folder, records):
    """The runs of one data set, and what was written of each."""
    written = [write_record(folder / str(number), **record) for number, record in enumerate(records)]
    (runs,) = analysis.load_runs(folder).values()
    return runs, written


@pytest.fixture
def axes_of():
    """A function that draws a plot as draw() does, and gives its axes."""
    figures = []

    def drawn(name, runs, theme="light"):
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg"}):
            figures.append(plots.PLOTS[name](runs, plots.THEMES[theme]))
            figures[-1].canvas.draw()  # which places ticks and their labels
        return figures[-1].axes

    yield drawn
    for figure in figures:
        plots.plt.close(figure)


def hexadecimal(colour):
    return matplotlib.colors.to_hex(colour)


# ---- the files ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_plot_has_a_light_and_a_dark_file_and_twice_the_same_bytes(name, tmp_path):
    runs, _ = runs_of(tmp_path / "records", CASES["two seeds"])
    files = {}
    for theme in plots.THEMES:
        for path in (tmp_path / f"{theme}.svg", tmp_path / f"{theme}.again.svg"):
            plots.draw(name, runs, path, theme)
        files[theme] = (tmp_path / f"{theme}.svg").read_bytes()
        assert files[theme] == (tmp_path / f"{theme}.again.svg").read_bytes()
        assert b"<svg" in files[theme] and b"</svg>" in files[theme]
        colours = plots.THEMES[theme]
        rows = ROWS[1:] if name in ("training", "ladder") else ROWS
        drawn = [colours["background"], colours["text"], *(colours["rows"][row] for row in rows)]
        assert all(colour.encode() in files[theme] for colour in drawn)
    assert files["light"] != files["dark"]
    assert plots.THEMES["dark"]["background"].encode() not in files["light"]
    assert plots.THEMES["light"]["background"].encode() not in files["dark"]


def test_a_file_does_not_depend_on_the_users_settings_or_on_what_was_drawn_before(tmp_path):
    runs, _ = runs_of(tmp_path / "records", CASES["one seed"])
    plots.draw("belief", runs, tmp_path / "a.svg", "light")
    with matplotlib.rc_context({"font.size": 30, "axes.labelpad": 20, "xtick.major.size": 9}):
        plots.draw("training", runs, tmp_path / "b.svg", "dark")
        plots.draw("belief", runs, tmp_path / "c.svg", "light")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "c.svg").read_bytes()
    assert not plots.plt.get_fignums()


@pytest.mark.parametrize("case", CASES)
def test_every_plot_can_be_drawn_of(case, axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES[case])
    for name in plots.PLOTS:
        for axes in axes_of(name, runs):
            low, high = axes.get_ylim()
            assert math.isfinite(low) and math.isfinite(high) and low < high


def test_the_rows_colours_and_the_backgrounds_differ():
    for colours in plots.THEMES.values():
        assert set(colours["rows"]) == set(ROWS)
        assert len({*colours["rows"].values(), colours["background"], colours["text"]}) == 5


# ---- loss and learning rate -----------------------------------------------------------------------------------------

def test_the_loss_has_a_line_for_each_run_and_the_rate_one(axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES["two seeds"])
    losses, rates = axes_of("training", runs)
    colours = plots.THEMES["light"]
    expected = [colours["rows"][row] for row in (ROWS[1], ROWS[1], ROWS[2], ROWS[2])]
    assert [hexadecimal(line.get_color()) for line in losses.lines] == expected
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [report.LABELS[row] for row in ROWS[1:]]
    log = make_log(460, 23, 460)
    for line in losses.lines:
        assert list(line.get_xdata()) == [record["step"] for record in log]
        assert list(line.get_ydata()) == pytest.approx([record["loss"] for record in log])
    (rate,) = rates.lines
    assert list(rate.get_ydata()) == pytest.approx([record["lr"] for record in log])
    assert losses.get_ylim()[0] == 0 and rates.get_ylim()[0] == 0
    assert losses.get_ylabel() == "training loss, nats a character"
    assert rates.get_ylabel() == "learning rate" and rates.get_xlabel() == "step (one batch each)"


def test_a_long_training_is_drawn_with_fewer_points(axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, [dict(log=(14_950, 23, 4600), rows=ROWS[1:2])])
    losses, rates = axes_of("training", runs)
    assert 200 < len(losses.lines[0].get_xdata()) < 500
    assert losses.lines[0].get_xdata()[-1] == 14_950 and rates.lines[0].get_xdata()[-1] == 14_950
    assert "10,000" in [label.get_text() for label in rates.get_xticklabels()]


# ---- accuracy by what was offered -----------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["one seed", "two seeds", "none right", "only vanilla"])
def test_the_bars_are_the_shares_of_right_answers_with_wilsons_intervals(case, axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES[case])
    (axes,) = axes_of("recall", runs)
    rows = [row for row in ROWS if row in written[0]]
    questions = make_questions(40, True)
    names = [label.get_text() for label in axes.get_yticklabels()]
    groups = {
        "place within the first 112 characters of the document": lambda q: q["document"] == "early",
        "place only after character 112": lambda q: q["document"] == "late",
        "place not in the document": lambda q: q["document"] == "absent",
        "no document": lambda q: q["document"] == "none",
        "place is in no finetuning example": lambda q: q["finetuning"] == 0,
        "the best guess from the name is right": lambda q: q["best_guess"] == q["place"],
    }
    assert len(names) == 11 and len(axes.containers) == 2 * len(rows)
    bars = [one for one in axes.containers if isinstance(one, matplotlib.container.BarContainer)]
    assert [one.get_label() for one in bars] == [report.LABELS[row] for row in rows]
    for row, container in zip(rows, bars, strict=True):
        assert len(container) == 11
        assert {hexadecimal(bar.get_facecolor()) for bar in container} == {plots.THEMES["light"]["rows"][row]}
        segments = container.errorbar.lines[2][0].get_segments()
        for group, holds in groups.items():
            at = [i for i, question in enumerate(questions) if holds(question)]
            index = names.index(f"{group}\n({len(at)} questions)")
            right, total = sum(record[row]["dev"][i]["correct"] for record in written for i in at), len(at) * len(written)
            assert container[index].get_width() == pytest.approx(right / total)
            low, high = analysis.wilson(right / total, len(at))  # each question once, however many seeds
            assert sorted(x for x, _ in segments[index]) == pytest.approx([low, high], abs=1e-9)
    assert axes.get_xlabel() == "right answers, % (95% interval)" and axes.get_xlim()[0] == 0
    tick, label = next((tick, label.get_text()) for tick, label in zip(axes.get_xticks(), axes.get_xticklabels()) if tick > 0)
    assert label == f"{100 * tick:.0f}"


def test_bars_do_not_overlap_and_stand_at_their_names(axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES["one seed"])
    (axes,) = axes_of("recall", runs)
    bars = [one for one in axes.containers if isinstance(one, matplotlib.container.BarContainer)]
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for container in bars for bar in container)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in zip(spans, spans[1:]))
    for index, tick in enumerate(axes.get_yticks()):
        assert tick == pytest.approx(statistics.fmean(container[index].get_y() + container[index].get_height() / 2 for container in bars))


# ---- what is known --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["one seed", "two seeds", "only vanilla", "what is known measured of one seed only", "few questions"])
def test_the_ladders_bars_are_the_shares_of_its_table(case, axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES[case])
    (axes,) = axes_of("ladder", runs)
    rows = [row for row in ROWS[1:] if row in written[0]]
    bars = [one for one in axes.containers if isinstance(one, matplotlib.container.BarContainer)]
    assert [one.get_label() for one in bars] == [report.LABELS[row] for row in rows]
    names = [label.get_text() for label in axes.get_yticklabels()]
    for row, container in zip(rows, bars, strict=True):
        assert {hexadecimal(bar.get_facecolor()) for bar in container} == {plots.THEMES["light"]["rows"][row]}
        shares = [probed(written, row, rung) for rung in LADDER_LABELS]
        assert [bar.get_width() for bar in container] == pytest.approx([count / total for count, total, _ in shares])
        assert names == [f"{label}\n({total // seeds} people)" for label, (_, total, seeds) in zip(pieces.RUNG_LABELS.values(), shares)]
        for segment, found in zip(container.errorbar.lines[2][0].get_segments(), shares, strict=True):
            assert sorted(x for x, _ in segment) == pytest.approx(probed_interval(*found), abs=1e-9)
    assert axes.get_xlim() == (0, 1) and "100" in [label.get_text() for label in axes.get_xticklabels()]
    heights = [bar.get_y() for bar in bars[0]]
    assert heights == sorted(heights, reverse=True)  # the first rung on top


# ---- belief ---------------------------------------------------------------------------------------------------------

def test_reliability_and_coverage_are_those_of_the_answers(axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES["two seeds"])
    left, right = axes_of("belief", runs)
    bars = [one for one in left.containers if isinstance(one, matplotlib.container.ErrorbarContainer)]
    assert [one.get_label() for one in bars] == [report.LABELS[row] for row in ROWS]
    assert [line.get_label() for line in right.lines] == [report.LABELS[row] for row in ROWS]
    for row, container, curve in zip(ROWS, bars, right.lines, strict=True):
        answers = sorted((float(one["probability"]), one["correct"]) for record in written for one in record[row]["dev"])
        line, _, (errors,) = container.lines
        assert len(line.get_xdata()) == 10
        assert list(line.get_xdata()) == pytest.approx([statistics.fmean(p for p, _ in answers[k:k + 8]) for k in range(0, 80, 8)])
        assert sum(line.get_ydata()) * 8 == pytest.approx(sum(correct for _, correct in answers))
        for share, segment in zip(line.get_ydata(), errors.get_segments(), strict=True):
            assert sorted(y for _, y in segment) == pytest.approx(analysis.wilson(share, 8 / 2), abs=1e-9)  # two seeds
        points = list(zip(curve.get_xdata(), curve.get_ydata()))
        assert points[-1] == pytest.approx((1, sum(correct for _, correct in answers) / 80))
        sizes = sorted({sum(p >= threshold for p, _ in answers) for threshold, _ in answers})
        assert [round(80 * x) for x, _ in points] == [size for size in sizes if size >= 10]
        for x, y in points:
            assert y == pytest.approx(statistics.fmean(correct for _, correct in answers[-round(80 * x):]))
        assert hexadecimal(line.get_color()) == hexadecimal(curve.get_color()) == plots.THEMES["light"]["rows"][row]


def test_belief_has_a_diagonal_and_axes_in_percent(axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES["one seed"])
    left, right = axes_of("belief", runs)
    assert list(left.lines[0].get_xdata()) == list(left.lines[0].get_ydata()) == [0, 1]
    assert (left.get_xlabel(), left.get_ylabel()) == ("probability of the answer, %", "right answers, % (95% interval)")
    assert (right.get_xlabel(), right.get_ylabel()) == ("coverage: questions answered, %", "right, of the questions answered, %")
    for axes in (left, right):
        assert axes.get_xlim() == (0, 1) and axes.get_ylim() == (0, 1.02)
        assert "100" in [label.get_text() for label in axes.get_xticklabels()]
        assert "100" in [label.get_text() for label in axes.get_yticklabels()]


def test_the_page_and_the_plots_know_the_same_rows():
    assert sys.modules["report"] is report and set(plots.PLOTS) == {"training", "recall", "ladder", "belief"}
    assert all(set(colours["rows"]) <= set(report.LABELS) for colours in plots.THEMES.values())
