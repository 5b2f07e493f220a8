"""python -m pytest tests/test_run.py

The command line on tiny corpora: the handout's commands as they stand, what evaluation prints and writes, seeds, the
functions that graders call, and for each mistake of a user one line and exit code 2, before any training.
"""

import dataclasses
import errno
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest
import torch

import progress
import reference
import run
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, InputError, NameDataset, read_text
from decoding import Answer, find_answers
from files import sole_writer
from model import GPT, GPTConfig
from recipe import COURSE, Recipe, Training
from resume import Checkpointer
from trainer import Trainer, TrainerConfig

COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"
INPUTS = "Where was Ed Ng born?\nWhere was Bob Whist born?\n"

ONCE = Training(max_epochs=1, batch_size=4, learning_rate=1e-3, warmup_tokens=10, decay_epochs=4)
SMALL = Recipe(block_size=48, n_layer=1, n_head=2, n_embd=8, dropout=0.1,
               pretrain=ONCE, finetune=ONCE, finetune_without_pretraining=ONCE)

HANDOUT = """
    python src/run.py finetune vanilla wiki.txt --writing_params_path vanilla.model.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.nopretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.nopretrain.test.predictions
    python src/run.py pretrain vanilla wiki.txt --writing_params_path vanilla.pretrain.params
    python src/run.py finetune vanilla wiki.txt --reading_params_path vanilla.pretrain.params --writing_params_path vanilla.finetune.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.pretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.pretrain.test.predictions
"""  # noqa: E501


@pytest.fixture
def small(monkeypatch):
    """The command line's recipes, shrunk to a model that trains in no time."""
    for name in ("course", "quick"):
        monkeypatch.setitem(run.RECIPES, name, SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, holding the four files of an experiment."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("wiki.txt", TINY_CORPUS), ("birth_places_train.tsv", TINY_QUESTIONS),
                       ("birth_dev.tsv", TINY_QUESTIONS), ("birth_test_inputs.tsv", INPUTS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def untrained(monkeypatch):
    """Fails the test if any training starts."""
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("training has started"))


def call(command):
    """run.main with the words of a command."""
    run.main(shlex.split(command))


PRETRAIN = "pretrain vanilla wiki.txt --writing_params_path pretrain.params"
FINETUNE = "finetune vanilla wiki.txt --finetune_corpus_path birth_places_train.tsv --writing_params_path finetune.params"
EVALUATE = ("evaluate vanilla wiki.txt --reading_params_path some.params --eval_corpus_path birth_dev.tsv "
            "--outputs_path out.predictions")


def some_params(path="some.params", variant="vanilla", corpus=TINY_CORPUS, **changed):
    """Writes the parameters of an untrained model for SMALL and a corpus; gives them back."""
    torch.manual_seed(31)
    dataset = CharCorruptionDataset(corpus, SMALL.block_size)
    model = GPT(GPTConfig(dataset.vocab_size, SMALL.block_size, **{**SMALL.model_settings(), variant: True, **changed}))
    torch.save(model.state_dict(), path)
    return model.state_dict()


def answer(monkeypatch, *answers, probabilities=None, proven=None, width=1):
    """
    Makes the model give these answers, in order, to a search of that width; returns the list in which the prompts, lists of ids, will
    be. probabilities and proven: what the model says of each, if that matters.
    """
    asked = []
    stoi = CharCorruptionDataset(read_text("wiki.txt"), SMALL.block_size).stoi

    def find_answers(model, prompts, stop_id, max_length, beam):
        asked.extend(prompts)
        assert (stop_id, max_length, beam) == (1, 32, width)
        return [Answer([stoi[char] for char in text], math.log(probability), known) for text, probability, known in zip(
            answers, probabilities or len(answers) * [0.5], proven or len(answers) * [None], strict=True)]

    monkeypatch.setattr(run, "find_answers", find_answers)
    return asked


# ---- the handout ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags", ["", " --recipe quick --max_epochs 1 --seed 3 --device cpu"])
def test_the_handouts_commands_work_as_they_stand(small, folder, capsys, variant, flags):
    for line in HANDOUT.replace("vanilla", variant).strip().splitlines():
        words = shlex.split(line + flags)
        assert words[:2] == ["python", "src/run.py"]
        before = set(os.listdir())
        run.main(words[2:])
        out, err = capsys.readouterr()
        written = words[words.index("--outputs_path" if "evaluate" in words else "--writing_params_path") + 1]
        assert set(os.listdir()) - before == {written} | ({f"{written}.log.jsonl"} if "evaluate" not in words else set())
        assert f"data has {len(TINY_CORPUS)} characters, " in out and "number of parameters: " in out
        if "birth_dev.tsv" in words:
            assert re.search(r"^Correct: [0-3]\.0 out of 3\.0: \d+\.\d+%$", out, re.M) and "Predictions" not in out
            assert len(read_text(written).split("\n")) == 3 + 1
        elif "birth_test_inputs.tsv" in words:
            assert out.endswith("No gold birth places provided; returning (0,0)\n"
                                f"Predictions written to {written}; no targets provided\n")
            assert len(read_text(written).split("\n")) == 2 + 1
        else:
            state = torch.load(written, weights_only=True)
            assert ("blocks.0.attn.w2" in state) == (variant == "synthesizer")
            assert "epoch 1/1, step " in err
        assert "Traceback" not in out + err


def test_the_quick_recipe_runs(folder, capsys):
    """The real one, for one epoch."""
    call(PRETRAIN + " --recipe quick --max_epochs 1")
    assert torch.load("pretrain.params", weights_only=True)["pos_emb"].shape == (1, 128, 128)
    assert "epoch 1/1, step 1/1" in capsys.readouterr().err


def test_finetuning_starts_from_the_parameters_given(small, folder, monkeypatch):
    state = some_params()
    started = []
    monkeypatch.setattr(Trainer, "train", lambda self: started.append(
        {name: tensor.clone() for name, tensor in self.model.state_dict().items()}))
    call(FINETUNE + " --reading_params_path some.params")
    call(FINETUNE)
    for name in ("head.weight", "tok_emb.weight", "blocks.0.mlp.0.weight"):
        assert torch.equal(started[0][name], state[name]) and not torch.equal(started[1][name], state[name])


def test_finetuning_may_write_over_what_it_read(small, folder):
    before = some_params("own.params")
    call("finetune vanilla wiki.txt --finetune_corpus_path birth_places_train.tsv --reading_params_path own.params "
         "--writing_params_path own.params")
    assert not torch.equal(torch.load("own.params", weights_only=True)["head.weight"], before["head.weight"])


@pytest.mark.parametrize("variant", ["vanilla", "synthesizer"])
def test_the_variant_reaches_the_model(small, folder, monkeypatch, variant):
    models = []
    monkeypatch.setattr(run, "pretrain", lambda dataset, block_size, model, **_: (None, Trainer(models.append(model) or model, dataset, None, TrainerConfig())))
    monkeypatch.setattr(run, "train", lambda *_: None)
    call(PRETRAIN.replace("vanilla", variant))
    assert type(models[0].blocks[0].attn).__name__ == {"vanilla": "CausalSelfAttention",
                                                       "synthesizer": "SynthesizerAttention"}[variant]


@pytest.mark.parametrize("native", [True, False])
def test_precision_and_rows_at_once_reach_the_trainer(small, folder, monkeypatch, capsys, native):
    """And a run in bfloat16 that nobody asked for is noted."""
    trainers = []
    monkeypatch.setattr(Trainer, "train", lambda self: trainers.append(self))
    monkeypatch.setattr("hardware.multiplies_bfloat16", lambda device: native)
    for command in (PRETRAIN, FINETUNE):
        for flags in ("", " --precision bfloat16", " --precision float32 --micro_batch_size 3"):
            call(command + flags)
            assert ("are in bfloat16" in capsys.readouterr().err) == (native and not flags)
    found = [(str(trainer.precision), trainer.config.micro_batch_size) for trainer in trainers]
    assert found == 2 * [("torch.bfloat16" if native else "torch.float32", None), ("torch.bfloat16", None), ("torch.float32", 3)]


@pytest.mark.parametrize("flags, words", [("--precision half", "invalid choice: 'half'"), ("--micro_batch_size 0", "at least 1"),
                                          ("--micro_batch_size x", "invalid int value")])
def test_a_wrong_precision_or_size_is_one_line(small, folder, capsys, flags, words):
    with pytest.raises(SystemExit) as exit:
        call(f"{PRETRAIN} {flags}")
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.count("\n") == 1 and words in error


def test_seed_epochs_and_device_reach_the_trainer(small, folder, monkeypatch):
    configs = []
    monkeypatch.setattr(Trainer, "train", lambda self: configs.append(self.config))
    for command in (PRETRAIN, FINETUNE):
        call(command + " --seed 5 --max_epochs 7 --device cpu")
        call(command)
    assert [config.seed for config in configs] == [5, 0, 5, 0]
    assert [config.max_epochs for config in configs] == [7, 1, 7, 1]
    assert configs[0].device == torch.device("cpu")


# ---- evaluation -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("places, line", [
    (("Leeds", "York", "Hull"), "Correct: 3.0 out of 3.0: 100.0%"),
    (("Leeds", "Hull", "York"), "Correct: 1.0 out of 3.0: 33.33333333333333%"),
    (("York", "", "hull"), "Correct: 0.0 out of 3.0: 0.0%"),
])
def test_evaluation_prints_the_score_and_writes_the_places(small, folder, monkeypatch, capsys, places, line):
    some_params()
    answer(monkeypatch, *places)
    call(EVALUATE)
    assert capsys.readouterr().out.splitlines()[-1] == line
    with open("out.predictions", "rb") as file:
        assert file.read() == "".join(place + "\n" for place in places).encode("utf-8")


