"""
Measures what each ingredient of the recipe `recall` is worth: it pretrains, finetunes and
evaluates without one of them at a time, for a part of the recipe's epochs.

    python tools/experiments/ablation.py [--data DIR] [--variant vanilla] [--epochs 25]
        [--seeds 0 1 2] [--without NAME ...]

The numbers of right dev answers go to results/ablation.json after each training. What is there
already, of the same data, variant and length, is not measured again.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, Records, name_of, new_parser, pretrain, right_answers

# isort: split
from arguments import whole_number
from attention import VARIANTS
from dataset import CharCorruptionDataset
from recipe import COURSE, RECALL
from runs.console import command
from salient_spans import SalientSpanDataset


class WithoutShortRows(SalientSpanDataset):
    """The whole document stands before each span."""

    SHORT = 0.0


class WithoutHeading(SalientSpanDataset):
    """
    A document begins at position 1, not at 10, where a question has its name. Nine more characters
    of it are read.
    """

    HEADING = 1


WITHOUT = {
    "nothing": RECALL,
    "finetuning": replace(RECALL, finetune=COURSE.finetune),  # from the same pretraining
    "heading": replace(RECALL, dataset=WithoutHeading),
    "short rows": replace(RECALL, dataset=WithoutShortRows),
    "salient spans": replace(RECALL, dataset=CharCorruptionDataset),
    "no dropout": replace(RECALL, dropout=COURSE.dropout),
    "Muon": replace(RECALL, pretrain=replace(RECALL.pretrain, optimizer="adamw")),
    "everything": COURSE,
}


def for_epochs(recipe, epochs):
    """The recipe with `epochs` epochs of pretraining, in which the learning rate falls once."""
    return replace(
        recipe, pretrain=replace(recipe.pretrain, max_epochs=epochs, decay_epochs=epochs)
    )


def carry_out(args):
    data, records = args.data.resolve(), Records(args.json)
    facts = {"data": name_of(data), "variant": args.variant, "epochs": args.epochs}
    for seed in args.seeds:
        pretrained, seconds = None, 0
        with tempfile.TemporaryDirectory() as folder:
            params = Path(folder) / "pretrained.params"
            for without in args.without:
                key = {**facts, "without": without, "seed": seed}
                if records.has(key):
                    continue
                recipe = for_epochs(WITHOUT[without], args.epochs)
                pretraining = replace(recipe, finetune=RECALL.finetune)
                if pretraining != pretrained:
                    seconds = pretrain(recipe, args.variant, data, seed, params)
                    pretrained = pretraining
                right = right_answers(recipe, args.variant, data, seed, params)
                records.add(key, *right, seconds=seconds)


def main():
    words = "Train without one ingredient at a time."
    parser = new_parser(words, seeds=range(3), json_name="ablation.json")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument("--variant", default="vanilla", choices=list(VARIANTS))
    parser.add_argument(
        "--epochs", type=whole_number(1), default=25, help="of pretraining; default 25"
    )
    every = list(WITHOUT)
    parser.add_argument("--without", nargs="+", default=every, choices=every, help="default: all")
    with command("ablation.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
