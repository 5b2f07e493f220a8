"""python -m pytest tests/test_dataset.py

The two datasets: vocabulary, span corruption as properties over many draws, the reproducible epochs, the questions, the
errors that name a line, and the two commands that print examples. Statistical tolerances are five standard errors.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

import dataset as module
import reference
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, InputError, NameDataset, parse_questions, read_text
from reference import MASK, PAD

COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"

LONG = "Ida Quill. Ida Quill was born in Dorking ; she mapped marshes, and her maps are in use to this day, they say . " * 2
TEXTS = {  # each with the number of its documents, the last of them empty where the text ends in a newline
    "plain": ("Ann Lee was born in Leeds .\n" + LONG + "\nBob, of York .", 3),
    "trailing newline": (LONG + "\nBob, of York, wove hats and sold them .\n", 3),
    "no newline": (LONG, 1),
    "not ASCII": ("Zoë Brøgger, born in Ålesund, kept bees — 蜂 — and 🐝 . " * 4 + "\nŁódź! " * 3, 4),
    "one character": ("a\nb\n" + LONG + "\nc\n", 5),
    "short": ("ab\nabc\nabcd\nabcde\nabcdef", 5),
    "blank documents": ("\n" + LONG + "\n\n \n\t\n", 6),
    "many characters": ("".join(map(chr, range(0x4E00 + 400, 0x4E00, -1))), 1),  # ids beyond one byte
    "carriage return": ("one\rtwo " * 9 + "\nthree\u2028four\x0bfive six seven eight\n", 3),
}
BLOCK_SIZES = [50, 128, 32]


@pytest.fixture(params=TEXTS)
def text(request):
    return TEXTS[request.param][0]


def characters(dataset, ids):
    return "".join(dataset.itos[i] for i in ids.tolist())


def epoch_rows(dataset, draws, index=0, seed=0):
    """A document `draws` times as items of at_epoch: x and y (draws, block_size - 1), of one batch."""
    copies = CharCorruptionDataset("\n".join([dataset.data[index]] * draws), dataset.block_size)
    items = copies.at_epoch(seed, 0).__getitems__(range(draws))
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def plain_rows(dataset, draws, index=0):
    items = [dataset[index] for _ in range(draws)]
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def measured(x, y):
    """Of items (B, block_size - 1): truncated length, masked length and where the masked span starts, each (B)."""
    rows = torch.cat([x[:, :1], y], dim=1)  # (B, block_size)
    marks = (rows == 1).nonzero()[:, 1].view(len(rows), 2)  # two ⁇ in every row
    first, second = marks[:, 0].numpy(), marks[:, 1].numpy()
    written = (rows != 0).sum(dim=1).numpy()
    return written - 2, written - 1 - second, first


def recovered(x, y):
    """(prefix, suffix, masked content) of one item's strings."""
    assert len(x) == len(y) and x[1:] == y[:-1]
    row = x + y[-1]
    prefix, suffix, end = row.split(MASK)
    assert PAD not in prefix + suffix
    masked = end.rstrip(PAD)
    assert PAD not in masked
    return prefix, suffix, masked


def check_item(dataset, index, x, y):
    """Whether an item is one that its document can give, by the reference. Returns (length, masked, start)."""
    block_size, document = dataset.block_size, dataset.data[index]
    assert x.dtype == y.dtype == torch.int64
    assert x.shape == y.shape == (block_size - 1,)
    x, y = characters(dataset, x), characters(dataset, y)
    prefix, suffix, masked = recovered(x, y)
    length = len(prefix + masked + suffix)
    assert prefix + masked + suffix == document[:length]
    longest = int(block_size * 7 / 8)
    assert length == len(document) if len(document) <= 4 else 4 <= length <= min(longest, len(document))
    assert (x, y) == reference.corrupt(document, length, len(masked), len(prefix), block_size)
    return length, len(masked), len(prefix)


