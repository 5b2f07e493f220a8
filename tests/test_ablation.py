"""tools/experiments/ablation.py on a corpus of a few lines."""

import json
import sys
from dataclasses import asdict, replace

import pytest

import ablation
import run
from conftest import PEOPLE
from dataset import CharCorruptionDataset
from recipe import COURSE, RECALL, RECIPES
from utils import evaluate_places


@pytest.fixture
def measure(monkeypatch, tmp_path, births):
    """measure(*arguments) runs the script, and returns what it has written."""
    kept = tmp_path / "kept.json"

    def call(*arguments):
        words = ["--data", births, "--json", kept, *arguments]
        monkeypatch.setattr(sys, "argv", ["ablation.py", *map(str, words)])
        ablation.main()
        return json.loads(kept.read_text(encoding="utf-8"))

    return call


@pytest.fixture
def small(monkeypatch):
    """The recipes with a small model."""
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 16}
    recipes = {name: replace(recipe, **sizes) for name, recipe in ablation.WITHOUT.items()}
    monkeypatch.setattr(ablation, "WITHOUT", recipes)


def changed(recipe):
    """The settings of a recipe that are not RECALL's."""
    ours, theirs = asdict(recipe), asdict(RECALL)
    return {name for name, value in ours.items() if value != theirs[name]}


def test_one_ingredient_is_left_out_at_a_time():
    expected = {
        "nothing": set(),
        "finetuning": {"finetune"},
        "heading": {"dataset"},
        "short rows": {"dataset"},
        "salient spans": {"dataset"},
        "no dropout": {"dropout"},
        "Muon": {"pretrain"},
        "everything": {"dataset", "dropout", "pretrain", "finetune"},
    }
    assert {name: changed(recipe) for name, recipe in ablation.WITHOUT.items()} == expected
    pretrain = ablation.WITHOUT["Muon"].pretrain
    assert replace(pretrain, optimizer=RECALL.pretrain.optimizer) == RECALL.pretrain
    assert pretrain.optimizer == COURSE.pretrain.optimizer
    assert ablation.WITHOUT["salient spans"].dataset is CharCorruptionDataset


@pytest.mark.parametrize("without", ["nothing", "heading", "short rows"])
def test_what_a_row_holds_without_an_ingredient(without):
    corpus = "\n".join(f"{name}. {name} was born in {place}, they say ." for name, place in PEOPLE)
    dataset = ablation.WITHOUT[without].dataset(corpus, 64)
    starts, whole = set(), 0
    for x, _ in dataset.at_epoch(0, 0).__getitems__(list(range(16))):
        text = "".join(dataset.itos[int(i)] for i in x)
        starts.add(text.rindex("Ann Lee", 0, text.index("⁇")))
        whole += "was born" in text[: text.index("⁇")]
    assert (whole == 16) == (without == "short rows")
    if without != "short rows":
        assert (10 in starts) == (without == "nothing") and (1 in starts) == (without == "heading")


def test_everything_asked_for_is_measured_once(measure, small, monkeypatch):
    pretrained = []
    pretrain = ablation.pretrain

    def counted(recipe, *arguments):
        pretrained.append(recipe)
        return pretrain(recipe, *arguments)

    monkeypatch.setattr(ablation, "pretrain", counted)
    names = ["nothing", "finetuning", "Muon"]
    measure("--epochs", 2, "--seeds", 5, "--without", "Muon")
    records = measure("--epochs", 2, "--seeds", 5, 6, "--without", *names)
    assert sorted((one["without"], one["seed"]) for one in records) == sorted(
        (name, seed) for name in names for seed in (5, 6)
    )
    assert all(one["total"] == 16 and one["epochs"] == 2 for one in records)
    # "finetuning" has the pretraining of "nothing".
    assert [recipe.pretrain.optimizer for recipe in pretrained] == "adamw muon muon adamw".split()
    assert all(recipe.pretrain.decay_epochs == 2 for recipe in pretrained)


def test_nothing_left_out_is_what_the_commands_do(measure, small, monkeypatch, births, tmp_path):
    recipe = ablation.WITHOUT["nothing"]
    longer = replace(recipe.finetune, max_epochs=60, learning_rate=1e-2)
    recipe = replace(recipe, finetune=longer)
    monkeypatch.setitem(ablation.WITHOUT, "nothing", recipe)
    monkeypatch.setitem(RECIPES, "recall", recipe)
    epochs = ("--epochs", recipe.pretrain.max_epochs)
    (record,) = measure(*epochs, "--seeds", 3, "--without", "nothing")

    def run_py(function, *words):
        command = [function, "vanilla", births / "wiki.txt", "--recipe", "recall", *words]
        run.main([str(word) for word in command])

    first, second, predictions = (tmp_path / name for name in ("a", "b", "predictions"))
    run_py("pretrain", "--writing_params_path", first, "--seed", 3)
    reading, writing = ["--reading_params_path", first], ["--writing_params_path", second]
    corpus = ["--finetune_corpus_path", births / "birth_places_train.tsv"]
    run_py("finetune", *reading, *writing, *corpus, "--seed", 3)
    evaluate = ["--eval_corpus_path", births / "birth_dev.tsv", "--outputs_path", predictions]
    run_py("evaluate", "--reading_params_path", second, *evaluate)
    places = predictions.read_text(encoding="utf-8").splitlines()
    right = evaluate_places(births / "birth_dev.tsv", places)[1]
    assert (record["correct"], record["total"]) == (int(right), 16)
    assert right > 0  # some were learned by heart
