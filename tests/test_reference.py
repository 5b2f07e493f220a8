"""The reference's model and answers against torch's functions and cases worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from reference import (
    MASK,
    PAD,
    VARIANTS,
    causal_self_attention,
    cross_attention,
    down_project,
    gelu,
    gpt_logits,
    greedy_answer,
    layer_norm,
    loss,
    mlp,
    rotary_attention,
    rotated,
    synthesizer_attention,
    up_project,
)

B, T, C, NH, BLOCK, V, LAYERS = 2, 5, 8, 2, 7, 11, 2
HS = C // NH


def linears(draw, *names):
    shapes = {"weight": (C, C), "bias": (C,)}
    return {f"{name}.{part}": draw(*shape) for name in names for part, shape in shapes.items()}


def attention_params(draw, variant):
    if variant != "synthesizer":
        return linears(draw, "key", "query", "value", "proj")
    return {
        **linears(draw, "w1", "value", "proj"),
        "w2": draw(HS, BLOCK - 1),
        "b2": draw(BLOCK - 1),
    }


# The perceiver's blocks are vanilla's; what it has of its own is compared below.
ATTENTIONS = [(name, attention) for name, attention in VARIANTS.items() if name != "perceiver"]


def gpt_state(draw, variant):
    state = {"tok_emb.weight": draw(V, C), "pos_emb": draw(1, BLOCK, C), "head.weight": draw(V, C)}
    if variant == "rope":
        del state["pos_emb"]
    for norm in ["ln_f"] + [f"blocks.{i}.{ln}" for i in range(LAYERS) for ln in ("ln1", "ln2")]:
        state |= {f"{norm}.weight": draw(C), f"{norm}.bias": draw(C)}
    for i in range(LAYERS):
        state |= {
            f"blocks.{i}.attn.{key}": tensor
            for key, tensor in attention_params(draw, variant).items()
        }
        state |= {
            f"blocks.{i}.mlp.0.weight": draw(4 * C, C),
            f"blocks.{i}.mlp.0.bias": draw(4 * C),
        }
        state |= {f"blocks.{i}.mlp.2.weight": draw(C, 4 * C), f"blocks.{i}.mlp.2.bias": draw(C)}
        state[f"blocks.{i}.attn.mask"] = torch.tril(
            torch.ones(1, 1, BLOCK, BLOCK)
        )  # carried along, never read
    return state


# ---- attention ------------------------------------------------------------------------------


def heads(x):
    """(B, T, C) → (B, nh, T, hs)"""
    return x.unflatten(-1, (NH, HS)).transpose(1, 2)


def torchs_attention(x_kv, x_q, p, turn=lambda x: x):
    """Position t of x_q sees positions s ≤ t of x_kv. turn: of queries and keys (B, nh, T, hs)."""
    q = turn(heads(F.linear(x_q, p["query.weight"], p["query.bias"])))
    k = turn(heads(F.linear(x_kv, p["key.weight"], p["key.bias"])))
    v = heads(F.linear(x_kv, p["value.weight"], p["value.bias"]))
    seen = torch.ones(q.size(2), k.size(2), dtype=torch.bool).tril()
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return F.linear(y.transpose(1, 2).flatten(2), p["proj.weight"], p["proj.bias"])


def test_vanilla_attention_is_torchs(draw):
    x, p = draw(B, T, C), attention_params(draw, "vanilla")
    assert_close(causal_self_attention(x, p, NH), torchs_attention(x, x, p))


@pytest.mark.parametrize("S", [1, 3, T, T + 2])
def test_cross_attention_is_torchs(draw, S):
    x_kv, x_q, p = draw(B, S, C), draw(B, T, C), attention_params(draw, "perceiver")
    assert_close(cross_attention(x_kv, x_q, p, NH), torchs_attention(x_kv, x_q, p))


def test_rotary_attention_is_torchs_with_complex_numbers(draw):
    """Each pair of neighbours is a number, times e^(i t θ)."""
    x, p = draw(B, T, C), attention_params(draw, "rope")
    angles = torch.outer(torch.arange(T).double(), 100.0 ** -torch.arange(HS // 2).double())

    def turn(x):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(-2)

    assert_close(rotary_attention(x, p, NH), torchs_attention(x, x, p, turn))


def test_rotation_by_a_quarter_turn():
    """Of the second pair, at position 50 π: θ is 1/100. The first has turned 25 times."""
    for before, after in (([1, 0, 1, 0], [1, 0, 0, 1]), ([0, 1, 0, 1], [0, 1, -1, 0])):
        turned = rotated(torch.tensor(before, dtype=torch.float64), 50 * math.pi)
        assert turned.tolist() == pytest.approx(after, abs=1e-12)


def test_synthesizer_attention_is_torchs_under_its_own_scores(draw):
    x, p = draw(B, T, C), attention_params(draw, "synthesizer")
    hidden = heads(F.relu(F.linear(x, p["w1.weight"], p["w1.bias"])))
    scores = (hidden @ p["w2"] + p["b2"])[..., :T]  # (B, nh, T, T)
    scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
    y = F.softmax(scores, dim=-1) @ heads(F.linear(x, p["value.weight"], p["value.bias"]))
    y = y.transpose(1, 2).reshape(B, T, C)
    assert_close(synthesizer_attention(x, p, NH), F.linear(y, p["proj.weight"], p["proj.bias"]))


@pytest.mark.parametrize(
    "second, weights",
    [
        (2.0, (1 / 4, 3 / 4)),  # ReLU(2·2 - 1) = 3; scores 0 and 3 ln 2 + ln 3/8 = ln 3
        (-1.0, (8 / 11, 3 / 11)),  # ReLU(2·-1 - 1) = 0; scores 0 and ln 3/8
    ],
)
def test_synthesizer_by_hand(second, weights):
    """One head of width 1, two positions: x = (1, second), v = 10 x, proj adds 1/2."""
    p = {
        "w1.weight": [[2.0]],
        "w1.bias": [-1.0],
        "value.weight": [[10.0]],
        "value.bias": [0.0],
        "proj.weight": [[1.0]],
        "proj.bias": [0.5],
        "w2": [[0.0, math.log(2)]],
        "b2": [0.0, math.log(3 / 8)],
    }
    p = {key: torch.tensor(value, dtype=torch.float64) for key, value in p.items()}
    x = torch.tensor([[[1.0], [second]]], dtype=torch.float64)
    expected = [10 + 0.5, weights[0] * 10 + weights[1] * 10 * second + 0.5]
    assert synthesizer_attention(x, p, 1).flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_synthesizer_refuses_a_position_without_scores(draw):
    p = attention_params(draw, "synthesizer")
    assert synthesizer_attention(draw(1, BLOCK - 1, C), p, NH).shape == (1, BLOCK - 1, C)
    with pytest.raises(ValueError, match="7 positions, but w2 scores only 6"):
        synthesizer_attention(draw(1, BLOCK, C), p, NH)


@pytest.mark.parametrize("variant, attention", ATTENTIONS)
def test_attention_is_causal(draw, variant, attention):
    x, p = draw(B, T, C), attention_params(draw, variant)
    before = attention(x, p, NH)
    for t in range(T):
        changed = x.clone()
        changed[:, t] += 1
        after = attention(changed, p, NH)
        assert torch.equal(after[:, :t], before[:, :t])
        assert (
            (after[:, t:] - before[:, t:]).abs().amax(dim=-1) > 1e-9
        ).all()  # all that may see t does


@pytest.mark.parametrize("variant, attention", ATTENTIONS)
def test_attention_survives_large_scores(draw, variant, attention):
    assert attention(1e4 * draw(B, T, C), attention_params(draw, variant), NH).isfinite().all()


@pytest.mark.parametrize("variant, attention", ATTENTIONS)
def test_attention_has_gradients(draw, variant, attention):
    p = attention_params(draw, variant)
    tensors = [draw(1, 3, C), *p.values()]
    for tensor in tensors:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, *values: attention(x, dict(zip(p, values, strict=False)), NH), tensors
    )


# ---- the other pieces, the whole model, the loss --------------------------------------------


def test_layer_norm_gelu_and_mlp_are_torchs(draw):
    x, weight, bias = draw(B, T, C), draw(C), draw(C)
    for scale in (1.0, 1e-2):  # at 1e-2 a wrong eps shows
        assert_close(
            layer_norm(scale * x, weight, bias),
            F.layer_norm(scale * x, (C,), weight, bias, eps=1e-5),
        )
    assert_close(gelu(3 * x), F.gelu(3 * x))
    p = {
        "0.weight": draw(4 * C, C),
        "0.bias": draw(4 * C),
        "2.weight": draw(C, 4 * C),
        "2.bias": draw(C),
    }
    hidden = F.gelu(F.linear(x, p["0.weight"], p["0.bias"]))
    assert_close(mlp(x, p), F.linear(hidden, p["2.weight"], p["2.bias"]))


def layer_by_hand(g):
    """
    One head of width 2. Its norms turn (v, -v) into (1, -1), for ln1 times g; the MLP adds 30 to
    the second channel after (1, -1), 20 after (0, 0).
    """
    layer = {f"attn.{name}.weight": torch.eye(2) for name in ("key", "query", "value", "proj")}
    layer |= {f"attn.{name}.bias": torch.zeros(2) for name in ("key", "query", "value", "proj")}
    layer |= {"ln1.weight": torch.full((2,), g), "ln1.bias": torch.zeros(2)}
    layer |= {"ln2.weight": torch.ones(2), "ln2.bias": torch.zeros(2)}
    layer |= {"mlp.0.weight": torch.tensor([[10.0, 0.0]]), "mlp.0.bias": torch.tensor([20.0])}
    layer |= {"mlp.2.weight": torch.tensor([[0.0], [1.0]]), "mlp.2.bias": torch.zeros(2)}
    return {name: tensor.double() for name, tensor in layer.items()}


def test_down_project_by_hand():
    """
    The first query sees the first position alone. The second is ln1(C) = (-g, g): its scores are
    -8 g / √2 = -ln 3 and 0, its weights 1/4 and 3/4. C itself is not added.
    """
    layer = layer_by_hand(math.sqrt(2) * math.log(3) / 8)
    layer["C"] = torch.tensor([[[50.0, -50.0], [-50.0, 50.0]]]).double()
    x = torch.tensor([[[4.0, -4.0], [0.0, 0.0]]]).double()
    expected = [[4, -4 + 30], [1, -1 + 30]]
    assert_close(down_project(x, layer, 1)[0], torch.tensor(expected).double(), rtol=0, atol=1e-3)


def test_up_project_by_hand():
    """
    Keys and values are ln1(y) = (2, -2) and (-2, 2), the queries x as it is. The second position
    scores them 2 √2 a and its negative, which differ by ln 3: its weights are 3/4 and 1/4. The
    third sees no more than the second, and both alike.
    """
    layer, a = layer_by_hand(2.0), math.log(3) / (4 * math.sqrt(2))
    y = torch.tensor([[[50.0, -50.0], [-50.0, 50.0]]]).double()
    x = torch.tensor([[[0.0, 0.0], [a, -a], [0.0, 0.0]]]).double()
    expected = [[2, -2 + 30], [a + 1, -a - 1 + 30], [0, 0 + 20]]
    assert_close(up_project(y, x, layer, 1)[0], torch.tensor(expected).double(), rtol=0, atol=1e-3)


def torchs_block(state, i):
    """torch's pre-norm transformer layer, holding the weights of block i."""
    layer = torch.nn.TransformerEncoderLayer(
        C,
        NH,
        4 * C,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    own = {key.removeprefix(f"blocks.{i}."): tensor for key, tensor in state.items()}
    loaded = {
        "self_attn.out_proj": "attn.proj",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
        "norm1": "ln1",
        "norm2": "ln2",
    }
    loaded = {
        f"{a}.{part}": own[f"{b}.{part}"] for a, b in loaded.items() for part in ("weight", "bias")
    }
    for part in ("weight", "bias"):
        loaded[f"self_attn.in_proj_{part}"] = torch.cat(
            [own[f"attn.{n}.{part}"] for n in ("query", "key", "value")]
        )
    layer.load_state_dict(loaded)
    return layer


def test_vanilla_gpt_is_a_stack_of_torchs_layers(draw):
    state = gpt_state(draw, "vanilla")
    idx = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 10]])
    x = F.embedding(idx, state["tok_emb.weight"]) + state["pos_emb"][:, :T]
    causal = torch.ones(T, T, dtype=torch.bool).triu(1)
    for i in range(LAYERS):
        x = torchs_block(state, i)(x, src_mask=causal)
    x = F.layer_norm(x, (C,), state["ln_f.weight"], state["ln_f.bias"])
    logits = gpt_logits(state, idx, LAYERS, NH)
    assert logits.shape == (B, T, V)
    assert_close(logits, x @ state["head.weight"].T)