def test_evaluation_asks_each_question_in_order(small, folder, monkeypatch):
    some_params()
    asked = answer(monkeypatch, "", "", "")
    call(EVALUATE)
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    assert ["".join(itos[i] for i in ids) for ids in asked] == [
        line.split("\t")[0] + "\u2047" for line in TINY_QUESTIONS.splitlines()]


def test_predictions_are_utf8(small, folder, monkeypatch):
    some_params()
    answer(monkeypatch, "Ålesund", "Zoë", "\u25a1")
    call(EVALUATE)
    with open("out.predictions", "rb") as file:
        assert file.read() == "Ålesund\nZoë\n□\n".encode("utf-8")


def test_line_ends_in_a_prediction_shift_no_lines(small, folder, monkeypatch):
    corpus = TINY_CORPUS.replace(" .\n", " .\u2028\x85\x0b\x0c\n")
    (folder / "wiki.txt").write_text(corpus, encoding="utf-8", newline="")
    some_params(corpus=corpus)
    answer(monkeypatch, "Le\neds", "\u2028Yo\x85rk\x0b", "\n\n")
    call(EVALUATE)
    text = (folder / "out.predictions").read_bytes().decode("utf-8")
    assert len(text.splitlines()) == text.count("\n") == 3
    assert text.split("\n")[0] == "Le eds" and "York" in text.split("\n")[1].replace(" ", "")


def test_unknown_characters_are_left_out_with_a_warning(small, folder, monkeypatch, capsys):
    (folder / "birth_dev.tsv").write_text(TINY_QUESTIONS + "\nWhere was Šid Žig born?\tYork\nWhere was Aña born?\tYork\n",
                                          encoding="utf-8")
    some_params()
    asked = answer(monkeypatch, "Leeds", "York", "Hull", "York", "York")
    call(EVALUATE)
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "warning: birth_dev.tsv: line 5: 'Š' (U+0160), 'Ž' (U+017D) are not in the pretraining corpus; left out of the question",
        "warning: birth_dev.tsv: line 6: 'ñ' (U+00F1) is not in the pretraining corpus; left out of the question"]
    assert out.splitlines()[-1] == "Correct: 5.0 out of 5.0: 100.0%"
    assert read_text("out.predictions") == "Leeds\nYork\nHull\nYork\nYork\n"
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    assert "".join(itos[i] for i in asked[3]) == "Where was id ig born?\u2047"


def test_a_real_models_predictions_are_the_references(small, folder, variant):
    """Nothing replaced: a line is the reference's answer, up to the block's end."""
    state = some_params(variant=variant)
    for name, tensor in state.items():
        if tensor.is_floating_point() and "mask" not in name:
            tensor.copy_(torch.randn(tensor.shape))
    state["head.weight"][1] *= 0.1  # hardly any ⁇, so that the answers are long
    torch.save(state, "some.params")
    call(EVALUATE.replace("vanilla", variant, 1))
    dataset = CharCorruptionDataset(TINY_CORPUS, 48)
    question, room = "Where was Ann Lee born?", 48 if variant == "vanilla" else 47
    expected = reference.greedy_answer(state, question, dataset.stoi, dataset.itos, 1, 2, room, max_new=room - len(question))
    lines = read_text("out.predictions").split("\n")
    assert lines[0] == " ".join(expected.splitlines()) and len(expected) > 3
    assert len(lines) == 4 and lines[0] != lines[1] != lines[2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_questions_may_come_from_a_pipe(small, folder, monkeypatch, capsys):
    """As in --eval_corpus_path <(head -100 birth_dev.tsv): it can be read once."""
    some_params()
    answer(monkeypatch, "Leeds", "York", "York")
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: (folder / "pipe").write_text(TINY_QUESTIONS, encoding="utf-8"))
    writer.start()
    call(EVALUATE.replace("birth_dev.tsv", "pipe"))
    writer.join()
    assert capsys.readouterr().out.splitlines()[-1] == "Correct: 2.0 out of 3.0: 66.66666666666666%"


def test_evaluate_from_python(small, folder, monkeypatch, tiny_pretrain_dataset):
    """As graders call it; it returns the score."""
    model = GPT(GPTConfig(tiny_pretrain_dataset.vocab_size, 48, **SMALL.model_settings()))
    answer(monkeypatch, "Leeds", "York", "York")
    assert run.evaluate(model, tiny_pretrain_dataset, "birth_dev.tsv", "out.predictions") == (3.0, 2.0)
    answer(monkeypatch, "Leeds", "York")
    assert run.evaluate(model, tiny_pretrain_dataset, "birth_test_inputs.tsv", "out.predictions") == (0, 0)


# ---- how probable the predictions are --------------------------------------------------------------------------------

SCORES = EVALUATE + " --scores_path out.scores"
HEADER = "question\tprediction\tprobability\tplace\tcorrect\n"


def bytes_of(name):
    with open(name, "rb") as file:
        return file.read()


def test_the_table_of_scores(small, folder, monkeypatch):
    """A row a question; six digits of the probability, whatever its size; whether the prediction is the place, to the letter."""
    some_params()
    answer(monkeypatch, "Leeds", "", "hull", probabilities=(1, 0.1234567, 1.2345678e-11))
    call(SCORES)
    assert bytes_of("out.scores").decode("utf-8") == HEADER + (
        "Where was Ann Lee born?\tLeeds\t1\tLeeds\t1\n"
        "Where was Bob Whist born?\t\t0.123457\tYork\t0\n"
        "Where was Ed Ng born?\thull\t1.23457e-11\tHull\t0\n")
    assert bytes_of("out.predictions") == b"Leeds\n\nhull\n"


def test_the_table_of_questions_without_places(small, folder, monkeypatch, capsys):
    some_params()
    answer(monkeypatch, "Hull", "Ålesund", probabilities=(0.75, 0.5))
    call(SCORES.replace("birth_dev.tsv", "birth_test_inputs.tsv"))
    assert bytes_of("out.scores").decode("utf-8") == HEADER + (
        "Where was Ed Ng born?\tHull\t0.75\t\t\n"
        "Where was Bob Whist born?\tÅlesund\t0.5\t\t\n")
    assert capsys.readouterr().out.endswith("Predictions written to out.predictions; no targets provided\n")


def test_tabs_and_line_ends_in_a_prediction_shift_no_columns(small, folder, monkeypatch):
    """The predictions keep the tab; the question is the file's, whatever the model could not be asked of it."""
    corpus = TINY_CORPUS.replace(" .\n", " .\t\u2028\x85\n")
    (folder / "wiki.txt").write_text(corpus, encoding="utf-8", newline="")
    (folder / "birth_dev.tsv").write_text("Where was Šid born?\tLe eds\n" + TINY_QUESTIONS, encoding="utf-8")
    some_params(corpus=corpus)
    answer(monkeypatch, "Le\teds", "\t", "Yo\u2028r\nk", "\tHull\t\t")
    call(SCORES)
    assert bytes_of("out.scores").decode("utf-8") == HEADER + (
        "Where was Šid born?\tLe eds\t0.5\tLe eds\t0\n"
        "Where was Ann Lee born?\t \t0.5\tLeeds\t0\n"
        "Where was Bob Whist born?\tYo r k\t0.5\tYork\t0\n"
        "Where was Ed Ng born?\t Hull  \t0.5\tHull\t0\n")
    assert bytes_of("out.predictions") == "Le\teds\n\t\nYo r k\n\tHull\t\t\n".encode("utf-8")


