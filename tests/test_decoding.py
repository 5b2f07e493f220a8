"""python -m pytest tests/test_decoding.py

Answers of many prompts at once against the reference's and plain.py's, one prompt at a time and the whole text anew for each
character; their probabilities; beam search against all answers that there are; the cache against a pass without it; and that no
position is computed twice.
"""

import math

import pytest
import torch
from torch.testing import assert_close

import decoding
import reference
from conftest import ROOT
from dataset import CharCorruptionDataset, parse_questions, read_text
from decoding import Answer, CachingReader, Past, RecomputingReader, find_answers, greedy_answers
from model import GPT, GPTConfig
from plain import PlainGPT, plain_answer, vocabulary
from recipe import COURSE

COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"
V, BLOCK, LAYERS, HEADS = 12, 8, 2, 3  # of conftest's tiny_config
MASK_ID = 1
SEED = 150  # of strong(): with it both variants write various ids, and now and then ⁇
CHARS = {0: reference.PAD, MASK_ID: reference.MASK, **{i: "abcdefghij"[i - 2] for i in range(2, V)}}
IDS = {char: i for i, char in CHARS.items()}


def strong(model, seed, size=1.0):
    """The model with large parameters, so that what it writes depends on all that it reads."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return model


def writes_mask(model, factor):
    """The model, to which ⁇ is likelier."""
    with torch.no_grad():
        model.head.weight[MASK_ID] *= factor
    return model


def some_prompts(lengths, seed=2):
    """Prompts of these lengths, each ending in ⁇."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, V, (n - 1,), generator=generator).tolist() + [MASK_ID] for n in lengths]


@pytest.fixture
def positions(variant):
    """Of conftest's tiny_model."""
    return {"vanilla": BLOCK, "synthesizer": BLOCK - 1}[variant]


# ---- answers --------------------------------------------------------------------------------------------------------

def reference_answer(model, prompt, positions, max_length=32):
    """The reference's answer as ids, of as many characters as there are positions left for: it knows no end of the block."""
    question = "".join(CHARS[i] for i in prompt[:-1])
    answer = reference.greedy_answer(model.state_dict(), question, IDS, CHARS, LAYERS, HEADS, positions,
                                     max_new=min(max_length, positions - len(prompt) + 1))
    return [IDS[char] for char in answer]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 256])
def test_answers_are_the_references(tiny_model, positions, batch_size):
    """Prompts of every length that fits, mixed; among the answers are empty ones, short ones, and some to the block's end."""
    model = writes_mask(strong(tiny_model, SEED), 1.5)
    lengths = [3, 1, positions, 5, 3, 2, 3, positions - 1, 5, 1, 4, 4, 2, 2, 4, 3, 5]
    prompts = some_prompts(lengths)
    answers = greedy_answers(model.train(), prompts, MASK_ID, 32, batch_size)
    assert answers == [reference_answer(model, prompt, positions) for prompt in prompts]
    room = [positions - n + 1 for n in lengths]
    assert [] in answers
    assert any(0 < len(answer) < most for answer, most in zip(answers, room))
    assert any(len(answer) == most > 1 for answer, most in zip(answers, room))
    assert not model.training
    assert greedy_answers(model, prompts, MASK_ID, 2, batch_size) == [
        reference_answer(model, prompt, positions, 2) for prompt in prompts]


def test_answers_to_prompts_that_begin_alike(tiny_model, positions):
    """As the questions do; also where one prompt is the beginning of all others, with its last id and without."""
    model = writes_mask(strong(tiny_model, SEED), 1.5)
    for beginning in ([], [5], [5, 2, 9]):
        prompts = [beginning + end for end in some_prompts([1, 2, 3, positions - len(beginning), 2, 3, 4])]
        answers = greedy_answers(model, prompts, MASK_ID, 32)
        assert answers == [reference_answer(model, prompt, positions) for prompt in prompts]
        longer = [[*beginning, MASK_ID, *end] for end in ([], [3], [3, 4], [7])]
        assert greedy_answers(model, longer, 99, 2) == [greedy_answers(model, [prompt], 99, 2)[0] for prompt in longer]