@pytest.mark.parametrize("variant, attention", ATTENTIONS)
def test_gpt_uses_the_attention_that_its_keys_name(draw, variant, attention):
    """With one block whose MLP is zero, the last norm's input is x + attn(ln1(x))."""
    state = gpt_state(draw, variant)
    idx = torch.tensor([[3, 1, 4]])
    x = state["tok_emb.weight"][idx]
    if variant != "rope":
        x = x + state["pos_emb"][:, :3]
    p = {
        key.removeprefix("blocks.0.attn."): state[key]
        for key in state
        if key.startswith("blocks.0.attn.")
    }
    x = x + attention(
        F.layer_norm(x, (C,), state["blocks.0.ln1.weight"], state["blocks.0.ln1.bias"]), p, NH
    )
    x = F.layer_norm(x, (C,), state["ln_f.weight"], state["ln_f.bias"])
    state["blocks.0.mlp.2.weight"].zero_()
    state["blocks.0.mlp.2.bias"].zero_()
    assert_close(gpt_logits(state, idx, 1, NH), x @ state["head.weight"].T)


@pytest.mark.parametrize("variant", [name for name, _ in ATTENTIONS])
def test_gpt_reads_a_data_parallel_state_and_keeps_its_dtype(draw, variant):
    state, idx = gpt_state(draw, variant), torch.tensor([[3, 1, 4]])
    logits = gpt_logits(state, idx, LAYERS, NH)
    assert logits.dtype == torch.float64
    assert torch.equal(
        gpt_logits({f"module.{k}": v for k, v in state.items()}, idx, LAYERS, NH), logits
    )
    single = gpt_logits({k: v.float() for k, v in state.items()}, idx, LAYERS, NH)
    assert single.dtype == torch.float32
    assert_close(single.double(), logits, rtol=1e-4, atol=1e-4)


