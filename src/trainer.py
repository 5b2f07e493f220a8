"""
A training loop, after minGPT's: model and datasets in, trained parameters out. It knows nothing of GPT, places or text.

A model is called as model(x, y) and returns (anything, mean loss over the targets that are not 0); it is causal, so that what
follows a row's last target does not matter. A dataset may have
at_epoch(seed, epoch), which returns the dataset as that epoch sees it; a run is then the same every time, and its data
at any epoch can be had without the epochs before.
"""
import math

import numpy as np
import torch
from torch.utils.data import DataLoader

from checkpoint import save_params, unwrap
from progress import Progress

IGNORED_TARGET = 0  # positions with this target add nothing to the loss

# A batch of ragged rows goes through the model in so many parts of similar length, each cropped to its longest row; the
# sum of their gradients is the batch's. On a CPU that saves nearly half of the work; a GPU prefers one large part.
LENGTH_GROUPS = {"cpu": 4}
SMALLEST_GROUP = 32  # rows; below that the overhead of a pass weighs more


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
    seed = None               # of data and dropout; None draws afresh
    device = None             # a torch device or its name; None takes CUDA where there is one

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
        self.device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokens = 0  # target positions seen so far, the clock of the learning rate
        self.model = model.to(self.device)

    def save_checkpoint(self):
        """Writes the model's parameters to config.ckpt_path, if there is one."""
        if self.config.ckpt_path is not None:
            save_params(self.model, self.config.ckpt_path)

    def train(self):
        """Trains for config.max_epochs."""
        config = self.config
        self.tokens = 0
        optimizer = make_optimizer(self.model, config)
        steps = math.ceil(len(self.train_dataset) / config.batch_size) * config.max_epochs
        best_loss = math.inf
        with Progress(steps, config.max_epochs) as progress:
            for epoch in range(config.max_epochs):
                self._train_epoch(epoch, optimizer, progress)
                test_loss = self._test_loss() if self.test_dataset is not None else None
                if test_loss is None:
                    self.save_checkpoint()
                elif test_loss < best_loss:
                    best_loss = test_loss
                    self.save_checkpoint()

    def _train_epoch(self, epoch, optimizer, progress):
        config = self.config
        if config.seed is not None:
            # Dropout too depends on seed and epoch alone. Mixed into 32 bits, since torch's CPU generator takes no more.
            torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0]))
        self.model.train()
        for x, y in self._batches(self.train_dataset, epoch):
            self.model.zero_grad(set_to_none=True)
            loss = self._backward(x, y)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_norm_clip)
            optimizer.step()

            # As in minGPT, the rate after this batch's tokens holds from the next batch on: the first takes the peak.
            rate = config.learning_rate
            if config.lr_decay:
                self.tokens += y.numel()
                rate *= learning_rate_factor(self.tokens, config.warmup_tokens, config.final_tokens)
                for group in optimizer.param_groups:
                    group["lr"] = rate
            shown = loss.item() if progress.wants_figures() or config.writer is not None else None
            progress.advance(epoch + 1, shown, rate)
            if config.writer is not None:
                config.writer.add_scalar("train/loss", shown, progress.step)
                config.writer.add_scalar("train/lr", rate, progress.step)

    def _backward(self, x, y):
        """Adds the gradients of the batch's mean loss to the parameters. Returns that loss, a tensor without gradient."""
        targets = count_targets(y)
        total = torch.zeros((), device=self.device)
        for rows in group_by_length(y, LENGTH_GROUPS.get(self.device.type, 1)):
            part_x, part_y = crop_padding(x[rows], y[rows])
            if not count_targets(part_y):
                continue  # rows of padding alone: a mean over no target is not a number
            share = count_targets(part_y) / targets
            _, loss = self.model(part_x.to(self.device, non_blocking=True), part_y.to(self.device, non_blocking=True))
            (loss * share).backward()
            total += loss.detach() * share
        return total

    @torch.no_grad()
    def _test_loss(self):
        """The mean over batches of the test loss, in nats."""
        self.model.eval()
        losses = [self.model(x.to(self.device), y.to(self.device))[1].item() for x, y in self._batches(self.test_dataset, 0)]
        return sum(losses) / len(losses)

    def _batches(self, dataset, epoch):
        """The batches of one epoch, in the dataset's order; the last may be smaller."""
        if self.config.seed is not None and hasattr(dataset, "at_epoch"):
            dataset = dataset.at_epoch(self.config.seed, epoch)
        # To start worker processes for every epoch costs more than a dataset that gives whole batches takes to make them.
        workers = 0 if hasattr(dataset, "__getitems__") else self.config.num_workers
        return DataLoader(dataset, batch_size=self.config.batch_size, num_workers=workers,
                          pin_memory=self.device.type == "cuda")


def count_targets(y):
    """The targets of y (B, T) that the loss counts."""
    return int((y != IGNORED_TARGET).sum())


def group_by_length(y, groups):
    """
    The rows of y (B, T) in at most `groups` parts of about equal size, from the shortest rows to the longest: lists of row
    numbers. A row's length is that up to its last target; each part can then be cropped to its own longest row.
    """
    if groups == 1 or len(y) < groups * SMALLEST_GROUP:
        return [list(range(len(y)))]
    columns = torch.arange(1, y.size(1) + 1)
    lengths = ((y != IGNORED_TARGET) * columns).amax(dim=1)
    return [rows.tolist() for rows in torch.tensor_split(lengths.argsort(stable=True), groups)]


def crop_padding(x, y):
    """
    x and y (B, T) without the last columns in which no row has a target.

    The loss does not count them, and a causal model's earlier positions do not see them: loss and gradients stay the same.
    """
    counted = (y != IGNORED_TARGET).any(dim=0).nonzero()
    length = int(counted.max()) + 1 if len(counted) else 1
    return x[:, :length], y[:, :length]


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
