"""
The course's later editions (perceiver in 2023, rope since 2024) as a student and a grader meet
them: their commands, names, numbers and files.
"""

import inspect
import json
import os
import shlex
from dataclasses import replace

import pytest
import torch

import commands
import recipe
import run
from arguments import parse_arguments
from attention import (
    VARIANTS,
    CausalCrossAttention,
    CausalSelfAttention,
    SynthesizerAttention,
    apply_rotary_emb,
    precompute_rotary_emb,
)
from commands import (
    EVALUATE,
    FINETUNE,
    PRETRAIN,
    SMALL,
    call,
    files,
    refused,
    small_model,
    some_params,
)
from conftest import COURSE_FILES, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, NameDataset
from model import GPT, Block, DownProjectBlock, GPTConfig, UpProjectBlock
from reference import learning_rates_of_run
from runs.inputs import InputError, read_text
from trainer import Trainer, TrainerConfig
from utils import evaluate_places, sample

# The handout of 2023; that of 2024 has the same commands for rope, without the bottleneck.
HANDOUT = """
python src/run.py pretrain VARIANT wiki.txt BOTTLENECK --writing_params_path VARIANT.pretrain.params
python src/run.py finetune VARIANT wiki.txt BOTTLENECK --reading_params_path VARIANT.pretrain.params --writing_params_path VARIANT.finetune.params --finetune_corpus_path birth_places_train.tsv
python src/run.py evaluate VARIANT wiki.txt BOTTLENECK --reading_params_path VARIANT.finetune.params --eval_corpus_path birth_dev.tsv --outputs_path VARIANT.pretrain.dev.predictions
python src/run.py evaluate VARIANT wiki.txt BOTTLENECK --reading_params_path VARIANT.finetune.params --eval_corpus_path birth_test_inputs.tsv --outputs_path VARIANT.pretrain.test.predictions
"""  # noqa: E501


pytestmark = pytest.mark.usefixtures("folder")


# ---- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant, bottleneck", [("rope", ""), ("perceiver", "--bottleneck_dim 16"), ("perceiver", "")]
)
def test_the_handouts_commands_work_as_they_stand(variant, bottleneck):
    text = HANDOUT.replace("VARIANT", variant).replace("BOTTLENECK", bottleneck)
    for line in text.strip().splitlines():
        run.main(shlex.split(line)[2:])
    state = torch.load(f"{variant}.finetune.params", weights_only=True)
    if variant == "perceiver":
        assert state["down_block.C"].shape == (1, 16 if bottleneck else 32, 8)
    else:
        assert "pos_emb" not in state and state["blocks.1.attn.rope_cache"].shape == (48, 2, 2)
    for kind in ("dev", "test"):
        assert len(read_text(f"{variant}.pretrain.{kind}.predictions").split("\n")) == 3 + 1


def test_learning_rates_reach_the_trainer(untrained):
    call(PRETRAIN + " --pretrain_lr 5e-3 --finetune_lr 1e-5")
    call(FINETUNE + " --pretrain_lr 5e-3 --finetune_lr 1e-5")
    call(PRETRAIN)
    assert [t.config.learning_rate for t in untrained] == [5e-3, 1e-5, 1e-3]


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_a_senseless_rate_is_refused(capsys, rate):
    refused(capsys, f"{PRETRAIN} --pretrain_lr {rate}", "--pretrain_lr", rate)


def test_a_bottleneck_that_the_model_cannot_have_is_refused(capsys):
    perceiver = PRETRAIN.replace("vanilla", "perceiver")
    for m in ("0", "-3", "49", "8.5"):
        refused(capsys, f"{perceiver} --bottleneck_dim {m}", "--bottleneck_dim", m)
    args = parse_arguments(shlex.split(f"{perceiver} --bottleneck_dim 48"))
    assert args.bottleneck_dim == SMALL.block_size == 48