def some_strong_params(variant):
    """Parameters with which the model writes various characters; gives back the model."""
    dataset = CharCorruptionDataset(TINY_CORPUS, SMALL.block_size)
    model = GPT(GPTConfig(dataset.vocab_size, SMALL.block_size, **SMALL.model_settings(), **{variant: True}))
    state = some_params(variant=variant)
    for name, tensor in state.items():
        if tensor.is_floating_point() and "mask" not in name:
            tensor.copy_(0.7 * torch.randn(tensor.shape))
    torch.save(state, "some.params")
    model.load_state_dict(state)
    return model


def asked_as_the_file(model, beam=1):
    """What find_answers() says of TINY_QUESTIONS."""
    dataset = CharCorruptionDataset(TINY_CORPUS, SMALL.block_size)
    prompts = [[dataset.stoi[char] for char in line.split("\t")[0] + "\u2047"] for line in TINY_QUESTIONS.splitlines()]
    return find_answers(model, prompts, 1, 32, beam)


def scores_written():
    """The column of probabilities."""
    return [line.split("\t")[2] for line in read_text("out.scores").splitlines()[1:]]


def test_a_real_models_scores(small, folder, variant):
    """Nothing replaced. They change no prediction, and a beam of one is no beam."""
    model = some_strong_params(variant)
    command = SCORES.replace("vanilla", variant, 1)
    call(EVALUATE.replace("vanilla", variant, 1))
    predictions = bytes_of("out.predictions")
    call(command)
    table = bytes_of("out.scores")
    assert bytes_of("out.predictions") == predictions
    expected = [math.exp(answer.log_probability) for answer in asked_as_the_file(model)]
    assert scores_written() == [f"{probability:.6g}" for probability in expected] and len(set(expected)) == 3
    dataset = CharCorruptionDataset(TINY_CORPUS, 48)
    text, room = "Where was Ann Lee born?\u2047", 48 if variant == "vanilla" else 47
    ids, product = [dataset.stoi[char] for char in text], 1.0
    for _ in range(min(32, room - len(ids) + 1)):
        following = reference.softmax(reference.gpt_logits(model.state_dict(), torch.tensor([ids]), 1, 2)[0, -1])
        ids.append(following.argmax().item())
        product *= following.max().item()
        if ids[-1] == 1:
            break
    assert float(scores_written()[0]) == pytest.approx(product, rel=1e-3)
    call(command + " --beam 1")
    assert bytes_of("out.scores") == table and bytes_of("out.predictions") == predictions


def test_a_real_models_scores_by_beam(small, folder, capsys, variant):
    model = some_strong_params(variant)
    call(SCORES.replace("vanilla", variant, 1) + " --beam 4")
    answers = asked_as_the_file(model, 4)
    assert scores_written() == [f"{math.exp(answer.log_probability):.6g}" for answer in answers]
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    texts = ["".join(itos[i] for i in answer.ids) for answer in answers]
    assert read_text("out.predictions").split("\n")[:3] == [" ".join(text.splitlines()) for text in texts]
    assert [answer.ids for answer in answers] != [answer.ids for answer in asked_as_the_file(model)]
    head, *rows = [line.split("\t") for line in read_text(SCORES.split()[-1]).removesuffix("\n").split("\n")]
    assert head[5:] == ["proven"] and [row[5] for row in rows] == [str(int(answer.proven)) for answer in answers]
    assert f"beam 4: for {sum(answer.proven for answer in answers)} of 3 questions it is proven" in capsys.readouterr().err


def test_a_beam_says_how_much_is_proven(small, folder, monkeypatch, capsys):
    some_params()
    answer(monkeypatch, "Leeds", "York", "York", proven=[True, False, True], width=4)
    call(EVALUATE + " --beam 4")
    out, err = capsys.readouterr()
    assert err == "note: beam 4: for 2 of 3 questions it is proven that no other answer is more probable\n"
    assert out.splitlines()[-1] == "Correct: 2.0 out of 3.0: 66.66666666666666%"
    answer(monkeypatch, "Leeds", "York", "York")
    call(EVALUATE)
    assert capsys.readouterr().err == ""


def test_scores_and_beam_from_python(small, folder, monkeypatch, tiny_pretrain_dataset):
    model = GPT(GPTConfig(tiny_pretrain_dataset.vocab_size, 48, **SMALL.model_settings()))
    answer(monkeypatch, "Leeds", "York", "York", proven=3 * [True], width=2)
    assert run.evaluate(model, tiny_pretrain_dataset, "birth_dev.tsv", "out.predictions", "out.scores", 2) == (3.0, 2.0)
    assert scores_written() == 3 * ["0.5"]
    assert run.evaluate(model, tiny_pretrain_dataset, "birth_dev.tsv", "out.predictions", beam=2) == (3.0, 2.0)


# ---- the same again -------------------------------------------------------------------------------------------------

def files_of_a_run(seed):
    for command in (PRETRAIN, FINETUNE + " --reading_params_path pretrain.params",
                    EVALUATE.replace("some", "finetune")):
        call(f"{command} --seed {seed} --max_epochs 2")
    results = []
    for name in ("pretrain.params", "finetune.params", "out.predictions"):
        with open(name, "rb") as file:
            results.append(file.read())
    return results


def test_the_same_seed_gives_the_same_bytes(small, folder):
    first = files_of_a_run(1)
    torch.manual_seed(99)
    assert files_of_a_run(1) == first
    other = files_of_a_run(2)
    assert other[0] != first[0] and other[1] != first[1]


FORMS = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "BOM": lambda text: "\ufeff" + text,
    "blank lines": lambda text: "\n" + text.replace("\n", "\n  \n\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_files_changes_nothing(small, folder, capsys, form):
    clean = files_of_a_run(1)
    plain = capsys.readouterr().out
    for name, text in (("wiki.txt", TINY_CORPUS), ("birth_places_train.tsv", TINY_QUESTIONS), ("birth_dev.tsv", TINY_QUESTIONS)):
        (folder / name).write_bytes(FORMS[form](text).encode("utf-8"))
    assert files_of_a_run(1) == clean
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "blank" not in line] == plain.splitlines()
    notes = [line for line in out.splitlines() if "blank" in line]
    if form == "blank lines":
        wiki = "wiki.txt: 9 blank lines skipped"
        assert notes == [wiki, wiki, "birth_places_train.tsv: 7 blank lines skipped", wiki, "birth_dev.tsv: 7 blank lines skipped"]
    else:
        assert notes == []


def test_one_blank_line_is_one(small, folder, untrained, capsys, monkeypatch):
    monkeypatch.setattr(run, "train", lambda *_: None)
    (folder / "wiki.txt").write_text("\n" + TINY_CORPUS, encoding="utf-8")
    call(PRETRAIN)
    assert "wiki.txt: 1 blank line skipped\n" in capsys.readouterr().out


# ---- what graders call ----------------------------------------------------------------------------------------------

def grown(documents):
    """A text of so many documents, the last of them empty as after a line end, with all characters of TINY_QUESTIONS."""
    return TINY_CORPUS + "Ann Lee.\n" * (documents - 1 - TINY_CORPUS.count("\n"))


def vanilla_128(dataset):
    return GPT(GPTConfig(dataset.vocab_size, 128, n_layer=1, n_head=2, n_embd=8))


def constants(tconf):
    return (tconf.max_epochs, tconf.batch_size, tconf.learning_rate, tconf.warmup_tokens, tconf.final_tokens)


def check_common(tconf):
    assert (tconf.lr_decay, tconf.num_workers, tconf.ckpt_path) == (True, 4, None)
    assert (tconf.grad_norm_clip, tconf.weight_decay) == (1.0, 0.1)
    assert tconf.betas == (0.9, 0.95) and isinstance(tconf.betas, tuple)
    assert tconf.writer is None


