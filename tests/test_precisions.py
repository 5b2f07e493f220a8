"""tools/experiments/precisions.py, with a small model and one epoch."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import precisions
import trainings
from recipe import QUICK
from trainer import Trainer
from trainings import Records


def test_records_of_two_processes_stand_side_by_side(tmp_path, monkeypatch):
    """Each with the commit of its start, however long it takes."""
    path = tmp_path / "kept.json"
    monkeypatch.setattr(trainings, "description", lambda: {"commit": "old"})
    one, other = Records(path), Records(path)
    monkeypatch.setattr(trainings, "description", lambda: {"commit": "new"})
    one.add({"seed": 0}, 1, 9)
    other.add({"seed": 1}, 2, 9)
    assert one.has({"seed": 1}) and not other.has({"seed": 2})
    found = [tuple(record.values()) for record in json.loads(path.read_text())]
    assert found == [("old", 0, 1, 9), ("old", 1, 2, 9)]


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
