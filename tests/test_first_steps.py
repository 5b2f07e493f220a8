"""
That tests/first_steps.py tells one experiment from another: pretraining's first losses, fast and plain, on a small corpus.
Run with: python -m pytest tests/test_first_steps.py
"""
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import first_steps
import plain
from conftest import ROOT
from recipe import QUICK

RECIPE = replace(QUICK, dropout=0.1, pretrain=replace(QUICK.pretrain, warmup_tokens=2000, decay_epochs=2))
VARIANTS = ["vanilla", "synthesizer"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    lines = [f"Ann Lee {i}. Ann Lee {i} was born in {place} and lived there ." for i in range(40) for place in ("Leeds", "Rome")]
    (folder / "wiki.txt").write_text("\n".join(lines), encoding="utf-8")
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (folder / name).write_text("Where was Ann Lee born?\tLeeds\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(data):
    return first_steps.run.read_corpus(data / "wiki.txt", RECIPE.block_size)


def largest_difference(found):
    return max(abs(a - b) for a, b in zip(found["plain"], found["float32"], strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_on_the_same_batches_only_rounding_differs(corpus, variant):
    """Over the end of an epoch of five steps, so that the order of batches and the second epoch's corruption are in it."""
    torch.manual_seed(5)
    found = first_steps.same_batches(corpus, RECIPE, variant, steps=7)
    assert {len(losses) for losses in found.values()} == {7} and {"plain", "float32"} <= found.keys()
    assert largest_difference(found) < 1e-4
    assert found["plain"][0] - found["plain"][-1] > 0.1                              # it learns: not one loss seven times


def test_another_learning_rate_is_told(corpus, monkeypatch):
    monkeypatch.setattr(plain, "learning_rate", lambda tokens, peak, *schedule: peak / 2)
    assert largest_difference(first_steps.same_batches(corpus, RECIPE, "vanilla", steps=4)) > 1e-3


def test_another_weight_decay_is_told(corpus, monkeypatch):
    monkeypatch.setattr(first_steps, "plain_optimizer", lambda model, rate: plain.plain_optimizer(model, rate, weight_decay=10))
    assert largest_difference(first_steps.same_batches(corpus, RECIPE, "vanilla", steps=4)) > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_numbers_of_their_own_change_little(data, corpus, variant):
    """On the mean of some steps; and that the two have not drawn the same ones."""
    found = first_steps.own_numbers((data / "wiki.txt").read_text(encoding="utf-8"), corpus, RECIPE, variant, steps=12, seeds=2)
    for plainly, fast in zip(found["plain"], found["fast"], strict=True):
        assert len(plainly) == len(fast) == 12 and plainly != fast
        assert abs(sum(plainly[2:]) - sum(fast[2:])) / 10 < 0.15
    assert found["plain"][0] != found["plain"][1] and found["fast"][0] != found["fast"][1]
    model = first_steps.fast_model(corpus, RECIPE, variant, seed=1)
    assert found["fast"][1][:2] == first_steps.fast_losses(corpus, model, RECIPE, 2, "auto", seed=1)


def test_the_same_seed_gives_the_same_losses(data, corpus):
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    once, again = (first_steps.own_numbers(text, corpus, RECIPE, "vanilla", steps=2, seeds=1) for _ in range(2))
    assert once == again


def test_the_command_keeps_the_records_of_other_variants(data, tmp_path):
    kept = tmp_path / "first_steps.json"
    kept.write_text(json.dumps([{"variant": "vanilla"}, {"variant": "synthesizer"}]), encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "tests/first_steps.py", "--data", data, "--recipe", "quick", "--variants", "synthesizer",
                    "--steps", "2", "--same_steps", "1", "--json", kept], check=True, stdout=subprocess.DEVNULL)
    earlier, new = json.loads(kept.read_text(encoding="utf-8"))
    assert earlier == {"variant": "vanilla"} and new["variant"] == "synthesizer" and new["data"] == data.name
    assert len(new["same_batches"]["float32"]) == 1 and [len(losses) for losses in new["own_numbers"]["fast"]] == [2]