def test_pretrain_gives_config_and_trainer(untrained):
    dataset = CharCorruptionDataset(grown(2938), 128)
    assert len(dataset) == 2938
    model = vanilla_128(dataset)
    before = model.head.weight.detach().clone()
    tconf, trainer = run.pretrain(dataset, 128, model)
    assert constants(tconf) == (650, 128, 6e-3, 10240, 75212800)
    check_common(tconf)
    assert trainer.model is model and trainer.train_dataset is dataset and trainer.test_dataset is None
    assert trainer.config is tconf and torch.equal(model.head.weight, before)


@pytest.mark.parametrize("documents", [5, 100])
def test_final_tokens_counts_the_pretraining_corpus(folder, untrained, documents):
    dataset = CharCorruptionDataset(grown(documents), 128)
    expected = 200 * documents * 128
    assert run.pretrain(dataset, 128, vanilla_128(dataset))[0].final_tokens == expected
    assert run.finetune(None, "birth_places_train.tsv", dataset, 128, vanilla_128(dataset))[0].final_tokens == expected


def test_finetune_without_parameters(folder, untrained):
    dataset = CharCorruptionDataset(grown(2938), 128)
    model = vanilla_128(dataset)
    before = model.head.weight.detach().clone()
    tconf, trainer = run.finetune(None, "birth_places_train.tsv", dataset, 128, model)
    assert constants(tconf) == (75, 256, 6e-4, 10240, 75212800)
    check_common(tconf)
    assert trainer.model is model and trainer.config is tconf and trainer.test_dataset is None
    assert isinstance(trainer.train_dataset, NameDataset) and len(trainer.train_dataset) == 3
    assert torch.equal(model.head.weight, before)


def test_finetune_with_parameters(folder, untrained):
    dataset = CharCorruptionDataset(grown(2938), 128)
    torch.save(vanilla_128(dataset).state_dict(), "pretrained.params")
    state = torch.load("pretrained.params", weights_only=True)
    model = vanilla_128(dataset)
    assert not torch.equal(model.head.weight, state["head.weight"])
    tconf, trainer = run.finetune("pretrained.params", "birth_places_train.tsv", dataset, 128, model)
    assert constants(tconf) == (10, 256, 6e-4, 10240, 75212800)
    check_common(tconf)
    assert trainer.model is model
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_later_editions_arguments(folder, untrained):
    """Peak rate and writer, by place and by keyword."""
    dataset = CharCorruptionDataset(TINY_CORPUS, 128)
    writer = object()
    for tconf, _ in (run.pretrain(dataset, 128, vanilla_128(dataset), 1e-2, writer),
                     run.pretrain(dataset, 128, vanilla_128(dataset), pretrain_lr=1e-2, writer=writer),
                     run.finetune(None, "birth_places_train.tsv", dataset, 128, vanilla_128(dataset), 1e-2, writer),
                     run.finetune(None, "birth_places_train.tsv", dataset, 128, vanilla_128(dataset), finetune_lr=1e-2,
                                  writer=writer),
                     run.finetune(reading_params_path=None, finetune_corpus_path="birth_places_train.tsv",
                                  pretrain_dataset=dataset, block_size=128, model=vanilla_128(dataset), finetune_lr=1e-2,
                                  writer=writer)):
        assert tconf.learning_rate == 1e-2 and tconf.writer is writer


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_train_trains_and_writes(folder, tiny_pretrain_dataset):
    """As graders do it: without a seed, and with the recipe's four workers."""
    model = GPT(GPTConfig(tiny_pretrain_dataset.vocab_size, 48, **SMALL.model_settings()))
    before = model.head.weight.detach().clone()
    _, trainer = run.pretrain(tiny_pretrain_dataset, 48, model, recipe=SMALL, max_epochs=2)
    run.train(model, "trained.params", trainer)
    assert not torch.equal(model.head.weight, before)
    state = torch.load("trained.params", weights_only=True)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_the_recipe_of_the_model():
    assert COURSE.block_size == 128
    assert COURSE.model_settings() == {"n_layer": 4, "n_head": 8, "n_embd": 256, "embd_pdrop": 0.1, "resid_pdrop": 0.1,
                                       "attn_pdrop": 0.1}


def test_the_course_recipe_is_the_default():
    args = run.parse_arguments(shlex.split(PRETRAIN))
    assert (args.recipe, args.seed, args.device, args.max_epochs) == ("course", 0, None, None)
    assert run.RECIPES["course"] is COURSE


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="the course's files are not here")
def test_final_tokens_of_the_courses_corpus(untrained):
    """Through the command line's own reading of the file, so that no document is lost on the way."""
    dataset = run.read_corpus(COURSE_FILES / "wiki.txt", 128)
    assert run.pretrain(dataset, 128, vanilla_128(dataset))[0].final_tokens == 75_212_800


def test_finetune_says_how_much_it_drops(folder, untrained, capsys, tiny_pretrain_dataset):
    (folder / "foreign.tsv").write_text("Where was Zoë Lee born?\tÅlesund\n" + TINY_QUESTIONS, encoding="utf-8")
    capsys.readouterr()
    model = GPT(GPTConfig(tiny_pretrain_dataset.vocab_size, 48, **SMALL.model_settings()))
    run.finetune(None, "foreign.tsv", tiny_pretrain_dataset, 48, model)
    assert "foreign.tsv: 2 characters outside ASCII dropped" in capsys.readouterr().out


# ---- mistakes -------------------------------------------------------------------------------------------------------