# ---- vocabulary -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", TEXTS)
def test_vocabulary_is_pad_mask_and_the_sorted_characters(name, capsys):
    text, documents = TEXTS[name]
    dataset = CharCorruptionDataset(text, 50)
    chars = [PAD, MASK] + sorted(set(text))
    assert dataset.stoi == {char: i for i, char in enumerate(chars)}
    assert dataset.itos == {i: char for i, char in enumerate(chars)}
    assert dataset.vocab_size == len(chars)
    assert dataset.block_size == 50
    assert dataset.data == text.split("\n")
    assert len(dataset) == documents
    assert capsys.readouterr().out == f"data has {len(text)} characters, {len(chars)} unique.\n"


def test_special_characters_are_the_courses():
    dataset = CharCorruptionDataset("ab", 50)
    assert (dataset.MASK_CHAR, dataset.PAD_CHAR) == (module.MASK_CHAR, module.PAD_CHAR) == ("\u2047", "\u25A1")
    assert (dataset.stoi["\u25A1"], dataset.stoi["\u2047"]) == (0, 1)


def test_the_courses_corpus(capsys):
    path = COURSE_FILES / "wiki.txt"
    if not path.exists():
        pytest.skip("the course's files are not here")
    dataset = CharCorruptionDataset(read_text(path), 128)
    assert capsys.readouterr().out == "data has 418352 characters, 256 unique.\n"
    assert len(dataset) == 2938
    assert check_item(dataset, 2937, *dataset[2937])[0] == 0
    for index in range(0, 2938, 10):
        check_item(dataset, index, *dataset[index])


@pytest.mark.parametrize("char, code", [("⁇", "U+2047"), ("□", "U+25A1")])
@pytest.mark.parametrize("before, line", [("", 1), ("abc\n\nabc", 3)])
def test_reserved_characters_are_refused_with_their_line(char, code, before, line):
    with pytest.raises(InputError, match=rf"^line {line}: .*{char} \({re.escape(code)}\)"):
        CharCorruptionDataset(f"{before}{char}\nabc{char}\n", 50)


@pytest.mark.parametrize("block_size", range(9))
def test_a_block_too_small_for_a_document_and_two_masks_is_refused(block_size):
    with pytest.raises(ValueError, match=f"block_size is {block_size}; at least 9"):
        CharCorruptionDataset("Ann Lee was born in Leeds .", block_size)


@pytest.mark.parametrize("block_size", range(9, 26))
def test_every_length_fits_small_blocks(block_size):
    dataset = CharCorruptionDataset(LONG, block_size)
    lengths = {check_item(dataset, 0, *dataset[0])[0] for _ in range(600)}
    assert lengths == set(range(4, int(block_size * 7 / 8) + 1))


def test_index_past_the_end():
    dataset = CharCorruptionDataset("abcdef\nghijkl\n", 50)
    for items in (dataset, dataset.at_epoch(0, 0)):
        with pytest.raises(IndexError):
            items[3]
        assert len(list(items)) == len(items) == 3  # the iteration protocol without __iter__


# ---- corruption -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_items_are_what_the_reference_makes_of_their_document(text, block_size):
    dataset = CharCorruptionDataset(text, block_size)
    for items in (dataset, dataset.at_epoch(1, 2), dataset.at_epoch(1, 3)):
        for index in range(len(dataset)):
            for _ in range(20 if items is dataset else 1):
                x, y = items[index]
                check_item(dataset, index, x, y)
                assert x[-1] == y[-1] == 0  # at these block sizes there is always padding


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_characters=MASK + PAD, exclude_categories=["Cs"]), max_size=90),
       st.integers(9, 80), st.integers(0, 2 ** 32 - 1), st.integers(0, 1000))
def test_any_text_and_block_size(text, block_size, seed, epoch):
    dataset = CharCorruptionDataset(text, block_size)
    epoch = dataset.at_epoch(seed, epoch)
    for index in range(len(dataset)):
        check_item(dataset, index, *epoch[index])
        check_item(dataset, index, *dataset[index])


