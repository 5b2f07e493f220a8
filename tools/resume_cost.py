"""
What it costs to keep a training's resume file, in percent of the run.

    python tools/resume_cost.py                      five minutes of the course's pretraining for each variant, and all of a quick one
    python tools/resume_cost.py --minutes 10 --data data/cs224n

Runs the trainings as run.py does, with its default --resume_every, and counts the time from the beginning to the end of every
writing, the first one and the removal included. Writes results/resume_cost.json. Nothing else should run meanwhile.
"""
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in ("src", "tools"):
    sys.path.insert(0, str(ROOT / folder))


class Enough(Exception):
    pass


def measure(variant, recipe, corpus, folder, seconds):
    """The figures of one pretraining, ended after so many seconds if it has not ended by then."""
    import run
    from resume import Checkpointer
    spent, writings, bytes_written = 0.0, 0, 0
    write, after_step, remove = Checkpointer._write, Checkpointer.after_step, Checkpointer.remove
    begin = None

    def timed(function):
        def call(self):
            nonlocal spent
            start = time.monotonic()
            function(self)
            spent += time.monotonic() - start
        return call

    def counted(self):
        nonlocal writings, bytes_written, begin
        begin = begin or time.monotonic()
        write(self)
        writings += 1
        bytes_written = Path(self.path).stat().st_size

    first_write = timed(counted)  # the first writing is outside of after_step()

    def step(self):
        timed(after_step)(self)
        if time.monotonic() - begin > seconds:
            raise Enough

    def first(self):
        nonlocal first_write
        chosen, first_write = first_write, counted
        chosen(self)

    Checkpointer._write, Checkpointer.after_step, Checkpointer.remove = first, step, timed(remove)
    params = folder / f"{variant}.{recipe}.params"
    try:
        run.main(["pretrain", variant, str(corpus), "--recipe", recipe, "--writing_params_path", str(params)])
    except Enough:
        pass
    finally:
        total = time.monotonic() - begin
        Checkpointer._write, Checkpointer.after_step, Checkpointer.remove = write, after_step, remove
    return {"variant": variant, "recipe": recipe, "seconds": round(total, 1), "writings": writings,
            "megabytes": round(bytes_written / 1e6, 1), "seconds_spent": round(spent, 3), "percent": round(100 * spent / total, 3)}


def main():
    parser = argparse.ArgumentParser(description="Measure what it costs to keep a training's resume file.")
    parser.add_argument("--minutes", type=float, default=5, help="of each pretraining; default 5")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder with wiki.txt; default the bundled one")
    args = parser.parse_args()
    import make_corpus
    import torch
    from machine import commit, hardware
    rows = []
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # on the disk of the project, not on one in memory
        folder = Path(folder)
        make_corpus.main(["--size", "quick", "--out", str(folder)])
        for variant, recipe, corpus in (("vanilla", "course", args.data / "wiki.txt"), ("synthesizer", "course", args.data / "wiki.txt"),
                                        ("vanilla", "quick", folder / "wiki.txt")):
            rows.append(measure(variant, recipe, corpus, folder, 60 * args.minutes))
            print(json.dumps(rows[-1]))
    record = {"hardware": hardware(), "commit": commit(), "versions": {"torch": torch.__version__}, "rows": rows}
    (ROOT / "results" / "resume_cost.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
