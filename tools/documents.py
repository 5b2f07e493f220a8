"""
What a corpus's documents offer for a question: whether the person has one, and where in it the place stands.
"""
import re
from typing import NamedTuple

from make_corpus import QUICK_TITLE, READ


class Documents:
    """A corpus's documents by the name of their person, `Name. Text`."""

    def __init__(self, wiki):
        self.wiki, self.lines = wiki, wiki.split("\n")

    def about(self, name):
        """The person's documents: none, one, or several."""
        return [line for line in self.lines if line.startswith((f"{name}. ", f"{QUICK_TITLE}{name}. "))]


class Found(NamedTuple):
    """A place in a document: it has the characters from number `start` on, counted from 0, to before number `end`."""
    document: str
    start: int
    end: int


def whole_word(text):
    """A pattern that finds the text as a word of its own, or as several."""
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def find_place(documents, place):
    """The place as a word of its own; of several documents in the one where the fewest characters must be read; None if it is in none."""
    matches = [(document, re.search(whole_word(place), document)) for document in documents]
    found = [Found(document, *match.span()) for document, match in matches if match]
    return min(found, key=lambda one: one.end, default=None)


def place_end(documents, place):
    """How many characters of a document must be read to have read the place; None if it is in none."""
    found = find_place(documents, place)
    return found and found.end


def offered(documents, place):
    """
    Where a person's documents have the place: "early", within the READ characters that pretraining reads at most; "late", after them;
    "absent"; or "none", if there is no document.
    """
    end = place_end(documents, place)
    return "none" if not documents else "absent" if end is None else "early" if end <= READ else "late"


def name_in(question):
    """Of a question's text."""
    return question.removeprefix("Where was ").removesuffix(" born?")
