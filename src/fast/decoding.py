"""
Decoding: what a model continues many prompts with at once, by greedy decoding or beam search.

A model reads each position once; a KVCache keeps what its attention has computed. The prefix that
all prompts share, such as "Where was ", is read once for all. The answers are those of one prompt
at a time, in the model's own precision.

Shapes: B rows, V ids.
"""

import os
from typing import NamedTuple

import torch
import torch.nn as nn

from fast.beam_search import beam_search
from fast.kv_cache import KVCache

# Rows that a CPU decodes at once: few, so that their cache stays in the processor's caches. A GPU
# takes the whole batch.
ROWS_AT_ONCE = {"cpu": 96}


class Answer(NamedTuple):
    """
    A model's continuation of a prompt.

    ids: without the id that ends it. log_probability: the natural logarithm of the product of the
    probabilities of the ids and of the end, each given all before it; an answer that was cut off
    has no end. proven: whether no other answer can be more probable; None after greedy decoding.
    """

    ids: list[int]
    log_probability: float
    proven: bool | None = None


@torch.no_grad()
def generate(
    model: nn.Module,
    prompts: list[list[int]],
    stop_id: int,
    max_new_tokens: int,
    beam: int = 1,
    batch_size: int = 256,
) -> list[Answer]:
    """
    The Answer to each prompt, a list of ids: up to stop_id, max_new_tokens ids or the model's last
    position. beam 1 is greedy decoding; more is a beam search of that width.

    batch_size: rows that run together at most. A model without supports_kv_cache reads its whole
    prefix anew for each id. A prompt beyond the model's last position has an empty answer. Leaves
    the model in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    answers = [Answer([], 0.0)] * len(prompts)
    # The last id is not read any more, so it needs no position.
    max_new = [min(max_new_tokens, model.max_positions - len(prompt) + 1) for prompt in prompts]
    rows = [row for row in range(len(prompts)) if max_new[row] > 0]
    rows.sort(key=lambda row: len(prompts[row]))
    if not rows:
        return answers

    prefix, prefix_cache = [], None
    if getattr(model, "supports_kv_cache", False):
        prefix = os.path.commonprefix([prompts[row][:-1] for row in rows])
        no_positions = torch.zeros(1, dtype=torch.long, device=device)
        prefix_cache = KVCache(len(model.blocks), len(prefix), no_positions)
        if prefix:
            model(torch.tensor([prefix], device=device), kv_cache=prefix_cache)
    batch_size = min(batch_size, ROWS_AT_ONCE.get(device.type, batch_size))
    prompts_at_once = max(1, batch_size // beam)
    for first in range(0, len(rows), prompts_at_once):
        batch = rows[first : first + prompts_at_once]
        texts = [prompts[row][:-1] for row in batch]
        if prefix_cache is None:
            decoder = UncachedDecoder(model, texts)
        else:
            columns = max(len(prompts[row]) + max_new[row] - 1 for row in batch)
            cache = prefix_cache.take([0] * len(batch), columns)
            decoder = CachedDecoder(model, cache, [text[len(prefix) :] for text in texts])
        next_ids = [prompts[row][-1] for row in batch]
        limits = [max_new[row] for row in batch]
        if beam == 1:
            found = greedy_decode(decoder, next_ids, stop_id, limits)
        else:
            found = beam_search(decoder, next_ids, stop_id, limits, beam)
        for row, answer in zip(batch, found, strict=True):
            answers[row] = Answer(*answer)
    return answers


class CachedDecoder:
    """A model that reads rows of ids, with a cache of what it has read."""

    def __init__(self, model: nn.Module, cache: KVCache, texts: list[list[int]]):
        """
        cache: of what all rows have read. texts: ids of different lengths, one list a row, to read
        now.
        """
        self.model, self.cache = model, cache
        lengths = torch.tensor([len(text) for text in texts], device=cache.lengths.device)
        lengths = cache.lengths + lengths
        T = max(len(text) for text in texts)
        if T > 0:
            self._read([text + [0] * (T - len(text)) for text in texts])
        cache.lengths = lengths  # without the zeros, which no position before them has seen

    def _read(self, ids):
        idx = torch.tensor(ids, device=self.cache.lengths.device)
        return self.model(idx, kv_cache=self.cache)[0]

    def next_logits(self, next_ids: list[int]) -> torch.Tensor:
        """Reads one id a row. Returns the logits (B, V) of what follows it."""
        return self._read([[i] for i in next_ids])[:, -1, :]

    def forget(self, rows: list[int]) -> None:
        """Takes back the id that was read last from these rows."""
        taken = torch.zeros_like(self.cache.lengths)
        taken[rows] = 1
        self.cache.lengths = self.cache.lengths - taken

    def take(self, rows: list[int]) -> None:
        """Keeps these rows alone; one may stand several times."""
        self.cache = self.cache.take(rows, self.cache.columns)


class UncachedDecoder:
    """
    A CachedDecoder for a model that supports no cache: it reads the whole prefix for each id.
    """

    def __init__(self, model: nn.Module, texts: list[list[int]]):
        self.model, self.texts = model, [list(text) for text in texts]

    def next_logits(self, next_ids: list[int]) -> torch.Tensor:
        by_length = {}
        for row, i in enumerate(next_ids):
            self.texts[row].append(i)
            by_length.setdefault(len(self.texts[row]), []).append(row)
        device, logits = next(self.model.parameters()).device, {}
        for rows in by_length.values():
            idx = torch.tensor([self.texts[row] for row in rows], device=device)
            logits.update(zip(rows, self.model(idx)[0][:, -1, :], strict=True))
        return torch.stack([logits[row] for row in range(len(next_ids))])

    def forget(self, rows: list[int]) -> None:
        for row in rows:
            self.texts[row].pop()

    def take(self, rows: list[int]) -> None:
        self.texts = [list(self.texts[row]) for row in rows]


def greedy_decode(
    decoder: CachedDecoder | UncachedDecoder, next_ids: list[int], stop_id: int, max_new: list[int]
) -> list[tuple[list[int], float]]:
    """
    For each row of the decoder the most probable id at each step, up to stop_id or max_new[row]
    ids, and the answer's log-probability. next_ids: what each row reads first.
    """
    written, log_probabilities = [[] for _ in next_ids], [0.0] * len(next_ids)
    rows, unfinished = list(range(len(next_ids))), set(range(len(next_ids)))
    while unfinished:
        going = [place for place, row in enumerate(rows) if row in unfinished]
        if len(going) <= len(rows) / 2:  # to drop rows costs a copy of the others
            decoder.take(going)
            next_ids, rows = [next_ids[place] for place in going], [rows[place] for place in going]
        logits = decoder.next_logits(next_ids)  # (B, V)
        best = logits.argmax(dim=-1, keepdim=True)
        gains = logits.log_softmax(dim=-1).gather(1, best)[:, 0].tolist()
        next_ids = best[:, 0].tolist()
        for row, next_id, gain in zip(rows, next_ids, gains, strict=True):
            if row in unfinished:
                log_probabilities[row] += gain
                if next_id != stop_id:
                    written[row].append(next_id)
                if next_id == stop_id or len(written[row]) == max_new[row]:
                    unfinished.discard(row)
        # A finished row that is still here stays at its position.
        decoder.forget([place for place, row in enumerate(rows) if row not in unfinished])
    return list(zip(written, log_probabilities, strict=True))
