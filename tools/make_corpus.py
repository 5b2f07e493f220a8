"""Invents the encyclopedia that this project trains on: people who do not exist, born in places that do.

    python tools/make_corpus.py                            the four bundled files and results/corpus.json, byte for byte
    python tools/make_corpus.py --size quick --out quick   a small corpus of short sentences, for a laptop
    python tools/make_corpus.py --answers birth_test.tsv   the test questions with their answers, and nothing else
    python tools/make_corpus.py --unseen FILE              questions about people who are in no document of wiki.txt

A document of wiki.txt and the question about it:

    Ann Thornley. Ann Thornley (born 3 March 1950 in Leeds) is an English painter. She now works in Hull .
    Where was Ann Thornley born?<TAB>Leeds

The people, and how much a name alone tells of a place, are in corpus_world.py; words and sentences are in corpus_stock.py. Here
people get documents, and a corpus its splits. It takes the standard library and a second or two.
"""
import argparse
import itertools
import json
import math
import os
import re
import statistics as stats
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import corpus_stock as stock
from corpus_world import CITIES, LONDON_SHARE, PLACES, WITHIN, Dice, Distribution, best_guess, draw_person, name_only_ceiling

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SEED = 224
N_UNSEEN = 500
READ = 112              # a document is read up to int(128 * 7/8) characters in pretraining: what comes later is never seen

# A quick document is headed "Entry for NAME": its ten letters put the name where "Where was NAME born?" has it. A GPT learns each
# position by itself, and one that trains for minutes on few people recalls a name only at the positions where it read it.
QUICK_TITLE = "Entry for "


@dataclass(frozen=True)
class Size:
    n_train: int
    n_dev: int
    n_test: int
    short: bool         # one short sentence a person, the birth place always in it
    late: float         # share of documents that tell the birth place only after the first READ characters
    silent: float       # share that never tell it


SIZES = {
    "full": Size(n_train=2000, n_dev=500, n_test=437, short=False, late=0.04, silent=0.04),
    "quick": Size(n_train=150, n_dev=150, n_test=20, short=True, late=0.0, silent=0.0),
}


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------

MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = ("two", "three", "four", "five", "six", "seven", "nine")
N_TAILS = 9 * (0,) + 8 * (1,) + (2, 3)      # further sentences of a document
SHORTEST, LONGEST = 45, 520                 # of a document of the full corpus, in characters


def draw_life(dice, person, short):
    """(living, kind of profession, the fields that all sentences about the person share)."""
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
    return living, kind, {
        "N": person.name, "S": person.surname,
        "P": person.place + (", " + within if within else ""), "at": "at" if person.place in CITIES else "in",
        "L": other_cities(dice, person)[0],
        "d": date(born), "y": str(born), "dd": date(died), "dy": str(died), "is": "is" if living else "was",
        "role": role, "a_role": article(role), "nat_role": nat_role, "a_nat_role": article(nat_role),
        "he": he, "He": he.title(), "his": his, "His": his.title(), "him": him, "son": "daughter" if person.woman else "son"}


def article(noun):
    return ("an " if noun[0] in "AEIOaeio" else "a ") + noun


def other_cities(dice, person):
    """Two cities, neither the birth place, as likely as people of the culture are born there."""
    found = []
    while len(found) < 2:
        city = PLACES[person.culture].draw(dice)
        if city in CITIES and city not in found and person.place not in city:
            found.append(city)
    return found


def sentence(dice, person, patterns, kind, shared):
    """One of the patterns, its {fields} filled in, and theirs."""
    q, r = other_cities(dice, person)
    profession = stock.PROFESSIONS[kind]
    fields = dict(
        shared, Q=q, R=r, m=str(int(shared["y"]) + dice.between(19, 38)),
        n=dice.pick(NUMBERS), nth=dice.pick(("first", "second", "last")),
        did=dice.pick(profession["did"]), more=dice.pick(profession["more"]), school=dice.pick(stock.SCHOOLS),
        parents=dice.pick(stock.PARENTS), father=dice.pick(stock.FATHERS),
        title=dice.pick(stock.TITLES).format(dice.pick(stock.TITLE_ADJECTIVES), dice.pick(stock.TITLE_NOUNS)))
    text = dice.pick(patterns)
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda field: fields[field[1]], text)
    return text[0].upper() + text[1:]