@pytest.mark.parametrize("rows", [plain_rows, epoch_rows])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_every_truncated_length_occurs_and_no_other(rows, block_size):
    lengths, _, _ = measured(*rows(CharCorruptionDataset(LONG, block_size), 3000))
    assert set(lengths.tolist()) == set(range(4, int(block_size * 7 / 8) + 1))


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_a_document_is_cut_no_longer_than_it_is(block_size):
    lengths, _, _ = measured(*epoch_rows(CharCorruptionDataset(LONG[:11], block_size), 2000))
    assert set(lengths.tolist()) == set(range(4, 12))


@pytest.mark.parametrize("size, masked_lengths", [(0, {0}), (1, {0, 1}), (2, {0, 1}), (3, {0, 1}), (4, {1})])
def test_documents_too_short_to_cut_stay_whole(size, masked_lengths):
    """The empty one is that after the last newline of a file."""
    dataset = CharCorruptionDataset("abcd"[:size], 32)
    found = [check_item(dataset, 0, *dataset[0]) for _ in range(300)]
    assert {length for length, _, _ in found} == {size}
    assert {masked for _, masked, _ in found} == masked_lengths
    assert {(masked, start) for _, masked, start in found} == {
        (masked, start) for masked in masked_lengths for start in range(size - masked + 1)}


def test_the_empty_document_is_two_masks():
    dataset = CharCorruptionDataset("abc\n", 32)
    x, y = dataset[1]
    assert characters(dataset, x) == "⁇⁇" + 29 * "□"
    assert characters(dataset, y) == "⁇" + 30 * "□"


@pytest.mark.parametrize("rows", [plain_rows, epoch_rows])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_a_quarter_is_masked_on_average_whether_the_length_is_even_or_odd(rows, block_size):
    draws = 4000 if rows is plain_rows else 30000
    lengths, masked, _ = measured(*rows(CharCorruptionDataset(LONG, block_size), draws))
    excess = masked - lengths / 4
    for parity in (0, 1):
        some = excess[lengths % 2 == parity]
        assert abs(some.mean()) < 5 * some.std() / np.sqrt(len(some))
    assert 0.05 < (masked / lengths).std()
    assert masked.min() == 1 and (masked < lengths).all()  # something is always masked, and something always left


@pytest.mark.parametrize("length", [5, 6, 7, 18, 27, 28])
def test_a_quarter_is_masked_on_average_at_one_length(length):
    """A systematic rounding of a few lengths would not show in the mean over all."""
    lengths, masked, _ = measured(*epoch_rows(CharCorruptionDataset(LONG[:length], 32), 30000))
    masked = masked[lengths == length]
    assert abs(masked.mean() - length / 4) < 5 * masked.std() / np.sqrt(len(masked))
    assert len(set(masked.tolist())) >= 2


def test_the_masked_span_lies_everywhere():
    """In 8 characters: 1, 2 or 3 of them, from the first character on, up to the last, and all between."""
    lengths, masked, start = measured(*epoch_rows(CharCorruptionDataset("abcdefgh", 32), 4000))
    assert set(zip(masked[lengths == 8].tolist(), start[lengths == 8].tolist())) == {
        (span, first) for span in (1, 2, 3) for first in range(8 - span + 1)}


def test_the_masked_span_lies_anywhere_equally_often():
    lengths, masked, start = measured(*epoch_rows(CharCorruptionDataset(LONG, 50), 30000))
    share = (start + 0.5) / (lengths - masked + 1)  # uniform on evenly spaced points of (0, 1)
    assert abs(share.mean() - 0.5) < 5 * share.std() / np.sqrt(len(share))
    assert abs((start == 0).mean() - (start == lengths - masked).mean()) < 5 * np.sqrt(2 * (start == 0).mean() / len(start))


def test_truncated_length_masked_length_and_place_are_drawn_apart():
    """One random number used twice would tie two of them together."""
    lengths, masked, start = measured(*epoch_rows(CharCorruptionDataset(LONG, 128), 10000))
    share = np.stack([lengths, (masked - lengths / 4) / lengths, start / (lengths - masked)])[:, lengths > 20]
    correlations = np.corrcoef(share)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(share.shape[1])


