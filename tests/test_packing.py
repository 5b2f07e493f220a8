"""python -m pytest tests/test_packing.py

Batches without padding: which positions are left out, which rows go together, and the way there and back. With targets of
every shape that hypothesis can think of. That loss and gradients stay the same is test_speed_is_exact.py's.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packing
from packing import PackedRows, count_targets, crop_padding, group_by_length, round_up, row_lengths

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def ragged_targets(draw, silent=True):
    """y (B, T): in each row zeros, targets with holes, and zeros; with silent, rows (or all of y) without any target."""
    B, T = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    rows = []
    for _ in range(B):
        length = draw(st.integers(0 if silent else 1, T))
        row = [draw(st.sampled_from([0, 0, 5, 7])) for _ in range(max(length - 1, 0))] + [9] * min(length, 1)
        rows.append(row + [0] * (T - length))
    return torch.tensor(rows)


def lengths_of(y):
    """The plain way: the number of positions up to and with the last target of each row."""
    return [max((t + 1 for t, target in enumerate(row) if target != 0), default=0) for row in y.tolist()]


# ---- lengths, and columns that are left out -------------------------------------------------------------------------

def test_lengths_by_hand():
    y = torch.tensor([[0, 3, 0, 2, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [6, 0, 0, 0, 0], [0, 0, 0, 0, 8]])
    assert row_lengths(y).tolist() == [4, 5, 0, 1, 5] and row_lengths(y).dtype == torch.long
    assert count_targets(y) == 9 and type(count_targets(y)) is int
    assert row_lengths(y[:0]).tolist() == [] and count_targets(y[:0]) == 0


@EXAMPLES
@given(ragged_targets())
def test_lengths_crop_and_count(y):
    assert row_lengths(y).tolist() == lengths_of(y)
    assert count_targets(y) == sum(target != 0 for row in y.tolist() for target in row)
    x = torch.arange(y.numel()).view_as(y)
    longest = max([1, *lengths_of(y)])
    cropped = crop_padding(x, y)
    assert torch.equal(cropped[0], x[:, :longest]) and torch.equal(cropped[1], y[:, :longest])


# ---- rows that go together ------------------------------------------------------------------------------------------

@EXAMPLES
@given(ragged_targets(), st.none() | st.integers(1, 60), st.none() | st.integers(1, 5))
def test_parts(y, tokens, rows):
    lengths, parts = lengths_of(y), group_by_length(y, tokens, rows)
    order = [row for part in parts for row in part]
    assert sorted(order) == [row for row, length in enumerate(lengths) if length]  # each once, those without a target never
    assert order == sorted(order, key=lambda row: (lengths[row], row))             # the shortest first, else as they came
    assert all(parts) and all(type(row) is int for row in order)
    if rows is not None:
        assert max(map(len, parts), default=0) <= rows
    if tokens is not None:
        assert all(sum(lengths[row] for row in part) < tokens + y.size(1) for part in parts)
    if rows is None and tokens is None:
        assert len(parts) == (sum(lengths) > 0)


@pytest.mark.parametrize("tokens, sizes", [
    (None, [8]), (1000, [8]), (36, [8]), (35, [5, 3]), (18, [5, 3]), (12, [4, 2, 2]), (1, [1] * 8)])
def test_parts_are_as_large_as_asked(tokens, sizes):
    """Rows of 1, 2 … 8 positions, 36 in all, dealt out evenly."""
    y = (torch.arange(8) <= torch.arange(8)[:, None]).long()
    assert [len(part) for part in group_by_length(y, tokens)] == sizes


@pytest.mark.parametrize("tokens", [200, 500, 2048])
def test_parts_have_about_the_tokens_that_are_asked_for(tokens):
    """To within a row; all together they are as few as can be."""
    y = (torch.arange(127) < torch.randint(1, 128, (300, 1))).long()
    sums = [int(row_lengths(y[part]).sum()) for part in group_by_length(y, tokens)]
    assert sum(sums) == y.sum() and len(sums) == -(-sum(sums) // tokens)
    assert all(abs(size - sum(sums) / len(sums)) <= 127 for size in sums)


@pytest.mark.parametrize("rows, sizes", [(None, [8]), (8, [8]), (7, [7, 1]), (3, [3, 3, 2]), (1, [1] * 8)])
def test_no_more_rows_than_asked_for(rows, sizes):
    assert [len(part) for part in group_by_length(torch.ones(8, 4, dtype=torch.long), None, rows)] == sizes


def test_without_a_target_there_is_no_part():
    for y in (torch.zeros(3, 4, dtype=torch.long), torch.zeros(0, 4, dtype=torch.long)):
        for tokens, rows in ((None, None), (8, None), (None, 2), (8, 2)):
            assert group_by_length(y, tokens, rows) == []


# ---- packed rows ----------------------------------------------------------------------------------------------------

@pytest.fixture(params=[(1, 1), (4, 3), (128, 8)], ids=lambda pair: f"multiples of {pair[0]} and {pair[1]}")
def multiples(request, monkeypatch):
    tokens, positions = request.param
    monkeypatch.setattr(packing, "TOKENS_MULTIPLE", tokens)
    monkeypatch.setattr(packing, "POSITIONS_MULTIPLE", positions)
    return tokens, positions


def packed_by_hand(y):
    """(row, position) of every token in order: of each row those up to its last target."""
    return [(row, position) for row, length in enumerate(lengths_of(y)) for position in range(length)]


@EXAMPLES
@given(y=ragged_targets().filter(lambda y: y.any()), spare=st.integers(0, 9))
def test_packed_rows_hold_each_token_that_counts_once(multiples, y, spare):
    tokens, positions = multiples
    rows, places = PackedRows(y, y.size(1) + spare), packed_by_hand(y)
    N, longest = round_up(len(places), tokens), max(lengths_of(y))
    x = torch.arange(1, y.numel() + 1).view_as(y)
    assert rows.positions.tolist() == [position for _, position in places] + [0] * (N - len(places))
    assert rows.targets.tolist() == [y[place].item() for place in places] + [0] * (N - len(places))
    assert rows.ids(x).tolist() == [x[place].item() for place in places] + [0] * (N - len(places))
    # As wide as the longest row, rounded up, and never wider than attention can take.
    assert tuple(rows.grid) == (len(y), min(round_up(longest, positions), y.size(1) + spare))


HEADS = st.sampled_from([(1, 1), (3, 2), (2, 1), (2, 3)])  # linear layers, and heads of each


def heads_by_hand(x, rows, places, layers, n_head):
    """The tokens x (N, C · layers) where attention gets them, number by number."""
    (B, T), size = rows.grid, x.size(1) // (layers * n_head)
    laid_out = torch.zeros(layers, B, n_head, T, size, dtype=x.dtype)
    for number, (row, position) in enumerate(places):
        for layer in range(layers):
            for head in range(n_head):
                first = (layer * n_head + head) * size
                laid_out[layer, row, head, position] = x[number, first:first + size]
    return laid_out


@EXAMPLES
@given(y=ragged_targets().filter(lambda y: y.any()), heads=HEADS)
def test_laid_out_each_token_stands_in_its_row_and_zeros_elsewhere(multiples, y, heads):
    rows, places = PackedRows(y, 24), packed_by_hand(y)
    x = torch.rand(len(rows.targets), heads[0] * heads[1] * 2) + 1  # of the inert tokens too
    laid_out = rows.lay_out(x, *heads)
    assert torch.equal(laid_out, heads_by_hand(x, rows, places, *heads))
    assert torch.equal(rows.lay_out(x + 1, *heads)[laid_out > 0], laid_out[laid_out > 0] + 1)  # the next layer, by the same moves
    laid_out = torch.where(laid_out == 0, 99.0, laid_out)  # what attention leaves where no token stands goes nowhere
    for layer, of_layer in enumerate(laid_out):
        packed, expected = rows.pack(of_layer), x.unflatten(1, (heads[0], -1))[:, layer]
        assert packed.shape == expected.shape and torch.equal(packed[:len(places)], expected[:len(places)])
        assert not packed[len(places):].any()
    assert rows.keep(x) is x


@EXAMPLES
@given(y=ragged_targets().filter(lambda y: y.any()), n_head=st.integers(1, 3))
def test_counted_rows_go_on_with_the_tokens_that_have_a_target(multiples, y, n_head):
    whole, places = PackedRows(y, 24), packed_by_hand(y)
    x = torch.rand(len(whole.targets), 2 * n_head) + 1
    before = whole.pack(whole.lay_out(x, 1, n_head)[0])
    rows = whole.counted()
    kept = [number for number, place in enumerate(places) if y[place] != 0]
    N = round_up(len(kept), multiples[0])
    assert rows.positions.tolist() == [places[number][1] for number in kept] + [0] * (N - len(kept))
    assert rows.targets.tolist() == [y[places[number]].item() for number in kept] + [0] * (N - len(kept))
    assert torch.equal(rows.lay_out(x, 1, n_head), whole.lay_out(x, 1, n_head))  # attention still sees them all
    for gone_on in (rows.keep(x), rows.pack(rows.lay_out(x, 1, n_head)[0])):
        if len(kept) == len(places):  # the very same rows
            assert rows is whole and torch.equal(gone_on[:len(kept)], x[:len(kept)])
        else:
            assert gone_on.shape == (N, 2 * n_head) and torch.equal(gone_on[:len(kept)], x[kept]) and not gone_on[len(kept):].any()
    assert whole.targets.tolist()[:len(places)] == [y[place].item() for place in places]  # untouched
    assert torch.equal(whole.pack(whole.lay_out(x, 1, n_head)[0]), before) and torch.equal(before[:len(places)], x[:len(places)])


def test_moves_are_made_once_for_each_way_to_lie(monkeypatch):
    """All layers of a model share them; layers of another number, or of other heads, have their own."""
    y = torch.tensor([[0, 3, 0, 0], [4, 0, 6, 0]])
    rows, places, made = PackedRows(y, 4), packed_by_hand(y), []
    make = packing.Move.__init__
    monkeypatch.setattr(packing.Move, "__init__", lambda move, *arguments: made.append(move) or make(move, *arguments))
    x = torch.rand(len(rows.targets), 12) + 1
    for _ in range(3):
        for heads in ((3, 2), (1, 2), (3, 1), (2, 3)):
            laid_out = rows.lay_out(x, *heads)
            assert torch.equal(laid_out, heads_by_hand(x, rows, places, *heads))
            packed, expected = rows.pack(laid_out[0]), x.unflatten(1, (heads[0], -1))[:, 0]
            assert torch.equal(packed[:len(places)], expected[:len(places)])
    assert len(made) == 4 + 3


def test_a_grid_is_no_wider_than_attention_can_take():
    y = torch.ones(2, 13, dtype=torch.long)
    assert [tuple(PackedRows(y, most).grid) for most in (13, 15, 16, 200)] == [(2, 13), (2, 15), (2, 16), (2, 16)]


def test_the_kept_may_come_in_any_type():
    """As autocast has it: products in bfloat16, sums in float32; nothing is converted on the way."""
    rows = PackedRows(torch.tensor([[0, 3, 0], [4, 5, 6]]), 3)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x = torch.rand(len(rows.targets), 2).to(dtype)
        laid_out = rows.lay_out(x, 1, 2)
        assert laid_out.dtype == rows.pack(laid_out[0]).dtype == rows.counted().keep(x).dtype == dtype


@pytest.mark.parametrize("way", ["lay_out", "pack", "keep", "counted pack"])
def test_gradients_go_the_way_back(multiples, way):
    """Against finite differences; and a token that is asked for no more has none."""
    y = torch.tensor([[0, 3, 0, 0], [0, 0, 0, 0], [4, 0, 6, 0], [0, 0, 0, 2]])
    rows = PackedRows(y, 4)
    if way in ("keep", "counted pack"):
        rows = rows.counted()
    function = {"lay_out": lambda x: rows.lay_out(x, 2, 1), "keep": rows.keep}.get(way, rows.pack)
    size = (len(y), 2, rows.grid[1], 1) if "pack" in way else (len(PackedRows(y, 4).targets), 2)
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    gradient, = torch.autograd.grad(function(x).sum(), x)
    expected = {"lay_out": 9, "pack": 9, "keep": 4, "counted pack": 4}[way]
    assert (gradient == 1).sum() == 2 * expected and (gradient == 0).sum() == gradient.numel() - 2 * expected


@pytest.mark.parametrize("number, multiple, expected", [(0, 8, 0), (1, 8, 8), (8, 8, 8), (9, 8, 16), (127, 1, 127)])
def test_round_up(number, multiple, expected):
    assert round_up(number, multiple) == expected