def test_a_prompt_of_one_id_and_one_that_fills_the_block(tiny_model, positions):
    model = strong(tiny_model, SEED)
    for prompts in ([[MASK_ID]], some_prompts([positions]), some_prompts([positions, 1]), [[MASK_ID], [MASK_ID]]):
        answers = greedy_answers(model, prompts, 99, 32)
        assert [len(answer) for answer in answers] == [positions - len(prompt) + 1 for prompt in prompts]
        for prompt, answer in zip(prompts, answers):
            ids = list(prompt)
            for _ in answer:
                ids.append(model(torch.tensor([ids]))[0][0, -1].argmax().item())
            assert answer == ids[len(prompt):]


def test_a_prompt_beyond_the_last_position_has_no_answer(tiny_model, positions):
    model = strong(tiny_model, SEED)
    answers = greedy_answers(model, some_prompts([2, positions + 1, 3]), 99, 4)
    assert [len(answer) for answer in answers] == [4, 0, 4]


def test_nothing_asked(tiny_model):
    assert greedy_answers(tiny_model, [], MASK_ID, 32) == []
    assert greedy_answers(tiny_model, [[2, 3], [4]], MASK_ID, 0) == [[], []]


def test_answers_do_not_depend_on_the_batch():
    """In a block with room for long answers, rows that stop at any step, so that the cache is narrowed again and again."""
    for variant in ("vanilla", "synthesizer"):
        model = writes_mask(strong(GPT(GPTConfig(V, 64, n_layer=2, n_head=2, n_embd=8, **{variant: True})), 7).double(), 2)
        prompts = some_prompts([2 + (i * 7) % 40 for i in range(60)])
        alone = [greedy_answers(model, [prompt], MASK_ID, 32)[0] for prompt in prompts]
        for batch_size in (2, 13, 60, 256):
            assert greedy_answers(model, prompts, MASK_ID, 32, batch_size) == alone
        assert len({len(answer) for answer in alone}) > 8
        plain = PlainGPT(V, 64, 2, 2, 8, synthesizer=variant == "synthesizer").double()
        plain.load_state_dict(model.state_dict())
        for prompt, answer in zip(prompts, alone):
            question = "".join(CHARS[i] for i in prompt[:-1])
            most = min(32, 64 - (variant == "synthesizer") - len(prompt) + 1)
            assert "".join(CHARS[i] for i in answer) == plain_answer(plain, question, IDS, CHARS, most)


def test_a_long_answer_is_the_references():
    """32 characters and not one more, with attention, in a block that has room for them."""
    model = strong(GPT(GPTConfig(V, 48, n_layer=1, n_head=1, n_embd=4)), 3)
    prompt = [4, 2, MASK_ID]
    answer = greedy_answers(model, [prompt], MASK_ID, 32)[0]
    expected = reference.greedy_answer(model.state_dict(), "ca", IDS, CHARS, 1, 1, 48)
    assert "".join(CHARS[i] for i in answer) == expected and len(expected) == 32


def test_memory_that_was_not_written_does_not_matter(tiny_model, positions):
    """Memory that torch does not initialise is NaN here."""
    model = strong(tiny_model, SEED)
    prompts = [[5, 2] + end for end in some_prompts([1, 2, 4])]
    expected = greedy_answers(model, prompts, 99, 32)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert greedy_answers(model, prompts, 99, 32) == expected
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="the course's files are not here")
def test_the_courses_questions(variant):
    """Random parameters of the course's size, 30 of its questions: the same text as one question at a time."""
    corpus = read_text(COURSE_FILES / "wiki.txt")
    dataset = CharCorruptionDataset(corpus, COURSE.block_size)
    settings = {**COURSE.model_settings(), variant: True}
    model = strong(GPT(GPTConfig(dataset.vocab_size, COURSE.block_size, **settings)), 1, size=0.05)
    plain = PlainGPT(dataset.vocab_size, COURSE.block_size, COURSE.n_layer, COURSE.n_head, COURSE.n_embd,
                     synthesizer=variant == "synthesizer")
    plain.load_state_dict(model.state_dict())
    questions = [question.text for question in parse_questions(read_text(COURSE_FILES / "birth_dev.tsv"))[:30]]
    stoi, itos = dataset.stoi, dataset.itos
    assert vocabulary(corpus) == stoi
    prompts = [[stoi[char] for char in question] + [MASK_ID] for question in questions]
    texts = [plain_answer(plain, question, stoi, itos, max_new=16) for question in questions]
    assert len(set(texts)) > 15 and {len(text) for text in texts} == {16}
    # Such a model hardly writes ⁇: what ends an answer is the character that does so after the most different lengths.
    stop = max(sorted(set("".join(texts))), key=lambda char: len({text.find(char) for text in texts}))
    for batch_size in (13, 256):
        answers = greedy_answers(model, prompts, stoi[stop], 16, batch_size)
        assert ["".join(itos[i] for i in ids) for ids in answers] == [text.split(stop)[0] for text in texts]
    assert len({len(answer) for answer in answers}) > 4


