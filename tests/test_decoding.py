"""
Greedy decoding of many prompts at once against the reference's, one prompt at a time; and that no
position is computed twice.
"""

import math

import pytest
import torch
from torch import nn

import fast.decoding as decoding
import reference
from attention import VARIANTS
from baseline import baseline_answer
from fast.decoding import Answer, generate
from small_models import (
    MASK_ID,
    MeanAttention,
    draw_prompts,
    make_baseline,
    make_writer,
    most_positions,
)

V, LAYERS, HEADS = 12, 2, 3
SIZES = {"vocab_size": V, "block_size": 8, "n_layer": LAYERS, "n_head": HEADS, "n_embd": 6}
CHARS = dict(enumerate([reference.PAD, reference.MASK, *"abcdefghij"]))
IDS = {char: i for i, char in CHARS.items()}


def ids_of(*args, **kwargs):
    return [answer.ids for answer in generate(*args, **kwargs)]


def text_of(ids):
    return "".join(CHARS[i] for i in ids)


# ---- answers --------------------------------------------------------------------------------


def reference_answer(model, prompt, positions, most):
    """The reference's answer and its probability, with the ⁇ at its end if it is not cut off."""
    room, state = min(most, positions - len(prompt) + 1), model.state_dict()
    if room <= 0:
        return [], 1.0
    args = text_of(prompt[:-1]), IDS, CHARS, LAYERS, HEADS, positions
    ids = [IDS[char] for char in reference.greedy_answer(state, *args, max_new=room)]
    probability, text = 1.0, list(prompt)
    for i in ids if len(ids) == room else [*ids, MASK_ID]:
        logits = reference.gpt_logits(state, torch.tensor([text]), LAYERS, HEADS)[0, -1]
        probability *= reference.softmax(logits)[i].item()
        text.append(i)
    return ids, probability


@pytest.mark.parametrize("most", [32, 2])
def test_answers_and_their_probabilities_are_the_references(known_variant, most):
    """
    With a cache and without, in any batch: prompts of every length, mixed, also too long ones;
    among the answers are empty ones, short ones, and some to the end of the block.
    """
    seed = {"rope": 13, "perceiver": 1}.get(known_variant, 150)  # with all kinds of answers
    model = make_writer(known_variant, SIZES, seed, dtype=torch.float64)
    positions = most_positions(known_variant, 8)
    lengths = [
        3,
        1,
        positions,
        5,
        3,
        2,
        positions - 1,
        positions + 1,
        5,
        1,
        4,
        2,
        4,
        positions + 2,
    ]
    prompts = draw_prompts(lengths, V)
    expected = [reference_answer(model, prompt, positions, most) for prompt in prompts]
    rooms = [min(most, positions - n + 1) for n in lengths]
    kinds = {(ids == [], len(ids) == room) for (ids, _), room in zip(expected, rooms, strict=True)}
    assert {(True, False), (False, True)} <= kinds and (most == 2 or (False, False) in kinds)
    for cached in {model.supports_kv_cache, False}:
        model.supports_kv_cache = cached
        for batch_size in (1, 2, 5, 256):
            answers = generate(model.train(), prompts, MASK_ID, most, batch_size=batch_size)
            assert not model.training and {answer.proven for answer in answers} == {None}
            assert [answer.ids for answer in answers] == [ids for ids, _ in expected]
            found = [math.exp(answer.log_probability) for answer in answers]
            assert found == pytest.approx([p for _, p in expected], rel=1e-10)


def test_prompts_that_begin_alike(known_variant):
    """As the questions do; also where one prompt is the beginning of all others."""
    model, positions = make_writer(known_variant, SIZES), most_positions(known_variant, 8)
    for prefix in ([], [5], [5, 2, 9]):
        lengths = [1, 2, 3, positions - len(prefix), 2, 3, 4]
        prompts = [prefix + end for end in draw_prompts(lengths, V)]
        expected = [reference_answer(model, prompt, positions, 32)[0] for prompt in prompts]
        assert ids_of(model, prompts, MASK_ID, 32) == expected
        prompts = [[*prefix, MASK_ID, *end] for end in ([], [3], [3, 4], [7])]
        assert ids_of(model, prompts, 99, 2) == [ids_of(model, [p], 99, 2)[0] for p in prompts]


