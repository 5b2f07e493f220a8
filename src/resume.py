"""
Training that can be stopped and taken up again: the state of a run, kept in a file beside its results.

What the file holds, as torch.save writes it: the trainer's state (parameters, optimizer, position in data and schedule, log),
the state of the random number generators, and the settings of the run, by which another run's file is told apart. It is
written every so often, at Ctrl-C, and when the system asks the process to end.
"""
import contextlib
import hashlib
import json
import math
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from checkpoint import check_state, load_state, most_bytes, read_tensors, unwrap, write_tensors
from dataset import InputError
from files import write_atomically
from hardware import rank_and_size
from progress import note

LARGEST_SHARE = 0.02  # of the time of a run that writing may take; where it takes longer, the file is written less often
FORMAT = 1            # of the file; a file of another is refused
DIGEST = "sha256 "    # begins what is too long to be shown
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, by the signal of that number, and has written its state. The message says where it is."""

    def __init__(self, message, number):
        super().__init__(message)
        self.number = number


class Checkpointer:
    """
    Keeps the state of one training in the file `path` and its log in log_path (JSON lines), if given.

    settings: what must be the same for the run to go on, by its name for the user, beside what the trainer itself knows.
    Values are numbers and text; digest() is for what is long. every: seconds between two writings, at least. restart: begin anew,
    whatever the file holds.

    Of several processes that train together the first reads and writes.
    """

    def __init__(self, path, settings=None, log_path=None, every=60, restart=False):
        self.path, self.settings, self.log_path, self.every, self.restart = path, settings or {}, log_path, every, restart
        self.first = True  # of the processes

    @contextlib.contextmanager
    def keeping(self, trainer):
        """While this lasts, the trainer's state is kept. It begins where the file says, if there is one."""
        self.trainer, self.first, self._stop, self._random_state = trainer, trainer.rank == 0, None, None
        self.fixed = {**self.settings, **settings_of(trainer)}
        self._take_up()
        with self._signals_noted():
            yield
            if self._stop is not None:  # after the last step
                self.after_step()
        if self.first:
            self._write_log()

    def restore_random_state(self):
        """To be called where random numbers are next drawn, after all preparation that draws some itself."""
        if self._random_state is not None:
            set_random_state(self._random_state, self.trainer.device)
            self._random_state = None

    def after_step(self):
        """Writes the state if it is time. Raises Stopped after a signal."""
        if not self.first:
            return  # the others end with the first
        if self._stop is None and time.monotonic() < self._next:
            return
        self.trainer.check_parameters()
        if self._stop is not None:
            position = self.trainer.describe_position()
            try:
                self._write()
            except InputError as error:
                raise Stopped(f"{error}; what it held before is kept", self._stop) from None
            raise Stopped(f"{self.path} holds the run up to {position}; the same command goes on from there", self._stop)
        try:
            self._write()
        except InputError as error:  # the run is worth more than its resume file, and there may be room again later
            note(f"warning: {error}; what it held before is kept, and the run goes on")

    def remove(self):
        """To be called when the results are written and nothing is left to take up."""
        if self.first:
            with contextlib.suppress(OSError):  # it may not be there; to have it still does no harm
                os.remove(self.path)

    def _take_up(self):
        state = None
        if self.first and not self.restart and os.path.exists(self.path):
            state = self._read()
        if self.trainer.processes > 1:
            box = [state]
            dist.broadcast_object_list(box)
            state = box[0]
        if state is not None:
            try:
                restore(self.trainer, state["trainer"])
                set_random_state(state["random"], self.trainer.device)
            except Exception as error:  # of many classes: the file's form is right, its content is not
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"{self.path}: not the resume file of such a run ({reason}); --restart starts over") from None
            self._random_state = state["random"]
            self._next = time.monotonic() + self.every
            if self.first:
                self._note_changes(state["conditions"])
                print(f"resuming from {self.trainer.describe_position()}, as {self.path} has it", flush=True)
        elif self.first:
            self._write()  # at once: a run that cannot be kept is better ended now than when it would be needed

    def _read(self):
        """The content of the file. Raises InputError if it is damaged or another run's."""
        try:
            state = read_tensors(self.path, "resume file", 4 * most_bytes(self.trainer.model.state_dict()))
        except InputError as error:
            raise InputError(f"{error}; --restart starts over") from None
        parts = {"format": int, "settings": dict, "conditions": dict, "trainer": dict, "random": dict}
        if not (isinstance(state, dict) and all(isinstance(state.get(name), kind) for name, kind in parts.items())
                and all(isinstance(value, str | int | float | None)
                        for name in ("settings", "conditions") for value in state[name].values())):
            raise InputError(f"{self.path}: not a resume file; --restart starts over")
        if state["format"] != FORMAT:
            raise InputError(f"{self.path}: a resume file of format {state['format']}, not {FORMAT}; --restart starts over")
        difference = describe_change(state["settings"], self.fixed)
        if difference:
            raise InputError(f"{self.path}: belongs to another run: {difference}; --restart starts this one over, in its place")
        return state

    def _note_changes(self, conditions):
        difference = describe_change(conditions, conditions_of(self.trainer) | machine())
        if difference:
            note(f"note: since {self.path} was written, {difference}; the run goes on, but may not end in the parameters of one "
                  "without interruption")

    def _write(self):
        start = time.monotonic()
        state = {"format": FORMAT, "settings": self.fixed, "conditions": conditions_of(self.trainer) | machine(),
                 "trainer": state_of(self.trainer), "random": random_state(self.trainer.device)}
        try:
            write_tensors(self.path, state)
            self._write_log()
        finally:
            end = time.monotonic()
            self._next = end + max(self.every, (end - start) * (1 / LARGEST_SHARE - 1))

    def _write_log(self):
        if self.log_path is None:
            return
        lines = "".join(json.dumps(record) + "\n" for record in self.trainer.log.records)
        try:
            write_atomically(self.log_path, lambda file: file.write(lines.encode("ascii")))
        except InputError as error:
            note(f"warning: {error}; the run goes on")

    @contextlib.contextmanager
    def _signals_noted(self):
        """While this lasts, the first signal to stop is only noted, for after_step(); a second one acts as it always does."""
        before = {}

        def notice(number, frame):
            self._stop = number
            if self.first:
                with contextlib.suppress(OSError, ValueError):  # not by print(), which may be what the signal has interrupted
                    os.write(sys.stderr.fileno(), b"\nstopping after this step (once more: at once)\n")
            restore()

        def restore():
            while before:
                signal.signal(*before.popitem())

        if threading.current_thread() is threading.main_thread():  # only there can signals be handled
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup has it; not Python's own
                    before[number] = signal.signal(number, notice)
        try:
            yield
        finally:
            restore()


