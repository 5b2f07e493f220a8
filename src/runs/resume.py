"""
Training that can be stopped and resumed: the state of a run, kept in a file beside its results.

The file holds, as torch.save writes it: the trainer's state (parameters, optimizer, position in
data and schedule, log), the state of the random number generators, and the settings of the run, so
that another run's file is refused. It is written every minute or so, at Ctrl-C, and when the
system asks the process to end.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from runs.checkpoint import digest, parse_tensors, read_bytes, write_tensors
from runs.console import note
from runs.device import first_line
from runs.distributed import rank_and_size
from runs.files import write_lines
from runs.inputs import InputError

LARGEST_SHARE = 0.02  # of a run's time that writing may take; else the file is written less often
FORMAT = 2  # of the file; a file of another format is refused
SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


class Stopped(KeyboardInterrupt):
    """
    A signal of that number stopped the run, and its state is written. The message says where.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


class Checkpointer:
    """
    Keeps the state of one training in the file `path`, and its log in log_path (JSON lines).

    settings: what must be the same for a resume, by its name for the user, beside the trainer's
    own settings. Values are numbers and text. every: seconds between two writes, at least.
    restart: start over, whatever the file holds.

    Of several processes that train together the first one reads and writes.
    """

    def __init__(
        self,
        path: str,
        settings: dict | None = None,
        log_path: str | None = None,
        every: float = 60,
        restart: bool = False,
    ):
        self.path, self.settings, self.log_path = path, settings or {}, log_path
        self.every, self.restart = every, restart
        self.first = True  # of the processes
        self.code = digest_of_code(Path(__file__).parents[1])  # before anybody edits it

    @contextlib.contextmanager
    def keeping(self, trainer) -> Iterator[None]:
        """While this lasts, a Trainer's state is kept. It starts where the file says, if any."""
        self.trainer, self.first = trainer, trainer.rank == 0
        self._stop = self._random_state = None
        self.identity = {**self.settings, **plain(trainer.identifying_settings())}
        with self._signals_noted():
            self._resume()
            yield
            if self._stop is not None:  # a signal in the last step
                self.after_step()
        if self.first:
            self._write_log()

    def restore_random_state(self) -> None:
        """To be called just before the first random number of the run is drawn."""
        if self._random_state is not None:
            set_random_state(self._random_state, self.trainer.device)
            self._random_state = None

    def after_step(self) -> None:
        """Writes the state if it is time. Raises Stopped after a signal."""
        if not self.first:
            return  # the others end with the first
        if self._stop is None and time.monotonic() < self._next:
            return
        self.trainer.read_figures()  # a loss that is not finite ends the run, unlike a full disk
        self.trainer.check_parameters()
        try:
            self._write()
        except InputError as error:
            if self._stop is not None:
                raise Stopped(f"{error}; the older state in it is kept", self._stop) from None
            # The run is worth more than its resume file, and there may be room again later.
            note(f"warning: {error}; the older state in it is kept, and the run continues")
        if self._stop is not None:
            raise Stopped(
                f"{self.path} holds the run up to {self.trainer.describe_position()}; "
                "the same command resumes",
                self._stop,
            )

    def remove(self) -> None:
        """To be called when the results are written and there is nothing left to resume."""
        if self.first:
            with contextlib.suppress(OSError):  # it may not be there, and it does no harm
                os.remove(self.path)

    def _resume(self):
        state = error = None
        if self.first:
            try:
                if os.path.exists(self.path) and not self.restart:
                    state = self._read()
                else:
                    self._write()  # a run that cannot be kept should end now, not in an hour
            except InputError as one:
                error = one
        if self.trainer.processes > 1:
            found = [state, error]
            dist.broadcast_object_list(found)
            state, error = found
        if error is not None:
            raise error
        if state is None:
            return
        try:
            self.trainer.load_state_dict(state["trainer"])
            set_random_state(state["random"], self.trainer.device)
        except Exception as error:  # of many classes: a resume file whose content is damaged
            raise InputError(
                f"{self.path}: not the resume file of such a run ({first_line(error)}); --restart "
                "starts over"
            ) from None
        self._random_state = state["random"]
        self._next = time.monotonic() + self.every
        if self.first:
            change = describe_change(state["conditions"], self._conditions())
            if change:
                note(
                    f"note: since {self.path} was written, {change}; the run resumes, but may not "
                    "end in the parameters of an uninterrupted one"
                )
            print(f"resuming {self.path} from {self.trainer.describe_position()}", flush=True)

    def _read(self):
        """The content of the file. Raises InputError if it is damaged or another run's."""
        advice = "--restart starts over"
        try:
            state = parse_tensors(read_bytes(self.path), self.path, "resume file")
        except InputError as error:
            raise InputError(f"{error}; {advice}") from None
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise InputError(f"{self.path}: not a resume file of this version; {advice}")
        change = describe_change(state["settings"], self.identity)
        if change:
            raise InputError(f"{self.path}: belongs to another run: {change}; {advice}")
        return state

    def _write(self):
        start = time.monotonic()
        state = {
            "format": FORMAT,
            "settings": self.identity,
            "conditions": self._conditions(),
            "trainer": self.trainer.state_dict(),
            "random": random_state(self.trainer.device),
        }
        try:
            write_tensors(self.path, state)
            self._write_log()
        finally:
            end = time.monotonic()
            self._next = end + max(self.every, (end - start) * (1 / LARGEST_SHARE - 1))

    def _write_log(self):
        if self.log_path is None or not self.trainer.log.records:
            return  # an earlier run's log stays until there is something to write
        try:
            write_lines(self.log_path, map(json.dumps, self.trainer.log.records))
        except InputError as error:
            note(f"warning: {error}; the run continues")

    def _conditions(self):
        """
        What may change between stop and resume; it changes roundings and dropout masks alone.
        """
        return {
            "device": self.trainer.device.type,
            "precision": str(self.trainer.precision).removeprefix("torch."),
            "micro_batch_size": self.trainer.config.micro_batch_size,
            "use of torch.compile": self.trainer.config.compile,
            "torch version": str(torch.__version__),
            "processor's instruction set": torch.backends.cpu.get_cpu_capability(),
            "number of threads": torch.get_num_threads(),
            "number of processes": rank_and_size()[1],
            "code": self.code,
        }

    @contextlib.contextmanager
    def _signals_noted(self):
        """
        The first signal is only noted, for after_step(); a second one acts as it always does.
        """
        before = {}

        def notice(number, frame):
            if self._stop is not None:
                restore_handlers()
                signal.raise_signal(number)
                return
            self._stop = number
            if self.first:
                # Not by print(), which may be what the signal has interrupted.
                with contextlib.suppress(OSError, ValueError):
                    os.write(
                        sys.stderr.fileno(), b"\nstopping after this step (once more: at once)\n"
                    )

        def restore_handlers():
            while before:
                signal.signal(*before.popitem())

        if threading.current_thread() is threading.main_thread():  # Python's rule for signals
            for number in SIGNALS:
                # Not those that nohup has the process ignore, and not those set outside Python.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, notice)
        try:
            yield
        finally:
            restore_handlers()


