"""
Progress of a training: a bar on a terminal, a line now and then where the output goes to a file,
the log beside the parameters, and TensorBoard's events.
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm

from runs.console import note
from runs.inputs import InputError

SECONDS_BETWEEN_LINES = 30
STEPS_IN_A_RECORD = 10
STEPS_IN_A_MEAN = 50  # over about as many of the last steps goes the running mean of the loss


class Progress:
    """
    Counts the steps of a whole run, all epochs together, so that the time left is the run's. The
    loss shown is a running mean, not that of the last batch.

    Use as a context manager. On a terminal it is a tqdm bar; elsewhere a line every
    SECONDS_BETWEEN_LINES, and one at the end. Both go to standard error; quiet=True shows neither.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        first_step: int = 0,
        stream: TextIO | None = None,
        quiet: bool = False,
    ):
        self.steps, self.epochs, self.step, self.first_step = steps, epochs, first_step, first_step
        self.stream = stream or sys.stderr
        self.start = self.last_line = time.monotonic()
        self.mean_loss = None
        self.bar, self.quiet = None, quiet
        if self.stream.isatty() and not quiet:
            self.bar = tqdm(
                total=steps,
                initial=first_step,
                file=self.stream,
                unit="step",
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} gone, "
                "{remaining} left{postfix}",
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            with contextlib.suppress(OSError):
                self.bar.close()

    def advance(self, epoch: int, loss: float, rate: float) -> None:
        """
        Counts a step of epoch number `epoch` (from 1). loss in nats; rate: the learning rate.
        """
        self.step += 1
        # A plain mean at first, then an exponential one over STEPS_IN_A_MEAN.
        weight = 1 / min(self.step - self.first_step, STEPS_IN_A_MEAN)
        self.mean_loss = loss if weight == 1 else self.mean_loss + weight * (loss - self.mean_loss)
        try:
            self._show(epoch, rate)
        except OSError:  # a closed terminal or a full disk does not end the run
            self.quiet = True

    def _show(self, epoch, rate):
        if self.quiet:
            return
        figures = f"loss {self.mean_loss:.4f}, lr {rate:.2e}"
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(figures, refresh=False)
            self.bar.update()
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES or self.step == self.steps:
            self.last_line = now
            gone = now - self.start
            left = gone / (self.step - self.first_step) * (self.steps - self.step)
            print(
                f"epoch {epoch}/{self.epochs}, step {self.step}/{self.steps}: {figures}, "
                f"{tqdm.format_interval(gone)} gone, {tqdm.format_interval(left)} left",
                file=self.stream,
                flush=True,
            )

    def message(self, text: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self.quiet:
            return
        if self.bar is None:
            note(text)
        else:
            with contextlib.suppress(OSError):
                self.bar.write(text, file=self.stream)


class LossLog:
    """
    The course of a run, a record for every STEPS_IN_A_RECORD steps: the step and epoch that it
    ends with (from 1), the mean loss of its steps in nats, the learning rate then, and the seconds
    trained until then, without the pauses of a run that was stopped.
    """

    def __init__(self):
        self.records: list[dict] = []
        self._losses: list[float] = []  # of the steps since the last record
        self._start = time.monotonic()

    def add(self, step: int, epoch: int, loss: float, rate: float, is_last: bool) -> None:
        self._losses.append(loss)
        if step % STEPS_IN_A_RECORD == 0 or is_last:
            self.records.append(
                {
                    "step": step,
                    "epoch": epoch,
                    "loss": significant(statistics.fmean(self._losses)),
                    "lr": significant(rate),
                    "seconds": round(self._seconds(), 1),
                }
            )
            self._losses = []

    def add_test_loss(self, step: int, epoch: int, loss: float) -> None:
        """A record of its own: the loss of the test dataset after an epoch."""
        seconds = round(self._seconds(), 1)
        record = {"step": step, "epoch": epoch, "test_loss": significant(loss), "seconds": seconds}
        self.records.append(record)

    def _seconds(self):
        return time.monotonic() - self._start

    def state_dict(self) -> dict:
        return {"records": self.records, "losses": self._losses, "seconds": self._seconds()}

    def load_state_dict(self, state: dict) -> None:
        self.records, self._losses = list(state["records"]), list(state["losses"])
        self._start = time.monotonic() - state["seconds"]


class EventWriter:
    """
    A TensorBoard SummaryWriter that is made when the first value comes. TensorBoard then ignores
    that step and later ones of an earlier, stopped run, and shows each step once.
    """

    def __init__(self, folder: str, make_writer: Callable):
        """make_writer: torch.utils.tensorboard's SummaryWriter."""
        self.folder, self.make_writer, self.writer, self.failed = folder, make_writer, None, False

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Raises InputError if the folder cannot be made. A later failure is a warning."""
        if self.writer is None and not self.failed:
            try:
                self.writer = self.make_writer(self.folder, purge_step=step)
            except OSError as error:
                raise InputError(
                    f"{self.folder}: cannot be written: {error.strerror or error}"
                ) from None
        with self._warned():
            if self.writer is not None:
                self.writer.add_scalar(tag, value, step)

    def close(self) -> None:
        with self._warned():
            if self.writer is not None:
                self.writer.close()

    @contextlib.contextmanager
    def _warned(self):
        """Turns the first OSError into a warning; after it nothing more is written."""
        try:
            yield
        except OSError as error:
            self.writer, self.failed = None, True
            note(
                f"warning: {self.folder}: cannot be written: {error.strerror or error}; "
                "the run continues without events"
            )


@contextlib.contextmanager
def tensorboard_writer(folder: str | None) -> Iterator[EventWriter | None]:
    """
    Writes events for TensorBoard to a folder. None where folder is None, and, after a warning,
    where the package tensorboard is not installed.
    """
    SummaryWriter = None
    try:
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        note("warning: the package tensorboard is not installed; the run continues without events")
    if SummaryWriter is None:
        yield None
        return
    with contextlib.closing(EventWriter(folder, SummaryWriter)) as writer:
        yield writer


def significant(number: float) -> float:
    """The number to seven digits, more than float32 has."""
    return float(f"{number:.7g}")
