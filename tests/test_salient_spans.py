"""The pretraining data of the recipe recall: what a row holds, and what it is to predict."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset import MASK_CHAR, PAD_CHAR
from salient_spans import SalientSpanDataset, salient_spans, title_of

DOCUMENTS = [
    "Ann Lee. Ann Lee was born in New York, near York .",
    "Zoë d'Or. Zoë d'Or (12 May 1901 in Ålesund) kept bees in Upper-Hill .",
    "bees. they are kept by people .",
    "Ed Ng. " + "Ng lived in Hull and went on and on . " * 9,
    "",
]
CORPUS = "\n".join(DOCUMENTS)
BLOCK = 64


@pytest.fixture
def dataset():
    return SalientSpanDataset(CORPUS, BLOCK)


def text_of(dataset, ids):
    return "".join(dataset.itos[int(i)] for i in ids)


def rows_of(dataset, index, count=300):
    """Many items of one document: (heading, what stands before the ⁇, the span), and y."""
    found = []
    for epoch in range(count):
        x, y = dataset.at_epoch(1, epoch)[index]
        assert x.shape == y.shape == (BLOCK - 1,) and x.dtype == y.dtype == torch.int64
        text = text_of(dataset, x).rstrip(PAD_CHAR)
        assert text.count(MASK_CHAR) == 2 and text.endswith(MASK_CHAR)
        before, span, _ = text.split(MASK_CHAR)
        found.append((before[:10], before[10:], span, y))
    return found


def test_a_row_is_a_heading_a_text_and_its_span(dataset):
    """Each form, each span and each number of characters occurs, and nothing else."""
    document = DOCUMENTS[0]
    forms = set()
    for heading, before, span, _ in rows_of(dataset, 0):
        assert heading[9] == " " and heading[:9] in CORPUS + "\n"
        assert span in ("New York", "York")
        at = document.index(span, 8) if span == "New York" else document.rindex(span)
        if before != document[:at]:
            title, between = before[:8], before[8:]
            assert title == "Ann Lee " and document[:at].endswith(between) and len(between) <= 8
            forms.add((span, len(between)))
        else:
            forms.add((span, "whole"))
    # " " and "in" without its space do not occur: a space at the beginning is left out.
    lengths = {count for span, count in forms if span == "New York"}
    assert lengths == {0, 2, 3, 5, 6, 7, 8, "whole"} and ("York", "whole") in forms


def test_the_share_of_short_rows(dataset):
    rows = rows_of(dataset, 0, 1000)
    short = sum(before.startswith("Ann Lee ") for _, before, _, _ in rows)
    assert abs(short / len(rows) - SalientSpanDataset.SHORT) < 0.05


@pytest.mark.parametrize("index", range(4))
def test_targets_are_what_follows_from_the_end_of_the_heading_on(dataset, index):
    for _, before, span, y in rows_of(dataset, index, 50):
        targets = text_of(dataset, y)
        after = before + MASK_CHAR + span + MASK_CHAR
        assert targets == PAD_CHAR * 9 + after + PAD_CHAR * (BLOCK - 1 - 9 - len(after))


def test_a_document_without_a_word_gives_nothing_to_learn(dataset):
    x, y = dataset.at_epoch(0, 0)[4]
    assert not x.any() and not y.any()


def test_spans_of_a_long_document_fit_the_block(dataset):
    spans = {span for _, _, span, _ in rows_of(dataset, 3)}
    assert spans == {"Hull"}  # Ng is in the title


def test_items_depend_on_seed_epoch_and_number_alone(dataset):
    epoch = dataset.at_epoch(3, 5)
    together = epoch.__getitems__([0, 3, 1])
    for index, (x, y) in zip((0, 3, 1), together, strict=True):
        again = SalientSpanDataset(CORPUS, BLOCK).at_epoch(3, 5)[index]
        assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    others = [dataset.at_epoch(*key)[0][0] for key in ((3, 6), (4, 5))]
    assert not any(torch.equal(together[0][0], other) for other in others)


@pytest.mark.parametrize(
    "document, title",
    [
        ("Ann Lee. Ann Lee was", "Ann Lee"),
        ("Ann B. Lee. She was", "Ann B. Lee"),
        ("Ann Lee was born .", ""),
        ("A sentence that is much too long to be a title of anything. It is", ""),
        ("", ""),
    ],
)
def test_titles(document, title):
    assert title_of(document) == title


@pytest.mark.parametrize(
    "text, spans",
    [
        ("Ann Lee. Lee was born in New York, USA .", ["New York", "USA"]),
        ("Ann Lee. She was born in Hull", ["She"]),  # the end may be cut
        ("Ann Lee. Ann was born in Ålesund (Norway) .", ["Ålesund", "Norway"]),
        ("Ann Lee. she was .", ["she", "was"]),
        ("Ann Lee. In X, Y .", ["In X"]),  # a letter is no name
        ("", []),
    ],
)
def test_spans(text, spans):
    title = title_of(text)
    assert [text[start:end] for start, end in salient_spans(text, title)] == spans


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.text(alphabet="aB .,(\n'é3", max_size=300),
    st.integers(24, 80),
    st.lists(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4), min_size=1, max_size=3),
)
def test_any_corpus_gives_rows_of_the_same_form(text, block_size, draws):
    dataset = SalientSpanDataset(f"Ed. Ed was .\n{text}", block_size)
    indices = [number % len(dataset) for number in range(len(draws))]
    x, y = dataset.corrupt(indices, np.array(draws))
    assert x.shape == y.shape == (len(draws), block_size - 1)
    for ids, targets in zip(x, y, strict=True):
        written, predicted = text_of(dataset, ids), text_of(dataset, targets)
        assert re.fullmatch(r"□*|.{9}[ □].*⁇[^⁇]+(⁇?□*)", written, re.S)
        assert predicted[:9] == PAD_CHAR * 9 and predicted[9:-1] == written[10:]


@pytest.mark.parametrize("text", ["Ann Lee. .\n", "Ann", "one two\n\n"])
def test_a_corpus_without_a_span_is_refused(text):
    with pytest.raises(ValueError):
        SalientSpanDataset(text, BLOCK)


def test_a_block_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="24"):
        SalientSpanDataset(CORPUS, 23)
