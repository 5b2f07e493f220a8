"""
GPT: a stack of Transformer blocks that reads ids and predicts the next id at every position.

As in minGPT (https://github.com/karpathy/minGPT) and GPT-2 (Radford et al. 2019), with layer norms
before attention and MLP. The attention of the blocks is one of attention.VARIANTS.

Shapes: B batch, T positions, C = n_embd channels, V = vocab_size; N tokens of a batch without
padding; m = bottleneck_dim positions of the perceiver's bottleneck.
"""

import copy
from numbers import Integral, Real

import torch
import torch.nn as nn
import torch.nn.functional as F

from attention import VARIANTS, CausalCrossAttention, variant_of
from fast.packing import IGNORED_TARGET, PackedRows


class GPTConfig:
    """
    The sizes and dropout rates of a GPT, and which attention it has.

    vocab_size, block_size: ids, and positions at most. As keywords: n_layer, n_head, n_embd;
    embd_pdrop, resid_pdrop, attn_pdrop (dropout probabilities of the embeddings' sum, of a layer's
    output, of the attention weights); the name of an attention variant = True, for example
    synthesizer=True, without one it is vanilla; and bottleneck_dim, positions of the perceiver's
    bottleneck (None: BOTTLENECK_DIM, or block_size if that is less).

    A setting can also be assigned afterwards, as the course's code does. Raises TypeError for a
    setting that does not exist and ValueError for one out of range.
    """

    embd_pdrop = 0.1
    resid_pdrop = 0.1
    attn_pdrop = 0.1
    additive = False
    bottleneck_dim = None

    BOTTLENECK_DIM = 32
    SIZES = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
    RATES = ("embd_pdrop", "resid_pdrop", "attn_pdrop")

    def __init__(self, vocab_size: int, block_size: int, **kwargs):
        for name, value in {"vocab_size": vocab_size, "block_size": block_size, **kwargs}.items():
            setattr(self, name, value)

    def __init_subclass__(cls):
        """A subclass may set settings as class attributes, as GPT1Config does: checked as well."""
        for name, value in vars(cls).items():
            if name[0] == "_" or hasattr(value, "__get__"):  # a method or a property
                continue
            setattr(GPTConfig(1, 1), name, value)

    def __setattr__(self, name, value):
        if name in self.SIZES:
            fits = is_number(value, Integral) and value >= 1
            expected = "a whole number of at least 1"
        elif name == "bottleneck_dim":
            fits = value is None or (is_number(value, Integral) and value >= 1)
            expected = "None or a whole number of at least 1"
        elif name in self.RATES:
            fits, expected = is_number(value, Real) and 0 <= value < 1, "a probability in [0, 1)"
        elif name == "additive" or name in VARIANTS:
            fits, expected = value in (True, False, None), "True or False"  # and so 1, 0
            value = bool(value) if fits else value
        else:
            known = ", ".join((*self.SIZES, *self.RATES, "bottleneck_dim", "additive", *VARIANTS))
            raise TypeError(f"GPTConfig: there is no setting {name!r}; there are {known}")
        if not fits:
            raise ValueError(f"GPTConfig: {name} is {value!r}; {expected} is expected")
        before = getattr(self, name, None)
        super().__setattr__(name, value)
        try:
            variant_of(self)  # two flags, or one without a class here: say so now
        except ValueError:
            super().__setattr__(name, before)
            raise


for _variant in VARIANTS:
    setattr(GPTConfig, _variant, False)  # the default of each flag


def is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class GPT1Config(GPTConfig):
    """The sizes of GPT-1 (Radford et al. 2018), about 125 million parameters."""

    n_layer = 12
    n_head = 12
    n_embd = 768


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + MLP(norm(x)). (B, T, C) → (B, T, C)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = VARIANTS[variant_of(config)](config)
        self.mlp = mlp(config)

    def forward(self, x: torch.Tensor, rows: PackedRows | None = None, **context) -> torch.Tensor:
        """
        rows and, in context, layer_past: see attention.py. Of packed rows, (N, C), only the tokens
        that they select come out.
        """
        if rows is None:
            x = x + self.attn(self.ln1(x), **context)
        else:
            x = rows.select(x) + self.attn(self.ln1(x), rows=rows)
        x = x + self.mlp(self.ln2(x))
        return x


