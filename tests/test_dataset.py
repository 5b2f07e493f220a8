"""The two datasets. Statistical bounds are five standard errors."""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import dataset as module
import reference
from conftest import COURSE_FILES, ROOT, TINY_CORPUS, TINY_QUESTIONS
from dataset import CharCorruptionDataset, NameDataset, parse_questions
from reference import MASK, PAD

COURSE_CORPUS = COURSE_FILES / "wiki.txt"
LONG = (
    "Ida Quill. Ida Quill was born in Dorking ; she mapped marshes, and her maps are in use to "
    "this day, they say . "
) * 2
TEXTS = {
    "last line end": LONG + "\nBob, of York, wove hats and sold them .\n",
    "not ASCII": ("Zoë Brøgger kept bees — 蜂 — and 🐝 . " * 4 + "\nŁódź! " * 3),
    "short": "a\nab\nabc\nabcd\nabcde\n" + LONG,
    "blank documents": "\n" + LONG + "\n\n \n\t\n",
    "ids beyond a byte": "".join(map(chr, range(0x4E00 + 400, 0x4E00, -1))),
    "other line ends": "one\rtwo " * 9 + "\nthree\u2028four\x0bfive six seven\n",
}
BLOCK_SIZES = [32, 50, 128]


def characters(dataset, ids):
    return "".join(dataset.itos[i] for i in ids.tolist())


def check_item(dataset, index, x, y):
    """That the reference can make the item of its document. Returns (length, masked, start)."""
    block_size, document = dataset.block_size, dataset.data[index]
    assert x.dtype == y.dtype == torch.int64 and x.shape == y.shape == (block_size - 1,)
    x, y = characters(dataset, x), characters(dataset, y)
    prefix, suffix, end = (x + y[-1]).split(MASK)
    masked = end.rstrip(PAD)
    cut = len(prefix + masked + suffix), len(masked), len(prefix)
    assert (x, y) == reference.corrupt(document, *cut, block_size)
    longest = int(block_size * 7 / 8)
    assert min(4, len(document)) <= cut[0] <= min(longest, len(document))
    return cut


def one_by_one(dataset, draws):
    """The first document `draws` times, as x and y (draws, block_size - 1)."""
    return [torch.stack(ids) for ids in zip(*(dataset[0] for _ in range(draws)), strict=True)]


def by_epoch(dataset, draws):
    """The same as items of an epoch of copies of the document."""
    copies = CharCorruptionDataset("\n".join([dataset.data[0]] * draws), dataset.block_size)
    items = copies.at_epoch(0, 0).__getitems__(range(draws))
    return [torch.stack(ids) for ids in zip(*items, strict=True)]


def measure(x, y):
    """Truncated length, masked length and start of the masked span of each item, each (B)."""
    rows = torch.cat([x[:, :1], y], dim=1)
    first, second = (rows == 1).nonzero()[:, 1].view(len(rows), 2).numpy().T
    written = (rows != 0).sum(dim=1).numpy()
    return written - 2, written - 1 - second, first


# ---- vocabulary -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_vocabulary_documents_and_items(name, capsys):
    text = TEXTS[name]
    dataset = CharCorruptionDataset(text, 50)
    chars = ["\u25a1", "\u2047", *sorted(set(text))]
    assert dataset.stoi == {char: i for i, char in enumerate(chars)}
    assert dataset.itos == dict(enumerate(chars))
    assert (dataset.vocab_size, dataset.block_size) == (len(chars), 50)
    assert (dataset.MASK_CHAR, dataset.PAD_CHAR) == ("\u2047", "\u25a1")
    assert dataset.data == text.split("\n") and len(dataset) == text.count("\n") + 1
    assert capsys.readouterr().out == (f"data has {len(text)} characters, {len(chars)} unique.\n")
    for items in (dataset, dataset, dataset.at_epoch(1, 2), dataset.at_epoch(1, 3)):
        for index, (x, y) in enumerate(items):  # IndexError ends the iteration
            check_item(dataset, index, x, y)
        assert index == len(items) - 1


def test_the_courses_corpus(capsys):
    if not COURSE_CORPUS.exists():
        pytest.skip("the course's files are not here")
    dataset = CharCorruptionDataset(COURSE_CORPUS.read_text(encoding="utf-8"), 128)
    assert capsys.readouterr().out == "data has 418352 characters, 256 unique.\n"
    assert len(dataset) == 2938 and check_item(dataset, 2937, *dataset[2937])[0] == 0


@pytest.mark.parametrize("char", [MASK, PAD])
def test_reserved_characters_are_refused_with_their_line(char):
    with pytest.raises(ValueError, match=f"line 3: .*{char}"):
        CharCorruptionDataset(f"abc\n\nabc{char}\nabc{char}\n", 50)


