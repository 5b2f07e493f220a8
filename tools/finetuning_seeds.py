"""
How much an accuracy hangs on finetuning's random numbers alone: pretrained models of a run, finetuned anew with other seeds and asked.

    python tools/finetuning_seeds.py --data data/cs224n --run out/cs224n-seed0 --recipe course --seeds 1 2 3 4

--run is a folder of run_all.sh's, of which it takes VARIANT.pretrain.params. Finetunes and evaluates as run.py does, and writes the
numbers of right dev answers to results/finetuning_seeds.json, beside those of other data and variants there.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from dataset import InputError, read_text  # noqa: E402
from fetch_data import FILES  # noqa: E402
from machine import commit, hardware, precision, versions  # noqa: E402
from recipe import RECIPES  # noqa: E402
from record import name_of_data  # noqa: E402


def run(function, variant, data, recipe, *arguments):
    """What a command of run.py's prints."""
    command = [sys.executable, ROOT / "src/run.py", function, variant, data / "wiki.txt", "--recipe", recipe, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"finetuning_seeds.py: error: run.py {function} {variant} failed, see above")
    return done.stdout


def right_answers(variant, data, recipe, pretrained, seed):
    """(right, asked) of the dev questions after finetuning with a seed."""
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / "finetune.params"
        run("finetune", variant, data, recipe, "--seed", str(seed), "--reading_params_path", pretrained, "--writing_params_path", params,
            "--finetune_corpus_path", data / "birth_places_train.tsv")
        said = run("evaluate", variant, data, recipe, "--reading_params_path", params, "--eval_corpus_path", data / "birth_dev.tsv",
                   "--outputs_path", Path(folder) / "dev.predictions")
    right, asked = re.search(r"^Correct: (\d+)(?:\.0)? out of (\d+)(?:\.0)?:", said, flags=re.MULTILINE).groups()
    return int(right), int(asked)


def main():
    parser = argparse.ArgumentParser(description="Finetune pretrained models anew with other seeds, and count right answers.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files; default the bundled ones")
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of run_all.sh on these data")
    parser.add_argument("--recipe", default="course", choices=list(RECIPES))
    parser.add_argument("--variants", nargs="+", default=["vanilla", "synthesizer"], choices=["vanilla", "synthesizer"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4], help="of finetuning; default 1 2 3 4")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "finetuning_seeds.json")
    args = parser.parse_args()
    data = args.data.resolve()
    try:
        name, _ = name_of_data(data, {file.name: read_text(data / file.name) for file in FILES})
        seed = re.search(r"\bseed=(\d+)", read_text(args.run / "settings"))
    except InputError as error:
        sys.exit(f"finetuning_seeds.py: error: {error}")
    if seed is None:
        sys.exit(f"finetuning_seeds.py: error: {args.run / 'settings'}: names no seed; a folder of run_all.sh is expected")
    pretraining = int(seed.group(1))
    records = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    for variant in args.variants:
        pretrained, right = (args.run / f"{variant}.pretrain.params").resolve(), []
        for seed in args.seeds:
            correct, total = right_answers(variant, data, args.recipe, pretrained, seed)
            right.append(correct)
            print(f"{variant}, finetuned with seed {seed}: {correct} of {total}", flush=True)
        record = {"data": name, "recipe": args.recipe, "variant": variant, "pretraining_seed": pretraining, "seeds": args.seeds,
                  "correct": right, "total": total, "hardware": hardware(), "precision": precision(), "commit": commit(),
                  "versions": versions()}
        records = [one for one in records if [one[key] for key in ("data", "variant", "pretraining_seed")] !=
                   [name, variant, pretraining]] + [record]
        args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
