"""Seeds, sampling against the reference, and the score of predicted places."""

import math
import random

import numpy as np
import pytest
import torch

import reference
import utils
from conftest import TINY_QUESTIONS
from runs.inputs import InputError
from small_models import make_writer, most_positions
from utils import evaluate_places, set_seed, top_k_logits

SIZES = {"vocab_size": 12, "block_size": 8, "n_layer": 2, "n_head": 3, "n_embd": 6}


def test_set_seed_makes_all_random_numbers_repeat():
    def drawn(seed):
        set_seed(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    first, other = drawn(7), drawn(8)
    assert drawn(7) == first and all(a != b for a, b in zip(first, other, strict=True))


# ---- sampling -------------------------------------------------------------------------------


def test_top_k_logits_keeps_the_largest_and_ties():
    logits = torch.tensor([[1.0, 5.0, 3.0, 4.0], [2.0, 3.0, 2.0, 1.0]])
    before, hidden = logits.clone(), -float("inf")
    assert top_k_logits(logits, 2).tolist() == [[hidden, 5, hidden, 4], [2, 3, 2, hidden]]
    assert top_k_logits(logits, 1).tolist() == [
        [hidden, 5, *[hidden] * 2],
        [hidden, 3, *[hidden] * 2],
    ]
    for k in (4, 1000):
        assert torch.equal(top_k_logits(logits, k), before) and torch.equal(logits, before)


@pytest.mark.parametrize("length", [1, 5, 7, 8, 11])
def test_greedy_sampling_is_repeated_argmax(known_variant, length):
    """Also from more ids than the model has positions for, of which it reads the last."""
    seed = {"rope": 9, "perceiver": 18}.get(known_variant, 150)  # whose answers differ
    model = make_writer(known_variant, SIZES, seed, mask=1).train()
    positions = most_positions(known_variant, 8)
    x = torch.randint(2, 12, (3, length))
    before, y = x.clone(), utils.sample(model, x, 6)
    assert torch.equal(utils.sample(torch.nn.DataParallel(model), x, 6), y)
    assert y.shape == (3, length + 6) and y.dtype == torch.long and not y.requires_grad
    assert torch.equal(x, before) and not model.training
    for row, ids in zip(y.tolist(), x.tolist(), strict=True):
        for _ in range(6):
            idx = torch.tensor([ids[-positions:]])
            logits = reference.gpt_logits(model.state_dict(), idx, 2, 3)
            ids.append(logits[0, -1].argmax().item())
        assert row == ids
    assert len(set(y[:, length:].flatten().tolist())) > 2
    assert torch.equal(utils.sample(model, x, 0), x)


def test_at_a_temperature_of_0_or_nearly_the_most_probable_ids_are_drawn():
    model, x = make_writer("vanilla", SIZES, mask=1), torch.randint(2, 12, (3, 5))
    expected = utils.sample(model, x, 6)
    for temperature in (0, np.float64(0), 1e-308, 1e-40, 1e-6):
        found = utils.sample(model, x, 6, temperature=temperature, sample=True)
        assert torch.equal(found, expected), temperature


@pytest.mark.parametrize("temperature", [-1, math.nan, math.inf])
def test_a_senseless_temperature_is_refused(temperature):
    """Below 0 the least probable ids would be drawn."""
    x = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="temperature"):
        utils.sample(make_writer("vanilla", SIZES), x, 2, temperature=temperature, sample=True)


def test_a_k_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="top_k"):
        top_k_logits(torch.randn(2, 12), 0)


class Fixed(torch.nn.Module):
    """Always the same logits; it has what the course's own GPT has."""

    LOGITS = torch.tensor([0.0, 4.0, 2.0, 3.0, 1.0])

    def forward(self, x):
        return self.LOGITS.expand(*x.shape, 5).clone(), None

    def get_block_size(self):
        return 4


def shares(**kwargs):
    """How often each of the five ids is drawn in 4,000 times. Five standard errors are 0.04."""
    x = torch.zeros(4000, 1, dtype=torch.long)
    drawn = utils.sample(Fixed(), x, 1, sample=True, **kwargs)[:, 1]
    return torch.bincount(drawn, minlength=5) / 4000


def test_drawing_follows_the_probabilities():
    logits = Fixed.LOGITS
    assert torch.allclose(shares(), reference.softmax(logits), atol=0.04)
    assert torch.allclose(shares(temperature=3.0), reference.softmax(logits / 3), atol=0.04)
    two = torch.tensor([0, logits[1].exp(), 0, logits[3].exp(), 0])
    assert torch.allclose(shares(top_k=2), two / two.sum(), atol=0.04)
    assert torch.allclose(shares(top_k=1000), reference.softmax(logits), atol=0.04)
    spread = shares(top_k=2, temperature=50.0) > 0
    assert spread.tolist() == [False, True, False, True, False]
    set_seed(1)
    first = shares()
    set_seed(1)
    assert torch.equal(shares(), first) and not torch.equal(shares(), first)


# ---- the score ------------------------------------------------------------------------------


def test_the_score_counts_exact_matches_in_order(tiny_questions, capsys):
    def score(*places):
        return evaluate_places(filepath=str(tiny_questions), predicted_places=list(places))

    assert score("Leeds", "York", "Hull") == (3.0, 3.0)
    assert all(type(number) is float for number in score("Leeds", "York", "Hull"))
    assert score("Leeds", "Hull", "York") == (3.0, 1.0)
    assert score("Leeds ", " York", "Hull") == (3.0, 1.0)
    assert score("leeds", "Yor", "") == (3.0, 0.0)
    assert capsys.readouterr().out == ""


def test_a_file_without_places(tmp_path, capsys):
    path = tmp_path / "inputs.tsv"
    path.write_text("Where was Ann Lee born?\nWhere was Ed Ng born?\n", encoding="utf-8")
    for places in (["Leeds", "Hull"], ["one too few"]):
        assert evaluate_places(str(path), places) == (0, 0)
        assert capsys.readouterr().out == "No gold birth places provided; returning (0,0)\n"


def test_the_form_of_the_file_does_not_change_the_score(tmp_path):
    """A byte-order mark, CRLF, blank lines, spaces around the places; letters outside ASCII."""
    path = tmp_path / "births.tsv"
    text = TINY_QUESTIONS.replace("Hull", "Ålesund").replace("\t", "\t ").replace("\n", " \n\n")
    path.write_bytes(("\ufeff\n \n" + text).replace("\n", "\r\n").encode("utf-8"))
    assert evaluate_places(str(path), ["Leeds", "York", "Ålesund"]) == (3.0, 3.0)
    assert evaluate_places(str(path), ["Leeds", "Ålesund", "lesund"]) == (3.0, 1.0)


@pytest.mark.parametrize(
    "content, said",
    [
        ("Where?\tLeeds\nWhen?\n", "line 2"),
        ("", "no question"),
        ("a?\tb\nc?\td\n", "2 questions, but 1"),
    ],
)
def test_a_refusal_names_the_file(tmp_path, content, said):
    path = tmp_path / "births.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        evaluate_places(str(path), ["Leeds"])
    assert str(path) in str(caught.value) and said in str(caught.value)