def test_block_sizes():
    """
    Below 9 no document fits with its two masks; from there on every length occurs, and at each a
    quarter is masked on average. (Rounding at a few lengths would not show in the mean over all.)
    """
    for block_size in range(9):
        with pytest.raises(ValueError, match=f"block_size is {block_size}"):
            CharCorruptionDataset(LONG, block_size)
    for block_size in range(9, 26, 2):
        lengths, masked, _ = measure(*by_epoch(CharCorruptionDataset(LONG, block_size), 6000))
        assert set(lengths.tolist()) == set(range(4, int(block_size * 7 / 8) + 1))
        for length in range(5, lengths.max() + 1):
            some = masked[lengths == length]
            assert abs(some.mean() - length / 4) < 5 * some.std() / np.sqrt(len(some))


# ---- corruption -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.text(st.characters(exclude_characters=MASK + PAD, exclude_categories=["Cs"]), max_size=90),
    st.integers(9, 80),
    st.integers(0, 2**32 - 1),
    st.integers(0, 1000),
)
def test_any_text_and_block_size(text, block_size, seed, epoch):
    dataset = CharCorruptionDataset(text, block_size)
    for items in (dataset, dataset.at_epoch(seed, epoch)):
        for index in range(len(dataset)):
            check_item(dataset, index, *items[index])


@pytest.mark.parametrize("rows", [one_by_one, by_epoch])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_lengths_and_spans_of_a_long_document(rows, block_size):
    """
    Every length occurs and no other; a quarter is masked on average; the span lies anywhere
    equally often; and the three are drawn apart.
    """
    draws = 3000 if rows is one_by_one else 15000
    dataset = CharCorruptionDataset(LONG, block_size)
    lengths, masked, start = measure(*rows(dataset, draws))
    longest = int(block_size * 7 / 8)
    assert set(lengths.tolist()) == set(range(4, longest + 1))
    assert abs(lengths.mean() - (4 + longest) / 2) < 5 * lengths.std() / np.sqrt(draws)
    excess = masked - lengths / 4
    assert abs(excess.mean()) < 5 * excess.std() / np.sqrt(draws)
    assert (masked / lengths).std() > 0.05 and masked.min() == 1 and (masked < lengths).all()
    place = (start + 0.5) / (lengths - masked + 1)
    assert abs(place.mean() - 0.5) < 5 * place.std() / np.sqrt(draws)
    assert abs((start == 0).mean() - (start == lengths - masked).mean()) < 10 / np.sqrt(draws) / 4
    long = lengths > 20
    shares = np.stack([lengths, excess / lengths, place])[:, long]
    correlations = np.corrcoef(shares)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(long.sum())


@pytest.mark.parametrize(
    "document, spans", [("", [0]), ("a", [0, 1]), ("ab", [0, 1]), ("abc", [0, 1]), ("abcd", [1])]
)
def test_documents_too_short_to_truncate_stay_whole(document, spans):
    """The empty one stands after the last line end of a file."""
    dataset = CharCorruptionDataset(document, 32)
    found = {check_item(dataset, 0, *dataset[0]) for _ in range(300)}
    size = len(document)
    assert found == {(size, span, start) for span in spans for start in range(size - span + 1)}


def test_a_grader_of_a_later_edition_has_its_shorter_texts(monkeypatch):
    """`CharCorruptionDataset.LONGEST = 3 / 4` (docs/differences.md): every length from 4 to 96."""
    monkeypatch.setattr(CharCorruptionDataset, "LONGEST", 3 / 4)
    lengths, _, _ = measure(*by_epoch(CharCorruptionDataset(LONG, 128), 5000))
    assert set(lengths.tolist()) == set(range(4, 97))


def test_plain_indexing_draws_afresh_and_follows_random_seed():
    dataset = CharCorruptionDataset(LONG, 50)
    random.seed(7)
    first = [dataset[0][0] for _ in range(20)]
    assert len({tuple(x.tolist()) for x in first}) > 15
    random.seed(7)
    assert all(torch.equal(x, dataset[0][0]) for x in first)


def test_worked_examples_of_the_docstrings_are_true():
    fields = r"^ +(document|truncated|x|y) +(\S.*)$"
    shown = dict(re.findall(fields, CharCorruptionDataset.__doc__, re.MULTILINE))
    prefix, suffix, end = (shown["x"] + shown["y"][-1]).split(MASK)
    masked = end.rstrip(PAD)
    cut = len(shown["truncated"]), len(masked), len(prefix)
    assert reference.corrupt(shown["document"], *cut, 32) == (shown["x"], shown["y"])
    drawn = measure(*by_epoch(CharCorruptionDataset(shown["document"], 32), 30000))
    assert cut in zip(*(values.tolist() for values in drawn), strict=True)

    shown = dict(re.findall(fields, NameDataset.__doc__, re.MULTILINE))
    (line,) = re.findall("`([^`]*<TAB>[^`]*)`", NameDataset.__doc__)
    question, place = line.split("<TAB>")
    assert reference.name_example(question, place, 40) == (shown["x"], shown["y"])


# ---- the epochs of a run --------------------------------------------------------------------

EPOCH_TEXT = "\n".join([LONG[i : i + 5 + 3 * i] for i in range(37)]) + "\n"  # 38 documents


def epoch_of(seed, epoch):
    return CharCorruptionDataset(EPOCH_TEXT, 50).at_epoch(seed, epoch)


def all_of(items):
    return torch.stack(
        [torch.stack(items[i]) for i in range(len(items))]
    )  # (N, 2, block_size - 1)


def test_an_epochs_item_depends_on_seed_epoch_and_index_alone():
    expected, items = all_of(epoch_of(3, 5)), epoch_of(3, 5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    order = random.Random(9).sample(range(38), 38)
    for index in order:
        assert torch.equal(torch.stack(items[index]), expected[index])
    batch = items.__getitems__(order)
    assert torch.equal(torch.stack([torch.stack(item) for item in batch]), expected[order])
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    batches = list(DataLoader(items, batch_size=8))
    assert [len(x) for x, _ in batches] == [8, 8, 8, 8, 6]
    assert torch.equal(torch.cat([torch.stack(batch, dim=1) for batch in batches]), expected)


def test_epochs_and_seeds_have_nothing_to_do_with_each_other():
    """Also with one epoch's items moved by one."""
    dataset = CharCorruptionDataset("\n".join([LONG] * 2000), 50)

    def lengths(seed, epoch):
        items = dataset.at_epoch(seed, epoch).__getitems__(range(2000))
        return measure(*(torch.stack(ids) for ids in zip(*items, strict=True)))[0]

    first = lengths(0, 0)
    others = [lengths(*run) for run in ((0, 1), (1, 0), (1, 1), (2**31, 0))] + [np.roll(first, 1)]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / np.sqrt(2000)


def test_the_stream_stays_what_it_is():
    """Results can be had again only as long as it does, on every platform and numpy version."""
    digest = hashlib.sha256()
    for seed, epoch in [(0, 0), (1, 2), (2**32 - 1, 649)]:
        digest.update(all_of(epoch_of(seed, epoch)).numpy().astype("<i8").tobytes())
    assert digest.hexdigest() == GOLDEN_DIGEST


GOLDEN_DIGEST = "6af163f3718ec24b384b4e31aab625606f5354b1371d865b698c2344eaeccca4"


# ---- questions ------------------------------------------------------------------------------

ALPHABET = CharCorruptionDataset("".join(map(chr, range(32, 127))) + "\n", 40)
PAIRS = [
    ("Where was Ann Lee born?", "Leeds"),
    ("Where was Zoë Brøg born?", "Ålesund"),
    ("Where was Ng Đỗ born?", "Hải Dương City"),
    ("?", "a"),
    ("W" * 20, "a" * 18),  # fits exactly, with its two ⁇
]


@pytest.mark.parametrize("ending", ["", "\n", "\n \n"])
def test_questions_are_the_references(ending):
    dataset = NameDataset(ALPHABET, "\n".join("\t".join(pair) for pair in PAIRS) + ending)
    assert len(dataset) == len(PAIRS) and dataset.dropped == 8
    assert (dataset.vocab_size, dataset.block_size) == (ALPHABET.vocab_size, 40)
    assert (dataset.stoi, dataset.itos) == (ALPHABET.stoi, ALPHABET.itos)
    for pair, (x, y) in zip(PAIRS, dataset, strict=True):
        assert x.dtype == y.dtype == torch.int64
        found = characters(dataset, x), characters(dataset, y)
        assert found == reference.name_example(*pair, 40)
    batch = dataset.__getitems__([2, 0, 2])
    assert all(torch.equal(x, dataset[i][0]) for i, (x, _) in zip([2, 0, 2], batch, strict=True))
    assert all(torch.equal(y, dataset[i][1]) for i, (_, y) in zip([2, 0, 2], batch, strict=True))


def test_both_orders_of_arguments_and_keywords(tiny_pretrain_dataset):
    first = NameDataset(tiny_pretrain_dataset, TINY_QUESTIONS)
    for other in (
        NameDataset(TINY_QUESTIONS, tiny_pretrain_dataset),
        NameDataset(data=TINY_QUESTIONS, pretraining_dataset=tiny_pretrain_dataset),
    ):
        assert len(other) == 3 and torch.equal(all_of(first), all_of(other))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A?\nB?\n", [(1, "A?", None), (2, "B?", None)]),
        ("A?\t\nB?", [(1, "A?", None), (2, "B?", None)]),
        (" A? \t a b \n\n \nB?\tÅ\n", [(1, "A?", "a b"), (4, "B?", "Å")]),
    ],
)
def test_parse_questions(text, expected):
    assert parse_questions(text) == expected


