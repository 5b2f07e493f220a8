"""
The baseline: the experiment as the course's code runs it. The benchmark times it, and tests
compare src/ with it.

A DataLoader with worker processes makes single items. Rows are padded to the block size, numbers
are float32, dropout is torch's, and evaluation asks one question at a time without a KV cache.
Unlike reference.py it uses whole tensors and torch's operations, so it is as fast as this way can
be. It imports nothing from src/. Its parameters have the same names, so state dicts interchange.

Shapes: B batch, T positions, C = n_embd, nh = n_head, hs = C / nh, V vocabulary.
"""

import math
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from reference import MASK, PAD, corrupt, learning_rate, name_example


class BaselineAttention(nn.Module):
    """
    Causal softmax(Q Kᵀ / √hs) V; as synthesizer softmax(ReLU(X A + b_1) B + b_2) V; as rope with Q
    and K rotated, as complex numbers. Queries come from x_q if it is given.
    """

    def __init__(self, n_embd, n_head, block_size, dropout, variant):
        super().__init__()
        self.n_head, self.synthesizer, self.rope = (
            n_head,
            variant == "synthesizer",
            variant == "rope",
        )
        if self.rope:
            frequencies = 10000 ** (-2 * torch.arange(n_embd // n_head // 2) / (n_embd // n_head))
            angles = torch.outer(torch.arange(block_size), frequencies)
            self.register_buffer("rope_cache", torch.view_as_real(torch.exp(1j * angles)))
        if self.synthesizer:
            self.w1 = nn.Linear(n_embd, n_embd)
            self.w2 = nn.Parameter(
                torch.empty(n_embd // n_head, block_size - 1).uniform_(-0.001, 0.001)
            )
            self.b2 = nn.Parameter(torch.zeros(block_size - 1))
        else:
            self.key = nn.Linear(n_embd, n_embd)
            self.query = nn.Linear(n_embd, n_embd)
        self.value = nn.Linear(n_embd, n_embd)
        self.attn_drop = nn.Dropout(dropout)
        self.resid_drop = nn.Dropout(dropout)
        self.proj = nn.Linear(n_embd, n_embd)
        self.register_buffer("mask", torch.ones(block_size, block_size).tril()[None, None])

    def heads(self, x):
        """(B, T, C) → (B, nh, T, hs)."""
        return x.unflatten(-1, (self.n_head, -1)).transpose(1, 2)

    def rotate(self, x):
        """x (B, nh, T, hs), each pair of channels times e^(i angle)."""
        turns = torch.view_as_complex(self.rope_cache[: x.size(2)])
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turns).flatten(-2)

    def forward(self, x, x_q=None):
        x_q = x if x_q is None else x_q
        T, S = x_q.size(1), x.size(1)
        v = self.heads(self.value(x))
        if self.synthesizer:
            scores = F.relu(self.heads(self.w1(x))) @ self.w2[:, :T] + self.b2[:T]
        else:
            q, k = self.heads(self.query(x_q)), self.heads(self.key(x))
            if self.rope:
                q, k = self.rotate(q), self.rotate(k)
            scores = q @ k.transpose(-2, -1) / math.sqrt(v.size(-1))
        scores = scores.masked_fill(self.mask[:, :, :T, :S] == 0, -math.inf)  # (B, nh, T, S)
        y = self.attn_drop(F.softmax(scores, dim=-1)) @ v
        return self.resid_drop(self.proj(y.transpose(1, 2).flatten(2)))


class BaselineBlock(nn.Module):
    """x + attention(ln1(x)), then x + MLP(ln2(x))."""

    def __init__(self, n_embd, n_head, block_size, dropout, variant):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = BaselineAttention(n_embd, n_head, block_size, dropout, variant)
        self.mlp = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd),
            nn.GELU(),
            nn.Linear(4 * n_embd, n_embd),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class BaselineDownBlock(BaselineBlock):
    """The perceiver's first layer: m learned positions C read x."""

    def __init__(self, n_embd, n_head, block_size, dropout, m):
        super().__init__(n_embd, n_head, block_size, dropout, "perceiver")
        self.C = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, m, n_embd)))

    def forward(self, x):
        y = self.attn(x, self.ln1(self.C).expand(len(x), -1, -1))
        return y + self.mlp(self.ln2(y))


class BaselineUpBlock(BaselineBlock):
    """The perceiver's last layer: x reads the bottleneck y."""

    def forward(self, y, x):
        x = x + self.attn(self.ln1(y), x)
        return x + self.mlp(self.ln2(x))


class BaselineGPT(nn.Module):
    """idx (B, T) → logits (B, T, V), and the mean cross-entropy of targets that are not 0."""

    def __init__(
        self,
        vocab_size,
        block_size,
        n_layer,
        n_head,
        n_embd,
        dropout=0.1,
        variant="vanilla",
        bottleneck_dim=32,
    ):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, n_embd)
        self.pos_emb = None
        if variant != "rope":
            self.pos_emb = nn.Parameter(torch.zeros(1, block_size, n_embd))
        self.drop = nn.Dropout(dropout)
        sizes = n_embd, n_head, block_size, dropout
        self.down_block = None
        if variant == "perceiver":
            m = min(bottleneck_dim, block_size)
            self.down_block = BaselineDownBlock(*sizes, m)
            self.up_block = BaselineUpBlock(*sizes, variant)
            sizes, n_layer = (n_embd, n_head, m, dropout), n_layer - 2
        self.blocks = nn.Sequential(*[BaselineBlock(*sizes, variant) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.weight.data.normal_(mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.data.zero_()

    def forward(self, idx, targets=None):
        x = self.tok_emb(idx)
        if self.pos_emb is not None:
            x = x + self.pos_emb[:, : idx.size(1)]
        x = self.drop(x)
        if self.down_block is None:
            x = self.blocks(x)
        else:
            x = self.up_block(self.blocks(self.down_block(x)), x)
        logits = self.head(self.ln_f(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


class BaselineItems(Dataset):
    """LongTensors (x, y) of the strings that make(index) returns."""

    def __init__(self, count, make, stoi):
        self.count, self.make, self.stoi = count, make, stoi

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return tuple(
            torch.tensor([self.stoi[char] for char in text], dtype=torch.long)
            for text in self.make(index)
        )


def baseline_documents(text, block_size):
    """The documents of a corpus, corrupted as in src/dataset.py with numbers of `random`."""
    documents = text.split("\n")

    def make(index):
        document = documents[index]
        length = min(len(document), random.randint(4, int(block_size * 7 / 8)))
        masked = int(length / 4 + random.uniform(-1, 1) * max(length / 4 - 1, 0) + random.random())
        return corrupt(document, length, masked, random.randint(0, length - masked), block_size)

    return BaselineItems(len(documents), make, vocabulary(text))


def baseline_names(corpus, questions, block_size):
    """The question-answer pairs of a TSV text in the corpus's vocabulary."""
    pairs = [line.split("\t") for line in questions.splitlines() if line.strip()]
    return BaselineItems(
        len(pairs), lambda index: name_example(*pairs[index], block_size), vocabulary(corpus)
    )


def vocabulary(text):
    """{character: id}: □ is 0, ⁇ is 1, then the characters of the text in order."""
    return {char: i for i, char in enumerate([PAD, MASK, *sorted(set(text))])}


def baseline_optimizer(model, learning_rate=6e-3, weight_decay=0.1):
    """AdamW with torch's defaults; what has "bias" in its name is not decayed."""
    named = list(model.named_parameters())
    return torch.optim.AdamW(
        [
            {
                "params": [p for name, p in named if "bias" not in name],
                "weight_decay": weight_decay,
            },
            {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=(0.9, 0.95),
    )


def baseline_epoch(
    model, optimizer, dataset, batch_size, peak, warmup_tokens, final_tokens, tokens=0, workers=4
):
    """One epoch of training, as a generator of (loss, tokens so far) after each step."""
    model.train()
    for x, y in DataLoader(dataset, batch_size=batch_size, num_workers=workers):
        _, loss = model(x, y)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += y.numel()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(tokens, peak, warmup_tokens, final_tokens)
        yield loss.item(), tokens


@torch.no_grad()
def baseline_answer(model, question, stoi, itos, max_new=32):
    """The predicted place: greedy decoding, the whole text through the model each time."""
    model.eval()
    idx = torch.tensor([[stoi[char] for char in question + MASK]])
    for _ in range(max_new):
        logits, _ = model(idx)
        idx = torch.cat((idx, logits[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
    return "".join(itos[i] for i in idx[0].tolist()).split(MASK)[1]
