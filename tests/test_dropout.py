"""python -m pytest tests/test_dropout.py

Dropout from 16 random bits an element: rate, scale and mean as they should be, masks that have nothing to do with each
other, and which modules take part, and for how long. Bounds are five standard errors wide; seeds are fixed.
"""

import itertools
import math
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

import gradients
from dropout import MaskGenerator, fast_dropout
from model import GPT, GPTConfig
from trainer import Trainer, TrainerConfig

N = 2 ** 22


def seeded_generator(*seed):
    generator = MaskGenerator()
    generator.seed(*(seed or (5,)))
    return generator


def correlation(one, other):
    """Pearson's, of two masks of the same length; its standard error is 1 / √length."""
    return np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]


# ---- masks ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_rate_scale_and_mean(p):
    mask = seeded_generator().mask((N,), p).double()
    error = 5 * math.sqrt(p * (1 - p) / N)
    assert abs((mask == 0).double().mean() - p) < error
    assert mask.unique().tolist() == [0, pytest.approx(1 / (1 - p), rel=1e-4)]
    assert abs(mask.mean() - 1) < error / (1 - p)


class Counting:
    """A bit generator that gives every number of 16 bits once."""

    def random_raw(self, count):
        assert count == 2 ** 14
        return np.arange(2 ** 16, dtype=np.uint16).view(np.uint64)


@pytest.mark.parametrize("p", [0.1, 0.05, 0.5, 0.3, 1 / 65536, 1e-5, 1 - 1e-5, 0.999])
def test_of_all_bit_patterns_the_right_share_is_dropped(p):
    """To the one; and with the scale the mean over all is 1 to the bit, nearly."""
    generator = seeded_generator()
    generator._bits = Counting()
    mask = generator.mask((2 ** 16,), p, torch.float64)
    dropped = round(p * 65536)
    assert (mask == 0).sum() == dropped and 0 < dropped < 65536
    assert mask.unique().tolist() == [0, 65536 / (65536 - dropped)]
    assert mask.mean().item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5, 7), (129, 3), (0,), (4, 0), ()])
def test_any_shape(shape):
    mask = seeded_generator().mask(shape, 0.5)
    assert mask.shape == shape and mask.dtype == torch.float32 and mask.is_contiguous()


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_neighbours_have_nothing_to_do_with_each_other(p):
    """In a row, in a column, in the same 64 bits, and across calls."""
    generator = seeded_generator()
    mask, later = generator.mask((N // 256, 256), p), generator.mask((N // 256, 256), p)
    flat, bound = mask.flatten(), 5 / math.sqrt(N)
    for lag in (1, 2, 3, 4, 5, 8, 16, 64, 128, 256, 512, 65536):
        assert abs(correlation(flat[lag:], flat[:-lag])) < 1.01 * bound, lag
    assert abs(correlation(mask, later)) < bound
    # Rows and columns of a mask drop as often as one another: each count is binomial.
    for axis, n in ((0, N // 256), (1, 256)):
        counts = (mask == 0).double().sum(dim=axis)
        assert abs(counts.var() / (n * p * (1 - p)) - 1) < 6 * math.sqrt(2 / len(counts))


def test_masks_of_other_seeds_have_nothing_to_do_with_each_other():
    """Another seed, epoch, step, process or part; and none is another's beginning."""
    size, p = 2 ** 18, 0.5
    places = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1),
              (2 ** 32, 0, 0, 0, 0), (1, 1, 0, 0, 0), (2, 0, 0, 0, 0)]
    masks = [seeded_generator(*place).mask((size,), p) for place in places]
    for one, other in itertools.combinations(masks, 2):
        assert abs(correlation(one, other)) < 5 / math.sqrt(size)
        assert abs(correlation(one[1:], other[:-1])) < 5 / math.sqrt(size)


def test_the_same_seed_gives_the_same_masks():
    first, again, other = seeded_generator(3, 1), seeded_generator(3, 1), seeded_generator(3, 2)
    masks = [[generator.mask((50, 7), 0.3) for _ in range(3)] for generator in (first, again, other)]
    assert all(torch.equal(*pair) for pair in zip(masks[0], masks[1]))
    assert not any(torch.equal(*pair) for pair in itertools.combinations(masks[0] + masks[2], 2))
    first.seed(3, 1)
    assert torch.equal(first.mask((50, 7), 0.3), masks[0][0])


def test_each_thread_has_a_stream_of_its_own():
    """What another thread seeds and draws in between changes nothing here."""
    generator, expected = seeded_generator(3), seeded_generator(3)
    expected = [expected.mask((99,), 0.5) for _ in range(2)]
    found, there = [generator.mask((99,), 0.5)], []

    def elsewhere():
        generator.seed(8)
        there.append(generator.mask((99,), 0.5))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    found.append(generator.mask((99,), 0.5))
    assert all(torch.equal(*pair) for pair in zip(found, expected))
    assert torch.equal(there[0], seeded_generator(8).mask((99,), 0.5))


def test_the_same_bits_on_every_machine():
    """The stream is part of what a seed stands for."""
    mask = seeded_generator(0, 0, 0, 0, 0).mask((24,), 0.5)
    assert (mask == 0).int().tolist() == [1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0]


# ---- modules --------------------------------------------------------------------------------------------------------

class OwnDropout(nn.Dropout):
    """A subclass may mean something else by dropout."""

    def forward(self, x):
        return x + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_value_and_gradient_are_masked_alike(dtype):
    layer = nn.Dropout(0.25)
    x = torch.ones(100, 41, dtype=dtype, requires_grad=True)
    with fast_dropout(layer, seeded_generator()):
        y = layer(x)
        y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert torch.equal(x.grad, y.detach())  # x is 1
    assert 0.2 < (y == 0).double().mean() < 0.3
    assert_close(y.max().double().item(), 1 / 0.75, rtol={torch.bfloat16: 4e-3, torch.float16: 5e-4}.get(dtype, 1e-5), atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_is_the_same_in_every_type_but_for_rounding(dtype, p):
    exact = seeded_generator().mask((31, 7), p, torch.float64)
    assert torch.equal(seeded_generator().mask((31, 7), p, dtype), exact.to(dtype)) and (exact == 0).any() and exact.any()


def test_a_mask_multiplies_its_input():
    x = torch.randn(64, 64, dtype=torch.float64)
    layer = nn.Dropout(0.4)
    with fast_dropout(layer, seeded_generator()):
        y = layer(x)
    assert torch.equal(y, x * seeded_generator().mask((64, 64), 0.4, torch.float64)) and (y == 0).any()


def test_evaluation_drops_nothing():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    x = torch.randn(30, 4)
    with fast_dropout(model, seeded_generator()):
        assert not torch.equal(model(x), model[0](x))
        model.eval()
        assert torch.equal(model(x), model[0](x))
        model.train()
        assert not torch.equal(model(x), model[0](x))


@pytest.mark.parametrize("p, result", [(0.0, 1), (0, 1), (1e-9, 1), (7e-6, 1), (1.0, 0), (1 - 1e-9, 0)])
def test_rates_that_16_bits_cannot_tell_from_none_or_all(p, result):
    layer = nn.Dropout(p)
    x = torch.ones(1000, requires_grad=True)
    with fast_dropout(layer, seeded_generator()):
        y = layer(x)
        y.sum().backward()
    assert torch.equal(y.detach(), torch.full((1000,), float(result))) and torch.equal(x.grad, y.detach())


def test_a_rate_may_change_on_the_way():
    layer = nn.Dropout(0.1)
    with fast_dropout(layer, seeded_generator()):
        layer.p = 0.9
        assert 0.85 < (layer(torch.ones(10_000)) == 0).double().mean() < 0.95


def test_every_nn_dropout_takes_part_wherever_it_stands_and_no_other(monkeypatch):
    monkeypatch.setattr(nn.functional, "dropout", lambda *_, **__: pytest.fail("torch's own masks"))
    inner = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    model = nn.ModuleDict({"deep": nn.Sequential(nn.ModuleList([inner])[0], nn.Dropout(0.5)), "own": OwnDropout(0.5),
                           "channels": nn.Dropout1d(0.5)})
    used = []
    generator = seeded_generator()
    mask = generator.mask
    generator.mask = lambda shape, p, dtype: used.append(shape) or mask(shape, p, dtype)
    with fast_dropout(model, generator):
        model["deep"](torch.ones(5, 3))
        assert used == [(5, 3), (5, 3)]
        assert torch.equal(model["own"](torch.ones(3)), torch.full((3,), 2.0))
        assert "forward" not in vars(model["own"]) and "forward" not in vars(model["channels"])
    with pytest.raises(pytest.fail.Exception):
        model["deep"](torch.ones(5, 3))


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_afterwards_all_is_as_before(error):
    """Also after an exception: torch's masks again, and a model that can be copied and saved."""
    layer = nn.Dropout(0.5)
    torch.manual_seed(1)
    expected = layer(torch.ones(200))
    before = dict(vars(layer))
    try:
        with fast_dropout(layer, seeded_generator()):
            assert not torch.equal(layer(torch.ones(200)), expected)
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert vars(layer) == before
    torch.manual_seed(1)
    assert torch.equal(layer(torch.ones(200)), expected)


def test_a_bare_generator_refuses_to_draw():
    """Better than masks that nobody seeded."""
    with pytest.raises(AttributeError):
        MaskGenerator().mask((3,), 0.5)


# ---- in training ----------------------------------------------------------------------------------------------------

def masks_of_training(seed, epochs=2, outside=0, tokens=None):
    """Where the embedding sum is dropped in each pass of a training on 4 rows in batches of two; and the model."""
    torch.manual_seed(3)
    model = GPT(GPTConfig(12, 16, n_layer=1, n_head=2, n_embd=64, embd_pdrop=0.2, resid_pdrop=0.3, attn_pdrop=0.4))
    masks = []
    model.drop.register_forward_hook(lambda _, inputs, out: masks.append((out == 0) & (inputs[0] != 0)))
    x = torch.randint(1, 12, (4, 15))
    torch.manual_seed(outside)
    Trainer(model, TensorDataset(x, x), None, TrainerConfig(max_epochs=epochs, batch_size=2, seed=seed, device="cpu")).train()
    return masks, model


def test_training_takes_its_masks_from_here(monkeypatch):
    monkeypatch.setattr(nn.functional, "dropout", lambda *_, **__: pytest.fail("torch's own masks"))
    masks, model = masks_of_training(5)
    assert all(abs(mask[:30].double().mean() - 0.2) < 5 * math.sqrt(0.16 / (30 * 64)) for mask in masks)
    assert all("forward" not in vars(module) for module in model.modules())


def test_masks_of_training_depend_on_seed_epoch_step_and_part(monkeypatch):
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 15)  # two parts, of one row each
    first, again, other = masks_of_training(5)[0], masks_of_training(5, outside=9)[0], masks_of_training(6)[0]
    assert len(first) == 2 * 2 * 2
    assert all(torch.equal(*pair) for pair in zip(first, again))
    for one, another in itertools.combinations(first + other, 2):
        assert abs(correlation(one[:15], another[:15])) < 5 / math.sqrt(15 * 64)


def test_masks_of_an_epoch_do_not_depend_on_the_epochs_before():
    assert all(torch.equal(*pair) for pair in zip(masks_of_training(5, epochs=1)[0], masks_of_training(5, epochs=3)[0]))


def test_without_a_seed_masks_follow_torchs_generator():
    one, same, other = (masks_of_training(None, outside=outside)[0] for outside in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(one, same))
    for pair in itertools.combinations(one + other, 2):
        assert not torch.equal(*pair)
