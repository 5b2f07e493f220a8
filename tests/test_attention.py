"""python -m pytest tests/test_attention.py

Both attentions against the plain implementation, outputs and gradients, and what the course's code relies on: names,
shapes, initial values, and configs of an autograder's own.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import reference
from attention import VARIANTS, CausalSelfAttention, SynthesizerAttention, masked_scores, variant_of
from model import GPT, GPTConfig

BLOCK, C, NH = 7, 12, 3
HS = C // NH
PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
REFERENCES = {"vanilla": reference.causal_self_attention, "synthesizer": reference.synthesizer_attention}
LINEARS = {"vanilla": ["key", "query", "value", "proj"], "synthesizer": ["w1", "value", "proj"]}


def own_config(**changes):
    """An object with the five settings that attention may ask for and no other, as an autograder makes it."""
    settings = {"n_embd": C, "n_head": NH, "block_size": BLOCK, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    return SimpleNamespace(**{**settings, **changes})


def attention_of(variant, dtype=torch.float32, **changes):
    """An attention whose every parameter, biases and w2 too, is of a size to matter."""
    attention = VARIANTS[variant](own_config(**changes)).to(dtype)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.5)
    return attention


# ---- agreement with the reference -----------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, precision", PRECISIONS, ids=["float64", "float32"])
@pytest.mark.parametrize("variant, T", [
    *[(name, T) for name in REFERENCES for T in (1, 2, 4, BLOCK - 1)], ("vanilla", BLOCK)])
def test_outputs_and_gradients_are_the_references(variant, T, dtype, precision):
    attention = attention_of(variant, dtype)
    x = torch.randn(2, T, C, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, T, C, dtype=dtype)  # of the sum that stands in for a loss
    params = {name: p.detach().clone().requires_grad_() for name, p in attention.named_parameters()}
    x2 = x.detach().clone().requires_grad_()

    y, y2 = attention(x), REFERENCES[variant](x2, params, NH)
    assert y.shape == (2, T, C)
    assert_close(y, y2, rtol=precision, atol=precision)
    (y * weights).sum().backward()
    (y2 * weights).sum().backward()
    assert_close(x.grad, x2.grad, rtol=precision, atol=precision)
    for name, p in attention.named_parameters():
        largest = params[name].grad.abs().max().item()
        assert_close(p.grad, params[name].grad, rtol=precision, atol=precision * max(1, largest))
        # The keys' bias shifts all scores of a row alike; at T = 1 no score matters.
        if name != "key.bias" and (T > 1 or name.split(".")[0] in ("value", "proj")):
            assert largest > 1e-3  # or there is nothing to compare


@pytest.mark.parametrize("n_head", [1, 2, 12])
def test_any_number_of_heads(variant, n_head):
    attention = attention_of(variant, torch.float64, n_head=n_head)
    x = torch.randn(2, 5, C, dtype=torch.float64)
    assert_close(attention(x), REFERENCES[variant](x, dict(attention.named_parameters()), n_head), rtol=1e-10, atol=1e-10)


def test_scores_are_scaled_by_the_root_of_the_heads_size():
    """Worked by hand: values 0 and 2, scores 0 and 4·2·2/√4 = 8, so the second position shows 2/(1 + e⁻⁸)."""
    attention = CausalSelfAttention(own_config(n_embd=4, n_head=1)).double()
    with torch.no_grad():
        for linear in (attention.key, attention.query, attention.value, attention.proj):
            linear.weight.copy_(torch.eye(4))
            linear.bias.zero_()
    x = torch.zeros(1, 2, 4, dtype=torch.float64)
    x[0, 1] = 2.0
    assert attention(x)[0, 1].tolist() == pytest.approx([2 / (1 + math.exp(-8))] * 4, rel=1e-12)


@pytest.mark.parametrize("dtype, precision", [*PRECISIONS, (torch.bfloat16, 2e-2)], ids=["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("B, nh, T, S, masks", [(3, 2, 4, 4, 1), (3, 2, 1, 5, 3), (2, 3, 2, 6, 2), (1, 1, 1, 1, 1), (0, 2, 3, 3, 1)])
def test_masked_scores(B, nh, T, S, masks, dtype, precision):
    """One mask for all rows or one for each, as a cache has it; of numbers in any order in memory."""
    q, k = torch.randn(B, T, nh, 5).transpose(1, 2).to(dtype), torch.randn(B, nh, S, 5).to(dtype)
    mask = torch.ones(masks, 1, T, S)
    mask[..., 1:] = torch.rand(masks, 1, T, S - 1) < 0.5
    expected = (q.double() @ k.double().mT / math.sqrt(5)).masked_fill(mask == 0, float("-inf"))
    scores = masked_scores(q, k, mask)
    assert scores.dtype == dtype and (S == 1 or not B or torch.isinf(scores).any())
    assert_close(scores.double(), expected, rtol=precision, atol=precision)


def test_an_empty_batch_stays_empty(variant):
    attention = attention_of(variant)
    assert attention(torch.zeros(0, 3, C)).shape == (0, 3, C)


def test_layer_past_is_accepted(variant):
    attention = attention_of(variant)
    x = torch.randn(1, 3, C)
    assert torch.equal(attention(x, layer_past=None), attention(x))


def test_inputs_need_not_be_contiguous(variant):
    attention = attention_of(variant)
    x = torch.randn(5, 2, C).transpose(0, 1)
    assert torch.equal(attention(x), attention(x.contiguous()))


# ---- causality ------------------------------------------------------------------------------------------------------

def test_no_position_sees_a_later_one(variant):
    attention = attention_of(variant).eval()
    x = torch.randn(2, BLOCK - 1, C)
    y = attention(x)
    for t in range(BLOCK - 1):
        changed = x.clone()
        changed[:, t] += torch.randn(2, C)
        differs = (attention(changed) != y).any(dim=-1)  # (B, T)
        assert not differs[:, :t].any()
        assert differs[:, t:].all()


def test_a_shorter_input_gives_the_beginning_of_a_longer_ones_output(variant):
    attention = attention_of(variant, torch.float64)
    x = torch.randn(2, BLOCK - 1, C, dtype=torch.float64)
    for T in range(1, BLOCK - 1):
        assert_close(attention(x[:, :T]), attention(x)[:, :T], rtol=1e-12, atol=1e-12)


def test_too_many_positions_are_refused_with_both_numbers(variant):
    attention = attention_of(variant)
    most = BLOCK if variant == "vanilla" else BLOCK - 1
    assert attention(torch.randn(1, most, C)).shape == (1, most, C)
    for T in (most + 1, most + 5):
        with pytest.raises(ValueError, match=rf"\b{T} positions.*\b{most}\b"):
            attention(torch.randn(1, T, C))


# ---- dropout --------------------------------------------------------------------------------------------------------

def test_dropout_of_the_output(variant):
    attention = attention_of(variant, resid_pdrop=0.5)
    x = torch.randn(8, BLOCK - 1, C)
    whole = attention.eval()(x)
    dropped = attention.train()(x)
    zero = dropped == 0
    assert 0.3 < zero.float().mean() < 0.7
    assert_close(dropped[~zero], 2 * whole[~zero])


def test_dropout_of_the_weights(variant):
    """A first position has one weight a head, 1: under dropout 0 or 2. The projection passes the heads through."""
    attention = attention_of(variant, attn_pdrop=0.5)
    with torch.no_grad():
        attention.proj.weight.copy_(torch.eye(C))
        attention.proj.bias.zero_()
    x = torch.randn(40, 1, C)
    whole = attention.eval()(x).view(40, NH, HS)
    dropped = attention.train()(x).view(40, NH, HS)
    zero = (dropped == 0).all(dim=-1)
    assert 0.3 < zero.float().mean() < 0.7
    assert_close(dropped[~zero], 2 * whole[~zero])


def test_no_dropout_in_evaluation(variant):
    attention = attention_of(variant, attn_pdrop=0.5, resid_pdrop=0.5)
    x = torch.randn(2, 5, C)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


# ---- names, shapes, initial values ----------------------------------------------------------------------------------

def test_state_dict(variant):
    expected = {f"{name}.{part}": shape for name in LINEARS[variant]
                for part, shape in (("weight", (C, C)), ("bias", (C,)))}
    expected["mask"] = (1, 1, BLOCK, BLOCK)
    if variant == "synthesizer":
        expected |= {"w2": (HS, BLOCK - 1), "b2": (BLOCK - 1,)}
    attention = VARIANTS[variant](own_config())
    assert {name: tuple(tensor.shape) for name, tensor in attention.state_dict().items()} == expected
    assert set(expected) - {"mask"} == {name for name, _ in attention.named_parameters()}
    assert all(tensor.dtype == torch.float32 for tensor in attention.state_dict().values())


def test_mask_is_lower_triangular(variant):
    mask = VARIANTS[variant](own_config()).mask
    assert mask[0, 0].tolist() == [[1.0 if s <= t else 0.0 for s in range(BLOCK)] for t in range(BLOCK)]


def test_the_synthesizers_own_parameters_start_small():
    attention = SynthesizerAttention(own_config(n_embd=64, n_head=1, block_size=65))
    w2 = attention.w2.detach()  # 4,096 of them
    assert w2.abs().max() <= 0.001
    assert w2.min() < -0.00098 and w2.max() > 0.00098
    assert w2.std().item() == pytest.approx(0.001 / math.sqrt(3), rel=0.03)
    assert abs(w2.mean().item()) < 5 * 0.001 / math.sqrt(3 * 4096)
    assert attention.b2.tolist() == [0.0] * 64


def test_children_and_their_order(variant):
    """The course's: it is what a printed model shows, and what the initial random numbers follow."""
    attention = VARIANTS[variant](own_config(attn_pdrop=0.2, resid_pdrop=0.3))
    first = LINEARS[variant][:-1]
    assert [name for name, _ in attention.named_children()] == first + ["attn_drop", "resid_drop", "proj"]
    for name in LINEARS[variant]:
        assert repr(getattr(attention, name)) == f"Linear(in_features={C}, out_features={C}, bias=True)"
    assert repr(attention.attn_drop) == "Dropout(p=0.2, inplace=False)"
    assert repr(attention.resid_drop) == "Dropout(p=0.3, inplace=False)"


