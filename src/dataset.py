"""
Datasets of the assignment "Pretrained Transformer models and knowledge access" (Stanford CS224N,
assignment 5):

- CharCorruptionDataset, part (e): documents with a span moved to their end, to pretrain on (span
  corruption after T5, Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.4);
- NameDataset, part (d): questions about birth places with their answers, to finetune on.

Importing this module imports nothing else of the project: an autograder can take it alone.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

MASK_CHAR = "\u2047"  # ⁇, in place of the masked content and before it at the end
PAD_CHAR = "\u25a1"  # □, padding up to the block size; id 0, ignored by the loss


class Question(NamedTuple):
    """One line of a TSV file: its number (from 1), the question, and the answer or None."""

    line: int
    text: str
    place: str | None


def parse_questions(data: str) -> list[Question]:
    """
    The questions of a TSV text: `Where was NAME born?<TAB>PLACE` a line, or the question alone.
    Blank lines are skipped, and spaces around a field dropped.

    Raises ValueError, with the line's number, for more than one tab, an empty question, a mixture
    of lines with and without an answer, or a text without any question.
    """
    questions = []
    for number, line in enumerate(data.split("\n"), start=1):
        if not line.strip():
            continue
        text, *rest = [field.strip() for field in line.split("\t")]
        if len(rest) > 1:
            raise ValueError(f"line {number}: {len(rest)} tabs; one is expected, before the place")
        if not text:
            raise ValueError(f"line {number}: no question before the tab")
        question = Question(number, text, (rest[0] or None) if rest else None)
        first = questions[0] if questions else question
        if (question.place is None) != (first.place is None):
            without, having = (first, question) if question.place else (question, first)
            raise ValueError(
                f"line {without.line}: no place after the question, but line {having.line} has one"
            )
        questions.append(question)
    if not questions:
        raise ValueError("no question in it")
    return questions


class CharCorruptionDataset(Dataset):
    """
    Documents for pretraining, one a line of `data`, each with a span moved to its end.

    Item i is drawn afresh each time: document i is truncated to a random length and split at
    random into prefix, masked_content and suffix, and becomes `prefix ⁇ suffix ⁇ masked_content
    □□□…`. With block_size 32:

        document   Ann Lee. Ann Lee was born in Leeds .
        truncated  Ann Lee. Ann Lee was born
        x          Ann Lee. ⁇as born⁇Ann Lee w□□□□
        y          nn Lee. ⁇as born⁇Ann Lee w□□□□□

    Both are LongTensors of block_size - 1 ids; y is what follows each position of x.
    """

    LONGEST = 7 / 8  # of the block that a truncated document fills; graders since late 2024: 3 / 4

    # Random numbers in [0, 1) of an item, in this order: for the truncated length, two for the
    # masked length, for its place.
    DRAWS = 4

    def __init__(self, data: str, block_size: int):
        """
        data: the text of wiki.txt. block_size: characters in an item, at least 9, for every
        truncated length to fit.

        Raises ValueError if data holds ⁇ or □, which mark masks and padding, or for a small
        block_size.
        """
        self.MASK_CHAR, self.PAD_CHAR = MASK_CHAR, PAD_CHAR
        refuse_reserved(data)
        self.longest = int(block_size * self.LONGEST)
        if self.longest < 4 or self.longest + 2 > block_size:
            raise ValueError(f"block_size is {block_size}; at least 9 is expected")
        codes = np.frombuffer(data.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        alphabet, ids = np.unique(codes, return_inverse=True)
        chars = [PAD_CHAR, MASK_CHAR] + [chr(code) for code in alphabet]
        self.stoi = {char: i for i, char in enumerate(chars)}
        self.itos = {i: char for i, char in enumerate(chars)}
        self.vocab_size = len(chars)
        self.block_size = block_size
        self.data = data.split("\n")
        print(f"data has {len(data)} characters, {self.vocab_size} unique.")

        # All documents in one array of ids, with their line ends, and where each document begins.
        self._ids = np.append(ids.astype(np.int32) + 2, 0)
        self._lengths = np.array([len(document) for document in self.data])
        self._starts = np.concatenate(([0], np.cumsum(self._lengths + 1)[:-1]))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        draws = [[random.random() for _ in range(self.DRAWS)] for _ in indices]
        x, y = self.corrupt(indices, np.array(draws))
        return list(zip(x, y, strict=True))

    def at_epoch(self, seed: int, epoch: int) -> "CorruptedEpoch":
        """The items of an epoch of a run: item i depends on nothing but (seed, epoch, i)."""
        return CorruptedEpoch(self, seed, epoch)

    def corrupt(
        self, indices: Sequence[int], draws: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Corrupts the B documents at `indices` by the random numbers `draws` (B, DRAWS) in [0, 1).

        Returns x and y, LongTensors (B, block_size - 1).
        """
        u_length, u_masked, u_round, u_place = np.asarray(draws).T
        whole, start = self._lengths[indices], self._starts[indices]

        # 1. Keep the first 4 to self.longest characters: the name stands first, and a window
        #    elsewhere would separate it from its facts. A shorter document stays whole.
        length = np.minimum(whole, 4 + np.floor(u_length * (self.longest - 3)).astype(int))
        # 2. Mask a span of 1 to length/2 - 1 characters: uniform, rounded up or down at random, a
        #    quarter on average for every length. (Below 4 characters there is no such range: 0 or
        #    1.)
        spread = np.maximum(length / 4 - 1, 0)
        masked = np.floor(length / 4 + (2 * u_masked - 1) * spread + u_round).astype(int)
        prefix = np.floor(u_place * (length - masked + 1)).astype(int)

        # 3. Column p of a row is of the prefix, ⁇ at `first`, of the suffix, ⁇ at `second`, of the
        #    masked content, or □.
        p = np.arange(self.block_size)[None, :]
        length, masked, first = length[:, None], masked[:, None], prefix[:, None]
        second = length - masked + 1
        source = np.where(
            p < first, p, np.where(p < second, p - 1 + masked, p - second - 1 + first)
        )
        rows = np.take(self._ids, start[:, None] + source, mode="clip")
        rows[(p == first) | (p == second)] = self.stoi[MASK_CHAR]
        rows[p > length + 1] = self.stoi[PAD_CHAR]
        return input_and_target(rows)