def refused(capsys, command, *parts):
    """Asserts that the command ends with exit code 2 and one line on standard error that holds the parts."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        call(command)
    assert exit.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("run.py: error: ") and err.endswith("\n") and len(err.splitlines()) == 1, err
    assert "Traceback" not in err and all(part in err for part in parts), err
    return err


@pytest.fixture
def ready(small, folder, untrained):
    """The files, parameters for evaluation, and no training."""
    some_params()
    return folder


@pytest.mark.parametrize("command, flag", [
    (PRETRAIN, "--writing_params_path"), (FINETUNE, "--finetune_corpus_path"), (FINETUNE, "--writing_params_path"),
    (EVALUATE, "--reading_params_path"), (EVALUATE, "--eval_corpus_path"), (EVALUATE, "--outputs_path"),
])
def test_a_missing_flag(ready, capsys, command, flag):
    refused(capsys, re.sub(rf" {flag} \S+", "", command), f"{command.split()[0]} needs {flag}")


@pytest.mark.parametrize("command, name", [
    (PRETRAIN, "wiki.txt"), (FINETUNE, "birth_places_train.tsv"), (EVALUATE, "some.params"), (EVALUATE, "birth_dev.tsv"),
    (FINETUNE + " --reading_params_path none.params", "none.params"),
])
def test_a_missing_file_or_a_folder(ready, capsys, command, name):
    if (ready / name).exists():
        (ready / name).unlink()
    refused(capsys, command, f"{name}: no such file")
    (ready / name).mkdir()
    refused(capsys, command, f"{name}: is a folder")


@pytest.mark.parametrize("command, flag", [
    (PRETRAIN, "--writing_params_path"), (FINETUNE, "--writing_params_path"), (EVALUATE, "--outputs_path")])
def test_an_output_that_cannot_be_written(ready, capsys, command, flag):
    def written_to(path):
        return re.sub(rf"{flag} \S+", f"{flag} {path}", command)

    refused(capsys, written_to("no/such/out.file"), f"{flag} no/such/out.file: there is no folder no/such")
    (ready / "results").mkdir()
    refused(capsys, written_to("results"), f"{flag} results: is a folder")
    refused(capsys, written_to("results/"), f"{flag} results/: is a folder")
    refused(capsys, written_to("wiki.txt/out.file"), f"{flag} wiki.txt/out.file: there is no folder wiki.txt")
    for name in ("wiki.txt", "./wiki.txt"):
        refused(capsys, written_to(name), f"{flag} {name}: would overwrite an input")
    os.link("wiki.txt", "linked.txt")
    refused(capsys, written_to("linked.txt"), "would overwrite an input")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write and read everywhere")
def test_permissions(ready, capsys):
    (ready / "locked").mkdir(mode=0o500)
    refused(capsys, PRETRAIN.replace("pretrain.params", "locked/pretrain.params"), "the folder locked cannot be written to")
    (ready / "wiki.txt").chmod(0)
    refused(capsys, PRETRAIN, "wiki.txt: cannot be read")


@pytest.mark.parametrize("command", [
    FINETUNE.replace("finetune.params", "birth_places_train.tsv"),
    EVALUATE.replace("out.predictions", "birth_dev.tsv"),
    EVALUATE.replace("out.predictions", "some.params"),
    EVALUATE.replace("out.predictions", "./some.params"),
])
def test_an_output_must_not_be_an_input(ready, capsys, command):
    before = {path.name: path.read_bytes() for path in ready.iterdir()}
    refused(capsys, command, "would overwrite an input")
    assert {path.name: path.read_bytes() for path in ready.iterdir()} == before


@pytest.fixture
def unread(ready, monkeypatch):
    """`ready`, and fails the test if anything is read."""
    for name in ("read_text", "load_params"):
        monkeypatch.setattr(run, name, lambda *_: pytest.fail("something has been read"))
    return ready


@pytest.mark.parametrize("path, message", [
    ("out.predictions", "is the file of --outputs_path, too"), ("./out.predictions", "is the file of --outputs_path, too"),
    ("link", "is the file of --outputs_path, too"), ("here/out.predictions", "is the file of --outputs_path, too"),
    ("no/such/out.scores", "there is no folder no/such"), ("wiki.txt/out.scores", "there is no folder wiki.txt"),
    ("results", "is a folder"), ("results/", "is a folder"), ("''", "is a folder"),
    ("wiki.txt", "would overwrite an input"), ("./birth_dev.tsv", "would overwrite an input"),
    ("some.params", "would overwrite an input"), ("here/some.params", "would overwrite an input"),
])
def test_scores_that_cannot_be_written(unread, capsys, path, message):
    """Said before anything is read, whether the other file is there yet or not."""
    (unread / "results").mkdir()
    (unread / "link").symlink_to("out.predictions")
    (unread / "here").symlink_to(".")
    for _ in range(2):
        before = sorted(os.listdir())
        refused(capsys, f"{EVALUATE} --scores_path {path}", f"--scores_path {path if path != repr('') else ''}: {message}")
        assert sorted(os.listdir()) == before
        (unread / "out.predictions").write_text("the older ones\n")
    assert read_text("out.predictions") == "the older ones\n"


def test_both_outputs_may_go_to_a_device(ready, capsys, monkeypatch):
    answer(monkeypatch, "Leeds", "York", "York")
    before = sorted(os.listdir())
    call(EVALUATE.replace("out.predictions", "/dev/null") + " --scores_path /dev/null")
    assert sorted(os.listdir()) == before and "Correct: 2.0" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write and read everywhere")
def test_folders_without_permission_for_scores_and_events(ready, capsys):
    (ready / "locked").mkdir(mode=0o500)
    refused(capsys, EVALUATE + " --scores_path locked/out.scores", "the folder locked cannot be written to")
    for path in ("locked", "locked/runs", "locked/runs/a"):
        refused(capsys, f"{PRETRAIN} --tb_log_dir {path}", f"--tb_log_dir {path}: the folder {ready}/locked cannot be written to")


def test_a_folder_of_others_for_events(ready, capsys, monkeypatch):
    """The same for all, root too."""
    access = os.access
    monkeypatch.setattr(run.os, "access", lambda path, mode: os.path.basename(path) != "locked" and access(path, mode))
    (ready / "locked").mkdir()
    for path in ("locked", "locked/runs/a"):
        refused(capsys, f"{PRETRAIN} --tb_log_dir {path}", f"--tb_log_dir {path}: the folder {ready}/locked cannot be written to")


@pytest.mark.parametrize("path, message", [
    ("wiki.txt", "/wiki.txt is not a folder"), ("wiki.txt/runs", "/wiki.txt is not a folder"),
    ("./runs/../wiki.txt/a/b", "/wiki.txt is not a folder"), ("dangling/runs", "/dangling is not a folder"),
    ("''", "no folder can have that name"),
])
@pytest.mark.parametrize("command", [PRETRAIN, FINETUNE])
def test_events_that_cannot_be_written(unread, capsys, command, path, message):
    (unread / "dangling").symlink_to("no/such/folder")
    before = sorted(os.listdir())
    refused(capsys, f"{command} --tb_log_dir {path}", "--tb_log_dir ", message)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("function", ["pretrain", "finetune"])
@pytest.mark.parametrize("below", ["", "/runs", "/../{name}/runs"])
@pytest.mark.parametrize("suffix", ["", ".resume", ".log.jsonl"])
def test_a_folder_for_events_where_a_file_is_to_be_written(ready, capsys, function, below, suffix):
    """Found out at the end of a run, it would have been for nothing."""
    command = TRAININGS[function]
    name = re.search(r"--writing_params_path (\S+)", command)[1] + suffix
    path = name + below.format(name=os.path.basename(name))
    refused(capsys, f"{command} --tb_log_dir {path}", f"--tb_log_dir {path}: {name} is to be a file of this command, not a folder")


@pytest.mark.parametrize("content, message", [
    (b"", "no document"), (b"\n  \n\t\n", "no document"), (b"\xef\xbb\xbf", "no document"),
    ("Ann Lee.\nBob \u2047 Whist.\n".encode(), "line 2: holds \u2047 (U+2047)"),
    ("Ann Lee.\n\n\nBob \u25a1 Whist.\n".encode(), "line 4: holds \u25a1 (U+25A1)"),
    (b"Ann Lee.\nCaf\xe9.\n", "line 2: byte 0xe9 is not UTF-8"),
    ("Ann Lee.\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
])
@pytest.mark.parametrize("command", [PRETRAIN, EVALUATE])
def test_a_corpus_that_cannot_be_used(ready, capsys, command, content, message):
    (ready / "wiki.txt").write_bytes(content)
    refused(capsys, command, f"wiki.txt: {message}")
    assert not (ready / "out.predictions").exists() and not (ready / "pretrain.params").exists()


TSV_MISTAKES = {
    "two tabs": ("Where?\tLeeds\n\nWhere?\tYork\tUK\n", "line 3: 2 tabs"),
    "no question": ("Where?\tLeeds\n\tYork\n", "line 2: no question"),
    "a place missing": ("Where?\tLeeds\nWhere?\tYork\nWhere?\n", "line 3: no place"),
    "places missing but one": ("Where?\nWhere?\tYork\n", "line 1: no place"),
    "empty": ("", "no question"),
    "blank": ("\n \n", "no question"),
}


@pytest.mark.parametrize("mistake", TSV_MISTAKES)
@pytest.mark.parametrize("command, name", [(FINETUNE, "birth_places_train.tsv"), (EVALUATE, "birth_dev.tsv")])
def test_a_tsv_that_cannot_be_used(ready, capsys, command, name, mistake):
    content, message = TSV_MISTAKES[mistake]
    (ready / name).write_text(content, encoding="utf-8")
    refused(capsys, command, f"{name}: ", message)
    assert not (ready / "out.predictions").exists() and not (ready / "finetune.params").exists()


@pytest.mark.parametrize("command, name", [(FINETUNE, "birth_places_train.tsv"), (EVALUATE, "birth_dev.tsv")])
def test_a_tsv_that_is_not_utf8(ready, capsys, command, name):
    (ready / name).write_bytes(b"Where?\tLeeds\nWhere?\tZ\xfcrich\n")
    refused(capsys, command, f"{name}: line 2: byte 0xfc is not UTF-8")


@pytest.mark.parametrize("content, message", [
    ("Where was Ann Lee born?\tLeeds\nWhere was Xaver born?\tLeeds\n", "line 2: 'X' (U+0058) is not in the"),
    ("Where was Ann Lee born?\n", "line 1: no place after the question"),
    ("Where?\tLeeds\nWhere was Ann Lee born?" + 20 * " York" + "\tLeeds\n", "line 2: question and place take 130 characters"),
])
def test_a_finetuning_corpus_that_cannot_be_learned(ready, capsys, content, message):
    (ready / "birth_places_train.tsv").write_text(content, encoding="utf-8")
    refused(capsys, FINETUNE, "birth_places_train.tsv: ", message)


@pytest.mark.parametrize("room, variant", [(48, "vanilla"), (47, "synthesizer")])
def test_a_question_that_is_too_long(ready, capsys, variant, room):
    """A question that just fits with its ⁇ is asked; it has one character of answer."""
    some_params(variant=variant)
    command = EVALUATE.replace("vanilla", variant, 1)
    fits = "Where " * 10
    (ready / "birth_dev.tsv").write_text(f"Where?\n{fits[:room - 2]}?\n", encoding="utf-8")
    call(command)
    lines = read_text("out.predictions").split("\n")
    assert len(lines) == 3 and len(lines[1]) <= 1
    os.remove("out.predictions")
    (ready / "birth_dev.tsv").write_text(f"Where?\n\n{fits[:room - 1]}?\n", encoding="utf-8")
    refused(capsys, command, f"birth_dev.tsv: line 3: the question takes {room + 1} characters", f"room for {room}")
    assert not os.path.exists("out.predictions")


WRONG_PARAMS = {
    "the other variant": lambda: some_params(variant="synthesizer"),
    "another vocabulary": lambda: some_params(corpus=TINY_CORPUS + "XYZ"),
    "another size": lambda: some_params(n_embd=16),
    "more layers": lambda: some_params(n_layer=2),
    "a text": lambda: open("some.params", "w").write("Ann Lee. Ann Lee was born in Leeds .\n"),
    "nothing": lambda: open("some.params", "w").close(),
    "half a file": lambda: halve("some.params"),
    "a list": lambda: torch.save([1, 2, 3], "some.params"),
    "other things by name": lambda: torch.save({"head.weight": "text"}, "some.params"),
    "an object": lambda: torch.save(torch.nn.Linear(1, 1), "some.params"),
}


def halve(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.truncate(size // 2)


@pytest.mark.parametrize("wrong", WRONG_PARAMS)
@pytest.mark.parametrize("command", [FINETUNE + " --reading_params_path some.params", EVALUATE])
def test_parameters_that_do_not_fit(ready, capsys, command, wrong):
    WRONG_PARAMS[wrong]()
    err = refused(capsys, command, "some.params: ")
    if wrong == "the other variant":
        assert "it holds a synthesizer model, not a vanilla one" in err
    assert not (ready / "out.predictions").exists() and not (ready / "finetune.params").exists()


GIVE_QUICK, GIVE_COURSE = "; give --recipe quick", "; give --recipe course"
GIVE_CORPUS = "; the pretraining corpus has another vocabulary than the one these were trained with: give that corpus"


@pytest.mark.parametrize("flags, changed, end", [
    ("", {"n_layer": 3}, GIVE_QUICK), ("", {"n_embd": 16}, "more)"),
    (" --recipe quick", {}, GIVE_COURSE), (" --recipe course", {"n_layer": 3}, GIVE_QUICK),
    ("", {"corpus": TINY_CORPUS + "XYZ"}, GIVE_CORPUS), (" --recipe quick", {"n_layer": 3, "corpus": TINY_CORPUS + "XYZ"}, GIVE_CORPUS),
    ("", {"n_layer": 3, "corpus": TINY_CORPUS + "XYZ"}, GIVE_QUICK + GIVE_CORPUS),
    ("", {"n_layer": 5, "corpus": TINY_CORPUS + "XYZ"}, "more)"),
    ("", {"variant": "synthesizer"}, ", not a vanilla one"),
    ("", {"variant": "synthesizer", "n_layer": 3}, ", not a vanilla one" + GIVE_QUICK),
])
@pytest.mark.parametrize("command", [FINETUNE + " --reading_params_path some.params", EVALUATE])
def test_what_to_give_instead_ends_the_line(ready, capsys, monkeypatch, command, flags, changed, end):
    """The quick recipe here has three layers, the course's one."""
    monkeypatch.setitem(run.RECIPES, "quick", dataclasses.replace(SMALL, n_layer=3))
    some_params(**changed)
    err = refused(capsys, command + flags, "some.params: does not fit this model: ").rstrip("\n")
    assert err.endswith(end) and err.count("give ") == end.count("give ")


