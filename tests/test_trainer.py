"""
The training loop: against a loop of the reference's own gradients, clipping, AdamW and rates; what
the schedule counts, order and reproducibility, which parameters are kept, and what is refused.
"""

import random

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import reference
from attention import VARIANTS
from conftest import BLOCK_SIZE, TINY_CORPUS
from dataset import CharCorruptionDataset
from fast import packing
from model import GPT, GPTConfig
from resuming import Events
from runs.inputs import InputError
from trainer import (
    Trainer,
    learning_rate_factor,
    make_optimizer,
)
from training import (
    HEADS,
    LAYERS,
    LENGTH,
    PEAK,
    ROWS,
    Counted,
    Scripted,
    copied,
    identical,
    kept_and_passed,
    model_of,
    numbered,
    ragged_rows,
    settings,
    train,
)

PACKED = [name for name in reference.VARIANTS if VARIANTS[name].supports_packing]


# ---- against the reference ------------------------------------------------------------------


def reference_training(state, x, y, rates, batch_size):
    """The parameters after a step of the reference's for each rate, epoch after epoch."""
    fixed = {name: tensor for name, tensor in state.items() if name.endswith("mask")}
    params = {name: tensor for name, tensor in state.items() if name not in fixed}
    memory, firsts, norms = {}, [], []
    for rate in rates:
        firsts = firsts or list(range(0, len(x), batch_size))
        rows = slice(firsts[0], firsts.pop(0) + batch_size)
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        logits = reference.gpt_logits({**leaves, **fixed}, x[rows], LAYERS, HEADS)
        grads = torch.autograd.grad(reference.loss(logits, y[rows]), list(leaves.values()))
        clipped, norm = reference.clip_gradients(dict(zip(leaves, grads, strict=True)))
        norms.append(norm)
        params = reference.adamw_step(params, clipped, memory, rate)
    assert max(norms) > 1.0  # so that the clipping shows
    return {**params, **fixed}


@pytest.mark.parametrize(
    "known_variant, schedule",
    [
        ("vanilla", (60, 100)),  # warm in the fifth of six steps; then p reaches 1 and the floor
        ("synthesizer", (60, 100)),
        ("vanilla", (20, 24)),  # p goes to 12 and the rate rises again in between
        ("vanilla", None),  # lr_decay off
    ],
    indirect=["known_variant"],
)
def test_training_is_the_references(known_variant, schedule):
    x, y = ragged_rows()
    model = model_of(known_variant).double()
    before = copied(model)
    rates, changes = [PEAK] * 6, {}
    if schedule:
        rates = reference.learning_rates_of_run(ROWS, LENGTH, 2, 2, PEAK, *schedule)
        changes = {"lr_decay": True, "warmup_tokens": schedule[0], "final_tokens": schedule[1]}
    train(model, x, y, **changes)
    expected = reference_training(before, x, y, rates, 2)
    for name, tensor in model.state_dict().items():
        # The gradient of a key's bias is 0 but for rounding, which AdamW makes a full step of.
        if not name.endswith(("key.bias", "mask")):
            torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-11)
            assert not torch.allclose(tensor, before[name], rtol=1e-5, atol=0)


def test_betas_clipping_decay_and_rate_are_used():
    results = set()
    for name, value in (
        ("max_epochs", 2),
        ("betas", (0.5, 0.6)),
        ("grad_norm_clip", 1e-9),
        ("weight_decay", 0.5),
        ("learning_rate", 0.02),
    ):
        model = model_of()
        train(model, *ragged_rows(), **{name: value})
        results.add(model.head.weight.sum().item())
    assert len(results) == 5


def test_biases_are_not_decayed_and_all_else_is(known_variant):
    """Layer norms' weights and the embeddings too, and w2 and b2 of the synthesizer."""
    model = model_of(known_variant)
    before = copied(model)
    optimizer = make_optimizer(nn.DataParallel(model), settings(weight_decay=0.1))
    assert type(optimizer) is torch.optim.AdamW
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # a step then only decays
    optimizer.step()
    spared = set()
    for name, parameter in model.named_parameters():
        if torch.equal(parameter, before[name]):
            spared.add(name)
        else:
            expected = before[name] * (1 - PEAK * 0.1)
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)
    assert spared == {name for name, _ in model.named_parameters() if name.endswith(".bias")}