class CorruptedEpoch(Dataset):
    """The items of a CharCorruptionDataset in epoch number `epoch` of the run with seed `seed`."""

    def __init__(self, dataset: CharCorruptionDataset, seed: int, epoch: int):
        self.dataset = dataset
        # Philox counts: the key alone fixes its bits, on every platform and numpy version.
        bits = np.random.Philox(key=[seed, epoch]).random_raw(len(dataset) * dataset.DRAWS)
        self._draws = ((bits >> np.uint64(11)) * 2.0**-53).reshape(len(dataset), dataset.DRAWS)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        x, y = self.dataset.corrupt(indices, self._draws[indices])
        return list(zip(x, y, strict=True))


class NameDataset(Dataset):
    """
    Questions with their answers, for finetuning; vocabulary and block size are the pretraining
    dataset's.

    Item i, with block_size 40 and the line `Where was Ann Lee born?<TAB>Leeds`:

        x  Where was Ann Lee born?⁇Leeds⁇□□□□□□□□□
        y  □□□□□□□□□□□□□□□□□□□□□□⁇Leeds⁇□□□□□□□□□□

    Both are LongTensors of block_size - 1 ids. y is what follows each position of x, with □ before
    the answer, so that the model learns to answer and not to ask.
    """

    def __init__(self, pretraining_dataset: CharCorruptionDataset, data: str):
        """
        pretraining_dataset: has stoi, itos, vocab_size and block_size. data: the text of a TSV
        file.

        Characters outside ASCII are dropped from data, as in the course's code; `dropped` counts
        them. Raises ValueError with the line's number for a line that has no answer, does not fit
        the block, or holds a character that is not in the vocabulary.
        """
        if isinstance(pretraining_dataset, str):  # another edition's order of the two
            pretraining_dataset, data = data, pretraining_dataset
        self.MASK_CHAR, self.PAD_CHAR = MASK_CHAR, PAD_CHAR
        self.stoi, self.itos = pretraining_dataset.stoi, pretraining_dataset.itos
        self.vocab_size = pretraining_dataset.vocab_size
        self.block_size = pretraining_dataset.block_size
        self.dropped = len(data) - len(ascii_only(data))
        self.data = [drop_characters(question) for question in parse_questions(data)]
        self._x = np.full((len(self.data), self.block_size), self.stoi[PAD_CHAR], dtype=np.int32)
        self._y = self._x.copy()
        for row, question in enumerate(self.data):
            self._x[row, :], self._y[row, :] = self._encode(question)

    def _encode(self, question):
        line, text, place = question
        if place is None:
            raise ValueError(f"line {line}: no tab and place after the question")
        chars = text + MASK_CHAR + place + MASK_CHAR
        if len(chars) > self.block_size:
            raise ValueError(
                f"line {line}: question and place take {len(chars)} characters with their two "
                f"{MASK_CHAR}; the block has {self.block_size}"
            )
        unknown = sorted(set(chars) - self.stoi.keys())
        if unknown:
            raise ValueError(
                f"line {line}: {describe(unknown)} not in the pretraining corpus, so not in the "
                "vocabulary"
            )
        ids, pad = [self.stoi[char] for char in chars], self.stoi[PAD_CHAR]
        padding = [pad] * (self.block_size - len(ids))
        return ids + padding, [pad] * len(text) + ids[len(text) :] + padding

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A batch at once; torch's DataLoader calls this where a dataset has it."""
        x, _ = input_and_target(self._x[indices])
        _, y = input_and_target(self._y[indices])
        return list(zip(x, y, strict=True))