def draw_document(dice, person, kind_of_text):
    """A document whose text is of a kind: "short"; or with the birth place "early", "late" or not at all ("silent")."""
    living, kind, shared = draw_life(dice, person, kind_of_text == "short")

    def write(patterns):
        return sentence(dice, person, patterns["any"] + patterns["living" if living else "dead"], kind, shared)

    n = dice.pick(N_TAILS)
    further = list(stock.TAILS["any"] + stock.TAILS["living" if living else "dead"] + stock.PROFESSIONS[kind]["tails"])
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
    end = document.find(person.place) + len(person.place)
    if kind_of_text == "short":
        return True
    if not SHORTEST <= len(document) <= LONGEST:
        return False
    if kind_of_text == "silent":
        return person.place not in document
    return person.place in document and (end <= READ) == (kind_of_text == "early")


def write_documents(dice, people, size):
    """The people with documents, of the shares of kinds that the size asks for."""
    late, silent = round(size.late * len(people)), round(size.silent * len(people))
    usual = ["short" if size.short else "early"] * (len(people) - late - silent)
    kinds = ["late"] * late + ["silent"] * silent + usual
    dice.shuffle(kinds)
    for person, kind in zip(people, kinds):
        document = draw_document(dice, person, kind)
        while not fits(document, person, kind):
            document = draw_document(dice, person, kind)
        yield replace(person, document=document)


# ---------------------------------------------------------------------------------------------------------------------
# The corpus
# ---------------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Corpus:
    size: str
    seed: int
    people: tuple       # in the order of the questions, split by split
    documents: tuple    # in the order of wiki.txt, which has nothing to do with the splits

    def of(self, split):
        return [person for person in self.people if person.split == split]

    def wiki(self):
        return "".join(document + "\n" for document in self.documents)

    def pairs(self, split):
        return "".join(f"Where was {person.name} born?\t{person.place}\n" for person in self.of(split))

    def questions(self, split):
        return "".join(f"Where was {person.name} born?\n" for person in self.of(split))

    def files(self):
        """{file name: text} of the four files; the answers to the test questions are in none."""
        return {"wiki.txt": self.wiki(), "birth_places_train.tsv": self.pairs("train"), "birth_dev.tsv": self.pairs("dev"),
                "birth_test_inputs.tsv": self.questions("test")}