def test_plain_indexing_draws_afresh_and_follows_random_seed():
    dataset = CharCorruptionDataset(LONG, 50)
    random.seed(7)
    first = [dataset[0] for _ in range(20)]
    assert len({tuple(x.tolist()) for x, _ in first}) > 15
    random.seed(7)
    assert all(torch.equal(x, dataset[0][0]) for x, _ in first)


def test_the_worked_example_is_true():
    """The docstring's, read from it: the reference makes it so, and the dataset draws it sooner or later."""
    shown = dict(re.findall(r"^ +(document|truncated|x|y) +(.*)$", CharCorruptionDataset.__doc__, re.MULTILINE))
    prefix, suffix, masked = recovered(shown["x"], shown["y"])
    assert prefix + masked + suffix == shown["truncated"]
    cut = len(shown["truncated"]), len(masked), len(prefix)
    assert reference.corrupt(shown["document"], *cut, 32) == (shown["x"], shown["y"])
    figures = measured(*epoch_rows(CharCorruptionDataset(shown["document"], 32), 30000))
    assert cut in zip(*(figure.tolist() for figure in figures))


def test_what_a_grader_of_the_assignment_checks():
    """Verses and lines of one letter, block size 50, one pass: the spread of lengths and of masked lengths."""
    verses = ["A kettle on the hob began to sing a little after seven, and the cat",
              "who had been dreaming of a silver fish, got up, and stretched, and sat",
              "beside the window, where the rain had drawn a map of somewhere flat,",
              "and thought of nothing, as it is the way of cats to think of that."]
    dataset = CharCorruptionDataset("\n".join(verses + ["a" * random.randint(7, 42) for _ in range(100)]), 50)
    lengths, masked, entries = [], [], []
    for index in range(len(dataset)):
        x, y = dataset[index]
        written = characters(dataset, torch.cat([x, y[-1:]]))
        content = written.rstrip(PAD)
        assert PAD not in content and written.endswith(PAD)
        assert characters(dataset, x)[1:] == characters(dataset, y)[:-1]
        prefix, suffix, span = content.split(MASK)
        lengths.append(len(prefix + span + suffix))
        masked.append(len(span))
        entries.append(len(dataset.data[index]))
    lengths, masked, entries = np.array(lengths), np.array(masked), np.array(entries)
    assert 4 <= lengths.min() and lengths.max() <= 43
    assert (lengths / entries).std() > 0.05
    assert abs((masked - 0.25 * lengths).mean()) <= 1.5
    assert (masked / lengths).std() > 0.01


# ---- the epochs of a run --------------------------------------------------------------------------------------------

EPOCH_TEXT = "\n".join([LONG[i:i + 5 + 3 * i] for i in range(37)]) + "\n"  # 38 documents of 0 to 113 characters


def all_of(items):
    return torch.stack([torch.stack(items[i]) for i in range(len(items))])  # (N, 2, block_size - 1)


def epoch_dataset(block_size=50):
    return CharCorruptionDataset(EPOCH_TEXT, block_size)


def test_an_epochs_item_depends_on_seed_epoch_and_index_alone():
    expected = all_of(epoch_dataset().at_epoch(3, 5))
    items = epoch_dataset().at_epoch(3, 5)  # of another dataset of the same text
    random.seed(99)
    for index in random.sample(range(38), 38):
        assert torch.equal(torch.stack(items[index]), expected[index])
        random.random(), np.random.random(), torch.rand(1)
        assert torch.equal(torch.stack(items[index]), expected[index])
    epoch_dataset().at_epoch(3, 4)[0]
    assert torch.equal(all_of(items), expected)


def test_a_batch_is_what_its_items_are():
    items = epoch_dataset().at_epoch(3, 5)
    order = [7, 0, 37, 7, 12]
    batch = items.__getitems__(order)
    assert len(batch) == 5
    for index, (x, y) in zip(order, batch):
        assert torch.equal(x, items[index][0]) and torch.equal(y, items[index][1])
        check_item(items.dataset, index, x, y)