def state_of(trainer):
    """Where a trainer is: all that it takes to go on from here. The learning rate follows from the tokens."""
    return {"model": unwrap(trainer.model).state_dict(), "optimizer": trainer.optimizer.state_dict()["state"], "epoch": trainer.epoch,
            "step": trainer.step, "tokens": trainer.tokens, "best_loss": trainer.best_loss, "log": trainer.log.state_dict()}


def restore(trainer, state):
    """
    Puts a trainer where state_of() was taken. Raises an error, not always an InputError, if the state cannot be one of this
    training; the trainer is then of no more use.
    """
    epoch, step, tokens, best_loss = (state[name] for name in ("epoch", "step", "tokens", "best_loss"))
    if not (type(epoch) is type(step) is int and 0 <= epoch <= trainer.config.max_epochs and 0 <= step <= trainer.steps_per_epoch
            and not (epoch == trainer.config.max_epochs and step > 0)):
        raise InputError("there is no such epoch or step")
    if not (type(tokens) is int and tokens >= 0 and type(best_loss) is float and not math.isnan(best_loss)):
        raise InputError("no number of tokens or no loss")
    load_state(trainer.model, state["model"])
    trainer.epoch, trainer.step, trainer.tokens, trainer.best_loss = epoch, step, tokens, best_loss
    taken = epoch * trainer.steps_per_epoch + step
    load_optimizer_state(trainer.optimizer, state["optimizer"], taken)
    if tokens > 0:
        trainer.set_rate()
    trainer.log.load_state_dict(state["log"])
    if any(record["step"] > taken or record["epoch"] != math.ceil(record["step"] / trainer.steps_per_epoch)
           for record in trainer.log.records):
        raise InputError("the log has steps that were not taken")


