"""
Measures how much accuracy depends on the seed of finetuning: it finetunes the pretrained models of
a run with other seeds, and evaluates them.

    python tools/experiments/finetuning_seeds.py --data data/cs224n --run out/cs224n-seed0
        [--recipe course] [--variants vanilla ...] [--seeds 1 2 3 4]

--run is an output folder of run_all.sh. The numbers of right dev answers go to
results/finetuning_seeds.json, beside those of other data, variants and runs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus", "tools/report")]
from attention import VARIANTS  # noqa: E402
from fetch_data import SHA256  # noqa: E402
from machine import commit, hardware, precision, versions  # noqa: E402
from recipe import RECIPES  # noqa: E402
from record import name_of_data  # noqa: E402
from runs.console import command  # noqa: E402
from runs.inputs import InputError, read_text  # noqa: E402


def run(function, variant, data, recipe, *arguments):
    """The standard output of a command of run.py."""
    words = [sys.executable, ROOT / "src/run.py", function, variant, data / "wiki.txt"]
    words += ["--recipe", recipe, *arguments]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        raise InputError(f"run.py {function} {variant} failed, see above")
    return done.stdout


def right_answers(variant, data, recipe, pretrained, seed):
    """(right, asked) of the dev questions after finetuning with a seed."""
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / "finetune.params"
        finetune = ["--reading_params_path", pretrained, "--writing_params_path", params]
        finetune += ["--finetune_corpus_path", data / "birth_places_train.tsv"]
        run("finetune", variant, data, recipe, "--seed", str(seed), *finetune)
        evaluate = ["--reading_params_path", params, "--eval_corpus_path", data / "birth_dev.tsv"]
        evaluate += ["--outputs_path", Path(folder) / "predictions"]
        said = run("evaluate", variant, data, recipe, *evaluate)
    right, asked = re.search(r"Correct: (\S+) out of (\S+):", said).groups()
    return int(float(right)), int(float(asked))


def carry_out(args):
    data = args.data.resolve()
    name, _ = name_of_data(data, {file: read_text(data / file) for file in SHA256})
    found = re.search(r"\bseed=(\d+)", read_text(args.run / "settings"))
    if found is None:
        raise InputError(f"{args.run / 'settings'}: names no seed; is it of run_all.sh?")
    records = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    for variant in args.variants:
        pretrained, right = (args.run / f"{variant}.pretrain.params").resolve(), []
        for seed in args.seeds:
            correct, total = right_answers(variant, data, args.recipe, pretrained, seed)
            right.append(correct)
            print(f"{variant}, finetuned with seed {seed}: {correct} of {total}", flush=True)
        key = {"data": name, "variant": variant, "pretraining_seed": int(found[1])}
        records = [one for one in records if any(one[field] != key[field] for field in key)]
        records.append(
            {
                **key,
                "recipe": args.recipe,
                "seeds": args.seeds,
                "correct": right,
                "total": total,
                "hardware": hardware(),
                "precision": precision(),
                "commit": commit(),
                "versions": versions(),
            }
        )
        args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Finetune with other seeds and evaluate.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument("--run", type=Path, required=True, help="output folder of run_all.sh")
    parser.add_argument("--recipe", default="course", choices=list(RECIPES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4], help="of finetuning")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "finetuning_seeds.json")
    with command("finetuning_seeds.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