@pytest.mark.parametrize("workers, batch_size", [(0, 1), (0, 8), (0, 64), (2, 8)])
def test_a_data_loader_gives_the_same_items(workers, batch_size):
    items = epoch_dataset().at_epoch(3, 5)
    batches = list(DataLoader(items, batch_size=batch_size, num_workers=workers))
    assert [len(x) for x, _ in batches] == [min(batch_size, 38 - first) for first in range(0, 38, batch_size)]
    found = torch.stack([torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])], dim=1)
    assert torch.equal(found, all_of(items))


def test_epochs_and_seeds_differ():
    dataset = epoch_dataset()
    runs = [(3, 5), (3, 6), (4, 5), (5, 3), (0, 0), (3 + 2 ** 31, 5)]
    epochs = [all_of(dataset.at_epoch(seed, epoch)) for seed, epoch in runs]
    for i, one in enumerate(epochs):
        for other in epochs[:i]:
            same = (one == other).all(dim=-1).all(dim=-1)  # (N): items of a few characters may come out alike
            assert same.float().mean() < 0.3


def test_neighbouring_epochs_have_nothing_to_do_with_each_other():
    dataset = CharCorruptionDataset("\n".join([LONG] * 2000), 50)
    def lengths(seed, epoch):
        items = dataset.at_epoch(seed, epoch).__getitems__(range(2000))
        return measured(torch.stack([x for x, _ in items]), torch.stack([y for _, y in items]))[0]
    for other in (lengths(0, 1), lengths(1, 0), np.roll(lengths(0, 0), 1)):
        assert abs(np.corrcoef(lengths(0, 0), other)[0, 1]) < 5 / np.sqrt(2000)


def test_an_epoch_leaves_the_global_random_numbers_alone():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    all_of(epoch_dataset().at_epoch(3, 5))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_an_epoch_and_plain_indexing_draw_from_the_same_distribution():
    """Kolmogorov and Smirnov's distance of two samples; beyond 2.5 √(2/n) by chance once in 100,000 times."""
    draws = 5000
    dataset = CharCorruptionDataset(LONG, 50)
    figures = []
    for rows in (plain_rows, epoch_rows):
        lengths, masked, start = measured(*rows(dataset, draws))
        figures.append((lengths, masked / lengths, start / (lengths - masked)))
    for one, other in zip(*figures):
        points = np.union1d(one, other)
        shares = [np.searchsorted(np.sort(sample), points, side="right") / draws for sample in (one, other)]
        assert np.abs(shares[0] - shares[1]).max() < 2.5 * np.sqrt(2 / draws)


def test_the_stream_stays_what_it_is():
    """Trained parameters can be had again only as long as this does not change, on any platform and numpy version."""
    dataset = epoch_dataset()
    assert characters(dataset, dataset.at_epoch(1, 2)[20][0]) == GOLDEN_ITEM
    digest = hashlib.sha256()
    for seed, epoch in [(0, 0), (1, 2), (2 ** 32 - 1, 649)]:
        digest.update(all_of(dataset.at_epoch(seed, epoch)).numpy().astype("<i8").tobytes())
    assert digest.hexdigest() == GOLDEN_DIGEST


GOLDEN_ITEM = " wa⁇in Dorki⁇s born " + "□" * 29
GOLDEN_DIGEST = "6af163f3718ec24b384b4e31aab625606f5354b1371d865b698c2344eaeccca4"


# ---- questions ------------------------------------------------------------------------------------------------------

ALPHABET = CharCorruptionDataset("".join(map(chr, range(32, 127))) + "\n", 40)
PAIRS = [("Where was Ann Lee born?", "Leeds"), ("Where was Zoë Brøg born?", "Ålesund"), ("?", "a"),
         ("Where was Ng Đỗ born?", "Hải Dương City")]


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_questions_are_encoded_as_the_reference_does(ending):
    dataset = NameDataset(ALPHABET, "\n".join(f"{question}\t{place}" for question, place in PAIRS) + ending)
    assert len(dataset) == len(PAIRS)
    assert (dataset.vocab_size, dataset.block_size) == (ALPHABET.vocab_size, 40)
    assert (dataset.stoi, dataset.itos) == (ALPHABET.stoi, ALPHABET.itos)
    for (question, place), (x, y) in zip(PAIRS, dataset):
        assert x.dtype == y.dtype == torch.int64
        assert (characters(dataset, x), characters(dataset, y)) == reference.name_example(question, place, 40)
    with pytest.raises(IndexError):
        dataset[len(PAIRS)]


