"""Dropout from 16 random bits an element. Bounds are five standard errors; seeds are fixed."""

import itertools
import math
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import fast.gradients as gradients
from fast.dropout import FastDropout, MaskGenerator, fast_dropout
from model import GPT, GPTConfig
from trainer import Trainer, TrainerConfig

N = 2**21


def make_generator(*seed):
    generator = MaskGenerator()
    generator.seed(*(seed or (5,)))
    return generator


def correlation(one, other):
    """Pearson's, of two masks of the same length; its standard error is 1 / √length."""
    return np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]


# ---- masks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_rate_scale_and_mean(p):
    mask = make_generator().mask((N,), p).double()
    error = 5 * math.sqrt(p * (1 - p) / N)
    assert abs((mask == 0).double().mean() - p) < error
    assert mask.unique().tolist() == [0, pytest.approx(1 / (1 - p), rel=1e-4)]
    assert abs(mask.mean() - 1) < error / (1 - p)


class AllNumbers:
    """A bit generator that gives every number of 16 bits once."""

    def random_raw(self, count):
        assert count == 2**14
        return np.arange(2**16, dtype=np.uint16).view(np.uint64)


@pytest.mark.parametrize("p", [0.1, 0.05, 0.5, 1 / 65536, 1e-5, 1 - 1e-5, 0.999])
def test_of_all_16_bit_numbers_the_right_share_is_dropped(p):
    generator = make_generator()
    generator._bits = AllNumbers()
    mask = generator.mask((2**16,), p, torch.float64)
    dropped = round(p * 65536)
    assert (mask == 0).sum() == dropped and 0 < dropped < 65536
    assert mask.unique().tolist() == [0, 65536 / (65536 - dropped)]
    assert mask.mean().item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("shape", [(1,), (2, 5, 7), (129, 3), (4, 0), ()])
