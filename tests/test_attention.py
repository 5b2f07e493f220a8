"""The attention variants alone, with a config of an autograder's own."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import reference
from attention import VARIANTS, CausalSelfAttention, SynthesizerAttention, variant_of
from small_models import default_dtype, enlarge, most_positions

BLOCK, C, NH = 7, 12, 3
HS = C // NH
LINEARS = {"synthesizer": ["w1", "value"]}


@pytest.fixture(params=[name for name in reference.VARIANTS if name != "perceiver"])
def known_variant(request):
    """Of the perceiver's, the class is vanilla's: its other parts are in test_perceiver.py."""
    return request.param


def make_attention(variant, dtype=torch.float32, **changed):
    """An attention whose parameters all matter, from an object with no setting more."""
    settings = {"n_embd": C, "n_head": NH, "block_size": BLOCK}
    config = SimpleNamespace(**{**settings, "attn_pdrop": 0.0, "resid_pdrop": 0.0, **changed})
    with default_dtype(dtype):
        return enlarge(VARIANTS[variant](config), 0.5)


# ---- agreement with the reference -----------------------------------------------------------


@pytest.mark.parametrize("dtype, precision", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n_head", [1, 3, 6])
def test_outputs_and_gradients_are_the_references(known_variant, n_head, dtype, precision):
    attention = make_attention(known_variant, dtype, n_head=n_head)
    params = {n: p.detach().clone().requires_grad_() for n, p in attention.named_parameters()}
    for T in (1, 2, 4, most_positions(known_variant, BLOCK)):
        x = torch.randn(T, 2, C, dtype=dtype).transpose(0, 1).requires_grad_()  # not contiguous
        x2 = x.detach().clone().requires_grad_()
        weights = torch.randn(2, T, C, dtype=dtype)  # of the sum that stands in for a loss
        y, y2 = (
            attention(x, layer_past=None),
            reference.VARIANTS[known_variant](x2, params, n_head),
        )
        assert_close(y, y2, rtol=precision, atol=precision)
        grads = torch.autograd.grad((y * weights).sum(), [x, *attention.parameters()])
        grads2 = torch.autograd.grad((y2 * weights).sum(), [x2, *params.values()])
        for name, grad, grad2 in zip(["x", *params], grads, grads2, strict=True):
            assert_close(grad, grad2, rtol=precision, atol=precision * max(1, grad2.abs().max()))
            # A key's bias shifts all scores of a position alike.
            assert T == 1 or name == "key.bias" or grad2.abs().max() > 1e-3, name


def test_no_position_sees_a_later_one(variant):
    """For every T; a variant that the reference knows sees all earlier ones."""
    attention = make_attention(variant).eval()
    for T in range(1, getattr(attention, "max_positions", BLOCK) + 1):
        x = torch.randn(2, T, C)
        y = attention(x)
        assert y.shape == x.shape
        for t in range(T):
            changed = x.clone()
            changed[:, t] += torch.randn(2, C)
            differs = (attention(changed) != y).any(dim=-1)  # (B, T)
            assert not differs[:, :t].any()
            assert variant not in reference.VARIANTS or differs[:, t:].all()


def test_too_many_positions_are_refused_with_both_numbers(known_variant):
    attention, most = make_attention(known_variant), most_positions(known_variant, BLOCK)
    for T in (most + 1, most + 5):
        with pytest.raises(ValueError, match=rf"\b{T}\b.*\b{most}\b"):
            attention(torch.randn(1, T, C))


# ---- dropout --------------------------------------------------------------------------------


def test_dropout_of_the_output(known_variant):
    attention = make_attention(known_variant, resid_pdrop=0.5)
    x = torch.randn(8, BLOCK - 1, C)
    dropped, whole = attention(x), attention.eval()(x)
    zero = dropped == 0
    assert 0.3 < zero.float().mean() < 0.7
    assert_close(dropped[~zero], 2 * whole[~zero])
    assert torch.equal(attention(x), whole)


def test_dropout_of_the_weights(known_variant):
    """A first position has one weight a head, 1: under dropout it is 0 or 2."""
    attention = make_attention(known_variant, attn_pdrop=0.5)
    with torch.no_grad():  # the projection passes the heads through
        attention.proj.weight.copy_(torch.eye(C))
        attention.proj.bias.zero_()
    x = torch.randn(40, 1, C)
    dropped, whole = (y.view(40, NH, HS) for y in (attention(x), attention.eval()(x)))
    zero = (dropped == 0).all(dim=-1)
    assert 0.3 < zero.float().mean() < 0.7
    assert_close(dropped[~zero], 2 * whole[~zero])


# ---- names, shapes, initial values ----------------------------------------------------------


def test_state_dict_and_the_order_of_layers(known_variant):
    """The order is that in which the initial random numbers are drawn."""
    attention = make_attention(known_variant, attn_pdrop=0.2, resid_pdrop=0.3)
    linears = LINEARS.get(known_variant, ["key", "query", "value"])
    expected = {"mask": (1, 1, BLOCK, BLOCK)}
    for name in [*linears, "proj"]:
        expected |= {f"{name}.weight": (C, C), f"{name}.bias": (C,)}
    if known_variant == "synthesizer":
        expected |= {"w2": (HS, BLOCK - 1), "b2": (BLOCK - 1,)}
    if known_variant == "rope":
        expected["rope_cache"] = (BLOCK, HS // 2, 2)
    state = attention.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert {name for name, _ in attention.named_parameters()} == expected.keys() - {
        "mask",
        "rope_cache",
    }
    assert torch.equal(attention.mask[0, 0], torch.ones(BLOCK, BLOCK).tril())
    children = [name for name, _ in attention.named_children()]
    assert children == [*linears, "attn_drop", "resid_drop", "proj"]
    assert (attention.attn_drop.p, attention.resid_drop.p) == (0.2, 0.3)


def test_the_synthesizers_own_parameters_start_small():
    config = SimpleNamespace(n_embd=64, n_head=1, block_size=65, attn_pdrop=0, resid_pdrop=0)
    attention = SynthesizerAttention(config)
    w2 = attention.w2.detach()  # 4,096 of them, uniform in ±0.001
    assert 0.00098 < w2.max() <= 0.001 and -0.00098 > w2.min() >= -0.001
    assert w2.std().item() == pytest.approx(0.001 / math.sqrt(3), rel=0.03)
    assert abs(w2.mean().item()) < 5 * 0.001 / math.sqrt(3 * 4096)
    assert attention.b2.tolist() == [0.0] * 64


def test_heads_that_do_not_share_the_channels_evenly_are_refused(known_variant):
    with pytest.raises(ValueError, match=r"\b12\b.*\b5\b"):
        make_attention(known_variant, n_head=5)


# ---- variants -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, name",
    [
        ({}, "vanilla"),
        ({"vanilla": True}, "vanilla"),
        ({"synthesizer": False}, "vanilla"),
        ({"additive": False, "vanilla": False, "synthesizer": True}, "synthesizer"),
    ],
)
def test_the_variant_of_a_config(flags, name):
    assert variant_of(SimpleNamespace(**flags)) == name
    assert VARIANTS["vanilla"] is CausalSelfAttention
    assert VARIANTS["synthesizer"] is SynthesizerAttention


@pytest.mark.parametrize("flags", [("vanilla", "synthesizer"), ("additive",)])
def test_two_variants_or_one_without_a_class_are_refused(flags):
    with pytest.raises(ValueError, match=".*".join(flags)):
        variant_of(SimpleNamespace(**dict.fromkeys(flags, True)))