# ---- how probable an answer is ---------------------------------------------------------------------------------------

def reference_probabilities(model, texts):
    """Of each id after each of the texts, lists of ids of one length, by the reference: a list of lists."""
    logits = reference.gpt_logits(model.state_dict(), torch.tensor(texts), LAYERS, HEADS)[:, -1]
    return [reference.softmax(row).tolist() for row in logits]


def reference_probability(model, prompt, ids, room):
    """Of an answer: the product over its ids and the ⁇ at its end, which an answer that fills the room has not."""
    ended = ids if len(ids) == room else ids + [MASK_ID]
    return math.prod(reference_probabilities(model, [prompt + ids[:n]])[0][i] for n, i in enumerate(ended))


def probabilities(answers):
    return [math.exp(answer.log_probability) for answer in answers]


def ids_of(answers):
    return [answer.ids for answer in answers]


@pytest.mark.parametrize("max_length", [32, 2])
def test_the_probability_of_an_answer_is_the_references(tiny_model, positions, max_length):
    """Also of answers that are cut off by the block's end or max_length, in any batch, with a cache and without."""
    model = writes_mask(strong(tiny_model, SEED), 1.5).double()
    lengths = [3, 1, positions, 5, 3, 2, 3, positions - 1, positions + 1, 5, 1, 4, 4, 2, 2, 4, 3]
    prompts = some_prompts(lengths)
    room = [min(max_length, positions - n + 1) for n in lengths]
    ids = greedy_answers(model, prompts, MASK_ID, max_length)
    expected = [reference_probability(model, *asked) if asked[2] else 1.0 for asked in zip(prompts, ids, room)]
    assert any(0 < len(answer) < most for answer, most in zip(ids, room)) and any(len(answer) == most for answer, most in zip(ids, room))
    for caches in (True, False):
        model.packs_and_caches = caches
        for batch_size in (1, 2, 5, 256):
            answers = find_answers(model.train(), prompts, MASK_ID, max_length, batch_size=batch_size)
            assert ids_of(answers) == ids and {answer.proven for answer in answers} == {None} and not model.training
            assert probabilities(answers) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("beam", [1, 4])
def test_without_room_for_an_answer_it_is_empty_and_certain(tiny_model, positions, beam):
    for caches in (True, False):
        tiny_model.packs_and_caches = caches
        answers = find_answers(tiny_model, some_prompts([positions + 1, 2, positions + 2]), MASK_ID, 4, beam)
        assert answers[0] == answers[2] == Answer([], 0.0) and answers[1].log_probability < 0
        assert find_answers(tiny_model, some_prompts([positions + 1]), MASK_ID, 4, beam) == [Answer([], 0.0)]
        assert find_answers(tiny_model, some_prompts([2, 3]), MASK_ID, 0, beam) == 2 * [Answer([], 0.0)]
        assert find_answers(tiny_model, [], MASK_ID, 4, beam) == []


# ---- the most probable answer as a whole ----------------------------------------------------------------------------

def all_answers(model, prompt, room):
    """The reference's probability of every answer there is, by its ids."""
    found, begun = {}, {(): 1.0}
    for _ in range(room):
        following = reference_probabilities(model, [prompt + list(ids) for ids in begun])
        longer = {}
        for (ids, probability), factors in zip(begun.items(), following):
            for i, factor in enumerate(factors):
                if i == MASK_ID:
                    found[ids] = probability * factor
                else:
                    longer[*ids, i] = probability * factor
        begun = longer
    return {**found, **begun}  # those that are cut off