def test_the_true_recipes_are_told_apart_by_their_sizes():
    for recipe, other in ((run.COURSE, "quick"), (run.RECIPES["quick"], "course")):
        sizes = [{"vocab_size": 9, **{name: getattr(one, name) for name in ("block_size", "n_layer", "n_embd")}}
                 for one in (run.RECIPES[other], recipe)]
        assert run.what_to_give(*sizes) == f"give --recipe {other}"
    assert run.what_to_give({}, sizes[0]) == run.what_to_give(sizes[0], {}) == run.what_to_give(sizes[0], sizes[0]) == ""


def test_vanilla_parameters_are_not_the_synthesizers(ready, capsys):
    refused(capsys, EVALUATE.replace("vanilla", "synthesizer", 1), "it holds a vanilla model, not a synthesizer one")


@pytest.mark.parametrize("flags, part", [
    ("--device abacus", "--device abacus: "), ("--device cpu:x", "--device cpu:x: "), ("--device meta", "--device meta: "),
    ("--seed -1", "--seed is -1"), ("--seed 4294967296", "--seed is 4294967296"), ("--seed x", "--seed"),
    ("--max_epochs 0", "--max_epochs is 0"), ("--max_epochs -3", "--max_epochs is -3"), ("--max_epochs 1.5", "--max_epochs"),
    ("--recipe slow", "--recipe"), ("--unknown 1", "--unknown"), ("--seed", "--seed"),
    ("--beam 0", "--beam is 0; a number from 1 to 256"), ("--beam 257", "--beam is 257;"), ("--beam -1", "--beam is -1;"),
    ("--beam x", "argument --beam: invalid int value: 'x'"), ("--beam 1.5", "--beam"), ("--beam", "--beam"),
])
def test_a_wrong_setting(ready, capsys, flags, part):
    for command in (PRETRAIN, EVALUATE):
        refused(capsys, f"{command} {flags}", part)


@pytest.mark.parametrize("flags, beam", [("", 1), (" --beam 1", 1), (" --beam 256", 256)])
def test_the_narrowest_and_the_widest_beam(flags, beam):
    assert run.parse_arguments(shlex.split(EVALUATE + flags)).beam == beam


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(ready, capsys, name):
    for command in (PRETRAIN, FINETUNE, EVALUATE):
        refused(capsys, f"{command} --device {name}", f"--device {name}: ")


@pytest.mark.parametrize("command, part", [
    ("", "required"), ("pretrain", "required"), ("pretrain vanilla", "required"),
    (PRETRAIN.replace("pretrain", "forget", 1), "forget"), (PRETRAIN.replace("vanilla", "additive"), "additive"),
    (PRETRAIN.replace("vanilla", "Vanilla"), "Vanilla"),
])
def test_a_wrong_word(ready, capsys, command, part):
    refused(capsys, command, part)


def test_a_flag_without_use_is_noted_and_not_read(small, folder, capsys, monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda self: None)
    call(PRETRAIN + " --precision float32 --eval_corpus_path no.tsv --outputs_path no/out")
    assert capsys.readouterr().err.splitlines() == ["note: pretrain makes no use of --eval_corpus_path",
                                                    "note: pretrain makes no use of --outputs_path"]
    call(PRETRAIN + " --precision float32 --scores_path no/such/out --beam 4")
    assert capsys.readouterr().err.splitlines() == ["note: pretrain makes no use of --beam",
                                                    "note: pretrain makes no use of --scores_path"]
    call(FINETUNE + " --precision float32 --beam 1")
    assert capsys.readouterr().err == ""
    some_params()
    answer(monkeypatch, "Leeds", "York", "York")
    call(EVALUATE + " --tb_log_dir wiki.txt/runs")
    assert capsys.readouterr().err.splitlines() == ["note: evaluate makes no use of --tb_log_dir"]


def test_interruption_is_one_line(small, folder, capsys, monkeypatch):
    def train(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(SystemExit) as exit:
        call(PRETRAIN + " --precision float32")
    assert exit.value.code == 130 and capsys.readouterr().err == "run.py: interrupted\n"
    assert not (folder / "pretrain.params").exists()


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "a defect"), OSError(errno.ENOSPC, "a defect", "some file")])
def test_a_file_that_fails_is_not_taken_for_standard_output(small, folder, monkeypatch, error):
    def train(self):
        raise error

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(OSError, match="a defect"):
        call(PRETRAIN)


def test_what_a_killed_run_left_half_written_is_removed(small, folder):
    for name in ("pretrain.params", "pretrain.params.resume", "pretrain.params.log.jsonl"):
        (folder / f".{name}.12345678.part").write_bytes(b"half")
    call(PRETRAIN)
    assert not list(folder.glob(".pretrain.params*"))