# ---- the learning rate ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "warmup, final",
    [(1000, 5000), (0, 700), (512 * 20, 75_212_800), (10, 10), (0, 0), (50, 20)],
)
def test_the_learning_rate_is_the_references(warmup, final):
    """In the warm-up, for p in (0, 1), and beyond 1 to 3.3 with the floor in between."""
    span = max(1, final - warmup)
    places = [warmup * share for share in (0, 0.1, 0.5, 0.999, 1)]
    places += [warmup + step / 100 * span for step in range(331)]
    found = [learning_rate_factor(tokens, warmup, final) for tokens in places]
    expected = [reference.learning_rate(tokens, 1.0, warmup, final) for tokens in places]
    assert found == pytest.approx(expected, rel=1e-12)
    assert min(found[-331:]) == 0.1


def test_tokens_count_every_target_position():
    """PAD included, and what is cropped; a second run begins anew."""
    x, y = ragged_rows()
    y[:, 3:] = 0
    trainer = train(model_of(), x, y, max_epochs=3, lr_decay=True)
    assert trainer.tokens == 3 * ROWS * LENGTH
    trainer.train()
    assert trainer.tokens == 3 * ROWS * LENGTH


def test_the_writer_gets_loss_and_rate_of_each_step():
    x, y = ragged_rows()
    model, writer = model_of(), Events()
    before = {name: tensor.double() for name, tensor in copied(model).items()}
    train(model, x, y, lr_decay=True, warmup_tokens=30, final_tokens=90, writer=writer)
    for tag in ("train/loss", "train/lr"):
        assert [step for name, _, step in writer.rows if name == tag] == [1, 2, 3, 4, 5, 6]
    rates = [reference.learning_rate(n, PEAK, 30, 90) for n in (14, 28, 35, 49, 63, 70)]
    assert writer.of("train/lr") == pytest.approx(rates, rel=1e-12)
    first = reference.loss(reference.gpt_logits(before, x[:2], LAYERS, HEADS), y[:2]).item()
    assert writer.of("train/loss")[0] == pytest.approx(first, rel=1e-4)
    assert len(set(writer.of("train/loss"))) == 6
    writer = Events()
    train(model_of(), x, y, writer=writer)
    assert writer.of("train/lr") == [PEAK] * 6  # without lr_decay


# ---- padding --------------------------------------------------------------------------------


@pytest.mark.parametrize("known_variant", PACKED)
def test_only_what_the_loss_depends_on_is_computed(monkeypatch, known_variant):
    """
    Of each row what stands up to its last target; in the last layer, after its attention, what has
    a target.
    """
    monkeypatch.setattr(packing, "TOKENS_MULTIPLE", 1)
    x, y = ragged_rows(8)
    model, seen = model_of(known_variant), {}
    last, before = "blocks.2", ("tok_emb", "blocks.0.mlp", "blocks.2.ln1")
    if known_variant == "perceiver":  # whose other blocks work in the bottleneck
        last, before = "up_block", ("tok_emb",)
    after_attention = (f"{last}.attn.proj", f"{last}.mlp", "head")
    for name in (*before, *after_attention):
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: seen.get(name, 0) + len(inputs[0])})
        )
    train(model, x, y, max_epochs=1, batch_size=40)
    up_to_the_last, targets = 8 * (5 + 2 + 7 + 4 + 3), int((y != 0).sum())
    assert targets < up_to_the_last < y.numel()
    assert seen == dict.fromkeys(before, up_to_the_last) | dict.fromkeys(after_attention, targets)


