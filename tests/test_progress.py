"""python -m pytest tests/test_progress.py

Progress as lines in a file and as a bar on a terminal, by a clock that the tests set; the log; what is written for TensorBoard.
"""

import errno
import io
import os
import re
import sys

import pytest
import tqdm.std

import progress as module
from dataset import InputError
from progress import SECONDS_BETWEEN_LINES, EventWriter, LossLog, Progress, note, tensorboard_writer


class Clock:
    """Stands for time.monotonic and for tqdm's clock."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    monkeypatch.setattr(tqdm.std, "time", clock)
    return clock


def lines_of(clock, steps, seconds, epochs=1, first_step=0, stream=None):
    """The lines of a run whose steps take so many seconds each."""
    stream = stream or io.StringIO()
    with Progress(steps, epochs, first_step=first_step, stream=stream) as progress:
        for step in range(first_step, steps):
            clock.now += seconds
            progress.advance(step * epochs // steps + 1, 2.0, 0.0012345)
    return stream.getvalue().splitlines()


def test_a_line_says_all_in_order(clock):
    lines = lines_of(clock, steps=4, seconds=30, epochs=2)
    assert lines == [
        "epoch 1/2, step 1/4: loss 2.0000, lr 1.23e-03, 00:30 gone, 01:30 left",
        "epoch 1/2, step 2/4: loss 2.0000, lr 1.23e-03, 01:00 gone, 01:00 left",
        "epoch 2/2, step 3/4: loss 2.0000, lr 1.23e-03, 01:30 gone, 00:30 left",
        "epoch 2/2, step 4/4: loss 2.0000, lr 1.23e-03, 02:00 gone, 00:00 left",
    ]


def test_lines_keep_their_distance(clock):
    assert SECONDS_BETWEEN_LINES == 30
    lines = lines_of(clock, steps=100, seconds=1)
    assert [re.search(r"step (\d+)/100", line)[1] for line in lines] == ["30", "60", "90", "100"]
    lines = lines_of(clock, steps=5, seconds=29)
    assert [re.search(r"step (\d+)/5", line)[1] for line in lines] == ["2", "4", "5"]


@pytest.mark.parametrize("steps", [1, 7])
def test_the_last_step_has_a_line_however_short_the_run(clock, steps):
    lines = lines_of(clock, steps=steps, seconds=0)
    assert len(lines) == 1 and f"step {steps}/{steps}: " in lines[0] and lines[0].endswith("00:00 gone, 00:00 left")


def test_the_time_left_is_the_whole_runs(clock):
    """650 epochs of 23 steps of a second: after the first half minute some four hours are left, not 23 seconds."""
    first = lines_of(clock, steps=650 * 23, seconds=1, epochs=650)[0]
    assert first == "epoch 2/650, step 30/14950: loss 2.0000, lr 1.23e-03, 00:30 gone, 4:08:40 left"


def test_a_resumed_run_does_not_distort_the_time_left(clock):
    """900 of 1000 steps are done; of the other hundred, 2 s each, 15 take 30 s, and 170 s are left."""
    first = lines_of(clock, steps=1000, seconds=2, first_step=900)[0]
    assert "step 915/1000" in first and first.endswith("00:30 gone, 02:50 left")


def test_standard_error_is_where_it_goes(clock, capsys):
    with Progress(1, 1) as progress:
        progress.advance(1, 1.5, 0.1)
    out, err = capsys.readouterr()
    assert out == "" and err == "epoch 1/1, step 1/1: loss 1.5000, lr 1.00e-01, 00:00 gone, 00:00 left\n"


def bar_of(clock, steps, first_step=0, take=10):
    """What a bar shows after `take` steps of a second, each of its drawings a string, and all that it wrote until its end."""
    terminal = Terminal()
    progress = Progress(steps, 5, first_step=first_step, stream=terminal)
    for step in range(take):
        clock.now += 1
        progress.advance(3, 2.25 + step, 6e-4)
    shown = terminal.getvalue().split("\r")
    progress.__exit__(None, None, None)
    return shown, terminal.getvalue()  # read while the bar lives: tqdm also closes what is thrown away


def test_a_terminal_shows_epoch_loss_rate_and_time_left(clock):
    shown, _ = bar_of(clock, steps=100)
    assert "epoch 3/5" in shown[-1] and " 10%|" in shown[-1] and "00:10 gone, 01:30 left" in shown[-1]
    assert "loss 11.2500, lr 6.00e-04" in shown[-1]


def test_a_terminal_shows_a_resumed_run_rightly(clock):
    shown, _ = bar_of(clock, steps=1000, first_step=900)
    assert " 91%|" in shown[-1] and "00:10 gone, 01:30 left" in shown[-1]


def test_a_bar_is_one_line_and_is_closed(clock):
    shown, written = bar_of(clock, steps=10)
    assert len(shown) > 9 and "\n" not in "".join(shown)
    assert "100%|" in shown[-1] and written.endswith("\n")


class Broken(io.StringIO):
    """A stream that takes so many writings and no more, as a closed terminal or a full disk."""

    def __init__(self, takes, terminal, number=5):
        super().__init__()
        self.takes, self.terminal, self.number = takes, terminal, number

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.takes -= 1
        if self.takes < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EPIPE])
@pytest.mark.parametrize("takes", [1, 5])
def test_a_stream_that_breaks_ends_nothing(clock, takes, terminal, number):
    stream = Broken(takes, terminal, number)
    with Progress(100, 1, stream=stream) as progress:
        for _ in range(100):
            clock.now += 40
            progress.advance(1, 2.0, 0.1)
    assert progress.step == 100 and stream.takes < 0


def test_a_note_is_a_line_on_standard_error_or_nothing(capsys, monkeypatch):
    note("take care")
    assert capsys.readouterr().err == "take care\n"
    monkeypatch.setattr(module.sys, "stderr", Broken(0, False))
    note("take care")


def test_a_log_is_the_mean_of_ten_steps_and_of_the_rest(clock):
    log = LossLog()
    for step in range(1, 24):
        clock.now += 0.25
        log.add(step, step // 12 + 1, step / 3, 0.001 / step, is_last=step == 23)
    assert log.records == [
        {"step": 10, "epoch": 1, "loss": 1.833333, "lr": 0.0001, "seconds": 2.5},
        {"step": 20, "epoch": 2, "loss": 5.166667, "lr": 5e-05, "seconds": 5.0},
        {"step": 23, "epoch": 2, "loss": 7.333333, "lr": 4.347826e-05, "seconds": 5.8},
    ]


def test_a_log_goes_on_where_it_was(clock):
    whole, first = LossLog(), LossLog()
    for step in range(1, 15):
        clock.now += 1
        whole.add(step, 1, step * 1.1, 0.1, is_last=False)
        first.add(step, 1, step * 1.1, 0.1, is_last=False)
    state = first.state_dict()
    clock.now += 5000
    again = LossLog()
    again.load_state_dict(state)
    clock.now += 6
    for step in range(15, 21):
        again.add(step, 1, step * 1.1, 0.1, is_last=False)
        whole.add(step, 1, step * 1.1, 0.1, is_last=False)
    assert again.records[1]["seconds"] == 20.0 and again.records[0] == whole.records[0]
    assert again.records[1]["loss"] == whole.records[1]["loss"]


class Scalars:
    """Stands for a SummaryWriter; Scalars.made has all that were made."""

    made = []

    def __init__(self, folder, purge_step):
        self.calls = [(folder, purge_step)]
        self.made.append(self)

    def add_scalar(self, tag, value, step):
        self.calls.append((tag, value, step))

    def close(self):
        self.calls.append("closed")


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(Scalars, "made", [])
    return Scalars.made


def test_events_begin_with_the_first_step_that_is_added(made):
    """Nothing is written before it, so that a run with no step left leaves what is there."""
    writer = EventWriter("runs", Scalars)
    assert made == []
    writer.add_scalar("train/loss", 2.5, 41)
    writer.add_scalar("train/lr", 1e-3, 41)
    writer.add_scalar("train/loss", 2.25, 42)
    writer.close()
    assert [each.calls for each in made] == [
        [("runs", 41), ("train/loss", 2.5, 41), ("train/lr", 1e-3, 41), ("train/loss", 2.25, 42), "closed"]]
    EventWriter("runs", Scalars).close()
    assert len(made) == 1


@pytest.fixture
def installed(made, monkeypatch):
    """A TensorBoard whose writers are Scalars."""
    stand_in = type(sys)("torch.utils.tensorboard")
    stand_in.SummaryWriter = Scalars
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    return made


def test_a_writer_is_closed_however_the_run_ends(installed, capsys):
    with pytest.raises(KeyboardInterrupt), tensorboard_writer("runs") as writer:
        writer.add_scalar("train/loss", 2.5, 1)
        assert installed[0].calls[-1] != "closed"
        raise KeyboardInterrupt
    assert installed[0].calls == [("runs", 1), ("train/loss", 2.5, 1), "closed"] and capsys.readouterr().err == ""


def test_without_a_folder_or_tensorboard_there_is_no_writer(monkeypatch, capsys):
    """What is not asked for is not missed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # to import it fails
    with tensorboard_writer(None) as writer:
        assert writer is None and capsys.readouterr().err == ""
    with tensorboard_writer("runs") as writer:
        assert writer is None
        error = capsys.readouterr().err
        assert error.startswith("warning: --tb_log_dir: the package tensorboard is not installed") and error.count("\n") == 1


