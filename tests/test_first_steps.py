"""tools/experiments/first_steps.py finds no difference, and finds one that is made."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import baseline
import first_steps
from conftest import ROOT
from recipe import QUICK

pytestmark = pytest.mark.slow
RECIPE = replace(
    QUICK, dropout=0.1, pretrain=replace(QUICK.pretrain, warmup_tokens=2000, decay_epochs=2)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    people = [(f"Ann Lee {i}", place) for i in range(40) for place in ("Leeds", "Rome")]
    lines = [f"{name}. {name} was born in {place} and lived there ." for name, place in people]
    (folder / "wiki.txt").write_text("\n".join(lines), encoding="utf-8")
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (folder / name).write_text("Where was Ann Lee born?\tLeeds\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(data):
    return first_steps.run.read_corpus(data / "wiki.txt", RECIPE.block_size)


def test_only_rounding_differs_from_the_same_parameters(corpus, known_variant):
    """Over the end of an epoch of five steps."""
    torch.manual_seed(5)
    losses, found = first_steps.in_each_step(corpus, RECIPE, known_variant, steps=7)
    assert losses[0] - losses[-1] > 0.1  # it learns
    for precision, differences in found.items():
        assert len(losses) == len(differences["losses"]) == len(differences["gradients"]) == 7
        loss, gradient = {"float32": (1e-5, 1e-4), "bfloat16": (0.03, 0.1)}[precision]
        assert max(differences["losses"]) < loss and max(differences["gradients"]) < gradient
    assert max(found["float32"]["gradients"]) > 0
    own = first_steps.each_on_its_way(corpus, RECIPE, known_variant, steps=7)
    for way in ("float32", "baseline, off"):
        largest = max(abs(a - b) for a, b in zip(own[way], losses, strict=True))
        assert 0 < largest < 1e-3


def test_another_gradient_is_found(corpus, monkeypatch):
    def uneven(gradient, x, y, *seed):
        y = y.clone()
        y[::10, 3] = 0  # one target less in every tenth row
        return call(gradient, x, y, *seed)

    call = first_steps.BatchGradient.backward
    monkeypatch.setattr(first_steps.BatchGradient, "backward", uneven)
    _, found = first_steps.in_each_step(corpus, RECIPE, "vanilla", steps=2)
    assert min(found["float32"]["gradients"]) > 1e-3 and min(found["float32"]["losses"]) > 1e-4


@pytest.mark.parametrize("what", ["learning rate", "weight decay"])
def test_another_schedule_or_optimizer_is_found(corpus, monkeypatch, what):
    def decays(model, rate):
        return baseline.baseline_optimizer(model, rate, weight_decay=10)

    if what == "learning rate":
        monkeypatch.setattr(baseline, "learning_rate", lambda tokens, peak, *schedule: peak / 2)
    else:
        monkeypatch.setattr(first_steps, "baseline_optimizer", decays)
    found = first_steps.each_on_its_way(corpus, RECIPE, "vanilla", steps=4)
    pairs = zip(found["baseline, off"], found["float32"], strict=True)
    assert max(abs(a - b) for a, b in pairs) > 3e-3


def test_own_random_numbers_change_little(data, corpus, known_variant):
    text, ways = (data / "wiki.txt").read_text(encoding="utf-8"), ("baseline", "fast")
    arguments = text, corpus, RECIPE, known_variant, 12
    found = first_steps.own_numbers(*arguments, dict.fromkeys(ways, 2))
    for slow, fast in zip(found["baseline"], found["fast"], strict=True):
        assert len(slow) == len(fast) == 12 and slow != fast
        assert abs(sum(slow[2:]) - sum(fast[2:])) / 10 < 0.15
    assert found["baseline"][0] != found["baseline"][1] and found["fast"][0] != found["fast"][1]
    again = first_steps.own_numbers(*arguments[:-1], 2, dict.fromkeys(ways, 1))
    assert all(again[way][0] == found[way][0][:2] for way in ways)


def test_the_command_keeps_the_records_of_other_variants_and_data(data, tmp_path):
    kept = tmp_path / "first_steps.json"
    old = {"data": data.name, "recipe": "quick", "variant": "synthesizer"}
    others = [{**old, "variant": "vanilla"}, {**old, "data": "course"}]
    kept.write_text(json.dumps([others[0], old, others[1]]))
    script = ROOT / "tools" / "experiments" / "first_steps.py"
    words = ["--data", data, "--recipe", "quick", "--variants", "synthesizer", "--steps", "2"]
    words += ["--same_steps", "1", "--seeds", "1", "2", "--json", kept]
    subprocess.run([sys.executable, script, *words], check=True, stdout=subprocess.DEVNULL)
    *earlier, new = json.loads(kept.read_text(encoding="utf-8"))
    assert earlier == others and old.items() <= new.items()
    assert len(new["in_each_step"]["float32"]["losses"]) == 1
    assert all(len(losses) == 1 for losses in new["each_on_its_way"].values())
    assert [len(losses) for losses in new["own_numbers"]["fast"]] == [2, 2]