@pytest.mark.parametrize("size, factor", [(0.7, 1.5), (1.0, 0.5)])
def test_a_beam_against_all_answers_there_are(tiny_model, positions, size, factor):
    """With room for three ids, two and one. A beam that follows all beginnings finds the best; a narrower one says where it must have."""
    model = writes_mask(strong(tiny_model, SEED, size), factor).double()
    prompts = some_prompts([1, 2, 3, positions - 2, positions - 1, positions, 2, 3])
    rooms = [min(3, positions - len(prompt) + 1) for prompt in prompts]
    every = [all_answers(model, prompt, room) for prompt, room in zip(prompts, rooms)]
    assert [sum(found.values()) for found in every] == pytest.approx([1] * 8)
    best = [list(max(found, key=found.get)) for found in every]
    cut_off = [len(ids) == room for ids, room in zip(best, rooms)]
    assert size == 0.7 or all(cut_off)
    assert size == 1.0 or any(ids and not cut for ids, cut in zip(best, cut_off)) and [] in best
    greedy = find_answers(model, prompts, MASK_ID, 3)
    assert any(answer.ids != ids for answer, ids in zip(greedy, best)) and any(answer.ids == ids for answer, ids in zip(greedy, best))
    proofs = set()
    for beam in (2, 3, 5, 11 * 11):
        for caches in (True, False):
            model.packs_and_caches = caches
            answers = find_answers(model, prompts, MASK_ID, 3, beam)
            for answer, found, ids in zip(answers, every, best):
                assert math.exp(answer.log_probability) == pytest.approx(found[tuple(answer.ids)], rel=1e-10)
                assert answer.ids == ids or answer.proven is False
                assert answer.proven or beam < 11 * 11
                proofs.add((beam, answer.proven))
    assert (2, True) in proofs and (size == 1 or (2, False) in proofs)


def test_answers_of_a_beam_do_not_depend_on_the_batch(variant):
    """Nor on whether there is a cache: rows are copied, dropped and put in another order at any step."""
    model = writes_mask(strong(GPT(GPTConfig(V, 64, n_layer=2, n_head=2, n_embd=8, **{variant: True})), 7, 1.3).double(), 1.5).eval()
    prompts = some_prompts([2 + (i * 7) % 60 for i in range(40)])
    alone = [find_answers(model, [prompt], MASK_ID, 9, beam=4)[0] for prompt in prompts]
    for caches, batch_size in ((True, 1), (True, 7), (True, 37), (True, 256), (False, 37)):
        model.packs_and_caches = caches
        answers = find_answers(model, prompts, MASK_ID, 9, 4, batch_size)
        assert ids_of(answers) == ids_of(alone)
        assert [answer.proven for answer in answers] == [answer.proven for answer in alone]
        assert probabilities(answers) == pytest.approx(probabilities(alone), rel=1e-9)
    assert {answer.proven for answer in alone} == {True, False} and len({len(answer.ids) for answer in alone}) > 4
    assert ids_of(alone) != greedy_answers(model, prompts, MASK_ID, 9)


class Chain(torch.nn.Module):
    """A model without a cache that looks at the last id alone: `table` has for each id how probable the next ones are."""

    max_positions = 60

    def __init__(self, table):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls = []
        probabilities = torch.zeros(10, 10, dtype=torch.double)
        for last, following in table.items():
            for i, probability in following.items():
                probabilities[last, i] = probability
        self.logits = probabilities.log()

    def forward(self, x):
        self.calls.append(x[:, -1].tolist())
        return self.logits[x], None


STOP = 9


def found_in(table, beam, max_length=5):
    """The Answer after the id 0, its probability instead of the logarithm, and the ids that each call of the model read last."""
    model = Chain(table)
    answer, = find_answers(model, [[5, 0]], STOP, max_length, beam)
    return (answer.ids, pytest.approx(math.exp(answer.log_probability)), answer.proven), model.calls


def test_a_best_first_id_need_not_begin_the_best_answer():
    """By hand: 0.6 · 0.55 · 1 by the best first id, 0.4 · 0.9 by the other. What is less probable than an answer is not followed."""
    table = {0: {1: 0.6, 2: 0.4}, 1: {3: 0.55, 4: 0.45}, 2: {STOP: 0.9, 3: 0.1}, 3: {STOP: 1}, 4: {STOP: 1}}
    assert found_in(table, 1) == (([1, 3], 0.33, None), [[0], [1], [3]])
    assert found_in(table, 2) == (([2], 0.36, True), [[0], [1, 2]])