def test_only_the_answer_and_its_marks_count_in_the_loss(tiny_name_dataset):
    for index, place in enumerate(["Leeds", "York", "Hull"]):
        _, y = tiny_name_dataset[index]
        assert characters(tiny_name_dataset, y[y != 0]) == f"⁇{place}⁇"


def test_the_name_datasets_worked_example_is_true():
    line, = re.findall(r"`([^`]*)<TAB>(\w+)`", NameDataset.__doc__)
    shown = dict(re.findall(r"^ +([xy])  (\S.*)$", NameDataset.__doc__, re.MULTILINE))
    dataset = NameDataset(ALPHABET, "\t".join(line))
    x, y = dataset[0]
    assert (characters(dataset, x), characters(dataset, y)) == (shown["x"], shown["y"])


def test_a_batch_of_questions_is_what_its_items_are(tiny_name_dataset):
    batch = tiny_name_dataset.__getitems__([2, 0, 2])
    for index, (x, y) in zip([2, 0, 2], batch):
        assert torch.equal(x, tiny_name_dataset[index][0]) and torch.equal(y, tiny_name_dataset[index][1])
    (x, y), = DataLoader(tiny_name_dataset, batch_size=3)
    assert torch.equal(x, torch.stack([tiny_name_dataset[i][0] for i in range(3)]))
    assert torch.equal(y, torch.stack([tiny_name_dataset[i][1] for i in range(3)]))


def test_both_orders_of_arguments_and_keywords(tiny_pretrain_dataset):
    first = NameDataset(tiny_pretrain_dataset, TINY_QUESTIONS)
    for other in (NameDataset(TINY_QUESTIONS, tiny_pretrain_dataset),
                  NameDataset(data=TINY_QUESTIONS, pretraining_dataset=tiny_pretrain_dataset)):
        assert len(other) == 3
        for (x, y), (x2, y2) in zip(first, other):
            assert torch.equal(x, x2) and torch.equal(y, y2)


def test_a_pretraining_dataset_of_ones_own_will_do():
    chars = PAD + MASK + "?aB"
    own = SimpleNamespace(stoi={c: i for i, c in enumerate(chars)}, itos=dict(enumerate(chars)), vocab_size=5, block_size=8)
    x, y = NameDataset(own, "a?\tB")[0]
    assert x.tolist() == [3, 2, 1, 4, 1, 0, 0]
    assert y.tolist() == [0, 1, 4, 1, 0, 0, 0]


def test_characters_outside_ascii_are_dropped_and_counted(tiny_pretrain_dataset):
    dataset = NameDataset(tiny_pretrain_dataset, "Where was Ann Leé born?\tLéeds\nWhere was 🐝 Ed born?\tHull\n")
    assert dataset.dropped == 3
    assert [(text, place) for _, text, place in dataset.data] == [
        ("Where was Ann Le born?", "Leds"), ("Where was  Ed born?", "Hull")]
    assert NameDataset(tiny_pretrain_dataset, TINY_QUESTIONS).dropped == 0


def test_blank_lines_are_skipped_and_the_last_line_is_not_lost(tiny_pretrain_dataset):
    dataset = NameDataset(tiny_pretrain_dataset, "\n  \nWhere was Ann Lee born?\tLeeds\n\n\t\nWhere was Ed Ng born?\tHull")
    assert dataset.data == [(3, "Where was Ann Lee born?", "Leeds"), (6, "Where was Ed Ng born?", "Hull")]


