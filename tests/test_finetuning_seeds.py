"""
tools/finetuning_seeds.py, on a corpus of a few lines: that it counts what run.py's own commands count, and what it keeps.
Run with: python -m pytest tests/test_finetuning_seeds.py
"""
import json
import subprocess
import sys

import pytest

import finetuning_seeds
from conftest import ROOT
from utils import evaluate_places

PEOPLE = [(f"Ann Lee{letter}", place) for letter in "abcdefgh" for place in ("Leeds", "Rome")]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    questions = "".join(f"Where was {name} born?\t{place}\n" for name, place in PEOPLE)
    (folder / "wiki.txt").write_text("\n".join(f"{name}. {name} was born in {place}. Where?" for name, place in PEOPLE), encoding="utf-8")
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (folder / name).write_text(questions, encoding="utf-8")
    return folder


def run_py(*arguments):
    subprocess.run([sys.executable, ROOT / "src/run.py", *map(str, arguments), "--recipe", "quick"], check=True, capture_output=True)


def test_a_seed_gives_what_the_commands_give_one_by_one(data, tmp_path):
    """Half of these answers are right at best, since each name has two places; the pretrained model starts it, as the records show."""
    wiki, run = data / "wiki.txt", tmp_path / "run"
    run.mkdir()
    (run / "settings").write_text("recipe=quick seed=7 data=1 2\n", encoding="utf-8")
    run_py("pretrain", "vanilla", wiki, "--writing_params_path", run / "vanilla.pretrain.params", "--max_epochs", "1")
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps([{"data": "data", "variant": "vanilla", "pretraining_seed": seed, "correct": [99]} for seed in (6, 7)]))
    subprocess.run([sys.executable, ROOT / "tools/finetuning_seeds.py", "--data", data, "--run", run, "--recipe", "quick", "--variants",
                    "vanilla", "--seeds", "3", "--json", kept], check=True, stdout=subprocess.DEVNULL)
    other, new = json.loads(kept.read_text(encoding="utf-8"))
    assert other["pretraining_seed"] == 6 and (new["pretraining_seed"], new["seeds"], new["data"]) == (7, [3], "data")
    run_py("finetune", "vanilla", wiki, "--reading_params_path", run / "vanilla.pretrain.params", "--writing_params_path",
           tmp_path / "x.params", "--finetune_corpus_path", data / "birth_places_train.tsv", "--seed", 3)
    run_py("evaluate", "vanilla", wiki, "--reading_params_path", tmp_path / "x.params", "--eval_corpus_path", data / "birth_dev.tsv",
           "--outputs_path", tmp_path / "x.predictions")
    places = (tmp_path / "x.predictions").read_text(encoding="utf-8").split("\n")[:-1]
    assert (new["total"], new["correct"]) == (16, [int(evaluate_places(data / "birth_dev.tsv", places)[1])])


def test_each_seed_is_finetuned_from_the_variants_own_parameters(monkeypatch, tmp_path, data):
    calls = []

    def run(function, variant, folder, recipe, *arguments):
        calls.append((function, variant, recipe, dict(zip(arguments[::2], arguments[1::2]))))
        return f"number of parameters: 1\nCorrect: {len(calls)}.0 out of 16.0: 1.0%\n"

    monkeypatch.setattr(finetuning_seeds, "run", run)
    (tmp_path / "settings").write_text("recipe=course seed=2 data=3 4\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["finetuning_seeds.py", "--data", str(data), "--run", str(tmp_path), "--seeds", "5", "6",
                                      "--json", str(tmp_path / "kept.json")])
    finetuning_seeds.main()
    assert [(function, variant, recipe) for function, variant, recipe, _ in calls] == [
        (function, variant, "course") for variant in ("vanilla", "synthesizer") for _ in "56" for function in ("finetune", "evaluate")]
    assert [flags.get("--seed") for *_, flags in calls] == ["5", None, "6", None] * 2
    for function, variant, _, flags in calls:
        if function == "finetune":
            assert flags["--reading_params_path"] == tmp_path / f"{variant}.pretrain.params"
            written = flags["--writing_params_path"]
        assert function == "finetune" or flags["--reading_params_path"] == written
    kept = json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))
    assert [(one["variant"], one["seeds"], one["correct"], one["total"]) for one in kept] == [
        ("vanilla", [5, 6], [2, 4], 16), ("synthesizer", [5, 6], [6, 8], 16)]
    assert all((one["pretraining_seed"], one["recipe"]) == (2, "course") for one in kept)


@pytest.mark.parametrize("settings, said", [(None, "settings: cannot be read"), ("recipe=course", "names no seed"),
                                            ("seed=1", "failed, see above")])
def test_what_is_no_run_is_refused_in_a_line(data, tmp_path, monkeypatch, settings, said):
    """The last has no parameters."""
    if settings:
        (tmp_path / "settings").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["finetuning_seeds.py", "--data", str(data), "--run", str(tmp_path),
                                      "--json", str(tmp_path / "kept.json")])
    with pytest.raises(SystemExit) as caught:
        finetuning_seeds.main()
    assert caught.value.code.startswith("finetuning_seeds.py: error: ") and said in caught.value.code and "\n" not in caught.value.code
    assert not (tmp_path / "kept.json").exists()
