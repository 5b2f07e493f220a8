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


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_each_step_losses_and_gradients_differ_by_rounding(corpus, variant):
    """Over the end of an epoch of five steps, so that the order of batches and the second epoch's corruption are in it."""
    torch.manual_seed(5)
    losses, found = first_steps.in_each_step(corpus, RECIPE, variant, steps=7)
    assert losses[0] - losses[-1] > 0.1 and "float32" in found                      # it learns: not one loss seven times
    for precision, differences in found.items():
        assert len(losses) == len(differences["losses"]) == len(differences["gradients"]) == 7
        of_loss, of_gradient = {"float32": (1e-5, 1e-4), "bfloat16": (0.03, 0.1)}[precision]
        assert max(differences["losses"]) < of_loss and max(differences["gradients"]) < of_gradient
    assert max(found["float32"]["gradients"]) > 0                                    # they are not the same tensors


@pytest.mark.parametrize("variant", VARIANTS)
def test_on_its_own_way_it_comes_to_the_same_losses(corpus, variant):
    torch.manual_seed(5)
    found = first_steps.each_on_its_way(corpus, RECIPE, variant, steps=7)
    losses, _ = first_steps.in_each_step(corpus, RECIPE, variant, steps=7)
    for way in ("float32", "plain, off"):
        assert len(found[way]) == 7 and 0 < max(abs(a - b) for a, b in zip(found[way], losses)) < 1e-3


def test_another_gradient_is_told(corpus, monkeypatch):
    """Of a loss that leaves one target out in every tenth row."""
    def uneven(gradient, x, y, *seed):
        y = y.clone()
        y[::10, 3] = 0
        return call(gradient, x, y, *seed)

    call = first_steps.BatchGradient.__call__
    monkeypatch.setattr(first_steps.BatchGradient, "__call__", uneven)
    _, found = first_steps.in_each_step(corpus, RECIPE, "vanilla", steps=2)
    assert min(found["float32"]["gradients"]) > 1e-3 and min(found["float32"]["losses"]) > 1e-4


def largest_difference(corpus):
    """Between the losses on the plain way and on ours."""
    found = first_steps.each_on_its_way(corpus, RECIPE, "vanilla", steps=4)
    return max(abs(a - b) for a, b in zip(found["plain, off"], found["float32"], strict=True))


def test_another_learning_rate_is_told(corpus, monkeypatch):
    monkeypatch.setattr(plain, "learning_rate", lambda tokens, peak, *schedule: peak / 2)
    assert largest_difference(corpus) > 3e-3


def test_another_weight_decay_is_told(corpus, monkeypatch):
    monkeypatch.setattr(first_steps, "plain_optimizer", lambda model, rate: plain.plain_optimizer(model, rate, weight_decay=10))
    assert largest_difference(corpus) > 3e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_numbers_of_their_own_change_little(data, corpus, variant):
    """On the mean of some steps; and that the two have not drawn the same ones."""
    found = first_steps.own_numbers((data / "wiki.txt").read_text(encoding="utf-8"), corpus, RECIPE, variant, steps=12,
                                    seeds={"plain": 2, "fast": 2})
    for plainly, fast in zip(found["plain"], found["fast"], strict=True):
        assert len(plainly) == len(fast) == 12 and plainly != fast
        assert abs(sum(plainly[2:]) - sum(fast[2:])) / 10 < 0.15
    assert found["plain"][0] != found["plain"][1] and found["fast"][0] != found["fast"][1]
    model = first_steps.fast_model(corpus, RECIPE, variant, seed=1)
    assert found["fast"][1][:2] == first_steps.fast_losses(corpus, model, RECIPE, 2, "auto", seed=1)


def test_the_same_seed_gives_the_same_losses(data, corpus):
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    once, again = (first_steps.own_numbers(text, corpus, RECIPE, "vanilla", steps=2, seeds={"plain": 1, "fast": 1}) for _ in range(2))
    assert once == again


def test_the_command_keeps_the_records_of_other_variants(data, tmp_path):
    kept = tmp_path / "first_steps.json"
    kept.write_text(json.dumps([{"variant": "vanilla"}, {"variant": "synthesizer"}]), encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "tests/first_steps.py", "--data", data, "--recipe", "quick", "--variants", "synthesizer",
                    "--steps", "2", "--same_steps", "1", "--seeds", "1", "2", "--json", kept], check=True, stdout=subprocess.DEVNULL)
    earlier, new = json.loads(kept.read_text(encoding="utf-8"))
    assert earlier == {"variant": "vanilla"} and new["variant"] == "synthesizer" and new["data"] == data.name
    assert len(new["each_on_its_way"]["float32"]) == len(new["each_on_its_way"]["plain"]) == 1
    assert len(new["in_each_step"]["float32"]["losses"]) == len(new["in_each_step"]["float32"]["gradients"]) == 1
    assert [len(losses) for losses in new["own_numbers"]["fast"]] == [2, 2] and len(new["own_numbers"]["plain"]) == 1
