"""
Batches without padding. More than half of a pretraining batch, and nearly all of a finetuning one, are positions that add
nothing to the loss; here they are left out before the model computes them. Loss and gradients stay the same, up to the
order of additions:

- a causal model's positions do not see what follows, so that a row may be cut off after its last target (crop_padding);
- a batch may go through in parts of rows of similar length, whose gradients add up to the batch's (group_by_length);
- all but attention treats each position by itself, so that the rows of a part may stand one after another in a
  single list of tokens, and be laid out as (B, T) for attention alone (PackedRows).

Shapes: B rows, T positions, N packed tokens, C channels, of n_head heads with hs each; T' positions of the grid that attention
works on. y (B, T) are targets, IGNORED_TARGET where the loss counts none.
"""
import copy

import torch

IGNORED_TARGET = 0  # positions with this target add nothing to the loss; the id of PAD

# Libraries prepare bfloat16 products anew for each shape, at half a millisecond a time, and keep some hundred of them. With
# counts of tokens and positions rounded up to these multiples there are few shapes, at the price of a few per cent of padding.
TOKENS_MULTIPLE = 32
POSITIONS_MULTIPLE = 8


def count_targets(y):
    """The targets of y (B, T) that the loss counts."""
    return int((y != IGNORED_TARGET).sum())


def row_lengths(y):
    """LongTensor (B): for each row of y (B, T) the number of positions up to and with its last target; 0 if it has none."""
    return ((y != IGNORED_TARGET) * torch.arange(1, y.size(1) + 1, device=y.device)).amax(dim=1)


def crop_padding(x, y):
    """x and y (B, T) without the last columns in which no row has a target."""
    length = max(1, int(row_lengths(y).max()))
    return x[:, :length], y[:, :length]