@pytest.mark.parametrize(
    "command, flag",
    [
        (PRETRAIN, "--finetune_lr 1e-3"),
        (FINETUNE, "--pretrain_lr 1e-3"),
        (EVALUATE, "--finetune_lr 1e-3"),
        (EVALUATE, "--pretrain_lr 1e-3"),
        (EVALUATE, "--tb_expt_name run"),
        (PRETRAIN, "--bottleneck_dim 8"),
        (EVALUATE, "--bottleneck_dim 129"),
    ],
)
def test_a_flag_of_the_later_editions_that_changes_nothing_is_noted(command, flag, capsys):
    """The course's code takes each with every function and variant."""
    some_params()
    args = parse_arguments(shlex.split(f"{command} {flag}"))
    assert flag.split()[0] in capsys.readouterr().err
    plain = vars(parse_arguments(shlex.split(command)))
    changed = {name for name, value in vars(args).items() if value != plain[name]}
    assert changed <= {flag.split()[0][2:]} - {"bottleneck_dim"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("variant", ["vanilla", "synthesizer", "rope"])
def test_parameters_of_another_variant_advise_no_bottleneck(capsys, variant):
    """Neither has one that would help."""
    some_params(variant=variant)
    command = EVALUATE.replace("vanilla", "perceiver") + " --bottleneck_dim 16"
    line = refused(capsys, command, variant, "perceiver")
    assert "--bottleneck_dim" not in line and "None" not in line
    some_params(variant="perceiver", bottleneck_dim=16)
    line = refused(capsys, EVALUATE.replace("vanilla", variant), variant, "perceiver")
    assert "--bottleneck_dim" not in line


@pytest.mark.parametrize("with_meta", [True, False])
def test_parameters_of_another_bottleneck_name_the_flag(capsys, with_meta):
    """With PARAMS.json, as training writes it, and without, as the course's code does."""
    call(PRETRAIN.replace("vanilla", "perceiver") + " --bottleneck_dim 16")
    assert json.loads(read_text("pretrain.params.json"))["sizes"]["bottleneck_dim"] == 16
    if not with_meta:
        os.remove("pretrain.params.json")
    os.rename("pretrain.params", "some.params")
    evaluate = EVALUATE.replace("vanilla", "perceiver")
    refused(capsys, evaluate, "some.params", "--bottleneck_dim 16")
    call(evaluate + " --bottleneck_dim 16")
    call(PRETRAIN.replace("vanilla", "perceiver"))
    assert json.loads(read_text("pretrain.params.json"))["sizes"]["bottleneck_dim"] == 32


def test_a_run_with_another_bottleneck_does_not_resume(capsys, monkeypatch):
    perceiver = PRETRAIN.replace("vanilla", "perceiver")

    def stop():
        raise KeyboardInterrupt

    commands.at_step(monkeypatch, 1, stop)
    with pytest.raises(SystemExit):
        call(perceiver + " --bottleneck_dim 16 --max_epochs 3 --resume_every 0")
    assert "pretrain.params.resume" in files()
    refused(capsys, perceiver + " --max_epochs 3", "pretrain.params.resume", "bottleneck_dim")


def test_a_flag_in_place_of_a_word_is_answered_with_the_line_to_type(capsys):
    """The professional edition's run.py takes --function and --variant."""
    rest = "--writing_params_path='a b' --pretrain_lr 5e-3"
    for words in (
        "--function=pretrain --variant=rope --pretrain_corpus_path=wiki.txt",
        "--variant rope --function pretrain --pretrain_corpus_path wiki.txt",
        "pretrain --variant=rope wiki.txt",
        "pretrain rope --pretrain_corpus_path=wiki.txt",
        "pretrain rope wiki.txt --function=pretrain",
        "pretrain vanilla wiki.txt --variant=rope",
    ):
        line = refused(capsys, f"{words} {rest}")
        typed = shlex.split(line.partition("python src/run.py ")[2])
        assert typed[:3] == ["pretrain", "rope", "wiki.txt"]
        args = parse_arguments(typed)
        assert (args.writing_params_path, args.pretrain_lr) == ("a b", 5e-3)
    line = refused(capsys, "--variant rope --outputs_path a", "rope")
    typed = shlex.split(line.partition("python src/run.py ")[2])
    assert len(typed) == 5 and typed[1] == "rope" and typed[3:] == ["--outputs_path", "a"]
    assert all(typed[:3])  # something stands for what is missing


@pytest.mark.parametrize(
    "flags", ["--no-compile --backend=inductor", "--compile --backend aot_eager"]
)
def test_the_line_to_type_has_no_flag_that_is_refused(flags, capsys):
    """The professional edition's compiler flags."""
    some_params()
    words = "--variant=vanilla --pretrain_corpus_path=wiki.txt"
    for command in (PRETRAIN, FINETUNE, EVALUATE):
        function, _, _, *rest = command.split()
        line = refused(capsys, f"{flags} --function={function} {words} {' '.join(rest)}")
        typed = shlex.split(line.partition("python src/run.py ")[2])
        args = parse_arguments(typed)
        compiles = function != "evaluate" and flags.startswith("--compile")
        assert args.function == function and getattr(args, "compile", False) == compiles


@pytest.mark.parametrize(
    "command, expected",
    [
        (PRETRAIN, "expt/pretrain/run_vanilla_pt_lr_0.006000_ft_lr_0.000600"),
        (
            FINETUNE.replace("vanilla", "rope") + " --finetune_lr 2e-5",
            "expt/finetune/run_rope_pt_lr_0.006000_ft_lr_0.000020",
        ),
        (
            PRETRAIN.replace("vanilla", "perceiver") + " --bottleneck_dim 8 --pretrain_lr 1",
            "expt/pretrain/run_perceiver_8_pt_lr_1.000000_ft_lr_0.000600",
        ),
        (
            PRETRAIN.replace("vanilla", "perceiver"),
            "expt/pretrain/run_perceiver_32_pt_lr_0.006000_ft_lr_0.000600",
        ),
        (
            "finetune rope wiki.txt --writing_params_path a.params"
            " --finetune_corpus_path birth_dev.tsv --recipe recall",
            "expt/finetune/run_rope_pt_lr_0.002000_ft_lr_0.000600",
        ),
        (
            FINETUNE + " --recipe recall --reading_params_path wiki.txt",
            "expt/finetune/run_vanilla_pt_lr_0.002000_ft_lr_0.000050",
        ),
    ],
)
def test_the_courses_folder_for_tensorboard(command, expected, capsys, monkeypatch):
    monkeypatch.setitem(run.RECIPES, "course", recipe.COURSE)
    monkeypatch.setitem(run.RECIPES, "recall", recipe.RECALL)
    args = parse_arguments(shlex.split(command + " --tb_expt_name run"))
    assert args.tb_log_dir == os.path.join(*expected.split("/"))
    assert parse_arguments(shlex.split(command)).tb_log_dir is None
    refused(capsys, command + " --tb_expt_name run --tb_log_dir logs", "--tb_log_dir")
    for name in ("''", "../run", "a/b"):
        refused(capsys, f"{command} --tb_expt_name {name}", "--tb_expt_name")
    with open("expt", "w"):
        pass
    refused(capsys, command + " --tb_expt_name run", "--tb_expt_name", "expt")


# ---- numbers --------------------------------------------------------------------------------


def test_the_recipe_since_2024_goes_down_the_cosine_once():
    """final_tokens is 650 · len · 128 in pretraining; all else is the recipe of 2021."""
    old, new = recipe.COURSE, recipe.COURSE2024
    assert new.pretrain.final_tokens(range(2937), 128) == 650 * 2937 * 128
    same_schedule = replace(new.pretrain, decay_epochs=old.pretrain.decay_epochs)
    assert replace(new, edition=old.edition, pretrain=same_schedule) == old
    rates = []
    for one in (old, new):
        training = one.pretrain
        size = 2937, 127, training.batch_size, training.max_epochs
        final = training.final_tokens(range(2937), 128)
        schedule = training.learning_rate, training.warmup_tokens, final
        rates.append(learning_rates_of_run(*size, *schedule)[1:])
    assert rates[1] == sorted(rates[1], reverse=True) and len(rates[1]) == 650 * 23 - 1
    assert rates[1][-1] == pytest.approx(6e-4)
    assert rates[0] != sorted(rates[0], reverse=True)


@pytest.mark.parametrize("ends", [True, False])
def test_a_corpus_without_its_last_line_end_has_a_document_less(ends, untrained, monkeypatch):
    """As the later copies of wiki.txt: the schedule follows."""
    with open("wiki.txt", "w", encoding="utf-8") as file:
        file.write(TINY_CORPUS if ends else TINY_CORPUS.rstrip("\n"))
    call(PRETRAIN)
    documents = 5 if ends else 4
    assert len(untrained[0].train_dataset) == documents
    assert untrained[0].config.final_tokens == SMALL.pretrain.decay_epochs * documents * 48
    x, y = untrained[0].train_dataset[documents - 1]
    assert len(x) == len(y) == 47


@pytest.mark.parametrize(
    "command, passes",
    [
        ("pretrain rope wiki.txt", 200),
        ("pretrain rope wiki.txt --recipe course2024", 650),
        ("finetune rope wiki.txt --finetune_corpus_path birth_dev.tsv --recipe course2024", 200),
    ],
)
def test_final_tokens_are_those_of_the_recipe_not_of_the_variant(
    command, passes, untrained, monkeypatch
):
    for name, one in (("course", recipe.COURSE), ("course2024", recipe.COURSE2024)):
        monkeypatch.setitem(run.RECIPES, name, one)
    call(f"{command} --writing_params_path a.params")
    assert untrained[0].config.final_tokens == passes * 5 * 128  # TINY_CORPUS has five documents


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="no copy of the course's files")
def test_the_later_copies_of_the_courses_corpus(capsys):
    text = (COURSE_FILES / "wiki.txt").read_text(encoding="utf-8").removesuffix("\n")
    dataset = CharCorruptionDataset(text, 128)
    assert capsys.readouterr().out == "data has 418351 characters, 256 unique.\n"
    assert len(dataset) == 2937
    assert recipe.COURSE2024.pretrain.final_tokens(dataset, 128) == 650 * 2937 * 128


