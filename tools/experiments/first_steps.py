"""
Compares pretraining's first steps with those of the baseline, tests/baseline.py.

    python tools/experiments/first_steps.py [--data data/cs224n] [--json results/first_steps.json]

Three comparisons for each variant. The first two have no dropout and the same batches, so only
rounding may differ; the third is the recipe, where chance differs as well.

    in each step       from the baseline's parameters in each step: losses and gradients
    each on its way    from the same initial parameters: losses; also those of the baseline from
                       parameters that differ by 1e-7, since a small difference may grow
    own numbers        own initial parameters, corruption and dropout: losses

It takes about fifteen minutes a variant on two cores. Other programs may run.
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

# Puts src/ on the path.
from trainings import ROOT, name_of, new_model, replace_record, whole_number

# isort: split
import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(ROOT / "tests"))
import run  # noqa: E402
from baseline import (  # noqa: E402
    BaselineGPT,
    baseline_documents,
    baseline_epoch,
    baseline_optimizer,
    vocabulary,
)
from fast.gradients import BatchGradient  # noqa: E402
from machine import commit, hardware, versions  # noqa: E402
from recipe import RECIPES  # noqa: E402
from reference import VARIANTS  # noqa: E402
from runs.device import multiplies_bfloat16  # noqa: E402
from runs.files import check_output  # noqa: E402

OFF = 1e-7  # about the rounding of float32
CPU = torch.device("cpu")


class Enough(Exception):
    """The wanted number of steps is done."""


class Losses:
    """A TensorBoard writer that keeps the losses of `steps` steps and then ends the training."""

    def __init__(self, steps):
        self.steps, self.losses = steps, []

    def add_scalar(self, tag, value, step):
        if tag == "train/loss":
            self.losses.append(value)
            if len(self.losses) == self.steps:
                raise Enough


def fast_losses(corpus, model, recipe, steps, precision, seed):
    """The losses in nats of the first steps of run.py's pretraining."""
    writer = Losses(steps)
    settings = {"recipe": recipe, "precision": precision, "device": "cpu", "seed": seed}
    _, trainer = run.pretrain(corpus, recipe.block_size, model, writer=writer, **settings)
    with contextlib.suppress(Enough):
        trainer.train()
    return writer.losses


def baseline_model(vocab_size, recipe, variant):
    sizes = recipe.block_size, recipe.n_layer, recipe.n_head, recipe.n_embd, recipe.dropout
    return BaselineGPT(vocab_size, *sizes, variant=variant)


def baseline_losses(model, recipe, steps, epochs, workers=0, before_step=lambda step: None):
    """
    The losses of the baseline's first steps. epochs: datasets, one an epoch. before_step(step) is
    called before each optimizer step, from 0.
    """
    training = recipe.pretrain
    optimizer, tokens, losses = baseline_optimizer(model, training.learning_rate), 0, []
    optimizer.register_step_pre_hook(lambda *_: before_step(len(losses)))
    for dataset in epochs:
        final_tokens = training.final_tokens(dataset, recipe.block_size)
        schedule = training.learning_rate, training.warmup_tokens, final_tokens
        given = model, optimizer, dataset, training.batch_size
        for loss, seen in baseline_epoch(*given, *schedule, tokens, workers):
            tokens = seen
            losses.append(loss)
            if len(losses) == steps:
                return losses


def epochs_of(corpus):
    """The datasets of the epochs of a run with seed 0."""
    return (corpus.at_epoch(0, epoch) for epoch in itertools.count())


def precisions():
    """float32, and bfloat16 where training would choose it."""
    return ["float32"] + ["bfloat16"] * multiplies_bfloat16(CPU)


def in_each_step(corpus, recipe, variant, steps):
    """
    The baseline's losses, and {precision: {"losses": differences of the losses, "gradients":
    length of the gradients' difference relative to the baseline's gradient}}.
    """
    recipe = replace(recipe, dropout=0.0)
    fast = new_model(recipe, variant, corpus, seed=0).train()
    baseline = baseline_model(corpus.vocab_size, recipe, variant)
    baseline.load_state_dict(fast.state_dict())
    loaders = (DataLoader(one, batch_size=recipe.pretrain.batch_size) for one in epochs_of(corpus))
    batches = list(itertools.islice(itertools.chain.from_iterable(loaders), steps))
    found = {precision: {"losses": [], "gradients": []} for precision in precisions()}

    def length(gradients):
        return math.sqrt(sum(one.double().square().sum().item() for one in gradients))

    def compare(step):
        """The baseline has its gradient, clipped; its parameters have not changed yet."""
        expected = {name: parameter.grad for name, parameter in baseline.named_parameters()}
        fast.load_state_dict(baseline.state_dict())
        for precision, differences in found.items():
            with BatchGradient(fast, CPU, getattr(torch, precision)) as gradient:
                differences["losses"].append(gradient.backward(*batches[step], 0, 0, step).item())
            torch.nn.utils.clip_grad_norm_(fast.parameters(), 1.0)
            off = [one.grad - expected[name] for name, one in fast.named_parameters()]
            differences["gradients"].append(length(off) / length(expected.values()))

    losses = baseline_losses(baseline, recipe, steps, epochs_of(corpus), before_step=compare)
    for differences in found.values():
        pairs = zip(differences["losses"], losses, strict=True)
        differences["losses"] = [abs(ours - theirs) for ours, theirs in pairs]
    return losses, found