def group_by_length(y, tokens=None, rows=None):
    """
    The rows of y (B, T) that have a target, in parts to go through the model one after another: lists of row numbers.

    From the shortest rows to the longest, each part with about `tokens` positions up to the last targets and at most `rows`
    rows; None for no limit.
    """
    lengths = row_lengths(y)
    order = lengths.argsort(stable=True)[int((lengths == 0).sum()):]
    if not len(order):
        return []
    if tokens is None:
        part_of_row = torch.zeros_like(order)
    else:
        # The part that a row's middle token falls into, where all tokens are dealt out evenly.
        ends = lengths[order].cumsum(0)
        parts = -(-int(ends[-1]) // tokens)
        part_of_row = ((ends - lengths[order] / 2) * parts / ends[-1]).long().clamp(max=parts - 1)
    parts = [order[part_of_row == part] for part in part_of_row.unique()]
    return [piece.tolist() for part in parts for piece in part.split(rows or len(part))]


class PackedRows:
    """
    The positions of a batch that its loss depends on, one after another: (N, C). How to come to the grid of attention and back.

    Row 0's first positions come first, up to its last target, then row 1's, and so on; the list is filled up to a multiple of
    TOKENS_MULTIPLE with inert tokens, which have no target and are not laid out. Attributes:

        positions  LongTensor (N): where in its row each token stands
        targets    LongTensor (N): its target, IGNORED_TARGET for the inert ones
    """

    def __init__(self, y, most_positions):
        """y: targets (B, T), at least one of them counted. most_positions: the longest row that attention can take."""
        lengths = row_lengths(y)
        B, T = y.shape
        self.grid = (B, min(round_up(int(lengths.max()), POSITIONS_MULTIPLE), most_positions))
        row, position = (torch.arange(T, device=y.device) < lengths[:, None]).nonzero(as_tuple=True)
        self._source = row * T + position            # of the n tokens that are not inert: where they stand in y …
        self._place = row * self.grid[1] + position  # … and where attention gets them
        self._kept, self._keep = self._place, None   # where those stand that go on after attention, and a Move to them from (N)
        self._lay_outs, self._packs = {}, {}         # Moves, made once for all layers
        self.positions = self._filled(position)
        self.targets = self._filled(y.reshape(-1)[self._source])

    def counted(self):
        """These rows for the last layer: after its attention only the tokens that have a target go on, the others are done."""
        kept = self.targets.nonzero().squeeze(1)
        if len(kept) == len(self._source):
            return self
        rows = copy.copy(self)
        rows.positions, rows.targets = self._filled(self.positions[kept]), self._filled(self.targets[kept])
        rows._kept = self._place[kept]
        rows._keep = Move(kept, len(self.targets), torch.arange(len(kept), device=kept.device), len(rows.targets))
        rows._packs = {}
        return rows

    @staticmethod
    def _filled(values):
        """values (n) with zeros after them for the inert tokens: (N)."""
        return torch.nn.functional.pad(values, (0, round_up(len(values), TOKENS_MULTIPLE) - len(values)))

    def ids(self, idx):
        """idx (B, T) → (N)."""
        return self._filled(idx.reshape(-1)[self._source])

    def lay_out(self, x, layers, n_head):
        """
        x (N, layers · C), what that many linear layers make of the tokens, → (layers, B, n_head, T', hs) for attention, T' the
        longest row (rounded up); zeros where no token stands. Each head of a token is moved by itself, so that no second pass
        has to sort the heads.
        """
        B, T = self.grid
        key = layers, n_head
        if key not in self._lay_outs:
            size = B * n_head * T
            places = self._heads(self._place, n_head)[:, None] + torch.arange(layers, device=x.device)[:, None] * size
            sources = torch.arange(places.numel(), device=x.device)
            self._lay_outs[key] = Move(sources, len(x) * layers * n_head, places.flatten(), layers * size)
        return self._lay_outs[key](x.view(len(x) * layers * n_head, -1)).view(layers, B, n_head, T, -1)

    def pack(self, y):
        """What attention gives, (B, n_head, T', hs) → (N, C); of the tokens that go on after it."""
        B, n_head, T, hs = y.shape
        if n_head not in self._packs:
            sources = self._heads(self._kept, n_head).flatten()
            places = torch.arange(len(sources), device=y.device)
            self._packs[n_head] = Move(sources, B * n_head * T, places, len(self.targets) * n_head)
        return self._packs[n_head](y.reshape(-1, hs)).view(-1, n_head * hs)

    def _heads(self, places, n_head):
        """(n, n_head): where in (B, n_head, T') the heads of what stands at `places` (n) of (B, T') stand."""
        T = self.grid[1]
        return (places // T * (n_head * T) + places % T)[:, None] + torch.arange(n_head, device=places.device) * T

    def keep(self, x):
        """x (N, C), of the tokens that go on after attention."""
        return x if self._keep is None else self._keep(x)


class Move:
    """
    Moves rows of a matrix to places in another one: out[places[i]] = x[sources[i]], and zeros elsewhere. No place and no
    source occurs twice, so that the gradient is a move as well; that of indexing in general adds up, which is slow on a CPU.
    """

    def __init__(self, sources, source_count, places, place_count):
        self._there, self._back = self._lookup(places, sources, place_count), self._lookup(sources, places, source_count)

    @staticmethod
    def _lookup(places, sources, count):
        """For each of `count` places its source, or 0; and the places that have none."""
        lookup = places.new_full((count,), -1).index_copy_(0, places, sources)
        return lookup.clamp(min=0), (lookup < 0).nonzero().squeeze(1)

    def __call__(self, x):
        """x (source_count, C) → (place_count, C)."""
        return MoveRows.apply(x, self._there, self._back)


class MoveRows(torch.autograd.Function):
    """The arithmetic of Move: there and back are pairs of a source for each row, and of the rows that are zero."""

    @staticmethod
    def forward(ctx, x, there, back):
        ctx.move = there, back
        source, empty = there
        moved = x.index_select(0, source)
        return moved.index_fill_(0, empty, 0) if len(empty) else moved

    @staticmethod
    def backward(ctx, gradient):
        there, back = ctx.move
        return MoveRows.apply(gradient, back, there), None, None


def round_up(number, multiple):
    """The least multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple
