"""
Measures what each ingredient of the recipe `recall` is worth: it pretrains, finetunes and
evaluates without one of them at a time, for a part of the recipe's epochs.

    python tools/experiments/ablation.py [--data DIR] [--variant vanilla] [--epochs 25]
        [--seeds 0 1 2] [--without NAME ...]

The numbers of right dev answers go to results/ablation.json after each training. What is there
already, of the same data, variant and length, is not measured again.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus", "tools/report")]
import run  # noqa: E402, first, because it prepares the loading of torch
from attention import VARIANTS  # noqa: E402
from dataset import CharCorruptionDataset  # noqa: E402
from fetch_data import SHA256  # noqa: E402
from machine import commit, hardware, precision, versions  # noqa: E402
from model import GPT, GPTConfig  # noqa: E402
from reading import read_corpus  # noqa: E402
from recipe import COURSE, RECALL  # noqa: E402
from record import name_of_data  # noqa: E402
from runs.checkpoint import save_params  # noqa: E402
from runs.console import command  # noqa: E402
from runs.inputs import read_text  # noqa: E402
from salient_spans import SalientSpanDataset  # noqa: E402
from utils import set_seed  # noqa: E402


class WithoutShortRows(SalientSpanDataset):
    """The whole document stands before each span."""

    SHORT = 0.0


class WithoutHeading(SalientSpanDataset):
    """A document begins at position 1, not at 10, where a question has its name."""

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
    """The recipe with so many epochs of pretraining, in which the learning rate falls once."""
    return replace(
        recipe, pretrain=replace(recipe.pretrain, max_epochs=epochs, decay_epochs=epochs)
    )


def new_model(recipe, variant, dataset, seed):
    set_seed(seed)
    sizes = dataset.vocab_size, recipe.block_size
    return GPT(GPTConfig(*sizes, **recipe.model_settings(), **{variant: True}))


def pretrain(recipe, variant, data, seed, params):
    """Writes a pretrained model's parameters. Returns the seconds that it took."""
    start = time.perf_counter()
    dataset = read_corpus(data / "wiki.txt", recipe.block_size, recipe.dataset)
    model = new_model(recipe, variant, dataset, seed)
    _, trainer = run.pretrain(dataset, recipe.block_size, model, recipe=recipe, seed=seed)
    trainer.train()
    save_params(model, params)
    return time.perf_counter() - start


def right_answers(recipe, variant, data, seed, params):
    """(right, asked) of the dev questions after finetuning."""
    dataset = read_corpus(data / "wiki.txt", recipe.block_size)
    model = new_model(recipe, variant, dataset, seed)
    paths = params, data / "birth_places_train.tsv"
    _, trainer = run.finetune(*paths, dataset, recipe.block_size, model, recipe=recipe, seed=seed)
    trainer.train()
    predictions = params.with_suffix(".predictions")
    total, correct = run.evaluate(model, dataset, data / "birth_dev.tsv", predictions)
    return int(correct), int(total)


def carry_out(args):
    data = args.data.resolve()
    name, _ = name_of_data(data, {file: read_text(data / file) for file in SHA256})
    records = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    for seed in args.seeds:
        pretrained, seconds = None, 0.0
        with tempfile.TemporaryDirectory() as folder:
            params = Path(folder) / "pretrained.params"
            for without in args.without:
                recipe = for_epochs(WITHOUT[without], args.epochs)
                key = {"data": name, "variant": args.variant, "epochs": args.epochs}
                key |= {"without": without, "seed": seed}
                if any(key.items() <= one.items() for one in records):
                    continue
                print(f"without {without}, seed {seed}", file=sys.stderr)
                if pretrained != replace(recipe, finetune=RECALL.finetune):
                    seconds = pretrain(recipe, args.variant, data, seed, params)
                    pretrained = replace(recipe, finetune=RECALL.finetune)
                correct, total = right_answers(recipe, args.variant, data, seed, params)
                print(f"without {without}, seed {seed}: {correct} of {total}", flush=True)
                measured = {"correct": correct, "total": total, "seconds": round(seconds)}
                measured |= {"hardware": hardware(), "precision": precision()}
                records.append({**key, **measured, "commit": commit(), "versions": versions()})
                args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Train without one ingredient at a time.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument("--variant", default="vanilla", choices=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=25, help="of pretraining")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--without", nargs="+", default=list(WITHOUT), choices=list(WITHOUT))
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "ablation.json")
    with command("ablation.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
