"""
Holds pretraining's first steps against the plain way's (plain.py): is it the same experiment?

    python tests/first_steps.py                                            the course's recipe on the bundled files
    python tests/first_steps.py --data data/cs224n --json results/first_steps.json

Three comparisons for each variant. Without dropout and on the same batches, where only rounding may differ: from the plain way's
parameters anew in each step, losses and gradients; and each on its own way from the same initial parameters, losses, beside those of the
plain way from parameters that are off by one part in ten million, since a small difference may grow. Then as the recipe has it, each with
its own initial parameters, corruption and dropout, where only chance may differ. Some fifteen minutes a variant on two cores; nothing else
need be idle, since nothing is timed.
"""
import argparse
import contextlib
import itertools
import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
for folder in ("src", "tests", "tools"):
    sys.path.insert(0, str(ROOT / folder))

import run
from fetch_data import FILES
from gradients import BatchGradient
from hardware import keep_freed_memory, multiplies_bfloat16
from machine import commit, hardware, versions
from model import GPT, GPTConfig
from plain import PlainGPT, plain_documents, plain_epoch, plain_optimizer, vocabulary
from recipe import RECIPES
from record import name_of_data

OFF = 1e-7  # about what rounding to float32 makes


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


def plain_losses(model, recipe, steps, dataset_of_epoch, n_documents, workers, before_step=lambda step: None):
    """
    The same the plain way, on dataset_of_epoch(0), dataset_of_epoch(1), …, each of n_documents items. before_step(step) is called before
    each step, the first of which is 0.
    """
    training = recipe.pretrain
    optimizer, tokens, losses = plain_optimizer(model, training.learning_rate), 0, []
    optimizer.register_step_pre_hook(lambda *_: before_step(len(losses)))
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


def batches(corpus, recipe, steps):
    """The first `steps` batches of pretraining with seed 0."""
    epochs = (DataLoader(corpus.at_epoch(0, epoch), batch_size=recipe.pretrain.batch_size) for epoch in itertools.count())
    return list(itertools.islice(itertools.chain.from_iterable(epochs), steps))


def in_each_step(corpus, recipe, variant, steps):
    """
    The plain way's losses in its first steps without dropout, and from its parameters in each of them {precision: {"losses": how far the
    fast way's loss is from it, "gradients": the length of the two gradients' difference, as a share of the plain one's}}.
    """
    recipe = replace(recipe, dropout=0.0)
    plainly, fast = plain_model(corpus.vocab_size, recipe, variant), fast_model(corpus, recipe, variant, seed=0).train()
    plainly.load_state_dict(fast.state_dict())
    given = batches(corpus, recipe, steps)
    found = {precision: {"losses": [], "gradients": []} for precision in precisions()}

    def length(gradients):
        return math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))

    def compare(step):
        """Called when the plain way has its gradient, clipped, and its parameters are still those that it is of."""
        expected = {name: parameter.grad for name, parameter in plainly.named_parameters()}
        fast.load_state_dict(plainly.state_dict())
        for precision, differences in found.items():
            with BatchGradient(fast, torch.device("cpu"), getattr(torch, precision)) as gradient:
                differences["losses"].append(gradient(*given[step], 0, 0, step).item())
            torch.nn.utils.clip_grad_norm_(fast.parameters(), 1.0)
            off = [parameter.grad - expected[name] for name, parameter in fast.named_parameters()]
            differences["gradients"].append(length(off) / length(expected.values()))

    losses = plain_losses(plainly, recipe, steps, lambda epoch: corpus.at_epoch(0, epoch), len(corpus), workers=0, before_step=compare)
    for differences in found.values():
        differences["losses"] = [abs(ours - theirs) for ours, theirs in zip(differences["losses"], losses)]
    return losses, found


def each_on_its_way(corpus, recipe, variant, steps):
    """{way: losses} without dropout, from the same parameters on the same batches; "plain, off": from ones that are off by OFF."""
    recipe, found = replace(recipe, dropout=0.0), {}
    for precision in precisions():
        found[precision] = fast_losses(corpus, fast_model(corpus, recipe, variant, seed=0), recipe, steps, precision, seed=0)
    model = plain_model(corpus.vocab_size, recipe, variant)
    model.load_state_dict(fast_model(corpus, recipe, variant, seed=0).state_dict())
    for parameter in model.parameters():
        parameter.data *= 1 + OFF * torch.randn_like(parameter)
    found["plain, off"] = plain_losses(model, recipe, steps, lambda epoch: corpus.at_epoch(0, epoch), len(corpus), workers=0)
    return found


def own_numbers(text, corpus, recipe, variant, steps, seeds):
    """
    {way: [losses, for each seed from 0]} with dropout, each way with random numbers of its own; the fast one in the precision that it
    chooses. seeds: how many, {way: number}.
    """
    found = {"plain": [], "fast": []}
    for seed in range(seeds["plain"]):
        random.seed(seed)
        torch.manual_seed(seed)
        documents, model = plain_documents(text, recipe.block_size), plain_model(len(vocabulary(text)), recipe, variant)
        found["plain"].append(plain_losses(model, recipe, steps, lambda epoch: documents, len(documents), workers=2))
    for seed in range(seeds["fast"]):
        found["fast"].append(fast_losses(corpus, fast_model(corpus, recipe, variant, seed), recipe, steps, "auto", seed))
    return found


def compare(data, recipe, variant, steps, same_steps, seeds):
    """The record of one variant."""
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    plainly, differences = in_each_step(corpus, recipe, variant, same_steps)
    ways = {"plain": plainly, **each_on_its_way(corpus, recipe, variant, same_steps)}
    own = own_numbers(text, corpus, recipe, variant, steps, seeds)
    differences = {precision: {what: [float(f"{one:.2g}") for one in values] for what, values in of_one.items()}
                   for precision, of_one in differences.items()}
    return {"variant": variant, "in_each_step": differences,
            "each_on_its_way": {way: [round(loss, 6) for loss in losses] for way, losses in ways.items()},
            "own_numbers": {way: [[round(loss, 4) for loss in losses] for losses in runs] for way, runs in own.items()}}


def main():
    parser = argparse.ArgumentParser(description="Hold pretraining's first losses against the plain way's.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files; default the bundled ones")
    parser.add_argument("--variants", nargs="+", default=["vanilla", "synthesizer"], choices=["vanilla", "synthesizer"])
    parser.add_argument("--recipe", default="course", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, default=100, help="with dropout and random numbers of their own; default 100")
    parser.add_argument("--same_steps", type=int, default=20, help="without dropout on the same batches; default 20")
    parser.add_argument("--seeds", type=int, nargs=2, default=[2, 4], metavar=("PLAIN", "FAST"),
                        help="how often with random numbers of its own each way is gone; default 2 4")
    parser.add_argument("--json", type=Path, help="put the losses into this file, beside those of other variants")
    args = parser.parse_args()
    keep_freed_memory()
    data = args.data.resolve()
    name, _ = name_of_data(data, {file.name: (data / file.name).read_text(encoding="utf-8") for file in FILES})
    facts = {"data": name, "recipe": args.recipe, "hardware": hardware(), "commit": commit(), "versions": versions()}
    seeds = dict(zip(("plain", "fast"), args.seeds))
    for variant in args.variants:
        record = {**compare(data, RECIPES[args.recipe], variant, args.steps, args.same_steps, seeds), **facts}
        print(json.dumps(record), flush=True)
        if args.json:
            before = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
            kept = [*(one for one in before if one["variant"] != variant), record]
            args.json.write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