def load_optimizer_state(optimizer, state, steps):
    """AdamW's two averages and number of steps, at most `steps`, for each parameter that it has stepped."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if steps > 0 and not state:
        raise InputError("the optimizer has taken no step")
    loaded = {}
    for number, averages in state.items():
        if not (type(number) is int and 0 <= number < len(parameters)):
            raise InputError("the optimizer has stepped an unknown parameter")
        # torch checks no sizes here, and its fused AdamW would read and write beyond the end of what is too small.
        check_state(averages, {"step": torch.zeros(()), "exp_avg": parameters[number], "exp_avg_sq": parameters[number]})
        if not 0 <= averages["step"] <= steps:
            raise InputError(f"the optimizer has taken {averages['step']:g} of {steps} steps")
        # Copied, since a file's tensor may show the same few bytes over and over.
        loaded[number] = {"step": averages["step"].float().clone()} | {
            name: torch.empty_like(parameters[number]).copy_(averages[name]) for name in ("exp_avg", "exp_avg_sq")}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": loaded})


def settings_of(trainer):
    """What a run must have in common with an earlier one to go on from its state, by its name for the user."""
    names = ["seed", "max_epochs", "batch_size", "learning_rate", "betas", "grad_norm_clip", "weight_decay", "lr_decay",
             "warmup_tokens", "final_tokens"]
    values = {name: getattr(trainer.config, name) for name in names}
    return {**values, "betas": str(values["betas"]), "number of training items": len(trainer.train_dataset)}


def conditions_of(trainer):
    """What may change without harm, but for roundings and dropout masks."""
    return {"device": trainer.device.type, "precision": str(trainer.precision).removeprefix("torch."),
            "micro_batch_size": trainer.config.micro_batch_size}


def random_state(device):
    """The state of Python's, numpy's and torch's global generators, the device's among them, in what weights_only reads."""
    _, keys, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
            "torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None}


def set_random_state(state, device):
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


def machine():
    """What may change the roundings of a run, by its name for the user."""
    return {"torch version": str(torch.__version__), "processor's instruction set": torch.backends.cpu.get_cpu_capability(),
            "number of threads": torch.get_num_threads(), "number of processes": rank_and_size()[1],
            "code": CODE}


def digest_of_code(folder):
    """The digest of a folder's source files."""
    return digest(b"".join(path.read_bytes() for path in sorted(folder.glob("[!.]*.py")) if path.is_file()))


def digest(content):
    """What tells these bytes from all others, in a line."""
    return DIGEST + hashlib.sha256(content).hexdigest()


def digest_of_state(state):
    """The digest of a state dict's names and numbers."""
    return digest(b"".join(name.encode("utf-8") + tensor.cpu().contiguous().numpy().tobytes() for name, tensor in state.items()))


def describe_change(before, now):
    """What differs between two dicts of settings, for people: `the seed was 0 and is 1, the corpus is another`."""
    changes = []
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name), now.get(name)
        if old != new:
            is_long = any(isinstance(value, str) and value.startswith(DIGEST) for value in (old, new))
            changes.append(f"the {name} is another" if is_long else f"the {str(name):.40} was {str(old):.40} and is {new}")
    return ", ".join(changes)


CODE = digest_of_code(Path(__file__).parent)  # as it was when this process began with it