def each_on_its_way(corpus, recipe, variant, steps):
    """
    {precision: losses} of the fast way; "baseline, off": of the baseline from
    parameters that differ by OFF.
    """
    recipe, found = replace(recipe, dropout=0.0), {}
    for precision in precisions():
        model = new_model(recipe, variant, corpus, seed=0)
        found[precision] = fast_losses(corpus, model, recipe, steps, precision, seed=0)
    model = baseline_model(corpus.vocab_size, recipe, variant)
    model.load_state_dict(new_model(recipe, variant, corpus, seed=0).state_dict())
    for parameter in model.parameters():
        parameter.data *= 1 + OFF * torch.randn_like(parameter)
    found["baseline, off"] = baseline_losses(model, recipe, steps, epochs_of(corpus))
    return found


def own_numbers(text, corpus, recipe, variant, steps, seeds):
    """
    {way: [losses of each seed from 0]}, with dropout. The fast way chooses its precision. seeds:
    {way: number of seeds}.
    """
    found = {"baseline": [], "fast": []}
    for seed in range(seeds["baseline"]):
        random.seed(seed)
        torch.manual_seed(seed)
        documents = baseline_documents(text, recipe.block_size)
        model = baseline_model(len(vocabulary(text)), recipe, variant)
        epochs = itertools.repeat(documents)
        found["baseline"].append(baseline_losses(model, recipe, steps, epochs, workers=2))
    for seed in range(seeds["fast"]):
        model = new_model(recipe, variant, corpus, seed)
        found["fast"].append(fast_losses(corpus, model, recipe, steps, "auto", seed))
    return found


def compare(data, recipe, variant, steps, same_steps, seeds):
    """The record of one variant."""

    def rounded(values, form):
        return [float(f"{one:{form}}") for one in values]

    text = (data / "wiki.txt").read_text(encoding="utf-8")
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    losses, differences = in_each_step(corpus, recipe, variant, same_steps)
    ways = {"baseline": losses, **each_on_its_way(corpus, recipe, variant, same_steps)}
    own = own_numbers(text, corpus, recipe, variant, steps, seeds)
    return {
        "variant": variant,
        "in_each_step": {
            precision: {what: rounded(values, ".2g") for what, values in of_one.items()}
            for precision, of_one in differences.items()
        },
        "each_on_its_way": {way: rounded(losses, ".6f") for way, losses in ways.items()},
        "own_numbers": {
            way: [rounded(losses, ".4f") for losses in seeds] for way, seeds in own.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description="Compare first losses with the baseline's.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--recipe", default="course", choices=list(RECIPES))
    count = whole_number(1)
    parser.add_argument("--steps", type=count, default=100, help="with dropout; default 100")
    parser.add_argument("--same_steps", type=count, default=20, help="without it; default 20")
    parser.add_argument(
        "--seeds",
        type=count,
        nargs=2,
        default=[2, 4],
        metavar=("BASELINE", "FAST"),
        help="how many runs with dropout; default 2 4",
    )
    parser.add_argument("--json", type=Path, help="write to this file, beside other variants")
    args = parser.parse_args()
    if args.json:
        check_output(args.json)
    data = args.data.resolve()
    same = {"data": name_of(data), "recipe": args.recipe}
    facts = {**same, "hardware": hardware(), "commit": commit(), "versions": versions()}
    seeds = dict(zip(("baseline", "fast"), args.seeds, strict=True))
    for variant in args.variants:
        found = compare(data, RECIPES[args.recipe], variant, args.steps, args.same_steps, seeds)
        record = found | facts
        print(json.dumps(record), flush=True)
        if args.json:
            replace_record(args.json, record, (*same, "variant"))


if __name__ == "__main__":
    from runs.console import command

    with command("first_steps.py"):
        main()
