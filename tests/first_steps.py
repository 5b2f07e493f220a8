"""
Holds the losses of pretraining's first steps against the plain way's (plain.py): is it the same experiment?

    python tests/first_steps.py                                            the course's recipe on the bundled files
    python tests/first_steps.py --data data/cs224n --json results/first_steps.json

Twice for each variant. First without dropout, from the same parameters and on the same batches, where only rounding may differ. Then
as the recipe has it, each way with its own initial parameters, corruption and dropout, where only chance may. Some ten minutes a
variant on two cores; nothing else need be idle, since nothing is timed.
"""
import argparse
import contextlib
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
for folder in ("src", "tests", "tools"):
    sys.path.insert(0, str(ROOT / folder))

import run
from hardware import keep_freed_memory, multiplies_bfloat16
from fetch_data import FILES
from machine import commit, hardware, versions
from model import GPT, GPTConfig
from plain import PlainGPT, plain_documents, plain_epoch, plain_optimizer, vocabulary
from recipe import RECIPES
from record import name_of_data


class Enough(Exception):
    """As many steps as were wanted are done."""


class Losses:
    """A TensorBoard writer that keeps the losses of the first `steps` steps and then ends the training."""

    def __init__(self, steps):
        self.steps, self.losses = steps, []

    def add_scalar(self, tag, value, step):
        if tag == "train/loss":
            self.losses.append(value)
            if len(self.losses) == self.steps:
                raise Enough


def fast_model(corpus, recipe, variant, seed):
    run.set_seed(seed)
    return GPT(GPTConfig(corpus.vocab_size, recipe.block_size, **recipe.model_settings(), **{variant: True}))


def fast_losses(corpus, model, recipe, steps, precision, seed):
    """The losses in nats of the first `steps` steps of pretraining as run.py does it."""
    writer = Losses(steps)
    _, trainer = run.pretrain(corpus, recipe.block_size, model, writer=writer, recipe=recipe, precision=precision, device="cpu", seed=seed)
    with contextlib.suppress(Enough):
        trainer.train()
    return writer.losses


def plain_model(vocab_size, recipe, variant):
    return PlainGPT(vocab_size, recipe.block_size, recipe.n_layer, recipe.n_head, recipe.n_embd, recipe.dropout,
                    synthesizer=variant == "synthesizer")


def plain_losses(model, recipe, steps, dataset_of_epoch, n_documents, workers):
    """The same the plain way, on dataset_of_epoch(0), dataset_of_epoch(1), …, each of n_documents items."""
    training = recipe.pretrain
    optimizer, tokens, losses = plain_optimizer(model, training.learning_rate), 0, []
    final_tokens = training.decay_epochs * n_documents * recipe.block_size
    for epoch in itertools.count():
        for loss, tokens in plain_epoch(model, optimizer, dataset_of_epoch(epoch), training.batch_size, training.learning_rate,
                                        training.warmup_tokens, final_tokens, tokens, workers):
            losses.append(loss)
            if len(losses) == steps:
                return losses


def precisions():
    """In which the fast way trains: in float32 everywhere, and in bfloat16 where it would choose that."""
    return ["float32"] + ["bfloat16"] * multiplies_bfloat16(torch.device("cpu"))


def same_batches(corpus, recipe, variant, steps):
    """{way: losses} without dropout, from the same parameters, on the same batches."""
    recipe = replace(recipe, dropout=0.0)
    model = plain_model(corpus.vocab_size, recipe, variant)
    model.load_state_dict(fast_model(corpus, recipe, variant, seed=0).state_dict())
    found = {"plain": plain_losses(model, recipe, steps, lambda epoch: corpus.at_epoch(0, epoch), len(corpus), workers=0)}
    for precision in precisions():
        found[precision] = fast_losses(corpus, fast_model(corpus, recipe, variant, seed=0), recipe, steps, precision, seed=0)
    return found


def own_numbers(text, corpus, recipe, variant, steps, seeds):
    """{way: [losses, for each seed]} with dropout, each way with random numbers of its own; the fast one in its own precision."""
    found = {"plain": [], "fast": []}
    for seed in range(seeds):
        torch.manual_seed(seed)
        run.set_seed(seed)
        documents, model = plain_documents(text, recipe.block_size), plain_model(len(vocabulary(text)), recipe, variant)
        found["plain"].append(plain_losses(model, recipe, steps, lambda epoch: documents, len(documents), workers=2))
        found["fast"].append(fast_losses(corpus, fast_model(corpus, recipe, variant, seed), recipe, steps, "auto", seed))
    return found


def compare(data, recipe, variant, steps, same_steps, seeds):
    """The record of one variant."""
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    rounded = {way: [round(loss, 6) for loss in losses]
               for way, losses in same_batches(corpus, recipe, variant, same_steps).items()}
    own = {way: [[round(loss, 4) for loss in losses] for losses in runs]
           for way, runs in own_numbers(text, corpus, recipe, variant, steps, seeds).items()}
    return {"variant": variant, "same_batches": rounded, "own_numbers": own}


def main():
    parser = argparse.ArgumentParser(description="Hold pretraining's first losses against the plain way's.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files; default the bundled ones")
    parser.add_argument("--variants", nargs="+", default=["vanilla", "synthesizer"], choices=["vanilla", "synthesizer"])
    parser.add_argument("--recipe", default="course", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, default=100, help="with dropout and random numbers of their own; default 100")
    parser.add_argument("--same_steps", type=int, default=20, help="without dropout on the same batches; default 20")
    parser.add_argument("--seeds", type=int, default=1, help="how often with random numbers of their own; default 1")
    parser.add_argument("--json", type=Path, help="put the losses into this file, beside those of other variants")
    args = parser.parse_args()
    keep_freed_memory()
    data = args.data.resolve()
    name, _ = name_of_data(data, {file.name: (data / file.name).read_text(encoding="utf-8") for file in FILES})
    facts = {"data": name, "recipe": args.recipe, "hardware": hardware(), "commit": commit(), "versions": versions()}
    records = [{**compare(data, RECIPES[args.recipe], variant, args.steps, args.same_steps, args.seeds), **facts}
               for variant in args.variants]
    for record in records:
        print(json.dumps(record))
    if args.json:
        before = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
        kept = [one for one in before if one["variant"] not in args.variants]
        args.json.write_text(json.dumps(kept + records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
