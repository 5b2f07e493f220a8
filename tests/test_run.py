"""
The command line on tiny corpora: the handout's commands as they stand, what evaluation prints and
writes, seeds, the functions that graders call, what parameters belong to, resuming, and one line
for each mistake in a file.
"""

import contextlib
import dataclasses
import inspect
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch

import commands
import reference
import run
from attention import VARIANTS
from commands import (
    EVALUATE,
    FINETUNE,
    FINETUNE_SOME,
    PRETRAIN,
    SCORES,
    SMALL,
    at_step,
    call,
    content,
    files,
    refused,
    small_model,
    some_params,
)
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, NameDataset
from fast.decoding import Answer
from model import GPT, GPTConfig
from recipe import QUICK
from runs.inputs import InputError, read_text
from runs.resume import Checkpointer
from trainer import NotFiniteError, OutOfMemoryError, Trainer

COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"

HANDOUT = """
    python src/run.py finetune vanilla wiki.txt --writing_params_path vanilla.model.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.nopretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.model.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.nopretrain.test.predictions
    python src/run.py pretrain vanilla wiki.txt --writing_params_path vanilla.pretrain.params
    python src/run.py finetune vanilla wiki.txt --reading_params_path vanilla.pretrain.params --writing_params_path vanilla.finetune.params --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_dev.tsv --outputs_path vanilla.pretrain.dev.predictions
    python src/run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params --eval_corpus_path birth_test_inputs.tsv --outputs_path vanilla.pretrain.test.predictions
"""  # noqa: E501


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the files of an experiment; all recipes are SMALL."""
    return commands.set_up(tmp_path, monkeypatch)


@pytest.fixture
def untrained(monkeypatch):
    """The Trainers that the command line would have run, each when train() is called."""
    trainers = []
    monkeypatch.setattr(Trainer, "train", lambda self, checkpointer=None: trainers.append(self))
    return trainers


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


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


# ---- the handout ----------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["", " --recipe quick --seed 3 --device cpu"])
def test_the_handouts_commands_work_as_they_stand(capsys, monkeypatch, variant, flags):
    if "quick" in flags:
        monkeypatch.setitem(run.RECIPES, "quick", QUICK)  # the real one
    for line in HANDOUT.replace("vanilla", variant).strip().splitlines():
        words = shlex.split(line + flags)
        is_training = "evaluate" not in words
        if is_training and flags:
            words += ["--max_epochs", "1"]
        flag = "--writing_params_path" if is_training else "--outputs_path"
        written = words[words.index(flag) + 1]
        before = files()
        run.main(words[2:])
        out, err = capsys.readouterr()
        beside = {f"{written}.json", f"{written}.log.jsonl"} if is_training else set()
        assert files() - before == {written} | beside
        assert f"data has {len(TINY_CORPUS)} characters, " in out
        assert re.search(r"^number of parameters: \d+$", out, re.M)
        if is_training:
            state = torch.load(written, weights_only=True)
            assert state.keys() >= small_model(variant, n_layer=2).state_dict().keys()
            assert "epoch 1/1, step 1/" in err or "epoch 1/1, step 2/2" in err
        elif "birth_dev.tsv" in words:
            assert re.search(r"^Correct: [0-3]\.0 out of 3\.0: \d+\.\d+%$", out, re.M)
            assert len(read_text(written).split("\n")) == 3 + 1
        else:
            assert out.endswith(
                "No gold birth places provided; returning (0,0)\n"
                f"Predictions written to {written}; no targets provided\n"
            )
            assert len(read_text(written).split("\n")) == 3 + 1


def test_the_variant_reaches_the_model(untrained, variant):
    call(PRETRAIN.replace("vanilla", variant))
    assert type(untrained[0].model.blocks[0].attn) is VARIANTS[variant]


def test_flags_reach_the_trainer(untrained, monkeypatch):
    monkeypatch.setattr("trainer.check_compiler", lambda device: None)
    flags = " --seed 5 --max_epochs 7 --device cpu --precision bfloat16 --micro_batch_size 3"
    flags += " --compile"
    for command in (PRETRAIN, FINETUNE):
        call(command)
        call(command + flags)
    names = ("seed", "max_epochs", "micro_batch_size", "compile", "precision")
    found = [tuple(getattr(t.config, name) for name in names) for t in untrained]
    assert found == 2 * [(0, 1, None, False, "auto"), (5, 7, 3, True, "bfloat16")]
    assert untrained[1].precision == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_that_nobody_asked_for_is_noted(untrained, monkeypatch, capsys, native):
    monkeypatch.setattr("runs.device.multiplies_bfloat16", lambda device: native)
    for flags in ("", " --precision bfloat16", " --precision float32"):
        call(PRETRAIN + flags)
        assert ("bfloat16" in capsys.readouterr().err) == (native and not flags)


def test_finetuning_starts_from_the_parameters_given(untrained):
    state = some_params().state_dict()
    call(FINETUNE_SOME)
    call(FINETUNE)
    given, scratch = (trainer.model.state_dict() for trainer in untrained)
    for name in ("head.weight", "tok_emb.weight", "blocks.0.mlp.0.weight"):
        assert torch.equal(given[name], state[name]) and not torch.equal(
            scratch[name], state[name]
        )


def test_finetuning_may_write_over_what_it_read():
    before = some_params("finetune.params").state_dict()
    call(FINETUNE + " --reading_params_path finetune.params")
    after = torch.load("finetune.params", weights_only=True)
    assert not torch.equal(after["head.weight"], before["head.weight"])


# ---- evaluation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "places, line",
    [
        (("Leeds", "York", "Hull"), "Correct: 3.0 out of 3.0: 100.0%"),
        (("Leeds", "Ålesund", "York"), "Correct: 1.0 out of 3.0: 33.33333333333333%"),
        (("York", "", "hull"), "Correct: 0.0 out of 3.0: 0.0%"),
    ],
)
def test_evaluation_prints_the_score_and_writes_the_places(monkeypatch, capsys, places, line):
    some_params()
    asked = answers(monkeypatch, *places)
    call(EVALUATE)
    assert last_line(capsys) == line
    assert content("out.predictions") == "".join(f"{place}\n" for place in places).encode()
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    prompts = ["".join(itos[i] for i in ids) for ids in asked]
    assert prompts == [line.split("\t")[0] + "\u2047" for line in TINY_QUESTIONS.splitlines()]


def test_unknown_characters_are_left_out_with_a_warning(folder, monkeypatch, capsys):
    text = TINY_QUESTIONS + "\nWhere was Šid Žig born?\tYork\n"
    (folder / "birth_dev.tsv").write_text(text, encoding="utf-8")
    some_params()
    asked = answers(monkeypatch, "Leeds", "York", "Hull", "York")
    call(EVALUATE)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert all(part in err for part in ("birth_dev.tsv: line 5", "U+0160", "U+017D"))
    assert out.splitlines()[-1] == "Correct: 4.0 out of 4.0: 100.0%"
    itos = CharCorruptionDataset(TINY_CORPUS, 48).itos
    assert "".join(itos[i] for i in asked[3]) == "Where was id ig born?\u2047"


def test_tabs_and_line_ends_in_a_prediction_shift_no_lines_and_columns(folder, monkeypatch):
    corpus = TINY_CORPUS.replace(" .\n", " .\t\u2028\x85\x0b\n")
    (folder / "wiki.txt").write_text(corpus, encoding="utf-8", newline="")
    some_params(corpus=corpus)
    answers(monkeypatch, "Le\neds", "\u2028Yo\x85rk\x0b", "\tHu\t")
    call(SCORES)
    lines = content("out.predictions").decode().removesuffix("\n").split("\n")
    assert len(lines) == 3 and len("\n".join(lines).splitlines()) == 3
    assert lines[0] == "Le eds" and lines[2] == "\tHu\t"
    rows = [line.split("\t") for line in content("out.scores").decode().splitlines()]
    assert [len(row) for row in rows] == [5] * 4
    assert [row[1] for row in rows[1:]] == ["Le eds", lines[1], " Hu "]


def test_the_table_of_scores(monkeypatch):
    """Six digits of the probability; 1 where the prediction is the place, to the letter."""
    some_params()
    answers(monkeypatch, "Leeds", "", "hull", probabilities=(1, 0.1234567, 1.2345678e-11))
    call(SCORES)
    assert read_text("out.scores") == (
        "question\tprediction\tprobability\tplace\tcorrect\n"
        "Where was Ann Lee born?\tLeeds\t1\tLeeds\t1\n"
        "Where was Bob Whist born?\t\t0.123457\tYork\t0\n"
        "Where was Ed Ng born?\thull\t1.23457e-11\tHull\t0\n"
    )
    assert content("out.predictions") == b"Leeds\n\nhull\n"
    answers(monkeypatch, "Leeds", "York", "Hull")
    call(SCORES.replace("birth_dev.tsv", "birth_test_inputs.tsv"))
    assert read_text("out.scores").splitlines()[2] == "Where was Bob Whist born?\tYork\t0.5\t\t"


def test_a_beam_search_tells_how_much_is_proven(monkeypatch, capsys):
    some_params()
    answers(monkeypatch, "Leeds", "York", "York", proven=[True, False, True], beam=4)
    call(SCORES + " --beam 4")
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "beam 4" in err and "2 of 3" in err
    assert out.splitlines()[-1] == "Correct: 2.0 out of 3.0: 66.66666666666666%"
    assert [line.split("\t")[5] for line in read_text("out.scores").splitlines()] == [
        "proven",
        "1",
        "0",
        "1",
    ]


def test_a_real_models_predictions_are_the_references(known_variant):
    """
    Each character is the reference's most probable one, up to the block's end. The scores change
    no prediction, and their probability is the product over the characters.
    """
    model = some_params(scale=0.7, variant=known_variant)
    state = model.state_dict()
    state["head.weight"][1] *= 0.1  # hardly any ⁇, so that answers are long
    torch.save(state, "some.params")
    command = EVALUATE.replace("vanilla", known_variant, 1)
    call(command)
    predictions = content("out.predictions")
    call(command + " --scores_path out.scores --beam 1")
    assert content("out.predictions") == predictions

    dataset = CharCorruptionDataset(TINY_CORPUS, 48)
    question, answer, score = read_text("out.scores").split("\n")[1].split("\t")[:3]
    ids = [dataset.stoi[char] for char in question + "\u2047" + answer]
    assert len(answer) > 3 and len(ids) == model.max_positions + 1
    logits = reference.gpt_logits(state, torch.tensor([ids[:-1]]), 3, 2)[0]
    product = 1.0
    for z, char in zip(logits[len(question) :], ids[len(question) + 1 :], strict=True):
        assert z.argmax() == char
        product *= reference.softmax(z).max().item()
    assert float(score) == pytest.approx(product, rel=1e-3)


@pytest.mark.parametrize("positions, variant", [(48, "vanilla"), (47, "synthesizer")])
def test_a_question_just_fits_or_is_too_long(folder, capsys, variant, positions):
    some_params(variant=variant)
    command = EVALUATE.replace("vanilla", variant, 1)
    text = "Where " * 10
    (folder / "birth_dev.tsv").write_text(f"Where?\n{text[: positions - 2]}?\n")
    call(command)
    assert len(read_text("out.predictions").split("\n")[1]) <= 1
    (folder / "birth_dev.tsv").write_text(f"Where?\n\n{text[: positions - 1]}?\n")
    refused(capsys, command, "birth_dev.tsv: line 3", str(positions + 1), str(positions))


# ---- the same again -------------------------------------------------------------------------


def run_of_three_stages(seed):
    """The bytes of the parameters and predictions of a run."""
    for command in (
        PRETRAIN,
        FINETUNE + " --reading_params_path pretrain.params",
        EVALUATE.replace("some", "finetune"),
    ):
        call(f"{command} --seed {seed}" + ("" if "evaluate" in command else " --max_epochs 2"))
    return [content(name) for name in ("pretrain.params", "finetune.params", "out.predictions")]


def test_the_same_seed_gives_the_same_bytes():
    first = run_of_three_stages(1)
    torch.manual_seed(99)
    assert run_of_three_stages(1) == first
    other = run_of_three_stages(2)
    assert other[0] != first[0] and other[1] != first[1]


def test_the_form_of_the_files_changes_nothing(folder, capsys):
    """Line ends of Windows, a byte-order mark, and blank lines, which are counted in a note."""
    clean = run_of_three_stages(1)
    printed = capsys.readouterr().out
    for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv"):
        text = (folder / name).read_bytes().decode()
        text = "\ufeff\n" + text.replace("\n", "\n  \n\n").replace("\n", "\r\n")
        (folder / name).write_bytes(text.encode())
    assert run_of_three_stages(1) == clean
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "blank" not in line] == printed.splitlines()
    notes = [line for line in lines if "blank" in line]
    assert sum(line.startswith("wiki.txt: 9 blank lines") for line in notes) == 3
    assert sum(line.startswith("birth_dev.tsv: 7 blank lines") for line in notes) == 1


# ---- what graders call ----------------------------------------------------------------------


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


def test_finetune_says_how_much_it_drops(folder, untrained, capsys, tiny_pretrain_dataset):
    text = "Where was Zoë Lee born?\tÅlesund\n" + TINY_QUESTIONS
    (folder / "foreign.tsv").write_text(text, encoding="utf-8")
    run.finetune(None, "foreign.tsv", tiny_pretrain_dataset, 48, small_model())
    assert "foreign.tsv: 2 characters" in capsys.readouterr().out


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="the course's files are not here")
def test_final_tokens_of_the_courses_corpus(untrained):
    """Through the command line's own reading, so that no document is lost on the way."""
    dataset = run.read_corpus(COURSE_FILES / "wiki.txt", 128)
    assert run.pretrain(dataset, 128, model_for(dataset))[0].final_tokens == 75_212_800


