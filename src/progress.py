"""Progress of a training run: a bar on a terminal, and a line now and then where the output goes to a file."""
import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30


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
            self.bar.close()

    def wants_figures(self):
        """Whether the next advance() will show loss and rate; reading them from a GPU costs a wait."""
        if self.quiet:
            return False
        if self.bar is not None:
            return True
        return time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES or self.step + 1 == self.steps

    def advance(self, epoch, loss=None, rate=None):
        """One step further, in epoch number `epoch` (from 1). loss in nats, rate: the learning rate; None where not read."""
        self.step += 1
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}, lr {rate:.2e}", refresh=False)
            self.bar.update()
        elif loss is not None:
            self.last_line = time.monotonic()
            gone = self.last_line - self.start
            left = gone / (self.step - self.first_step) * (self.steps - self.step)
            print(f"epoch {epoch}/{self.epochs}, step {self.step}/{self.steps}: loss {loss:.4f}, lr {rate:.2e}, "
                  f"{tqdm.format_interval(gone)} gone, {tqdm.format_interval(left)} left", file=self.stream, flush=True)
