"""python -m pytest tests/test_trainer.py

The training loop: against a plain loop of the reference's own gradients, clipping, AdamW and rates; then what the clock
of the rate counts, order and reproducibility, which parameters are kept, and the settings.
"""

import copy
import math
import random

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import gradients
import packing
import reference
import trainer as module
from conftest import BLOCK_SIZE, TINY_CORPUS
from dataset import CharCorruptionDataset, InputError
from model import GPT, GPTConfig
from packing import crop_padding
from trainer import Trainer, TrainerConfig, learning_rate_factor

V, BLOCK, LAYERS, HEADS = 12, 8, 2, 3  # of conftest's tiny_config
ROWS, LENGTH = 5, BLOCK - 1  # five items in batches of two: the last batch of an epoch is smaller
PEAK = 0.01


def ragged_rows(times=1):
    """x and y (5, 7): ids from 2 on, targets from a different column on and up to a different one in each row, then 0.

    With times = n, 5n rows of other ids.
    """
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(2, V, (ROWS * times, BLOCK), generator=generator)
    for row, length in enumerate((6, 3, 8, 5, 4) * times):
        rows[row, length:] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    for row, first in enumerate((2, 0, 4, 1, 0) * times):
        y[row, :first] = 0
    return x, y


def strong(model, scale=0.8):
    """The model with all parameters drawn anew and large, so that gradients are far from rounding errors."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def settings(**kwargs):
    return TrainerConfig(**{"max_epochs": 2, "batch_size": 2, "learning_rate": PEAK, "seed": 1, "device": "cpu", **kwargs})


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def identical(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---- against the reference ------------------------------------------------------------------------------------------

def plain_training(state, x, y, rates, batch_size):
    """The parameters after one pass of the reference's loop through (x, y) for each ⌈rows / batch_size⌉ rates."""
    fixed = {name: tensor for name, tensor in state.items() if name.endswith("mask")}
    params = {name: tensor for name, tensor in state.items() if name not in fixed}
    memory, firsts, norms = {}, [], []
    for rate in rates:
        firsts = firsts or list(range(0, len(x), batch_size))
        rows = slice(firsts[0], firsts.pop(0) + batch_size)
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        loss = reference.loss(reference.gpt_logits({**leaves, **fixed}, x[rows], LAYERS, HEADS), y[rows])
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
        clipped, norm = reference.clip_gradients(grads)
        norms.append(norm)
        params = reference.adamw_step(params, clipped, memory, rate)
    assert max(norms) > 1.0  # so that the clipping shows
    return {**params, **fixed}


@pytest.mark.parametrize("warmup_tokens, final_tokens", [
    (60, 100),  # in the third of six steps, in the middle of the second epoch; after that p reaches 1 and the floor
    (20, 24),   # p goes to 12, rising again in between
    (0, 1),     # no warm-up
    (None, None),  # lr_decay off
])
def test_training_is_the_plain_loop_in_float64(tiny_model, warmup_tokens, final_tokens):
    x, y = ragged_rows()
    model = strong(tiny_model).double()
    before = state_of(model)
    if warmup_tokens is None:
        rates, schedule = [PEAK] * 6, {"lr_decay": False, "warmup_tokens": 60, "final_tokens": 100}
    else:
        rates = reference.learning_rates_of_run(ROWS, LENGTH, 2, 2, PEAK, warmup_tokens, final_tokens)
        schedule = {"lr_decay": True, "warmup_tokens": warmup_tokens, "final_tokens": final_tokens}
    Trainer(model, TensorDataset(x, y), None, settings(**schedule)).train()
    expected = plain_training(before, x, y, rates, 2)
    after = state_of(model)
    assert expected.keys() == after.keys()
    for name in expected:
        # The gradient of a key's bias is 0 but for rounding, and AdamW divides it by little more than itself.
        atol = 1e-8 if name.endswith("key.bias") else 1e-11
        torch.testing.assert_close(after[name], expected[name], rtol=1e-9, atol=atol, msg=lambda m: f"{name}: {m}")
        if not name.endswith(("mask", "key.bias")):
            assert not torch.allclose(after[name], before[name], rtol=1e-5, atol=0)


