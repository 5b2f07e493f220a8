"""
A training loop, after minGPT's: model and datasets in, trained parameters out. It knows nothing of
GPT, places, text or the command line.

A model is called as model(x, y) and returns (anything, mean loss over the targets that are not 0).
It is causal, so what follows a row's last target does not matter. One with supports_packing is
called as model(ids, rows, loss_only=True) instead, with a fast.packing.PackedRows. A dataset may
have at_epoch(seed, epoch), which returns the dataset as that epoch sees it; a run is then the same
every time, and the data of any epoch can be had without the epochs before.

Under torchrun several processes train together, each on its share of every batch's rows
(runs/distributed.py).
"""

import contextlib
import math
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset, Subset

from fast.gradients import BatchGradient
from fast.packing import count_targets
from muon import Muon
from runs.checkpoint import check_state, save_params, unwrap
from runs.device import PRECISIONS, check_compiler, choose_device, choose_precision, first_line
from runs.distributed import rank_and_size
from runs.files import check_output
from runs.inputs import InputError
from runs.progress import LossLog, Progress
from runs.resume import Checkpointer

# Every how many steps loss and norm are read from the device; elsewhere every ten: on a GPU,
# reading waits for all that it still has to do.
STEPS_TO_READ = {"cpu": 1}

# Where a Trainer is: complete epochs, steps of the one after them, target positions seen, and the
# lowest test loss.
POSITION = ("epoch", "step", "tokens", "best_loss")


class NotFiniteError(InputError):
    """A loss, a gradient or a parameter is no finite number; training cannot go on."""


class OutOfMemoryError(InputError):
    """The device's memory does not suffice. rows: how many rows of a batch it held at once."""

    def __init__(self, message: str, rows: int):
        super().__init__(message)
        self.rows = rows


# What numbers a setting may have: their kind, the least and the largest.
RANGES = {
    "max_epochs": (Integral, 1, math.inf),
    "batch_size": (Integral, 1, math.inf),
    "micro_batch_size": (Integral, 1, math.inf),
    "num_workers": (Integral, 0, math.inf),
    "seed": (Integral, 0, 2**32 - 1),
    "learning_rate": (Real, 0, 1e300),
    "grad_norm_clip": (Real, 0, math.inf),
    "weight_decay": (Real, 0, 1e300),
    "warmup_tokens": (Real, 0, math.inf),
    "final_tokens": (Real, 0, math.inf),
}


def may_change(default: Any) -> Any:
    """A setting of TrainerConfig that may change when a run is resumed: it is not the run's."""
    return field(default=default, metadata={"identifies_run": False})


@dataclass(kw_only=True)
class TrainerConfig:
    """
    The settings of a run. All but those marked may_change() identify it: a resume with another
    value is refused. Raises TypeError for a setting that does not exist and ValueError for one out
    of range, at construction and at every later assignment.
    """

    max_epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"  # (Loshchilov & Hutter 2019, arXiv:1711.05101), or "muon": muon.py
    learning_rate: float = 3e-4  # the peak
    betas: tuple[float, float] = (0.9, 0.95)
    grad_norm_clip: float = 1.0  # gradients are scaled down to this norm over all parameters
    weight_decay: float = 0.1  # on all parameters but those whose name holds "bias"
    lr_decay: bool = False  # learning_rate_factor() over the run, or the peak throughout
    warmup_tokens: float = 375e6  # target positions, PAD included, until the peak
    final_tokens: float = 260e9  # and until the bottom of the cosine
    ckpt_path: str | None = may_change(None)  # where save_checkpoint() writes the parameters
    num_workers: int = may_change(0)  # processes that load data, where it is not in whole batches
    writer: Any = may_change(None)  # a TensorBoard SummaryWriter, for train/loss and train/lr
    seed: int | None = None  # of data and dropout; None draws afresh
    device: Any = may_change(None)  # a torch device or its name; None: a GPU, or else the CPU
    precision: str = may_change("float32")  # of matmuls: "float32", "bfloat16", or "auto"
    micro_batch_size: int | None = may_change(None)  # rows in the model at once; saves memory
    compile: bool = may_change(False)  # by torch.compile, for a GPU

    def __setattr__(self, name, value):
        if name not in self.__dataclass_fields__:
            known = ", ".join(self.__dataclass_fields__)
            raise TypeError(f"TrainerConfig: there is no setting {name!r}; there are {known}")
        optional = value is None and self.__dataclass_fields__[name].default is None
        if name in RANGES and not optional:
            kind, least, most = RANGES[name]
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number or not least <= float(value) <= most:
                what = "whole number" if kind is Integral else "number"
                raise ValueError(
                    f"TrainerConfig: {name} is {value!r}; a {what} from {least} to {most} is "
                    "expected"
                )
        if name == "precision" and value not in ("auto", *PRECISIONS):
            known = ", ".join(("auto", *PRECISIONS))
            raise ValueError(f"TrainerConfig: precision is {value!r}; there are {known}")
        if name == "optimizer" and value not in ("adamw", "muon"):
            raise ValueError(f"TrainerConfig: optimizer is {value!r}; there are adamw, muon")
        super().__setattr__(name, value)

    def __init_subclass__(cls):
        """A subclass may set defaults as class attributes, as minGPT's users write them."""
        defaults = {
            n: v for n, v in vars(cls).items() if n[0] != "_" and not hasattr(v, "__get__")
        }
        own_init = cls.__init__

        def __init__(self, **settings):
            own_init(self, **{**defaults, **settings})

        cls.__init__ = __init__

    @classmethod
    def of(cls, config: Any) -> "TrainerConfig":
        """A TrainerConfig with the settings of another object, such as the course's own one."""
        if isinstance(config, TrainerConfig):
            return config
        names = [setting.name for setting in fields(cls) if hasattr(config, setting.name)]
        if not names:
            raise TypeError(f"a TrainerConfig is expected, not a {type(config).__name__}")
        return cls(**{name: getattr(config, name) for name in names})


class Trainer:
    """
    Trains `model` on `train_dataset` with the settings of `config`. Moves the model to the device.

    With a test_dataset, its loss is measured after each epoch, and the checkpoint is that of the
    lowest one; without it, the checkpoint is the last epoch's.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset,
        test_dataset: Dataset | None,
        config: TrainerConfig,
    ):
        self.train_dataset = train_dataset
        self.test_dataset = test_dataset
        self.config = config = TrainerConfig.of(config)
        for name, dataset in (("train_dataset", train_dataset), ("test_dataset", test_dataset)):
            if dataset is not None and len(dataset) == 0:
                raise ValueError(f"Trainer: the {name} is empty")
        if config.ckpt_path is not None:
            check_output(config.ckpt_path)
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        if config.compile:
            check_compiler(self.device)
        self.rank, self.processes = rank_and_size()
        if self.processes > 1 and config.seed is None:
            raise ValueError(
                "TrainerConfig: several processes need a seed, to draw the same batches"
            )
        self.model = model.to(self.device)

    def _begin(self):
        self.epoch, self.step = 0, 0  # complete epochs, and steps of the one after them
        self.steps_per_epoch = math.ceil(len(self.train_dataset) / self.config.batch_size)
        self.tokens = 0  # target positions seen so far, the clock of the learning rate
        self.best_loss = math.inf
        self.log = LossLog()
        self.optimizer = make_optimizer(self.model, self.config, self.precision)
        self.optimizer.found_inf = torch.zeros((), device=self.device)
        self.unread = []  # figures of steps that are still on the device

    def save_checkpoint(self) -> None:
        """Writes the model's parameters to config.ckpt_path, if there is one."""
        if self.config.ckpt_path is not None and self.rank == 0:
            save_params(self.model, self.config.ckpt_path)

    def train(self, checkpointer: Checkpointer | None = None) -> None:
        """
        Trains for config.max_epochs. With a checkpointer the run can be stopped and resumed.

        Raises NotFiniteError, before a step that would spoil the parameters; OutOfMemoryError; and
        after a signal, with a checkpointer, runs.resume.Stopped.
        """
        config = self.config
        self._begin()
        gradient = BatchGradient(
            self.model, self.device, self.precision, config.micro_batch_size, config.compile
        )
        with (
            self._one_line_errors(),
            gradient,
            checkpointer.keeping(self) if checkpointer else contextlib.nullcontext(),
            self._progress() as progress,
        ):
            self.progress = progress
            while self.epoch < config.max_epochs:
                self._train_epoch(gradient, checkpointer)
                self.check_parameters()
                if self.test_dataset is None:
                    self.save_checkpoint()
                else:
                    test_loss = self._test_loss(gradient)
                    self._tell_test_loss(test_loss, progress)
                    if test_loss < self.best_loss:
                        self.best_loss = test_loss
                        self.save_checkpoint()
                self.epoch, self.step = self.epoch + 1, 0

    def _train_epoch(self, gradient, checkpointer):
        config = self.config
        self.model.train()
        batches = iter(self._batches(self.train_dataset, self.epoch, self.step))
        if checkpointer:
            checkpointer.restore_random_state()  # iter() has drawn a random number
        for x, y in batches:
            seed = () if config.seed is None else (config.seed, self.epoch, self.step)
            loss = gradient.backward(x, y, *seed)
            norm = torch.nn.utils.clip_grad_norm_(gradient.parameters, config.grad_norm_clip)
            self._take_step(loss, norm)
            self.step += 1

            # As in minGPT, the rate after this batch holds from the next one on: the first batch
            # takes the peak.
            self.tokens += y.numel()
            self.unread.append((self.step, loss, norm, self.set_rate()))
            if len(self.unread) == STEPS_TO_READ.get(self.device.type, 10):
                self.read_figures()
            if checkpointer:
                checkpointer.after_step()
        self.read_figures()

    def _take_step(self, loss, norm):
        """
        The optimizer's step; after a loss or a gradient that is not finite it changes nothing, and
        nor does any later one. The device decides that without the CPU.
        """
        not_finite = ~(loss.isfinite() & norm.isfinite())
        self.optimizer.found_inf = torch.maximum(self.optimizer.found_inf, not_finite.float())
        self.optimizer.step()

    def read_figures(self) -> None:
        """
        Reads loss and norm of the steps since the last reading, shows and logs them. Raises
        NotFiniteError for one that is not finite.
        """
        unread, self.unread = self.unread, []
        for step, loss, norm, rate in unread:
            loss, progress, writer = loss.item(), self.progress, self.config.writer
            self._check_finite("loss", loss, step)
            self._check_finite("gradient", norm.item(), step)
            progress.advance(self.epoch + 1, loss, rate)
            is_last = progress.step == progress.steps
            self.log.add(progress.step, self.epoch + 1, loss, rate, is_last)
            if writer is not None:
                writer.add_scalar("train/loss", loss, progress.step)
                writer.add_scalar("train/lr", rate, progress.step)

    def set_rate(self) -> float:
        """Gives the optimizer the learning rate for the tokens seen so far. Returns it."""
        config, rate = self.config, self.config.learning_rate
        if config.lr_decay:
            rate *= learning_rate_factor(self.tokens, config.warmup_tokens, config.final_tokens)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def identifying_settings(self) -> dict[str, Any]:
        """What a resume must find unchanged, by name."""
        settings = {
            setting.name: getattr(self.config, setting.name)
            for setting in fields(TrainerConfig)
            if setting.metadata.get("identifies_run", True)
        }
        return {**settings, "number of training items": len(self.train_dataset)}

    def state_dict(self) -> dict[str, Any]:
        """
        What it takes to resume. The learning rate follows from the tokens. Raises NotFiniteError.
        """
        self.read_figures()
        return {
            "model": unwrap(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "log": self.log.state_dict(),
            **{name: getattr(self, name) for name in POSITION},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Goes where state_dict() was taken. Raises an error of any class if the state cannot be one
        of this training; the trainer is then of no more use.
        """
        model = unwrap(self.model)
        check_state(state["model"], model.state_dict())
        # torch checks no sizes here, and its fused AdamW would write beyond a small tensor's end.
        kept = []
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                averages = ("momentum",) if group.get("muon") else ("exp_avg", "exp_avg_sq")
                kept.append({"step": torch.zeros(())} | dict.fromkeys(averages, p))
        for number, averages in state["optimizer"].items():
            check_state(averages, kept[number])
        model.load_state_dict(state["model"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        self.log.load_state_dict(state["log"])
        for name in POSITION:
            setattr(self, name, state[name])
        if self.tokens > 0:
            self.set_rate()

    def _progress(self):
        epochs = self.config.max_epochs
        first_step = self.epoch * self.steps_per_epoch + self.step
        return Progress(self.steps_per_epoch * epochs, epochs, first_step, quiet=self.rank > 0)

    def describe_position(self) -> str:
        done = self.epoch == self.config.max_epochs
        step = self.steps_per_epoch if done else self.step
        return f"epoch {self.epoch + (not done)} step {step} of {self.steps_per_epoch}"

    def _check_finite(self, name, figure, step):
        if not math.isfinite(figure):
            raise NotFiniteError(
                f"the {name} is not finite ({figure}) in epoch {self.epoch + 1} step {step}; the "
                "run stops"
            )

    def check_parameters(self) -> None:
        """Raises NotFiniteError if a parameter is not finite, so that it is written nowhere."""
        for name, parameter in unwrap(self.model).named_parameters():
            if not torch.isfinite(parameter).all():
                raise NotFiniteError(
                    f"{name} is not finite after {self.describe_position()}; it is not written"
                )

    @contextlib.contextmanager
    def _one_line_errors(self):
        try:
            yield
        except RuntimeError as error:
            if self.config.compile and type(error).__module__.startswith("torch._"):
                raise InputError(f"torch.compile has failed: {first_line(error)}") from None
            # On a Mac it is a plain RuntimeError ("MPS backend out of memory").
            if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
                raise
            rows = self.config.micro_batch_size
            rows = rows or math.ceil(self.config.batch_size / self.processes)
            raise OutOfMemoryError(
                f"{self.device} is out of memory with {rows} rows of a batch at once", rows
            ) from None

    @torch.no_grad()
    def _test_loss(self, gradient) -> float:
        """The mean over batches of the test loss, in nats; 0 if no batch has a target."""
        self.model.eval()
        batches = self._batches(self.test_dataset, 0)
        losses = [gradient.loss(x, y).item() for x, y in batches if count_targets(y)]
        mean = sum(losses) / max(1, len(losses))
        self._check_finite("test loss", mean, self.step)
        return mean

    def _tell_test_loss(self, test_loss, progress):
        epoch, epochs = self.epoch + 1, self.config.max_epochs
        progress.message(f"epoch {epoch}/{epochs}: test loss {test_loss:.4f}")
        self.log.add_test_loss(progress.step, epoch, test_loss)
        if self.config.writer is not None:
            self.config.writer.add_scalar("test/loss", test_loss, progress.step)

    def _batches(self, dataset, epoch, first=0):
        """The batches of an epoch from number `first` on, in the dataset's order."""
        config = self.config
        if config.seed is not None and hasattr(dataset, "at_epoch"):
            dataset = dataset.at_epoch(config.seed, epoch)
        # A dataset that makes whole batches takes less time than to start workers in every epoch.
        workers = 0 if hasattr(dataset, "__getitems__") else config.num_workers
        if first:
            dataset = Subset(dataset, range(first * config.batch_size, len(dataset)))
        return DataLoader(dataset, batch_size=config.batch_size, num_workers=workers)


def learning_rate_factor(tokens: float, warmup_tokens: float, final_tokens: float) -> float:
    """
    The share of the peak rate after `tokens` target positions (PAD included): linear from 0 until
    warmup_tokens, then max(0.1, (1 + cos(π p)) / 2) with p = (tokens - warmup) / (final - warmup).

    p is not clamped at 1. In a run longer than final_tokens the rate rises again, to the peak at
    p = 2, and falls once more. Pretraining by the course's recipe goes to p ≈ 3.2.
    """
    if tokens < warmup_tokens:
        return tokens / max(1, warmup_tokens)
    p = (tokens - warmup_tokens) / max(1, final_tokens - warmup_tokens)
    return max(0.1, 0.5 * (1.0 + math.cos(math.pi * p)))


def make_optimizer(
    model: nn.Module, config: TrainerConfig, precision: torch.dtype = torch.float32
) -> torch.optim.Optimizer:
    """
    AdamW; all parameters are decayed but those with "bias" in their name, as in the course's code.
    With config.optimizer = "muon", Muon takes the weights of all linear layers but the last, with
    matmuls in `precision`.
    """
    model, matrices = unwrap(model), set()
    if config.optimizer == "muon":
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        matrices = {module.weight for module in linear[:-1]}
    named = [(name, p) for name, p in model.named_parameters() if p not in matrices]
    decay = {"weight_decay": config.weight_decay}
    groups = [
        {"params": [p for name, p in named if "bias" not in name], **decay},
        {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
    ]
    settings = {"lr": config.learning_rate, "betas": config.betas, "fused": True}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **settings)
    matrices = [p for p in model.parameters() if p in matrices]
    return Muon([*groups, {"params": matrices, **decay, "muon": True}], precision, **settings)