def test_an_import_that_fails_within_a_run_is_not_taken_for_a_missing_tensorboard(installed, capsys):
    with pytest.raises(ImportError, match="a defect"), tensorboard_writer("runs"):
        raise ImportError("a defect")
    assert capsys.readouterr().err == ""


def test_a_folder_for_events_that_cannot_be_made_is_an_input_error():
    for error in (OSError(36, "File name too long"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")):
        def refuse(folder, purge_step, error=error):
            raise error
        with pytest.raises(InputError, match="--tb_log_dir some/where: cannot be written: .*(too long|surrogates)"):
            EventWriter("some/where", refuse).add_scalar("train/loss", 1.0, 1)


@pytest.mark.parametrize("fails_at", ["add_scalar", "close"])
def test_a_disk_that_fills_up_under_the_events_is_one_warning(capsys, fails_at):
    class Writer:
        def __init__(self, folder, purge_step):
            pass

        def add_scalar(self, tag, value, step):
            if fails_at == "add_scalar" and step > 2:
                raise OSError(28, "No space left on device")
            kept.append(step)

        def close(self):
            if fails_at == "close":
                raise OSError(28, "No space left on device")

    kept = []
    writer = EventWriter("events", Writer)
    for step in (1, 2, 3, 4):
        writer.add_scalar("train/loss", 1.0, step)
    writer.close()
    assert kept == ([1, 2] if fails_at == "add_scalar" else [1, 2, 3, 4])
    assert capsys.readouterr().err == ("warning: --tb_log_dir events: cannot be written: No space left on device; the run goes on without it\n")
