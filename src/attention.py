"""
Causal self-attention in the variants that the assignment compares:

- CausalSelfAttention, the usual one: a position attends by the products of its query with the keys before it
  (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2);
- SynthesizerAttention, part (g): a position's weights are computed from that position alone, without a look at the
  others (the dense synthesizer of Tay et al. 2020, https://arxiv.org/abs/2005.00743, section 3.1).

A further variant is a class like these and its line in VARIANTS; command line, configuration and model follow from that.
An autograder may take this module alone: it imports nothing else of the project.

Shapes: B batch, T positions, C = n_embd channels, nh heads, hs = C / nh channels of a head; S positions that are looked at,
which is T but where a cache holds earlier ones.

Both variants have forward(x, layer_past=None, rows=None):

    x           (B, T, C) → the same shape
    layer_past  None, or the cache of an answer that is written character by character (decoding.LayerPast): it holds the
                keys and values of earlier positions, and x only the new ones
    rows        None, or packing.PackedRows: x is then (N, C), the rows' tokens one after another without padding

One that makes use of both says so by packs_and_caches = True; another attention is trained and asked without them.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalSelfAttention(nn.Module):
    """Multi-head attention with a causal mask: softmax(Q Kᵀ / √hs) V for each head, then a projection."""

    packs_and_caches = True

    def __init__(self, config):
        """config has n_embd, n_head, block_size, attn_pdrop and resid_pdrop; n_head must divide n_embd."""
        super().__init__()
        self.n_head, self.max_positions = config.n_head, config.block_size
        head_size(config)
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.register_buffer("mask", causal_mask(config.block_size))

    def forward(self, x, layer_past=None, rows=None):
        """x (B, T, C) → (B, T, C), for every T up to block_size."""
        q, k, v = heads_of(x, (self.query, self.key, self.value), self.n_head, rows)                     # (B, nh, T, hs)
        if layer_past is not None:
            k, v = layer_past.extend(k, v)                                                              # (B, nh, S, hs)
        mask = visible(self.mask, k.size(2), self.max_positions, layer_past)
        weights = self.attn_drop(F.softmax(masked_scores(q, k, mask), dim=-1))                          # (B, nh, T, S)
        return self.resid_drop(self.proj(merge_heads(weights @ v, rows)))


class SynthesizerAttention(nn.Module):
    """
    Attention without query-key products: softmax(ReLU(X A_i + b_1) B + b_2) (X V_i) for head i, then a projection.

    `w1` holds all A_i and b_1, `w2` is B and `b2` is b_2; the heads share both. Column s of B scores position s.
    """

    packs_and_caches = True

    def __init__(self, config):
        """config has n_embd, n_head, block_size, attn_pdrop and resid_pdrop; n_head must divide n_embd."""
        super().__init__()
        self.n_head, self.max_positions = config.n_head, config.block_size - 1
        self.w1 = nn.Linear(config.n_embd, config.n_embd)
        self.w2 = nn.Parameter(torch.empty(head_size(config), config.block_size - 1).uniform_(-0.001, 0.001))
        self.b2 = nn.Parameter(torch.zeros(config.block_size - 1))
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.register_buffer("mask", causal_mask(config.block_size))

    def forward(self, x, layer_past=None, rows=None):
        """x (B, T, C) → (B, T, C), for every T up to block_size - 1, the columns of w2."""
        a, v = heads_of(x, (self.w1, self.value), self.n_head, rows)                                     # (B, nh, T, hs)
        if layer_past is not None:
            v, = layer_past.extend(v)                                                                   # (B, nh, S, hs)
        S = v.size(2)
        mask = visible(self.mask, S, self.max_positions, layer_past)
        scores = F.relu(a) @ self.w2[:, :S]                                                             # (B, nh, T, S)
        scores.add_((self.b2[:S] + additive_mask(mask, self.b2.dtype)).to(scores.dtype))  # one pass, in one type
        weights = self.attn_drop(F.softmax(scores, dim=-1))
        return self.resid_drop(self.proj(merge_heads(weights @ v, rows)))


# Every variant by its name on the command line, which is also the name of its flag in GPTConfig.
VARIANTS = {
    "vanilla": CausalSelfAttention,
    "synthesizer": SynthesizerAttention,
}


def variant_of(config):
    """
    The name in VARIANTS of the attention that a config asks for by a flag of that name, for example config.synthesizer
    = True; "vanilla" without a flag. Raises ValueError for two flags, or for `additive`, which has no class here.
    """
    chosen = [name for name in ("additive", *VARIANTS) if getattr(config, name, False)]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} are both set; a model has one attention")
    name = chosen[0] if chosen else "vanilla"
    if name not in VARIANTS:
        raise ValueError(f"there is no attention {name!r} here, only {', '.join(VARIANTS)}")
    return name


def visible(mask, S, most, layer_past):
    """
    Which of S positions each of T new ones may look at: 1 or 0, (1 or B, 1, T, S). Raises ValueError if S is more than `most`,
    for which the attention has a mask or scores.
    """
    if S > most:
        raise ValueError(f"{S} positions, but this attention takes {most} at most")
    return mask[:, :, :S, :S] if layer_past is None else layer_past.visible


def head_size(config):
    """hs, the channels of one head. Raises ValueError if the heads do not share the channels evenly."""
    if config.n_embd % config.n_head != 0:
        raise ValueError(f"n_embd is {config.n_embd}, which n_head = {config.n_head} does not divide")
    return config.n_embd // config.n_head


def causal_mask(block_size):
    """(1, 1, block_size, block_size): 1 where row t may attend to column s ≤ t, else 0. A buffer of the state dict."""
    return torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size)


def additive_mask(mask, dtype):
    """What to add to scores: -inf, of which softmax makes 0, where mask is 0, and 0 elsewhere. In the shape of mask."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask == 0, float("-inf"))


def masked_scores(q, k, mask):
    """
    q kᵀ / √hs for q (B, nh, T, hs) and k (B, nh, S, hs), but -inf where mask (1 or B, 1, T, S) is 0: (B, nh, T, S). In one
    operation, since each further pass over the scores takes about as long as the product itself.
    """
    B, nh, T, hs = q.size()
    mask = additive_mask(mask, q.dtype).expand(B, nh, -1, -1).flatten(0, 1)
    product = torch.baddbmm(mask, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=1 / math.sqrt(hs))
    return product.view(B, nh, T, k.size(2))


def heads_of(x, layers, n_head, rows=None):
    """What each of the linear layers makes of x (B, T, C), split into heads: tensors (B, nh, T, hs)."""
    if rows is None:
        return [split_heads(layer(x), n_head) for layer in layers]
    # x is packed, (N, C). One matrix product for all layers, and one way to lay them out.
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    return rows.lay_out(F.linear(x, weight, bias), len(layers), n_head).unbind(0)


def split_heads(x, n_head):
    """(B, T, C) → (B, nh, T, hs)."""
    B, T, C = x.size()
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def merge_heads(x, rows=None):
    """(B, nh, T, hs) → (B, T, C), or packed (N, C)."""
    if rows is not None:
        return rows.pack(x)
    B, nh, T, hs = x.size()
    return x.transpose(1, 2).reshape(B, T, nh * hs)
