"""
tools/corpus/make_corpus.py: the bundled files are its output, they have the properties that the
experiment needs (counted from the files alone), and what it says about names agrees with counts.
"""

import json
import math
import re
import statistics
import subprocess
import sys
from collections import Counter

import pytest

import make_corpus as mc
import stock
import world
from conftest import ROOT
from documents import READ

SCRIPT = ROOT / "tools" / "corpus" / "make_corpus.py"
FILES = ["wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"]
QUESTION = re.compile(r"Where was (.+) born\?")


class Folder:
    """A corpus, read from its files."""

    def __init__(self, path):
        self.texts = {name: (path / name).read_bytes().decode("utf-8") for name in FILES}
        self.documents = self.texts["wiki.txt"].split("\n")[:-1]
        self.train, self.dev = (self.pairs(self.texts[name]) for name in FILES[1:3])
        self.test = [QUESTION.fullmatch(line)[1] for line in self.texts[FILES[3]].splitlines()]
        self.by_name = {}
        for document in self.documents:
            title = re.split(r"(?<! [A-ZÀ-Ž])\. ", document, maxsplit=1)[0]
            self.by_name.setdefault(title.removeprefix("Entry for "), []).append(document)

    @staticmethod
    def pairs(text):
        rows = [line.split("\t") for line in text.split("\n")[:-1]]
        return [(QUESTION.fullmatch(question)[1], place) for question, place in rows]