@pytest.mark.parametrize("beam", [1, 4])
def test_without_room_an_answer_is_empty_and_certain(known_variant, beam):
    model, positions = make_writer(known_variant, SIZES), most_positions(known_variant, 8)
    for cached in {model.supports_kv_cache, False}:
        model.supports_kv_cache = cached
        prompts = draw_prompts([positions + 1, 2, positions + 2, positions], V)
        first, second, third, _ = generate(model, prompts, MASK_ID, 4, beam)
        assert first == third == Answer([], 0.0) and second.log_probability < 0
        assert generate(model, prompts[:1], MASK_ID, 4, beam) == [Answer([], 0.0)]
        assert generate(model, prompts, MASK_ID, 0, beam) == [Answer([], 0.0)] * 4
        assert generate(model, [], MASK_ID, 4, beam) == []


def test_long_answers_are_the_baselines(known_variant):
    """In a block with room for them; rows stop at any step, so the cache is narrowed often."""
    sizes = {**SIZES, "block_size": 64, "n_head": 2, "n_embd": 8}
    seeds = {"vanilla": 52, "synthesizer": 18, "rope": 16, "perceiver": 6}
    seed = seeds[known_variant]  # with answers of many lengths
    model = make_writer(known_variant, sizes, seed, dtype=torch.float64)
    baseline = make_baseline(known_variant, sizes, model.state_dict())
    prompts, expected = draw_prompts([2 + (i * 7) % 30 for i in range(20)], V), []
    for prompt in prompts:
        text = baseline_answer(baseline, text_of(prompt[:-1]), IDS, CHARS, 32)
        expected.append([IDS[char] for char in text])
    assert len({len(ids) for ids in expected}) > 5 and max(map(len, expected)) == 32
    for batch_size in (1, 13, 256):
        assert ids_of(model, prompts, MASK_ID, 32, batch_size=batch_size) == expected


def test_every_variant_is_decoded_with_and_without_a_cache(variant):
    """A variant that says that it supports a cache answers as without one."""
    model = make_writer(variant, SIZES, dtype=torch.float64).eval()
    prompts = draw_prompts([1, 3, 2, 5, 3], V)
    cached = ids_of(model, prompts, 99, 3)
    model.supports_kv_cache = False
    assert ids_of(model, prompts, 99, 3) == cached
    assert cached == [argmax_ids(model, prompt, 3) for prompt in prompts]