GOOD = "Where was Ann Lee born?\tLeeds\n"


@pytest.mark.parametrize(
    "data, line, said",
    [
        ("\nWhere was Ann Lee born?\n", "line 2", ""),  # no place
        ("Where was Ann Lee born?\t \n", "line 1", ""),
        (GOOD + "Where was Zoë born?\té\n", "line 2", ""),  # none that is left
        (GOOD + GOOD + "Where was\tAnn\tLee born?\n", "line 3", "2 tabs"),
        (GOOD + "\tLeeds\n", "line 2", ""),
        (GOOD + "\n" + "Where was Bob born?\n", "line 3", "line 1"),
        ("Where was Bob born?\n" + GOOD, "line 1", "line 2"),
        (GOOD + "W" * 20 + "\t" + "a" * 19, "line 2", "41"),
        (GOOD + "\x7f?\ta", "line 2", "U+007F"),
        (GOOD + "\x7f?\ta\x06", "line 2", "U+0006"),
        ("\n \n", "no question", ""),
    ],
)
def test_questions_refused_with_their_line(data, line, said):
    with pytest.raises(ValueError) as caught:
        NameDataset(ALPHABET, data)
    assert str(caught.value).startswith(line) and said in str(caught.value)


# ---- the commands, and the file on its own --------------------------------------------------


@pytest.mark.parametrize("kind", ["namedata", "charcorruption"])
def test_the_commands_print_four_examples(kind, tmp_path, monkeypatch, capsys):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS * 2, encoding="utf-8")
    (tmp_path / "birth_places_train.tsv").write_text(TINY_QUESTIONS * 2, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dataset.py", kind])
    module.main()
    first, *lines = capsys.readouterr().out.splitlines()
    vocabulary = len(set(TINY_CORPUS)) + 2
    assert first == f"data has {len(TINY_CORPUS * 2)} characters, {vocabulary} unique."
    assert [line[:3] for line in lines] == ["x: ", "y: "] * 4
    questions = (TINY_QUESTIONS * 2).splitlines()
    for index, (x, y) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        if kind == "namedata":
            example = reference.name_example(*questions[index].split("\t"), 128)
            assert (x[3:], y[3:]) == example
        else:
            prefix, suffix, end = (x[3:] + y[-1]).split(MASK)
            text = prefix + end.rstrip(PAD) + suffix
            assert TINY_CORPUS.split("\n")[index].startswith(text) and len(x) == 3 + 127


@pytest.mark.parametrize(
    "kind, files, said",
    [
        ("charcorruption", {}, "wiki.txt"),
        ("namedata", {"wiki.txt": TINY_CORPUS}, "birth_places_train.tsv"),
        ("charcorruption", {"wiki.txt": "a\nb⁇\n"}, "wiki.txt: line 2"),
        (
            "namedata",
            {"wiki.txt": TINY_CORPUS, "birth_places_train.tsv": "Where?\n"},
            "birth_places_train.tsv: line 1",
        ),
    ],
)
def test_the_commands_say_in_one_line_what_is_wrong(
    kind, files, said, tmp_path, monkeypatch, capsys
):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dataset.py", kind])
    with pytest.raises(SystemExit) as caught:
        module.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and said in line


ALONE = """
import importlib.util
for name, wanted in (("dataset", "NameDataset"), ("attention", "SynthesizerAttention")):
    spec = importlib.util.spec_from_file_location(name + "_alone", f"only_{name}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(getattr(module, wanted).__name__)
"""


@pytest.mark.slow
def test_dataset_and_attention_can_be_taken_alone(tmp_path):
    """As an autograder does: each file in a folder, with nothing of the project on the path."""
    for name in ("dataset", "attention"):
        (tmp_path / f"only_{name}").mkdir()  # a folder "attention" could be imported as such
        shutil.copy(ROOT / "src" / f"{name}.py", tmp_path / f"only_{name}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ALONE]
    found = subprocess.check_output(command, cwd=tmp_path, env=environment, encoding="utf-8")
    assert found.split() == ["NameDataset", "SynthesizerAttention"]