# ---- order and reproducibility --------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_file_order_and_the_last_is_smaller(workers):
    model = Counted()
    train(model, *numbered(7), batch_size=3, num_workers=workers)
    assert model.seen == 2 * [[1, 2, 3], [4, 5, 6], [7]] and model.modes == [True] * 6


def trained(dataset, variant="vanilla", outside_seed=0, **changes):
    """The parameters of a model with dropout after two epochs."""
    torch.manual_seed(3)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 8}
    model = GPT(GPTConfig(dataset.vocab_size, BLOCK_SIZE, **sizes, **{variant: True}))
    torch.manual_seed(outside_seed)
    random.seed(outside_seed)
    Trainer(model, dataset, None, settings(**changes)).train()
    return copied(model)


def test_the_same_seed_gives_the_same_bits(tiny_pretrain_dataset, variant):
    first = trained(tiny_pretrain_dataset, variant)
    other = CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE)
    assert identical(first, trained(other, variant, outside_seed=77, num_workers=2))
    assert not identical(first, trained(tiny_pretrain_dataset, variant, seed=2))


def test_without_a_seed_every_run_is_another_and_seed_0_is_one(tiny_pretrain_dataset):
    for seed, same in ((None, False), (0, True)):
        one = trained(tiny_pretrain_dataset, seed=seed)
        assert identical(one, trained(tiny_pretrain_dataset, seed=seed, outside_seed=1)) == same


class Asked(Dataset):
    """counts[epoch] items in each epoch; keeps what at_epoch() was asked for."""

    def __init__(self, counts=(4, 4, 4)):
        self.counts, self.asked = counts, []

    def __len__(self):
        return self.counts[0]

    def __getitem__(self, index):
        return tuple(part[index] for part in numbered(len(self)))

    def at_epoch(self, seed, epoch):
        self.asked.append((seed, epoch))
        return TensorDataset(*numbered(self.counts[epoch]))


def test_a_dataset_is_asked_for_each_epoch_by_seed_and_number():
    for seed, asked in ((8, [(8, 0), (8, 1), (8, 2)]), (0, [(0, 0), (0, 1), (0, 2)]), (None, [])):
        data, model = Asked(), Counted()
        Trainer(model, data, None, settings(max_epochs=3, seed=seed)).train()
        assert data.asked == asked and model.seen == 3 * [[1, 2], [3, 4]]


def dropout_of_epochs(seed, counts=(4, 4, 4), workers=0):
    """What dropout drew in the steps of each epoch: (steps, 64)."""
    model, data = Counted(), Asked(counts)
    Trainer(model, data, None, settings(max_epochs=3, seed=seed, num_workers=workers)).train()
    masks = (model.dropped[:-4], model.dropped[-4:-2], model.dropped[-2:])
    return [torch.stack(epoch) for epoch in masks]


@pytest.mark.parametrize("workers", [0, 2])
def test_dropout_depends_on_seed_epoch_and_step_alone(workers):
    """In the second run epoch 0 is three steps longer, and its other epochs draw the same."""
    first, second = dropout_of_epochs(5), dropout_of_epochs(5, (10, 4, 4), workers)
    assert len(second[0]) == 5 and torch.equal(first[0], second[0][:2])
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])
    masks = torch.cat(first + dropout_of_epochs(6))
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks) == 12


# ---- what is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "losses, best, batches",
    [
        ((3.0, 1.0, 2.0), 1, 1),
        ((1.0, 1.0, 1.0), 0, 1),
        ((3.0, 2.0, 1.0), 2, 1),
        ((1.0, 5.0, 2.0, 2.0, 4.0, 4.0), 1, 2),  # the mean over all batches counts
        ((1.0, 2.5, 3.0, 2.0, 2.0, 2.0), 0, 2),
    ],
)
def test_the_checkpoint_is_that_of_the_lowest_test_loss(tmp_path, losses, best, batches):
    """A test runs without dropout; training continues with dropout."""
    model, test = Scripted(losses), TensorDataset(*numbered(2 * batches))
    kept, passed = kept_and_passed(model, test, tmp_path / "best.params", max_epochs=3)
    assert len(set(passed)) == 3 and kept == passed[best]
    assert model.modes == 3 * ([True, True] + [False] * batches)