def test_training_is_the_plain_loop_in_float32(tiny_model):
    """The dtype that is used. A key's bias is left out: here AdamW makes a full step of the rounding."""
    x, y = ragged_rows()
    model = strong(tiny_model)
    before = {name: tensor.double() for name, tensor in state_of(model).items()}
    Trainer(model, TensorDataset(x, y), None, settings(lr_decay=True, warmup_tokens=30, final_tokens=90)).train()
    expected = plain_training(before, x, y, reference.learning_rates_of_run(ROWS, LENGTH, 2, 2, PEAK, 30, 90), 2)
    assert next(model.parameters()).dtype == torch.float32
    for name, tensor in model.state_dict().items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(tensor.double(), expected[name], rtol=2e-4, atol=2e-5, msg=lambda m: f"{name}: {m}")


@pytest.fixture
def four_parts(monkeypatch):
    """40 ragged rows, of 168 positions up to their last targets, go through the model in four parts."""
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 50)


@pytest.mark.parametrize("silent", [0, 15])  # rows without any target
def test_a_large_batch_is_the_plain_loop_too(tiny_model, four_parts, silent):
    """However it goes through the model: 40 rows of five lengths in one step, 5 in the next; the writer gets their loss."""
    x, y = ragged_rows(9)
    y[:silent] = 0
    model, writer = strong(tiny_model).double(), Scalars()
    before = state_of(model)
    Trainer(model, TensorDataset(x, y), None, settings(max_epochs=1, batch_size=40, writer=writer)).train()
    expected = plain_training(before, x, y, [PEAK] * 2, 40)
    for name, tensor in state_of(model).items():
        atol = 1e-8 if name.endswith("key.bias") else 1e-11
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=atol, msg=lambda m: f"{name}: {m}")
    first = reference.loss(reference.gpt_logits(before, x[:40], LAYERS, HEADS), y[:40]).item()
    assert writer.of("train/loss")[0] == pytest.approx(first, rel=1e-6)


def test_other_betas_clipping_and_decay_are_used(tiny_model):
    x, y = ragged_rows()
    results = {}
    for name, changed in {"none": {}, "betas": {"betas": (0.5, 0.6)}, "clip": {"grad_norm_clip": 1e-9},
                          "decay": {"weight_decay": 0.5}, "rate": {"learning_rate": 0.02}}.items():
        model = copy.deepcopy(tiny_model)
        Trainer(model, TensorDataset(x, y), None, settings(**changed)).train()
        results[name] = model.head.weight.detach().clone()
    assert all(not torch.allclose(results["none"], results[name], rtol=1e-4) for name in results if name != "none")


def test_biases_are_not_decayed_and_all_else_is(variant):
    """With no gradient, a step only decays: by (1 - rate · 0.1)."""

    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gpt = GPT(GPTConfig(V, BLOCK, n_layer=1, n_head=3, n_embd=6, **{variant: True}))

        def forward(self, x, y):
            return None, sum(parameter.sum() for parameter in self.parameters()) * 0.0

    model = Silent()
    strong(model)
    before = state_of(model)
    Trainer(model, TensorDataset(*ragged_rows()), None, settings(max_epochs=1, batch_size=ROWS)).train()
    spared = set()
    for name, parameter in model.named_parameters():
        share = 1.0 if name.endswith(".bias") else 1 - PEAK * 0.1
        torch.testing.assert_close(parameter.detach(), before[name] * share, rtol=1e-6, atol=0)
        spared |= {name} if share == 1.0 else set()
    decayed = {name for name, _ in model.named_parameters()} - spared
    assert {"gpt.tok_emb.weight", "gpt.pos_emb", "gpt.ln_f.weight", "gpt.blocks.0.ln1.weight"} < decayed
    assert {"gpt.ln_f.bias", "gpt.blocks.0.attn.proj.bias"} < spared
    if variant == "synthesizer":
        assert {"gpt.blocks.0.attn.w2", "gpt.blocks.0.attn.b2"} < decayed


