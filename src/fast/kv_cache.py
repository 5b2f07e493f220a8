"""
The cache of keys and values: what a model's attention has computed of the positions that it has
read, so that a new character costs one position and not the whole prefix.

Shapes: B rows, T new positions, S positions in use, nh heads, hs channels of a head.
"""

import torch


class KVCache:
    """
    What the layers keep of the positions that B rows have read. GPT.forward(idx, kv_cache=…) reads
    and extends it.

    Column s holds position s of every row. Rows may be of different lengths: a row does not see
    the columns beyond its length, and overwrites them when it gets there. Attributes:

        layers     a LayerKVCache for each layer
        lengths    LongTensor (B): how many positions each row has read
        positions  LongTensor (B, T): where the new ids stand, after advance(T)
        mask       (B, 1, T, S): whether each new position may attend to each column, after
                   advance(T)
    """

    def __init__(self, n_layer: int, columns: int, lengths: torch.Tensor):
        """columns: the most positions that a row can have."""
        self.columns, self.lengths = columns, lengths
        self.layers = [LayerKVCache(self) for _ in range(n_layer)]

    def advance(self, T: int) -> None:
        """Each row goes on by T ids, which the layers read next."""
        device = self.lengths.device
        self.rows = torch.arange(len(self.lengths), device=device)[:, None]  # (B, 1)
        self.positions = self.lengths[:, None] + torch.arange(T, device=device)  # (B, T)
        self.lengths = self.lengths + T
        self.used = int(self.lengths.max())  # S
        columns = torch.arange(self.used, device=device)
        self.mask = (columns <= self.positions[:, :, None])[:, None]

    def take(self, rows: list[int], columns: int) -> "KVCache":
        """A KVCache with that many columns, of these rows; one may stand in it several times."""
        rows = torch.tensor(rows, device=self.lengths.device)
        taken = KVCache(len(self.layers), columns, self.lengths[rows])
        used = int(taken.lengths.max())
        for layer, own in zip(taken.layers, self.layers, strict=True):
            for values in own.stored:
                layer.stored.append(empty_columns(values, len(rows), columns))
                layer.stored[-1][:, :, :used] = values[:, :, :used].index_select(0, rows)
        return taken


class LayerKVCache:
    """
    One layer's part of a KVCache: `stored` has a tensor (B, nh, columns, hs) for keys, values.
    """

    def __init__(self, cache: KVCache):
        self.cache, self.stored = cache, []

    @property
    def mask(self) -> torch.Tensor:
        """(B, 1, T, S): whether each new position may attend to each column."""
        return self.cache.mask

    @property
    def positions(self) -> torch.Tensor:
        """(B, T): where the new positions stand."""
        return self.cache.positions

    def extend(self, *new: torch.Tensor) -> list[torch.Tensor]:
        """
        Keeps tensors (B, nh, T, hs) of the new positions. Returns those of all, (B, nh, S, hs).
        """
        cache = self.cache
        if not self.stored:
            self.stored = [empty_columns(values, len(values), cache.columns) for values in new]
        for stored, values in zip(self.stored, new, strict=True):
            stored[cache.rows, :, cache.positions] = values.transpose(1, 2)
        return [stored[:, :, : cache.used] for stored in self.stored]


def empty_columns(values: torch.Tensor, B: int, columns: int) -> torch.Tensor:
    """Zeros (B, nh, columns, hs), of the type of values: a weight of 0 times NaN would be NaN."""
    return values.new_zeros(B, values.size(1), columns, values.size(3))