def mlp(config: GPTConfig) -> nn.Sequential:
    """Two linear layers around a GELU: (…, C) → (…, C)."""
    return nn.Sequential(
        nn.Linear(config.n_embd, 4 * config.n_embd),
        nn.GELU(),  # the exact one, with erf
        nn.Linear(4 * config.n_embd, config.n_embd),
        nn.Dropout(config.resid_pdrop),
    )


class DownProjectBlock(nn.Module):
    """
    The perceiver's first layer (handout part g, 2023): m learned positions C read the text by
    cross-attention. y = attention of queries from norm(C) to keys and values from x, then
    y + MLP(norm(y)). (B, T, C) → (B, m, C).
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.C = nn.Parameter(torch.empty(1, bottleneck_dim(config), config.n_embd))
        nn.init.xavier_uniform_(self.C)
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = CausalCrossAttention(config)
        self.mlp = mlp(config)

    def forward(self, x_input: torch.Tensor, rows: PackedRows | None = None) -> torch.Tensor:
        """
        Of packed rows, (N, C), the positions of C beyond the longest are left out: no target
        depends on them.
        """
        C = self.C if rows is None else self.C[:, : rows.padded_shape[1]]
        y = self.attn(x_input, self.ln1(C), rows).to(x_input.dtype)  # under autocast, too
        return y + self.mlp(self.ln2(y))


class UpProjectBlock(nn.Module):
    """
    The perceiver's last layer: the text reads the bottleneck by cross-attention.
    x = x_input + attention of queries from x_input to keys and values from norm(y), then
    x + MLP(norm(x)). (B, m, C), (B, T, C) → (B, T, C).
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = CausalCrossAttention(config)
        self.mlp = mlp(config)

    def forward(
        self, y: torch.Tensor, x_input: torch.Tensor, rows: PackedRows | None = None
    ) -> torch.Tensor:
        """Of packed rows, (N, C), only the tokens that they select come out."""
        x = x_input if rows is None else rows.select(x_input)
        x = x + self.attn(self.ln1(y), x_input, rows)
        return x + self.mlp(self.ln2(x))


def bottleneck_dim(config: GPTConfig) -> int:
    """m. Raises ValueError if it is above block_size."""
    m, block_size = getattr(config, "bottleneck_dim", None), config.block_size
    if m is None:
        return min(GPTConfig.BOTTLENECK_DIM, block_size)
    if m > block_size:
        raise ValueError(f"bottleneck_dim is {m}, above block_size, which is {block_size}")
    return m


