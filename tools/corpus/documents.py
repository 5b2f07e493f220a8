"""Documents of a corpus: finding a person's document, and the birth place in it."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
from dataset import CharCorruptionDataset  # noqa: E402
from recipe import COURSE  # noqa: E402

# Pretraining reads at most this many characters of a document (dataset.py): 112.
READ = int(COURSE.block_size * CharCorruptionDataset.LONGEST)

# A document of the quick corpus starts with "Entry for NAME". These ten characters put the name
# where the question "Where was NAME born?" has it. A small model that trains for minutes recalls a
# name only at the positions where it has read it.
QUICK_TITLE = "Entry for "


class Documents:
    """The documents of a corpus, each of the form `Name. Text about that person .`"""

    def __init__(self, wiki):
        """wiki: the text of wiki.txt."""
        self.lines = wiki.split("\n")

    def about(self, name):
        """All documents about a person."""
        titles = (f"{name}. ", f"{QUICK_TITLE}{name}. ")
        return [line for line in self.lines if line.startswith(titles)]


class Found(NamedTuple):
    """A place in a document: document[start:end]."""

    document: str
    start: int
    end: int


def whole_word(text):
    """A regular expression that finds the text where no letter stands before or after it."""
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def find_place(documents, place):
    """The first mention of a place as Found, or None. Of several documents, the earliest one."""
    matches = [(document, re.search(whole_word(place), document)) for document in documents]
    found = [Found(document, *match.span()) for document, match in matches if match]
    return min(found, key=lambda one: one.end, default=None)


def place_end(documents, place):
    """How many characters of a document hold the place to its end, or None."""
    found = find_place(documents, place)
    return found and found.end


def offered(documents, place):
    """
    What pretraining can read of a place: "early" if it ends within the first READ characters,
    "late" if it ends after them, "absent" if no document has it, "none" if there is no document.
    """
    end = place_end(documents, place)
    if not documents:
        return "none"
    if end is None:
        return "absent"
    return "early" if end <= READ else "late"


def name_in(question):
    """The name in `Where was NAME born?`."""
    return question.removeprefix("Where was ").removesuffix(" born?")