def test_a_beam_that_is_too_narrow_is_not_sure():
    """By hand: the third first id, which a beam of two drops at 0.25, is the end of it; the others split up."""
    table = {0: {1: 0.4, 2: 0.35, 3: 0.25}, 1: {4: 0.5, 5: 0.5}, 2: {4: 0.6, 5: 0.4}, 3: {STOP: 1}, 4: {STOP: 1}, 5: {STOP: 1}}
    assert found_in(table, 2)[0] == ([2, 4], 0.21, False)
    assert found_in(table, 3)[0] == ([3], 0.25, True)
    surer = {**table, 2: {4: 0.8, 5: 0.2}}  # 0.28, more than the 0.25 that was dropped
    assert found_in(surer, 2)[0] == ([2, 4], pytest.approx(0.28), True)


def test_a_beam_may_miss_what_a_single_one_finds():
    """The best first id leads to the best answer by way of a second id that two others, which come to nothing, push out."""
    table = {0: {1: 0.52, 2: 0.48}, 1: {3: 0.4, 4: 0.3, 5: 0.3}, 2: {6: 0.5, 7: 0.5}, 3: {STOP: 1},
             6: {1: 0.5, 2: 0.5}, 7: {1: 0.5, 2: 0.5}, 4: {STOP: 1}, 5: {STOP: 1}}
    assert found_in(table, 1)[0] == ([1, 3], 0.208, None)
    answer, _ = found_in(table, 2, max_length=4)
    assert answer[2] is False and answer[0][0] == 2
    assert found_in(table, 9, max_length=4)[0] == ([1, 3], 0.208, True)


def test_an_answer_that_is_cut_off_has_no_end():
    table = {0: {1: 0.6, STOP: 0.4}, 1: {2: 0.9, STOP: 0.1}, 2: {3: 0.55, STOP: 0.45}, 3: {STOP: 1}}
    assert found_in(table, 4, 1)[0] == ([1], 0.6, True)
    assert found_in(table, 4, 2)[0] == ([1, 2], 0.54, True)
    assert found_in(table, 4, 3)[0] == ([], 0.4, True)
    assert found_in(table, 1, 2)[0] == ([1, 2], 0.54, None)
    assert found_in(table, 1, 3)[0] == ([1, 2, 3], 0.297, None)


# ---- the cache ------------------------------------------------------------------------------------------------------

def past_of(model, rows, columns=BLOCK):
    return Past(LAYERS, columns, torch.zeros(rows, dtype=torch.long))


@pytest.fixture
def exact(tiny_model):
    return strong(tiny_model, SEED).double().eval()


def test_logits_through_the_cache_are_those_without_it(exact, positions):
    """Cut into two pieces anywhere, and into single positions."""
    idx = torch.randint(V, (4, positions))
    whole = exact(idx)[0]
    for cut in range(1, positions):
        past = past_of(exact, 4)
        pieces = [exact(piece, past=past)[0] for piece in (idx[:, :cut], idx[:, cut:])]
        assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-11, atol=1e-11)
    past = past_of(exact, 4, positions)
    pieces = [exact(idx[:, [t]], past=past)[0] for t in range(positions)]
    assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-11, atol=1e-11)
    assert past.lengths.tolist() == [positions] * 4


def test_rows_of_different_lengths(exact, positions):
    """Texts read together, one of them empty, then two more ids each: the logits of each row alone."""
    texts = [some_prompts([n])[0] for n in (1, positions - 2, 3)] + [[]]
    past = past_of(exact, len(texts))
    CachingReader(exact, past, texts)
    assert past.lengths.tolist() == [1, positions - 2, 3, 0]
    more = torch.randint(V, (len(texts), 2))
    logits = exact(more, past=past)[0]
    for text, ids, found in zip(texts, more.tolist(), logits):
        assert_close(found, exact(torch.tensor([text + ids]))[0][0, -2:], rtol=1e-11, atol=1e-11)


