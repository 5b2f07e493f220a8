"""The command line's words: what is missing, wrong or of no use is refused before any reading."""

import os
import shlex

import pytest

import commands
import run
from arguments import check_paths, parse_arguments
from commands import (
    EVALUATE,
    FINETUNE,
    FINETUNE_SOME,
    PRETRAIN,
    SCORES,
    call,
    content,
    refused,
    some_params,
)
from trainer import Trainer


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with parameters to read. Nothing may be read and nothing trained."""
    commands.set_up(tmp_path, monkeypatch)
    commands.some_params()
    with monkeypatch.context() as patch:
        patch.setattr(run, "read_corpus", lambda *_: pytest.fail("something was read"))
        patch.setattr(Trainer, "train", lambda *_: pytest.fail("training has started"))
        yield tmp_path


def with_flag(command, flag, value):
    words = shlex.split(command)
    words[words.index(flag) + 1] = value
    return shlex.join(words)


@pytest.mark.parametrize("command", [PRETRAIN, FINETUNE, EVALUATE])
def test_each_flag_of_the_handout_is_needed(capsys, command):
    words = command.split()
    for place in range(3, len(words), 2):
        refused(capsys, " ".join(words[:place] + words[place + 2 :]), words[place])


@pytest.mark.parametrize(
    "command, name",
    [
        (PRETRAIN, "wiki.txt"),
        (FINETUNE, "birth_places_train.tsv"),
        (FINETUNE_SOME, "some.params"),
        (EVALUATE, "some.params"),
        (EVALUATE, "birth_dev.tsv"),
    ],
)
def test_a_missing_input_or_a_folder_in_its_place(folder, capsys, command, name):
    (folder / name).unlink()
    refused(capsys, command, name)
    (folder / name).mkdir()
    refused(capsys, command, name)


OUTPUTS = [
    (PRETRAIN, "--writing_params_path"),
    (FINETUNE, "--writing_params_path"),
    (EVALUATE, "--outputs_path"),
    (SCORES, "--scores_path"),
]


PATHS = ["no/such/out", "results", "results/", "wiki.txt/out", "wiki.txt", "./wiki.txt", "link"]


@pytest.mark.parametrize(
    "command, flag, path",
    [(*OUTPUTS[0], path) for path in PATHS] + [(*output, "link") for output in OUTPUTS[1:]],
)
def test_an_output_that_cannot_be_written_or_is_an_input(folder, capsys, command, flag, path):
    (folder / "results").mkdir()
    os.link("wiki.txt", "link")
    before = content("wiki.txt")
    refused(capsys, with_flag(command, flag, path), path)
    assert content("wiki.txt") == before


@pytest.mark.parametrize("command, flag", OUTPUTS)
def test_a_folder_that_cannot_be_written_to(folder, capsys, monkeypatch, command, flag):
    (folder / "locked").mkdir()
    access = os.access  # root may write everywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode)
    )
    refused(capsys, with_flag(command, flag, "locked/out"), "locked/out")
    refused(capsys, PRETRAIN + " --tb_log_dir locked/events", "locked/events")


@pytest.mark.parametrize(
    "command, flag, path",
    [
        (FINETUNE, "--writing_params_path", "birth_places_train.tsv"),
        (EVALUATE, "--outputs_path", "birth_dev.tsv"),
        (EVALUATE, "--outputs_path", "./some.params"),
        (SCORES, "--scores_path", "birth_dev.tsv"),
        (SCORES, "--scores_path", "out.predictions"),
        (SCORES, "--scores_path", "to-predictions"),
    ],
)
def test_no_file_is_written_over_another_of_the_same_command(folder, capsys, command, flag, path):
    (folder / "to-predictions").symlink_to("out.predictions")
    refused(capsys, with_flag(command, flag, path), path)


@pytest.mark.parametrize("ending", ["resume", "log.jsonl", "json"])
def test_what_is_written_beside_parameters_is_no_input(folder, capsys, ending):
    (folder / f"finetune.params.{ending}").write_bytes(content("some.params"))
    command = FINETUNE + f" --reading_params_path finetune.params.{ending}"
    refused(capsys, command, f"finetune.params.{ending}")


@pytest.mark.parametrize("path", ["wiki.txt", "wiki.txt/events", "dangling/events"])
def test_a_folder_for_events_that_cannot_be_made(folder, capsys, path):
    (folder / "dangling").symlink_to("no/such/folder")
    for command in (PRETRAIN, FINETUNE):
        refused(capsys, f"{command} --tb_log_dir {path}", path)
        refused(capsys, f"{command} --tb_log_dir=")


@pytest.mark.parametrize(
    "command, flags",
    [
        (PRETRAIN, "--finetune_corpus_path birth_dev.tsv"),
        (PRETRAIN, "--reading_params_path some.params"),
        (PRETRAIN, "--eval_corpus_path birth_dev.tsv"),
        (PRETRAIN, "--outputs_path out"),
        (FINETUNE, "--beam 4"),
        (FINETUNE, "--scores_path out"),
        (EVALUATE, "--writing_params_path out"),
        (EVALUATE, "--max_epochs 1"),
        (EVALUATE, "--restart"),
        (EVALUATE, "--tb_log_dir events"),
        (EVALUATE, "--precision float32"),
    ],
)
def test_a_flag_of_another_function_is_refused(capsys, command, flags):
    line = refused(capsys, f"{command} {flags}", flags.split()[0])
    assert line.count("--") == 1  # no other flag is advised


def test_the_opposite_of_a_flag_is_not_advised(capsys):
    assert refused(capsys, f"{PRETRAIN} --no-compile", "--no-compile").count("compile") == 1


EVERYWHERE = ["--seed -1", "--seed 4294967296", "--seed x", "--recipe slow", "--unknown"]
IN_TRAINING = ["--max_epochs 0", "--max_epochs 1.5", "--precision half", "--micro_batch_size 0"]
IN_TRAINING += ["--resume_every -1", "--resume_every nan", "--resume_every inf"]
IN_TRAINING += ["--max_epochs 9999999999", "--pretrain_lr 1e305"]
IN_EVALUATION = ["--beam 0", "--beam 257", "--beam x"]


@pytest.mark.parametrize(
    "command, flags",
    [(PRETRAIN, flags) for flags in EVERYWHERE + IN_TRAINING]
    + [(EVALUATE, flags) for flags in EVERYWHERE + IN_EVALUATION],
)
def test_a_wrong_value_is_refused(capsys, command, flags):
    refused(capsys, f"{command} {flags}", *flags.split())


@pytest.mark.parametrize("name", ["abacus", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(capsys, name):
    for command in (PRETRAIN, EVALUATE):
        refused(capsys, f"{command} --device {name}", name)


@pytest.mark.parametrize(
    "command, part",
    [
        ("", "FUNCTION"),
        ("pretrain", "variant"),
        ("pretrain vanilla", "pretrain_corpus_path"),
        (PRETRAIN.replace("pretrain", "forget", 1), "forget"),
        (PRETRAIN.replace("vanilla", "additive"), "additive"),
        (PRETRAIN.replace("vanilla", "Vanilla"), "Vanilla"),
    ],
)
def test_a_wrong_word_is_refused(capsys, command, part):
    refused(capsys, command, part)


@pytest.mark.parametrize(
    "command, wrong, meant",
    [
        (PRETRAIN, "--writing_parms_path a", "--writing_params_path"),
        (PRETRAIN, "--max_epoch 3", "--max_epochs"),
        (EVALUATE, "-eval_corpus_path a", "--eval_corpus_path"),
        (EVALUATE, "--outputs-path=a", "--outputs_path"),
        (PRETRAIN, "--max 3", ""),
        (PRETRAIN, "--beam 3", ""),
    ],
)
def test_a_misspelt_or_shortened_flag_is_named(capsys, command, wrong, meant):
    refused(capsys, f"{command} {wrong}", wrong.split()[0].partition("=")[0], meant)
    less = command.rsplit(" --", 1)[0]  # also where it stands for a needed one
    refused(capsys, f"{less} {wrong}", wrong.split()[0].partition("=")[0], meant)


def test_parameters_do_not_overwrite_another_file(capsys, folder):
    """A data file of the project, say; parameters, and files like /dev/null, they may."""
    before = (folder / "birth_dev.tsv").read_bytes()
    command = PRETRAIN.replace("pretrain.params", "birth_dev.tsv")
    refused(capsys, command, "birth_dev.tsv")
    assert (folder / "birth_dev.tsv").read_bytes() == before
    (folder / "pretrain.params").write_bytes(b"")
    check_paths(parse_arguments(PRETRAIN.split()))
    some_params("pretrain.params")
    check_paths(parse_arguments(PRETRAIN.split()))


def test_evaluation_under_torchrun_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    refused(capsys, EVALUATE, "torchrun")


def test_the_defaults_are_the_courses_recipe_and_greedy_decoding(variant):
    args = parse_arguments(PRETRAIN.replace("vanilla", variant).split())
    assert args.variant == variant
    assert (args.recipe, args.seed, args.device, args.max_epochs) == ("course", 0, None, None)
    assert (args.precision, args.micro_batch_size, args.compile) == ("auto", None, False)
    assert (args.resume_every, args.restart, args.tb_log_dir) == (60, False, None)
    args = parse_arguments(EVALUATE.split())
    assert (args.beam, args.scores_path) == (1, None)


@pytest.mark.parametrize("function", ["", "pretrain", "finetune", "evaluate"])
def test_help(capsys, function):
    with pytest.raises(SystemExit) as exit:
        call(f"{function} --help")
    text = capsys.readouterr().out
    assert exit.value.code == 0
    assert ("--writing_params_path" in text) == (function in ("pretrain", "finetune"))
    assert ("--outputs_path" in text) == (function == "evaluate")


def test_a_device_file_is_an_output_for_all(monkeypatch):
    """Also where its folder belongs to others, as /dev does for all but root; and twice."""
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) != "/dev" and access(path, mode)
    )
    command = with_flag(SCORES, "--outputs_path", "/dev/null")
    command = with_flag(command, "--scores_path", "/dev/null")
    check_paths(parse_arguments(command.split()))


def test_an_empty_path_is_refused(capsys):
    refused(capsys, PRETRAIN.replace("wiki.txt", "''"), "empty")
    refused(capsys, with_flag(PRETRAIN, "--writing_params_path", ""), "empty")