@pytest.mark.parametrize("text, expected", [
    ("A?\nB?\n", [(1, "A?", None), (2, "B?", None)]),
    ("A?\t\nB?", [(1, "A?", None), (2, "B?", None)]),
    (" A? \t a b \n\nB?\tÅ\n", [(1, "A?", "a b"), (3, "B?", "Å")]),
])
def test_parse_questions(text, expected):
    assert parse_questions(text) == expected


GOOD = "Where was Ann Lee born?\tLeeds\n"
FITS = "W" * 20 + "\t" + "a" * 18  # 40 with the two ⁇


@pytest.mark.parametrize("data, message", [
    ("Where was Ann Lee born?\n", "line 1: no place after the question"),
    ("\nWhere was Ann Lee born?\t \n", "line 2: no place after the question"),
    (GOOD + GOOD + "Where was\tAnn\tLee born?\n", "line 3: 2 tabs"),
    (GOOD + "\tLeeds\n", "line 2: no question"),
    (GOOD + "\n" + "Where was Bob born?\n", "line 3: no place after the question, but line 1 has one"),
    ("Where was Bob born?\n" + GOOD, "line 1: no place after the question, but line 2 has one"),
    (GOOD + "Where was Zoë born?\té\n", "line 2: no place after the question"),
    (GOOD + FITS + "a\n", "line 2: question and place take 41 characters .* the block has 40"),
    (GOOD + "W" + FITS, "line 2: question and place take 41 characters"),
    ("", "no question in it"),
    ("\n \n", "no question in it"),
])
def test_questions_refused(data, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        NameDataset(ALPHABET, data)
    assert "\n" not in str(caught.value)


def test_a_question_that_fits_exactly_is_taken():
    x, y = NameDataset(ALPHABET, GOOD + FITS)[1]
    assert characters(ALPHABET, x) == "W" * 20 + MASK + "a" * 18
    assert characters(ALPHABET, y) == PAD * 19 + MASK + "a" * 18 + MASK


@pytest.mark.parametrize("line, said", [
    ("Where was Quin born?\tHull", r"'Q' \(U\+0051\) is not in"),
    ("Where was Quin born?\tHull!", r"'!' \(U\+0021\), 'Q' \(U\+0051\) are not in"),
])
def test_characters_that_the_vocabulary_lacks_are_refused(tiny_pretrain_dataset, line, said):
    with pytest.raises(InputError, match=f"^line 4: {said}"):
        NameDataset(tiny_pretrain_dataset, TINY_QUESTIONS + line)


# ---- files ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("raw, text", [
    ("Zoë\nÅl\n".encode(), "Zoë\nÅl\n"),
    (b"a\r\nb\r\n", "a\nb\n"),
    (b"a\rb\r", "a\nb\n"),
    (b"\xef\xbb\xbfa\nb", "a\nb"),
    ("a\ufeffb".encode(), "a\ufeffb"),
    ("a\u2028b\x0bc".encode(), "a\u2028b\x0bc"),
    (b"", ""),
])
def test_read_text(tmp_path, raw, text):
    (tmp_path / "text").write_bytes(raw)
    assert read_text(tmp_path / "text") == text


@pytest.mark.parametrize("raw, line, byte", [
    (b"\xff", 1, "0xff"), (b"ab\ncd\nZo\xeb\nef", 3, "0xeb"),
    (b"\xef\xbb\xbfa\n\xc3\n", 2, "0xc3"), (b"a\r\nb\r\n\x80", 3, "0x80"),
])
def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path, raw, line, byte):
    path = tmp_path / "text"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: line {line}: byte {byte} is not UTF-8"):
        read_text(path)


def test_an_endless_file_is_refused(tmp_path, monkeypatch):
    assert module.MOST_BYTES == 2 ** 30
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_text(tmp_path / "a") == "0123456789"
    (tmp_path / "a").write_bytes(b"0123456789\n")
    with pytest.raises(InputError, match="a: larger than 10 bytes$"):
        read_text(tmp_path / "a")
    if os.path.exists("/dev/zero"):
        with pytest.raises(InputError, match="/dev/zero: larger than 10 bytes$"):
            read_text("/dev/zero")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "")):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot be read: {reason}") as caught:
            read_text(path)
        assert "\n" not in str(caught.value)


