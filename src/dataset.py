"""
Datasets of the assignment "Pretrained Transformer models and knowledge access" (Stanford CS224N, assignment 5):

- CharCorruptionDataset, part (e): documents with a span moved to their end, to pretrain on
  (span corruption after T5, Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.4);
- NameDataset, part (d): questions about birth places with their answers, to finetune on.

This module imports nothing else of the project, so that an autograder can take it alone.
"""
import argparse
import codecs
import contextlib
import random
import signal
import sys
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch.utils.data import Dataset

MASK_CHAR = "\u2047"  # ⁇, stands for what was taken out and announces it at the end
PAD_CHAR = "\u25A1"   # □, fills a row up to the block size; id 0, ignored by the loss
MOST_BYTES = 2 ** 30  # of a text file; more than that, an endless device or a film, was named by mistake


class InputError(ValueError):
    """The user's input is at fault. The message is one line that names the file or line and says what is wrong."""

    def __init__(self, message):
        super().__init__(one_line(message))


def one_line(message, longest=1000):
    """A message as one line that a terminal can show, whatever names from files it quotes; the middle of a long one is left out."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(message))
    return line if len(line) <= longest else f"{line[:longest // 2]} … {line[-longest // 4:]}"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {one_line(message, 400)} (see {self.prog} --help)\n")


class Question(NamedTuple):
    """One line of a TSV file: its number (from 1), the question, and the answer or None."""
    line: int
    text: str
    place: Optional[str]


@contextlib.contextmanager
def errors_name(path):
    """Puts the file's name before an InputError about its content, which knows only the line."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_text(path):
    """
    The text of a file as UTF-8, whatever the platform's default is. A byte-order mark is taken off; CRLF and CR become LF.

    Raises InputError if the file cannot be read, is larger than MOST_BYTES or is not UTF-8 (with the line of the first wrong byte).
    """
    with errors_name(path):
        try:
            with open(path, "rb") as file:
                raw = read_at_most(file, MOST_BYTES + 1).removeprefix(codecs.BOM_UTF8)
            if len(raw) > MOST_BYTES:
                raise InputError(f"larger than {MOST_BYTES} bytes")
            text = raw.decode("utf-8")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise InputError(f"line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_at_most(file, count):
    """The file's bytes, piece by piece: to ask for all at once takes the memory for as many as there may be."""
    pieces = [b""]
    while pieces[-1] or len(pieces) == 1:
        pieces.append(file.read(min(count, 2 ** 20)))
        count -= len(pieces[-1])
    return b"".join(pieces)


def parse_questions(data):
    """
    The questions of a TSV text, `Where was NAME born?<TAB>PLACE` or only the question a line; blank lines are skipped.

    Spaces around a field are taken off. Raises InputError, with the line's number, for more than one tab, an empty
    question, a mixture of lines with and without an answer, or a text without any question.
    """
    questions = []
    for number, line in enumerate(data.split("\n"), start=1):
        if not line.strip():
            continue
        text, *rest = [field.strip() for field in line.split("\t")]
        if len(rest) > 1:
            raise InputError(f"line {number}: {len(rest)} tabs where at most one is expected, between question and place")
        if not text:
            raise InputError(f"line {number}: no question before the tab")
        question = Question(number, text, (rest[0] or None) if rest else None)
        if questions and (question.place is None) != (questions[0].place is None):
            without, having = (question, questions[0]) if question.place is None else (questions[0], question)
            raise InputError(f"line {without.line}: no place after the question, but line {having.line} has one")
        questions.append(question)
    if not questions:
        raise InputError("no question in it")
    return questions


class CharCorruptionDataset(Dataset):
    """
    Documents for pretraining, one a line of `data`, each drawn with a span moved to its end.

    Item i, drawn afresh each time: document i is cut off at a random length and split at random into
    prefix, masked_content and suffix, and becomes `prefix ⁇ suffix ⁇ masked_content □ □ □ …`. With block_size 32:

        document   Ann Lee. Ann Lee was born in Leeds .
        truncated  Ann Lee. Ann Lee was born
        x          Ann Lee. ⁇as born⁇Ann Lee w□□□□
        y          nn Lee. ⁇as born⁇Ann Lee w□□□□□

    Both are LongTensors of block_size - 1 ids; y is what follows each position of x.
    """

    # The random numbers in [0, 1) that one item takes, in this order: truncated length, two for the masked length, place.
    DRAWS = 4

    def __init__(self, data, block_size):
        """
        data: the text of wiki.txt. block_size: characters in an item, at least 9 so that every truncated length fits.

        Raises InputError if data holds ⁇ or □, which have their own meaning here.
        """
        self.MASK_CHAR, self.PAD_CHAR = MASK_CHAR, PAD_CHAR
        refuse_reserved(data)
        self.longest = int(block_size * 7 / 8)
        if self.longest < 4 or self.longest + 2 > block_size:
            raise ValueError(f"block_size is {block_size}; at least 9 are needed, for int(7/8) of it and two ⁇ to fit")
        codes = np.frombuffer(data.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        alphabet, ids = np.unique(codes, return_inverse=True)
        chars = [PAD_CHAR, MASK_CHAR] + [chr(code) for code in alphabet]
        self.stoi = {char: i for i, char in enumerate(chars)}
        self.itos = {i: char for i, char in enumerate(chars)}
        self.vocab_size = len(chars)
        self.block_size = block_size
        self.data = data.split("\n")
        print(f"data has {len(data)} characters, {self.vocab_size} unique.")

        # All documents in one array of ids, one after another with their line ends, and where each begins.
        self._ids = np.append(ids.astype(np.int32) + 2, 0)
        self._lengths = np.array([len(document) for document in self.data])
        self._starts = np.concatenate(([0], np.cumsum(self._lengths + 1)[:-1]))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        x, y = self.corrupt(indices, np.array([[random.random() for _ in range(self.DRAWS)] for _ in indices]))
        return list(zip(x, y))

    def at_epoch(self, seed, epoch):
        """The items of one epoch of a run: a Dataset in which item i depends on nothing but (seed, epoch, i)."""
        return CorruptedEpoch(self, seed, epoch)

    def corrupt(self, indices, draws):
        """
        Corrupts the documents at `indices` (B of them) by the random numbers `draws` (B, DRAWS) in [0, 1).

        Returns x and y, LongTensors (B, block_size - 1).
        """
        u_length, u_masked, u_round, u_place = np.asarray(draws).T
        whole, start = self._lengths[indices], self._starts[indices]

        # 1. Cut off from the document's start, at any length from 4 to 7/8 of the block: the name stands first, and a
        #    window elsewhere would part it from what is told of it. A shorter document stays whole.
        length = np.minimum(whole, 4 + np.floor(u_length * (self.longest - 3)).astype(int))
        # 2. Mask a span of 1 to length/2 - 1 characters: uniform, rounded up or down at random, a quarter on average
        #    for every length (below 4 characters, where there is no such range, 0 or 1).
        spread = np.maximum(length / 4 - 1, 0)
        masked = np.floor(length / 4 + (2 * u_masked - 1) * spread + u_round).astype(int)
        prefix = np.floor(u_place * (length - masked + 1)).astype(int)

        # 3. Column p of a row shows: the prefix, ⁇ at `first`, the suffix, ⁇ at `second`, the masked content, □.
        p = np.arange(self.block_size)[None, :]
        length, masked, first = length[:, None], masked[:, None], prefix[:, None]
        second = length - masked + 1
        source = np.where(p < first, p, np.where(p < second, p - 1 + masked, p - second - 1 + first))
        rows = np.take(self._ids, start[:, None] + source, mode="clip")
        rows[(p == first) | (p == second)] = self.stoi[MASK_CHAR]
        rows[p > length + 1] = self.stoi[PAD_CHAR]
        return input_and_target(rows)


class CorruptedEpoch(Dataset):
    """A CharCorruptionDataset's items as epoch number `epoch` of the run with seed `seed` sees them. See at_epoch."""

    def __init__(self, dataset, seed, epoch):
        self.dataset = dataset
        # Philox is counter-based: the key alone fixes its stream of bits, on every platform and numpy version.
        bits = np.random.Philox(key=[seed, epoch]).random_raw(len(dataset) * dataset.DRAWS)
        self._draws = ((bits >> np.uint64(11)) * 2.0 ** -53).reshape(len(dataset), dataset.DRAWS)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        x, y = self.dataset.corrupt(indices, self._draws[indices])
        return list(zip(x, y))


class NameDataset(Dataset):
    """
    Questions with their answers for finetuning, in the vocabulary and block size of the pretraining dataset.

    Item i, with block_size 40 and the line `Where was Ann Lee born?<TAB>Leeds`:

        x  Where was Ann Lee born?⁇Leeds⁇□□□□□□□□□
        y  □□□□□□□□□□□□□□□□□□□□□□⁇Leeds⁇□□□□□□□□□□

    LongTensors of block_size - 1 ids. y is what follows each position of x, with □ (ignored by the loss) before the
    answer, so that the model learns to answer and not to ask.
    """

    def __init__(self, pretraining_dataset, data):
        """
        pretraining_dataset: has stoi, itos, vocab_size and block_size. data: the text of a TSV file.

        Characters outside ASCII are dropped from data, as the course does; `dropped` counts them. Raises InputError with
        the line's number for a line that has no answer, does not fit the block, or holds a character that the
        vocabulary lacks.
        """
        if isinstance(pretraining_dataset, str):  # another edition of the course has the two the other way round
            pretraining_dataset, data = data, pretraining_dataset
        self.MASK_CHAR, self.PAD_CHAR = MASK_CHAR, PAD_CHAR
        self.stoi, self.itos = pretraining_dataset.stoi, pretraining_dataset.itos
        self.vocab_size, self.block_size = pretraining_dataset.vocab_size, pretraining_dataset.block_size
        ascii_data = data.encode("ascii", "ignore").decode("ascii")
        self.dropped = len(data) - len(ascii_data)
        self.data = parse_questions(ascii_data)
        self._x = np.full((len(self.data), self.block_size), self.stoi[PAD_CHAR], dtype=np.int32)
        self._y = self._x.copy()
        for row, question in enumerate(self.data):
            self._x[row, :], self._y[row, :] = self._encode(question)

    def _encode(self, question):
        line, text, place = question
        if place is None:
            raise InputError(f"line {line}: no place after the question (a tab and the place are expected)")
        chars = text + MASK_CHAR + place + MASK_CHAR
        if len(chars) > self.block_size:
            raise InputError(f"line {line}: question and place take {len(chars)} characters with their two {MASK_CHAR}; "
                             f"the block has {self.block_size}")
        unknown = sorted(set(chars) - self.stoi.keys())
        if unknown:
            raise InputError(f"line {line}: {describe(unknown)} not in the pretraining corpus, so not in the vocabulary")
        ids = [self.stoi[char] for char in chars]
        padding = [self.stoi[PAD_CHAR]] * (self.block_size - len(ids))
        return ids + padding, [self.stoi[PAD_CHAR]] * len(text) + ids[len(text):] + padding

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        x, _ = input_and_target(self._x[indices])
        _, y = input_and_target(self._y[indices])
        return list(zip(x, y))


def refuse_reserved(data):
    """Raises InputError with the line's number if a corpus holds ⁇ or □."""
    for name, char in (("mask", MASK_CHAR), ("padding", PAD_CHAR)):
        if char in data:
            line = data.count("\n", 0, data.index(char)) + 1
            raise InputError(f"line {line}: holds {char} (U+{ord(char):04X}), which is reserved as the {name} character")


def input_and_target(rows):
    """Rows of ids (B, block_size) as two LongTensors (B, block_size - 1): all but the last column, all but the first."""
    ids = torch.from_numpy(rows.astype(np.int64))
    return ids[:, :-1], ids[:, 1:]


def describe(chars):
    """Characters for an error message, with their code points: `'é' (U+00E9) is` or `'é' (U+00E9), 'ł' (U+0142) are`."""
    names = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in chars[:10])
    if len(chars) > 10:
        names += f" and {len(chars) - 10} more"
    return f"{names} {'is' if len(chars) == 1 else 'are'}"


def main():
    """Prints examples: `dataset.py namedata` or `dataset.py charcorruption`, from wiki.txt in the current folder."""
    parser = Parser(description="Print examples of a dataset, from the files in the current folder.")
    parser.add_argument("dataset_type", choices=["namedata", "charcorruption"], help="which dataset to show")
    args = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        text = read_text("wiki.txt")
        with errors_name("wiki.txt"):
            dataset, count = CharCorruptionDataset(text, 128), 10
        if args.dataset_type == "namedata":
            text = read_text("birth_places_train.tsv")
            with errors_name("birth_places_train.tsv"):
                dataset, count = NameDataset(dataset, text), 4
    except InputError as error:
        print(f"dataset.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    for _, (x, y) in zip(range(count), dataset):
        print("x:", "".join(dataset.itos[int(i)] for i in x))
        print("y:", "".join(dataset.itos[int(i)] for i in y))


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may close the pipe early
    main()