# ---- mistakes in a file ---------------------------------------------------------------------


BAD_CORPUS = [
    (b"\n  \n\t\n", ""),
    ("Ann.\n\n\nBob \u25a1.\n".encode(), "line 4"),
    (b"\xe9", "line 1"),
]
BAD_QUESTIONS = [
    (b"\n \n", ""),
    (b"Who?\tYork\n\nWho?\tYork\tUK\n", "line 3"),
    (b"\n\xe9", "line 2"),
]


@pytest.mark.parametrize(
    "command, name, raw, part",
    [(command, "wiki.txt", *bad) for command in (PRETRAIN, EVALUATE) for bad in BAD_CORPUS]
    + [(FINETUNE, "birth_places_train.tsv", *bad) for bad in BAD_QUESTIONS]
    + [(EVALUATE, "birth_dev.tsv", *bad) for bad in BAD_QUESTIONS]
    + [
        (FINETUNE, "birth_places_train.tsv", b"Where?\tX\n", "line 1"),  # not in the vocabulary
        (FINETUNE, "birth_places_train.tsv", b"Where?\n", "line 1"),
        (FINETUNE, "birth_places_train.tsv", b"Who?" + b" York" * 20 + b"\tHull\n", "line 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_line(
    folder, capsys, command, name, raw, part
):
    some_params()
    (folder / name).write_bytes(raw)
    refused(capsys, command, name, part)


@pytest.mark.parametrize(
    "flags, changed, parts",
    [
        ("", {"n_layer": 4}, ["--recipe quick"]),
        (" --recipe quick", {}, ["--recipe course"]),
        ("", {"n_embd": 16}, []),  # of no recipe
        ("", {"corpus": TINY_CORPUS + "XYZ"}, ["corpus"]),
        ("", {"n_layer": 4, "corpus": TINY_CORPUS + "XYZ"}, ["--recipe quick", "corpus"]),
        ("", {"variant": "synthesizer"}, ["synthesizer", "vanilla"]),
    ],
)
def test_parameters_of_another_model(untrained, capsys, monkeypatch, flags, changed, parts):
    """The line names what to give instead: a recipe, the corpus, both, or another variant."""
    monkeypatch.setitem(run.RECIPES, "quick", dataclasses.replace(SMALL, n_layer=4))
    some_params(**changed)
    for command in (FINETUNE_SOME, EVALUATE):
        line = refused(capsys, command + flags, "some.params", *parts)
        for hint in ("--recipe", "corpus"):
            assert (hint in line) == any(hint in part for part in parts)


# ---- what parameters belong to --------------------------------------------------------------


@pytest.fixture
def trained(capsys):
    """Parameters of both trainings with their PARAMS.json, as EVALUATE and FINETUNE read them."""
    call(PRETRAIN.replace("pretrain.params", "some.params"))
    capsys.readouterr()


def test_training_writes_what_its_parameters_belong_to(trained):
    from runs.checkpoint import digest
    from runs.resume import digest_of_code

    meta = json.loads(read_text("some.params.json"))
    dataset = CharCorruptionDataset(TINY_CORPUS, SMALL.block_size)
    characters = "".join(dataset.itos[i] for i in range(dataset.vocab_size))
    sizes = {"block_size": 48, "n_layer": 3, "n_head": 2, "n_embd": 8}
    assert meta == {
        "function": "pretrain",
        "variant": "vanilla",
        "recipe": "course",
        "sizes": {"vocab_size": dataset.vocab_size, **sizes},
        "vocabulary": digest(characters.encode()),
        "seed": 0,
        "code": digest_of_code(ROOT / "src"),
        "sha256": digest(content("some.params")),
    }


class Double(VARIANTS["vanilla"]):
    """A variant whose tensors have the same names and sizes as vanilla's."""


def another_variant(folder, monkeypatch):
    monkeypatch.setitem(VARIANTS, "double", Double)
    monkeypatch.setattr(GPTConfig, "double", False, raising=False)
    return lambda command: command.replace("vanilla", "double", 1)


def another_vocabulary(folder, monkeypatch):
    (folder / "wiki.txt").write_text(TINY_CORPUS.replace("wove", "woxe"), encoding="utf-8")
    return str


def another_n_head(folder, monkeypatch):
    monkeypatch.setitem(run.RECIPES, "quick", dataclasses.replace(SMALL, n_head=4))
    return lambda command: command + " --recipe quick"


@pytest.mark.parametrize(
    "change, parts",
    [
        (another_variant, ("vanilla", "double")),
        (another_vocabulary, ("vocabulary", "corpus")),
        (another_n_head, ("sizes",)),
    ],
)
@pytest.mark.parametrize("command", [FINETUNE_SOME, EVALUATE])
def test_parameters_that_fit_and_belong_elsewhere(
    trained, folder, monkeypatch, capsys, command, change, parts
):
    """Without PARAMS.json nobody can tell, and they load as before."""
    changed = change(folder, monkeypatch)(command)
    refused(capsys, changed, "some.params", *parts)
    os.remove("some.params.json")
    call(changed)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_params_json_that_is_none_is_a_warning(trained, folder, capsys, raw):
    (folder / "some.params.json").write_bytes(raw)
    call(EVALUATE)
    error = capsys.readouterr().err
    assert error.startswith("warning: ") and "some.params.json" in error and error.count("\n") == 1


def test_the_params_json_of_other_parameters_is_a_note(trained, folder, monkeypatch, capsys):
    some_params()  # as if copied over the file
    another_vocabulary(folder, monkeypatch)
    call(EVALUATE)
    error = capsys.readouterr().err
    assert error.startswith("note: ") and "some.params.json" in error and error.count("\n") == 1


# ---- a run that stops -----------------------------------------------------------------------

LONGER = " --max_epochs 4 --precision float32"  # pretraining has two batches, finetuning one
TRAININGS = {"pretrain": PRETRAIN + LONGER, "finetune": FINETUNE_SOME + LONGER}


def stop(command, step=3, number=signal.SIGTERM):
    """Runs a command that gets a signal in that step. Returns the exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit:
        at_step(patch, step, lambda: signal.raise_signal(number))
        call(command)
    return exit.value.code


@pytest.mark.parametrize("function, place", [("pretrain", (2, 1, 2)), ("finetune", (3, 1, 1))])
@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_same_command_resumes(capsys, function, place, name, code):
    some_params()
    params = f"{function}.params"
    call(TRAININGS[function])
    whole, log = content(params), content(f"{params}.log.jsonl")
    os.remove(params)
    capsys.readouterr()
    assert stop(TRAININGS[function], number=getattr(signal, name)) == code
    line = capsys.readouterr().err.splitlines()[-1]
    where = "epoch {} step {} of {}".format(*place)
    assert f"{params}.resume" in line and where in line
    assert not os.path.exists(params)
    call(TRAININGS[function])
    assert f"resuming {params}.resume from {where}\n" in capsys.readouterr().out
    assert content(params) == whole
    assert content(f"{params}.log.jsonl").count(b"\n") == log.count(b"\n")
    assert {name for name in files() if name.startswith(function)} == {
        params,
        f"{params}.json",
        f"{params}.log.jsonl",
    }


@pytest.mark.parametrize(
    "function, old, new",
    [
        ("pretrain", "vanilla", "synthesizer"),
        ("pretrain", "--max_epochs 4", "--max_epochs 4 --seed 1"),
        ("pretrain", "--max_epochs 4", "--max_epochs 5"),
        ("pretrain", "--max_epochs 4", "--max_epochs 4 --recipe quick"),
        ("pretrain", "wiki.txt", "other.txt"),
        ("finetune", "wiki.txt", "other.txt"),
        ("finetune", "birth_places_train.tsv", "other.tsv"),
        ("finetune", "some.params", "other.params"),
        ("finetune", " --reading_params_path some.params", ""),
        (
            "finetune",
            TRAININGS["finetune"],
            TRAININGS["pretrain"].replace("pretrain.params", "finetune.params"),
        ),
    ],
)
def test_another_runs_resume_file_is_refused_and_kept(folder, capsys, function, old, new):
    (folder / "other.txt").write_text(TINY_CORPUS.replace("Hull", "Hulu"), encoding="utf-8")
    (folder / "other.tsv").write_text(TINY_QUESTIONS.replace("Hull", "Leed"), encoding="utf-8")
    some_params()
    some_params("other.params", scale=0.1)
    stop(TRAININGS[function])
    before = content(f"{function}.params.resume")
    changed = TRAININGS[function].replace(old, new)
    refused(capsys, changed, f"{function}.params.resume", "--restart")
    assert content(f"{function}.params.resume") == before
    call(changed + " --restart")
    assert "resuming" not in capsys.readouterr().out and os.path.exists(f"{function}.params")


def test_the_form_of_the_corpus_and_the_precision_make_no_other_run(folder, capsys):
    stop(PRETRAIN + LONGER)
    raw = b"\xef\xbb\xbf" + TINY_CORPUS.replace("\n", "\r\n").encode()
    (folder / "wiki.txt").write_bytes(raw)
    call(PRETRAIN + LONGER.replace("float32", "bfloat16"))
    out, err = capsys.readouterr()
    assert "resuming" in out and "the precision was float32 and is bfloat16" in err


def test_a_death_just_before_the_resume_file_is_removed_loses_nothing(monkeypatch, capsys):
    monkeypatch.setattr(Checkpointer, "remove", lambda self: None)
    call(PRETRAIN + LONGER)
    whole = content("pretrain.params")
    call(PRETRAIN + LONGER)
    assert "resuming" in capsys.readouterr().out and content("pretrain.params") == whole


def test_parameters_that_cannot_be_written_can_be_had_by_resuming(monkeypatch, capsys):
    def full(model, path, meta):
        raise InputError(f"{path}: cannot be written: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit:
        patch.setattr(run, "save_params", full)
        call(PRETRAIN + LONGER)
    assert exit.value.code == 2
    assert "pretrain.params" in capsys.readouterr().err.splitlines()[-1]
    call(PRETRAIN + LONGER)
    assert "resuming" in capsys.readouterr().out and os.path.exists("pretrain.params")


def test_an_interruption_before_the_first_step_is_one_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", interrupted)
    refused(capsys, PRETRAIN, "interrupted", code=130)


@pytest.mark.parametrize(
    "error, part",
    [
        (NotFiniteError("the loss is not finite"), "--precision float32"),
        (OutOfMemoryError("out of memory", 128), "--micro_batch_size 64"),
        (OutOfMemoryError("out of memory", 100), "--micro_batch_size 64"),
        (OutOfMemoryError("out of memory", 3), "--micro_batch_size 2"),
        (OutOfMemoryError("out of memory", 2), "--micro_batch_size 1"),
        (OutOfMemoryError("out of memory", 1), "--device cpu"),
    ],
)
def test_a_training_that_cannot_go_on_names_the_flag_that_helps(monkeypatch, capsys, error, part):
    def train(*_):
        raise error

    monkeypatch.setattr(Trainer, "train", train)
    refused(capsys, PRETRAIN, str(error), part)


@pytest.mark.parametrize(
    "command, name",
    [(PRETRAIN, "pretrain.params"), (FINETUNE, "finetune.params")],
)
def test_a_second_run_of_the_same_parameters_is_refused(untrained, capsys, command, name):
    """Also where a dead run has left its lock file, as the first one here does."""
    with run.sole_writer(name):
        refused(capsys, command, name)
    call(command)


def test_what_a_killed_run_left_half_written_is_removed(folder):
    for name in ("", ".resume", ".log.jsonl", ".json"):
        (folder / f".pretrain.params{name}.12345678.part").write_bytes(b"half")
    call(PRETRAIN)
    assert not list(folder.glob(".*.part"))


def test_the_flags_of_resuming_reach_the_checkpointer(monkeypatch):
    seen = []
    monkeypatch.setattr(run, "train", lambda *arguments: seen.append(arguments[3]))
    call(PRETRAIN)
    call(PRETRAIN + " --resume_every 5 --restart")
    assert [(keeper.every, keeper.restart) for keeper in seen] == [(60, False), (5, True)]


def test_a_device_as_target_takes_the_parameters_and_nothing_is_kept():
    before = files()
    call("pretrain vanilla wiki.txt --writing_params_path /dev/null")
    assert files() == before and not os.path.exists("/dev/null.json")


def test_a_resume_file_is_no_parameter_file(capsys):
    stop(PRETRAIN + LONGER)
    refused(capsys, EVALUATE.replace("some.params", "pretrain.params.resume"), "params.resume")


# ---- TensorBoard ----------------------------------------------------------------------------


def events_in(folder):
    """What TensorBoard shows of a folder: by tag, steps and values."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def events_of_log(path):
    """The same from a log that has a record of each step."""
    records = [json.loads(line) for line in read_text(path).splitlines()]
    return {
        f"train/{name}": [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in records]
        for name in ("loss", "lr")
    }


@pytest.mark.slow
def test_tensorboard_shows_each_step_once_also_of_a_run_that_resumed(monkeypatch):
    monkeypatch.setattr("runs.progress.STEPS_IN_A_RECORD", 1)
    call(PRETRAIN + LONGER)
    parameters = content("pretrain.params")
    events = PRETRAIN + LONGER + " --tb_log_dir events"
    stop(events, 3)
    older = content("pretrain.params.resume")
    os.rename(f"events/{os.listdir('events')[0]}", "events/events.out.tfevents.0")
    stop(events, 6)
    with open("pretrain.params.resume", "wb") as file:
        file.write(older)  # as if the run had been killed and resumed from before
    call(events)
    assert content("pretrain.params") == parameters
    found = events_in("events")
    assert found == events_of_log("pretrain.params.log.jsonl")
    assert [step for step, _ in found["train/loss"]] == list(range(1, 9))


def test_without_tensorboard_a_run_goes_on_with_a_warning(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # to import it fails
    call(PRETRAIN + " --precision float32 --tb_log_dir events")
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" not in line]
    assert len(lines) == 1 and lines[0].startswith("warning: ") and "tensorboard" in lines[0]
    assert not os.path.exists("events")


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_writes_events(untrained, monkeypatch, first):
    @contextlib.contextmanager
    def writer(folder):
        yield folder

    monkeypatch.setattr(run, "is_first_process", lambda: first)
    monkeypatch.setattr(run, "tensorboard_writer", writer)
    call(PRETRAIN + " --tb_log_dir events")
    call(PRETRAIN)
    found = [trainer.config.writer for trainer in untrained]
    assert found == ["events" if first else None, None]


# ---- as a process ---------------------------------------------------------------------------


@pytest.mark.slow
def test_importing_run_runs_nothing(folder):
    before = files()
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import run"
    done = subprocess.run([sys.executable, "-c", program, "pretrain"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr, files()) == (0, b"", b"", before)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize("streams, code", [(">/dev/full", 2), ("2>/dev/full", 0), (">&- 2>&-", 0)])
def test_streams_that_are_full_or_closed(streams, code):
    """Standard output holds the result, and a full disk under it is one line."""
    program = f"{sys.executable} {ROOT}/src/run.py {PRETRAIN} --recipe quick --max_epochs 1"
    done = subprocess.run(f"{program} {streams}", shell=True, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == code and os.path.exists("pretrain.params") == (code == 0)
    if code:
        assert "standard output" in done.stderr.decode().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX alone")
def test_an_ascii_locale_and_a_name_that_is_not_utf8(folder):
    """Predictions and messages are UTF-8 all the same, and a mistake is one line."""
    dataset = CharCorruptionDataset(TINY_CORPUS, QUICK.block_size)
    config = GPTConfig(dataset.vocab_size, QUICK.block_size, **QUICK.model_settings())
    torch.save(GPT(config).state_dict(), "some.params")
    question = "Where was Šid born?\tHull\n"
    (folder / "birth_dev.tsv").write_text(TINY_QUESTIONS + question, encoding="utf-8")
    ascii_only = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    words = [sys.executable, ROOT / "src" / "run.py", *shlex.split(EVALUATE), "--recipe", "quick"]
    done = subprocess.run(words, capture_output=True, env=os.environ | ascii_only, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Correct: \d\.0 out of 4\.0: ", done.stdout.decode("utf-8"), re.M)
    assert "'Š' (U+0160)" in done.stderr.decode("utf-8")
    assert read_text("out.predictions").count("\n") == 4
    words[4] = "Zoë.txt".encode("latin-1")
    done = subprocess.run(words, capture_output=True, env=os.environ | ascii_only, timeout=120)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.count(b"\n") == 1 and b"Zo" in done.stderr


def test_parameters_that_are_only_pretrained_are_noted(capsys):
    call(PRETRAIN)
    os.rename("pretrain.params", "some.params")
    os.rename("pretrain.params.json", "some.params.json")
    capsys.readouterr()
    call(EVALUATE)
    assert "some.params is pretrained" in capsys.readouterr().err


def test_a_file_that_is_no_gpts_gets_no_advice(capsys):
    torch.save({"weight": torch.ones(2)}, "some.params")
    line = refused(capsys, EVALUATE, "some.params")
    assert "give" not in line
