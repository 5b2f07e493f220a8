"""What tests of run.py's command line share: small files, a small recipe, and calls in-process."""

import math
import os
import shlex

import pytest
import torch

import run
from conftest import TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset
from fast.decoding import Answer
from model import GPT, GPTConfig
from recipe import Recipe, Training
from runs.inputs import read_text
from runs.progress import Progress

ONCE = Training(max_epochs=1, batch_size=4, learning_rate=1e-3, warmup_tokens=10, decay_epochs=4)
SMALL = Recipe(
    block_size=48,
    n_layer=3,
    n_head=2,
    n_embd=8,
    dropout=0.1,
    pretrain=ONCE,
    finetune=ONCE,
    finetune_without_pretraining=ONCE,
)

PRETRAIN = "pretrain vanilla wiki.txt --writing_params_path pretrain.params"
FINETUNE = (
    "finetune vanilla wiki.txt --finetune_corpus_path birth_places_train.tsv "
    "--writing_params_path finetune.params"
)
EVALUATE = (
    "evaluate vanilla wiki.txt --reading_params_path some.params "
    "--eval_corpus_path birth_dev.tsv --outputs_path out.predictions"
)
SCORES = EVALUATE + " --scores_path out.scores"
FINETUNE_SOME = FINETUNE + " --reading_params_path some.params"


def set_up(folder, monkeypatch):
    """Makes `folder` the current one, with the files of an experiment, and all recipes SMALL."""
    monkeypatch.chdir(folder)
    without_places = "".join(line.split("\t")[0] + "\n" for line in TINY_QUESTIONS.splitlines())
    for name, text in (
        ("wiki.txt", TINY_CORPUS),
        ("birth_places_train.tsv", TINY_QUESTIONS),
        ("birth_dev.tsv", TINY_QUESTIONS),
        ("birth_test_inputs.tsv", without_places),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    for name in run.RECIPES:
        monkeypatch.setitem(run.RECIPES, name, SMALL)
    return folder


def call(command):
    """run.main() with the words of a command."""
    run.main(shlex.split(command))


def refused(capsys, command, *parts, code=2):
    """
    Asserts that the command ends with that exit code and one line on standard error, beside notes,
    that holds the parts, and makes no file but locks. Returns the line.
    """
    capsys.readouterr()
    before = files()
    with pytest.raises(SystemExit) as exit:
        call(command)
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("note: ")]
    assert exit.value.code == code and len(lines) == 1 and error.endswith("\n"), error
    assert all(part in lines[0] for part in parts), error
    assert files() == before
    return lines[0]


def files():
    """The names of the files in the current folder, without locks."""
    return {name for name in os.listdir() if not name.endswith(".lock")}


def content(name):
    with open(name, "rb") as file:
        return file.read()


def small_model(variant="vanilla", corpus=TINY_CORPUS, **changes):
    dataset = CharCorruptionDataset(corpus, SMALL.block_size)
    settings = {**SMALL.model_settings(), variant: True, **changes}
    return GPT(GPTConfig(dataset.vocab_size, SMALL.block_size, **settings))


def some_params(path="some.params", scale=None, **changes):
    """
    Writes the parameters of an untrained model of SMALL, as the course does, without PARAMS.json.
    scale: of numbers drawn anew, so that the model writes various characters. Returns the model.
    """
    torch.manual_seed(31)
    model = small_model(**changes)
    if scale is not None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(scale * torch.randn(parameter.shape))
    torch.save(model.state_dict(), path)
    return model


def at_step(monkeypatch, step, action):
    """Calls action() when a run has taken that many steps."""
    advance = Progress.advance

    def then(self, *figures):
        advance(self, *figures)
        if self.step == step:
            action()

    monkeypatch.setattr(Progress, "advance", then)


def answers(monkeypatch, *texts, probabilities=None, proven=None, beam=1):
    """Makes the model give these answers, in order. Returns the list where the prompts will be."""
    asked = []
    stoi = CharCorruptionDataset(read_text("wiki.txt"), SMALL.block_size).stoi

    def fake(model, prompts, stop_id, max_new_tokens, found_beam):
        asked.extend(prompts)
        assert (stop_id, max_new_tokens, found_beam) == (stoi["\u2047"], 32, beam)
        rows = zip(
            texts,
            probabilities or [0.5] * len(texts),
            proven or [None] * len(texts),
            strict=True,
        )
        return [
            Answer([stoi[char] for char in text], math.log(p), known) for text, p, known in rows
        ]

    monkeypatch.setattr(run, "generate", fake)
    return asked