class GPT(nn.Module):
    """The language model: embeddings of id and position, the blocks, a linear layer to logits."""

    def __init__(self, config: GPTConfig):
        """Raises ValueError for a size that the config lacks."""
        super().__init__()
        missing = [name for name in GPTConfig.SIZES if not hasattr(config, name)]
        if missing:
            raise ValueError(f"the configuration lacks {', '.join(missing)}")
        attention = VARIANTS[variant_of(config)]
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = None
        if getattr(attention, "learned_positions", True):
            self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.has_bottleneck = getattr(attention, "has_bottleneck", False)
        inner, n_layer = config, config.n_layer  # of the blocks between the perceiver's two
        if self.has_bottleneck:
            if n_layer < 2:
                raise ValueError(f"n_layer is {n_layer}; the perceiver has at least 2 layers")
            self.down_block, self.up_block = DownProjectBlock(config), UpProjectBlock(config)
            inner, n_layer = copy.copy(config), n_layer - 2
            inner.block_size = bottleneck_dim(config)
        self.blocks = nn.Sequential(*[Block(inner) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.max_positions = self.block_size = config.block_size
        if not self.has_bottleneck:
            self.max_positions = getattr(self.blocks[0].attn, "max_positions", self.block_size)
        self.supports_packing = getattr(attention, "supports_packing", False)
        self.supports_kv_cache = getattr(attention, "supports_kv_cache", False)
        self.apply(self._init_weights)
        print(f"number of parameters: {sum(p.numel() for p in self.parameters())}")

    @staticmethod
    def _init_weights(module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        # LayerNorm starts at weight 1 and bias 0, pos_emb at 0; an attention and DownProjectBlock
        # set what else they have.

    def get_block_size(self) -> int:
        return self.block_size

    def forward(
        self,
        idx: torch.Tensor,
        targets: torch.Tensor | PackedRows | None = None,
        loss_only: bool = False,
        kv_cache=None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """
        idx: ids (B, T), T ≤ max_positions (block_size; one less for the synthesizer). targets: the
        ids (B, T) that follow each position, 0 (PAD) where none counts, or None. kv_cache: a
        fast.kv_cache.KVCache of what stands before idx, or None; supports_kv_cache tells whether
        it may be given.

        Returns logits (B, T, V) and the mean cross-entropy in nats over the targets that are not
        0, or None. With loss_only (if supports_packing) it returns None and the same loss, and
        computes nothing on which the loss does not depend; targets may then also be PackedRows,
        and idx their ids (N). Raises ValueError for too long rows.
        """
        if loss_only and not self.supports_packing:
            raise ValueError("this model's attention takes no loss_only")
        if loss_only:
            return None, self.loss(idx, targets)
        if targets is not None and targets.shape != idx.shape:
            raise ValueError(
                f"x has the shape {tuple(idx.shape)}, and its targets {tuple(targets.shape)}"
            )
        T = idx.size(1)
        self._check_positions(T)
        if kv_cache is not None and not self.supports_kv_cache:
            raise ValueError("this model's attention takes no kv_cache")
        if self.has_bottleneck:
            x_input = self._embed(idx)
            x = self.up_block(self.blocks(self.down_block(x_input)), x_input)
        elif kv_cache is None:
            x = self.blocks(self._embed(idx))  # (B, T, C)
        else:
            kv_cache.advance(T)
            self._check_positions(kv_cache.used)
            x = self._embed(idx, kv_cache.positions)
            for block, layer_past in zip(self.blocks, kv_cache.layers, strict=True):
                x = block(x, layer_past=layer_past)
        logits = self.head(self.ln_f(x))  # (B, T, V)
        loss = None
        if targets is not None:
            # In the type of x: full precision, also where autocast rounds the matmuls.
            logits_of_all = logits.view(-1, logits.size(-1)).to(x.dtype)
            loss = F.cross_entropy(logits_of_all, targets.reshape(-1), ignore_index=IGNORED_TARGET)
        return logits, loss

    def _check_positions(self, count):
        if count > self.max_positions:
            raise ValueError(
                f"{count} positions, but this model takes {self.max_positions} at most "
                f"(block_size is {self.block_size})"
            )

    def loss(self, idx: torch.Tensor, targets: torch.Tensor | PackedRows) -> torch.Tensor:
        """
        The loss of forward(idx, targets), ids (B, T) both, of which at least one target is not 0;
        or of PackedRows and their ids (N).

        No padding is computed (fast/packing.py), and after the last layer's attention only the
        positions that have a target: in finetuning the answer alone.
        """
        rows = targets
        if not isinstance(rows, PackedRows):
            rows = PackedRows(targets, self.max_positions)
            idx = rows.ids(idx)
        last_rows = rows.with_targets_only()
        x = self._embed(idx, rows.positions)  # (N, C)
        if self.has_bottleneck:
            x = self.up_block(self.blocks(self.down_block(x, rows)), x, last_rows)
        else:
            for block in self.blocks[:-1]:
                x = block(x, rows=rows)
            x = self.blocks[-1](x, rows=last_rows)
        logits = self.head(self.ln_f(x))  # (N, V), of the tokens with a target
        return F.cross_entropy(logits.to(x.dtype), last_rows.targets, ignore_index=IGNORED_TARGET)

    def _embed(self, ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """
        The blocks' input for ids at these positions, of the same shape; None if ids are (B, T),
        from position 0 on.
        """
        x = self.tok_emb(ids)
        if self.pos_emb is not None and positions is None:
            x = x + self.pos_emb[:, : ids.size(1)]
        elif self.pos_emb is not None:
            x = x + F.embedding(positions, self.pos_emb[0])
        return self.drop(x)
