"""
Kills trainings at random moments and looks whether anything is lost.

    python tests/kill_and_resume.py                             20 SIGKILLs on each of pretrain and finetune, the quick recipe
    python tests/kill_and_resume.py --recipe course --max_epochs 2 --data .

Each training is first run without interruption. Then the same command is started again and again, and killed each time: every
second time at any moment, from the start of the process on; every other time while it writes a file. When it has been
killed often enough, it is left to end. Its parameters must be the same bytes and its log the same records as without
interruption; the file that stood where the parameters go must stay whole until they are complete; and nothing else may be left.
Exit code 1 if that is not so.
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

import torch

ROOT = Path(__file__).resolve().parent.parent
OLDER = b"what stood here before"


def main():
    parser = argparse.ArgumentParser(description="Kill trainings at random moments and look whether anything is lost.")
    parser.add_argument("--kills", type=int, default=20, help="of each training; default 20")
    parser.add_argument("--functions", nargs="+", default=["pretrain", "finetune"], choices=["pretrain", "finetune"])
    parser.add_argument("--variant", default="vanilla")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--max_epochs", type=int, help="default 60 and 100, with which the quick recipe takes some 30 seconds")
    parser.add_argument("--data", type=Path, help="folder with wiki.txt and birth_places_train.tsv; default: made as for the quick run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("--json", type=Path, help="put the figures into this file, beside those of other commands")
    args = parser.parse_args()
    random.seed(args.seed)
    records = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = args.data.resolve() if args.data else folder
        if not args.data:
            subprocess.run([sys.executable, ROOT / "tools/make_corpus.py", "--size", "quick", "--out", folder], check=True,
                           stdout=subprocess.DEVNULL)
        for function in args.functions:
            epochs = args.max_epochs or {"pretrain": 60, "finetune": 100}[function]
            record = Training(folder, data, function, args.variant, args.recipe, epochs).survive(args.kills)
            print(json.dumps(record))
            records.append(record)
    if args.json:
        before = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
        keys = ("function", "variant", "recipe")
        kept = [one for one in before if all([one[key] for key in keys] != [new[key] for key in keys] for new in records)]
        args.json.write_text(json.dumps(kept + records, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(record["differences"] for record in records))


class Training:
    """One command, its files in a folder of their own, and what it leaves there without interruption."""

    def __init__(self, folder, data, function, variant, recipe, epochs):
        self.names = {"function": function, "variant": variant, "recipe": recipe, "epochs": epochs}
        self.folder = folder / function
        self.folder.mkdir()
        self.command = [sys.executable, ROOT / "src/run.py", function, variant, data / "wiki.txt", "--recipe", recipe,
                        "--max_epochs", str(epochs)]
        if function == "finetune":
            start = folder / "start.params"
            run([sys.executable, ROOT / "src/run.py", "pretrain", variant, data / "wiki.txt", "--recipe", recipe, "--max_epochs", "1",
                 "--writing_params_path", start])
            self.command += ["--finetune_corpus_path", data / "birth_places_train.tsv", "--reading_params_path", start]
        begin = time.monotonic()
        whole = folder / f"{function}.whole.params"
        run([*self.command, "--writing_params_path", whole])
        self.seconds = time.monotonic() - begin
        self.whole = whole.read_bytes(), records_of(whole)
        self.params = self.folder / "a.params"
        self.log = self.folder / "a.params.log.jsonl"

    def survive(self, kills):
        """Kills it so many times, lets it end, and gives the figures."""
        done, writing, ends, differences, self.bytes_lost = 0, 0, 0, [], 0
        self.params.write_bytes(OLDER)
        while done < kills or ends == 0:
            process = self.start()
            if done < kills:
                while_writing = done % 2 == 1
                was_writing = self.wait_for_moment(process, while_writing)
                process.kill()
            _, errors = process.communicate()
            if process.returncode == -signal.SIGKILL:
                done, writing = done + 1, writing + was_writing
                differences += self.damage()
            elif process.returncode == 0:
                ends += 1
                differences += self.differences()
                if done < kills:  # it was through before its time: once more, from the start
                    for path in self.folder.iterdir():
                        path.unlink()
                    self.params.write_bytes(OLDER)
            else:
                differences.append(f"exit code {process.returncode}: {errors[-300:]}")
                break
        for difference in differences:
            print(f"{self.names['function']}: {difference}", file=sys.stderr)
        return {**self.names, "kills": done, "while_writing": writing, "complete_runs": ends, "seconds_uninterrupted": round(self.seconds, 1),
                "differences": len(differences), "bytes_lost": self.bytes_lost}

    def start(self):
        return subprocess.Popen([*self.command, "--writing_params_path", self.params, "--resume_every", "0"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def wait_for_moment(self, process, while_writing):
        """Until the moment to kill. Returns whether it is one at which a file is being written."""
        if not while_writing:
            time.sleep(random.uniform(0, min(self.seconds, 8)))
            return False
        writings, before, end = random.randrange(1, 6), False, time.monotonic() + self.seconds + 60
        while process.poll() is None and time.monotonic() < end:
            parts = any(name.endswith(".part") for name in os.listdir(self.folder))
            writings -= parts and not before
            before = parts
            if parts and writings <= 0:
                time.sleep(random.uniform(0, 0.004))
                return True
            time.sleep(0.0003)
        return False

    def damage(self):
        """What a kill has spoiled, in words."""
        found = []
        if self.params.read_bytes() not in (OLDER, self.whole[0]):
            found.append("the parameters that were there are spoiled")
            self.bytes_lost += len(OLDER)
        resume = self.folder / "a.params.resume"
        if resume.exists():
            try:
                torch.load(resume, weights_only=True)
            except Exception as error:
                self.bytes_lost += resume.stat().st_size
                found.append(f"the resume file is spoiled: {error}")
        if self.log.exists():
            records = records_of(self.params)
            if records != self.whole[1][:len(records)]:
                found.append("the log has gaps or doubles")
        return found

    def differences(self):
        """What the end of the run has otherwise than without interruption, in words."""
        found = []
        if self.params.read_bytes() != self.whole[0]:
            found.append("other parameters")
        if records_of(self.params) != self.whole[1]:
            found.append("another log")
        left = {path.name for path in self.folder.iterdir()} - {"a.params", "a.params.log.jsonl"}
        return found + [f"{name} is left" for name in sorted(left)]


def run(command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def records_of(params):
    """The log beside a parameter file, without its times."""
    lines = Path(f"{params}.log.jsonl").read_text(encoding="ascii").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


if __name__ == "__main__":
    main()
