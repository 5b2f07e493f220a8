"""tools/experiments/finetuning_seeds.py on a corpus of a few lines."""

import json
import subprocess
import sys

import pytest

import finetuning_seeds
from conftest import ROOT
from recipe import RECIPES
from utils import evaluate_places


@pytest.fixture
def seeds(monkeypatch, tmp_path, births):
    """seeds(settings, *arguments) runs the script on a run with these settings."""
    run = tmp_path / "run"
    run.mkdir()

    def call(settings, *arguments):
        (run / "settings").write_text(settings, encoding="utf-8")
        words = ["--data", births, "--run", run, "--json", tmp_path / "kept.json", *arguments]
        monkeypatch.setattr(sys, "argv", ["finetuning_seeds.py", *map(str, words)])
        finetuning_seeds.main()
        return json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))

    call.run, call.json = run, tmp_path / "kept.json"
    return call


def run_py(*words):
    command = [sys.executable, ROOT / "src" / "run.py", *map(str, words), "--recipe", "quick"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.slow
def test_a_seed_counts_what_the_commands_count(seeds, births, tmp_path):
    wiki, pretrained = births / "wiki.txt", seeds.run / "vanilla.pretrain.params"
    writing = "--writing_params_path"
    run_py("pretrain", "vanilla", wiki, writing, pretrained, "--max_epochs", "1")
    key = {"data": "data", "recipe": "quick", "pretraining_seed": 7, "variant": "vanilla"}
    others = [{**key, "seed": 2}, {**key, "recipe": "course", "seed": 3}]
    seeds.json.write_text(json.dumps(others))
    arguments = ("--variants", "vanilla", "--seeds", "2", "3")
    *earlier, new = seeds("recipe=quick seed=7 data=1 2\n", *arguments)
    assert earlier == others and key.items() <= new.items() and new["seed"] == 3
    params, predictions = tmp_path / "x.params", tmp_path / "x.predictions"
    finetune = [
        "--finetune_corpus_path",
        births / "birth_places_train.tsv",
        writing,
        params,
        "--seed",
        3,
    ]
    run_py("finetune", "vanilla", wiki, "--reading_params_path", pretrained, *finetune)
    evaluate = ["--eval_corpus_path", births / "birth_dev.tsv", "--outputs_path", predictions]
    run_py("evaluate", "vanilla", wiki, "--reading_params_path", params, *evaluate)
    places = predictions.read_text(encoding="utf-8").splitlines()
    right = evaluate_places(births / "birth_dev.tsv", places)[1]
    assert (new["total"], new["correct"]) == (16, int(right))


def test_each_variant_is_finetuned_from_its_own_parameters(monkeypatch, seeds):
    calls = []

    def right_answers(recipe, variant, folder, seed, params):
        assert recipe == RECIPES["recall"] and params == seeds.run / f"{variant}.pretrain.params"
        calls.append((variant, seed))
        return len(calls), 16

    monkeypatch.setattr(finetuning_seeds, "right_answers", right_answers)
    of_run = "synthesizer", "rope"  # the variants whose parameters are there
    for variant in of_run:
        (seeds.run / f"{variant}.pretrain.params").touch()
    kept = seeds("recipe=recall seed=2 data=3 4\n", "--seeds", "5", "2", "6")  # 2: the run itself
    assert calls == [(variant, seed) for variant in of_run for seed in (5, 6)]
    assert [(one["variant"], one["seed"]) for one in kept] == calls
    assert [one["correct"] for one in kept] == list(range(1, len(calls) + 1))


@pytest.mark.slow
def test_the_perceivers_bottleneck_is_that_of_the_parameters(seeds, births):
    words = "pretrain", "perceiver", births / "wiki.txt", "--max_epochs", "1"
    pretrained = seeds.run / "perceiver.pretrain.params"
    run_py(*words, "--bottleneck_dim", "8", "--writing_params_path", pretrained)
    (one,) = seeds("recipe=quick seed=7 data=1 2\n", "--seeds", "2")
    assert one["variant"] == "perceiver" and one["total"] == 16


@pytest.mark.parametrize(
    "settings",
    ["recipe=course", "recipe=course seed=1 data=3 4"],
    ids=["no seed", "no parameters"],
)
def test_a_folder_that_is_no_run(seeds, settings, capsys):
    with pytest.raises(SystemExit, match="2"):
        seeds(settings)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("finetuning_seeds.py: error: ")
    assert not seeds.json.exists()