def test_gpt_refuses_more_positions_than_it_has(draw):
    with pytest.raises(ValueError, match="8 positions, but pos_emb holds only 7"):
        gpt_logits(gpt_state(draw, "vanilla"), torch.zeros(1, 8, dtype=torch.long), LAYERS, NH)


def test_loss_is_torchs_cross_entropy_without_pad(draw):
    logits, targets = 30 * draw(B, T, V), torch.tensor([[0, 3, 0, 1, 10], [0, 0, 0, 7, 0]])
    logits.requires_grad_()
    ours, torchs = (
        loss(logits, targets),
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0),
    )
    assert_close(ours, torchs)
    assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(torchs, logits))
    assert loss(logits + 1e4, targets).isfinite()
    assert loss(logits, torch.zeros_like(targets)).isnan()  # as torch's


# ---- greedy answers -------------------------------------------------------------------------


def chain(follows, block_size):
    """A model without blocks that predicts follows[character] after each character."""
    characters = [
        PAD,
        MASK,
        *sorted(set("".join(follows) + "".join(follows.values())) - {PAD, MASK}),
    ]
    stoi = {c: i for i, c in enumerate(characters)}
    size = len(characters)
    head = torch.zeros(size, size)
    for c, following in follows.items():
        head[stoi[following], stoi[c]] = 1.0
    state = {
        "tok_emb.weight": torch.eye(size),
        "pos_emb": torch.zeros(1, block_size, size),
        "ln_f.weight": torch.ones(size),
        "ln_f.bias": torch.zeros(size),
        "head.weight": head,
    }
    return state, stoi, dict(enumerate(characters))


