"""
Measures how much accuracy depends on the seed of finetuning: it finetunes the pretrained models of
a run with other seeds, and evaluates them.

    python tools/experiments/finetuning_seeds.py --data data/cs224n --run out/cs224n-seed0
        [--variants vanilla ...] [--seeds 1 2 3 4]

--run is an output folder of run_all.sh. The numbers of right dev answers go to
results/finetuning_seeds.json after each finetuning. What is there already is not measured again.
"""

import re
from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, Records, name_of, new_parser, right_answers

# isort: split
from attention import VARIANTS
from recipe import RECIPES
from runs.console import command
from runs.inputs import InputError, read_text


def carry_out(args):
    data, records = args.data.resolve(), Records(args.json)
    run = re.match(r"recipe=(\w+) seed=(\d+) ", read_text(args.run / "settings"))
    if run is None:
        raise InputError(f"{args.run / 'settings'}: no recipe and seed; is it of run_all.sh?")
    facts = {"data": name_of(data), "recipe": run[1], "pretraining_seed": int(run[2])}
    params = {variant: args.run / f"{variant}.pretrain.params" for variant in VARIANTS}
    found = [variant for variant, path in params.items() if path.exists()]
    for variant in args.variants or found or VARIANTS:
        for seed in args.seeds:
            key = {**facts, "variant": variant, "seed": seed}
            if not records.has(key):
                recipe = RECIPES[run[1]]
                records.add(key, *right_answers(recipe, variant, data, seed, params[variant]))


def main():
    words = "Finetune with other seeds and evaluate."
    parser = new_parser(words, seeds=range(1, 5), json_name="finetuning_seeds.json")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument("--run", type=Path, required=True, help="output folder of run_all.sh")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), help="default: those of the run"
    )
    with command("finetuning_seeds.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