# ---- the commands, and the files on their own -----------------------------------------------------------------------

def python(arguments, folder, **environment):
    """Runs Python in `folder`, without this process's PYTHON… settings. Output is read as UTF-8."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, env={**kept, **environment},
                          capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.parametrize("kind, count, environment", [
    ("namedata", 3, {}),  # of the four that are shown of a longer file
    ("charcorruption", 5, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}),
])
def test_the_commands_print_examples(kind, count, environment, tmp_path, tiny_corpus, tiny_questions):
    tiny_questions.rename(tmp_path / "birth_places_train.tsv")
    done = python([ROOT / "src" / "dataset.py", kind], tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    dataset = CharCorruptionDataset(TINY_CORPUS, 128)
    assert first == f"data has {len(TINY_CORPUS)} characters, {dataset.vocab_size} unique."
    assert [line[:3] for line in lines] == ["x: ", "y: "] * count
    for index, (x, y) in enumerate(zip(lines[::2], lines[1::2])):
        assert len(x) == len(y) == 3 + 127
        if kind == "namedata":
            question, place = TINY_QUESTIONS.splitlines()[index].split("\t")
            assert (x[3:], y[3:]) == reference.name_example(question, place, 128)
        else:
            prefix, suffix, masked = recovered(x[3:], y[3:])
            assert dataset.data[index].startswith(prefix + masked + suffix)


@pytest.mark.parametrize("kind, count", [("namedata", 4), ("charcorruption", 10)])
def test_the_commands_print_no_more_than_the_handouts_number(kind, count, tmp_path, monkeypatch, capsys):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS * 4, encoding="utf-8")
    (tmp_path / "birth_places_train.tsv").write_text(TINY_QUESTIONS * 4, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dataset.py", kind])
    module.main()
    assert [line[:3] for line in capsys.readouterr().out.splitlines()[1:]] == ["x: ", "y: "] * count


@pytest.mark.parametrize("kind, present, said", [
    ("charcorruption", {}, "wiki.txt: cannot be read: "),
    ("namedata", {"wiki.txt": TINY_CORPUS}, "birth_places_train.tsv: cannot be read: "),
    ("charcorruption", {"wiki.txt": "a\nb⁇\n"}, "wiki.txt: line 2: holds ⁇ (U+2047)"),
    ("namedata", {"wiki.txt": TINY_CORPUS, "birth_places_train.tsv": "Where?\n"},
     "birth_places_train.tsv: line 1: no place"),
])
def test_the_commands_say_in_one_line_what_is_wrong(kind, present, said, tmp_path, monkeypatch, capsys):
    for name, text in present.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dataset.py", kind])
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert caught.value.code == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dataset.py: error: {said}")


def test_a_missing_file_ends_the_command_with_one_line(tmp_path):
    done = python([ROOT / "src" / "dataset.py", "namedata"], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    line, = done.stderr.splitlines()
    assert line.startswith("dataset.py: error: wiki.txt: cannot be read")


ALONE = """
import importlib.util
for name in ("dataset", "attention"):
    spec = importlib.util.spec_from_file_location(name + "_alone", "only_" + name + "/" + name + ".py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = {"CharCorruptionDataset", "NameDataset", "CausalSelfAttention", "SynthesizerAttention"}
    print(*sorted(wanted & vars(module).keys()))
"""


def test_dataset_and_attention_can_be_taken_alone(tmp_path):
    """As an autograder does: each file by itself in a folder, nothing of the project on the path."""
    for name in ("dataset", "attention"):
        (tmp_path / f"only_{name}").mkdir()  # a folder "attention" could be imported as such
        shutil.copy(ROOT / "src" / f"{name}.py", tmp_path / f"only_{name}")
    done = python(["-c", ALONE], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["CharCorruptionDataset NameDataset", "CausalSelfAttention SynthesizerAttention"]