def test_our_own_mistakes_are_not_hidden(small, folder, monkeypatch):
    """Only the user's are one line; a defect of the code keeps its traceback."""
    def train(self):
        raise ValueError("a defect")

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(ValueError, match="a defect"):
        call(PRETRAIN)
    assert issubclass(InputError, ValueError)


# ---- what is kept of a run, and taken up ----------------------------------------------------------------------------

class Interruption:
    """Stands for a Trainer's progress, and raises a signal when so many steps of a run have been taken."""

    def __init__(self, monkeypatch, step, number=signal.SIGTERM):
        advance = progress.Progress.advance

        def interrupted(self, *figures):
            advance(self, *figures)
            if self.step == step:
                signal.raise_signal(number)

        monkeypatch.setattr(progress.Progress, "advance", interrupted)


LONGER = " --max_epochs 4"  # of two batches in pretraining, of one in finetuning
TRAININGS = {"pretrain": PRETRAIN + LONGER, "finetune": FINETUNE + " --reading_params_path some.params" + LONGER}


def written(name):
    with open(name, "rb") as file:
        return file.read()


@pytest.mark.parametrize("function", TRAININGS)
@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_same_command_goes_on_where_it_was_stopped(small, folder, capsys, function, name, code):
    some_params()
    call(TRAININGS[function])
    whole = written(f"{function}.params")
    os.remove(f"{function}.params")
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(SystemExit) as exit:
        Interruption(monkeypatch, 3, getattr(signal, name))
        call(TRAININGS[function])
    place = {"pretrain": "epoch 2 step 1 of 2", "finetune": "epoch 3 step 1 of 1"}[function]
    assert exit.value.code == code
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"run.py: stopped: {function}.params.resume holds the run up to {place}; the same command goes on from there")
    assert not os.path.exists(f"{function}.params")
    call(TRAININGS[function])
    assert f"\nresuming from {place}, as {function}.params.resume has it\n" in capsys.readouterr().out
    assert written(f"{function}.params") == whole
    left = {name for name in os.listdir() if name.startswith((function, f".{function}"))}
    assert left == {f"{function}.params", f"{function}.params.log.jsonl"}


def stopped(command, step=3):
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(SystemExit):
        Interruption(monkeypatch, step)
        call(command)


@pytest.mark.parametrize("function, change, said", [
    ("pretrain", ("vanilla", "synthesizer"), "the variant was vanilla and is synthesizer"),
    ("pretrain", ("--max_epochs 4", "--max_epochs 4 --seed 1"), "the seed was 0 and is 1"),
    ("pretrain", ("--max_epochs 4", "--max_epochs 5"), "the max_epochs was 4 and is 5"),
    ("pretrain", ("--max_epochs 4", "--max_epochs 4 --recipe quick"), "the recipe was course and is quick"),
    ("pretrain", ("wiki.txt", "other.txt"), "the pretraining corpus is another"),
    ("finetune", ("wiki.txt", "other.txt"), "the pretraining corpus is another"),
    ("finetune", ("birth_places_train.tsv", "other.tsv"), "the finetuning corpus is another"),
    ("finetune", ("some.params", "other.params"), "the pretrained model is another"),
    ("finetune", (" --reading_params_path some.params", ""), "the pretrained model is another"),
    ("finetune", ("finetune vanilla", "pretrain vanilla"), "the function was finetune and is pretrain"),
])
def test_a_changed_command_is_refused_with_what_differs(small, folder, capsys, function, change, said):
    (folder / "other.txt").write_text(TINY_CORPUS.replace("Hull", "Hulu"), encoding="utf-8")
    (folder / "other.tsv").write_text(TINY_QUESTIONS.replace("Hull", "Leed"), encoding="utf-8")
    some_params()
    state = some_params("other.params")
    state["pos_emb"] += 1e-3
    torch.save(state, "other.params")
    stopped(TRAININGS[function])
    kept = written(f"{function}.params.resume")
    capsys.readouterr()
    changed = TRAININGS[function].replace(*change)
    with pytest.raises(SystemExit) as exit:
        call(changed)
    error = capsys.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2
    assert error.startswith(f"run.py: error: {function}.params.resume: belongs to another run: ") and said in error
    assert error.endswith("--restart starts this one over, in its place")
    assert written(f"{function}.params.resume") == kept and not os.path.exists(f"{function}.params")
    call(changed + " --restart")
    assert "resuming" not in capsys.readouterr().out and os.path.exists(f"{function}.params")


def test_the_form_of_the_files_does_not_make_another_run(small, folder, capsys):
    stopped(PRETRAIN + LONGER)
    (folder / "wiki.txt").write_bytes(b"\xef\xbb\xbf" + TINY_CORPUS.replace("\n", "\r\n").encode("utf-8"))
    call(PRETRAIN + LONGER)
    assert "resuming from" in capsys.readouterr().out


def test_precision_may_change_on_the_way(small, folder, capsys):
    """It is what a loss that is not finite may ask for."""
    stopped(PRETRAIN + LONGER + " --precision bfloat16")
    call(PRETRAIN + LONGER + " --precision float32")
    out, err = capsys.readouterr()
    assert "resuming from" in out and "the precision was bfloat16 and is float32; the run goes on" in err


def test_a_death_between_the_last_two_acts_loses_nothing(small, folder, monkeypatch, capsys):
    """The parameters are written, and what the run would go on from is not yet removed."""
    monkeypatch.setattr(Checkpointer, "remove", lambda self: None)
    call(PRETRAIN + LONGER)
    whole = written("pretrain.params")
    call(PRETRAIN + LONGER)
    assert "resuming from" in capsys.readouterr().out and written("pretrain.params") == whole


def test_parameters_that_cannot_be_written_leave_the_run_to_go_on_from(small, folder, monkeypatch, capsys):
    def full(model, path):
        raise InputError(f"{path}: cannot be written: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit:
        patch.setattr(run, "save_params", full)
        call(PRETRAIN + LONGER)
    assert exit.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "run.py: error: pretrain.params: cannot be written: No space left on device"
    call(PRETRAIN + LONGER)
    assert "resuming from" in capsys.readouterr().out


def test_predictions_are_whole_or_not_there(small, folder, monkeypatch, capsys):
    some_params()
    (folder / "out.predictions").write_text("the older ones\n")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "fsync", full)
        call(EVALUATE)
    assert capsys.readouterr().err.splitlines()[-1] == "run.py: error: out.predictions: cannot be written: No space left on device"
    assert read_text("out.predictions") == "the older ones\n"
    assert not [name for name in os.listdir() if name.startswith(".")]


@pytest.mark.parametrize("command", [PRETRAIN, FINETUNE, EVALUATE])
def test_a_second_run_of_the_same_output_is_refused(small, folder, capsys, untrained, command):
    some_params()
    words = shlex.split(command)
    name = words[words.index("--outputs_path" if command is EVALUATE else "--writing_params_path") + 1]
    with sole_writer(name), pytest.raises(SystemExit) as exit:
        call(command)
    assert exit.value.code == 2
    assert capsys.readouterr().err == (f"run.py: error: {name}: another run (process {os.getpid()}) is about to write this file; wait "
                                       "for it to end, or write another file\n")


def test_a_second_run_of_the_same_scores_is_refused(ready, capsys):
    with sole_writer("out.scores"):
        refused(capsys, SCORES, f"out.scores: another run (process {os.getpid()}) is about to write this file")
        assert not os.path.exists("out.predictions")
    call(SCORES)
    assert os.path.exists("out.scores") and not [name for name in os.listdir() if name.startswith(".")]


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon"])
def test_a_wrong_interval_is_one_line(small, folder, capsys, untrained, value):
    with pytest.raises(SystemExit) as exit:
        call(f"{PRETRAIN} --resume_every {value}")
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.count("\n") == 1 and "--resume_every" in error


def test_the_interval_reaches_the_run(small, folder, monkeypatch):
    intervals = []
    monkeypatch.setattr(Trainer, "train", lambda self: intervals.append((self.config.checkpointer.every, self.config.checkpointer.restart)))
    call(PRETRAIN)
    call(PRETRAIN + " --resume_every 5 --restart")
    assert intervals == [(60, False), (5, True)]