# ---- the learning rate ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("warmup, final", [(1000, 5000), (0, 700), (512 * 20, 75_212_800), (10, 10), (0, 0), (50, 20)])
def test_learning_rate_factor_is_the_references(warmup, final):
    """Warm-up, p in (0, 1), p beyond 1 to 3.3, and the floor in between."""
    span = max(1, final - warmup)
    places = [warmup * share for share in (0, 0.1, 0.5, 0.999)] + [warmup - 1, warmup]
    places += [warmup + p * span for p in [0.01 * step for step in range(331)]]
    found = [learning_rate_factor(tokens, warmup, final) for tokens in places if tokens >= 0]
    expected = [reference.learning_rate(tokens, 1.0, warmup, final) for tokens in places if tokens >= 0]
    assert found == pytest.approx(expected, rel=1e-12)
    assert min(found[-331:]) == 0.1 and max(found[-331:]) == pytest.approx(1.0)


def test_learning_rate_factor_rises_again():
    """p = 0, 1/2, 1, 3/2, 2, 5/2, 3, 3.3: it isn't held at 1."""
    found = [learning_rate_factor(100 + p * 400, 100, 500) for p in (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.3)]
    assert found == pytest.approx([1, 0.5, 0.1, 0.5, 1, 0.5, 0.1, 0.5 * (1 + math.cos(math.pi * 3.3))])


class Scalars:
    """What a TensorBoard SummaryWriter has of add_scalar, keeping what it gets."""

    def __init__(self):
        self.rows = []

    def add_scalar(self, tag, value, step):
        self.rows.append((tag, value, step))

    def of(self, tag):
        return [value for name, value, _ in self.rows if name == tag]


def test_tokens_count_every_target_position(tiny_model):
    """PAD included, and also what crop_padding leaves out."""
    x, y = ragged_rows()
    y[:, 3:] = 0
    trainer = Trainer(tiny_model, TensorDataset(x, y), None, settings(max_epochs=3, lr_decay=True, warmup_tokens=10 ** 6))
    assert trainer.tokens == 0
    trainer.train()
    assert trainer.tokens == 3 * ROWS * LENGTH
    trainer.train()
    assert trainer.tokens == 3 * ROWS * LENGTH  # a second run starts anew


def test_the_writer_gets_loss_and_rate_of_each_step(tiny_model):
    x, y = ragged_rows()
    y[0] = y[1]  # every batch has other targets
    before = {name: tensor.double() for name, tensor in state_of(strong(tiny_model)).items()}
    writer = Scalars()
    trainer = Trainer(tiny_model, TensorDataset(x, y), None,
                      settings(lr_decay=True, warmup_tokens=30, final_tokens=90, writer=writer))
    trainer.train()
    for tag in ("train/loss", "train/lr"):
        steps = [step for name, _, step in writer.rows if name == tag]
        assert steps == list(range(steps[0], steps[0] + 6))
    tokens = [14, 28, 35, 49, 63, 70]
    assert writer.of("train/lr") == pytest.approx([reference.learning_rate(n, PEAK, 30, 90) for n in tokens], rel=1e-12)
    first = reference.loss(reference.gpt_logits(before, x[:2], LAYERS, HEADS), y[:2]).item()
    assert writer.of("train/loss")[0] == pytest.approx(first, rel=1e-4)
    assert len(set(writer.of("train/loss"))) == 6
    assert {type(value) for _, value, _ in writer.rows} == {float}


def test_the_writer_gets_the_peak_without_decay(tiny_model):
    writer = Scalars()
    Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings(writer=writer)).train()
    assert writer.of("train/lr") == [PEAK] * 6


# ---- padding --------------------------------------------------------------------------------------------------------

PADDED = {
    "ragged": lambda y: y,
    "one column": lambda y: torch.cat((y[:, :1], 0 * y[:, 1:]), dim=1),
    "one target, in one row": lambda y: torch.where(torch.arange(y.numel()).view_as(y) == 2 * LENGTH + 3, 5, 0),
    "a target in the last column": lambda y: torch.cat((y[:, :-1], y[:, :1] * 0 + 4), dim=1),
    "a hole before the end": lambda y: y * (torch.arange(LENGTH) != 2),
}


