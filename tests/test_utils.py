"""python -m pytest tests/test_utils.py

Seeding, sampling and greedy answers against the reference's plain loops, and the score of predicted places.
"""

import inspect
import random

import numpy as np
import pytest
import torch

import reference
import utils
from conftest import TINY_QUESTIONS
from dataset import InputError
from model import GPT, GPTConfig
from utils import evaluate_places, greedy_answers, set_seed, top_k_logits

V, BLOCK, LAYERS, HEADS = 12, 8, 2, 3  # of conftest's tiny_config
MASK_ID = 1
SEED = 150  # of strong(): with it both variants write various ids, and now and then ⁇
CHARS = {0: reference.PAD, MASK_ID: reference.MASK, **{i: "abcdefghij"[i - 2] for i in range(2, V)}}
IDS = {char: i for i, char in CHARS.items()}


def strong(model, seed):
    """The model with large parameters, so that what it writes depends on all that it reads."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


# ---- seeds ----------------------------------------------------------------------------------------------------------

def test_set_seed_makes_all_random_numbers_repeat():
    def drawn(seed):
        set_seed(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    first, other = drawn(7), drawn(8)
    assert drawn(7) == first
    assert all(a != b for a, b in zip(first, other))


# ---- sampling -------------------------------------------------------------------------------------------------------

def test_top_k_logits_hides_all_but_the_largest():
    logits = torch.tensor([[1.0, 5.0, 3.0, 4.0], [9.0, -1.0, 0.0, -2.0]])
    hidden = -float("inf")
    before = logits.clone()
    assert top_k_logits(logits, 2).tolist() == [[hidden, 5.0, hidden, 4.0], [9.0, hidden, 0.0, hidden]]
    assert top_k_logits(logits, 1).tolist() == [[hidden, 5.0, hidden, hidden], [9.0, hidden, hidden, hidden]]
    assert torch.equal(top_k_logits(logits, 4), before) and torch.equal(logits, before)
    assert top_k_logits(torch.tensor([[2.0, 3.0, 2.0, 1.0]]), 2).tolist() == [[2.0, 3.0, 2.0, hidden]]  # a tie stays


def greedy_ids(model, ids, steps, positions):
    """ids and the `steps` likeliest that follow, each read off the reference's logits for the last `positions` ids."""
    state, ids = model.state_dict(), list(ids)
    for _ in range(steps):
        logits = reference.gpt_logits(state, torch.tensor([ids[-positions:]]), LAYERS, HEADS)
        ids.append(logits[0, -1].argmax().item())
    return ids


@pytest.mark.parametrize("length", [1, 5, 7, 8, 11])
def test_greedy_sampling_is_repeated_argmax(tiny_model, variant, length):
    """Also from more ids than the model has positions for: 8, and 7 for the synthesizer, of which it reads the last."""
    model = strong(tiny_model, SEED).train()
    x = torch.randint(2, V, (3, length))
    before = x.clone()
    y = utils.sample(model, x, 6)
    assert y.shape == (3, length + 6) and y.dtype == torch.long
    assert torch.equal(x, before) and not model.training and not y.requires_grad
    positions = BLOCK if variant == "vanilla" else BLOCK - 1
    assert y.tolist() == [greedy_ids(model, row, 6, positions) for row in x.tolist()]
    assert len(set(y[:, length:].flatten().tolist())) > 2  # what it writes depends on what it reads
    assert utils.sample(model, x, 0).tolist() == x.tolist()


def test_sample_has_the_courses_signature():
    parameters = inspect.signature(utils.sample).parameters
    assert list(parameters) == ["model", "x", "steps", "temperature", "sample", "top_k"]
    assert [parameters[name].default for name in ("temperature", "sample", "top_k")] == [1.0, False, None]


class Fixed(torch.nn.Module):
    """A model that always gives the same logits, and has only what sample() may ask of the course's own GPT."""

    LOGITS = torch.tensor([0.0, 4.0, 2.0, 3.0, 1.0])

    def forward(self, x):
        return self.LOGITS.expand(*x.shape, 5).clone(), None

    def get_block_size(self):
        return 4


def shares(count=4000, **kwargs):
    """How often each of the five ids is drawn."""
    drawn = utils.sample(Fixed(), torch.zeros(count, 1, dtype=torch.long), 1, sample=True, **kwargs)[:, 1]
    return torch.bincount(drawn, minlength=5) / count


