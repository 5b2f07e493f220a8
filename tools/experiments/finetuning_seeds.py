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
from pathlib import Path

from trainings import ROOT, name_of, right_answers  # puts src/ on the path

# isort: split
from attention import VARIANTS
from machine import description
from recipe import RECIPES
from runs.console import command
from runs.inputs import InputError, read_text


def carry_out(args):
    data, recipe = args.data.resolve(), RECIPES[args.recipe]
    name = name_of(data)
    found = re.search(r"\bseed=(\d+)", read_text(args.run / "settings"))
    if found is None:
        raise InputError(f"{args.run / 'settings'}: names no seed; is it of run_all.sh?")
    records = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    for variant in args.variants:
        pretrained, right = args.run / f"{variant}.pretrain.params", []
        for seed in args.seeds:
            correct, total = right_answers(recipe, variant, data, seed, pretrained)
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
                **description(),
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
