"""
A training loop, after minGPT's: model and datasets in, trained parameters out. It knows nothing of GPT, places or text.

A model is called as model(x, y) and returns (anything, mean loss over the targets that are not 0); it is causal, so that what
follows a row's last target does not matter. One with packs_and_caches is called with loss_only=True as well, to save itself
the rest. A dataset may have at_epoch(seed, epoch), which returns the dataset as that epoch sees it; a run is then the same
every time, and its data at any epoch can be had without the epochs before.

Under torchrun several processes train together, each on its share of every batch's rows: hardware.process_group.
"""
import contextlib
import math

import torch
from torch.utils.data import DataLoader, Subset

from checkpoint import save_params, unwrap
from dataset import InputError
from gradients import BatchGradient
from hardware import choose_device, choose_precision, rank_and_size
from progress import LossLog, Progress


class TrainerConfig:
    """The settings of a run; each can be given as a keyword. Raises TypeError for one that does not exist."""

    max_epochs = 10
    batch_size = 64
    learning_rate = 3e-4      # the peak, of AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101)
    betas = (0.9, 0.95)
    grad_norm_clip = 1.0      # gradients are scaled down to this norm over all parameters
    weight_decay = 0.1        # on all parameters but those whose name holds "bias"
    lr_decay = False          # the schedule of learning_rate_factor(), or the peak throughout
    warmup_tokens = 375e6     # target positions, PAD included, until the peak is reached
    final_tokens = 260e9      # and until the rate has first fallen to the bottom of the cosine
    ckpt_path = None          # where save_checkpoint() writes the parameters
    num_workers = 0           # processes that load data; datasets that give whole batches at once need none
    writer = None             # a TensorBoard SummaryWriter, which gets train/loss and train/lr
    checkpointer = None       # a resume.Checkpointer, with which a run that was stopped goes on where it was
    seed = None               # of data and dropout; None draws afresh
    device = None             # a torch device or its name; None takes CUDA where there is one
    precision = "float32"     # of matrix products: "float32", "bfloat16", or "auto" for what is fastest; all else is in float32
    micro_batch_size = None   # rows that go through the model at once, for a small GPU; the result is the same

    def __init__(self, **kwargs):
        for name, value in kwargs.items():
            if name.startswith("_") or not hasattr(TrainerConfig, name):
                known = ", ".join(name for name in vars(TrainerConfig) if not name.startswith("_"))
                raise TypeError(f"TrainerConfig: there is no setting {name!r}; there are {known}")
            setattr(self, name, value)


class Trainer:
    """
    Trains `model` on `train_dataset` with the settings of `config`. Moves the model to the device.

    If there is a test_dataset, its loss is measured after each epoch, and the checkpoint is kept at the lowest one;
    without it, the checkpoint is the last epoch's.
    """

    def __init__(self, model, train_dataset, test_dataset, config):
        self.train_dataset = train_dataset
        self.test_dataset = test_dataset
        self.config = config
        self.device = torch.device(config.device or choose_device())
        self.precision = choose_precision(config.precision, self.device)
        self.rank, self.processes = rank_and_size()
        if self.processes > 1 and config.seed is None:
            raise ValueError("TrainerConfig: processes that train together need a seed, to draw the same batches")
        self.tokens = 0  # target positions seen so far, the clock of the learning rate
        self.model = model.to(self.device)

    def _begin(self):
        self.epoch, self.step = 0, 0  # how many epochs are complete, and how many steps of the one after them
        self.steps_per_epoch = math.ceil(len(self.train_dataset) / self.config.batch_size)
        self.tokens = 0
        self.best_loss = math.inf
        self.log = LossLog()
        self.optimizer = make_optimizer(self.model, self.config)

    def save_checkpoint(self):
        """Writes the model's parameters to config.ckpt_path, if there is one."""
        if self.config.ckpt_path is not None and self.rank == 0:
            save_params(self.model, self.config.ckpt_path)

    def train(self):
        """
        Trains for config.max_epochs. Raises InputError if the memory of a GPU does not suffice, or if loss, gradient or
        parameters are no longer finite; resume.Stopped after a signal, if there is a checkpointer.
        """
        config = self.config
        self._begin()
        checkpointer = config.checkpointer or NoCheckpointer()
        gradient = BatchGradient(self.model, self.device, self.precision, config.micro_batch_size)
        with self._advice_on_memory(), gradient, checkpointer.keeping(self), self._progress() as progress:
            while self.epoch < config.max_epochs:
                self._train_epoch(gradient, progress, checkpointer)
                self.check_parameters()
                test_loss = self._test_loss(gradient) if self.test_dataset is not None else None
                if test_loss is None:
                    self.save_checkpoint()
                elif test_loss < self.best_loss:
                    self.best_loss = test_loss
                    self.save_checkpoint()
                self.epoch, self.step = self.epoch + 1, 0

    def _train_epoch(self, gradient, progress, checkpointer):
        config = self.config
        self.model.train()
        batches = iter(self._batches(self.train_dataset, self.epoch, self.step))
        checkpointer.restore_random_state()  # to begin to iterate has drawn from it
        for x, y in batches:
            loss = gradient(x, y, *(() if config.seed is None else (config.seed, self.epoch, self.step))).item()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_norm_clip).item()
            self._check_finite(loss=loss, gradient=norm)
            self.optimizer.step()
            self.step += 1

            # As in minGPT, the rate after this batch's tokens holds from the next batch on: the first takes the peak.
            self.tokens += y.numel()
            rate = self.set_rate()
            progress.advance(self.epoch + 1, loss, rate)
            self.log.add(progress.step, self.epoch + 1, loss, rate, is_last=progress.step == progress.steps)
            if config.writer is not None:
                config.writer.add_scalar("train/loss", loss, progress.step)
                config.writer.add_scalar("train/lr", rate, progress.step)
            checkpointer.after_step()

    def set_rate(self):
        """Gives the optimizer the learning rate for the tokens seen so far. Returns it."""
        config, rate = self.config, self.config.learning_rate
        if config.lr_decay:
            rate *= learning_rate_factor(self.tokens, config.warmup_tokens, config.final_tokens)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _progress(self):
        first_step = self.epoch * self.steps_per_epoch + self.step
        return Progress(self.steps_per_epoch * self.config.max_epochs, self.config.max_epochs, first_step, quiet=self.rank > 0)

    def describe_position(self):
        done = self.epoch == self.config.max_epochs
        return f"epoch {self.epoch + (not done)} step {self.steps_per_epoch if done else self.step} of {self.steps_per_epoch}"

    def _check_finite(self, **figures):
        """Raises InputError if one of a step's figures is no finite number, before the step changes a parameter."""
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise InputError(f"the {name} is not finite ({figure}) in epoch {self.epoch + 1} step {self.step + 1}; the run stops "
                                 f"with the parameters of the step before. {self._advice_on_numbers()}")

    def check_parameters(self):
        """Raises InputError if a parameter is no longer finite, so that it is not written anywhere."""
        for name, parameter in unwrap(self.model).named_parameters():
            if not torch.isfinite(parameter).all():
                raise InputError(f"{name} is not finite after {self.describe_position()}; nothing of it is written. "
                                 f"{self._advice_on_numbers()}")

    def _advice_on_numbers(self):
        return f"Try {'' if self.precision == torch.float32 else '--precision float32, '}a lower learning rate or another seed"

    @contextlib.contextmanager
    def _advice_on_memory(self):
        """Turns a GPU's lack of memory into an InputError that says what to try."""
        try:
            yield
        except torch.OutOfMemoryError:
            rows = self.config.micro_batch_size or -(-self.config.batch_size // self.processes)
            advice = f"try --micro_batch_size {2 ** ((rows - 1).bit_length() - 1)}, with the same result" if rows > 1 else (
                "and less than one cannot be tried; --device cpu will do")
            raise InputError(f"{self.device} is out of memory with {rows} rows at once; {advice}") from None

    @torch.no_grad()
    def _test_loss(self, gradient):
        """The mean over batches of the test loss, in nats."""
        self.model.eval()
        losses = [gradient.loss(x, y).item() for x, y in self._batches(self.test_dataset, 0)]
        mean = sum(losses) / len(losses)
        self._check_finite(**{"test loss": mean})
        return mean

    def _batches(self, dataset, epoch, first=0):
        """The batches of one epoch from number `first` on, in the dataset's order; the last may be smaller."""
        if self.config.seed is not None and hasattr(dataset, "at_epoch"):
            dataset = dataset.at_epoch(self.config.seed, epoch)
        # To start worker processes for every epoch costs more than a dataset that gives whole batches takes to make them.
        workers = 0 if hasattr(dataset, "__getitems__") else self.config.num_workers
        if first:
            dataset = Subset(dataset, range(first * self.config.batch_size, len(dataset)))
        return DataLoader(dataset, batch_size=self.config.batch_size, num_workers=workers,
                          pin_memory=self.device.type == "cuda")


class NoCheckpointer:
    """Stands for a resume.Checkpointer where nothing is kept."""

    def keeping(self, trainer):
        return contextlib.nullcontext()

    def restore_random_state(self):
        pass

    def after_step(self):
        pass


def learning_rate_factor(tokens, warmup_tokens, final_tokens):
    """
    The share of the peak rate after `tokens` target positions (PAD included): linear from 0 until warmup_tokens, then
    max(0.1, (1 + cos(π p)) / 2) with p = (tokens - warmup) / (final - warmup).

    p is not held at 1: in a run longer than final_tokens the rate rises again, to the peak at p = 2, and falls once more.
    Pretraining by the course's recipe goes to p ≈ 3.2.
    """
    if tokens < warmup_tokens:
        return tokens / max(1, warmup_tokens)
    p = (tokens - warmup_tokens) / max(1, final_tokens - warmup_tokens)
    return max(0.1, 0.5 * (1.0 + math.cos(math.pi * p)))


def make_optimizer(model, config):
    """AdamW; parameters with "bias" in their name are not decayed, all others are, as in the course's code."""
    named = list(unwrap(model).named_parameters())
    groups = [
        {"params": [p for name, p in named if "bias" not in name], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
