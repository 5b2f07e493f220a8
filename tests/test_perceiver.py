"""
The perceiver (part g in 2023): its cross-attention and its two blocks against the reference, what
each position can see, and its settings. The whole model, its training and its files are compared
with the reference in the other tests, which run over all variants.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import reference
from attention import CausalCrossAttention, CausalSelfAttention
from fast import packing
from model import GPT, Block, DownProjectBlock, GPTConfig, UpProjectBlock
from small_models import NO_DROPOUT, default_dtype, enlarge, make_gpt
from trainer import Trainer, TrainerConfig

BLOCK, C, NH, M = 8, 12, 3, 3
SIZES = {"vocab_size": 12, "block_size": BLOCK, "n_layer": 3, "n_head": NH, "n_embd": C}
LENGTHS = [(1, 1), (1, 5), (5, 1), (2, 6), (6, 2), (BLOCK, 3), (3, BLOCK), (BLOCK, BLOCK)]


def exact(make, **changed):
    """What make(config) gives in float64, with parameters that all matter, without dropout."""
    config = GPTConfig(**{**SIZES, **NO_DROPOUT, "bottleneck_dim": M, **changed}, perceiver=True)
    with default_dtype(torch.float64):
        return enlarge(make(config), 0.5)


def same_gradients(ours, theirs, leaves, params):
    """The gradients of a sum over all entries, with random weights."""
    weights = torch.randn_like(ours)
    grads = torch.autograd.grad((ours * weights).sum(), leaves)
    grads2 = torch.autograd.grad((theirs * weights).sum(), params)
    for grad, grad2 in zip(grads, grads2, strict=True):
        assert_close(grad, grad2, rtol=1e-9, atol=1e-9)


# ---- agreement with the reference -----------------------------------------------------------


@pytest.mark.parametrize("S, T", LENGTHS)
def test_cross_attention_is_the_references(S, T):
    attention = exact(CausalCrossAttention)
    x_kv, x_q = (torch.randn(2, n, C, dtype=torch.float64).requires_grad_() for n in (S, T))
    params = dict(attention.named_parameters())
    ours, theirs = attention(x_kv, x_q), reference.cross_attention(x_kv, x_q, params, NH)
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    same_gradients(ours, theirs, [x_kv, x_q, *params.values()], [x_kv, x_q, *params.values()])


def test_cross_attention_takes_one_row_with_many():
    """Of keys, or of queries: as if it were repeated."""
    attention = exact(CausalCrossAttention)
    many, one = (torch.randn(rows, 5, C, dtype=torch.float64) for rows in (3, 1))
    for x_kv, x_q in ((many, one), (one, many)):
        whole = attention(x_kv.expand(3, -1, -1), x_q.expand(3, -1, -1))
        assert_close(attention(x_kv, x_q), whole)


def test_cross_attention_names_its_most_positions():
    attention, long = (
        exact(CausalCrossAttention),
        torch.zeros(1, BLOCK + 1, C, dtype=torch.float64),
    )
    for x_kv, x_q in ((long, long[:, :2]), (long[:, :2], long)):
        with pytest.raises(ValueError, match=rf"\b{BLOCK + 1}\b.*\b{BLOCK}\b"):
            attention(x_kv, x_q)


def test_cross_attention_of_a_text_to_itself_is_self_attention():
    cross = exact(CausalCrossAttention)
    own = exact(CausalSelfAttention)
    own.load_state_dict(cross.state_dict())
    x = torch.randn(2, 6, C, dtype=torch.float64)
    assert_close(cross(x, x), own(x))


@pytest.mark.parametrize("T", [1, 2, 3, 4, BLOCK])
def test_the_two_blocks_are_the_references(T):
    down, up = exact(DownProjectBlock), exact(UpProjectBlock)
    x = torch.randn(2, T, C, dtype=torch.float64).requires_grad_()
    params = dict(down.named_parameters())
    y, y2 = down(x), reference.down_project(x, params, NH)
    assert y.shape == (2, M, C)
    assert_close(y, y2, rtol=1e-10, atol=1e-10)
    same_gradients(y, y2, [x, *params.values()], [x, *params.values()])
    params = dict(up.named_parameters())
    z, z2 = up(y, x), reference.up_project(y, x, params, NH)
    assert z.shape == (2, T, C)
    assert_close(z, z2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("longest", [1, 4, M, BLOCK])
def test_of_short_rows_no_longer_bottleneck_is_computed(monkeypatch, longest):
    """Loss and gradients are those of the whole one."""
    monkeypatch.setattr(packing, "POSITIONS_MULTIPLE", 1)
    for m in (1, M, BLOCK):
        model = exact(GPT, bottleneck_dim=m)
        seen = []
        model.down_block.mlp.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
        y = torch.randint(1, 12, (5, BLOCK))
        for row, length in enumerate((longest, 1, longest, 2, longest)):
            y[row, min(length, longest) :] = 0
        x, params = torch.randint(1, 12, y.shape), list(model.parameters())
        loss, packed = model(x, y)[1], model(x, y, loss_only=True)[1]
        assert_close(packed, loss, rtol=1e-12, atol=0)
        for ours, theirs in zip(
            *(torch.autograd.grad(one, params) for one in (packed, loss)), strict=True
        ):
            assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert [x.shape[1] for x in seen] == [m, min(m, longest)]


# ---- who sees whom --------------------------------------------------------------------------


def changed_logits(model, idx, t):
    """Which positions' logits change with the id at position t: (T), for all rows alike."""
    changed = idx.clone()
    changed[:, t] = (idx[:, t] + 1) % 12
    differs = (model(changed)[0] != model(idx)[0]).any(dim=-1)
    assert (differs == differs[0]).all()
    return differs[0].tolist()


