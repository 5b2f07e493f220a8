"""python -m pytest tests/test_kills.py

Trainings that are killed: at every single moment at which something happens to a file, by SIGKILL before that moment; and by
tests/kill_and_resume.py, which takes random moments, at a small size here. Its docstring has the command for a larger one.
"""

import io
import json
import os
import subprocess
import sys

import pytest
import torch

from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from kill_and_resume import OLDER, Training

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# Starts many processes from one that has imported torch, which takes longer than all they do. With one thread there is
# nothing in torch that a fork could hurt.
DRIVER = '''
import json, os, signal, sys, traceback
sys.path[:0] = [{src!r}, {tests!r}]
import torch
torch.set_num_threads(1)
import files, resume, run
from test_run import SMALL
run.RECIPES["course"] = SMALL
resume.LARGEST_SHARE = 1  # written after every step
OLDER = b"what stood here before"
MOMENTS = [(os, "fsync"), (os, "chmod"), (os, "replace"), (os, "remove"), (files.tempfile, "NamedTemporaryFile"), (files.fcntl, "flock"),
           (torch, "save")]

def child(die_at):
    """The command in a process of its own, killed at that moment (from 0). Its exit status and how many moments there were."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        count = 0
        def counted(function, name):
            def call(*args, **kwargs):
                nonlocal count
                if count == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return function(*args, **kwargs)
            return call
        for module, name in MOMENTS:
            setattr(module, name, counted(getattr(module, name), name))
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
run.main(["x.params" if word == "a.params" else word for word in sys.argv[1:]])  # what torch imports late, it imports here
for name in set(os.listdir()) - inputs:
    os.remove(name)
result = dict(moments=child(-1)[1], faults=[])
whole = content("a.params"), log()
outputs = set(os.listdir())
for number in range(result["moments"]):
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
    result["faults"] += [(number, fault) for fault in found]
print(json.dumps(result))
'''

COMMANDS = {
    "pretrain": ["pretrain", "vanilla", "wiki.txt"],
    "finetune": ["finetune", "synthesizer", "wiki.txt", "--finetune_corpus_path", "births.tsv"],
}


@pytest.mark.parametrize("function", COMMANDS)
def test_killed_at_any_moment_nothing_is_lost(function, tmp_path):
    """Before every opening, flushing, renaming, removing and locking of a file, in a run of four steps."""
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS, encoding="utf-8")
    (tmp_path / "births.tsv").write_text(TINY_QUESTIONS, encoding="utf-8")
    driver = DRIVER.format(src=str(ROOT / "src"), tests=str(ROOT / "tests"))
    epochs = {"pretrain": "2", "finetune": "4"}[function]  # of two batches, and of one
    done = subprocess.run([sys.executable, "-c", driver, *COMMANDS[function], "--writing_params_path", "a.params", "--max_epochs", epochs,
                           "--resume_every", "0"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["moments"] > 40  # five states, six logs and the parameters, four moments each at the least
    assert result["faults"] == []


def test_killed_at_random_moments_nothing_is_lost(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "tests" / "kill_and_resume.py", "--kills", "3", "--max_epochs", "10", "--json",
                           tmp_path / "kills.json"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "kills.json").read_text())
    assert [(record["function"], record["kills"], record["differences"]) for record in records] == [("pretrain", 3, 0), ("finetune", 3, 0)]
    assert all(record["while_writing"] > 0 for record in records)


def test_the_script_sees_what_is_left(tmp_path):
    """Run against a copy of the code that is broken on purpose, so that it leaves the resume file behind."""
    for folder in ("src", "tests", "tools"):
        (tmp_path / folder).mkdir()
        for path in (ROOT / folder).glob("*.py"):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "src" / "resume.py").read_text(encoding="utf-8")
    assert text.count("                os.remove(self.path)\n") == 1
    (tmp_path / "src" / "resume.py").write_text(text.replace("os.remove(self.path)", "pass"), encoding="utf-8")
    done = subprocess.run([sys.executable, tmp_path / "tests" / "kill_and_resume.py", "--functions", "pretrain", "--kills", "1",
                           "--max_epochs", "4"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "pretrain: a.params.resume is left" in done.stderr, done.stderr


def test_the_script_sees_what_is_spoiled(tmp_path):
    """Each kind of damage, put there by hand."""
    training = Training.__new__(Training)
    training.folder, training.params, training.log = tmp_path, tmp_path / "a.params", tmp_path / "a.params.log.jsonl"
    records = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]
    training.whole, training.bytes_lost = (b"all of them", records), 0

    def fill(params, resume, log):
        training.params.write_bytes(params)
        (tmp_path / "a.params.resume").write_bytes(resume)
        training.log.write_text("".join(json.dumps({**record, "seconds": 1.0}) + "\n" for record in log))
        return training.damage(), training.differences()

    buffer = io.BytesIO()
    torch.save({"step": 1}, buffer)
    good = buffer.getvalue()
    assert fill(OLDER, good, records[:1]) == ([], ["other parameters", "another log", "a.params.resume is left"])
    assert fill(b"all of them", good, records) == ([], ["a.params.resume is left"]) and training.bytes_lost == 0
    assert fill(b"half of", good, records)[0] == ["the parameters that were there are spoiled"] and training.bytes_lost == len(OLDER)
    assert fill(OLDER, good[:100], records)[0][0].startswith("the resume file is spoiled") and training.bytes_lost == len(OLDER) + 100
    for log in (records[1:], records[:1] * 2, records * 2):
        assert fill(OLDER, good, log)[0] == ["the log has gaps or doubles"]