@pytest.mark.parametrize("shape", PADDED)
def test_crop_padding_is_exact(tiny_model, shape):
    x, y = ragged_rows()
    y = PADDED[shape](y)
    model = strong(tiny_model).double().eval()
    results = []
    for rows in ((x, y), crop_padding(x, y)):
        model.zero_grad()
        loss = model(*rows)[1]
        loss.backward()
        results.append((loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-13)
    last = max(column for column in range(LENGTH) if (y[:, column] != 0).any())
    assert crop_padding(x, y)[0].shape == crop_padding(x, y)[1].shape == (ROWS, last + 1)


def test_crop_padding_of_a_batch_of_padding_alone(tiny_model):
    """The loss is undefined with and without, the gradients are 0."""
    x, y = ragged_rows()
    model = strong(tiny_model).double().eval()
    for rows in ((x, 0 * y), crop_padding(x, 0 * y)):
        model.zero_grad()
        loss = model(*rows)[1]
        loss.backward()
        assert loss.isnan()
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())
    assert crop_padding(x, 0 * y)[0].shape == (ROWS, 1)


def test_training_does_not_compute_padding(tiny_model):
    x, y = ragged_rows()
    y[:, 4:] = 0
    shapes = []
    tiny_model.register_forward_pre_hook(lambda _, rows: shapes.append(tuple(rows[0].shape)))
    Trainer(tiny_model, TensorDataset(x, y), None, settings(max_epochs=1)).train()
    assert [columns for _, columns in shapes] == [4, 4, 3]  # of 7; the rows have 6, 3 | 8, 5 | 4 characters


def test_a_large_ragged_batch_is_not_computed_at_its_longest_row(tiny_model, four_parts):
    """On a CPU; every row once, and at most nine tenths of the positions."""
    shapes = []
    tiny_model.register_forward_pre_hook(lambda _, rows: shapes.append(tuple(rows[0].shape)))
    Trainer(tiny_model, TensorDataset(*ragged_rows(8)), None, settings(max_epochs=1, batch_size=40)).train()
    assert sum(rows for rows, _ in shapes) == 40 and len(shapes) == 4
    assert sum(rows * columns for rows, columns in shapes) <= 0.9 * 40 * LENGTH


def test_only_what_the_loss_depends_on_is_computed(tiny_model, monkeypatch):
    """Of each row what stands up to its last target; in the last layer, after its attention, what has a target."""
    monkeypatch.setattr(packing, "TOKENS_MULTIPLE", 1)
    x, y = ragged_rows(8)
    seen = {}
    for name in ("blocks.0.attn.proj", "blocks.0.mlp", "blocks.1.ln1", "blocks.1.attn.proj", "blocks.1.mlp", "head"):
        tiny_model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: seen.get(name, 0) + inputs[0].numel() // inputs[0].size(-1)}))
    Trainer(tiny_model, TensorDataset(x, y), None, settings(max_epochs=1, batch_size=40)).train()
    up_to_the_last, targets = 8 * (5 + 2 + 7 + 4 + 3), int((y != 0).sum())
    assert targets < up_to_the_last < y.numel()
    assert seen == {"blocks.0.attn.proj": up_to_the_last, "blocks.0.mlp": up_to_the_last, "blocks.1.ln1": up_to_the_last,
                    "blocks.1.attn.proj": targets, "blocks.1.mlp": targets, "head": targets}


@pytest.mark.parametrize("times", [1, 8])
def test_a_batch_of_padding_alone_does_no_harm(tiny_model, four_parts, times):
    x, y = ragged_rows(times)
    Trainer(tiny_model, TensorDataset(x, 0 * y), None, settings(batch_size=40)).train()
    assert all(parameter.isfinite().all() for parameter in tiny_model.parameters())


# ---- order and reproducibility --------------------------------------------------------------------------------------

