"""
Measures how much accuracy depends on the seed of finetuning: it finetunes the pretrained models of
a run with other seeds, and evaluates them.

    python tools/experiments/finetuning_seeds.py --data data/cs224n --run out/cs224n-seed0
        [--variants vanilla ...] [--seeds 1 2 3 4]

--run is an output folder of run_all.sh; its own seed is left out. The numbers of right dev answers
go to results/finetuning_seeds.json after each finetuning. What is there already is not measured
again.
"""

from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, Records, name_of, new_parser, right_answers

# isort: split
from attention import VARIANTS
from recipe import RECIPES
from record import settings_of
from runs.console import command


def carry_out(args):
    data, records = args.data.resolve(), Records(args.json)
    recipe, seed_of_run = settings_of(args.run)
    facts = {"data": name_of(data), "recipe": recipe, "pretraining_seed": seed_of_run}
    params = {variant: args.run / f"{variant}.pretrain.params" for variant in VARIANTS}
    found = [variant for variant, path in params.items() if path.exists()]
    for variant in args.variants or found or VARIANTS:
        for seed in args.seeds:
            key = {**facts, "variant": variant, "seed": seed}
            if seed != seed_of_run and not records.has(key):  # with its own, it is the run itself
                model = RECIPES[recipe], variant, data, seed, params[variant]
                records.add(key, *right_answers(*model))


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
