"""
A command that is stopped, and given again: it resumes, or says in one line why not. TensorBoard
sees each step once.
"""

import contextlib
import json
import os
import signal
import sys

import pytest

import run
from commands import (
    EVALUATE,
    FINETUNE,
    FINETUNE_SOME,
    PRETRAIN,
    at_step,
    call,
    content,
    files,
    refused,
    some_params,
)
from conftest import TINY_CORPUS, TINY_QUESTIONS
from runs.inputs import InputError, read_text
from runs.resume import SIGNALS, Checkpointer
from shell import needs_posix
from trainer import NotFiniteError, OutOfMemoryError, Trainer

pytestmark = pytest.mark.usefixtures("folder")

LONGER = " --max_epochs 4 --precision float32"  # pretraining has two batches, finetuning one
TRAININGS = {"pretrain": PRETRAIN + LONGER, "finetune": FINETUNE_SOME + LONGER}


def stop(command, step=3, number=signal.SIGTERM):
    """Runs a command that gets a signal in that step. Returns the exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit:
        at_step(patch, step, lambda: signal.raise_signal(number))
        call(command)
    return exit.value.code


@pytest.mark.parametrize("function, place", [("pretrain", (2, 1, 2)), ("finetune", (3, 1, 1))])
@pytest.mark.parametrize("number", SIGNALS)
def test_the_same_command_resumes(capsys, function, place, number):
    some_params()
    params = f"{function}.params"
    call(TRAININGS[function])
    whole, log = content(params), content(f"{params}.log.jsonl")
    os.remove(params)
    capsys.readouterr()
    assert stop(TRAININGS[function], number=number) == 128 + number
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
        ("pretrain", "--max_epochs 4", "--max_epochs 4 --recipe quick"),
        ("pretrain", "wiki.txt", "other.txt"),
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


@needs_posix
@pytest.mark.parametrize(
    "command, name",
    [(PRETRAIN, "pretrain.params"), (FINETUNE, "finetune.params")],
)
def test_a_second_run_of_the_same_parameters_is_refused(untrained, capsys, command, name):
    """Also where a dead run has left its lock file, as the first one here does."""
    with run.sole_writer(name):
        refused(capsys, command, name)
    call(command)


@needs_posix
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


@needs_posix
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
