"""python -m pytest -q tests/test_make_corpus.py

tools/make_corpus.py: the bundled files are what it writes, they have the properties that the experiment needs (counted here
from the files alone), and what it says about names is what a brute-force count finds. Standard library only, some seconds.
"""
import json
import math
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tools" / "make_corpus.py"
sys.path.insert(0, str(SCRIPT.parent))
import corpus_stock as stock  # noqa: E402
import corpus_world as world  # noqa: E402
import make_corpus as mc  # noqa: E402

FILES = ["wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"]
QUESTION = re.compile(r"Where was (.+) born\?")


def run(*args):
    return subprocess.run([sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, encoding="utf-8")


class Folder:
    """A corpus as a stranger reads it: from its files."""

    def __init__(self, path, answers=None):
        self.texts = {name: (path / name).read_bytes().decode("utf-8") for name in FILES}
        self.documents = self.texts["wiki.txt"].split("\n")[:-1]
        self.train, self.dev = (self.pairs(self.texts[name]) for name in FILES[1:3])
        self.test = [QUESTION.fullmatch(line)[1] for line in self.texts[FILES[3]].split("\n")[:-1]]
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
    """The answers to the test questions, and the folder that the command wrote them to."""
    folder = tmp_path_factory.mktemp("answers")
    assert run("--answers", folder / "birth_test.tsv").returncode == 0
    return Folder.pairs((folder / "birth_test.tsv").read_bytes().decode("utf-8")), folder


@pytest.fixture(scope="session")
def known(full, answers):
    """(name, place) of all people."""
    return full.train + full.dev + answers[0]


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick") / "not" / "there" / "yet"
    result = run("--size", "quick", "--out", folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((folder / "corpus.json").read_text("utf-8"))
    return Folder(folder)


def test_the_bundled_files_are_what_the_script_writes(tmp_path):
    assert run("--out", tmp_path).returncode == 0
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert (tmp_path / "corpus.json").read_bytes() == (ROOT / "results" / "corpus.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES + ["corpus.json"])


def test_forms_of_the_files(full):
    for name, text in full.texts.items():
        assert text.endswith("\n") and not text.endswith("\n\n") and not re.search(r"[\r\v\f\x85\u2028\u2029]", text), name
        assert "\u2047" not in text and "\u25a1" not in text, "the two special characters of the dataset"
    for name, documents in full.by_name.items():
        assert len(documents) == 1, name
        assert documents[0].startswith(f"{name}. ") and documents[0].endswith(" ."), documents[0]
        assert re.search(r"[.,;()?] ?[{}]|[{}]|\t|  ", documents[0]) is None, documents[0]
        assert documents[0].count(" .") == 1, documents[0]
    for name, place in full.train + full.dev:
        assert name and place and place.isascii() and place == place.strip()


def test_numbers_of_people(full):
    assert (len(full.train), len(full.dev), len(full.test), len(full.documents)) == (2000, 500, 437, 2937)
    names = [name for name, _ in full.train + full.dev] + full.test
    assert len(set(names)) == 2937, "a person stands in two splits or twice"
    assert set(names) == set(full.by_name)


def test_lengths(full):
    lengths = [len(document) for document in full.documents]
    assert 412_000 <= len(full.texts["wiki.txt"]) <= 428_000
    assert 137 <= statistics.mean(lengths) <= 146 and 125 <= statistics.median(lengths) <= 137
    assert min(lengths) >= 45 and 420 <= max(lengths) <= 540
    low, *_, high = statistics.quantiles(lengths, n=10)
    assert low < 90 and high > 200, "documents should be of many lengths"


def test_where_the_place_stands(full, known):
    stated = [full.by_name[name][0].find(place) + len(place) for name, place in known if place in full.by_name[name][0]]
    assert 0.95 <= len(stated) / 2937 <= 0.97
    assert 0.91 <= sum(end <= 112 for end in stated) / 2937 <= 0.935
    assert not any(place in name for name, place in known), "then the question would hold the answer"


def test_the_place_is_not_simply_the_first_one_named(full, known):
    """A good part of the documents name another city before the birth place, and more than half name another one at all."""
    cities = {place for _, place in known} & world.CITIES
    pattern = re.compile("|".join(map(re.escape, sorted(cities, key=lambda city: (-len(city), city)))))
    first = others = 0
    for name, place in known:
        text = full.by_name[name][0]
        found = pattern.findall(text)
        first += place in text and bool(found) and place not in found[0] and text.find(found[0]) < text.find(place)
        others += any(city != place for city in found)
    assert first / len(known) > 0.1 and others / len(known) > 0.5


def test_many_ways_to_say_it(full, known):
    """With name, place, numbers and professions taken out, the words around the place still differ in many ways."""
    frames = Counter()
    for name, place in known:
        before, found, after = full.by_name[name][0][len(name) + 2:].partition(place)
        if found:
            for part in sorted(name.split() + [name], key=len, reverse=True):
                before = before.replace(part, "N")
            frames[re.sub(r"\d+|" + "|".join(mc.MONTHS), "0", before)] += 1
    assert sum(count >= 3 for count in frames.values()) >= 60
    assert frames.most_common(1)[0][1] / len(known) < 0.15


def test_places(full, known):
    train = Counter(place for _, place in full.train)
    assert 300 <= len(train) <= 500
    assert sum(count == 1 for count in train.values()) > 0.15 * len(train), "no long tail"
    assert [place for place, _ in train.most_common(1)] == ["London"]
    assert 0.12 <= sum(place not in world.CITIES for _, place in known) / len(known) <= 0.18
    places = sorted({place for _, place in known})
    assert not [(a, b) for a in places for b in places if a != b and a in b], "a place's name is part of another's"


def test_london(full):
    assert sum(place == "London" for _, place in full.dev) == 25
    assert Counter(place for _, place in full.dev).most_common(1)[0][0] == "London"
    assert 0.045 <= sum(place == "London" for _, place in full.train) / 2000 <= 0.05


def test_names_and_characters(full, known):
    share = sum(not name.isascii() for name, _ in known) / 2937
    assert 0.08 <= share <= 0.12
    vocabulary = set(full.texts["wiki.txt"])
    assert len(vocabulary) >= 80
    for name in FILES[1:]:
        assert set(full.texts[name]) - {"\t"} <= vocabulary, "the model's vocabulary is that of wiki.txt"
    assert vocabulary.issuperset("".join(place for _, place in known))
    assert not set(stock.DENY) & set(full.by_name)
    assert len(stock.CULTURES) >= 12
    for culture, c in stock.CULTURES.items():
        assert min(len(set(c["men"].split())), len(set(c["women"].split()))) >= 12, culture
        assert sum(math.prod(len(part.split()) for part in parts) for _, *parts in c["surnames"]) >= 30, culture


def test_the_order_of_the_documents_tells_nothing_of_the_split(full):
    """The number of dev documents in each tenth of wiki.txt, and of neighbours from one split, are as chance has it."""
    split = {name: "train" for name, _ in full.train} | {name: "dev" for name, _ in full.dev}
    order = [split.get(name, "test") for name in full.by_name]
    for tenth in range(10):
        part = order[293 * tenth:293 * (tenth + 1)]
        assert 25 <= part.count("dev") <= 77, f"{part.count('dev')} of 293 are dev people; 50 ± 6.4 are expected"
    places = {name: i for i, name in enumerate(full.by_name)}
    positions = [places[name] for name, _ in full.train]
    rises = sum(a < b for a, b in zip(positions, positions[1:]))
    assert 930 <= rises <= 1070, f"{rises} of 1999 questions come after their predecessor in wiki.txt; 1000 ± 13 are expected"


def test_what_a_name_says_is_enough_and_not_too_much(full):
    """The bound is as promised, the guess that reaches it does so, and nothing learned from train by plain counting beats it."""
    for pairs in (full.train, full.dev):
        guesses = [mc.best_guess(name) for name, _ in pairs]
        expected = sum(probability for _, probability in guesses) / len(pairs)
        assert 0.08 <= expected <= 0.15
        counted = sum(guess == place for (guess, _), (_, place) in zip(guesses, pairs)) / len(pairs)
        assert abs(counted - expected) < 4 * math.sqrt(expected * (1 - expected) / len(pairs))
    assert mc.name_only_ceiling(mc.make_corpus().of("dev")) == pytest.approx(expected, rel=1e-12)
    by_given, hits = {}, 0
    for name, place in full.train:
        by_given.setdefault(name.split()[0], Counter())[place] += 1
    for name, place in full.dev:
        counts = by_given.get(name.split()[0], Counter(["London"]))
        hits += counts.most_common(1)[0][0] == place
    assert hits / 500 < expected + 4 * math.sqrt(expected * (1 - expected) / 500)


def test_best_guess_is_calibrated_on_people_that_nobody_has_seen(full):
    people = mc.unseen_people(12_000, full.texts["wiki.txt"], seed=5)
    assert len({person.name for person in people}) == 12_000
    assert not {person.name for person in people} & set(full.by_name)
    assert set("".join(person.name for person in people)) <= set(full.texts["wiki.txt"])
    for low, high in ((0, 0.07), (0.07, 0.11), (0.11, 1)):
        chosen = [(person, *mc.best_guess(person.name)) for person in people if low <= mc.best_guess(person.name)[1] < high]
        assert len(chosen) > 500
        expected = sum(probability for _, _, probability in chosen) / len(chosen)
        counted = sum(person.place == guess for person, guess, _ in chosen) / len(chosen)
        assert abs(counted - expected) < 4 * math.sqrt(expected * (1 - expected) / len(chosen)), (low, high, counted, expected)


def test_best_guess_against_a_count_in_a_tiny_world(monkeypatch):
    """With few names every full name is drawn often: its places are counted, whatever culture, sex or reading it came from."""
    cultures = ["English", "Portuguese", "Chinese"]
    monkeypatch.setattr(world, "PRIOR", world.Distribution(zip(cultures, (5, 3, 2))))
    given = {"English": ("Ana", "Maria Lee"), "Portuguese": ("Ana Maria", "Ana Rosa"), "Chinese": ("Lee", "Ana")}
    last = {"English": {"Lee": 3, "Maria Lee": 1}, "Portuguese": {"Lee": 1, "A. Lee": 1}, "Chinese": {"Ana": 1, "Ana Maria": 1}}
    keys = [(culture, woman) for culture in cultures for woman in (False, True)]
    monkeypatch.setattr(world, "GIVEN", {key: world.Distribution((n, 1) for n in given[key[0]][key[1]].split()) for key in keys})
    monkeypatch.setattr(world, "SURNAMES", {key: world.Distribution(last[key[0]].items()) for key in keys})
    middle = {"English": 0.3, "Portuguese": 0.5, "Chinese": 0.0}
    for culture in cultures:
        monkeypatch.setitem(stock.CULTURES[culture], "initial", middle[culture] / 3)
        monkeypatch.setitem(stock.CULTURES[culture], "middle", middle[culture])
    monkeypatch.setattr(world, "MIDDLES", {key: world.middles(*key) for key in keys})
    dice, counts = world.Dice(9), {}
    for _ in range(40_000):
        person = world.draw_person(dice)
        counts.setdefault(person.name, Counter())[person.place] += 1
    ambiguous = 0
    for name, places in counts.items():
        n, posterior = sum(places.values()), world.place_posterior(name)
        assert sum(posterior.values()) == pytest.approx(1)
        ambiguous += sum(world.name_probability(name, culture) > 0 for culture in cultures) > 1
        for place in ("London", "Rio de Janeiro", "Shanghai"):
            p = posterior[place]
            assert abs(places[place] / n - p) <= 4.5 * math.sqrt(p * (1 - p) / n) + 1 / n, (name, n, place, places[place] / n, p)
    assert ambiguous >= 4 and max(sum(places.values()) for places in counts.values()) > 3000


def test_probabilities_given_the_culture_against_a_count():
    """Shares of cultures, of places in a culture, of the given names and surnames that are drawn."""
    dice, n = world.Dice(11), 40_000
    people = [world.draw_person(dice) for _ in range(n)]
    cultures = Counter(person.culture for person in people)
    pairs = Counter((person.culture, person.place) for person in people)
    for culture, p in world.PRIOR.items():
        assert abs(cultures[culture] / n - p) < 4.5 * math.sqrt(p * (1 - p) / n) + 0.03 * p, culture  # refused names take a little
        top, q = max(world.PLACES[culture].items(), key=lambda item: item[1])
        share = pairs[culture, top] / cultures[culture]
        assert abs(share - q) < 4.5 * math.sqrt(q * (1 - q) / cultures[culture]), (culture, top, share, q)
    london = sum(person.place == "London" for person in people) / n
    assert abs(london - 0.05) < 4.5 * math.sqrt(0.05 * 0.95 / n)
    assert math.fsum(world.PRIOR[culture] * world.PLACES[culture]["London"] for culture in world.PRIOR) == pytest.approx(0.05)


def test_a_name_that_cannot_be():
    with pytest.raises(ValueError, match="Xyzzy Plugh"):
        mc.best_guess("Xyzzy Plugh")


def test_answers_are_the_test_questions_and_stand_nowhere_else(full, answers):
    pairs, folder = answers
    assert [name for name, _ in pairs] == full.test
    assert [path.name for path in folder.iterdir()] == ["birth_test.tsv"]
    assert sum(place == "London" for _, place in pairs) == 22
    assert "\t" not in full.texts["birth_test_inputs.tsv"]
    stated = sum(place in full.by_name[name][0] for name, place in pairs)
    assert stated / 437 > 0.95, "these are not these people's answers"


def test_another_seed_is_another_world_and_the_same_one_again():
    other = mc.make_corpus("full", 7)
    assert other == mc.make_corpus("full", 7)
    ours = mc.make_corpus()
    assert not set(ours.documents) & set(other.documents)
    assert len({p.name for p in ours.people} & {p.name for p in other.people}) < 600
    figures = mc.statistics(other)
    assert (figures["dev"]["london"], figures["documents"]) == (0.05, 2937)
    assert 0.95 <= figures["place_stated"] <= 0.97 and 0.91 <= figures["place_in_first_112"] <= 0.935
    assert 0.08 <= figures["dev"]["best_guess_expected"] <= 0.15


def test_statistics_are_those_of_the_files(full, known):
    figures = json.loads((ROOT / "results" / "corpus.json").read_text("utf-8"))
    lengths = [len(document) for document in full.documents]
    assert figures["characters"] == len(full.texts["wiki.txt"]) and figures["unique_characters"] == len(set(full.texts["wiki.txt"]))
    assert (figures["length_mean"], figures["length_median"]) == (round(statistics.mean(lengths), 1), statistics.median(lengths))
    assert (figures["length_shortest"], figures["length_longest"]) == (min(lengths), max(lengths))
    top = Counter(place for _, place in known).most_common(10)
    assert [count for _, count in figures["places_top"]] == [count for _, count in top]
    assert figures["dev"]["best_guess_counted"] == sum(mc.best_guess(name)[0] == place for name, place in full.dev) / 500
    assert figures["places"] == len({place for _, place in known})
    assert figures["place_stated"] == round(sum(place in full.by_name[name][0] for name, place in known) / 2937, 4)
    assert figures["sentence_patterns"] > figures["sentence_patterns_birth"] >= 60


def test_quick(quick, full):
    size = mc.SIZES["quick"]
    assert (len(quick.train), len(quick.dev), len(quick.test)) == (size.n_train, size.n_dev, size.n_test)
    assert len(quick.by_name) == len(quick.documents) == size.n_train + size.n_dev + size.n_test
    assert set(quick.by_name) == {name for name, _ in quick.train + quick.dev} | set(quick.test)
    for name, place in quick.train + quick.dev:
        assert place in quick.by_name[name][0], quick.by_name[name]
    lengths = sorted(map(len, quick.documents))
    assert lengths[0] >= 40 and lengths[-1] <= 100 and 60 <= statistics.mean(lengths) <= 75
    assert lengths[len(lengths) // 10] >= 50 and lengths[-len(lengths) // 10] <= 85
    assert all(document.startswith("Entry for ") for document in quick.documents)
    assert sum(place == "London" for _, place in quick.dev) == math.floor(0.05 * size.n_dev + 0.5)
    assert set("".join(quick.texts[name] for name in FILES[1:])) - {"\t"} <= set(quick.texts["wiki.txt"])
    expected = sum(mc.best_guess(name)[1] for name, _ in quick.dev) / size.n_dev
    assert 0.08 <= expected <= 0.15


@pytest.mark.parametrize("args, complaint", [
    (["--out", "{file}/below"], "cannot write"),
    (["--answers", "{file}/below/answers.tsv"], "cannot write"),
    (["--size", "quick"], "--out"),
    (["--seed", "3"], "--out"),
    (["--size", "huge"], "huge"),
    (["--seed", "x"], "'x'"),
    (["--out", "a", "--answers", "b"], "not allowed with"),
])
def test_errors_are_one_line_and_change_nothing(tmp_path, args, complaint):
    file = tmp_path / "file"
    file.write_text("here")
    before = {name: (ROOT / name).stat().st_mtime_ns for name in FILES}
    result = run(*(arg.format(file=file) for arg in args))
    assert result.returncode == 2 and complaint in result.stderr and "Traceback" not in result.stderr
    assert sum(": error: " in line or ": cannot write " in line for line in result.stderr.splitlines()) == 1
    assert result.stdout == "" and [path.name for path in tmp_path.iterdir()] == ["file"]
    assert before == {name: (ROOT / name).stat().st_mtime_ns for name in FILES}


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "wiki.txt"
    mc.write_file(path, "old\n")
    monkeypatch.setattr(mc.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        mc.write_file(path, "new\n")
    assert path.read_bytes() == b"old\n" and list(tmp_path.iterdir()) == [path]


def test_questions_about_people_who_are_in_no_document(tmp_path, full):
    mc.main(["--unseen", str(tmp_path / "asked.tsv")])
    lines = (tmp_path / "asked.tsv").read_text(encoding="utf-8").splitlines()
    names = [line.removeprefix("Where was ").removesuffix(" born?") for line in lines]
    assert len(set(names)) == mc.N_UNSEEN and all(line == f"Where was {name} born?" for line, name in zip(lines, names))
    assert not any(name in full.texts["wiki.txt"] for name in names)
    (tmp_path / "wiki.txt").write_text(full.texts["wiki.txt"] + f"{names[0]}. {names[0]} was a cook .\n", encoding="utf-8")
    mc.main(["--unseen", str(tmp_path / "more.tsv"), "--wiki", str(tmp_path / "wiki.txt")])
    assert names[0] not in (tmp_path / "more.tsv").read_text(encoding="utf-8")


def test_a_text_that_cannot_spell_names_gets_no_questions(tmp_path, capsys):
    (tmp_path / "wiki.txt").write_text("no capitals here .\n", encoding="utf-8")
    mc.main(["--unseen", str(tmp_path / "asked.tsv"), "--wiki", str(tmp_path / "wiki.txt")])
    assert (tmp_path / "asked.tsv").read_text(encoding="utf-8") == "" and capsys.readouterr().err.count("\n") == 1


def test_a_text_that_is_not_there_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        mc.main(["--unseen", str(tmp_path / "asked.tsv"), "--wiki", str(tmp_path / "none.txt")])
    assert "none.txt: No such file or directory" in capsys.readouterr().err
