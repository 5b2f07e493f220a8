"""
Trainings that are killed lose nothing: at random moments, by tools/experiments/kill_and_resume.py,
and before each operation on a file.
"""

import io
import json
import os
import subprocess
import sys

import pytest
import torch

from attention import VARIANTS
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from kill_and_resume import OLDER, Training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]
SCRIPT = "tools/experiments/kill_and_resume.py"

# Forks many processes from one that has imported torch, to save the time of importing it.
DRIVER = """
import json, os, signal, sys, traceback
sys.path.insert(0, {src!r})
import run
import torch
from dataclasses import replace
from runs import files, resume
torch.set_num_threads(1)
once = dict(batch_size=4, learning_rate=1e-3, warmup_tokens=10, decay_epochs=4)
run.RECIPES["course"] = replace(
    run.COURSE, block_size=48, n_layer=1, n_head=2, n_embd=8,
    pretrain=run.Training(max_epochs=2, **once), finetune=run.Training(max_epochs=2, **once),
    finetune_without_pretraining=run.Training(max_epochs=2, **once))
resume.LARGEST_SHARE = 1  # write after every step
OLDER = b"PK an older parameter file"
MOMENTS = [(os, "fsync"), (os, "chmod"), (os, "replace"), (os, "remove"), (torch, "save"),
           (files.tempfile, "NamedTemporaryFile"), (files.fcntl, "flock")]


def child(die_at):
    '''Runs the command in a process that is killed before operation number die_at (-1: not).
    Returns its exit status and the number of operations.'''
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        count = 0

        def counted(function):
            def call(*args, **kwargs):
                nonlocal count
                if count == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return function(*args, **kwargs)
            return call

        for module, name in MOMENTS:
            setattr(module, name, counted(getattr(module, name)))
        os.dup2(os.open("errors", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        os.dup2(2, 1)
        try:
            run.main(sys.argv[1:])
            os.write(writer, str(count).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    status = os.waitpid(process, 0)[1]
    moments = os.read(reader, 100)
    os.close(reader)
    return os.waitstatus_to_exitcode(status), int(moments or 0)


def content(name):
    return open(name, "rb").read()


def log():
    return [line.split(b', "seconds"')[0] for line in content("a.params.log.jsonl").splitlines()]


inputs = set(os.listdir())
# What torch imports late, it imports here.
run.main(["x.params" if word == "a.params" else word for word in sys.argv[1:]])
for name in set(os.listdir()) - inputs:
    os.remove(name)
moments, faults = child(-1)[1], []
whole, outputs = (content("a.params"), log()), set(os.listdir())
for number in range(moments):
    for name in set(os.listdir()) - inputs:
        os.remove(name)
    open("a.params", "wb").write(OLDER)
    found = []
    if child(number)[0] != -signal.SIGKILL:
        found.append("not killed")
    if content("a.params") not in (OLDER, whole[0]):
        found.append("spoiled parameters")
    if os.path.exists("a.params.log.jsonl") and log() != whole[1][:len(log())]:
        found.append("spoiled log")
    if child(-1)[0] != 0:
        found.append(open("errors").read())
    elif content("a.params") != whole[0]:
        found.append("other parameters")
    elif log() != whole[1]:
        found.append("another log")
    elif set(os.listdir()) != outputs:
        found.append(str(set(os.listdir()) ^ outputs))
    faults += [(number, fault) for fault in found]
print(json.dumps([moments, faults]))
"""


@pytest.mark.parametrize("function, epochs", [("pretrain", 2), ("finetune", 3)])
def test_killed_before_any_operation_on_a_file_nothing_is_lost(function, epochs, tmp_path):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS, encoding="utf-8")
    (tmp_path / "births.tsv").write_text(TINY_QUESTIONS, encoding="utf-8")
    words = [function, list(VARIANTS)[0], "wiki.txt", "--max_epochs", str(epochs)]
    words += ["--writing_params_path", "a.params", "--resume_every", "0"]
    words += ["--finetune_corpus_path", "births.tsv"] * (function == "finetune")
    driver = DRIVER.format(src=str(ROOT / "src"))
    done = subprocess.run(
        [sys.executable, "-c", driver, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    moments, faults = json.loads(done.stdout.splitlines()[-1])
    assert moments > 30 and faults == []


def test_killed_at_random_moments_nothing_is_lost(tmp_path):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS, encoding="utf-8")
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (tmp_path / name).write_text(TINY_QUESTIONS, encoding="utf-8")
    words = ["--kills", "2", "--max_epochs", "40", "--data", tmp_path]
    words += ["--json", tmp_path / "kills.json"]
    done = subprocess.run(
        [sys.executable, ROOT / SCRIPT, *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "kills.json").read_text())
    found = [(one["function"], one["kills"], one["differences"]) for one in records]
    assert found == [("pretrain", 2, 0), ("finetune", 2, 0)]


def test_a_command_that_fails_is_one_line(tmp_path):
    words = ["--data", tmp_path, "--json", tmp_path / "kills.json"]  # without data
    done = subprocess.run([sys.executable, ROOT / SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "wiki.txt" in done.stderr


def test_the_script_sees_damage(tmp_path):
    training = Training.__new__(Training)
    training.folder, training.params = tmp_path, tmp_path / "a.params"
    records = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]
    training.whole, training.bytes_lost = (b"all of them", records), 0
    buffer = io.BytesIO()
    torch.save({"step": 1}, buffer)
    good = buffer.getvalue()

    def found(params, resume, log):
        training.params.write_bytes(params)
        (tmp_path / "a.params.resume").write_bytes(resume)
        lines = "".join(json.dumps({**record, "seconds": 1.0}) + "\n" for record in log)
        (tmp_path / "a.params.log.jsonl").write_text(lines)
        return len(training.damage()), len(training.differences())

    assert found(OLDER, good, records[:1]) == (0, 3)  # parameters, log, the file that is left
    assert found(b"all of them", good, records) == (0, 1) and training.bytes_lost == 0
    assert found(b"half of", good, records) == (1, 2) and training.bytes_lost == len(OLDER)
    assert found(b"all of them", good[:100], records) == (1, 1)
    assert training.bytes_lost == len(OLDER) + 100
    for log in (records[1:], records[:1] * 2, records * 2):
        assert found(b"all of them", good, log) == (1, 2)
