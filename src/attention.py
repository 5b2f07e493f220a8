"""
Causal self-attention in the variants that the assignment compares:

- CausalSelfAttention, the usual one: a position's weights come from its query and the keys before
  it (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2);
- SynthesizerAttention, part (g) in 2021: a position's weights are computed from that position
  alone (the dense synthesizer of Tay et al. 2020, https://arxiv.org/abs/2005.00743, section 3.1);
- RotaryAttention, part (g) since 2024: queries and keys are turned by angles that grow with their
  positions (Su et al. 2021, https://arxiv.org/abs/2104.09864);
- PerceiverAttention, part (g) in 2023: the usual one, in a model that sends its text through a few
  positions (Jaegle et al. 2021, https://arxiv.org/abs/2103.03206), by CausalCrossAttention.

A further variant is a class like these and its line in VARIANTS; the command line, the
configuration and the model follow. This module imports nothing else of the project: an autograder
can take it alone.

Shapes: B batch, T positions, C = n_embd channels, nh heads, hs = C / nh channels of a head; S
positions that are attended to, which is T unless a cache holds earlier ones.

Every variant has forward(x), (B, T, C) → the same shape. It may take more:

    layer_past  in decoding this layer's cache (fast.kv_cache.LayerKVCache): it holds keys and
                values of earlier positions, and x has the new ones alone
    rows        in training fast.packing.PackedRows: x is then (N, C), the rows' tokens one after
                another without padding

and have these class attributes, all without effect when left out:

    supports_kv_cache, supports_packing   True: forward() takes layer_past, or rows
    learned_positions   False: the model adds no pos_emb to its embeddings
    has_bottleneck      True: the model has a bottleneck of few positions (model.DownProjectBlock)
    editions            the years of the course that ask for it: see Recipe.edition
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalSelfAttention(nn.Module):
    """
    Multi-head attention with a causal mask: softmax(Q Kᵀ / √hs) V per head, then a projection.
    """

    supports_packing = supports_kv_cache = True
    editions = (2021, 2023, 2024)
    rotary = False

    def __init__(self, config):
        """
        config has n_embd, n_head, block_size, attn_pdrop and resid_pdrop; with config.rope = True
        this is a RotaryAttention. Raises ValueError unless n_head divides n_embd.
        """
        super().__init__()
        self.n_head, self.max_positions = config.n_head, config.block_size
        hs = head_size(config)
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.register_buffer("mask", causal_mask(config.block_size))
        self.rotary = self.rotary or getattr(config, "rope", False)
        if self.rotary:
            self.register_buffer("rope_cache", precompute_rotary_emb(hs, config.block_size))

    def forward(self, x: torch.Tensor, layer_past=None, rows=None) -> torch.Tensor:
        """x (B, T, C) → (B, T, C), for every T up to block_size."""
        q, k, v = project_heads(x, (self.query, self.key, self.value), self.n_head, rows)
        if self.rotary:
            rope_cache = self.rope_cache  # (block_size, hs / 2, 2)
            if layer_past is not None:
                rope_cache = rope_cache[layer_past.positions][:, None]  # (B, 1, T, hs / 2, 2)
            q, k = apply_rotary_emb(q, rope_cache), apply_rotary_emb(k, rope_cache)
        if layer_past is not None:
            k, v = layer_past.extend(k, v)  # (B, nh, S, hs)
        mask = attention_mask(self.mask, k.size(2), self.max_positions, layer_past)
        weights = F.softmax(masked_scores(q, k, mask), dim=-1)  # (B, nh, T, S)
        heads = self.attn_drop(weights) @ v  # (B, nh, T, hs)
        return self.resid_drop(self.proj(merge_heads(heads, rows)))


class RotaryAttention(CausalSelfAttention):
    """
    The usual attention with rotary positions: each query and key is rotated by apply_rotary_emb(),
    so that q · k depends on how far they are apart and not on where they stand. The model then has
    no other positions.
    """

    editions = (2024,)
    rotary = True
    learned_positions = False


class PerceiverAttention(CausalSelfAttention):
    """
    The usual attention, in the blocks between DownProjectBlock and UpProjectBlock (model.py).
    Their positions are the bottleneck's, so a KV cache of the text does not fit them.
    """

    supports_kv_cache = False
    editions = (2023,)
    has_bottleneck = True


class CausalCrossAttention(CausalSelfAttention):
    """
    The layers of CausalSelfAttention, but queries come from another sequence than keys and values:
    position t of the one attends to the positions s ≤ t of the other.
    """

    def forward(self, x_kv: torch.Tensor, x_q: torch.Tensor, rows=None) -> torch.Tensor:
        """
        x_kv (B or 1, S, C), x_q (B or 1, T, C) → (B, T, C), for every S and T up to block_size. A
        query beyond S attends to all of x_kv. With rows, one of both is packed, (N, C).
        """
        k, v = project_heads(x_kv, (self.key, self.value), self.n_head, rows)
        (q,) = project_heads(x_q, (self.query,), self.n_head, rows)
        S, T, B = k.size(2), q.size(2), max(len(k), len(q))
        q, k, v = (heads.expand(B, -1, -1, -1) for heads in (q, k, v))  # (B, nh, S or T, hs)
        mask = attention_mask(self.mask, max(S, T), self.max_positions)[:, :, :T, :S]
        weights = F.softmax(masked_scores(q, k, mask), dim=-1)  # (B, nh, T, S)
        heads = self.attn_drop(weights) @ v  # (B, nh, T, hs)
        return self.resid_drop(self.proj(merge_heads(heads, rows if x_q.dim() == 2 else None)))


class SynthesizerAttention(nn.Module):
    """
    Attention without queries and keys: softmax(ReLU(X A_i + b_1) B + b_2) (X V_i) for head i, then
    a projection.

    `w1` holds all A_i and b_1, `w2` is B and `b2` is b_2; the heads share both. Column s of B
    scores position s.
    """

    supports_packing = supports_kv_cache = True
    editions = (2021,)

    def __init__(self, config):
        """As CausalSelfAttention."""
        super().__init__()
        self.n_head, self.max_positions = config.n_head, config.block_size - 1
        self.w1 = nn.Linear(config.n_embd, config.n_embd)
        w2 = torch.empty(head_size(config), config.block_size - 1)
        self.w2 = nn.Parameter(w2.uniform_(-0.001, 0.001))
        self.b2 = nn.Parameter(torch.zeros(config.block_size - 1))
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.register_buffer("mask", causal_mask(config.block_size))

    def forward(self, x: torch.Tensor, layer_past=None, rows=None) -> torch.Tensor:
        """x (B, T, C) → (B, T, C), for every T up to block_size - 1, the columns of w2."""
        a, v = project_heads(x, (self.w1, self.value), self.n_head, rows)  # (B, nh, T, hs)
        if layer_past is not None:
            (v,) = layer_past.extend(v)  # (B, nh, S, hs)
        S = v.size(2)
        mask = attention_mask(self.mask, S, self.max_positions, layer_past)
        scores = F.relu(a) @ self.w2[:, :S]  # (B, nh, T, S)
        scores.add_((self.b2[:S] + additive_mask(mask, self.b2.dtype)).to(scores.dtype))
        heads = self.attn_drop(F.softmax(scores, dim=-1)) @ v  # (B, nh, T, hs)
        return self.resid_drop(self.proj(merge_heads(heads, rows)))


# Every variant by its name on the command line, which is also the name of its flag in GPTConfig.
VARIANTS = {
    "vanilla": CausalSelfAttention,
    "synthesizer": SynthesizerAttention,
    "rope": RotaryAttention,
    "perceiver": PerceiverAttention,
}


def variant_of(config) -> str:
    """
    The name in VARIANTS of the attention that a config asks for, by a flag of that name such as
    config.synthesizer = True; "vanilla" without a flag. Raises ValueError for two flags, or for
    `additive`, the flag of a course assignment that has no class here.
    """
    chosen = [name for name in ("additive", *VARIANTS) if getattr(config, name, False)]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} are both set; a model has one attention")
    name = chosen[0] if chosen else "vanilla"
    if name not in VARIANTS:
        raise ValueError(f"there is no attention {name!r} here, only {', '.join(VARIANTS)}")
    return name


def precompute_rotary_emb(dim: int, max_positions: int) -> torch.Tensor:
    """
    cos and sin of the angles of apply_rotary_emb(): (max_positions, dim / 2, 2), the last axis
    (cos, sin). Pair i = 0 … dim/2 - 1 of the channels turns by t · 10000^(-2i / dim) radians at
    position t = 0, 1 … Raises ValueError if dim, the size of a head, is odd.
    """
    if dim % 2 != 0:
        raise ValueError(f"rotary positions turn pairs of channels, but a head has {dim}")
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.arange(max_positions)[:, None] * frequencies  # (max_positions, dim / 2)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def apply_rotary_emb(x: torch.Tensor, rope_cache: torch.Tensor) -> torch.Tensor:
    """
    Rotates each pair of neighbouring channels of x (B, nh, T, hs) by its position's angle; the
    same shape and type.

    rope_cache: precompute_rotary_emb(), (T or more, hs / 2, 2), for positions 0 … T-1; or
    (B, 1, T, hs / 2, 2), for each row's own positions. Raises ValueError for more positions than
    rope_cache has.
    """
    T, max_positions = x.size(-2), rope_cache.size(-3)
    if T > max_positions:
        raise ValueError(f"{T} positions, but this attention takes {max_positions} at most")
    # A rotation is a product of complex numbers, (first + i second) · (cos + i sin), which is
    # faster than its four real products. In float32, or the more precise of both types.
    dtype = torch.promote_types(torch.promote_types(x.dtype, rope_cache.dtype), torch.float32)
    # (B, nh, T, hs / 2) and (T, hs / 2):
    pairs = torch.view_as_complex(x.to(dtype).unflatten(-1, (-1, 2)).contiguous())
    turns = torch.view_as_complex(rope_cache[..., :T, :, :].to(dtype).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def attention_mask(
    mask: torch.Tensor, S: int, max_positions: int, layer_past=None
) -> torch.Tensor:
    """
    Which of S positions each of T new ones may attend to: 1 or 0, (1 or B, 1, T, S). mask: see
    causal_mask(). Raises ValueError if S is above max_positions, the most that the attention can
    take.
    """
    if S > max_positions:
        raise ValueError(f"{S} positions, but this attention takes {max_positions} at most")
    return mask[:, :, :S, :S] if layer_past is None else layer_past.mask


def head_size(config) -> int:
    """hs, the channels of one head. Raises ValueError unless n_head divides n_embd."""
    if config.n_embd % config.n_head != 0:
        raise ValueError(
            f"n_embd is {config.n_embd}, which n_head = {config.n_head} does not divide"
        )
    return config.n_embd // config.n_head


def causal_mask(block_size: int) -> torch.Tensor:
    """(1, 1, block_size, block_size): 1 where row t may attend to column s ≤ t, else 0."""
    return torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size)


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """
    What to add to scores: -inf, for a weight of 0, where mask is 0; else 0. The mask's shape.
    """
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask == 0, float("-inf"))


def masked_scores(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """
    q kᵀ / √hs for q (B, nh, T, hs) and k (B, nh, S, hs), but -inf where mask (1 or B, 1, T, S) is
    0: (B, nh, T, S). One operation, since each further pass over the scores costs as much as the
    matmul.
    """
    B, nh, T, hs = q.size()
    mask = additive_mask(mask, q.dtype).expand(B, nh, -1, -1).flatten(0, 1)
    q, k = q.flatten(0, 1), k.flatten(0, 1)
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(hs))
    return scores.view(B, nh, T, k.size(1))


def project_heads(
    x: torch.Tensor, layers: tuple[nn.Linear, ...], n_head: int, rows=None
) -> tuple[torch.Tensor, ...]:
    """
    The output of each of the linear layers for x (B, T, C), or packed (N, C), in heads: tensors
    (B, nh, T, hs).
    """
    if x.dim() == 3:
        return tuple(split_heads(layer(x), n_head) for layer in layers)
    # Packed: one matmul for all layers, and one move to put padding back.
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return rows.pad(F.linear(x, weight, bias), len(layers), n_head).unbind(0)


def split_heads(x: torch.Tensor, n_head: int) -> torch.Tensor:
    """(B, T, C) → (B, nh, T, hs)."""
    B, T, C = x.size()
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def merge_heads(x: torch.Tensor, rows=None) -> torch.Tensor:
    """(B, nh, T, hs) → (B, T, C), or packed (N, C)."""
    if rows is not None:
        return rows.unpad(x)
    B, nh, T, hs = x.size()
    return x.transpose(1, 2).reshape(B, T, nh * hs)
