"""The reference's training and data against torch's functions and cases worked by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from reference import (
    adamw_step,
    clip_gradients,
    corrupt,
    learning_rate,
    learning_rates_of_run,
    name_example,
)

# ---- training -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens, share",
    [
        (0, 0.0),
        (25, 0.25),
        (99, 0.99),
        (100, 1.0),  # warm-up, linear, to the peak
        (200, 0.75),
        (250, 0.5),
        (400, 0.1),  # p = 1/3, 1/2, 1: cosine, then the floor
        (450, 0.1),
        (550, 0.5),
        (700, 1.0),
        (1000, 0.1),  # p = 7/6, 3/2, 2, 3: up again, and down
    ],
)
def test_learning_rate_by_hand(tokens, share):
    assert learning_rate(tokens, 6e-3, 100, 400) == pytest.approx(6e-3 * share, rel=1e-12)


def test_learning_rate_divides_by_no_zero():
    assert learning_rate(0, 1.0, 0, 0) == 1.0  # no warm-up, nothing after it: p = 0 / 1


def test_learning_rates_of_a_run_by_hand():
    """5 items of 10 in batches of 2, 2, 1, twice: the peak, then rates after 20 … 90 tokens."""
    low, high = (
        2 * 0.5 * (1 + sign * math.sqrt(0.5)) for sign in (-1, 1)
    )  # p = 1/4, then 3/4 and 5/4
    expected = [2.0, 1.0, 2.0, high, low, low]
    assert learning_rates_of_run(5, 10, 2, 2, 2.0, 40, 80) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale, max_norm", [(1e-3, 1.0), (1.0, 1.0), (1e-6, 1e-5), (1e-6, 1e-7)])
def test_clipping_is_torchs(draw, scale, max_norm):
    """Below the limit, above it, and both again so small that the 1e-6 shows."""
    grads = {"a": scale * draw(3, 4), "b": scale * draw(5)}
    leaves = [g.clone().requires_grad_() for g in grads.values()]
    for leaf in leaves:
        leaf.grad = leaf.detach().clone()
    ours, norm = clip_gradients(grads, max_norm)
    assert norm == pytest.approx(
        torch.nn.utils.clip_grad_norm_(leaves, max_norm).item(), rel=1e-12
    )
    assert_close(list(ours.values()), [leaf.grad for leaf in leaves], rtol=1e-9, atol=1e-15)
    assert_close(
        list(grads.values()), [leaf.detach() for leaf in leaves], rtol=0, atol=0
    )  # its input is left alone


def test_adamw_is_torchs_with_two_groups(draw):
    shapes = {
        "ln.weight": (4,),
        "ln.bias": (4,),
        "attn.w1.bias": (3,),
        "attn.b2": (3,),
        "head.weight": (2, 4),
    }
    params = {name: draw(*shape) for name, shape in shapes.items()}
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    spared = [theirs["ln.bias"], theirs["attn.w1.bias"]]
    decayed = [theirs["ln.weight"], theirs["attn.b2"], theirs["head.weight"]]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    state = {}
    for step, lr in enumerate([0.3, 0.1, 0.2, 0.05]):
        size = 1e-8 if step == 0 else 1.0  # at 1e-8 the place of eps shows
        grads = {name: size * draw(*shape) for name, shape in shapes.items()}
        for name, g in grads.items():
            theirs[name].grad = g.clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        params = adamw_step(params, grads, state, lr)
        for name in shapes:
            assert_close(params[name], theirs[name].detach(), rtol=1e-10, atol=1e-12)


# ---- the data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length, masked, start, x, y",
    [
        (12, 3, 4, "Ada ⁇elace⁇Lov□", "da ⁇elace⁇Lov□□"),
        (4, 1, 0, "⁇da ⁇A□□□□□□□□□", "da ⁇A□□□□□□□□□□"),  # nothing before the mask
        (14, 5, 9, "Ada Lovel⁇⁇ace.", "da Lovel⁇⁇ace. "),  # nothing after it, and no room for a □
    ],
)
def test_corrupt_by_hand(length, masked, start, x, y):
    assert corrupt("Ada Lovelace. Ada was born in London.", length, masked, start, 16) == (x, y)


def test_corrupt_keeps_a_short_document_whole_and_refuses_what_does_not_fit():
    assert corrupt("", 4, 0, 0, 5) == ("⁇⁇□□", "⁇□□□")
    assert corrupt("abc", 4, 1, 1, 7) == ("a⁇c⁇b□", "⁇c⁇b□□")
    with pytest.raises(ValueError, match="cannot mask 3 characters from 1 on in a text of 3"):
        corrupt("abc", 4, 3, 1, 7)
    with pytest.raises(ValueError, match="9 characters do not fit in a block of 8"):
        corrupt("abcdefgh", 7, 2, 2, 8)


def test_name_example_by_hand():
    assert name_example("Born?", "Rome", 14) == ("Born?⁇Rome⁇□□", "□□□□⁇Rome⁇□□□")
    assert name_example("Börn?", "Köln", 14) == ("Brn?⁇Kln⁇□□□□", "□□□⁇Kln⁇□□□□□")
    assert name_example("Born?", "Rome", 11) == ("Born?⁇Rome", "□□□□⁇Rome⁇")
    with pytest.raises(ValueError, match="11 characters do not fit in a block of 10"):
        name_example("Born?", "Rome", 10)