def plain(settings: dict) -> dict:
    """Settings as numbers and text, which weights_only reads and a message can show."""
    return {n: v if isinstance(v, int | float | None) else str(v) for n, v in settings.items()}


def random_state(device: torch.device) -> dict:
    """The state of Python's, numpy's and torch's global generators, in what weights_only reads."""
    _, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def set_random_state(state: dict, device: torch.device) -> None:
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])


def digest_of_code(folder: Path) -> str:
    """The digest of a folder's source files, those of its folders included."""
    return digest(b"".join(path.read_bytes() for path in sorted(folder.rglob("[!.]*.py"))))


def digest_of_state(state: dict[str, torch.Tensor]) -> str:
    """The digest of a state dict's names and numbers."""
    sha256 = hashlib.sha256()
    for name, tensor in state.items():
        sha256.update(name.encode("utf-8") + tensor.cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def describe_change(before: dict, now: dict) -> str:
    """
    What differs between two dicts: `the seed was 0 and is 1, the pretraining corpus is another`.
    """
    changes = []
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name), now.get(name)
        if old != new:
            is_digest = any(isinstance(value, str) and len(value) == 64 for value in (old, new))
            changes.append(
                f"the {name} is another" if is_digest else f"the {name} was {old} and is {new}"
            )
    return ", ".join(changes)
