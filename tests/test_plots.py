"""The plots' files, and what is drawn in them. Skipped without matplotlib."""

import math
import statistics

import pytest

import analysis
from intervals import wilson
from load import load_runs
from records import ROWS, make_log, make_questions, pooled, write_record
from tables import label_of

matplotlib = pytest.importorskip("matplotlib")
import plots  # noqa: E402

pytestmark = pytest.mark.slow

CASES = {
    "two seeds": [{"seed": 0}, {"seed": 1}],
    "a new variant": [{"rows": (*ROWS, "dummy.pretrain")}],
    "the synthesizer of one seed only": [{"seed": 0, "rows": ROWS[:2]}, {"seed": 1}],
    "only the synthesizer": [{"rows": ROWS[2:]}],
    "none right, nothing known": [{"skill": dict.fromkeys(ROWS, 0), "knows": 0}],
    "all right": [{"skill": dict.fromkeys(ROWS, 1)}],
    "few questions": [{"count": 3}],
    "completions of one seed only": [{"seed": 0, "knows": None}, {"seed": 1}],
}


def runs_of(folder, records):
    written = [write_record(folder / str(i), **record) for i, record in enumerate(records)]
    (runs,) = load_runs(folder).values()
    return runs, written


@pytest.fixture
def axes_of():
    """A function that draws a plot as draw() does, and gives its axes."""
    figures = []

    def drawn(name, runs):
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg"}):
            figures.append(plots.PLOTS[name](runs, plots.colours_of(runs, "light")))
            figures[-1].canvas.draw()
        return figures[-1].axes

    yield drawn
    for figure in figures:
        plots.plt.close(figure)


def bars_of(axes):
    kind = matplotlib.container.BarContainer
    return [one for one in axes.containers if isinstance(one, kind)]


@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_plot_has_its_themes_colours_and_twice_the_same_bytes(name, tmp_path):
    runs, _ = runs_of(tmp_path / "records", CASES["two seeds"])
    for theme in plots.THEMES:
        with matplotlib.rc_context({"font.size": 30}):  # the user's settings do not matter
            plots.draw(name, runs, tmp_path / "a.svg", theme)
        plots.draw(name, runs, tmp_path / "b.svg", theme)
        drawn = (tmp_path / "a.svg").read_text()
        assert drawn == (tmp_path / "b.svg").read_text() and "</svg>" in drawn
        colours = plots.THEMES[theme]
        rows = (
            colours["palette"][:3]
            if name in ("recall", "calibration")
            else colours["palette"][1:3]
        )
        assert all(colour in drawn for colour in (*rows, colours["background"], colours["text"]))
    assert not plots.plt.get_fignums()


@pytest.mark.parametrize("case", CASES)
def test_every_plot_can_be_drawn_of(case, axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES[case])
    for name in plots.PLOTS:
        for axes in axes_of(name, runs):
            low, high = axes.get_ylim()
            assert math.isfinite(low) and math.isfinite(high) and low < high


def test_the_loss_has_a_line_for_each_run(axes_of, tmp_path):
    runs, _ = runs_of(tmp_path, CASES["two seeds"])
    losses, rates = axes_of("training", runs)
    log = make_log(460, 23, 460)
    assert len(losses.lines) == 4 and len(rates.lines) == 1
    for line in losses.lines:
        assert list(line.get_xdata()) == [one["step"] for one in log]
        assert list(line.get_ydata()) == pytest.approx([one["loss"] for one in log])
    assert list(rates.lines[0].get_ydata()) == pytest.approx([one["lr"] for one in log])


def test_the_bars_are_the_shares_with_wilsons_intervals(axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES["two seeds"])
    (axes,) = axes_of("recall", runs)
    bars = bars_of(axes)
    assert [one.get_label() for one in bars] == [label_of(row) for row in ROWS]
    questions = make_questions(40, True)
    at = [i for i, question in enumerate(questions) if question["document"] == "early"]
    for row, container in zip(ROWS, bars, strict=True):
        right = sum(record[row]["dev"][i]["correct"] for record in written for i in at)
        assert container[0].get_width() == pytest.approx(right / len(at) / 2)
        segment = container.errorbar.lines[2][0].get_segments()[0]
        bounds = wilson(right / len(at) / 2, len(at))  # each question once
        assert sorted(x for x, _ in segment) == pytest.approx(bounds, abs=1e-9)
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for one in bars for bar in one)
    gaps = zip(spans, spans[1:], strict=False)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in gaps)


def test_the_ladders_bars_are_the_completions(axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES["two seeds"])
    (axes,) = axes_of("ladder", runs)
    for row, container in zip(ROWS[1:], bars_of(axes), strict=True):
        lines = pooled(written, row, "recall")
        known = statistics.fmean(line["document"] for line in lines)
        assert len(container) == len(analysis.RUNGS)
        assert container[0].get_width() == pytest.approx(known)


def test_reliability_and_coverage_are_those_of_the_answers(axes_of, tmp_path):
    runs, written = runs_of(tmp_path, CASES["two seeds"])
    left, right = axes_of("calibration", runs)
    kind = matplotlib.container.ErrorbarContainer
    bars = [one for one in left.containers if isinstance(one, kind)]
    for row, container, curve in zip(ROWS, bars, right.lines, strict=True):
        answers = pooled(written, row)
        answers = sorted((float(one["probability"]), one["correct"]) for one in answers)
        line = container.lines[0]
        means = [statistics.fmean(p for p, _ in answers[k : k + 8]) for k in range(0, 80, 8)]
        assert list(line.get_xdata()) == pytest.approx(means)
        assert sum(line.get_ydata()) * 8 == pytest.approx(sum(c for _, c in answers))
        for x, y in zip(curve.get_xdata(), curve.get_ydata(), strict=True):
            assert x >= 10 / 80
            assert y == pytest.approx(statistics.fmean(c for _, c in answers[-round(80 * x) :]))
