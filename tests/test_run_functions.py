"""What run.py's functions give to graders and to those who call them from Python."""

import inspect

import pytest
import torch

import run
from commands import (
    SMALL,
    answers,
    files,
    small_model,
)
from conftest import COURSE_FILES, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, NameDataset
from model import GPT, GPTConfig
from runs.checkpoint import save_params
from runs.inputs import InputError

pytestmark = pytest.mark.usefixtures("folder")


def corpus_of(documents):
    """A dataset of so many documents, the last one empty as after a line end."""
    text = TINY_CORPUS + "Ann Lee.\n" * (documents - 1 - TINY_CORPUS.count("\n"))
    return CharCorruptionDataset(text, 128)


def model_for(dataset):
    return GPT(GPTConfig(dataset.vocab_size, dataset.block_size, n_layer=2, n_head=2, n_embd=8))


def check_config(tconf, max_epochs, batch_size, learning_rate, documents=2938):
    found = (tconf.max_epochs, tconf.batch_size, tconf.learning_rate)
    assert found == (max_epochs, batch_size, learning_rate)
    assert (tconf.warmup_tokens, tconf.final_tokens) == (512 * 20, 200 * documents * 128)
    assert (tconf.lr_decay, tconf.num_workers, tconf.ckpt_path) == (True, 4, None)
    assert (tconf.grad_norm_clip, tconf.weight_decay, tconf.betas) == (1.0, 0.1, (0.9, 0.95))
    assert tconf.writer is None


@pytest.mark.parametrize("documents", [2938, 5])
def test_pretrain_gives_config_and_trainer(untrained, documents):
    dataset = corpus_of(documents)
    model = model_for(dataset)
    tconf, trainer = run.pretrain(dataset, 128, model)
    check_config(tconf, 650, 128, 6e-3, documents)
    assert trainer.model is model and trainer.config is tconf
    assert trainer.train_dataset is dataset and trainer.test_dataset is None


def test_finetune_gives_config_and_trainer(untrained):
    dataset = corpus_of(2938)
    for path, max_epochs in ((None, 75), ("pretrained.params", 10)):
        torch.save(model_for(dataset).state_dict(), "pretrained.params")
        model = model_for(dataset)
        before = model.head.weight.detach().clone()
        tconf, trainer = run.finetune(path, "birth_places_train.tsv", dataset, 128, model)
        check_config(tconf, max_epochs, 256, 6e-4)
        assert trainer.model is model and trainer.test_dataset is None
        assert isinstance(trainer.train_dataset, NameDataset) and len(trainer.train_dataset) == 3
        state = torch.load("pretrained.params", weights_only=True)
        expected = before if path is None else state["head.weight"]
        assert torch.equal(model.head.weight, expected)


def test_the_functions_have_the_names_and_order_that_later_editions_call():
    order = ["pretrain_dataset", "block_size", "model"]
    names = list(inspect.signature(run.pretrain).parameters)
    assert names[:5] == [*order, "pretrain_lr", "writer"]
    names = list(inspect.signature(run.finetune).parameters)
    first = ["reading_params_path", "finetune_corpus_path"]
    assert names[:7] == [*first, *order, "finetune_lr", "writer"]
    names = list(inspect.signature(run.train).parameters)
    assert names[:3] == ["model", "writing_params_path", "trainer_obj"]
    dataset, writer = corpus_of(5), object()
    for tconf, _ in (
        run.pretrain(dataset, 128, model_for(dataset), 1e-2, writer),
        run.finetune(None, "birth_dev.tsv", dataset, 128, model_for(dataset), 1e-2, writer),
    ):
        assert tconf.learning_rate == 1e-2 and tconf.writer is writer


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_train_trains_and_writes_the_parameters(tiny_pretrain_dataset):
    """Without a seed, and with the recipe's four workers."""
    model = small_model()
    before = model.head.weight.detach().clone()
    _, trainer = run.pretrain(tiny_pretrain_dataset, 48, model, recipe=SMALL, max_epochs=2)
    names = files()
    run.train(model, "trained.params", trainer)
    assert files() - names == {"trained.params"}
    state = torch.load("trained.params", weights_only=True)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(model.head.weight, before)


def test_evaluate_returns_the_score(monkeypatch, tiny_pretrain_dataset):
    answers(monkeypatch, "Leeds", "York", "York")
    arguments = (small_model(), tiny_pretrain_dataset)
    assert run.evaluate(*arguments, "birth_dev.tsv", "out.predictions") == (3.0, 2.0)
    assert run.evaluate(*arguments, "birth_test_inputs.tsv", "out.predictions") == (0, 0)


def test_questions_that_are_not_there_are_one_line(tiny_pretrain_dataset):
    for _ in range(2):  # also where the output is there
        with pytest.raises(InputError, match="none.tsv"):
            run.evaluate(small_model(), tiny_pretrain_dataset, "none.tsv", "out.predictions")
        with open("out.predictions", "w", encoding="utf-8"):
            pass


def test_finetune_says_how_much_it_drops(folder, untrained, capsys, tiny_pretrain_dataset):
    text = "Where was Zoë Lee born?\tÅlesund\n" + TINY_QUESTIONS
    (folder / "foreign.tsv").write_text(text, encoding="utf-8")
    run.finetune(None, "foreign.tsv", tiny_pretrain_dataset, 48, small_model())
    assert "foreign.tsv: 2 characters" in capsys.readouterr().out


@pytest.mark.parametrize(
    "function, recipe, notes",
    [("pretrain", "course", 0), ("pretrain", "recall", 1), ("finetune", "course", 1)],
)
def test_finetune_notes_parameters_of_another_training(
    untrained, capsys, tiny_pretrain_dataset, function, recipe, notes
):
    meta = {"function": function, "recipe": recipe}
    save_params(small_model(), "some.params", meta)
    settings = {"meta": {"recipe": "course"}}
    paths = "some.params", "birth_places_train.tsv"
    run.finetune(*paths, tiny_pretrain_dataset, 48, small_model(), **settings)
    assert capsys.readouterr().err.count("some.params") == notes


def test_meta_without_a_recipe_is_enough(untrained, tiny_pretrain_dataset):
    save_params(small_model(), "some.params", {"function": "pretrain"})
    paths = "some.params", "birth_places_train.tsv"
    run.finetune(*paths, tiny_pretrain_dataset, 48, small_model(), meta={"variant": "vanilla"})


def test_a_training_of_parameters_that_are_there_is_noted(untrained, capsys):
    words = ["pretrain", "vanilla", "wiki.txt", "--recipe", "quick"]
    for notes in (0, 1):
        run.main([*words, "--writing_params_path", "new.params"])
        assert capsys.readouterr().err.count("new.params is there already") == notes


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="the course's files are not here")
def test_final_tokens_of_the_courses_corpus(untrained):
    """Through the command line's own reading, so that no document is lost on the way."""
    dataset = run.read_corpus(COURSE_FILES / "wiki.txt", 128)
    assert run.pretrain(dataset, 128, model_for(dataset))[0].final_tokens == 75_212_800
