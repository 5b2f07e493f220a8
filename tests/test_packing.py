"""
Batches without padding: which positions are left out, which rows go together, and the way to
attention and back. That loss and gradients stay the same is in test_speed_is_exact.py.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fast.packing as packing
from fast.packing import PackedRows, count_targets, crop_padding, group_by_length, row_lengths

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def ragged_targets(draw, empty=True):
    """y (B, T) with holes and padding; with `empty`, also rows, or all of y, without a target."""
    B, T = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    rows = []
    for _ in range(B):
        length = draw(st.integers(0 if empty else 1, T))
        row = [draw(st.sampled_from([0, 0, 5, 7])) for _ in range(length - 1)] + [9]
        rows.append(row[-length:] * (length > 0) + [0] * (T - length))
    return torch.tensor(rows)


WITH_TARGETS = ragged_targets().filter(lambda y: y.any())


def lengths_of(y):
    return [max((t + 1 for t, i in enumerate(row) if i != 0), default=0) for row in y.tolist()]


def round_up(number, multiple):
    return number + -number % multiple


# ---- lengths, and rows that go together -----------------------------------------------------


@EXAMPLES
@given(ragged_targets())
def test_lengths_crop_and_count(y):
    assert row_lengths(y).tolist() == lengths_of(y)
    assert count_targets(y) == sum(i != 0 for row in y.tolist() for i in row)
    x = torch.arange(y.numel()).view_as(y)
    longest = max([1, *lengths_of(y)])
    cropped = crop_padding(x, y)
    assert torch.equal(cropped[0], x[:, :longest]) and torch.equal(cropped[1], y[:, :longest])


@EXAMPLES
@given(ragged_targets(), st.none() | st.integers(1, 60), st.none() | st.integers(1, 5))
def test_groups_hold_each_row_with_a_target_once(y, tokens, rows):
    lengths, groups = lengths_of(y), group_by_length(y, tokens, rows)
    order = [row for group in groups for row in group]
    assert sorted(order) == [row for row, length in enumerate(lengths) if length]
    assert order == sorted(order, key=lambda row: (lengths[row], row))  # the shortest first
    assert all(groups)
    if rows is not None:
        assert max(map(len, groups), default=0) <= rows
    if tokens is not None:
        assert all(sum(lengths[row] for row in g) < tokens + y.size(1) for g in groups)
    if rows is None and tokens is None:
        assert len(groups) == (sum(lengths) > 0)


@pytest.mark.parametrize("tokens", [200, 500, 2048])
def test_groups_are_as_few_and_as_even_as_can_be(tokens):
    y = (torch.arange(127) < torch.randint(1, 128, (300, 1))).long()
    sizes = [int(row_lengths(y[group]).sum()) for group in group_by_length(y, tokens)]
    assert len(sizes) == -(-sum(sizes) // tokens)
    assert all(abs(size - sum(sizes) / len(sizes)) <= 127 for size in sizes)


# ---- packed rows ----------------------------------------------------------------------------


@pytest.fixture(params=[(1, 1), (4, 3), (128, 8)])
def multiples(request, monkeypatch):
    monkeypatch.setattr(packing, "TOKENS_MULTIPLE", request.param[0])
    monkeypatch.setattr(packing, "POSITIONS_MULTIPLE", request.param[1])
    return request.param


def tokens_of(y):
    """(row, position) of every token in order: of each row those up to its last target."""
    return [(row, t) for row, length in enumerate(lengths_of(y)) for t in range(length)]


def padded_by_hand(x, rows, tokens, layers, n_head):
    """x (N, layers · C) in (layers, B, nh, T', hs)."""
    B, T = rows.padded_shape
    heads = x.view(len(x), layers, n_head, -1)
    padded = torch.zeros(layers, B, n_head, T, heads.size(-1))
    for number, (row, t) in enumerate(tokens):
        padded[:, row, :, t] = heads[number]
    return padded


@EXAMPLES
@given(y=WITH_TARGETS, spare=st.integers(0, 9))
def test_packed_rows_hold_each_token_once(multiples, y, spare):
    most = y.size(1) + spare
    rows, tokens = PackedRows(y, most), tokens_of(y)
    padding = [0] * (-len(tokens) % multiples[0])
    x = torch.arange(1, y.numel() + 1).view_as(y)
    assert rows.positions.tolist() == [t for _, t in tokens] + padding
    assert rows.targets.tolist() == [y[token].item() for token in tokens] + padding
    assert rows.ids(x).tolist() == [x[token].item() for token in tokens] + padding
    # As wide as the longest row, rounded up, and never wider than attention can take.
    width = min(round_up(max(lengths_of(y)), multiples[1]), most)
    assert tuple(rows.padded_shape) == (len(y), width)


@pytest.mark.parametrize("most", [12, 13])
def test_rows_longer_than_the_model_takes_are_refused(most):
    """Padding after the last target does not count."""
    y = torch.ones(2, 20, dtype=torch.long)
    y[:, 13:] = 0
    if most == 13:
        PackedRows(y, most)
    else:
        with pytest.raises(ValueError, match=r"\b13\b.*\b12\b"):
            PackedRows(y, most)


@EXAMPLES
@given(y=WITH_TARGETS, heads=st.sampled_from([(1, 1), (3, 2), (2, 1), (2, 3)]))
def test_pad_and_unpad(multiples, y, heads):
    """Twice, as the layers share what is prepared; and other numbers of heads beside it."""
    rows, tokens = PackedRows(y, 24), tokens_of(y)
    for layers, n_head in (heads, (1, 2), heads):
        x = torch.rand(len(rows.targets), layers * n_head * 2) + 1  # of the padding too
        padded = rows.pad(x, layers, n_head)
        assert torch.equal(padded, padded_by_hand(x, rows, tokens, layers, n_head))
        # What attention writes where no token stands goes nowhere.
        for layer, values in enumerate(torch.where(padded == 0, 99.0, padded)):
            packed, expected = rows.unpad(values), x.unflatten(1, (layers, -1))[:, layer]
            assert packed.shape == expected.shape and not packed[len(tokens) :].any()
            assert torch.equal(packed[: len(tokens)], expected[: len(tokens)])
        assert rows.select(x) is x


@EXAMPLES
@given(y=WITH_TARGETS, n_head=st.integers(1, 3))
def test_with_targets_only(multiples, y, n_head):
    whole, tokens = PackedRows(y, 24), tokens_of(y)
    rows = whole.with_targets_only()
    kept = [number for number, token in enumerate(tokens) if y[token] != 0]
    if len(kept) == len(tokens):
        assert rows is whole
        return
    padding = [0] * (-len(kept) % multiples[0])
    assert rows.positions.tolist() == [tokens[number][1] for number in kept] + padding
    assert rows.targets.tolist() == [y[tokens[number]].item() for number in kept] + padding
    x = torch.rand(len(whole.targets), 2 * n_head) + 1
    padded = rows.pad(x, 1, n_head)
    assert torch.equal(padded, whole.pad(x, 1, n_head))  # attention still sees them all
    for selected in (rows.select(x), rows.unpad(padded[0])):
        assert selected.shape == (len(kept + padding), 2 * n_head)
        assert torch.equal(selected[: len(kept)], x[kept]) and not selected[len(kept) :].any()
    assert torch.equal(whole.unpad(padded[0])[: len(tokens)], x[: len(tokens)])  # unchanged


@pytest.mark.parametrize("way", ["pad", "unpad", "select", "unpad with targets only"])
def test_gradients_go_the_way_back(multiples, way):
    """Against finite differences; and a token that is not moved has none."""
    y = torch.tensor([[0, 3, 0, 0], [0, 0, 0, 0], [4, 0, 6, 0], [0, 0, 0, 2]])
    rows = PackedRows(y, 4)
    if way in ("select", "unpad with targets only"):
        rows = rows.with_targets_only()
    move = {"pad": lambda x: rows.pad(x, 2, 1), "select": rows.select}.get(way, rows.unpad)
    padded = (len(y), 2, rows.padded_shape[1], 1)
    size = padded if "unpad" in way else (len(PackedRows(y, 4).targets), 2)
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(move, x)
    (gradient,) = torch.autograd.grad(move(x).sum(), x)
    moved = {"pad": 9, "unpad": 9, "select": 4, "unpad with targets only": 4}[way]
    assert (gradient == 1).sum() == 2 * moved
    assert (gradient == 0).sum() == gradient.numel() - 2 * moved
    assert move(x.bfloat16()).dtype == torch.bfloat16  # as autocast has it


class OfACpu:
    """Stands for a tensor on the CPU, and notes what is done with it."""

    device = torch.device("cpu")

    def __init__(self):
        self.done = []

    def pin_memory(self):
        self.done.append("pinned")
        return self

    def to(self, device, non_blocking):
        self.done.append((device.type, non_blocking))
        return self


def test_to_a_gpu_a_tensor_is_sent_from_pinned_memory_without_a_wait():
    for kind, expected in (("cuda", ["pinned", ("cuda", True)]), ("cpu", [("cpu", True)])):
        tensor = OfACpu()
        packing.send(tensor, torch.device(kind))
        assert tensor.done == expected
