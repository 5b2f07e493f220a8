"""
The reference: every formula of the project once more, slowly, with loops. Tests compare src/ with
it.

It does not import src/, and does not use torch's attention, normalisation, activation, loss or
optimiser. test_reference.py compares it with torch's and with cases worked by hand. There is no
dropout: compare in eval mode. The dtype is that of the inputs; float64 allows tight tolerances.

Shapes: B batch, T positions, C = n_embd, nh = n_head, hs = C / nh, V vocabulary.
"Handout" is CS224N assignment 5 (2021).
"""

import math

import torch

MASK = "\u2047"  # ⁇, id 1
PAD = "\u25a1"  # □, id 0


# ---- the model ------------------------------------------------------------------------------


def without_module(state):
    """The same state dict with the `module.` that DataParallel puts before every key taken off."""
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def part_of(state, prefix):
    """The entries of a state dict below `prefix`, with the prefix taken off."""
    return {
        key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)
    }


def linear(x, weight, bias=None):
    """y = x Wᵀ + b: (…, in) → (…, out), weight (out, in), bias (out)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def softmax(scores):
    """exp(z_s) / Σ_r exp(z_r) of one vector. The largest z is subtracted to avoid overflow."""
    powers = torch.exp(scores - scores.max().detach())
    return powers / powers.sum()


def causal_self_attention(x, params, n_head, place=lambda vector, position: vector):
    """For each head softmax(q_t · k_s / √hs over s ≤ t) applied to v_s; then proj of all heads.

    x (B, T, C) → (B, T, C). params: {key, query, value, proj}.{weight (C, C), bias (C)}.
    Head h has columns h·hs … (h+1)·hs - 1 of keys, queries and values. place: what is done to a
    head's query or key (hs) at its position before they meet; nothing.
    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.
    """
    B, T, C = x.shape
    hs = C // n_head
    k = linear(x, params["key.weight"], params["key.bias"])  # (B, T, C)
    q = linear(x, params["query.weight"], params["query.bias"])
    v = linear(x, params["value.weight"], params["value.bias"])
    rows = []
    for b in range(B):
        for t in range(T):
            for h in range(n_head):
                own = slice(h * hs, (h + 1) * hs)
                query = place(q[b, t, own], t)
                scores = [
                    (query * place(k[b, s, own], s)).sum() / math.sqrt(hs) for s in range(t + 1)
                ]
                weights = softmax(torch.stack(scores))  # (t + 1)
                rows.append(sum(weights[s] * v[b, s, own] for s in range(t + 1)))  # (hs)
    y = torch.cat(rows).view(B, T, C)  # rows came in the order b, t, h
    return linear(y, params["proj.weight"], params["proj.bias"])


def rotated(vector, t):
    """A head's query or key (hs) at position t: each pair of neighbours times a 2 × 2 rotation.

    Pair i = 1 … hs/2 turns by the angle t θ_i, θ_i = 10000^(-2(i - 1)/hs).
    Su et al. 2021, https://arxiv.org/abs/2104.09864, equations 14 and 15.
    """
    pairs = []
    for i in range(1, len(vector) // 2 + 1):
        angle = t * 10000 ** (-2 * (i - 1) / len(vector))
        matrix = vector.new_tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        pairs.append(matrix @ vector[2 * i - 2 : 2 * i])
    return torch.cat(pairs)


def rotary_attention(x, params, n_head):
    """causal_self_attention with each query and key rotated by its position."""
    return causal_self_attention(x, params, n_head, place=rotated)


def cross_attention(x_kv, x_q, params, n_head):
    """For each head softmax(q_t · k_s / √hs over s ≤ t) applied to v_s; then proj of all heads.

    Keys and values come from x_kv (B, S, C), queries from x_q (B, T, C): (B, T, C). A query
    beyond S sees all of x_kv. params: as causal_self_attention.
    Jaegle et al. 2021, https://arxiv.org/abs/2103.03206; causal as in Hawthorne et al. 2022.
    """
    B, S, C = x_kv.shape
    T, hs = x_q.shape[1], C // n_head
    k = linear(x_kv, params["key.weight"], params["key.bias"])  # (B, S, C)
    v = linear(x_kv, params["value.weight"], params["value.bias"])
    q = linear(x_q, params["query.weight"], params["query.bias"])  # (B, T, C)
    rows = []
    for b in range(B):
        for t in range(T):
            for h in range(n_head):
                own = slice(h * hs, (h + 1) * hs)
                seen = range(min(t + 1, S))
                scores = [(q[b, t, own] * k[b, s, own]).sum() / math.sqrt(hs) for s in seen]
                weights = softmax(torch.stack(scores))
                rows.append(sum(weights[s] * v[b, s, own] for s in seen))  # (hs)
    y = torch.cat(rows).view(B, T, C)
    return linear(y, params["proj.weight"], params["proj.bias"])


def synthesizer_attention(x, params, n_head):
    """For each head softmax((ReLU(x_t A_h + b1_h) B + b2)_s over s ≤ t) applied to v_s; then proj.

    x (B, T, C) → (B, T, C), T ≤ block_size - 1. params: {w1, value, proj}.{weight (C, C),
    bias (C)}; w2 = B (hs, block_size - 1); b2 (block_size - 1). w1 holds the A_h and b1_h of all
    heads: head h has output columns h·hs … (h+1)·hs - 1. The weights of position t depend on x_t
    alone.
    Tay et al. 2020, https://arxiv.org/abs/2005.00743, section 3.1 (dense); handout part 2(g).
    """
    B, T, C = x.shape
    hs = C // n_head
    if T > params["w2"].shape[1]:
        raise ValueError(f"{T} positions, but w2 scores only {params['w2'].shape[1]}")
    hidden = linear(x, params["w1.weight"], params["w1.bias"])  # (B, T, C)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    v = linear(x, params["value.weight"], params["value.bias"])
    rows = []
    for b in range(B):
        for t in range(T):
            for h in range(n_head):
                own = slice(h * hs, (h + 1) * hs)
                scores = [
                    (hidden[b, t, own] * params["w2"][:, s]).sum() + params["b2"][s]
                    for s in range(t + 1)
                ]
                weights = softmax(torch.stack(scores))  # (t + 1)
                rows.append(sum(weights[s] * v[b, s, own] for s in range(t + 1)))  # (hs)
    y = torch.cat(rows).view(B, T, C)  # rows came in the order b, t, h
    return linear(y, params["proj.weight"], params["proj.bias"])


# The variants that the reference and the baseline know. Comparisons run over these.
VARIANTS = {
    "vanilla": causal_self_attention,
    "synthesizer": synthesizer_attention,
    "rope": rotary_attention,
    "perceiver": causal_self_attention,  # of the blocks in the bottleneck
}


def layer_norm(x, weight, bias):
    """(x - mean) / √(variance + 1e-5) · weight + bias over the last axis; variance divides by C.

    x (…, C), weight and bias (C). Ba et al. 2016, https://arxiv.org/abs/1607.06450.
    """
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * weight + bias


def gelu(x):
    """x Φ(x) = x/2 (1 + erf(x/√2)), exact, not the tanh approximation; any shape.

    Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415.
    """
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


def mlp(x, params):
    """Linear, GELU, Linear: (B, T, C) → (B, T, 4C) → (B, T, C).

    params: 0.{weight, bias}, 2.{weight, bias}.
    Vaswani et al. 2017, section 3.3, with GELU for ReLU.
    """
    hidden = gelu(linear(x, params["0.weight"], params["0.bias"]))
    return linear(hidden, params["2.weight"], params["2.bias"])


def gpt_logits(state, idx, n_layer, n_head):
    """The whole pre-norm GPT from its state dict: idx (B, T) of ids → logits (B, T, V).

    x = tok_emb[idx] + pos_emb[:T]; for each block x += attn(ln1(x)), x += mlp(ln2(x)); logits =
    head(ln_f(x)), where head is not tied and has no bias. A block with a `w2` is a synthesizer; a
    model without pos_emb has rotary positions; one with a down_block is a perceiver, whose first
    and last layer are down_block and up_block; any other is vanilla. Keys may begin with
    `module.`.
    """
    state = without_module(state)
    T = idx.shape[1]
    x = state["tok_emb.weight"][idx]  # (B, T, C)
    attention = rotary_attention
    if "pos_emb" in state:
        if T > state["pos_emb"].shape[1]:
            raise ValueError(f"{T} positions, but pos_emb holds only {state['pos_emb'].shape[1]}")
        x = x + state["pos_emb"][:, :T]
        attention = synthesizer_attention if "blocks.0.attn.w2" in state else causal_self_attention
    x_input, bottleneck = x, "down_block.C" in state
    if bottleneck:
        x = down_project(x, part_of(state, "down_block."), n_head)  # (B, m, C)
        n_layer -= 2
    for i in range(n_layer):
        block = part_of(state, f"blocks.{i}.")
        x = x + attention(norm(x, block, "ln1"), part_of(block, "attn."), n_head)
        x = x + mlp(norm(x, block, "ln2"), part_of(block, "mlp."))
    if bottleneck:
        x = up_project(x, x_input, part_of(state, "up_block."), n_head)  # (B, T, C)
    return linear(norm(x, state, "ln_f"), state["head.weight"])


def norm(x, params, name):
    return layer_norm(x, params[f"{name}.weight"], params[f"{name}.bias"])


def down_project(x, block, n_head):
    """y = attention with queries ln1(C) over x, then y + mlp(ln2(y)): (B, T, C) → (B, m, C).

    Handout (2023), part g: C are m learned vectors, the same for each row.
    """
    queries = norm(block["C"].expand(len(x), -1, -1), block, "ln1")  # (B, m, C)
    y = cross_attention(x, queries, part_of(block, "attn."), n_head)
    return y + mlp(norm(y, block, "ln2"), part_of(block, "mlp."))


def up_project(y, x_input, block, n_head):
    """x = x_input + attention with queries x_input over ln1(y), then x + mlp(ln2(x))."""
    x = x_input + cross_attention(norm(y, block, "ln1"), x_input, part_of(block, "attn."), n_head)
    return x + mlp(norm(x, block, "ln2"), part_of(block, "mlp."))


def loss(logits, targets):
    """Mean of log Σ_r exp(z_r) - z_target over the positions whose target is not 0 (PAD).

    logits (B, T, V), targets (B, T) → a scalar; nan if all targets are 0.
    """
    total, count = logits.new_zeros(()), 0
    for z, target in zip(logits.flatten(0, -2), targets.flatten().tolist(), strict=True):
        if target != 0:
            top = z.max().detach()
            total = total + torch.log(torch.exp(z - top).sum()) + top - z[target]
            count += 1
    return total / count


# ---- training -------------------------------------------------------------------------------


def learning_rate(tokens, peak, warmup_tokens, final_tokens):
    """peak · tokens / warmup below the warm-up, then peak · max(0.1, (1 + cos(π p)) / 2).

    p = (tokens - warmup) / (final - warmup); both divisors are at least 1. p is not clamped to 1:
    after final_tokens the rate stays at a tenth for a while, then rises to the peak at p = 2.
    """
    if tokens < warmup_tokens:
        return peak * tokens / max(1, warmup_tokens)
    p = (tokens - warmup_tokens) / max(1, final_tokens - warmup_tokens)
    return peak * max(0.1, 0.5 * (1 + math.cos(math.pi * p)))


def learning_rates_of_run(
    n_items, row_length, batch_size, epochs, peak, warmup_tokens, final_tokens
):
    """The learning rate of each of the epochs · ⌈n_items / batch_size⌉ optimiser steps.

    minGPT's order: forward, backward, step; then count the batch's positions, PAD included, and
    set the rate of the next step. So the first step has the peak rate, before any warm-up.
    row_length is the target positions of an item, block_size - 1. An epoch's last batch may be
    smaller.
    """
    tokens, rate, rates = 0, peak, []
    for _ in range(epochs):
        for first in range(0, n_items, batch_size):
            rates.append(rate)
            tokens += min(batch_size, n_items - first) * row_length
            rate = learning_rate(tokens, peak, warmup_tokens, final_tokens)
    return rates


def clip_gradients(grads, max_norm=1.0):
    """Every g · min(1, max_norm / (‖g‖ + 1e-6)), and ‖g‖, the norm of all gradients together.

    grads: name → tensor; not changed. Pascanu et al. 2013, https://arxiv.org/abs/1211.5063.
    """
    norm = math.sqrt(sum((g * g).sum().item() for g in grads.values()))
    factor = min(1.0, max_norm / (norm + 1e-6))
    return {name: g * factor for name, g in grads.items()}, norm


def adamw_step(params, grads, state, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    """The params after a step of AdamW. `state`, {} at first, is updated; nothing else is.

    At step n: m ← β1 m + (1 - β1) g; v ← β2 v + (1 - β2) g²; m̂ = m / (1 - β1ⁿ);
    v̂ = v / (1 - β2ⁿ); θ ← θ - lr λ θ - lr m̂ / (√v̂ + eps). λ is 0 for a name that holds "bias",
    which "b2" does not.
    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2.
    """
    beta1, beta2 = betas
    updated = {}
    for name, theta in params.items():
        g = grads[name]
        n, m, v = state.get(name, (0, torch.zeros_like(theta), torch.zeros_like(theta)))
        n = n + 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        state[name] = (n, m, v)
        m_hat = m / (1 - beta1**n)
        v_hat = v / (1 - beta2**n)
        decay = 0.0 if "bias" in name else weight_decay
        updated[name] = theta - lr * decay * theta - lr * m_hat / (torch.sqrt(v_hat) + eps)
    return updated


# ---- the data -------------------------------------------------------------------------------


def padded(text, block_size):
    """`text` filled up with □ to block_size characters."""
    if len(text) > block_size:
        raise ValueError(f"{len(text)} characters do not fit in a block of {block_size}")
    return text + PAD * (block_size - len(text))


def corrupt(document, length, masked, start, block_size):
    """Span corruption with given random numbers: the `masked` characters of document[:length] from
    `start` on move to the end.

    x, y: two strings of block_size - 1 characters. corrupt("Ada Lovelace. Ada …", 12, 3, 4, 16) is
        x = "Ada ⁇elace⁇Lov□"
        y = "da ⁇elace⁇Lov□□"
    Handout part 2(e); Raffel et al. 2020 (T5), https://arxiv.org/abs/1910.10683, section 3.1.4.
    """
    truncated = document[:length]
    if start < 0 or masked < 0 or start + masked > len(truncated):
        raise ValueError(
            f"cannot mask {masked} characters from {start} on in a text of {len(truncated)}"
        )
    prefix = truncated[:start]
    masked_content = truncated[start : start + masked]
    suffix = truncated[start + masked :]
    text = padded(prefix + MASK + suffix + MASK + masked_content, block_size)
    return text[:-1], text[1:]


def name_example(question, place, block_size):
    """A question and its answer, without characters outside ASCII. Targets are ⁇PLACE⁇ alone.

    x, y: two strings of block_size - 1 characters. name_example("Born?", "Rome", 14) is
        x = "Born?⁇Rome⁇□□"
        y = "□□□□⁇Rome⁇□□□"
    Handout part 2(b).
    """
    question, place = ("".join(c for c in text if ord(c) < 128) for text in (question, place))
    text = padded(question + MASK + place + MASK, block_size)
    answer_only = PAD * len(question) + text[len(question) :]
    return text[:-1], answer_only[1:]


def greedy_answer(state, question, stoi, itos, n_layer, n_head, block_size, max_new=32):
    """The predicted place: greedy decoding of max_new characters after `question ⁇`.

    The model reads the last block_size characters each time. The place is the text between the
    first and the second ⁇, or to the end. Handout parts 2(d), (f), (g).
    """
    text = question + MASK
    for _ in range(max_new):
        idx = torch.tensor([[stoi[c] for c in text[-block_size:]]])  # (1, T)
        logits = gpt_logits(state, idx, n_layer, n_head)  # (1, T, V)
        text += itos[logits[0, -1].argmax().item()]
    return text.split(MASK)[1]
