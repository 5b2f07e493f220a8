"""
Batches without padding. More than half of a pretraining batch, and nearly all of a finetuning one,
are positions that add nothing to the loss; here they are left out before the model computes them.
Loss and gradients stay the same, up to the order of additions:

- a causal model's positions do not see what follows, so a row may end after its last target
  (crop_padding);
- a batch may go through in micro-batches of rows of similar length, whose gradients add up to the
  batch's (group_by_length);
- all but attention treats each position by itself, so the rows may stand one after another in a
  single list of tokens, and be padded to (B, T) for attention alone (PackedRows).

Shapes: B rows, T positions, N packed tokens, C = n_embd channels, nh heads, hs channels of a head;
T' positions of the rows when padded for attention. y (B, T) are targets, IGNORED_TARGET where none
counts.
"""

import copy

import torch

IGNORED_TARGET = 0  # a position with this target adds nothing to the loss; the id of PAD

# Libraries prepare bfloat16 matmuls for each shape anew, at half a millisecond each, and keep a
# hundred or so. Numbers of tokens and positions are rounded up to these multiples, so that there
# are few shapes, at the price of a few per cent of padding.
TOKENS_MULTIPLE = 32
POSITIONS_MULTIPLE = 8


def count_targets(y: torch.Tensor) -> int:
    """The targets of y (B, T) that the loss counts."""
    return int((y != IGNORED_TARGET).sum())


def row_lengths(y: torch.Tensor) -> torch.Tensor:
    """
    LongTensor (B): of each row of y (B, T) the positions up to its last target; 0 without one.
    """
    return ((y != IGNORED_TARGET) * torch.arange(1, y.size(1) + 1, device=y.device)).amax(dim=1)


def crop_padding(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y (B, T) without the last columns in which no row has a target."""
    length = max(1, int(row_lengths(y).max()))
    return x[:, :length], y[:, :length]


def group_by_length(
    y: torch.Tensor, tokens: int | None = None, rows: int | None = None
) -> list[list[int]]:
    """
    The rows of y (B, T) that have a target, in micro-batches: lists of row numbers.

    From the shortest rows to the longest, each with about `tokens` positions up to the last
    targets and at most `rows` rows; None for no limit.
    """
    lengths = row_lengths(y)
    order = lengths.argsort(stable=True)[int((lengths == 0).sum()) :]
    if not len(order):
        return []
    if tokens is None:
        group_of_row = torch.zeros_like(order)
    else:
        # The group that a row's middle token falls into, where all tokens are shared out evenly.
        ends = lengths[order].cumsum(0)
        groups = -(-int(ends[-1]) // tokens)
        group_of_row = (ends - lengths[order] / 2) * groups / ends[-1]
        group_of_row = group_of_row.long().clamp(max=groups - 1)
    groups = [order[group_of_row == group] for group in group_of_row.unique()]
    return [piece.tolist() for group in groups for piece in group.split(rows or len(group))]


class PackedRows:
    """
    The tokens of a batch on which its loss depends, one after another: (N, C). pad() takes them to
    attention's (B, nh, T', hs), and unpad() back.

    Row 0's positions come first, up to its last target, then row 1's, and so on. N is a multiple
    of TOKENS_MULTIPLE; the tokens at the end that fill it are padding. What stands where is worked
    out on the CPU and then sent to the device, which so never has to be asked for a number: on a
    GPU each such question is a wait. Attributes:

        positions  LongTensor (N): the position of each token in its row
        targets    LongTensor (N): its target, IGNORED_TARGET for padding
    """

    def __init__(
        self, y: torch.Tensor, max_positions: int, device: torch.device | str | None = None
    ):
        """
        y: targets (B, T), at least one that counts. max_positions: the longest row that attention
        takes; ValueError for a longer one. device: where the model is; None: where y is.
        """
        self.device, y = y.device if device is None else torch.device(device), y.cpu()
        lengths = row_lengths(y)
        self.shape = B, T = y.shape
        longest = int(lengths.max())
        if longest > max_positions:
            raise ValueError(f"{longest} positions, but this model takes {max_positions} at most")
        self.padded_shape = B, min(round_up(longest, POSITIONS_MULTIPLE), max_positions)
        in_row = torch.arange(T) < lengths[:, None]
        row, position = in_row.nonzero(as_tuple=True)
        self._in_y = row * T + position  # of each token that is no padding: where it stands in y …
        self._in_padded = row * self.padded_shape[1] + position  # … and in (B, T')
        self._selected = self._in_padded  # the same, of the tokens that go on after attention
        self._select = None  # and the Move to them
        self._pads, self._unpads = {}, {}  # Moves, made once for all layers
        self._set(self._fill(position), self._fill(y.reshape(-1)[self._in_y]))

    def _set(self, positions, targets):
        self._positions, self._targets = positions, targets  # on the CPU
        self.positions, self.targets = (send(one, self.device) for one in (positions, targets))

    def with_targets_only(self) -> "PackedRows":
        """
        These rows for the last layer: only tokens with a target go on after its attention. The
        others have been looked at and are not needed any more.
        """
        selected = self._targets.nonzero().squeeze(1)
        if len(selected) == len(self._in_y):
            return self
        rows = copy.copy(self)
        rows._set(self._fill(self._positions[selected]), self._fill(self._targets[selected]))
        rows._selected = self._in_padded[selected]
        places, count = torch.arange(len(selected)), len(self.targets)
        rows._select = Move(selected, count, places, len(rows.targets), self.device)
        rows._unpads = {}
        return rows

    @staticmethod
    def _fill(values):
        """values (n) with zeros after them for padding: (N)."""
        padding = round_up(len(values), TOKENS_MULTIPLE) - len(values)
        return torch.nn.functional.pad(values, (0, padding))

    def ids(self, idx: torch.Tensor) -> torch.Tensor:
        """idx (B, T), of y's shape (or ValueError), → (N) on the model's device."""
        if idx.shape != self.shape:
            raise ValueError(
                f"x has the shape {tuple(idx.shape)}, and its targets {tuple(self.shape)}"
            )
        return send(self._fill(idx.cpu().reshape(-1)[self._in_y]), self.device)

    def pad(self, x: torch.Tensor, layers: int, n_head: int) -> torch.Tensor:
        """
        x (N, layers · C), the outputs of that many linear layers, → (layers, B, nh, T', hs) for
        attention; zeros where no token stands. Each head of a token is moved by itself, so that
        the heads need not be transposed afterwards.
        """
        B, T = self.padded_shape
        key = layers, n_head
        if key not in self._pads:
            size = B * n_head * T
            layer_starts = torch.arange(layers)[:, None] * size
            places = (self._heads(self._in_padded, n_head)[:, None] + layer_starts).flatten()
            sources, count = torch.arange(len(places)), len(x) * layers * n_head
            self._pads[key] = Move(sources, count, places, layers * size, self.device)
        heads = x.view(len(x) * layers * n_head, -1)
        return self._pads[key](heads).view(layers, B, n_head, T, -1)

    def unpad(self, y: torch.Tensor) -> torch.Tensor:
        """Attention's output (B, nh, T', hs) → (N, C), of the tokens that go on after it."""
        B, n_head, T, hs = y.shape
        if n_head not in self._unpads:
            sources = self._heads(self._selected, n_head).flatten()
            places, count = torch.arange(len(sources)), len(self.targets) * n_head
            self._unpads[n_head] = Move(sources, B * n_head * T, places, count, self.device)
        return self._unpads[n_head](y.reshape(-1, hs)).view(-1, n_head * hs)

    def _heads(self, places, n_head):
        """
        (n, nh): where in (B, nh, T') the heads of the tokens at `places` (n) of (B, T') stand.
        """
        T = self.padded_shape[1]
        first_head = places // T * (n_head * T) + places % T
        return first_head[:, None] + torch.arange(n_head) * T

    def select(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, C), of the tokens that go on after attention."""
        return x if self._select is None else self._select(x)