def test_shapes_and_types(shape):
    exact = make_generator().mask(shape, 0.1, torch.float64)
    assert exact.shape == shape and exact.is_contiguous()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(make_generator().mask(shape, 0.1, dtype), exact.to(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_neighbours_are_independent(p):
    """In a row, in a column, in the same 64 bits, and across calls."""
    generator = make_generator()
    mask, later = (generator.mask((N // 256, 256), p) for _ in range(2))
    flat, bound = mask.flatten(), 5 / math.sqrt(N)
    for lag in (1, 2, 3, 4, 8, 16, 64, 256, 512, 65536):
        assert abs(correlation(flat[lag:], flat[:-lag])) < 1.02 * bound, lag
    assert abs(correlation(mask, later)) < bound
    # How many a row or column drops is binomial.
    for axis, n in ((0, N // 256), (1, 256)):
        counts = (mask == 0).double().sum(dim=axis)
        assert abs(counts.var() / (n * p * (1 - p)) - 1) < 6 * math.sqrt(2 / len(counts))


def test_masks_of_other_seeds_are_independent():
    """Of another seed, epoch, step, process or micro-batch; and moved by one."""
    size = 2**16
    seeds = [tuple(int(i == j) for j in range(5)) for i in range(6)]
    seeds += [(2**32, 0, 0, 0, 0), (1, 1, 0, 0, 0), (2, 0, 0, 0, 0)]
    masks = [make_generator(*seed).mask((size,), 0.5) for seed in seeds]
    for one, other in itertools.combinations(masks, 2):
        assert abs(correlation(one, other)) < 5 / math.sqrt(size)
        assert abs(correlation(one[1:], other[:-1])) < 5 / math.sqrt(size)


def test_the_same_seed_gives_the_same_masks_in_each_thread():
    """What another thread seeds and draws in between changes nothing."""
    generator, expected = make_generator(3), make_generator(3)
    expected = [expected.mask((99,), 0.5) for _ in range(2)]
    found, there = [generator.mask((99,), 0.5)], []

    def elsewhere():
        generator.seed(8)
        there.append(generator.mask((99,), 0.5))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    found.append(generator.mask((99,), 0.5))
    assert torch.equal(torch.stack(found), torch.stack(expected))
    assert torch.equal(there[0], make_generator(8).mask((99,), 0.5))
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], there[0])
    with pytest.raises(AttributeError):  # better than masks that nobody seeded
        MaskGenerator().mask((3,), 0.5)


def test_the_same_bits_on_every_machine():
    """The stream is part of what a seed stands for."""
    dropped = (make_generator(0, 0, 0, 0, 0).mask((24,), 0.5) == 0).int().tolist()
    assert "".join(map(str, dropped)) == "100110001111101000100110"


# ---- modules --------------------------------------------------------------------------------


class OwnDropout(nn.Dropout):
    """A subclass may mean something else by dropout."""


def test_fast_dropout_multiplies_by_a_mask_forward_and_backward():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.randn(100, 41).to(dtype).requires_grad_()
        y = FastDropout(0.25, make_generator())(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        mask = make_generator().mask((100, 41), 0.25, dtype)
        assert torch.equal(y, x * mask) and torch.equal(gradient, mask)
        assert y.dtype == gradient.dtype == dtype
    for p, result in ((0, 1), (7e-6, 1), (1 - 1e-9, 0), (1.0, 0)):  # of which 16 bits see nothing
        assert FastDropout(p, make_generator())(torch.ones(1000)).eq(result).all()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_fast_dropout_stands_in_for_each_nn_dropout_until_the_end(error):
    """However deep; not for subclasses. The original modules come back, with the model's mode."""
    inner = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    model = nn.ModuleDict({"deep": nn.Sequential(inner, nn.Dropout(0.25))})
    model["own"], model["channels"] = OwnDropout(0.5), nn.Dropout1d(0.5)
    inner[1].eval()  # one that is frozen
    before, state = list(model.named_modules()), list(model.state_dict())
    x = torch.randn(30, 3)

    def use():
        with fast_dropout(model, make_generator()):
            replaced = [m for m in model.modules() if isinstance(m, FastDropout)]
            assert [(m.p, m.training) for m in replaced] == [(0.5, False), (0.25, True)]
            assert not any(type(module) is nn.Dropout for module in model.modules())
            assert type(model["own"]) is OwnDropout and type(model["channels"]) is nn.Dropout1d
            assert list(model.state_dict()) == state
            assert not torch.equal(model["deep"](x), inner[0](x))
            model.eval()
            assert torch.equal(model["deep"](x), inner[0](x))
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    after = list(model.named_modules())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(new is old for (_, new), (_, old) in zip(after, before, strict=True))
    assert not any(module.training for module in model.modules())
    model.train()
    torch.manual_seed(1)
    expected = nn.functional.dropout(x, 0.25)
    torch.manual_seed(1)
    assert torch.equal(model["deep"][1](x), expected)  # torch's masks again


# ---- in training ----------------------------------------------------------------------------


def masks_of_training(seed, epochs=2, outside=0):
    """
    Where the sum of the embeddings is dropped in each pass of a training on 4 rows, 2 a batch, 1 a
    micro-batch.
    """
    torch.manual_seed(3)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 64}
    model, masks = GPT(GPTConfig(12, 16, **sizes, embd_pdrop=0.2)), []

    def keep(block, inputs):
        masks.append(inputs[0] == 0)

    model.blocks[0].register_forward_pre_hook(keep)
    x = torch.randint(1, 12, (4, 15))
    torch.manual_seed(outside)
    config = TrainerConfig(max_epochs=epochs, batch_size=2, seed=seed, device="cpu")
    Trainer(model, TensorDataset(x, x), None, config).train()
    assert all(type(module) is not FastDropout for module in model.modules())
    return [mask[:15] for mask in masks]


def test_masks_of_training_depend_on_seed_epoch_step_and_micro_batch(monkeypatch):
    monkeypatch.setattr(nn.functional, "dropout", lambda *_, **__: pytest.fail("torch's masks"))
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 15)
    first, other = masks_of_training(5), masks_of_training(6)
    assert len(first) == 2 * 2 * 2
    assert all(abs(m.double().mean() - 0.2) < 5 * math.sqrt(0.16 / (15 * 64)) for m in first)
    for one, another in itertools.combinations(first + other, 2):
        assert abs(correlation(one, another)) < 5 / math.sqrt(15 * 64)
    for again in (masks_of_training(5, outside=9), masks_of_training(5, epochs=1)):
        assert torch.equal(torch.stack(again), torch.stack(first[: len(again)]))


def test_without_a_seed_masks_follow_torchs_generator():
    one, same, other = (torch.stack(masks_of_training(None, outside=i)) for i in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert len(set(map(str, one.int().tolist()))) == len(one)