def test_rows_that_are_taken_go_on_as_before(exact):
    """In another order, left out, and twice; what is read further is each row's own."""
    texts = some_prompts([1, 4, 2])
    past = past_of(exact, 3, columns=4)
    CachingReader(exact, past, texts)
    order = [2, 0, 2, 2]
    taken = past.take(order, columns=6)
    assert taken.lengths.tolist() == [2, 1, 2, 2]
    more = torch.randint(V, (4, 3))
    logits = exact(more, past=taken)[0]
    for row, ids, found in zip(order, more.tolist(), logits):
        assert_close(found, exact(torch.tensor([texts[row] + ids]))[0][0, -3:], rtol=1e-11, atol=1e-11)
    assert past.lengths.tolist() == [1, 4, 2]


def test_readers_forget_and_take_rows(exact):
    """With a cache and without: the logits are those of what each row has read and not forgotten."""
    texts = some_prompts([2, 4, 1]) + [[]]
    past = past_of(exact, len(texts))
    for reader in (CachingReader(exact, past, texts), RecomputingReader(exact, texts)):
        rows = [list(text) for text in texts]

        def check(ids):
            found = reader.next_logits(ids)
            for text, i, logits in zip(rows, ids, found, strict=True):
                text.append(i)
                assert_close(logits, exact(torch.tensor([text]))[0][0, -1], rtol=1e-11, atol=1e-11)

        check([3, 4, 5, 6])
        reader.forget([0, 3])
        rows = [rows[0][:-1], rows[1], rows[2], []]
        check([7, 2, 2, 8])
        reader.forget([])
        reader.take([2, 0, 0, 3, 2])
        rows = [list(rows[row]) for row in (2, 0, 0, 3, 2)]
        check([9, 3, 4, 5, 2])
        check([2, 2, 2, 2, 2])


# ---- the work -------------------------------------------------------------------------------------------------------

def sizes_asked(model, *args, **kwargs):
    """The answers, and (rows, positions) of each call of the model on the way to them."""
    sizes = []
    hook = model.register_forward_pre_hook(lambda model, inputs: sizes.append(tuple(inputs[0].shape)))
    answers = find_answers(model, *args, **kwargs)
    hook.remove()
    return ids_of(answers), sizes


def test_no_position_is_computed_twice(tiny_model, positions):
    """The common beginning once; of each prompt the rest but its last id; then a position for each id that is written."""
    prompts = [[5, 2] + end for end in ([7, 4, MASK_ID], [8, 3, MASK_ID], [9, 6, MASK_ID])]
    answers, sizes = sizes_asked(strong(tiny_model, SEED), prompts, 99, 32)
    room = positions - 5 + 1
    assert sizes == [(1, 2), (3, 2)] + [(3, 1)] * room and all(len(answer) == room for answer in answers)


def test_batches_are_of_similar_lengths(tiny_model):
    _, sizes = sizes_asked(tiny_model, some_prompts([5, 2, 5, 2, 3]), 99, 1, batch_size=2)
    assert sizes == [(2, 1), (2, 1), (2, 4), (2, 1), (1, 4), (1, 1)]


def test_rows_at_once_are_limited_on_a_cpu(tiny_model):
    prompts = some_prompts([2] * 200)
    _, sizes = sizes_asked(tiny_model, prompts, 99, 1)
    assert sum(rows for rows, T in sizes) == 2 * 200
    assert max(rows for rows, T in sizes) == decoding.ROWS_AT_ONCE["cpu"] < 200


def test_beams_share_the_rows_at_once(tiny_model):
    """As many prompts run together as find room with all their beams, one at the least; a beginning is read in one row."""
    model, prompts = strong(tiny_model, SEED, 0.3), [[5] + prompt for prompt in some_prompts([2] * 5)]
    model.head.register_forward_hook(lambda head, x, logits: logits.index_fill(-1, torch.tensor([MASK_ID]), -50))  # no answer ends
    for batch_size, at_once in ((8, [2, 2, 1]), (11, [2, 2, 1]), (3, [1] * 5), (256, [5])):
        _, sizes = sizes_asked(model, prompts, MASK_ID, 2, 4, batch_size)
        assert sizes == [(1, 1)] + [size for prompts in at_once for size in ((prompts, 1), (prompts, 1), (4 * prompts, 1))]


