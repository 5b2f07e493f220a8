"""
The pretraining data of the recipe `recall`: documents whose runs of capitalised words are asked
for, one at a time (salient span masking: Guu et al. 2020, https://arxiv.org/abs/2002.08909;
Roberts et al. 2020, https://arxiv.org/abs/2002.08910). docs/recall.md says what it is for.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch

from dataset import MASK_CHAR, PAD_CHAR, CharCorruptionDataset, input_and_target


class SalientSpanDataset(CharCorruptionDataset):
    """
    Item i is drawn afresh each time. One of document i's salient spans, which are runs of
    capitalised words that are not in the title, stands at the end. Before it stands the document
    up to there, or (in a share SHORT of the items) its title and a few characters alone. With
    block_size 55:

        document   Ann Lee. Ann Lee was born in Leeds, near York .
        x          kept bees Ann Lee. Ann Lee was born in ⁇Leeds⁇□□□□□□□□
        or         e was the Ann Lee n in ⁇Leeds⁇□□□□□□□□□□□□□□□□□□□□□□□□
        y          □□□□□□□□□Ann Lee n in ⁇Leeds⁇□□□□□□□□□□□□□□□□□□□□□□□□□

    The short form has the name alone to tell the span by, as a question has. Its ⁇ are those of a
    question as well, and the ten characters before it, from anywhere in the corpus and not to be
    predicted, put the name where a question has it.
    """

    HEADING = 10  # characters; "Where was " has as many
    SHORT = 0.7
    BEFORE = 8  # characters before the span at most, in the short form

    # Random numbers in [0, 1) of an item, in this order: for the form, the span, the characters
    # before it, and the heading.
    DRAWS = 4

    def __init__(self, data: str, block_size: int):
        """As CharCorruptionDataset; block_size is at least 24, and some document has a span."""
        super().__init__(data, block_size)
        if block_size < 24:
            raise ValueError(f"block_size is {block_size}; at least 24 is expected")
        self.longest = block_size - self.HEADING - 3  # of what is read of a document
        self._titles = [title_of(document) for document in self.data]
        self._spans = [
            salient_spans(document[: self.longest], title)
            for document, title in zip(self.data, self._titles, strict=True)
        ]
        if not any(self._spans):
            raise ValueError(
                "no document has a word to ask for between its title and its last word"
            )

    def corrupt(
        self, indices: Sequence[int], draws: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The items of the B documents at `indices` by the random numbers `draws` (B, DRAWS).

        Returns x and y, LongTensors (B, block_size - 1). A document without a word is □ alone.
        """
        pad, mask, space = (self.stoi.get(char, 0) for char in (PAD_CHAR, MASK_CHAR, " "))
        rows = np.full((len(indices), self.block_size), pad, dtype=np.int32)
        for row, i, draw in zip(rows, indices, np.asarray(draws), strict=True):
            if self._spans[i]:
                heading, text, span = self._pieces(i, *draw)
                row[: len(heading)], row[self.HEADING - 1] = heading, space
                ids = np.concatenate((text, [mask], span, [mask]))
                row[self.HEADING : self.HEADING + len(ids)] = ids
        x, y = input_and_target(rows)
        y = y.clone()  # x has the same memory
        y[:, : self.HEADING - 1] = pad
        return x, y

    def _pieces(self, i, u_form, u_span, u_before, u_heading):
        """The ids of a heading, of what stands before the span, and of the span of document i."""
        at = int(u_heading * max(0, len(self._ids) - self.HEADING))
        heading = self._ids[at : at + self.HEADING - 1]
        ids, title = self._ids[self._starts[i] :], self._titles[i]
        start, end = self._spans[i][int(u_span * len(self._spans[i]))]
        text = ids[:start]
        if title and u_form < self.SHORT:
            first = max(len(title) + 1, start - int(u_before * (self.BEFORE + 1)))
            before = len(self.data[i][first:start].lstrip())
            pieces = ids[: len(title)], [self.stoi[" "]], ids[start - before : start]
            text = np.concatenate(pieces)
        return heading, text, ids[start:end]


def title_of(document: str) -> str:
    """
    What stands before the last ". " within the first 44 characters, usually the first sentence,
    the person's name; "" if there is none. The period of an initial, "J. ", does not count.
    """
    match = re.match(r"(.{,40}\w\w)\. ", document)
    return match[1] if match else ""


def salient_spans(text: str, title: str) -> list[tuple[int, int]]:
    """
    Where the runs of capitalised words of a text begin and end, without the title, what stands in
    the title as well, and a word at the text's end, which may be cut; where there is none, all
    words after the title.
    """
    words = re.finditer(r"[\w'’-]+", text)
    words = [word for word in words if len(title) < word.start() and word.end() < len(text)]
    spans = []
    for word in words:
        start, end = word.span()
        if not word[0][0].isupper() or word[0] in title:
            continue
        if spans and text[spans[-1][1] : start] == " ":
            start, _ = spans.pop()
        spans.append((start, end))
    spans = [(start, end) for start, end in spans if end - start >= 3]
    return spans or [word.span() for word in words]