@pytest.fixture(scope="session")
def full():
    return Folder(ROOT)


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """The answers to the test questions, as --answers writes them."""
    path = tmp_path_factory.mktemp("answers") / "birth_test.tsv"
    mc.main(["--answers", str(path)])
    assert [path] == list(path.parent.iterdir())
    return Folder.pairs(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def known(full, answers):
    """(name, place) of all people."""
    return full.train + full.dev + answers


def error_of(p, n, times=4):
    """What a count's share may differ from its probability p by chance, n draws."""
    return times * math.sqrt(p * (1 - p) / n)


# ---- the bundled files ----------------------------------------------------------------------


def test_the_bundled_files_are_the_scripts_output(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name
    results = (ROOT / "results" / "corpus.json").read_bytes()
    assert (tmp_path / "corpus.json").read_bytes() == results
    assert len(list(tmp_path.iterdir())) == len(FILES) + 1


def test_forms_of_the_files(full):
    for name, text in full.texts.items():
        assert text.endswith("\n") and not text.endswith("\n\n"), name
        assert not re.search("[\r\v\f\x85\u2028\u2029\u2047\u25a1]", text), name
    for name, documents in full.by_name.items():
        assert len(documents) == 1, name
        assert documents[0].startswith(f"{name}. ") and documents[0].endswith(" ."), name
        assert re.search(r"[.,;()?] ?[{}]|[{}]|\t|  ", documents[0]) is None, documents[0]
        assert documents[0].count(" .") == 1, documents[0]
    for name, place in full.train + full.dev:
        assert name and place.isascii() and place == place.strip()
    for name in FILES[1:]:
        assert set(full.texts[name]) - {"\t"} <= set(full.texts["wiki.txt"]), name


def test_each_person_is_in_one_split_and_has_one_document(full):
    assert (len(full.train), len(full.dev), len(full.test)) == (2000, 500, 437)
    names = [name for name, _ in full.train + full.dev] + full.test
    assert len(set(names)) == len(full.documents) == 2937 and set(names) == set(full.by_name)
    assert not set(stock.DENY) & set(names)


def test_where_the_place_stands(full, known):
    """In nearly all documents, mostly within what pretraining reads, and in no name."""
    texts = {name: full.by_name[name][0] for name, _ in known}
    ends = [texts[name].find(place) + len(place) for name, place in known if place in texts[name]]
    assert 0.95 <= len(ends) / 2937 <= 0.97
    assert 0.91 <= sum(end <= READ for end in ends) / 2937 <= 0.935
    assert not any(place in name for name, place in known), "the question would hold the answer"


def test_london_is_the_most_frequent_place(full):
    train = Counter(place for _, place in full.train)
    assert train.most_common(1)[0][0] == "London" and 0.045 <= train["London"] / 2000 <= 0.05
    assert sum(place == "London" for _, place in full.dev) == 25


def test_the_answers_belong_to_the_test_questions(full, answers):
    assert [name for name, _ in answers] == full.test
    assert "\t" not in full.texts["birth_test_inputs.tsv"]
    assert sum(place == "London" for _, place in answers) == 22
    stated = sum(place in full.by_name[name][0] for name, place in answers)
    assert stated / 437 > 0.95


def test_statistics_are_those_of_the_files(full, known):
    figures = json.loads((ROOT / "results" / "corpus.json").read_text(encoding="utf-8"))
    wiki, lengths = full.texts["wiki.txt"], [len(document) for document in full.documents]
    assert figures["characters"] == len(wiki)
    assert figures["unique_characters"] == len(set(wiki))
    assert figures["length_mean"] == round(statistics.mean(lengths), 1)
    assert figures["length_median"] == statistics.median(lengths)
    top = Counter(place for _, place in known).most_common(10)
    assert [count for _, count in figures["places_top"]] == [count for _, count in top]
    right = sum(mc.best_guess(name)[0] == place for name, place in full.dev)
    assert figures["dev"]["best_guess_counted"] == right / 500
    stated = sum(place in full.by_name[name][0] for name, place in known)
    assert figures["place_stated"] == round(stated / 2937, 4)


# ---- what a name tells ----------------------------------------------------------------------


def test_a_name_tells_enough_and_not_too_much(full):
    """The bound has its size, and the guess that reaches it does so."""
    for pairs in (full.train, full.dev):
        guesses = [mc.best_guess(name) for name, _ in pairs]
        expected = sum(probability for _, probability in guesses) / len(pairs)
        assert 0.08 <= expected <= 0.15
        right = sum(guess[0] == pair[1] for guess, pair in zip(guesses, pairs, strict=True))
        assert abs(right / len(pairs) - expected) < error_of(expected, len(pairs))
    assert mc.name_only_ceiling(mc.make_corpus().of("dev")) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_best_guess_is_calibrated_on_unseen_people(full):
    people = mc.unseen_people(6000, full.texts["wiki.txt"], seed=5)
    names = {person.name for person in people}
    assert len(names) == 6000 and not names & set(full.by_name)
    assert set("".join(names)) <= set(full.texts["wiki.txt"])
    for low, high in ((0, 0.07), (0.07, 0.11), (0.11, 1)):
        guesses = [(person, *mc.best_guess(person.name)) for person in people]
        chosen = [guess for guess in guesses if low <= guess[2] < high]
        expected = sum(probability for _, _, probability in chosen) / len(chosen)
        right = sum(person.place == guess for person, guess, _ in chosen) / len(chosen)
        assert len(chosen) > 250 and abs(right - expected) < error_of(expected, len(chosen))


@pytest.mark.slow
def test_best_guess_agrees_with_a_count_in_a_small_world(monkeypatch):
    """With few names each full name is drawn often, from several cultures and splits of it."""
    cultures = ["English", "Portuguese", "Chinese"]
    given = {
        "English": ("Ana", "Maria Lee"),
        "Portuguese": ("Ana Maria", "Ana Rosa"),
        "Chinese": ("Lee", "Ana"),
    }
    last = {
        "English": {"Lee": 3, "Maria Lee": 1},
        "Portuguese": {"Lee": 1, "A. Lee": 1},
        "Chinese": {"Ana": 1, "Ana Maria": 1},
    }
    prior = world.Distribution(zip(cultures, (5, 3, 2), strict=True))
    monkeypatch.setattr(world, "PRIOR", prior)
    keys = [(culture, woman) for culture in cultures for woman in (False, True)]
    drawn = {
        (culture, woman): world.Distribution((name, 1) for name in given[culture][woman].split())
        for culture, woman in keys
    }
    monkeypatch.setattr(world, "GIVEN", drawn)
    surnames = {key: world.Distribution(last[key[0]].items()) for key in keys}
    monkeypatch.setattr(world, "SURNAMES", surnames)
    for culture, share in zip(cultures, (0.3, 0.5, 0.0), strict=True):
        monkeypatch.setitem(stock.CULTURES[culture], "initial", share / 3)
        monkeypatch.setitem(stock.CULTURES[culture], "middle", share)
    monkeypatch.setattr(world, "MIDDLES", {key: world.middles(*key) for key in keys})
    dice, counts = world.Dice(9), {}
    for _ in range(20_000):
        person = world.draw_person(dice)
        counts.setdefault(person.name, Counter())[person.place] += 1
    ambiguous = 0
    for name, places in counts.items():
        n, posterior = sum(places.values()), world.place_posterior(name)
        assert sum(posterior.values()) == pytest.approx(1)
        ambiguous += sum(world.name_probability(name, culture) > 0 for culture in cultures) > 1
        for place in ("London", "Rio de Janeiro", "Shanghai"):
            p = posterior[place]
            assert abs(places[place] / n - p) <= error_of(p, n, 4.5) + 1 / n, (name, place)
    assert ambiguous >= 4 and max(sum(places.values()) for places in counts.values()) > 1500


@pytest.mark.slow
def test_probabilities_given_the_culture_agree_with_a_count():
    dice, n = world.Dice(11), 20_000
    people = [world.draw_person(dice) for _ in range(n)]
    cultures = Counter(person.culture for person in people)
    pairs = Counter((person.culture, person.place) for person in people)
    for culture, p in world.PRIOR.items():  # names that are refused change the shares a little
        assert abs(cultures[culture] / n - p) < error_of(p, n, 4.5) + 0.03 * p, culture
        top, q = max(world.PLACES[culture].items(), key=lambda item: item[1])
        share = pairs[culture, top] / cultures[culture]
        assert abs(share - q) < error_of(q, cultures[culture], 4.5), (culture, top)
    london = sum(person.place == "London" for person in people) / n
    assert abs(london - 0.05) < error_of(0.05, n)


def test_a_name_of_no_culture():
    with pytest.raises(ValueError, match="Xyzzy Plugh"):
        mc.best_guess("Xyzzy Plugh")


# ---- other corpora and the command ----------------------------------------------------------


def test_quick(tmp_path):
    folder = tmp_path / "not" / "there"
    mc.main(["--size", "quick", "--out", str(folder)])
    quick, size = Folder(folder), mc.SIZES["quick"]
    people = size.n_train + size.n_dev + size.n_test
    assert (len(quick.train), len(quick.dev)) == (size.n_train, size.n_dev)
    assert len(quick.test) == size.n_test and len(quick.by_name) == len(quick.documents) == people
    for name, place in quick.train + quick.dev:
        assert place in quick.by_name[name][0]
    assert all(document.startswith("Entry for ") for document in quick.documents)
    assert 60 <= statistics.mean(map(len, quick.documents)) <= 75
    assert sum(place == "London" for _, place in quick.dev) == 8


def test_another_seed_is_another_corpus():
    other = mc.make_corpus("quick", 7)
    assert other == mc.make_corpus("quick", 7)
    assert not set(mc.make_corpus("quick").documents) & set(other.documents)


def test_questions_about_unseen_people(tmp_path, full, capsys, monkeypatch):
    monkeypatch.setattr(mc, "N_UNSEEN", 50)
    wiki, asked = tmp_path / "wiki.txt", tmp_path / "asked.tsv"
    mc.main(["--unseen", str(asked)])
    names = [QUESTION.fullmatch(line)[1] for line in asked.read_text("utf-8").splitlines()]
    assert len(set(names)) == 50
    assert not any(name in full.texts["wiki.txt"] for name in names)
    wiki.write_text(full.texts["wiki.txt"] + f"{names[0]}. A cook .\n", encoding="utf-8")
    mc.main(["--unseen", str(asked), "--wiki", str(wiki)])
    assert names[0] not in asked.read_text("utf-8")
    wiki.write_text("no capitals here .\n", encoding="utf-8")
    mc.main(["--unseen", str(asked), "--wiki", str(wiki)])
    assert asked.read_text("utf-8") == "" and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--out", "{file}/below"], "{file}"),
        (["--answers", "{file}/below/answers.tsv"], "{file}"),
        (["--unseen", "{file}.tsv", "--wiki", "{file}.none"], "{file}.none"),
        (["--size", "quick"], "--out"),
        (["--seed", "3"], "--out"),
        (["--size", "huge"], "huge"),
        (["--out", "a", "--answers", "b"], "--answers"),
    ],
)
def test_errors(tmp_path, capsys, arguments, part):
    file = tmp_path / "file"
    file.write_text("here")
    with pytest.raises(SystemExit, match="2"):
        mc.main([argument.format(file=file) for argument in arguments])
    out, err = capsys.readouterr()
    assert (out, list(tmp_path.iterdir())) == ("", [file])
    assert part.format(file=file) in err and err.count("\n") == 1