def argmax_ids(model, prompt, count):
    """The most probable ids one after the other, from the model alone."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(model(torch.tensor([ids]))[0][0, -1].argmax().item())
    return ids[len(prompt) :]


def test_an_attention_that_has_only_forward_is_decoded(monkeypatch):
    monkeypatch.setitem(VARIANTS, "mean", MeanAttention)
    model = make_writer("mean", SIZES, dtype=torch.float64).eval()
    prompts = draw_prompts([1, 3, 2, 8, 3], V)
    expected = [argmax_ids(model, prompt, min(4, 9 - len(prompt))) for prompt in prompts]
    assert ids_of(model, prompts, 99, 4) == expected


def test_memory_that_was_not_written_does_not_matter(known_variant):
    """Memory that torch does not initialise is NaN here."""
    model, prompts = make_writer(known_variant, SIZES), draw_prompts([1, 2, 4], V)
    expected = ids_of(model, prompts, 99, 32)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert ids_of(model, prompts, 99, 32) == expected
    finally:
        torch.use_deterministic_algorithms(False)


# ---- the work -------------------------------------------------------------------------------


def sizes_read(model, *args, **kwargs):
    """(rows, positions) of each call of the model while it generates."""
    sizes = []
    hook = model.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    generate(model, *args, **kwargs)
    hook.remove()
    return sizes


def test_no_position_is_computed_twice():
    """The common prefix once, of each prompt the rest but its last id, then one id at a time."""
    model = make_writer("vanilla", SIZES)
    prompts = [[5, 2, *end, MASK_ID] for end in ([7, 4], [8, 3], [9, 6])]
    assert sizes_read(model, prompts, 99, 32) == [(1, 2), (3, 2)] + [(3, 1)] * 4


def test_batches_are_of_similar_lengths_and_not_too_large():
    model = make_writer("vanilla", SIZES)
    sizes = sizes_read(model, draw_prompts([5, 2, 5, 2, 3], V), 99, 1, batch_size=2)
    assert sizes == [(2, 1), (2, 1), (2, 4), (2, 1), (1, 4), (1, 1)]
    sizes = sizes_read(model, draw_prompts([2] * 200, V), 99, 1)
    assert sum(rows for rows, _ in sizes) == 2 * 200
    assert max(rows for rows, _ in sizes) == decoding.ROWS_AT_ONCE["cpu"]


def test_beams_share_the_rows_at_once():
    """As many prompts run together as have room with all their beams, one at least."""
    model = make_writer("vanilla", SIZES, size=0.3)
    prompts = [[5, *prompt] for prompt in draw_prompts([2] * 5, V)]
    no_end = torch.tensor([MASK_ID])
    model.head.register_forward_hook(lambda head, x, logits: logits.index_fill(-1, no_end, -50))
    for batch_size, batches in ((8, [2, 2, 1]), (11, [2, 2, 1]), (3, [1] * 5), (256, [5])):
        expected = [(1, 1)]
        for rows in batches:
            expected += [(rows, 1), (rows, 1), (4 * rows, 1)]
        assert sizes_read(model, prompts, MASK_ID, 2, 4, batch_size) == expected


class Counting(nn.Module):
    """A model of 60 positions whose most probable next id is the one last read plus 1."""

    max_positions, blocks = 60, []

    def __init__(self, cached):
        super().__init__()
        self.supports_kv_cache, self.weight = cached, nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, x, kv_cache=None):
        assert (kv_cache is not None) == self.supports_kv_cache
        if kv_cache is not None:
            kv_cache.advance(x.shape[1])
            assert kv_cache.positions.shape == x.shape
            assert kv_cache.positions.max() < self.max_positions
        assert x.shape[1] <= self.max_positions
        self.calls.append(x.tolist())
        return nn.functional.one_hot(x + 1, 200).double(), None


@pytest.mark.parametrize("cached", [True, False])
def test_an_answer_ends_at_the_stop_id_the_length_or_the_blocks_end(cached):
    def answer(prompt, stop=199):
        return ids_of(Counting(cached), [prompt], stop, 32)[0]

    assert answer([5, 10]) == list(range(11, 43))  # 32 of them
    assert answer([5, 10], stop=42) == list(range(11, 42))  # in the last place
    assert answer([5, 10], stop=43) == list(range(11, 43))  # one after it
    assert answer([5, 10], stop=11) == []
    assert answer([0] * 40) == list(range(1, 22))  # 60 - 40 + 1
    assert answer([0] * 60) == [1]
    prompts = [[1, 2] + [7] * n for n in (50, 57, 20, 58, 40, 41)]  # in their order
    expected = [list(range(8, 8 + min(32, 61 - len(prompt)))) for prompt in prompts]
    for batch_size in (1, 2, 256):
        assert ids_of(Counting(cached), prompts, 199, 32, batch_size=batch_size) == expected


def test_rows_that_have_stopped_drop_out_once_they_are_half():
    model = Counting(cached=True)
    answers = ids_of(model, [[3], [10], [8], [17]], 20, 32)
    assert answers == [list(range(first + 1, 20)) for first in (3, 10, 8, 17)]
    # ids 17, 10, 8 and 3 stop after 3, 10, 12 and 17 steps.
    assert [len(call) for call in model.calls] == [4] * 10 + [2] * 2 + [1] * 5
    assert model.calls[10] == [[13], [18]]
