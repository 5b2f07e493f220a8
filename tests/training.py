"""Small models, rows and trainings, for the tests of the trainer."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from model import GPT, GPTConfig
from small_models import enlarge
from trainer import Trainer, TrainerConfig

V, BLOCK, LAYERS, HEADS = 12, 8, 3, 3
ROWS, LENGTH = 5, BLOCK - 1  # five items in batches of two: the last batch of an epoch is smaller
PEAK = 0.01


def ragged_rows(times=1):
    """
    x and y (5·times, 7): ids from 2 on; targets from another column on and up to another one in
    each row, then 0.
    """
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(2, V, (ROWS * times, BLOCK), generator=generator)
    for row, length in enumerate((6, 3, 8, 5, 4) * times):
        rows[row, length:] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    for row, first in enumerate((2, 0, 4, 1, 0) * times):
        y[row, :first] = 0
    return x, y


def model_of(variant="vanilla"):
    sizes = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": 6}
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.0)
    return enlarge(GPT(GPTConfig(V, BLOCK, **sizes, **rates, **{variant: True})), 0.8, seed=9)


def settings(**changes):
    defaults = {"max_epochs": 2, "batch_size": 2, "learning_rate": PEAK, "seed": 1}
    return TrainerConfig(**{**defaults, "device": "cpu", **changes})


def train(model, x, y, test=None, **changes):
    trainer = Trainer(model, TensorDataset(x, y), test, settings(**changes))
    trainer.train()
    return trainer


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def identical(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Counted(nn.Module):
    """A model of one number. Keeps the rows that it sees and what its dropout draws."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen, self.dropped, self.modes = [], [], []

    def forward(self, x, y):
        self.modes.append(self.training)
        self.seen.append(x[:, 0].tolist())
        self.dropped.append(nn.functional.dropout(torch.ones(64), 0.5, self.training))
        return None, self.weight * (x.double().mean() + 1)


def numbered(count):
    """x = y: item i is (i + 1, 1, 1)."""
    rows = torch.ones(count, 3, dtype=torch.long)
    rows[:, 0] = torch.arange(count) + 1
    return rows, rows


class Scripted(nn.Module):
    """A model of one number, which falls with every step; in tests its losses are a script's."""

    def __init__(self, losses):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.losses, self.modes = list(losses), []

    def forward(self, x, y):
        self.modes.append(self.training)
        return None, self.weight if self.training else torch.tensor(self.losses.pop(0))


def kept_and_passed(model, test, path, **changes):
    """The weight in the file at the end, and the weight after each epoch."""
    passed, epoch = [], Trainer._train_epoch

    class Watched(Trainer):
        def _train_epoch(self, *args):
            epoch(self, *args)
            passed.append(self.model.weight.item())

    data = TensorDataset(*numbered(4))
    Watched(model, data, test, settings(ckpt_path=str(path), **changes)).train()
    return torch.load(path, weights_only=True)["weight"].item(), passed