# ---- names ----------------------------------------------------------------------------------


def test_the_parameters_that_graders_name():
    """In this order; what is ours comes after them and may be left out."""
    for function, expected in (
        (CausalSelfAttention.forward, "self, x, layer_past=None"),
        (SynthesizerAttention.forward, "self, x, layer_past=None"),
        (CausalCrossAttention.forward, "self, x_kv, x_q"),
        (precompute_rotary_emb, "dim, max_positions"),
        (apply_rotary_emb, "x, rope_cache"),
        (GPT.forward, "self, idx, targets=None"),
        (DownProjectBlock.forward, "self, x_input"),
        (UpProjectBlock.forward, "self, y, x_input"),
        (GPTConfig, "vocab_size, block_size"),
        (CharCorruptionDataset, "data, block_size"),
        (NameDataset, "pretraining_dataset, data"),
        (Trainer, "model, train_dataset, test_dataset, config"),
        (sample, "model, x, steps, temperature=1.0, sample=False, top_k=None"),
        (evaluate_places, "filepath, predicted_places"),
    ):
        expected = expected.split(", ")
        parameters = list(inspect.signature(function).parameters.values())
        found = [str(p.replace(annotation=p.empty)) for p in parameters]
        ours = parameters[len(expected) :]
        assert found[: len(expected)] == expected, function
        assert all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in ours), function