class Listed(torch.nn.Module):
    """A model with a cache whose likeliest next id is the one last read plus 1: it looks at no other."""

    packs_and_caches, max_positions, blocks = True, 60, []

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, x, past):
        positions = past.advance(x.shape[1])
        assert positions.shape == x.shape and positions.max() < self.max_positions
        self.calls.append(x.tolist())
        return torch.nn.functional.one_hot(x + 1, 200).double(), None


def test_rows_that_have_stopped_drop_out_once_they_are_half():
    model = Listed()
    answers = greedy_answers(model, [[3], [10], [8], [17]], 20, 32)
    assert answers == [list(range(first + 1, 20)) for first in (3, 10, 8, 17)]
    rows = [len(call) for call in model.calls]
    # ids 17, 10, 8 and 3 stop after 3, 10, 12 and 17 steps.
    assert rows == [4] * 10 + [2] * 2 + [1] * 5
    assert model.calls[9] == [[12], [19], [17], [26]] and model.calls[10] == [[13], [18]]
    model.calls.clear()
    assert greedy_answers(model, [[19], [19]], 20, 32) == [[], []] and model.calls == [[[19], [19]]]


def test_a_row_at_the_blocks_end_waits_for_the_others():
    model = Listed()
    prompts = [[1, 2] + [7] * n for n in (50, 57, 58, 40, 41)]
    assert greedy_answers(model, prompts, 199, 32) == [list(range(8, 8 + 60 - len(prompt) + 1)) for prompt in prompts]


# ---- models without a cache -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_a_model_without_a_cache_is_answered_by_recomputing(tiny_model, positions, batch_size):
    model = writes_mask(strong(tiny_model, SEED), 1.5)
    prompts = some_prompts([3, 1, positions, 5, 3, 2, 3, positions - 1, positions + 1, 1, 4])
    cached = greedy_answers(model, prompts, MASK_ID, 32)
    model.packs_and_caches = False
    answers, sizes = sizes_asked(model.train(), prompts, MASK_ID, 32, batch_size=batch_size)
    assert answers == cached and not model.training
    assert max(T for rows, T in sizes) == positions and max(rows for rows, T in sizes) == min(batch_size, 3)


class Counting(torch.nn.Module):
    """A model of 60 positions whose likeliest next id is the last one plus 1."""

    max_positions = 60

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, x):
        self.calls.append(tuple(x.shape))
        assert x.shape[1] <= self.max_positions
        return torch.nn.functional.one_hot(x + 1, 200).double(), None


@pytest.mark.parametrize("kind", [Counting, Listed])
def test_an_answer_ends_at_the_stop_id_the_length_or_the_blocks_end(kind):
    def answer(prompt, stop=199):
        return greedy_answers(kind(), [prompt], stop, 32)[0]

    assert answer([5, 10]) == list(range(11, 43))  # 32 of them
    assert answer([5, 10], stop=14) == [11, 12, 13]
    assert answer([5, 10], stop=42) == list(range(11, 42))  # in the last place
    assert answer([5, 10], stop=43) == list(range(11, 43))  # one after it
    assert answer([5, 10], stop=11) == []
    assert answer([0] * 40) == list(range(1, 22))  # 60 - 40 + 1
    assert answer([0] * 60) == [1]


@pytest.mark.parametrize("kind", [Counting, Listed])
def test_answers_are_given_in_the_prompts_order(kind):
    prompts = [[5, 10], [7], [20], [1, 1, 30], [8], [1, 40]]
    for batch_size in (1, 2, 256):
        answers = greedy_answers(kind(), prompts, 199, 3, batch_size)
        assert answers == [[prompt[-1] + n for n in (1, 2, 3)] for prompt in prompts]
    assert greedy_answers(kind(), [], 199, 3) == []


def test_recomputing_is_batched_and_stops_early():
    """Of batch_size prompts at most, those of one length together; no step after all have stopped."""
    model = Counting()
    answers = greedy_answers(model, [[5], [6], [6], [5, 5]], 8, 32, batch_size=2)
    assert answers == [[6, 7], [7], [7], [6, 7]]
    assert model.calls == [(2, 1), (2, 2), (1, 3), (1, 1), (1, 2), (1, 2), (1, 3), (1, 4)]