@pytest.mark.parametrize("m", [1, M, BLOCK])
def test_the_bottleneck_sees_the_first_m_positions(m):
    """A position before m changes its own logits and all later; one from m on its own alone."""
    model = exact(GPT, bottleneck_dim=m).eval()
    for T in range(1, BLOCK + 1):
        idx = torch.randint(12, (3, T))
        for t in range(T):
            later = t < m
            expected = [s == t or (later and s > t) for s in range(T)]
            assert changed_logits(model, idx, t) == expected, (T, t)


def test_a_prefix_has_the_same_logits():
    model = exact(GPT).eval()
    idx = torch.randint(12, (3, BLOCK))
    whole = model(idx)[0]
    for T in range(1, BLOCK + 1):
        assert_close(model(idx[:, :T])[0], whole[:, :T], rtol=1e-10, atol=1e-12)


# ---- parts and settings ---------------------------------------------------------------------


@pytest.mark.parametrize("by", ["keyword", "assignment"])
def test_the_courses_flags_make_a_perceiver(by):
    """`mconf.perceiver = True; mconf.bottleneck_dim = 64`; 74 names; two blocks of m positions."""
    sizes = {"n_layer": 4, "n_head": 8, "n_embd": 256}
    if by == "keyword":
        config = GPTConfig(256, 128, **sizes, perceiver=True, bottleneck_dim=64)
    else:
        config = GPTConfig(256, 128, **sizes)
        config.perceiver = True
        config.bottleneck_dim = 64
    model = GPT(config)
    state = model.state_dict()
    assert len(state) == 74 and state["down_block.C"].shape == (1, 64, 256)
    for layer in (0, 1):
        assert state[f"blocks.{layer}.attn.mask"].shape == (1, 1, 64, 64)
    for block in ("down_block", "up_block"):
        assert state[f"{block}.attn.mask"].shape == (1, 1, 128, 128)
    assert [type(block) for block in model.blocks] == [Block] * 2
    assert (config.block_size, config.n_layer) == (128, 4)  # the caller's, not changed


def test_c_is_trained_and_saved():
    """A tensor that is moved after it became a Parameter is neither."""
    model = GPT(GPTConfig(**SIZES, bottleneck_dim=M, perceiver=True)).to("cpu")
    assert isinstance(model.down_block.C, nn.Parameter)
    assert "down_block.C" in dict(model.named_parameters())
    before = model.down_block.C.detach().clone()
    rows = torch.randint(1, 12, (8, BLOCK + 1))
    dataset = torch.utils.data.TensorDataset(rows[:, :-1], rows[:, 1:])
    config = TrainerConfig(max_epochs=2, batch_size=4, learning_rate=0.01, device="cpu", seed=0)
    Trainer(model, dataset, None, config).train()
    assert (model.down_block.C - before).abs().min() > 0
    assert torch.equal(model.state_dict()["down_block.C"], model.down_block.C)


def test_a_bottleneck_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"\b9\b.*\b8\b"):
        GPT(GPTConfig(**SIZES, perceiver=True, bottleneck_dim=9))
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        GPT(GPTConfig(**{**SIZES, "n_layer": 1}, perceiver=True))
    assert len(make_gpt("perceiver", {**SIZES, "n_layer": 2}).blocks) == 0


@pytest.mark.parametrize("block_size, m", [(8, 8), (32, 32), (40, 32)])
def test_the_default_bottleneck_is_32_or_the_whole_block(block_size, m):
    config = GPTConfig(12, block_size, n_layer=2, n_head=1, n_embd=4, perceiver=True)
    assert GPT(config).down_block.C.size(1) == m


@pytest.mark.parametrize("rate", ["attn_pdrop", "resid_pdrop"])
def test_cross_attention_has_dropout(rate):
    attention = exact(CausalCrossAttention, **{rate: 0.5})
    x = torch.randn(2, 5, C, dtype=torch.float64)
    assert not torch.equal(attention(x, x), attention(x, x))
    assert torch.equal(attention.eval()(x, x), attention(x, x))


def test_a_cache_is_refused():
    from fast.kv_cache import KVCache

    cache = KVCache(3, BLOCK, torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="kv_cache"):
        exact(GPT)(torch.zeros(1, 2, dtype=torch.long), kv_cache=cache)


def test_a_graders_own_config_will_do():
    """It has no more than sizes, rates and the flags."""
    config = SimpleNamespace(**SIZES, perceiver=True)
    for rate in ("embd_pdrop", "resid_pdrop", "attn_pdrop"):
        setattr(config, rate, 0.0)
    assert DownProjectBlock(config).C.size(1) == BLOCK
    config.bottleneck_dim = M
    x = torch.randn(2, 5, C)
    y = DownProjectBlock(config)(x)
    assert UpProjectBlock(config)(y, x_input=x).shape == x.shape
    assert CausalCrossAttention(config)(x_kv=x, x_q=y).shape == y.shape
