"""
Progress as lines in a file and as a bar on a terminal, by a clock that the tests set; the log; and
what is written for TensorBoard.
"""

import errno
import io
import os
import re
import sys

import pytest
import tqdm.std

from runs import progress as module
from runs.inputs import InputError
from runs.progress import STEPS_IN_A_MEAN, EventWriter, LossLog, Progress, tensorboard_writer


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Stands for time.monotonic and for tqdm's clock."""
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    monkeypatch.setattr(tqdm.std, "time", clock)
    return clock


def lines_of(clock, steps, seconds, epochs=1, first_step=0, losses=None):
    """The lines of a run whose steps take so many seconds each."""
    stream = io.StringIO()
    with Progress(steps, epochs, first_step=first_step, stream=stream) as progress:
        for step in range(first_step, steps):
            clock.now += seconds
            loss = 2.0 if losses is None else losses[step]
            progress.advance(step * epochs // steps + 1, loss, 0.0012345)
    return stream.getvalue().splitlines()


# ---- lines ----------------------------------------------------------------------------------


def test_a_line_says_all_in_order(clock):
    assert lines_of(clock, steps=4, seconds=30, epochs=2) == [
        "epoch 1/2, step 1/4: loss 2.0000, lr 1.23e-03, 00:30 gone, 01:30 left",
        "epoch 1/2, step 2/4: loss 2.0000, lr 1.23e-03, 01:00 gone, 01:00 left",
        "epoch 2/2, step 3/4: loss 2.0000, lr 1.23e-03, 01:30 gone, 00:30 left",
        "epoch 2/2, step 4/4: loss 2.0000, lr 1.23e-03, 02:00 gone, 00:00 left",
    ]


@pytest.mark.parametrize(
    "steps, seconds, shown",
    [(100, 1, [30, 60, 90, 100]), (5, 29, [2, 4, 5]), (1, 0, [1]), (7, 0, [7])],
)
def test_a_line_every_30_seconds_and_one_at_the_end(clock, steps, seconds, shown):
    lines = lines_of(clock, steps, seconds)
    assert [int(re.search(r"step (\d+)/", line)[1]) for line in lines] == shown


def test_the_time_left_is_the_whole_runs(clock):
    """Of 650 epochs; and where 900 of 1,000 steps were done before, by the speed of now."""
    line = lines_of(clock, steps=650 * 23, seconds=1, epochs=650)[0]
    assert line.endswith("00:30 gone, 4:08:40 left")
    line = lines_of(clock, steps=1000, seconds=2, first_step=900)[0]
    assert "step 915/1000" in line and line.endswith("00:30 gone, 02:50 left")


def shown_losses(lines):
    return [float(re.search(r"loss (\S+),", line)[1]) for line in lines]


def test_the_loss_is_a_running_mean(clock):
    """
    The plain mean at first. A last batch with another loss does not dominate, and what was long
    ago is forgotten.
    """
    losses = [float(step % 7) for step in range(40)]
    found = shown_losses(lines_of(clock, steps=40, seconds=30, losses=losses))
    means = [sum(losses[: n + 1]) / (n + 1) for n in range(40)]
    assert found == pytest.approx(means, abs=1e-4)
    losses = [2.0] * 299 + [0.0]
    assert shown_losses(lines_of(clock, steps=300, seconds=0, losses=losses))[0] > 1.9
    steps = 10 * STEPS_IN_A_MEAN
    losses = [9.0] * (steps // 2) + [1.0] * (steps // 2)
    assert shown_losses(lines_of(clock, steps, 0, losses=losses))[0] == pytest.approx(1, abs=0.1)


def test_the_mean_of_a_resumed_run_begins_anew(clock):
    lines = lines_of(clock, steps=1000, seconds=30, first_step=998, losses=[7.0] * 1000)
    assert shown_losses(lines) == [7.0, 7.0]


def test_it_goes_to_standard_error_or_nowhere(clock, capsys):
    for quiet in (False, True):
        with Progress(1, 1, quiet=quiet) as progress:
            progress.advance(1, 1.5, 0.1)
        out, err = capsys.readouterr()
        assert out == "" and ("step 1/1: loss 1.5000, lr 1.00e-01, " in err) == (not quiet)


# ---- a bar ----------------------------------------------------------------------------------


def test_a_terminal_shows_epoch_loss_rate_and_time_left(clock):
    for first_step, steps, percent in ((0, 100, 10), (900, 1000, 91)):
        terminal = Terminal()
        with Progress(steps, 5, first_step=first_step, stream=terminal) as progress:
            for step in range(10):
                clock.now += 1
                progress.advance(3, 2.25 + step, 6e-4)
            drawings = terminal.getvalue().split("\r")
        assert "epoch 3/5" in drawings[-1] and f" {percent}%|" in drawings[-1]
        assert "00:10 gone, 01:30 left" in drawings[-1]
        assert "loss 6.7500, lr 6.00e-04" in drawings[-1]  # the mean of ten
        assert len(drawings) > 9 and "\n" not in "".join(drawings)
        assert terminal.getvalue().endswith("\n")


class Broken(io.StringIO):
    """A stream that takes so many writes and no more, as a closed terminal or a full disk."""

    def __init__(self, takes, terminal):
        super().__init__()
        self.takes, self.terminal = takes, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.takes -= 1
        if self.takes < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("takes", [1, 5])
def test_a_stream_that_breaks_ends_nothing(clock, takes, terminal):
    stream = Broken(takes, terminal)
    with Progress(100, 1, stream=stream) as progress:
        for _ in range(100):
            clock.now += 40
            progress.advance(1, 2.0, 0.1)
    assert progress.step == 100 and stream.takes < 0


# ---- the log --------------------------------------------------------------------------------


def test_a_log_has_the_mean_of_ten_steps_and_of_the_rest(clock):
    log = LossLog()
    for step in range(1, 24):
        clock.now += 0.25
        log.add(step, step // 12 + 1, step / 3, 0.001 / step, is_last=step == 23)
    assert log.records == [
        {"step": 10, "epoch": 1, "loss": 1.833333, "lr": 0.0001, "seconds": 2.5},
        {"step": 20, "epoch": 2, "loss": 5.166667, "lr": 5e-05, "seconds": 5.0},
        {"step": 23, "epoch": 2, "loss": 7.333333, "lr": 4.347826e-05, "seconds": 5.8},
    ]


def test_a_resumed_log_is_the_same_and_leaves_the_pause_out(clock):
    whole, log = LossLog(), LossLog()
    for step in range(1, 21):
        if step == 15:
            state = log.state_dict()
            clock.now += 5000
            log = LossLog()
            log.load_state_dict(state)
        clock.now += 1
        for each in (whole, log):
            each.add(step, 1, step * 1.1, 0.1, is_last=False)
    assert log.records[0] == whole.records[0]
    assert log.records[1] == whole.records[1] | {"seconds": 20.0}


# ---- TensorBoard ----------------------------------------------------------------------------


class Scalars:
    """Stands for a SummaryWriter. made: all that were made; fails_at: what raises an error."""

    made, fails_at = [], None

    def __init__(self, folder, purge_step):
        self.fail("__init__")
        self.calls = [(folder, purge_step)]
        self.made.append(self)

    def fail(self, name):
        if name == self.fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    def add_scalar(self, tag, value, step):
        if step > 2:
            self.fail("add_scalar")
        self.calls.append((tag, value, step))

    def close(self):
        self.fail("close")
        self.calls.append("closed")


@pytest.fixture
def made(monkeypatch):
    """A TensorBoard whose writers are Scalars; the list of them."""
    stand_in = type(sys)("torch.utils.tensorboard")
    stand_in.SummaryWriter = Scalars
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    monkeypatch.setattr(Scalars, "made", [])
    return Scalars.made


def test_events_begin_with_the_first_step_that_is_added(made):
    """A run with no step left leaves what is there, and a writer is closed after an error too."""
    with tensorboard_writer("events"):
        pass
    assert made == []
    with pytest.raises(KeyboardInterrupt), tensorboard_writer("events") as writer:
        writer.add_scalar("train/loss", 2.5, 1)
        writer.add_scalar("train/lr", 1e-3, 1)
        assert made[0].calls[-1] != "closed"
        raise KeyboardInterrupt
    expected = [("events", 1), ("train/loss", 2.5, 1), ("train/lr", 1e-3, 1), "closed"]
    assert [writer.calls for writer in made] == [expected]


def test_without_a_folder_or_the_package_there_is_no_writer(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # to import it fails
    with tensorboard_writer(None) as writer:
        assert writer is None and capsys.readouterr().err == ""
    with tensorboard_writer("events") as writer:
        assert writer is None
        error = capsys.readouterr().err
        assert "tensorboard" in error and error.count("\n") == 1


def test_an_import_that_fails_within_a_run_is_no_missing_package(made, capsys):
    with pytest.raises(ImportError, match="a defect"), tensorboard_writer("events"):
        raise ImportError("a defect")
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made_is_an_input_error(made, monkeypatch):
    monkeypatch.setattr(Scalars, "fails_at", "__init__")
    with pytest.raises(InputError, match="^some/where: "):
        EventWriter("some/where", Scalars).add_scalar("train/loss", 1.0, 1)


@pytest.mark.parametrize("fails_at, kept", [("add_scalar", 2), ("close", 4)])
def test_a_disk_that_fills_up_is_one_warning(made, monkeypatch, capsys, fails_at, kept):
    monkeypatch.setattr(Scalars, "fails_at", fails_at)
    with tensorboard_writer("events") as writer:
        for step in (1, 2, 3, 4):
            writer.add_scalar("train/loss", 1.0, step)
    assert len(made) == 1 and len(made[0].calls) == 1 + kept
    error = capsys.readouterr().err
    assert error.startswith("warning: events") and error.count("\n") == 1


def test_a_message_stands_above_the_bar_of_a_terminal():
    terminal = Terminal()
    with Progress(3, 1, stream=terminal) as progress:
        progress.message("epoch 1/1: test loss 2.0000")
    assert "epoch 1/1: test loss 2.0000\n" in terminal.getvalue()
    quiet = Terminal()
    with Progress(3, 1, stream=quiet, quiet=True) as progress:
        progress.message("nothing")
    assert quiet.getvalue() == ""
