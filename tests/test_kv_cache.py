"""The KV cache: logits through it against the reference's without one."""

import pytest
import torch
from torch.testing import assert_close

import reference
from attention import VARIANTS
from fast.kv_cache import KVCache
from small_models import draw_prompts, make_writer

V, LAYERS, HEADS = 12, 2, 3
SIZES = {"vocab_size": V, "block_size": 8, "n_layer": LAYERS, "n_head": HEADS, "n_embd": 6}
POSITIONS = 7  # that all variants take
CACHED = [name for name in reference.VARIANTS if VARIANTS[name].supports_kv_cache]


@pytest.fixture(params=CACHED)
def model(request):
    return make_writer(request.param, SIZES, dtype=torch.float64).eval()


def make_cache(rows, columns=POSITIONS):
    return KVCache(LAYERS, columns, torch.zeros(rows, dtype=torch.long))


def check(model, texts, logits):
    """That logits (B, T, V) are the reference's at the ends of these texts."""
    for text, found in zip(texts, logits, strict=True):
        expected = reference.gpt_logits(model.state_dict(), torch.tensor([text]), LAYERS, HEADS)
        assert_close(found, expected[0, -len(found) :], rtol=1e-10, atol=1e-10)


def read_texts(model, cache, texts):
    """Reads texts of different lengths, with zeros after them that do not count."""
    T = max(map(len, texts))
    model(torch.tensor([text + [0] * (T - len(text)) for text in texts]), kv_cache=cache)
    cache.lengths = torch.tensor([len(text) for text in texts])


def test_positions_and_mask_by_hand():
    """Rows that have read 2 and 0 positions go on by two; a column at or before them is seen."""
    cache = KVCache(1, 5, torch.tensor([2, 0]))
    cache.advance(2)
    assert cache.positions.tolist() == [[2, 3], [0, 1]] and cache.lengths.tolist() == [4, 2]
    assert cache.layers[0].mask.int().tolist() == [
        [[[1, 1, 1, 0], [1, 1, 1, 1]]],
        [[[1, 0, 0, 0], [1, 1, 0, 0]]],
    ]
    values = torch.tensor([[[[30.0], [40.0]]], [[[10.0], [20.0]]]])  # (B, nh, T, hs)
    (stored,) = cache.layers[0].extend(values)
    assert stored[:, 0, :, 0].tolist() == [[0, 0, 30, 40], [10, 20, 0, 0]]


@pytest.mark.parametrize(
    "cuts", [[cut] for cut in range(1, POSITIONS)] + [list(range(1, POSITIONS))]
)
def test_logits_of_pieces_are_those_of_the_whole(model, cuts):
    idx, cache = torch.randint(V, (4, POSITIONS)), make_cache(4)
    pieces = [model(piece, kv_cache=cache)[0] for piece in idx.tensor_split(cuts, dim=1)]
    check(model, idx.tolist(), torch.cat(pieces, dim=1))
    assert cache.lengths.tolist() == [POSITIONS] * 4


def test_rows_of_different_lengths_that_are_taken_in_another_order(model):
    """Left out, or twice; what they read then is each row's own."""
    texts, cache = draw_prompts([1, 4, 2], V), make_cache(3, columns=4)
    read_texts(model, cache, texts)
    order = [2, 0, 2, 2, 1]
    taken = cache.take(order, columns=7)
    assert taken.lengths.tolist() == [2, 1, 2, 2, 4]
    more = torch.randint(V, (5, 3))
    logits = model(more, kv_cache=taken)[0]
    check(model, [texts[row] + ids for row, ids in zip(order, more.tolist(), strict=True)], logits)
    assert cache.lengths.tolist() == [1, 4, 2]