class Move:
    """
    Moves rows of a matrix to places in another one: out[places[i]] = x[sources[i]], and zeros
    elsewhere. No place and no source occurs twice, so the gradient is a move as well. Indexing in
    general adds up gradients, which is slow on a CPU.
    """

    def __init__(
        self,
        sources: torch.Tensor,
        source_count: int,
        places: torch.Tensor,
        place_count: int,
        device: torch.device,
    ):
        """sources, places: LongTensors (n) on the CPU. device: that of x."""
        self._forward = self._lookup(places, sources, place_count, device)
        self._backward = self._lookup(sources, places, source_count, device)

    @staticmethod
    def _lookup(places, sources, count, device):
        """For each of `count` places its source, or 0; and the places that have none."""
        lookup = places.new_full((count,), -1).index_copy_(0, places, sources)
        empty = (lookup < 0).nonzero().squeeze(1)
        return send(lookup.clamp_(min=0), device), send(empty, device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x (source_count, C) → (place_count, C)."""
        return MoveRows.apply(x, self._forward, self._backward)


class MoveRows(torch.autograd.Function):
    """The arithmetic of Move. forward_lookup, backward_lookup: see Move._lookup()."""

    @staticmethod
    def forward(ctx, x, forward_lookup, backward_lookup):
        ctx.lookups = forward_lookup, backward_lookup
        source, empty = forward_lookup
        moved = x.index_select(0, source)
        return moved.index_fill_(0, empty, 0) if len(empty) else moved

    @staticmethod
    def backward(ctx, gradient):
        forward_lookup, backward_lookup = ctx.lookups
        return MoveRows.apply(gradient, backward_lookup, forward_lookup), None, None


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device. Of a GPU, the CPU does not wait until it is there."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def round_up(number: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple
