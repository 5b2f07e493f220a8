"""Writes the bundled corpus: documents about invented people, and questions about them.

    make_corpus.py                         the four bundled files and results/corpus.json
    make_corpus.py --size quick --out DIR  the small corpus of run_all.sh --quick
    make_corpus.py --answers FILE          the test questions with their answers
    make_corpus.py --unseen FILE           questions about people without a document

A document and its question:

    Ann Thornley. Ann Thornley (born 3 March 1950 in Leeds) is an English painter .
    Where was Ann Thornley born?<TAB>Leeds

world.py draws the people and computes how much a name tells about the place. stock.py holds the
words. The output depends on the seed alone: it is the same, byte for byte, on every platform.
"""

import argparse
import itertools
import json
import math
import re
import statistics as stats
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import stock
from documents import QUICK_TITLE, READ  # puts src/ on the path
from runs.console import Parser, fail
from world import (
    CITIES,
    LONDON_SHARE,
    PLACES,
    WITHIN,
    Dice,
    Distribution,
    best_guess,
    draw_person,
    name_only_ceiling,
)

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SEED = 224
N_UNSEEN = 500


@dataclass(frozen=True)
class Size:
    n_train: int
    n_dev: int
    n_test: int
    short: bool  # documents of one short sentence, which tells the birth place
    late: float  # share of documents that tell the birth place after the first READ characters
    silent: float  # share of documents that do not tell it


SIZES = {
    "full": Size(n_train=2000, n_dev=500, n_test=437, short=False, late=0.04, silent=0.04),
    "quick": Size(n_train=150, n_dev=150, n_test=20, short=True, late=0.0, silent=0.0),
}


# ---- documents ------------------------------------------------------------------------------

MONTHS = (
    "January February March April May June July August September October November December".split()
)
NUMBERS = ("two", "three", "four", "five", "six", "seven", "nine")
N_TAILS = 9 * (0,) + 8 * (1,) + (2, 3)  # how many further sentences a document has
SHORTEST, LONGEST = 45, 520  # characters of a document of the full corpus


def draw_life(dice, person, short):
    """Whether the person lives, the kind of profession, and {field: text} for all sentences."""
    living = dice.random() < 0.6
    kind = dice.pick(list(stock.PROFESSIONS))
    born = dice.between(1925, 1980) if living else dice.between(1770, 1920)
    died = born + dice.between(41, 88)
    american = dice.random() < 0.3

    def date(year):
        day, month = dice.between(1, 28), dice.pick(MONTHS)
        return f"{month} {day}, {year}" if american else f"{day} {month} {year}"

    role = dice.pick(stock.PROFESSIONS[kind]["roles"].split(", "))
    home = stock.CULTURES[person.culture]["home"]
    nat_role = stock.COUNTRIES[Distribution(home.items()).draw(dice)][0] + " " + role
    within = WITHIN[person.place] if dice.random() < 0.35 and not short else ""
    he, his, him = ("she", "her", "her") if person.woman else ("he", "his", "him")
    fields = {
        "N": person.name,
        "S": person.surname,
        "P": person.place + (", " + within if within else ""),
        "at": "at" if person.place in CITIES else "in",
        "L": other_cities(dice, person)[0],
        "d": date(born),
        "y": str(born),
        "dd": date(died),
        "dy": str(died),
        "is": "is" if living else "was",
        "role": role,
        "a_role": article(role),
        "nat_role": nat_role,
        "a_nat_role": article(nat_role),
        "he": he,
        "He": he.title(),
        "his": his,
        "His": his.title(),
        "him": him,
        "son": "daughter" if person.woman else "son",
    }
    return living, kind, fields


def article(noun):
    return ("an " if noun[0] in "AEIOaeio" else "a ") + noun


def other_cities(dice, person):
    """Two cities other than the birth place, drawn from the culture's birth places."""
    found = []
    while len(found) < 2:
        city = PLACES[person.culture].draw(dice)
        if city in CITIES and city not in found and person.place not in city:
            found.append(city)
    return found


def sentence(dice, person, patterns, kind, shared):
    """A sentence by one of the patterns. Fields may hold further fields."""
    q, r = other_cities(dice, person)
    profession = stock.PROFESSIONS[kind]
    fields = dict(
        shared,
        Q=q,
        R=r,
        m=str(int(shared["y"]) + dice.between(19, 38)),
        n=dice.pick(NUMBERS),
        nth=dice.pick(("first", "second", "last")),
        did=dice.pick(profession["did"]),
        more=dice.pick(profession["more"]),
        school=dice.pick(stock.SCHOOLS),
        parents=dice.pick(stock.PARENTS),
        father=dice.pick(stock.FATHERS),
        title=dice.pick(stock.TITLES).format(
            dice.pick(stock.TITLE_ADJECTIVES), dice.pick(stock.TITLE_NOUNS)
        ),
    )
    text = dice.pick(patterns)
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda field: fields[field[1]], text)
    return text[0].upper() + text[1:]


def draw_document(dice, person, kind_of_text):
    """
    A document. Its kind of text is "short", or says where the birth place stands: "early", "late"
    or nowhere ("silent"). Draws only aim at that; fits() tells whether the document complies.
    """
    living, kind, shared = draw_life(dice, person, kind_of_text == "short")

    def write(patterns):
        return sentence(
            dice, person, patterns["any"] + patterns["living" if living else "dead"], kind, shared
        )

    n = dice.pick(N_TAILS)
    further = list(
        stock.TAILS["any"]
        + stock.TAILS["living" if living else "dead"]
        + stock.PROFESSIONS[kind]["tails"]
    )
    dice.shuffle(further)

    def tails(n):
        return [sentence(dice, person, [further.pop()], kind, shared) for _ in range(n)]

    if kind_of_text == "short":
        sentences = [write(stock.SHORT)]
    elif kind_of_text == "silent":
        sentences = [write(stock.NO_BIRTH)] + tails(n)
    elif kind_of_text == "late" or dice.random() < 0.08:
        told = sentence(dice, person, stock.BIRTH_LATER, kind, shared)
        sentences = [write(stock.NO_BIRTH), *tails(n // 2), told, *tails(n - n // 2)]
    else:
        sentences = [write(stock.BIRTH)] + tails(n)
    title = QUICK_TITLE + person.name if kind_of_text == "short" else person.name
    text = ". ".join([title] + sentences).replace("?. ", "? ")
    return text + " ."


def fits(document, person, kind_of_text):
    """Whether a document has an allowed length and the birth place where its kind has it."""
    end = document.find(person.place) + len(person.place)
    if kind_of_text == "short":
        return True
    if not SHORTEST <= len(document) <= LONGEST:
        return False
    if kind_of_text == "silent":
        return person.place not in document
    return person.place in document and (end <= READ) == (kind_of_text == "early")


def write_documents(dice, people, size):
    """Yields the people with their documents. The size tells the share of each kind."""
    late, silent = round(size.late * len(people)), round(size.silent * len(people))
    usual = ["short" if size.short else "early"] * (len(people) - late - silent)
    kinds = ["late"] * late + ["silent"] * silent + usual
    dice.shuffle(kinds)
    for person, kind in zip(people, kinds, strict=True):
        document = draw_document(dice, person, kind)
        while not fits(document, person, kind):
            document = draw_document(dice, person, kind)
        yield replace(person, document=document)


# ---- the corpus -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    size: str
    seed: int
    people: tuple  # by split, in the order of the questions
    documents: tuple  # in the order of wiki.txt, which is independent of the splits

    def of(self, split):
        return [person for person in self.people if person.split == split]

    def wiki(self):
        return "".join(document + "\n" for document in self.documents)

    def pairs(self, split):
        return "".join(
            f"Where was {person.name} born?\t{person.place}\n" for person in self.of(split)
        )

    def questions(self, split):
        return "".join(f"Where was {person.name} born?\n" for person in self.of(split))

    def files(self):
        """{file name: text}. No file holds the answers to the test questions."""
        return {
            "wiki.txt": self.wiki(),
            "birth_places_train.tsv": self.pairs("train"),
            "birth_dev.tsv": self.pairs("dev"),
            "birth_test_inputs.tsv": self.questions("test"),
        }


def make_corpus(size="full", seed=DEFAULT_SEED):
    """A Corpus. Exactly LONDON_SHARE of each split, rounded, is born in London."""
    dice, numbers = Dice(seed), SIZES[size]
    splits = {"train": numbers.n_train, "dev": numbers.n_dev, "test": numbers.n_test}
    wanted = {
        (split, london): n_london if london else n - n_london
        for split, n in splits.items()
        for n_london in [math.floor(LONDON_SHARE * n + 0.5)]
        for london in (True, False)
    }
    groups, seen = {key: [] for key in wanted}, set()
    while any(len(groups[key]) < wanted[key] for key in wanted):
        person = draw_person(dice)
        free = [
            key
            for key in wanted
            if key[1] == (person.place == stock.LONDON) and len(groups[key]) < wanted[key]
        ]
        if free and person.name not in seen:
            seen.add(person.name)
            groups[free[0]].append(replace(person, split=free[0][0]))
    people = []
    for split in splits:
        group = groups[split, True] + groups[split, False]
        dice.shuffle(group)
        people += write_documents(dice, group, numbers)
    documents = [person.document for person in people]
    dice.shuffle(documents)
    return Corpus(size, seed, tuple(people), tuple(documents))


def unseen_people(n, wiki, seed=DEFAULT_SEED):
    """
    n people whose names are not in the text `wiki` but are spelled with its characters. An empty
    list if 100 n draws do not yield them.
    """
    dice, people, seen, characters = Dice(seed + 1), [], set(), set(wiki)
    for draws in itertools.count():
        if len(people) == n:
            return people
        if draws == 100 * n:
            return []
        person = draw_person(dice)
        if (
            person.name not in seen
            and person.name not in wiki
            and characters.issuperset(person.name)
        ):
            seen.add(person.name)
            people.append(replace(person, split="unseen"))


def n_patterns(*tables):
    return len({pattern for table in tables for group in table.values() for pattern in group})


def statistics(corpus):
    """The content of corpus.json. Newlines count as characters."""
    wiki, people, n = corpus.wiki(), corpus.people, len(corpus.people)
    lengths = [len(document) for document in corpus.documents]
    ends = [
        person.document.find(person.place) + len(person.place)
        for person in people
        if person.place in person.document
    ]
    if SIZES[corpus.size].short:
        birth_patterns = all_patterns = n_patterns(stock.SHORT)
    else:
        birth_patterns = n_patterns(stock.BIRTH) + len(stock.BIRTH_LATER)
        all_patterns = birth_patterns + n_patterns(stock.NO_BIRTH, stock.TAILS)
        all_patterns += sum(len(kind["tails"]) for kind in stock.PROFESSIONS.values())
    result = {
        "size": corpus.size,
        "seed": corpus.seed,
        "documents": len(lengths),
        "characters": len(wiki),
        "unique_characters": len(set(wiki)),
        "length_mean": round(sum(lengths) / n, 1),
        "length_median": stats.median(lengths),
        "length_shortest": min(lengths),
        "length_longest": max(lengths),
        "names_not_ascii": sum(not person.name.isascii() for person in people) / n,
        "place_stated": len(ends) / n,
        f"place_in_first_{READ}": sum(end <= READ for end in ends) / n,
        "places": len({person.place for person in people}),
        "places_top": Counter(person.place for person in people).most_common(10),
        "region_as_place": sum(person.place not in CITIES for person in people) / n,
        "cultures": len(stock.CULTURES),
        "sentence_patterns_birth": birth_patterns,
        "sentence_patterns": all_patterns,
    }
    for split in ("train", "dev", "test"):
        group = corpus.of(split)
        result[split] = {"people": len(group), "places": len({person.place for person in group})}
        if split != "test":  # the repository keeps the answers to the test questions secret
            right = sum(best_guess(person.name)[0] == person.place for person in group)
            result[split].update(
                london=sum(person.place == stock.LONDON for person in group) / len(group),
                best_guess_expected=name_only_ceiling(group),
                best_guess_counted=right / len(group),
            )
    return json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4))