class Counted(nn.Module):
    """A model of one number that keeps the rows it sees, and the dropout that each call draws."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen, self.dropped, self.modes = [], [], []

    def forward(self, x, y):
        self.modes.append(self.training)
        self.seen.append(x[:, 0].tolist())
        self.dropped.append(nn.functional.dropout(torch.ones(64), 0.5, self.training))
        return None, self.weight * (x.double().mean() + 1)


def numbered(count, columns=3):
    """Item i: x = y = (i + 1, 1, 1)."""
    rows = torch.ones(count, columns, dtype=torch.long)
    rows[:, 0] = torch.arange(count) + 1
    return rows


def test_batches_are_in_file_order_and_the_last_is_smaller():
    model = Counted()
    Trainer(model, TensorDataset(numbered(7), numbered(7)), None, settings(max_epochs=2, batch_size=3)).train()
    assert model.seen == 2 * [[1, 2, 3], [4, 5, 6], [7]]
    assert model.modes == [True] * 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_dataset_works_with_any_number_of_workers(workers):
    model = Counted()
    Trainer(model, TensorDataset(numbered(5), numbered(5)), None, settings(max_epochs=1, num_workers=workers)).train()
    assert model.seen == [[1, 2], [3, 4], [5]]


def trained(dataset, variant="vanilla", outside_seed=0, **kwargs):
    """The parameters of a model with dropout after two epochs; the random numbers outside stand at `outside_seed`."""
    torch.manual_seed(3)
    model = GPT(GPTConfig(dataset.vocab_size, BLOCK_SIZE, n_layer=1, n_head=2, n_embd=8, **{variant: True}))
    torch.manual_seed(outside_seed)
    random.seed(outside_seed)
    Trainer(model, dataset, None, settings(**kwargs)).train()
    return state_of(model)


def test_the_same_seed_gives_the_same_bits(tiny_pretrain_dataset, variant):
    first = trained(tiny_pretrain_dataset, variant)
    again = trained(CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE), variant, outside_seed=77)
    assert identical(first, again)
    assert identical(first, trained(tiny_pretrain_dataset, variant, num_workers=2))
    assert not identical(first, trained(tiny_pretrain_dataset, variant, seed=2))


def test_the_number_of_workers_does_not_change_dropout(tiny_pretrain_dataset):
    """A plain dataset is really loaded by workers; what they take of the random numbers must not show."""
    class Plain(TensorDataset):
        vocab_size = tiny_pretrain_dataset.vocab_size
    rows = Plain(*(torch.randint(1, 20, (5, BLOCK_SIZE - 1)) for _ in range(2)))
    assert identical(trained(rows), trained(rows, num_workers=2))


def test_without_a_seed_every_run_is_another(tiny_pretrain_dataset):
    assert not identical(trained(tiny_pretrain_dataset, seed=None), trained(tiny_pretrain_dataset, seed=None, outside_seed=1))


class Asked(Dataset):
    """Items (i + 1, …), `counts[epoch]` of them in each epoch; keeps what at_epoch was asked for."""

    def __init__(self, counts=(4, 4, 4)):
        self.counts, self.asked = counts, []

    def __len__(self):
        return self.counts[0]

    def __getitem__(self, index):
        return numbered(len(self))[index], numbered(len(self))[index]

    def at_epoch(self, seed, epoch):
        self.asked.append((seed, epoch))
        return TensorDataset(numbered(self.counts[epoch]), numbered(self.counts[epoch]))


def test_a_dataset_is_asked_for_each_epoch_by_seed_and_number():
    data = Asked()
    Trainer(Counted(), data, None, settings(max_epochs=3, seed=8)).train()
    assert data.asked == [(8, 0), (8, 1), (8, 2)]


def test_without_a_seed_no_dataset_is_asked():
    data, model = Asked(), Counted()
    Trainer(model, data, None, settings(max_epochs=2, seed=None)).train()
    assert data.asked == [] and model.seen == 2 * [[1, 2], [3, 4]]


def test_the_data_of_an_epoch_does_not_depend_on_the_epochs_before(tiny_pretrain_dataset):
    """What the model sees in epoch 2 is what the dataset alone gives for (seed, 2)."""
    rows = []

    class Keeping(Counted):
        def forward(self, x, y):
            rows.append(pairs(x, y))
            return super().forward(x, y)

    def pairs(x, y):  # in any order: rows go through the model by their length
        return sorted(torch.stack((x, y), dim=1).tolist())

    Trainer(Keeping(), tiny_pretrain_dataset, None, settings(max_epochs=3, batch_size=5, seed=6)).train()
    for epoch in range(3):
        items = tiny_pretrain_dataset.at_epoch(6, epoch)
        assert rows[epoch] == pairs(*crop_padding(*(torch.stack(part) for part in zip(*(items[i] for i in range(5))))))
    assert len(rows) == 3 and rows[0] != rows[1] != rows[2] != rows[0]


def dropout_of_epochs(seed, counts=(4, 4, 4)):
    """For each epoch what dropout drew in its steps: (steps, 64)."""
    model = Counted()
    Trainer(model, Asked(counts), None, settings(max_epochs=3, seed=seed)).train()
    return [torch.stack(masks) for masks in (model.dropped[:-4], model.dropped[-4:-2], model.dropped[-2:])]


def test_dropout_depends_on_seed_and_epoch_alone():
    """In the second run epoch 0 is three steps longer; epochs 1 and 2 draw the same as in the first."""
    first, second = dropout_of_epochs(5), dropout_of_epochs(5, (10, 4, 4))
    assert len(second[0]) == 5 and torch.equal(first[0], second[0][:2])
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])
    assert not any(torch.equal(one, other) for one in dropout_of_epochs(6) for other in first)


def test_dropout_of_one_epoch_is_not_that_of_another():
    masks = torch.cat(dropout_of_epochs(5))
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks) == 6


def test_seed_0_is_a_seed(tiny_pretrain_dataset):
    data = Asked()
    Trainer(Counted(), data, None, settings(max_epochs=1, seed=0)).train()
    assert data.asked == [(0, 0)]
    assert identical(trained(tiny_pretrain_dataset, seed=0), trained(tiny_pretrain_dataset, seed=0, outside_seed=1))


# ---- what is kept ---------------------------------------------------------------------------------------------------

class Scripted(nn.Module):
    """A model of one number, which falls in every step; in evaluation its losses are those of the script, in order."""

    def __init__(self, losses):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.losses, self.modes = list(losses), []

    def forward(self, x, y):
        self.modes.append(self.training)
        return None, self.weight if self.training else torch.tensor(self.losses.pop(0))


def kept_and_passed(model, test_dataset, path, **kwargs):
    """The weight in the file at the end, and the weight after each epoch."""
    passed, epoch = [], Trainer._train_epoch

    class Watched(Trainer):
        def _train_epoch(self, *args):
            epoch(self, *args)
            passed.append(self.model.weight.item())

    Watched(model, TensorDataset(numbered(4), numbered(4)), test_dataset, settings(ckpt_path=str(path), **kwargs)).train()
    return torch.load(path, weights_only=True)["weight"].item(), passed


@pytest.mark.parametrize("losses, best", [((3.0, 1.0, 2.0), 1), ((1.0, 1.0, 1.0), 0), ((3.0, 2.0, 1.0), 2), ((1.0, 2.0, 1.5), 0)])
def test_the_checkpoint_is_that_of_the_lowest_test_loss(tmp_path, losses, best):
    test = TensorDataset(numbered(2), numbered(2))
    model = Scripted(losses)
    kept, passed = kept_and_passed(model, test, tmp_path / "best.params", max_epochs=3)
    assert len(set(passed)) == 3 and kept == passed[best]
    assert model.modes == 3 * [True, True, False]  # a test without dropout, and training goes on with it


def test_the_test_loss_is_that_of_all_batches(tmp_path):
    """Epoch 0: 1 and 5, a mean of 3; epoch 1: 2 and 2. The last batch alone, or the first, would say otherwise."""
    test = TensorDataset(numbered(4), numbered(4))
    for losses, best in (((1.0, 5.0, 2.0, 2.0), 1), ((5.0, 1.0, 2.0, 2.0), 1), ((1.0, 2.5, 3.0, 2.0), 0)):
        kept, passed = kept_and_passed(Scripted(losses), test, tmp_path / "best.params", max_epochs=2)
        assert kept == passed[best]


def test_a_test_loss_that_is_not_finite_stops_the_run(tiny_model, tmp_path):
    """It is lower than none, so that no checkpoint would ever be written."""
    x, y = ragged_rows()
    trainer = Trainer(tiny_model, TensorDataset(x, y), TensorDataset(x, y), settings(ckpt_path=str(tmp_path / "a.params")))
    loss = gradients.BatchGradient.loss
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=r"the test loss is not finite \(nan\)"):
        patch.setattr(gradients.BatchGradient, "loss", lambda self, x, y: loss(self, x, y) * (1 if self.model.training else math.nan))
        trainer.train()
    assert not (tmp_path / "a.params").exists()


def test_without_a_test_dataset_the_checkpoint_is_the_last_epochs(tmp_path):
    kept, passed = kept_and_passed(Scripted(()), None, tmp_path / "last.params", max_epochs=3)
    assert kept == passed[-1] != passed[0]


def test_testing_takes_no_gradients_and_trains_nothing(tiny_model):
    x, y = ragged_rows()
    alone, tested = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    Trainer(alone, TensorDataset(x, y), None, settings()).train()
    Trainer(tested, TensorDataset(x, y), TensorDataset(x, y), settings()).train()
    assert identical(state_of(alone), state_of(tested))


def test_save_checkpoint_does_nothing_without_a_path(tiny_model, monkeypatch):
    monkeypatch.setattr(module, "save_params", lambda *_: pytest.fail("written"))
    trainer = Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings(max_epochs=1))
    assert trainer.config.ckpt_path is None
    trainer.save_checkpoint()
    trainer.train()


def test_ckpt_path_may_be_set_later(tiny_model, tmp_path):
    """As the course's run.py does it."""
    trainer = Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings(max_epochs=1))
    trainer.config.ckpt_path = str(tmp_path / "late.params")
    trainer.save_checkpoint()
    assert identical(torch.load(tmp_path / "late.params", weights_only=True), state_of(tiny_model))
    trainer.train()
    assert identical(torch.load(tmp_path / "late.params", weights_only=True), state_of(tiny_model))