def test_drawing_follows_the_probabilities():
    """Five standard errors of 4000 draws are at most 0.04."""
    assert torch.allclose(shares(), reference.softmax(Fixed.LOGITS), atol=0.04)
    assert torch.allclose(shares(temperature=3.0), reference.softmax(Fixed.LOGITS / 3), atol=0.04)
    kept = torch.tensor([0.0, 4.0, 0.0, 3.0, 0.0])
    expected = torch.where(kept > 0, kept.exp(), 0.0)
    assert torch.allclose(shares(top_k=2), expected / expected.sum(), atol=0.04)


def test_drawing_stays_within_the_top_k():
    assert (shares(top_k=2, temperature=50.0) > 0).tolist() == [False, True, False, True, False]
    assert (shares(temperature=50.0) > 0).all()
    assert shares(top_k=1, temperature=50.0).tolist() == [0, 1, 0, 0, 0]


def test_drawing_is_seeded(tiny_model):
    x = torch.tensor([[2, 3]])

    def drawn(seed):
        set_seed(seed)
        return utils.sample(tiny_model, x, 20, sample=True).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


# ---- answers --------------------------------------------------------------------------------------------------------

def reference_answer(model, prompt, positions, max_length=32):
    """The reference's answer as ids, of as many characters as there are positions left for: it knows no end of the block."""
    question = "".join(CHARS[i] for i in prompt[:-1])
    answer = reference.greedy_answer(model.state_dict(), question, IDS, CHARS, LAYERS, HEADS, positions,
                                     max_new=min(max_length, positions - len(prompt) + 1))
    return [IDS[char] for char in answer]


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_greedy_answers_are_the_references(tiny_model, variant, batch_size):
    """Prompts of every length that fits, mixed; among the answers are empty ones, short ones, and some to the block's end."""
    positions = BLOCK if variant == "vanilla" else BLOCK - 1
    model = strong(tiny_model, SEED)
    with torch.no_grad():
        model.head.weight[MASK_ID] *= 1.5  # so that ⁇ is written now and then
    generator = torch.Generator().manual_seed(2)
    lengths = [3, 1, positions, 5, 3, 2, 3, positions - 1, 5, 1, 4, 4, 2, 2, 4, 3, 5]
    prompts = [torch.randint(2, V, (n - 1,), generator=generator).tolist() + [MASK_ID] for n in lengths]
    answers = greedy_answers(model.train(), prompts, MASK_ID, 32, batch_size)
    assert answers == [reference_answer(model, prompt, positions) for prompt in prompts]
    room = [positions - n + 1 for n in lengths]
    assert [] in answers
    assert any(0 < len(answer) < most for answer, most in zip(answers, room))
    assert any(len(answer) == most > 1 for answer, most in zip(answers, room))
    assert not model.training
    assert greedy_answers(model, prompts, MASK_ID, 2, batch_size) == [
        reference_answer(model, prompt, positions, 2) for prompt in prompts]


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


def test_an_answer_ends_at_the_stop_id_the_length_or_the_blocks_end():
    def answer(prompt, stop=199):
        return greedy_answers(Counting(), [prompt], stop, 32)[0]

    assert answer([5, 10]) == list(range(11, 43))  # 32 of them
    assert answer([5, 10], stop=14) == [11, 12, 13]
    assert answer([5, 10], stop=42) == list(range(11, 42))  # in the last place
    assert answer([5, 10], stop=43) == list(range(11, 43))  # one after it
    assert answer([5, 10], stop=11) == []
    assert answer([0] * 40) == list(range(1, 22))  # 60 - 40 + 1
    assert answer([0] * 60) == [1]


def test_answers_are_given_in_the_prompts_order():
    prompts = [[5, 10], [7], [20], [1, 1, 30], [8], [1, 40]]
    for batch_size in (1, 2, 256):
        answers = greedy_answers(Counting(), prompts, 199, 3, batch_size)
        assert answers == [[prompt[-1] + n for n in (1, 2, 3)] for prompt in prompts]
    assert greedy_answers(Counting(), [], 199, 3) == []


