"""Trainings that stop and resume, for the tests of the resume file and of signals."""

import signal

import pytest
import torch

from conftest import BLOCK_SIZE, TINY_CORPUS
from dataset import CharCorruptionDataset
from model import GPT, GPTConfig
from runs.resume import Checkpointer, Stopped
from trainer import Trainer, TrainerConfig

EPOCHS, STEPS = 3, 3  # five documents in batches of two


def new_trainer(variant="vanilla", dataset=None, test_dataset=None, **changes):
    torch.manual_seed(7)
    dataset = dataset or CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE)
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.3)
    sizes = {"n_layer": 2, "n_head": 3, "n_embd": 6}
    model = GPT(GPTConfig(dataset.vocab_size, BLOCK_SIZE, **sizes, **rates, **{variant: True}))
    settings = {"max_epochs": EPOCHS, "batch_size": 2, "learning_rate": 1e-2, "seed": 3}
    settings |= {"device": "cpu", "lr_decay": True, "warmup_tokens": 200, "final_tokens": 900}
    return Trainer(model, dataset, test_dataset, TrainerConfig(**{**settings, **changes}))


class Events:
    """
    Stands for a TensorBoard SummaryWriter: keeps what it gets as (tag, value, step), and calls
    action() when step number `at` has been taken, or after each step.
    """

    def __init__(self, at=None, action=None):
        self.at, self.action, self.rows = at, action, []

    def add_scalar(self, tag, value, step):
        self.rows.append((tag, value, step))
        if self.action and tag == "train/lr" and self.at in (None, step):
            self.action()

    def of(self, tag):
        """The values with that tag."""
        return [value for name, value, _ in self.rows if name == tag]


def interrupt():
    signal.raise_signal(signal.SIGTERM)


def die():
    """Ends the run without a chance to write anything, as far as a process can for itself."""
    raise ZeroDivisionError


def keeper(tmp_path, **changes):
    return Checkpointer(tmp_path / "run", **{"log_path": tmp_path / "run.log", **changes})


def stop_at(tmp_path, step, variant="vanilla", settings=None, **changes):
    """Leaves the files of a run that was stopped after that many steps."""
    trainer = new_trainer(variant, writer=Events(step, interrupt), **changes)
    with pytest.raises(Stopped):
        trainer.train(keeper(tmp_path, settings=settings))


def copied(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