def test_a_device_as_target_takes_the_parameters_and_nothing_is_kept(small, folder):
    before, makers = set(os.listdir()), []
    make = run.make_checkpointer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "make_checkpointer", lambda *arguments: makers.append(make(*arguments)))
        call("pretrain vanilla wiki.txt --writing_params_path /dev/null")
    assert set(os.listdir()) == before and makers == [None]


def test_a_device_in_a_folder_that_is_not_ours_is_a_target(small, folder, monkeypatch):
    """As /dev/null is for all but root."""
    access = os.access
    monkeypatch.setattr(run.os, "access", lambda path, mode: str(path) != "/dev" and access(path, mode))
    call("pretrain vanilla wiki.txt --writing_params_path /dev/null")


def test_what_a_checkpointer_keeps_is_no_parameter_file(small, folder, capsys):
    stopped(PRETRAIN + LONGER)
    with pytest.raises(SystemExit):
        call(EVALUATE.replace("some.params", "pretrain.params.resume"))
    assert "pretrain.params.resume: not a parameter file" in capsys.readouterr().err


# ---- TensorBoard ----------------------------------------------------------------------------------------------------

def events_in(folder):
    """What TensorBoard would show of a folder: by tag, steps and values."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert not any(names for kind, names in accumulator.Tags().items() if kind != "scalars")
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def events_of_log(path):
    """The same, as a log has it that has a record of each step."""
    records = [json.loads(line) for line in read_text(path).splitlines()]
    return {f"train/{name}": [(record["step"], pytest.approx(record[name], rel=1e-6)) for record in records] for name in ("loss", "lr")}


@pytest.fixture
def each_step_logged(monkeypatch):
    monkeypatch.setattr(progress, "STEPS_IN_A_RECORD", 1)


@pytest.mark.parametrize("function", TRAININGS)
def test_tensorboard_shows_loss_and_rate_of_each_step(small, folder, each_step_logged, capsys, function):
    """As the log has them; the parameters are those of a run without it."""
    some_params()
    call(TRAININGS[function])
    parameters = written(f"{function}.params")
    call(TRAININGS[function] + " --tb_log_dir runs/first")
    assert written(f"{function}.params") == parameters and "tensorboard" not in capsys.readouterr().err
    events = events_in("runs/first")
    assert events == events_of_log(f"{function}.params.log.jsonl")
    assert [step for step, _ in events["train/lr"]] == list(range(1, {"pretrain": 9, "finetune": 5}[function]))
    assert len(os.listdir("runs/first")) == 1


def test_tensorboard_shows_each_step_of_an_interrupted_run_once(small, folder, each_step_logged):
    """Also of one that was stopped some steps after what it goes on from was written, and of one that began anew."""
    pytest.importorskip("tensorboard")
    command = PRETRAIN + LONGER + " --tb_log_dir runs"

    def date(run):
        """TensorBoard reads a folder's files in the order of the seconds in their names, of which these runs share one."""
        for name in set(os.listdir("runs")) - {f"events.out.tfevents.{n}" for n in range(run)}:
            os.rename(f"runs/{name}", f"runs/events.out.tfevents.{run}")

    call(PRETRAIN + LONGER)
    expected = events_of_log("pretrain.params.log.jsonl")
    os.remove("pretrain.params")
    stopped(command, 3)
    date(0)
    kept = written("pretrain.params.resume")
    stopped(command, 6)
    date(1)
    (folder / "pretrain.params.resume").write_bytes(kept)
    stopped(command, 7)
    date(2)
    assert [step for step, _ in events_in("runs")["train/loss"]] == list(range(1, 8))
    call(command)
    date(3)
    assert events_in("runs") == events_of_log("pretrain.params.log.jsonl") == expected
    call(command + " --restart --seed 1")
    date(4)
    assert events_in("runs") == events_of_log("pretrain.params.log.jsonl") != expected
    assert len(os.listdir("runs")) == 5


def test_without_tensorboard_a_run_goes_on_with_a_warning(small, folder, capsys, monkeypatch):
    call(PRETRAIN + " --precision float32")
    parameters = written("pretrain.params")
    for name in [name for name in sys.modules if name.startswith(("tensorboard.", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # to import it fails
    capsys.readouterr()
    call(PRETRAIN + " --precision float32 --tb_log_dir runs")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("epoch ")]
    assert lines == ["warning: --tb_log_dir: the package tensorboard is not installed; the run goes on without it, with "
                     "PARAMS.log.jsonl alone"]
    assert written("pretrain.params") == parameters and not os.path.exists("runs")
    call(PRETRAIN + " --precision float32")
    assert "tensorboard" not in capsys.readouterr().err


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_writes_events(small, folder, monkeypatch, first):
    pytest.importorskip("tensorboard")
    writers = []
    monkeypatch.setattr(run, "is_first_process", lambda: first)
    monkeypatch.setattr(Trainer, "train", lambda self: writers.append(self.config.writer))
    call(PRETRAIN + " --tb_log_dir runs")
    call(PRETRAIN)
    assert [writer is not None for writer in writers] == [first, False] and not os.path.exists("runs")


# ---- streams that fail ----------------------------------------------------------------------------------------------

@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_standard_output_is_one_line(small, folder, unbuffered):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, ROOT / "src" / "run.py", *shlex.split(PRETRAIN), "--recipe", "quick", "--max_epochs", "1"],
                              stdout=full, stderr=subprocess.PIPE, timeout=120, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == "run.py: error: standard output: cannot be written: No space left on device"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_a_full_disk_under_standard_error_ends_nothing(folder):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, ROOT / "src" / "run.py", *shlex.split(PRETRAIN), "--recipe", "quick", "--max_epochs", "1"],
                              stdout=subprocess.PIPE, stderr=full, timeout=120)
    assert done.returncode == 0 and os.path.exists("pretrain.params")


def test_closed_streams_end_nothing(folder):
    done = subprocess.run(f"{sys.executable} {ROOT}/src/run.py {PRETRAIN} --recipe quick --max_epochs 1 >&- 2>&-", shell=True, timeout=120)
    assert done.returncode == 0 and os.path.exists("pretrain.params")


# ---- as a process ---------------------------------------------------------------------------------------------------

def process(*words, cwd, **environment):
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def test_import_run_runs_nothing(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); sys.argv = ['x', 'pretrain']; import run"
    done = process("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr, os.listdir(tmp_path)) == (0, b"", b"", [])


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX alone")
@pytest.mark.parametrize("name", ["Zoë.txt".encode("utf-8"), "Zoë.txt".encode("latin-1")])
def test_a_mistake_as_a_process_sees_it(folder, name):
    """Also where the missing file's name is not UTF-8."""
    done = process(str(ROOT / "src" / "run.py"), "pretrain", "vanilla", name, "--writing_params_path", "x.params", cwd=folder)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.count(b"\n") == 1 and done.stderr.startswith(b"run.py: error: ") and b"no such file" in done.stderr


def test_evaluation_as_a_process(folder):
    """The quick recipe's model, untrained, in a locale of ASCII alone; the predictions are UTF-8 and one a question."""
    from recipe import QUICK
    dataset = CharCorruptionDataset(TINY_CORPUS, QUICK.block_size)
    torch.save(GPT(GPTConfig(dataset.vocab_size, QUICK.block_size, **QUICK.model_settings())).state_dict(), "some.params")
    (folder / "birth_dev.tsv").write_text(TINY_QUESTIONS + "Where was Šid born?\tHull\n", encoding="utf-8")
    done = process(str(ROOT / "src" / "run.py"), *shlex.split(EVALUATE), "--recipe", "quick", cwd=folder,
                   LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and re.search(r"^Correct: \d\.0 out of 4\.0: ", done.stdout.decode("utf-8"), re.M)
    assert "line 4: 'Š' (U+0160) is not in the pretraining corpus" in done.stderr.decode("utf-8")
    assert read_text("out.predictions").count("\n") == 4


@pytest.mark.parametrize("policy, expected", [(None, "1000"), ("active", None)])
def test_threads_that_share_a_core_do_not_keep_it_from_each_other(policy, expected, tmp_path):
    """The setting has to be there before torch is; a user's own is left alone. Without it, 4 epochs took 99 s instead of 4."""
    script = f"import os, sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import run; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [str(expected), "True"]
    source = read_text(ROOT / "src" / "run.py")
    assert source.index("GOMP_SPINCOUNT") < source.index("\nfrom arguments")