def test_the_model_may_be_set_later(tiny_model):
    other = strong(copy.deepcopy(tiny_model))
    before, others_before = state_of(tiny_model), state_of(other)
    trainer = Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings())
    trainer.model = other
    trainer.train()
    assert identical(state_of(tiny_model), before)
    assert not identical(state_of(other), others_before)


def test_the_callers_model_itself_is_trained(tiny_model):
    before = state_of(tiny_model)
    parameters = list(tiny_model.parameters())
    trainer = Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings())
    assert trainer.model is tiny_model and identical(state_of(tiny_model), before)
    trainer.train()
    assert all(now is then for now, then in zip(tiny_model.parameters(), parameters))
    assert not identical(state_of(tiny_model), before)


def test_progress_goes_to_standard_error(tiny_model, capsys):
    Trainer(tiny_model, TensorDataset(*ragged_rows()), None, settings(lr_decay=True, warmup_tokens=1, final_tokens=300)).train()
    out, err = capsys.readouterr()
    rate = reference.learning_rate(2 * ROWS * LENGTH, PEAK, 1, 300)
    assert out == "" and "epoch 2/2, step 6/6: loss " in err and f"lr {rate:.2e}" in err and err.count("\n") == 1


# ---- settings -------------------------------------------------------------------------------------------------------