def test_without_a_test_dataset_the_checkpoint_is_the_last_epochs(tmp_path):
    kept, passed = kept_and_passed(Scripted(()), None, tmp_path / "last.params", max_epochs=3)
    assert kept == passed[-1] != passed[0]


def test_testing_trains_nothing():
    x, y = ragged_rows()
    alone, tested = model_of(), model_of()
    train(alone, x, y)
    train(tested, x, y, TensorDataset(x, y))
    assert identical(copied(alone), copied(tested))


def test_the_test_loss_is_shown_logged_and_written(capsys):
    x, y = ragged_rows()
    model, writer = model_of(), Events()
    trainer = train(model, x, y, TensorDataset(x, y), writer=writer)
    with torch.no_grad():  # the parameters have not changed since
        losses = [model(x[i : i + 2], y[i : i + 2])[1].item() for i in (0, 2, 4)]
    expected = sum(losses) / 3
    shown = [line for line in capsys.readouterr().err.splitlines() if "test loss" in line]
    logged = [record for record in trainer.log.records if "test_loss" in record]
    written = [row for row in writer.rows if row[0] == "test/loss"]
    assert len(shown) == 2 and f"{expected:.4f}" in shown[-1]
    assert [(one["epoch"], one["step"]) for one in logged] == [(1, 3), (2, 6)]
    assert [step for _, _, step in written] == [3, 6]
    assert logged[-1]["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert written[-1][1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("packs", [True, False])
def test_a_test_batch_without_a_target_does_not_count(packs):
    x, y = ragged_rows()
    silent = y.clone()
    silent[:2] = 0
    model = model_of()
    model.supports_packing = packs
    trainer = train(model, x, y, TensorDataset(x, silent))
    with torch.no_grad():
        losses = [model(x[i : i + 2], y[i : i + 2])[1].item() for i in (2, 4)]
    assert trainer.log.records[-1]["test_loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    nothing = train(model_of(), x, y, TensorDataset(x, 0 * y))
    assert nothing.log.records[-1]["test_loss"] == 0


def test_path_and_model_may_be_set_later_as_the_course_does(tmp_path):
    """And without a path save_checkpoint() does nothing."""
    first, other = model_of(), model_of()
    before, path = copied(first), tmp_path / "late.params"
    trainer = Trainer(first, TensorDataset(*ragged_rows()), None, settings(max_epochs=1))
    trainer.save_checkpoint()
    trainer.config.ckpt_path = str(path)
    trainer.save_checkpoint()
    assert identical(torch.load(path, weights_only=True), before)
    trainer.model = other
    trainer.train()
    assert identical(copied(first), before) and not identical(copied(other), before)
    assert identical(torch.load(path, weights_only=True), copied(other))


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["train_dataset", "test_dataset"])
def test_an_empty_dataset_is_refused(empty):
    rows = TensorDataset(*numbered(2))
    datasets = {"train_dataset": rows, "test_dataset": rows, empty: []}
    with pytest.raises(ValueError, match=empty):
        Trainer(Counted(), **datasets, config=settings())


@pytest.mark.parametrize(
    "name, value", [("device", "cuda:99"), ("ckpt_path", "no folder/a"), ("ckpt_path", "folder")]
)
def test_a_device_or_a_path_that_cannot_be_used_is_refused(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=value):
        Trainer(Counted(), TensorDataset(*numbered(2)), None, settings(**{name: value}))


@pytest.mark.parametrize("config", [{"max_epochs": 1}, None, "x"])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(TypeError, match=type(config).__name__):
        Trainer(Counted(), TensorDataset(*numbered(2)), None, config)


def test_targets_of_another_shape_are_refused():
    """Also where the model would take them."""
    x, _ = numbered(2)
    with pytest.raises(ValueError, match="shape"):
        train(Counted(), x, x[:, 1:])
