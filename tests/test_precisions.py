"""tools/experiments/precisions.py, with a small model and one epoch."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import precisions
from recipe import QUICK
from trainer import Trainer


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """measure(*arguments) runs the script: (its records, the matmuls' dtype in each training)."""
    dtypes, train = [], Trainer.train
    once = replace(QUICK.pretrain, max_epochs=1), replace(QUICK.finetune, max_epochs=1)
    small = replace(QUICK, n_layer=1, n_head=2, n_embd=8, pretrain=once[0], finetune=once[1])
    monkeypatch.setattr(precisions, "QUICK", small)

    def recorded(trainer):
        dtypes.append(trainer.precision)
        train(trainer)

    monkeypatch.setattr(Trainer, "train", recorded)

    def call(*arguments):
        dtypes.clear()
        words = ["--json", tmp_path / "kept.json", *arguments]
        monkeypatch.setattr(sys, "argv", ["precisions.py", *map(str, words)])
        precisions.main()
        return json.loads((tmp_path / "kept.json").read_text(encoding="utf-8")), list(dtypes)

    return call


@pytest.mark.slow
def test_each_seed_is_trained_once_in_each_precision(measure):
    records, dtypes = measure("--variants", "vanilla", "--seeds", 4)
    assert dtypes == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]
    assert [(one["precision"], one["seed"], one["total"]) for one in records] == [
        ("float32", 4, 150),
        ("bfloat16", 4, 150),
    ]
    assert all(one["data"] == "quick" and 0 <= one["correct"] <= 150 for one in records)
    again, dtypes = measure("--variants", "vanilla", "--seeds", 4)
    assert again == records and dtypes == []
