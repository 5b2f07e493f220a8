"""
The table at the end of run_all.sh: accuracies measured in a run's folder beside the reported ones, and how long it took.

    python tools/report.py --data DIR --out RUN_DIR --recipe NAME --seed N

Scores RUN_DIR's dev predictions anew against DIR/birth_dev.tsv, prints the table and writes it to RUN_DIR/results.md, and with
everything that a comparison needs (versions, hardware, commit, seed, seconds of each stage) to RUN_DIR/results.json.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
import numpy  # noqa: E402
import torch  # noqa: E402
from dataset import InputError, read_text  # noqa: E402
from utils import evaluate_places  # noqa: E402

# Dev accuracy in percent as reported by a public write-up of all four, for the course's recipe on the course's files.
REPORTED = {"vanilla.nopretrain": 1.4, "vanilla.pretrain": 23.0, "synthesizer.pretrain": 14.4, "london": 5.0}
LABELS = {
    "vanilla.nopretrain": "vanilla, without pretraining",
    "vanilla.pretrain": "vanilla, pretrained",
    "synthesizer.pretrain": "synthesizer, pretrained",
    "london": "answering London",
    "name_only": "the best guess from the name alone",
}


def measure(data, run):
    """{row: (correct, total)} of the run's dev predictions, and of London on as many questions."""
    gold = str(data / "birth_dev.tsv")
    rows = {}
    for row in REPORTED:
        if row == "london":
            places = ["London"] * len(read_text(run / "vanilla.nopretrain.dev.predictions").removesuffix("\n").split("\n"))
        else:
            places = read_text(run / f"{row}.dev.predictions").removesuffix("\n").split("\n")
        total, correct = evaluate_places(gold, places)
        if not total:
            raise InputError(f"{gold}: no places in it to score against")
        rows[row] = (int(correct), int(total))
    return rows


def name_only_ceiling(data):
    """What guessing from the name alone can reach on dev in percent, where the corpus is an invented one; else None."""
    for path in (data / "corpus.json", ROOT / "results" / "corpus.json"):
        if path.exists() and (path.parent == data or data == ROOT):
            return 100 * json.loads(path.read_text(encoding="utf-8"))["dev"]["best_guess_expected"]
    return None


def hardware():
    """The machine in words: the GPU where torch has one, and the processor with the number of its cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cpu = f"{name}, {os.cpu_count()} cores"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def commit():
    """The code's git commit, with + if files differ from it; None outside a checkout."""
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def table(rows, ceiling, seconds, recipe, seed):
    """The rows as a Markdown table."""
    lines = [f"Recipe {recipe}, seed {seed}; {seconds / 60:.1f} minutes in all.", "",
             "| dev accuracy | correct | measured | reported for the full experiment |", "|---|---|---|---|"]
    for row, (correct, total) in rows.items():
        lines.append(f"| {LABELS[row]} | {correct} of {total} | {100 * correct / total:.1f}% | {REPORTED[row]}% |")
    if ceiling is not None:
        lines.append(f"| {LABELS['name_only']} | expected | {ceiling:.1f}% | – |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Make the table of a run of run_all.sh.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four data files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    try:
        rows = measure(args.data, args.out)
    except InputError as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    ceiling = name_only_ceiling(args.data.resolve())
    seconds = {path.stem: int(path.read_text()) for path in sorted((args.out / "stages").glob("*.seconds"))}
    text = table(rows, ceiling, sum(seconds.values()), args.recipe, args.seed)
    record = {
        "recipe": args.recipe, "seed": args.seed, "commit": commit(), "hardware": hardware(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
        "dev": {row: {"correct": correct, "total": total} for row, (correct, total) in rows.items()},
        "name_only_ceiling_percent": ceiling, "seconds": seconds,
    }
    (args.out / "results.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (args.out / "results.md").write_text(text, encoding="utf-8")
    print("\n" + text)


if __name__ == "__main__":
    main()
