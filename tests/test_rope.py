"""
Rotary positions (part g since 2024) against rotations written as 2 × 2 matrices. The whole model,
its cache, its training and its files are compared with the reference in the other tests, which run
over all variants.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import reference
from attention import (
    CausalSelfAttention,
    RotaryAttention,
    apply_rotary_emb,
    precompute_rotary_emb,
    variant_of,
)
from model import GPT, GPTConfig
from small_models import NO_DROPOUT, default_dtype, enlarge, make_baseline, make_gpt

SIZES = {"vocab_size": 12, "block_size": 9, "n_layer": 2, "n_head": 2, "n_embd": 8}
COURSE_SIZES = {"vocab_size": 256, "block_size": 128, "n_layer": 4, "n_head": 8, "n_embd": 256}


def exact_cache(dim, positions):
    with default_dtype(torch.float64):
        return precompute_rotary_emb(dim, positions)


@pytest.mark.parametrize("dim", [2, 4, 32])
def test_the_angles_by_hand(dim):
    """cos, then sin, of t · 10000^(-2i/dim): position 0 does not turn, pair 0 turns by t."""
    cache = exact_cache(dim, 128)
    assert cache.shape == (128, dim // 2, 2)
    assert cache[0].tolist() == [[1.0, 0.0]] * (dim // 2)
    for t in (1, 5, 127):
        assert cache[t, 0].tolist() == pytest.approx([math.cos(t), math.sin(t)], abs=1e-12)
        for i in range(dim // 2):
            angle = t * math.exp(-2 * i / dim * math.log(10000))
            expected = [math.cos(angle), math.sin(angle)]
            assert cache[t, i].tolist() == pytest.approx(expected, abs=1e-12)
    assert precompute_rotary_emb(dim, 128).dtype == torch.float32
    assert_close(precompute_rotary_emb(dim, 128).double(), cache, rtol=0, atol=1e-5)


def test_a_head_of_odd_size_is_refused():
    with pytest.raises(ValueError, match=r"\b3\b"):
        precompute_rotary_emb(3, 8)
    with pytest.raises(ValueError, match=r"\b3\b"):
        GPT(GPTConfig(**{**SIZES, "n_embd": 6}, rope=True))


@pytest.mark.parametrize("T", [1, 4, 9])
def test_each_pair_of_neighbours_is_rotated(T):
    x = torch.randn(2, 3, T, 6, dtype=torch.float64)
    found = apply_rotary_emb(x, exact_cache(6, 9)[:T])
    assert found.shape == x.shape
    for b in range(2):
        for h in range(3):
            for t in range(T):
                assert_close(found[b, h, t], reference.rotated(x[b, h, t], t), rtol=0, atol=1e-12)
    assert_close(found.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(apply_rotary_emb(x, exact_cache(6, 9)), found)  # a longer cache


def test_the_worked_example_of_a_quarter_turn():
    """(1, 0) by 90° is (0, 1); (0, 1) by 90° is (-1, 0)."""
    quarter = torch.tensor([[[0.0, 1.0]]])
    assert apply_rotary_emb(torch.tensor([[[[1.0, 0.0]]]]), quarter).tolist() == [[[[0, 1]]]]
    assert apply_rotary_emb(torch.tensor([[[[0.0, 1.0]]]]), quarter).tolist() == [[[[-1, 0]]]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_type_stays_and_rows_may_have_positions_of_their_own(dtype):
    x, cache = torch.randn(2, 3, 4, 6).to(dtype), precompute_rotary_emb(6, 9)
    positions = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])
    found = apply_rotary_emb(x, cache[positions][:, None])
    assert found.dtype == dtype and found.shape == x.shape
    precise = torch.float64 if dtype == torch.float64 else torch.float32  # angles of float32
    same = apply_rotary_emb(x.to(precise), cache.to(precise)[positions][:, None])
    assert torch.equal(found, same.to(dtype))
    for row, first in enumerate((0, 5)):
        alone = apply_rotary_emb(x[row : row + 1], cache[first : first + 4])
        assert torch.equal(found[row], alone[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_whole_model_may_have_another_type(dtype):
    attention = RotaryAttention(SimpleNamespace(**SIZES, attn_pdrop=0, resid_pdrop=0))
    x = torch.randn(2, 9, 8)
    found = attention.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    assert_close(found.float(), attention.float()(x), rtol=0.05, atol=0.05)


def test_a_score_depends_on_the_distance_alone():
    cache, (q, k) = exact_cache(6, 40), torch.randn(2, 6, dtype=torch.float64)

    def score(t, s):
        turned = [
            apply_rotary_emb(x.view(1, 1, 1, 6), cache[i : i + 1]) for x, i in ((q, t), (k, s))
        ]
        return (turned[0] * turned[1]).sum().item()

    assert score(7, 4) == pytest.approx(score(39, 36), abs=1e-12)
    assert score(7, 4) == pytest.approx(score(3, 0), abs=1e-12)
    assert abs(score(7, 4) - score(7, 5)) > 1e-3  # and it does depend on that


def test_the_model_does_not_know_where_a_text_stands():
    """After another beginning that is never attended to, the same text has the same logits."""
    with default_dtype(torch.float64):
        attention = enlarge(RotaryAttention(SimpleNamespace(**SIZES, attn_pdrop=0, resid_pdrop=0)))
    x = torch.randn(1, 9, 8, dtype=torch.float64)
    alone = attention(x[:, 4:])
    attention.mask[:, :, 4:, :4] = 0
    assert_close(attention(x)[:, 4:], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("by", ["keyword", "assignment"])
def test_the_courses_flag_makes_a_rotary_model(by):
    """`mconf.rope = True`; 76 names, one buffer a layer, no pos_emb."""
    if by == "keyword":
        config = GPTConfig(**COURSE_SIZES, rope=True)
    else:
        config = GPTConfig(**COURSE_SIZES)
        config.rope = True
    state = GPT(config).state_dict()
    assert len(state) == 76 and "pos_emb" not in state
    for layer in range(4):
        cache = state[f"blocks.{layer}.attn.rope_cache"]
        assert cache.shape == (128, 16, 2) and cache.dtype == torch.float32
        assert_close(cache.double(), exact_cache(32, 128), rtol=0, atol=1e-5)
    config.rope = False
    assert variant_of(config) == "vanilla"


def test_the_courses_attention_turns_by_the_same_flag():
    """An autograder builds CausalSelfAttention itself, with a config of its own."""
    config = SimpleNamespace(n_embd=8, n_head=2, block_size=9, attn_pdrop=0.0, resid_pdrop=0.0)
    with default_dtype(torch.float64):
        ours = enlarge(RotaryAttention(config))
        config.rope = True
        theirs = CausalSelfAttention(config)
        config.rope = False
        usual = CausalSelfAttention(config)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    assert torch.equal(theirs(x), ours(x))
    assert "rope_cache" not in usual.state_dict()


def test_the_courses_cache_is_loaded_as_it_is():
    """Its last digits may differ from ours, which the baseline's, of complex numbers, do."""
    model = enlarge(make_gpt("rope", COURSE_SIZES), 0.1, seed=1).eval()
    baseline = make_baseline("rope", COURSE_SIZES, model.state_dict()).eval()
    with torch.no_grad():
        baseline.blocks[0].attn.rope_cache.mul_(1.5)
    idx = torch.randint(256, (2, 128))
    before = model(idx)[0]
    model.load_state_dict(baseline.state_dict())
    assert_close(model(idx)[0], baseline(idx)[0], rtol=1e-4, atol=1e-4)
    assert (model(idx)[0] - before).abs().max() > 1e-3  # so it is used


def test_the_baselines_angles_are_the_references():
    from baseline import BaselineGPT

    cache = BaselineGPT(12, 9, 1, 2, 8, variant="rope").blocks[0].attn.rope_cache
    assert_close(cache.double(), exact_cache(4, 9), rtol=0, atol=1e-6)


def test_bfloat16_rounds_scores_as_in_vanilla():
    """The angles stay in float32, so rope in bfloat16 is about as exact as vanilla is."""
    errors = {}
    for variant in ("vanilla", "rope"):
        torch.manual_seed(3)
        model = GPT(GPTConfig(**COURSE_SIZES, **NO_DROPOUT, **{variant: True})).eval()
        idx = torch.randint(256, (4, 128))
        with torch.no_grad():
            exact = model(idx)[0]
            with torch.autocast("cpu", torch.bfloat16):
                rounded = model(idx)[0].float()
        errors[variant] = ((rounded - exact).norm() / exact.norm()).item()
    assert errors["rope"] < 1.5 * errors["vanilla"] < 0.05
