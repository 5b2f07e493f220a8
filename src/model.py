"""
GPT: a stack of Transformer blocks that reads ids and predicts the next id at every position.

As in minGPT (https://github.com/karpathy/minGPT) and GPT-2 (Radford et al. 2019), with the layer norms before attention
and MLP. The attention of the blocks is one of attention.VARIANTS.

Shapes: B batch, T positions, C = n_embd channels, V = vocab_size; N tokens of a batch without its padding.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from attention import VARIANTS, variant_of
from packing import IGNORED_TARGET, PackedRows


class GPTConfig:
    """
    The sizes and dropout rates of a GPT, and which attention it has.

    vocab_size, block_size: ids, and positions at the most. As keywords: n_layer, n_head, n_embd; embd_pdrop, resid_pdrop,
    attn_pdrop (dropout probabilities of the embedding sum, of what a layer adds, of the attention weights); and the name
    of an attention variant = True, for example synthesizer=True. Without one it is vanilla. Raises TypeError for a
    setting that does not exist and ValueError for one out of range.
    """

    embd_pdrop = 0.1
    resid_pdrop = 0.1
    attn_pdrop = 0.1
    additive = False
    synthesizer = False

    SIZES = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
    RATES = ("embd_pdrop", "resid_pdrop", "attn_pdrop")

    def __init__(self, vocab_size, block_size, **kwargs):
        settings = {"vocab_size": vocab_size, "block_size": block_size, **kwargs}
        flags = {"additive", *VARIANTS}
        for name, value in settings.items():
            if name in self.SIZES:
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ValueError(f"GPTConfig: {name} is {value!r}; a whole number of at least 1 is expected")
            elif name in self.RATES:
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                    raise ValueError(f"GPTConfig: {name} is {value!r}; a probability in [0, 1) is expected")
            elif name in flags:
                if not isinstance(value, bool):
                    raise ValueError(f"GPTConfig: {name} is {value!r}; True or False is expected")
            else:
                known = ", ".join([*self.SIZES, *self.RATES, *sorted(flags)])
                raise TypeError(f"GPTConfig: there is no setting {name!r}; there are {known}")
            setattr(self, name, value)
        variant_of(self)  # two of them, or one that does not exist: say so now


class GPT1Config(GPTConfig):
    """The sizes of GPT-1 (Radford et al. 2018), about 125 million parameters."""
    n_layer = 12
    n_head = 12
    n_embd = 768


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + MLP(norm(x)). (B, T, C) → (B, T, C), or packed rows: (N, C) → (N, C)."""

    def __init__(self, config):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = VARIANTS[variant_of(config)](config)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.GELU(),  # the exact one, with erf
            nn.Linear(4 * config.n_embd, config.n_embd),
            nn.Dropout(config.resid_pdrop),
        )

    def forward(self, x, rows=None, **context):
        """rows and, in context, layer_past: see attention.py. Of packed rows only the tokens that they keep come out."""
        if rows is None:
            x = x + self.attn(self.ln1(x), **context)
        else:
            x = rows.keep(x) + self.attn(self.ln1(x), rows=rows)
        x = x + self.mlp(self.ln2(x))
        return x


class GPT(nn.Module):
    """The full language model: embeddings of id and position, the blocks, and a linear layer to scores of the next id."""

    def __init__(self, config):
        super().__init__()
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.block_size = config.block_size
        self.max_positions = min(block.attn.max_positions for block in self.blocks)
        # Whether loss_only and past may be asked of forward(): an attention of one's own need not know how.
        self.packs_and_caches = all(getattr(block.attn, "packs_and_caches", False) for block in self.blocks)
        self.apply(self._init_weights)
        print(f"number of parameters: {sum(p.numel() for p in self.parameters())}")

    @staticmethod
    def _init_weights(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        # LayerNorm starts at weight 1 and bias 0, the positions at 0, and the synthesizer sets its own w2 and b2.

    def get_block_size(self):
        return self.block_size

    def forward(self, idx, targets=None, loss_only=False, past=None):
        """
        idx: ids (B, T), T ≤ max_positions (block_size; one less for the synthesizer). targets: ids (B, T) that follow each
        position, 0 (PAD) where none counts, or None. past: a cache of what stands before idx (decoding.Past), or None.

        Returns logits (B, T, V) and the mean cross-entropy in nats over the targets that are not 0, or None. With loss_only
        it returns None and the same loss, and computes nothing that the loss does not depend on.
        """
        if loss_only:
            return None, self.loss(idx, targets)
        T = idx.size(1)
        if T > self.max_positions:
            raise ValueError(f"{T} positions, but this model takes {self.max_positions} at most "
                             f"(block_size is {self.block_size})")
        positions = self.pos_emb[:, :T, :] if past is None else self.pos_emb[0, past.advance(T)]
        x = self.drop(self.tok_emb(idx) + positions)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x) if past is None else block(x, layer_past=past.layers[layer])
        logits = self.head(self.ln_f(x))              # (B, T, V)
        loss = None
        if targets is not None:
            # In the type of x, which is full precision even where autocast rounds the products.
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)).to(x.dtype), targets.reshape(-1), ignore_index=IGNORED_TARGET)
        return logits, loss

    def loss(self, idx, targets):
        """
        The mean cross-entropy of forward(idx, targets), ids (B, T) both, of which at least one target is not 0.

        No padding is computed (packing.py), and of the last layer's attention only what is asked for by a target goes on:
        in finetuning that is the answer alone.
        """
        rows = PackedRows(targets, self.max_positions)
        x = self.tok_emb(rows.ids(idx)) + F.embedding(rows.positions, self.pos_emb[0])
        x = self.drop(x)                              # (N, C)
        for block in self.blocks[:-1]:
            x = block(x, rows=rows)
        rows = rows.counted()
        x = self.blocks[-1](x, rows=rows)
        logits = self.head(self.ln_f(x))              # (targets, V)
        return F.cross_entropy(logits.to(x.dtype), rows.targets, ignore_index=IGNORED_TARGET)
