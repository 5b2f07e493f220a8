"""
Answers: the most probable continuation of many prompts at once, as evaluation asks for it.

A model reads each position once. What its attention has computed of earlier positions, keys and values, is kept in a cache
(Past), to which each step adds one position a row; without it every character would cost a whole pass. What all prompts begin
with, as "Where was ", is read once for all. The answers are those of one prompt at a time, in the model's own precision.

Shapes: B rows, T new positions, S positions in use, nh heads, hs channels of a head.
"""
import os

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


@torch.no_grad()
def greedy_answers(model, prompts, stop_id, max_length, batch_size=256):
    """
    The most probable continuation of each prompt, id by id, until stop_id or `max_length` ids or the model's last position.

    prompts: lists of ids. batch_size: rows that run together at the most. A model that does not know caches (see
    GPT.packs_and_caches) is answered by recomputing. Returns a list of lists of ids, without the prompt and stop_id. Leaves the
    model in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    answers = [[] for _ in prompts]
    # The answer's last id is written and not read, so it needs no position.
    room = [min(max_length, model.max_positions - len(prompt) + 1) for prompt in prompts]
    rows = sorted((row for row in range(len(prompts)) if room[row] > 0), key=lambda row: len(prompts[row]))
    if not rows:
        return answers
    if not getattr(model, "packs_and_caches", False):
        return answers_by_recomputing(model, prompts, rows, stop_id, room, batch_size, answers, device)

    batch_size = min(batch_size, ROWS_AT_ONCE.get(device.type, batch_size))
    beginning = os.path.commonprefix([prompts[row][:-1] for row in rows])
    begun = Past(len(model.blocks), len(beginning), torch.zeros(1, dtype=torch.long, device=device))
    if beginning:
        model(torch.tensor([beginning], device=device), past=begun)
    for first in range(0, len(rows), batch_size):
        batch = rows[first:first + batch_size]
        past = begun.take([0] * len(batch), columns=max(len(prompts[row]) + room[row] - 1 for row in batch))
        read(model, past, [prompts[row][len(beginning):-1] for row in batch])
        write(model, past, [prompts[row][-1] for row in batch], batch, stop_id, room, answers)
    return answers


def read(model, past, texts):
    """Puts texts, lists of ids of different lengths, into the Past, one in each row. Zeros fill up the shorter ones."""
    device = past.lengths.device
    ends = past.lengths + torch.tensor([len(text) for text in texts], device=device)
    T = max(len(text) for text in texts)
    if T > 0:
        model(torch.tensor([text + [0] * (T - len(text)) for text in texts], device=device), past=past)
    past.lengths = ends  # the zeros are forgotten: no position before them could see them


def write(model, past, ids, rows, stop_id, room, answers):
    """
    Appends to answers[row], for each of `rows`, the ids that follow, up to stop_id or room[row] ids. `ids` come first, one a row:
    the last of each prompt.
    """
    unfinished = set(rows)
    while unfinished:
        going = [place for place, row in enumerate(rows) if row in unfinished]
        if len(going) <= len(rows) / 2:  # to drop rows costs a copy of the others, which so few are worth
            past = past.take(going, past.columns)
            ids, rows = [ids[place] for place in going], [rows[place] for place in going]
        before = past.lengths
        logits, _ = model(torch.tensor(ids, device=before.device)[:, None], past=past)  # (B, 1, V)
        ids = logits[:, -1, :].argmax(dim=-1).tolist()
        for row, following in zip(rows, ids):
            if row in unfinished and following != stop_id:
                answers[row].append(following)
            if following == stop_id or len(answers[row]) == room[row]:
                unfinished.discard(row)
        # A row that is done and still here stays where it is, within its columns.
        past.lengths = before + torch.tensor([row in unfinished for row in rows], device=before.device)


def answers_by_recomputing(model, prompts, rows, stop_id, room, batch_size, answers, device):
    """greedy_answers() by a whole pass for each id. Prompts of equal length run together, so that none is padded."""
    by_length = {}
    for row in rows:
        by_length.setdefault(len(prompts[row]), []).append(row)
    for length, group in by_length.items():
        for first in range(0, len(group), batch_size):
            batch = group[first:first + batch_size]
            x = torch.tensor([prompts[row] for row in batch], device=device)
            stopped = torch.zeros(len(batch), dtype=torch.bool, device=device)
            for _ in range(room[batch[0]]):
                following = model(x)[0][:, -1, :].argmax(dim=-1)
                x = torch.cat((x, following[:, None]), dim=1)
                stopped |= following == stop_id
                if stopped.all():
                    break
            for row, ids in zip(batch, x[:, length:].tolist()):
                answers[row] = ids[:ids.index(stop_id)] if stop_id in ids else ids
    return answers