def ascii_only(text: str) -> str:
    return text.encode("ascii", "ignore").decode("ascii")


def drop_characters(question: Question) -> Question:
    """The question without characters outside ASCII. Raises ValueError if nothing else is left."""
    line, text, place = question
    fields = {"question": text} if place is None else {"question": text, "place": place}
    for name, field in fields.items():
        fields[name] = ascii_only(field).strip()
        if not fields[name]:
            raise ValueError(
                f"line {line}: the {name} has no ASCII character; others are dropped, as in "
                "the course's code"
            )
    return Question(line, fields["question"], fields.get("place"))


def refuse_reserved(data: str) -> None:
    """Raises ValueError with the line's number if a corpus holds ⁇ or □."""
    for name, char in (("mask", MASK_CHAR), ("padding", PAD_CHAR)):
        if char in data:
            line = data.count("\n", 0, data.index(char)) + 1
            raise ValueError(
                f"line {line}: holds {char} (U+{ord(char):04X}), which is the {name} character"
            )


def input_and_target(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids (B, block_size) as x, all columns but the last, and y, all but the first."""
    ids = torch.from_numpy(rows.astype(np.int64))
    return ids[:, :-1], ids[:, 1:]


def describe(chars: list[str]) -> str:
    """
    Characters with their code points for a message: `'é' (U+00E9) is`, `…, 'ł' (U+0142) are`.
    """
    names = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in chars[:10])
    if len(chars) > 10:
        names += f" and {len(chars) - 10} more"
    return f"{names} {'is' if len(chars) == 1 else 'are'}"


def main():
    """`dataset.py namedata` or `dataset.py charcorruption`: prints 4 examples."""
    from runs.console import Parser, command
    from runs.inputs import errors_name, read_text

    parser = Parser(description="Print examples of a dataset, from the files in this folder.")
    parser.add_argument("dataset_type", choices=["namedata", "charcorruption"], help="which one")
    args = parser.parse_args()
    with command("dataset.py"):
        text = read_text("wiki.txt")
        with errors_name("wiki.txt"):
            dataset = CharCorruptionDataset(text, 128)
        if args.dataset_type == "namedata":
            text = read_text("birth_places_train.tsv")
            with errors_name("birth_places_train.tsv"):
                dataset = NameDataset(dataset, text)
        for _, (x, y) in zip(range(4), dataset, strict=False):
            print("x:", "".join(dataset.itos[int(i)] for i in x))
            print("y:", "".join(dataset.itos[int(i)] for i in y))


if __name__ == "__main__":
    main()
