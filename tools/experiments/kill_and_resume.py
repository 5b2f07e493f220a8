"""
Kills trainings at random moments and checks that nothing is lost.

    python tools/experiments/kill_and_resume.py          20 SIGKILLs on pretrain and on finetune
    python tools/experiments/kill_and_resume.py --recipe course --max_epochs 2 --data .

A training runs once without interruption. Then the same command is started and killed again and
again: at any moment, or, every second time, while it writes a file. At the end it may finish. Then
its parameters and its log must be those of the uninterrupted run, an older parameter file must
have stayed whole until then, and no other file may be left. Exit code 1 if that is not so.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, description, name_of, replace_record, whole_number

# isort: split
import torch

from attention import VARIANTS
from recipe import RECIPES
from runs.console import command
from runs.files import check_output
from runs.inputs import InputError

RUN = ROOT / "src" / "run.py"
OLDER = b"PK an older parameter file"
EPOCHS = {"pretrain": 60, "finetune": 100}  # about 30 seconds with the quick recipe
KEPT = {"a.params", "a.params.log.jsonl", "a.params.json", ".a.params.lock"}


class Training:
    """A command, its files in a folder of their own, and its results without interruption."""

    def __init__(self, folder, data, function, variant, recipe, epochs):
        self.names = {"function": function, "variant": variant, "recipe": recipe, "epochs": epochs}
        self.names["data"] = name_of(data)
        self.folder = folder / function
        self.folder.mkdir()
        common = [variant, data / "wiki.txt", "--recipe", recipe, "--max_epochs"]
        self.command = [sys.executable, RUN, function, *common, str(epochs)]
        if function == "finetune":
            start = folder / "start.params"
            words = [sys.executable, RUN, "pretrain", *common, "1", "--writing_params_path", start]
            run(words)
            self.command += ["--finetune_corpus_path", data / "birth_places_train.tsv"]
            self.command += ["--reading_params_path", start]
        begin = time.monotonic()
        whole = folder / f"{function}.whole.params"
        run([*self.command, "--writing_params_path", whole])
        self.seconds = time.monotonic() - begin
        self.whole = whole.read_bytes(), records_of(whole)
        self.params = self.folder / "a.params"
        self.bytes_lost = 0

    def survive(self, kills):
        """Kills it that often, lets it finish, and returns the record."""
        done, writing, ends, differences = 0, 0, 0, []
        self.params.write_bytes(OLDER)
        while done < kills or ends == 0:
            before, process = self.parts(), self.start()
            if done < kills:
                self.wait_for_moment(process, before, while_writing=done % 2 == 1)
                process.kill()
            _, errors = process.communicate()
            if process.returncode == -signal.SIGKILL:
                # A file that was being written stays behind under its temporary name.
                done, writing = done + 1, writing + bool(self.parts() - before)
                differences += self.damage()
            elif process.returncode == 0:
                ends += 1
                differences += self.differences()
                if done < kills:  # it finished too early: start over
                    for path in self.folder.iterdir():
                        path.unlink()
                    self.params.write_bytes(OLDER)
            else:
                differences.append(f"exit code {process.returncode}: {errors[-300:]}")
                break
        for difference in differences:
            print(f"{self.names['function']}: {difference}", file=sys.stderr)
        return {
            **self.names,
            "kills": done,
            "while_writing": writing,
            "complete_runs": ends,
            "seconds_uninterrupted": round(self.seconds, 1),
            "differences": len(differences),
            "bytes_lost": self.bytes_lost,
        }

    def start(self):
        words = [*self.command, "--writing_params_path", self.params, "--resume_every", "0"]
        return subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def parts(self):
        """The names of the files that are half-written, or were when a training was killed."""
        return {name for name in os.listdir(self.folder) if name.endswith(".part")}

    def wait_for_moment(self, process, before, while_writing):
        """Waits for the moment to kill; while_writing: soon after a file's writing has begun."""
        if not while_writing:
            time.sleep(random.uniform(0, min(self.seconds, 8)))
            return
        writings, was_writing = random.randrange(1, 6), False
        end = time.monotonic() + self.seconds + 60
        while process.poll() is None and time.monotonic() < end:
            is_writing = bool(self.parts() - before)
            writings -= is_writing and not was_writing
            was_writing = is_writing
            if is_writing and writings <= 0:
                time.sleep(random.uniform(0, 0.004))
                return
            time.sleep(0.0003)

    def damage(self):
        """What a kill has spoiled, in words."""
        found = []
        if self.params.read_bytes() not in (OLDER, self.whole[0]):
            found.append("the older parameters are spoiled")
            self.bytes_lost += len(OLDER)
        resume = self.folder / "a.params.resume"
        if resume.exists():
            try:
                torch.load(resume, weights_only=True)
            except Exception as error:
                self.bytes_lost += resume.stat().st_size
                found.append(f"the resume file is spoiled: {error}")
        if (self.folder / "a.params.log.jsonl").exists():
            records = records_of(self.params)
            if records != self.whole[1][: len(records)]:
                found.append("the log has gaps or doubles")
        return found

    def differences(self):
        """How the results differ from those of the uninterrupted run, in words."""
        found = []
        if self.params.read_bytes() != self.whole[0]:
            found.append("other parameters")
        if records_of(self.params) != self.whole[1]:
            found.append("another log")
        left = {path.name for path in self.folder.iterdir()} - KEPT
        return found + [f"{name} is left" for name in sorted(left)]


def run(words):
    """Runs a program. Raises InputError with its last line if it fails."""
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(done.stderr.rpartition("\n")[0].rpartition("\n")[2])


def records_of(params):
    """The log beside a parameter file, without its times."""
    lines = Path(f"{params}.log.jsonl").read_text(encoding="ascii").splitlines()
    records = map(json.loads, lines)
    return [{name: record[name] for name in record if name != "seconds"} for record in records]


def main():
    parser = argparse.ArgumentParser(description="Kill trainings and check that nothing is lost.")
    count = whole_number(1)
    parser.add_argument("--kills", type=count, default=20, help="of each training; default 20")
    parser.add_argument("--functions", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    parser.add_argument("--variant", default="vanilla", choices=list(VARIANTS))
    parser.add_argument("--recipe", default="quick", choices=list(RECIPES))
    parser.add_argument("--max_epochs", type=count, help=f"default {EPOCHS}")
    parser.add_argument("--data", type=Path, help="folder of the data; default the quick corpus")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("--json", type=Path, help="write to this file, beside other commands")
    args = parser.parse_args()
    if args.json:
        check_output(args.json)
    random.seed(args.seed)
    facts, failed = description(), False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = args.data.resolve() if args.data else folder / "quick"
        if not args.data:
            make_corpus = ROOT / "tools" / "corpus" / "make_corpus.py"
            run([sys.executable, make_corpus, "--size", "quick", "--out", data])
        for function in args.functions:
            epochs = args.max_epochs or EPOCHS[function]
            training = Training(folder, data, function, args.variant, args.recipe, epochs)
            record = training.survive(args.kills) | facts
            print(json.dumps(record), flush=True)
            if args.json:
                replace_record(args.json, record, training.names)
            failed = failed or record["differences"] > 0
    sys.exit(failed)


if __name__ == "__main__":
    with command("kill_and_resume.py"):
        main()
