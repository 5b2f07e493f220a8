"""
Answers: the most probable continuation of many prompts at once, as evaluation asks for it, and how probable it is.

A model reads each position once. What its attention has computed of earlier positions, keys and values, is kept in a cache
(Past), to which each step adds one position a row; without it every character would cost a whole pass. What all prompts begin
with, as "Where was ", is read once for all. The answers are those of one prompt at a time, in the model's own precision.

Shapes: B rows, T new positions, S positions in use, nh heads, hs channels of a head, V ids; in beam search Q prompts, N beams.
"""
import math
import os
from typing import List, NamedTuple, Optional

import torch

# Rows that a CPU answers at once: few, so that their keys and values and what is computed on stay in its caches. A GPU takes
# the whole batch.
ROWS_AT_ONCE = {"cpu": 96}


class Past:
    """
    What a model's layers keep of the positions that B rows have read; GPT.forward(idx, past=...) takes and extends it.

    Column s holds position s of every row. Rows may be of different lengths: what stands in columns beyond a row's length is
    invisible to it, and overwritten when it comes to that position. Attributes:

        layers   a LayerPast for each layer
        lengths  LongTensor (B): the positions that each row has read; the next one is written over what stands there
    """

    def __init__(self, n_layer, columns, lengths):
        """columns: positions that a row can have at the most."""
        self.columns, self.lengths = columns, lengths
        self.layers = [LayerPast(self) for _ in range(n_layer)]

    def advance(self, T):
        """Makes room for T more ids in each row. LongTensor (B, T): their positions."""
        device = self.lengths.device
        self.rows = torch.arange(len(self.lengths), device=device)[:, None]             # (B, 1)
        self.positions = self.lengths[:, None] + torch.arange(T, device=device)         # (B, T)
        self.lengths = self.lengths + T
        self.used = int(self.lengths.max())                                             # S
        self.visible = (torch.arange(self.used, device=device) <= self.positions[:, :, None])[:, None]  # (B, 1, T, S)
        return self.positions

    def take(self, rows, columns):
        """A Past of these rows alone, a list of row numbers in which one may stand several times, with so many columns."""
        rows = torch.tensor(rows, device=self.lengths.device)
        taken = Past(len(self.layers), columns, self.lengths[rows])
        used = int(taken.lengths.max())
        for layer, own in zip(taken.layers, self.layers):
            for values in own.stored:
                layer.stored.append(no_values(values, len(rows), columns))
                layer.stored[-1][:, :, :used] = values[:, :, :used].index_select(0, rows)
        return taken


class LayerPast:
    """One layer's share of a Past: `stored` has a tensor (B, nh, columns, hs) for each that its attention asks to keep."""

    def __init__(self, past):
        self.past, self.stored = past, []

    @property
    def visible(self):
        """(B, 1, T, S): whether each new position may look at each column."""
        return self.past.visible

    def extend(self, *new):
        """Keeps tensors (B, nh, T, hs) of the new positions. Returns for each that of all positions, (B, nh, S, hs)."""
        past = self.past
        if not self.stored:
            self.stored = [no_values(values, len(values), past.columns) for values in new]
        for stored, values in zip(self.stored, new):
            stored[past.rows, :, past.positions] = values.transpose(1, 2)
        return [stored[:, :, :past.used] for stored in self.stored]


def no_values(values, B, columns):
    """Zeros (B, nh, columns, hs), of the type of values. Not just any memory: a weight of 0 times NaN is NaN."""
    return values.new_zeros(B, values.size(1), columns, values.size(3))


class Answer(NamedTuple):
    """
    What a model continues a prompt with: its ids, without the id that ends it. log_probability: the natural logarithm of the product
    of their probabilities and of the end's, each given all before it; an answer that was cut off has no end. proven: whether no other
    answer can be more probable; None where that was not asked for.
    """
    ids: List[int]
    log_probability: float
    proven: Optional[bool] = None


def greedy_answers(model, prompts, stop_id, max_length, batch_size=256):
    """The ids of find_answers() that take the most probable id at each step."""
    return [answer.ids for answer in find_answers(model, prompts, stop_id, max_length, batch_size=batch_size)]