def test_heads_that_do_not_share_the_channels_evenly_are_refused(variant):
    with pytest.raises(ValueError, match=r"n_embd is 12\b.*\b5\b"):
        VARIANTS[variant](own_config(n_head=5))


# ---- variants -------------------------------------------------------------------------------------------------------

def test_variants_and_their_classes():
    assert VARIANTS == {"vanilla": CausalSelfAttention, "synthesizer": SynthesizerAttention}


@pytest.mark.parametrize("flags, name", [
    ({}, "vanilla"), ({"vanilla": True}, "vanilla"),
    ({"synthesizer": True}, "synthesizer"), ({"synthesizer": False}, "vanilla"),
    ({"additive": False, "vanilla": False, "synthesizer": True}, "synthesizer"),
])
def test_the_variant_of_a_config(flags, name):
    assert variant_of(SimpleNamespace(**flags)) == name


@pytest.mark.parametrize("flags, said", [
    ({"vanilla": True, "synthesizer": True}, "vanilla and synthesizer"), ({"additive": True}, "no attention 'additive'"),
    ({"additive": True, "synthesizer": True}, "additive and synthesizer"),
])
def test_no_variant_or_two_are_refused(flags, said):
    with pytest.raises(ValueError, match=said):
        variant_of(SimpleNamespace(**flags))


class MeanAttention(nn.Module):
    """A further variant: every position gets the mean of those up to it."""

    def __init__(self, config):
        super().__init__()
        self.max_positions = config.block_size
        self.value = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, layer_past=None):
        return self.value(x.cumsum(dim=1) / torch.arange(1, x.size(1) + 1)[:, None])


def test_a_line_in_variants_is_all_that_a_new_variant_needs(monkeypatch):
    monkeypatch.setitem(VARIANTS, "mean", MeanAttention)
    config = GPTConfig(11, BLOCK, n_layer=2, n_head=NH, n_embd=C, mean=True)
    model = GPT(config)
    assert all(isinstance(block.attn, MeanAttention) for block in model.blocks)
    assert model(torch.randint(11, (2, BLOCK)))[0].shape == (2, BLOCK, 11)
    assert model.blocks[0].attn.value.bias.abs().max() == 0  # its linear layers start as the others do
    with pytest.raises(ValueError, match="synthesizer and mean"):
        GPTConfig(11, BLOCK, synthesizer=True, mean=True)
