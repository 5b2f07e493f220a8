"""python -m pytest tests/test_utils.py

Seeding, sampling against the reference's plain loops, and the score of predicted places.
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
from utils import evaluate_places, set_seed, top_k_logits

V, BLOCK, LAYERS, HEADS = 12, 8, 2, 3  # of conftest's tiny_config
SEED = 150  # of strong(): with it both variants write various ids


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