def test_answering_is_batched_and_stops_early():
    """Prompts of one length together, batch_size at most; no step after all have stopped."""
    model = Counting()
    answers = greedy_answers(model, [[5], [6], [6], [5, 5]], 8, 32, batch_size=2)
    assert answers == [[6, 7], [7], [7], [6, 7]]
    assert model.calls == [(2, 1), (2, 2), (2, 3), (1, 1), (1, 2), (1, 2), (1, 3), (1, 4)]


def test_a_long_answer_is_the_references():
    """32 characters and not one more, with attention, in a block that has room for them."""
    model = strong(GPT(GPTConfig(V, 48, n_layer=1, n_head=1, n_embd=4)), 3)
    prompt = [4, 2, MASK_ID]
    answer = greedy_answers(model, [prompt], MASK_ID, 32)[0]
    expected = reference.greedy_answer(model.state_dict(), "ca", IDS, CHARS, 1, 1, 48)
    assert "".join(CHARS[i] for i in answer) == expected and len(expected) == 32


# ---- the score ------------------------------------------------------------------------------------------------------

def test_the_score_counts_exact_matches_in_order(tiny_questions):
    def score(*places):
        return evaluate_places(str(tiny_questions), list(places))

    assert score("Leeds", "York", "Hull") == (3.0, 3.0)
    assert all(isinstance(number, float) for number in score("Leeds", "York", "Hull"))
    assert score("Leeds", "Hull", "York") == (3.0, 1.0)
    assert score("Leeds ", " York", "Hull") == (3.0, 1.0)
    assert score("leeds", "Yor", "Hulls") == (3.0, 0.0)
    assert score("", "", "") == (3.0, 0.0)


def test_the_score_by_keywords(tiny_questions, capsys):
    """As another edition's grader calls it."""
    assert evaluate_places(filepath=tiny_questions, predicted_places=["Leeds", "York", "York"]) == (3.0, 2.0)
    assert capsys.readouterr().out == ""


def test_a_file_without_places(tmp_path, capsys):
    path = tmp_path / "inputs.tsv"
    path.write_text("Where was Ann Lee born?\nWhere was Ed Ng born?\n", encoding="utf-8")
    for places in (["Leeds", "Hull"], ["one too few"]):
        assert evaluate_places(str(path), places) == (0, 0)
        assert capsys.readouterr().out == "No gold birth places provided; returning (0,0)\n"


@pytest.mark.parametrize("places", [["Leeds", "York"], ["Leeds", "York", "Hull", "Rome"], []])
def test_another_number_of_predictions_is_refused(tiny_questions, places):
    with pytest.raises(InputError) as error:
        evaluate_places(str(tiny_questions), places)
    assert str(error.value) == f"{tiny_questions}: 3 questions, but {len(places)} predictions"


FORMS = {
    "blank lines": lambda text: "\n \n" + text.replace("\n", "\n\n") + "\n\t\n",
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "BOM": lambda text: "\ufeff" + text,
    "no last line end": lambda text: text.removesuffix("\n"),
    "spaces around the places": lambda text: text.replace("\t", "\t ").replace("\n", " \n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_file_does_not_change_the_score(tmp_path, form):
    path = tmp_path / "births.tsv"
    path.write_bytes(FORMS[form](TINY_QUESTIONS).encode("utf-8"))
    assert evaluate_places(str(path), ["Leeds", "York", "Hull"]) == (3.0, 3.0)
    assert evaluate_places(str(path), ["Leeds", "Hull", "Hull"]) == (3.0, 2.0)


def test_places_outside_ascii_are_compared_whole(tmp_path):
    path = tmp_path / "births.tsv"
    path.write_text("Where was Zoë Brøgger born?\tÅlesund\n", encoding="utf-8")
    assert evaluate_places(str(path), ["Ålesund"]) == (1.0, 1.0)
    assert evaluate_places(str(path), ["lesund"]) == (1.0, 0.0)


@pytest.mark.parametrize("content, message", [
    (b"Where?\tLeeds\tUK\n", "line 1: 2 tabs"), (b"", "no question"), (b"Where?\tLeeds\nWhen?\n", "line 2: no place"),
    (b"Where?\tL\xe9eds\n", "line 1: byte 0xe9 is not UTF-8"), (b"Where?\tLeeds\n\tYork\n", "line 2: no question"),
])
def test_errors_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "births.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        evaluate_places(str(path), ["Leeds"])
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)