def test_the_defaults_are_the_contracts():
    expected = {"max_epochs": 10, "batch_size": 64, "learning_rate": 3e-4, "betas": (0.9, 0.95), "grad_norm_clip": 1.0,
                "weight_decay": 0.1, "lr_decay": False, "warmup_tokens": 375e6, "final_tokens": 260e9, "ckpt_path": None,
                "num_workers": 0, "writer": None, "seed": None, "device": None, "precision": "float32", "micro_batch_size": None}
    config = TrainerConfig()
    assert {name: getattr(config, name) for name in expected} == expected
    assert isinstance(config.betas, tuple)
    given = {name: object() for name in expected}
    config = TrainerConfig(**given)
    assert {name: getattr(config, name) for name in expected} == given
    assert TrainerConfig().max_epochs == 10  # one config's settings are not another's


@pytest.mark.parametrize("name", ["epochs", "learning_rates", "lr", "__init__", "_seed"])
def test_unknown_settings_are_refused(name):
    with pytest.raises(TypeError, match=f"no setting '{name}'; there are max_epochs, batch_size, "):
        TrainerConfig(max_epochs=1, **{name: 1})


def test_an_unknown_device_is_refused(tiny_model):
    with pytest.raises(RuntimeError, match="device"):
        Trainer(tiny_model, TensorDataset(*ragged_rows()), None, TrainerConfig(device="abacus"))