@torch.no_grad()
def find_answers(model, prompts, stop_id, max_length, beam=1, batch_size=256):
    """
    The Answer to each prompt: id by id the most probable one, until stop_id or `max_length` ids or the model's last position.
    With beam > 1 the most probable answer as a whole that a search finds which follows so many beginnings at once: a best first
    letter need not begin the best place.

    prompts: lists of ids. batch_size: rows that run together at the most. A model that does not know caches (see
    GPT.packs_and_caches) is answered by recomputing. A prompt beyond the model's last position has an empty answer. Leaves the
    model in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    answers = [Answer([], 0.0)] * len(prompts)
    # The answer's last id is written and not read, so it needs no position.
    room = [min(max_length, model.max_positions - len(prompt) + 1) for prompt in prompts]
    rows = sorted((row for row in range(len(prompts)) if room[row] > 0), key=lambda row: len(prompts[row]))
    if not rows:
        return answers

    batch_size = min(batch_size, ROWS_AT_ONCE.get(device.type, batch_size))
    write = write_greedily if beam == 1 else write_most_probable
    prompts_at_once = max(1, batch_size // beam)
    beginning = begun = None
    if getattr(model, "packs_and_caches", False):
        beginning = os.path.commonprefix([prompts[row][:-1] for row in rows])
        begun = Past(len(model.blocks), len(beginning), torch.zeros(1, dtype=torch.long, device=device))
        if beginning:
            model(torch.tensor([beginning], device=device), past=begun)
    for first in range(0, len(rows), prompts_at_once):
        batch = rows[first:first + prompts_at_once]
        texts = [prompts[row][:-1] for row in batch]
        if begun is None:
            reader = RecomputingReader(model, texts)
        else:
            past = begun.take([0] * len(batch), columns=max(len(prompts[row]) + room[row] - 1 for row in batch))
            reader = CachingReader(model, past, [text[len(beginning):] for text in texts])
        written = write(reader, [prompts[row][-1] for row in batch], stop_id, [room[row] for row in batch], beam)
        for row, answer in zip(batch, written):
            answers[row] = answer
    return answers


class CachingReader:
    """A model that reads rows of ids, with a cache of what it has read of each."""

    def __init__(self, model, past, texts):
        """past: what all rows have read. texts: lists of ids of different lengths, one a row, that are read now."""
        self.model, self.past = model, past
        ends = past.lengths + torch.tensor([len(text) for text in texts], device=past.lengths.device)
        T = max(len(text) for text in texts)
        if T > 0:  # zeros fill up the shorter ones
            self._read([text + [0] * (T - len(text)) for text in texts])
        past.lengths = ends  # the zeros are forgotten: no position before them could see them

    def _read(self, ids):
        return self.model(torch.tensor(ids, device=self.past.lengths.device), past=self.past)[0]

    def next_logits(self, ids):
        """Reads one id a row. Returns the logits (B, V) of what follows it."""
        return self._read([[i] for i in ids])[:, -1, :]

    def forget(self, rows):
        """Takes the id that was read last from these rows."""
        taken = torch.zeros_like(self.past.lengths)
        taken[rows] = 1
        self.past.lengths = self.past.lengths - taken

    def take(self, rows):
        """Goes on with these rows alone, of which one may stand several times."""
        self.past = self.past.take(rows, self.past.columns)


class RecomputingReader:
    """A CachingReader for a model that knows no caches: it reads all anew for each id. Rows are not padded."""

    def __init__(self, model, texts):
        self.model, self.texts = model, [list(text) for text in texts]

    def next_logits(self, ids):
        by_length = {}
        for row, i in enumerate(ids):
            self.texts[row].append(i)
            by_length.setdefault(len(self.texts[row]), []).append(row)
        device, logits = next(self.model.parameters()).device, {}
        for rows in by_length.values():
            logits.update(zip(rows, self.model(torch.tensor([self.texts[row] for row in rows], device=device))[0][:, -1, :]))
        return torch.stack([logits[row] for row in range(len(ids))])

    def forget(self, rows):
        for row in rows:
            self.texts[row].pop()

    def take(self, rows):
        self.texts = [list(self.texts[row]) for row in rows]


def write_greedily(reader, ids, stop_id, room, beam=1):
    """
    An Answer for each row of the reader: the most probable id at each step, up to stop_id or room[row] ids. ids: what is to be read
    next, one a row. beam: as write_most_probable() has it; here it is 1.
    """
    written, log_probabilities = [[] for _ in ids], [0.0] * len(ids)
    rows, unfinished = list(range(len(ids))), set(range(len(ids)))
    while unfinished:
        going = [place for place, row in enumerate(rows) if row in unfinished]
        if len(going) <= len(rows) / 2:  # to drop rows costs a copy of the others, which so few are worth
            reader.take(going)
            ids, rows = [ids[place] for place in going], [rows[place] for place in going]
        logits = reader.next_logits(ids)  # (B, V)
        best = logits.argmax(dim=-1, keepdim=True)
        ids, gained = best[:, 0].tolist(), logits.log_softmax(dim=-1).gather(1, best)[:, 0].tolist()
        for row, following, gain in zip(rows, ids, gained):
            if row in unfinished:
                log_probabilities[row] += gain
                if following != stop_id:
                    written[row].append(following)
                if following == stop_id or len(written[row]) == room[row]:
                    unfinished.discard(row)
        # A row that is done and still here stays where it is, within its columns.
        reader.forget([place for place, row in enumerate(rows) if row not in unfinished])
    return [Answer(*answer) for answer in zip(written, log_probabilities)]


def write_most_probable(reader, ids, stop_id, room, beam):
    """
    write_greedily() for the most probable answer as a whole. At each step the `beam` most probable of a prompt's beginnings that have
    not come to their end are followed. An answer is found where one ends, or has no room left; no beginning is followed that is less
    probable than an answer, since what it begins with can only be less probable still.
    """
    best = [Answer([], -math.inf)] * len(ids)  # answers found so far
    dropped = [-math.inf] * len(ids)  # the most probable beginning that was dropped for lack of a beam
    rows, begun = list(range(len(ids))), [([], 0.0) for _ in ids]  # what is followed: the prompt and its beginning so far
    while rows:
        logits = reader.next_logits(ids)
        V, scores = logits.size(-1), logits.log_softmax(dim=-1).cpu().double()  # not every device has float64, and these are small
        scores += torch.tensor([score for _, score in begun], dtype=torch.double)[:, None]
        asked = sorted(set(rows))
        slots = [(asked.index(row), place - rows.index(row)) for place, row in enumerate(rows)]  # rows stand together
        table = scores.new_full((len(asked), beam, V), -math.inf)  # (Q, N, V)
        table[[prompt for prompt, _ in slots], [slot for _, slot in slots]] = scores
        for place, (row, ended) in enumerate(zip(rows, scores[:, stop_id].tolist())):
            if ended > best[row].log_probability:
                best[row] = Answer(begun[place][0], ended)
        # One more than is followed, to know what is dropped. What has come to its end is among them and not above `best`.
        found = table.flatten(1).topk(min(beam + 1, beam * V), dim=1)
        places, ids, following, going = {slot: place for place, slot in enumerate(slots)}, [], [], []
        for prompt, (values, indices) in enumerate(zip(found.values.tolist(), found.indices.tolist())):
            row = asked[prompt]
            dropped[row] = max([dropped[row], *values[beam:]])
            for value, index in zip(values[:beam], indices[:beam]):
                if value <= best[row].log_probability:
                    break
                place = places[prompt, index // V]
                written = begun[place][0] + [index % V]
                if len(written) == room[row]:
                    best[row] = Answer(written, value)
                    break  # the others are less probable
                following.append((row, place))
                ids.append(index % V)
                going.append((written, value))
        rows, begun = [row for row, _ in following], going
        if rows:
            reader.take([place for _, place in following])
    return [answer._replace(proven=answer.log_probability >= bound) for answer, bound in zip(best, dropped)]