ROME = {MASK: "R", "R": "o", "o": "m", "m": "e", "?": "R"}


@pytest.mark.parametrize("block_size", [64, 3])  # 3: only the last three characters fit
@pytest.mark.parametrize(
    "last, answer", [(MASK, "Rome"), ("e", "Rome" + 28 * "e"), (PAD, "Rome" + 28 * PAD)]
)
def test_greedy_answer_by_hand(block_size, last, answer):
    """The answer ends at the second ⁇; without one, after 32 characters."""
    state, stoi, itos = chain({**ROME, "e": last, PAD: PAD}, block_size)
    assert greedy_answer(state, "Rome?", stoi, itos, 0, 1, block_size) == answer


def test_greedy_answer_reads_the_whole_model(draw):
    """With attention, and a context longer than the block."""
    state = gpt_state(draw, "vanilla")
    itos = dict(enumerate(PAD + MASK + "abcdefghi"))
    stoi = {c: i for i, c in itos.items()}
    ids = torch.tensor([[2, 5, 3, 9, 1]])
    for _ in range(6):
        logits = gpt_logits(state, ids[:, -BLOCK:], LAYERS, NH)
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
    written = "".join(itos[i] for i in ids[0, 5:].tolist())
    assert MASK not in written  # so that all six characters are compared
    assert greedy_answer(state, "adbh", stoi, itos, LAYERS, NH, BLOCK, max_new=6) == written
