"""
GPT: a stack of Transformer blocks that reads ids and predicts the next id at every position.

As in minGPT (https://github.com/karpathy/minGPT) and GPT-2 (Radford et al. 2019), with the layer norms before attention
and MLP. The attention of the blocks is one of attention.VARIANTS.

Shapes: B batch, T positions, C = n_embd channels, V = vocab_size.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from attention import VARIANTS, variant_of

IGNORED_TARGET = 0  # the id of PAD: positions with this target add nothing to the loss


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
    """One layer: x + attention(norm(x)), then x + MLP(norm(x)). (B, T, C) → (B, T, C)."""

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

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
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

    def forward(self, idx, targets=None):
        """
        idx: ids (B, T), T ≤ max_positions (block_size; one less for the synthesizer). targets: ids (B, T) that follow each
        position, 0 (PAD) where none counts, or None.

        Returns logits (B, T, V) and the mean cross-entropy in nats over the targets that are not 0, or None.
        """
        T = idx.size(1)
        if T > self.max_positions:
            raise ValueError(f"{T} positions, but this model takes {self.max_positions} at most "
                             f"(block_size is {self.block_size})")
        x = self.drop(self.tok_emb(idx) + self.pos_emb[:, :T, :])  # (B, T, C)
        logits = self.head(self.ln_f(self.blocks(x)))              # (B, T, V)
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=IGNORED_TARGET)
        return logits, loss
