"""
Progress of a training run: a bar on a terminal, a line now and then where the output goes to a file, and the log that is kept.
"""
import contextlib
import statistics
import sys
import time

from tqdm import tqdm

from dataset import InputError, one_line

SECONDS_BETWEEN_LINES = 30
STEPS_IN_A_RECORD = 10


def note(text):
    """A line on standard error. That it cannot be written, as on a closed terminal or a full disk, is no reason to end a run."""
    with contextlib.suppress(OSError):
        print(one_line(text), file=sys.stderr, flush=True)


class Progress:
    """
    Counts the steps of a whole run, all epochs together, so that the time left is the run's and not the epoch's.

    Use as a context manager. On a terminal it is a tqdm bar; elsewhere a line every SECONDS_BETWEEN_LINES, and one at the
    end. Both go to standard error; with quiet=True there is neither.
    """

    def __init__(self, steps, epochs, first_step=0, stream=None, quiet=False):
        self.steps, self.epochs, self.step, self.first_step = steps, epochs, first_step, first_step
        self.stream = stream or sys.stderr
        self.start = self.last_line = time.monotonic()
        self.bar, self.quiet = None, quiet
        if self.stream.isatty() and not quiet:
            self.bar = tqdm(total=steps, initial=first_step, file=self.stream, unit="step", dynamic_ncols=True,
                            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            with contextlib.suppress(OSError):
                self.bar.close()

    def advance(self, epoch, loss, rate):
        """One step further, in epoch number `epoch` (from 1). loss in nats, rate: the learning rate."""
        self.step += 1
        try:
            self._show(epoch, loss, rate)
        except OSError:  # a terminal that was closed, a full disk: no reason to end what is shown
            self.quiet = True

    def _show(self, epoch, loss, rate):
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
            self.bar.set_postfix_str(f"loss {loss:.4f}, lr {rate:.2e}", refresh=False)
            self.bar.update()
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES or self.step == self.steps:
            self.last_line = now
            gone = now - self.start
            left = gone / (self.step - self.first_step) * (self.steps - self.step)
            print(f"epoch {epoch}/{self.epochs}, step {self.step}/{self.steps}: loss {loss:.4f}, lr {rate:.2e}, "
                  f"{tqdm.format_interval(gone)} gone, {tqdm.format_interval(left)} left", file=self.stream, flush=True)


class LossLog:
    """
    The course of a run, a record for every STEPS_IN_A_RECORD steps: the step and epoch that it ends with (from 1), the mean loss
    of its steps in nats, the learning rate then, and the seconds trained until then, pauses of a run that was stopped left out.
    """

    def __init__(self):
        self.records = []
        self._losses = []  # of the steps since the last record
        self._start = time.monotonic()

    def add(self, step, epoch, loss, rate, is_last):
        self._losses.append(loss)
        if step % STEPS_IN_A_RECORD == 0 or is_last:
            self.records.append({"step": step, "epoch": epoch, "loss": significant(statistics.fmean(self._losses)),
                                 "lr": significant(rate), "seconds": round(self._seconds(), 1)})
            self._losses = []

    def _seconds(self):
        return time.monotonic() - self._start

    def state_dict(self):
        return {"records": [list(record.values()) for record in self.records], "losses": self._losses, "seconds": self._seconds()}

    def load_state_dict(self, state):
        self.records = [{"step": int(step), "epoch": int(epoch), "loss": float(loss), "lr": float(rate), "seconds": float(seconds)}
                        for step, epoch, loss, rate, seconds in state["records"]]
        self._losses = [float(loss) for loss in state["losses"]]
        self._start = time.monotonic() - float(state["seconds"])
        numbers = [value for record in self.records for value in record.values()] + self._losses + [self._start]
        if not all(abs(number) < 1e38 for number in numbers):  # beyond that a sum overflows, and JSON has no word for it
            raise ValueError("a number in the log is not finite")
        steps = [0] + [record["step"] for record in self.records]
        if any(step <= before for before, step in zip(steps, steps[1:])):
            raise ValueError("the log's steps do not rise")


class EventWriter:
    """
    A TensorBoard SummaryWriter whose files begin with the first step that is added. Events of that step and later ones, from a run
    that was stopped after its last checkpoint, count no longer then: TensorBoard shows each step once.
    """

    def __init__(self, folder, make_writer):
        """make_writer: torch.utils.tensorboard's SummaryWriter."""
        self.folder, self.make_writer, self.writer, self.failed = folder, make_writer, None, False

    def add_scalar(self, tag, value, step):
        """Raises InputError if the folder cannot be made. That it cannot be written to later is no reason to end a run."""
        if self.writer is None and not self.failed:
            try:
                self.writer = self.make_writer(self.folder, purge_step=step)
            except (OSError, ValueError) as error:  # ValueError for a name that no file can have
                raise InputError(f"--tb_log_dir {self.folder}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
        with self._warned():
            if self.writer is not None:
                self.writer.add_scalar(tag, value, step)

    def close(self):
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
            note(f"warning: --tb_log_dir {self.folder}: cannot be written: {error.strerror or error}; the run goes on without it")


@contextlib.contextmanager
def tensorboard_writer(folder):
    """What writes events for TensorBoard to a folder; None where folder is None and, after a warning, where it is not installed."""
    SummaryWriter = None
    try:
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        note("warning: --tb_log_dir: the package tensorboard is not installed; the run goes on without it, with PARAMS.log.jsonl alone")
    if SummaryWriter is None:
        yield None
        return
    with contextlib.closing(EventWriter(folder, SummaryWriter)) as writer:
        yield writer


def significant(number):
    """The number to seven digits, more than float32 has."""
    return float(f"{number:.7g}")