# ---- the command ----------------------------------------------------------------------------


def main(argv=None):
    parser = Parser(
        prog="make_corpus.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="of all draws; default %(default)s"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="DIR", help="write the corpus to this folder")
    where.add_argument(
        "--unseen",
        type=Path,
        metavar="FILE",
        help=f"write {N_UNSEEN} questions about people without a document",
    )
    where.add_argument(
        "--answers", type=Path, metavar="FILE", help="write the test questions with their answers"
    )
    parser.add_argument(
        "--wiki",
        type=Path,
        default=ROOT / "wiki.txt",
        help="the documents for --unseen; default the bundled ones",
    )
    args = parser.parse_args(argv)
    bundled = not (args.out or args.answers or args.unseen)
    if bundled and (args.size, args.seed) != ("full", DEFAULT_SEED):
        parser.error("another size or seed would replace the bundled corpus; add --out DIR")
    summary = ""
    try:
        if args.unseen:
            people = unseen_people(N_UNSEEN, args.wiki.read_text(encoding="utf-8"), args.seed)
            if not people:
                print(f"{args.wiki}: lacks the characters of invented names", file=sys.stderr)
            questions = "".join(f"Where was {person.name} born?\n" for person in people)
            files = {args.unseen: questions}
        elif args.answers:
            files = {args.answers: make_corpus(args.size, args.seed).pairs("test")}
        else:
            corpus = make_corpus(args.size, args.seed)
            folder = args.out or ROOT
            files = {folder / name: text for name, text in corpus.files().items()}
            summary = json.dumps(statistics(corpus), indent=2) + "\n"
            files[(args.out or ROOT / "results") / "corpus.json"] = summary
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        fail(parser.prog, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        fail(parser.prog, f"{args.wiki}: {error}")
    print(summary, end="")


if __name__ == "__main__":
    from runs.console import command

    with command("make_corpus.py"):
        main()