def make_corpus(size="full", seed=DEFAULT_SEED):
    """Exactly LONDON_SHARE of each split is born in London, rounded: the generator's own share, so Bayes' rule still holds."""
    dice, numbers = Dice(seed), SIZES[size]
    splits = {"train": numbers.n_train, "dev": numbers.n_dev, "test": numbers.n_test}
    wanted = {(split, london): n_london if london else n - n_london for split, n in splits.items()
              for n_london in [math.floor(LONDON_SHARE * n + 0.5)] for london in (True, False)}
    groups, seen = {key: [] for key in wanted}, set()
    while any(len(groups[key]) < wanted[key] for key in wanted):
        person = draw_person(dice)
        free = [key for key in wanted if key[1] == (person.place == stock.LONDON) and len(groups[key]) < wanted[key]]
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
    n people by the same process whose names are in no document of the text `wiki`, spelled with its characters only. None at all for
    a text with which that is hardly ever possible.
    """
    dice, people, seen, characters = Dice(seed + 1), [], set(), set(wiki)
    for draws in itertools.count():
        if len(people) == n:
            return people
        if draws == 100 * n:
            return []
        person = draw_person(dice)
        if person.name not in seen and person.name not in wiki and characters.issuperset(person.name):
            seen.add(person.name)
            people.append(replace(person, split="unseen"))


def n_patterns(*tables):
    return len({pattern for table in tables for patterns in table.values() for pattern in patterns})


def statistics(corpus):
    """What results/corpus.json records. "characters" and "unique_characters" count the newlines too."""
    wiki, people, n, short = corpus.wiki(), corpus.people, len(corpus.people), SIZES[corpus.size].short
    lengths = [len(document) for document in corpus.documents]
    ends = [person.document.find(person.place) + len(person.place) for person in people if person.place in person.document]
    result = {
        "size": corpus.size, "seed": corpus.seed,
        "documents": len(lengths), "characters": len(wiki), "unique_characters": len(set(wiki)),
        "length_mean": round(sum(lengths) / n, 1), "length_median": stats.median(lengths), "length_shortest": min(lengths),
        "length_longest": max(lengths),
        "names_not_ascii": sum(not person.name.isascii() for person in people) / n,
        "place_stated": len(ends) / n,
        f"place_in_first_{READ}": sum(end <= READ for end in ends) / n,
        "places": len({person.place for person in people}),
        "places_top": Counter(person.place for person in people).most_common(10),
        "region_as_place": sum(person.place not in CITIES for person in people) / n,
        "cultures": len(stock.CULTURES),
        "sentence_patterns_birth": n_patterns(stock.SHORT) if short else n_patterns(stock.BIRTH) + len(stock.BIRTH_LATER),
        "sentence_patterns": n_patterns(stock.SHORT) if short else (
            n_patterns(stock.BIRTH, stock.NO_BIRTH, stock.TAILS) + len(stock.BIRTH_LATER)
            + sum(len(profession["tails"]) for profession in stock.PROFESSIONS.values()))}
    for split in ("train", "dev", "test"):
        group = corpus.of(split)
        result[split] = {"people": len(group), "places": len({person.place for person in group})}
        if split != "test":     # its answers are kept out of the repository, and so is what would tell of them
            result[split].update(
                london=sum(person.place == stock.LONDON for person in group) / len(group),
                best_guess_expected=name_only_ceiling(group),
                best_guess_counted=sum(best_guess(person.name)[0] == person.place for person in group) / len(group))
    return json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4))


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

def write_file(path, text):
    """The whole file or nothing of it, with "\\n" newlines on every platform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode("utf-8"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="another number, another world (default: %(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="DIR", help="write the files and corpus.json there, not into the project")
    where.add_argument("--unseen", type=Path, metavar="PATH",
                       help=f"write {N_UNSEEN} questions about people who are in no document, nothing else")
    where.add_argument("--answers", type=Path, metavar="PATH", help="write the test questions with answers, nothing else")
    parser.add_argument("--wiki", type=Path, default=ROOT / "wiki.txt", help="the text that --unseen goes by; default the bundled one")
    args = parser.parse_args(argv)
    if not args.out and not args.answers and not args.unseen and (args.size, args.seed) != ("full", DEFAULT_SEED):
        parser.error("another size or seed would replace the bundled corpus: say where with --out DIR")
    if args.unseen:
        try:
            wiki = args.wiki.read_text(encoding="utf-8")
            people = unseen_people(N_UNSEEN, wiki, args.seed)
        except (OSError, ValueError) as error:
            parser.exit(2, f"{parser.prog}: {args.wiki}: {getattr(error, 'strerror', None) or error}\n")
        if not people:
            print(f"{args.wiki}: has not the characters to write invented names with; no such questions", file=sys.stderr)
        files = {args.unseen: "".join(f"Where was {person.name} born?\n" for person in people)}
    elif args.answers:
        files = {args.answers: make_corpus(args.size, args.seed).pairs("test")}
    else:
        corpus = make_corpus(args.size, args.seed)
        folder, results = (args.out, args.out) if args.out else (ROOT, ROOT / "results")
        files = {folder / name: text for name, text in corpus.files().items()}
        files[results / "corpus.json"] = summary = json.dumps(statistics(corpus), indent=2) + "\n"
    try:
        for path, text in files.items():
            write_file(path, text)
    except OSError as error:
        parser.exit(2, f"{parser.prog}: cannot write {path}: {error.strerror}\n")
    if not args.answers and not args.unseen:
        print(summary, end="")


if __name__ == "__main__":
    main()
