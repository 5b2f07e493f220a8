"""tools/corpus/documents.py: what pretraining can read of a birth place."""

import pytest
import torch

import documents
from dataset import CharCorruptionDataset
from documents import READ, Documents, find_place, name_in, offered, place_end
from recipe import RECIPES


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_read_is_the_longest_truncation_of_the_dataset(recipe):
    """A document of distinct letters: what is not in the item was cut off."""
    letters = "".join(chr(0x4E00 + i) for i in range(2 * READ))
    dataset = CharCorruptionDataset(letters, recipe.block_size)
    known = {dataset.stoi[char]: i for i, char in enumerate(letters)}
    seen = set()
    for _ in range(1000):
        seen.update(known[id] for id in torch.cat(dataset[0]).tolist() if id in known)
    assert max(seen) + 1 == READ == documents.READ


def padded(start, length, place):
    """A document in which the place ends at character `length`."""
    return f"{start} {'x' * (length - len(start) - len(place) - 2)} {place} ."


WIKI = Documents(
    "\n".join(
        [
            "Ann Lee. Ann Lee was born in Leeds .",
            "Entry for Bob Whist. B. Whist is from St. Ives .",
            "Cy Ng. Cy Ng, a Yorkshire man, was born in York .",
            "Di Mo. Di Mo was Yorkshire's best, and a McHull .",
            padded("Eve Inn. Eve Inn", READ, "Bonn"),
            padded("Flo Day. Flo Day", READ + 1, "Bonn"),
            "Gus Ray. Gus Ray left Bonn late .",
            padded("Gus Ray. Gus Ray", READ + 9, "Bonn"),
            "",
        ]
    )
)


@pytest.mark.parametrize(
    "name, place, expected",
    [
        ("Ann Lee", "Leeds", "early"),
        ("Bob Whist", "St. Ives", "early"),
        ("Cy Ng", "York", "early"),
        ("Di Mo", "York", "absent"),  # the start of another word
        ("Di Mo", "Hull", "absent"),  # the end of another word
        ("Ann Lee", "York", "absent"),
        ("Eve Inn", "Bonn", "early"),
        ("Flo Day", "Bonn", "late"),
        ("Gus Ray", "Bonn", "early"),  # the earliest of two documents
        ("Nobody Here", "Bonn", "none"),
        ("Ann", "Leeds", "none"),
    ],
)
def test_offered(name, place, expected):
    assert offered(WIKI.about(name), place) == expected


def test_the_place_found_is_the_place():
    found = find_place(WIKI.about("Cy Ng"), "York")
    assert found.document[found.start : found.end] == "York" and found.end == place_end(
        WIKI.about("Cy Ng"), "York"
    )
    assert "Yorkshire" in found.document[: found.start]
    assert place_end(WIKI.about("Gus Ray"), "Bonn") == len("Gus Ray. Gus Ray left Bonn")
    assert find_place([], "York") is None


def test_the_name_in_a_question():
    assert name_in("Where was Zoë Brøgger born?") == "Zoë Brøgger"