def test_the_campus_editions_module_has_the_same_classes():
    import models

    assert (models.GPT, models.GPTConfig, models.Block) == (GPT, GPTConfig, Block)
    assert (models.DownProjectBlock, models.UpProjectBlock) == (DownProjectBlock, UpProjectBlock)


@pytest.mark.parametrize("variant, name", [("rope", "rope_cache"), ("vanilla", "mask")])
def test_constants_that_another_code_made_wrongly_are_noted(variant, name, capsys):
    """Such as sin before cos: names and shapes are right, and the answers are nonsense."""
    evaluate = EVALUATE.replace("vanilla", variant)
    some_params(variant=variant)
    call(evaluate)
    assert "warning" not in capsys.readouterr().err
    state = torch.load("some.params")
    mine = [key for key in state if key.endswith(f".{name}")]
    torch.save({**state, **{key: state[key] + 1e-6 for key in mine}}, "some.params")
    call(evaluate)  # its last digits may differ
    assert "warning" not in capsys.readouterr().err
    torch.save({**state, **{key: state[key].flip(-1) for key in mine}}, "some.params")
    call(evaluate)
    found = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(found) == 1 and "some.params" in found[0] and f"blocks.0.attn.{name}" in found[0]


def test_the_professional_editions_functions_make_their_model_and_no_other():
    """Also one after another from the same config."""
    config = GPTConfig(12, 40, n_layer=3, n_head=2, n_embd=8)
    for variant in ("vanilla", "perceiver", "rope", "synthesizer", "vanilla"):
        model = getattr(run, f"initialize_{variant}_model")(config)
        assert type(model.blocks[0].attn) is VARIANTS[variant]
        assert hasattr(model, "down_block") == (variant == "perceiver")
    for settings, m in (({"bottleneck_dim": 16}, 16), ({}, 32)):
        model = run.initialize_perceiver_model(config, **settings)
        assert model.down_block.C.size(1) == m


@pytest.mark.parametrize("place", ["no folder/a.params", "results"])
def test_train_refuses_before_training_a_path_that_cannot_be_written(place, folder, untrained):
    (folder / "results").mkdir()
    model = small_model()
    trainer = Trainer(model, [0], None, TrainerConfig(device="cpu"))
    with pytest.raises(InputError, match=place):
        run.train(model, place, trainer)
    assert untrained == []


def test_evaluate_does_not_write_over_its_questions():
    model, dataset = small_model(), CharCorruptionDataset(TINY_CORPUS, SMALL.block_size)
    for paths in (("birth_dev.tsv",), ("out.predictions", "birth_dev.tsv")):
        with pytest.raises(InputError, match="birth_dev.tsv"):
            run.evaluate(model, dataset, "birth_dev.tsv", *paths)
    assert read_text("birth_dev.tsv") == TINY_QUESTIONS


@pytest.mark.parametrize("variant", ["rope", "perceiver"])
def test_parameters_of_the_courses_code_are_evaluated(variant):
    """Its file has no PARAMS.json, and the names of DataParallel."""
    settings = {"bottleneck_dim": 32} if variant == "perceiver" else {}
    model = some_params(variant=variant, **settings)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(state, "some.params")
    call(EVALUATE.replace("vanilla", variant))
    assert len(read_text("out.predictions").split("\n")) == 3 + 1
