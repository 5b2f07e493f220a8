"""Beam search against all answers that there are, and by hand."""

import math

import pytest
import torch
from torch import nn

import reference
from attention import VARIANTS
from fast.decoding import generate
from small_models import MASK_ID, draw_prompts, make_writer, most_positions

V, LAYERS, HEADS = 12, 2, 3
SIZES = {"vocab_size": V, "block_size": 8, "n_layer": LAYERS, "n_head": HEADS, "n_embd": 6}


def all_answers(model, prompt, room):
    """The reference's probability of every answer there is, by its ids."""
    found, unfinished = {}, {(): 1.0}
    for _ in range(room):
        texts = torch.tensor([prompt + list(ids) for ids in unfinished])
        logits = reference.gpt_logits(model.state_dict(), texts, LAYERS, HEADS)[:, -1]
        longer = {}
        for (ids, probability), row in zip(unfinished.items(), logits, strict=True):
            for i, factor in enumerate(reference.softmax(row).tolist()):
                target = found if i == MASK_ID else longer
                target[ids if i == MASK_ID else (*ids, i)] = probability * factor
        unfinished = longer
    return found | unfinished


@pytest.mark.slow
@pytest.mark.parametrize("size, mask", [(0.7, 1.5), (1.0, 0.5)])
def test_a_beam_against_all_answers_there_are(known_variant, size, mask):
    """
    With room for one, two and three ids. A beam that drops nothing finds the best; a narrower one
    says where it must have. With a cache and without.
    """
    seed = {"rope": 1, "perceiver": 1}.get(known_variant, 150)  # where greedy decoding may err
    model = make_writer(known_variant, SIZES, seed, size, mask, torch.float64)
    positions = most_positions(known_variant, 8)
    prompts = draw_prompts([1, 2, 3, positions - 2, positions - 1, positions, 2, 3], V)
    rooms = [min(3, positions - len(prompt) + 1) for prompt in prompts]
    answers = [all_answers(model, p, room) for p, room in zip(prompts, rooms, strict=True)]
    assert [sum(found.values()) for found in answers] == pytest.approx([1] * len(prompts))
    best = [list(max(found, key=found.get)) for found in answers]
    greedy = [answer.ids for answer in generate(model, prompts, MASK_ID, 3)]
    assert 0 < sum(a == b for a, b in zip(greedy, best, strict=True)) < len(best)
    proofs = set()
    for beam in (2, 3, 5, 11 * 11):
        for cached in {model.supports_kv_cache, False}:
            model.supports_kv_cache = cached
            found = generate(model, prompts, MASK_ID, 3, beam)
            for answer, every, ids in zip(found, answers, best, strict=True):
                probability = math.exp(answer.log_probability)
                assert probability == pytest.approx(every[tuple(answer.ids)], rel=1e-10)
                assert answer.ids == ids or answer.proven is False
                assert answer.proven or beam < 11 * 11
                proofs.add((beam, answer.proven))
    assert (2, True) in proofs and (size == 1 or (2, False) in proofs)


def test_answers_do_not_depend_on_the_batch(known_variant):
    """Nor on a cache: rows are copied, dropped and put in another order at any step."""
    sizes = {**SIZES, "block_size": 64, "n_head": 2, "n_embd": 8}
    seed = {"rope": 4, "perceiver": 1}.get(known_variant, 7)  # with all kinds of answers
    model = make_writer(known_variant, sizes, seed, 1.3, dtype=torch.float64).eval()
    prompts = draw_prompts([2 + (i * 7) % 60 for i in range(20)], V)
    alone = [generate(model, [prompt], MASK_ID, 9, 4)[0] for prompt in prompts]
    for cached, batch_size in ((True, 7), (True, 37), (True, 256), (False, 37)):
        model.supports_kv_cache = cached and VARIANTS[known_variant].supports_kv_cache
        for answer, expected in zip(
            generate(model, prompts, MASK_ID, 9, 4, batch_size), alone, strict=True
        ):
            assert (answer.ids, answer.proven) == (expected.ids, expected.proven)
            assert answer.log_probability == pytest.approx(expected.log_probability, rel=1e-9)
    assert len({len(answer.ids) for answer in alone}) > 2
    assert {answer.proven for answer in alone} == {True, False}


class Chain(nn.Module):
    """A model that looks at the last id alone: table[i] has the probabilities of what follows."""

    max_positions = 60

    def __init__(self, table):
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.zeros(1)), []
        probabilities = torch.zeros(10, 10, dtype=torch.double)
        for last, following in table.items():
            for i, probability in following.items():
                probabilities[last, i] = probability
        self.logits = probabilities.log()

    def forward(self, x):
        self.calls.append(x[:, -1].tolist())
        return self.logits[x], None


STOP = 9


def search(table, beam, max_new_tokens=5):
    """ids, probability and proof of the answer after the id 0, and what each call read last."""
    model = Chain(table)
    (answer,) = generate(model, [[5, 0]], STOP, max_new_tokens, beam)
    return (
        answer.ids,
        pytest.approx(math.exp(answer.log_probability)),
        answer.proven,
    ), model.calls


def test_the_best_first_id_need_not_begin_the_best_answer():
    """0.6 · 0.55 by the best first id, 0.4 · 0.9 by the other; what is less is not followed."""
    table = {0: {1: 0.6, 2: 0.4}, 1: {3: 0.55, 4: 0.45}, 2: {STOP: 0.9, 3: 0.1}}
    table |= {3: {STOP: 1}, 4: {STOP: 1}}
    assert search(table, 1) == (([1, 3], 0.33, None), [[0], [1], [3]])
    assert search(table, 2) == (([2], 0.36, True), [[0], [1, 2]])


def test_a_beam_that_is_too_narrow_proves_nothing():
    """The third first id, which a beam of two drops at 0.25, ends the best answer."""
    table = {0: {1: 0.4, 2: 0.35, 3: 0.25}, 1: {4: 0.5, 5: 0.5}, 2: {4: 0.6, 5: 0.4}}
    table |= dict.fromkeys((3, 4, 5), {STOP: 1})
    assert search(table, 2)[0] == ([2, 4], 0.21, False)
    assert search(table, 3)[0] == ([3], 0.25, True)
    table[2] = {4: 0.8, 5: 0.2}  # 0.28, more than the 0.25 that was dropped
    assert search(table, 2)[0] == ([2, 4], 0.28, True)


def test_an_answer_that_is_cut_off_has_no_end():
    table = {0: {1: 0.6, STOP: 0.4}, 1: {2: 0.9, STOP: 0.1}, 2: {3: 0.55, STOP: 0.45}}
    table[3] = {STOP: 1}
    assert search(table, 4, 1)[0] == ([1], 0.6, True)
    assert search(table, 4, 2)[0] == ([1, 2], 0.54, True)
    assert search(table, 4, 3)[0] == ([], 0.4, True)
    assert search(table, 1, 2)[0] == ([1, 2], 0.54, None)
    assert search(table, 1, 3)[0] == ([1, 2, 3], 0.297, None)
