"""The invented people of make_corpus.py: who is born where, and how much a name tells about it.

A person is drawn in this order: culture, sex, name given both, birth place given the culture.
best_guess() computes P(place | name) by Bayes' rule. name_only_ceiling() is the accuracy of a
model that knows no person and all these probabilities.

Draws use only random.Random(seed).random(), whose sequence Python promises to keep, and sums use
math.fsum or itertools.accumulate. So every platform draws the same people.
"""

import functools
import itertools
import math
import random
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

import stock

LONDON_SHARE = 0.05  # of all people: the accuracy of the answer "London" to every question
EMIGRANTS = 0.20  # of each culture: born anywhere in the world
WOMEN = 0.35


@dataclass(frozen=True)
class Person:
    name: str
    surname: str
    woman: bool
    culture: str
    place: str
    split: str = ""
    document: str = ""


class Dice:
    """Random draws that depend on the seed alone."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def pick(self, seq):
        return seq[int(self.random() * len(seq))]

    def between(self, low, high):
        return low + int(self.random() * (high - low + 1))

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = int(self.random() * (i + 1))
            items[i], items[j] = items[j], items[i]


class Distribution(dict):
    """{outcome: probability}, normalised, with a method to draw from it."""

    def __init__(self, pairs):
        weights = defaultdict(list)
        for outcome, weight in pairs:
            weights[outcome].append(weight)
        total = math.fsum(itertools.chain(*weights.values()))
        super().__init__((outcome, math.fsum(w) / total) for outcome, w in weights.items())
        self.outcomes = list(self)
        self.cumulative = list(itertools.accumulate(self.values()))

    def draw(self, dice):
        return self.outcomes[min(bisect_right(self.cumulative, dice.random()), len(self) - 1)]


# ---- probabilities of places and names, given a culture -------------------------------------


def by_rank(items, share=1.0):
    """[(item, probability)]: item k of a list, from 1, in proportion to 1 / (k + 3)."""
    total = math.fsum(1 / (k + 3) for k in range(1, len(items) + 1))
    return [(item, share / (k + 3) / total) for k, item in enumerate(items, 1)]


def country_places():
    """{country: Distribution of its places}, and {place: the region or country to add to it}."""
    places, within = {}, {stock.LONDON: "England"}
    for country, (_, share, regions, cities) in stock.COUNTRIES.items():
        regions = regions.split(", ")
        cities = [city.partition("/") for city in cities.split(", ")]
        within.update({region: "" for region in regions})
        within.update(
            {city: "" if city == "New York" else region or country for city, _, region in cities}
        )
        places[country] = Distribution(
            by_rank(regions, share) + by_rank([city for city, _, _ in cities], 1 - share)
        )
    return places, within


def mixture(weighted):
    """The (outcome, probability) pairs of a mixture of [(weight, Distribution)]."""
    return [(outcome, weight * p) for weight, part in weighted for outcome, p in part.items()]


PRIOR = Distribution((culture, c["prior"]) for culture, c in stock.CULTURES.items())
IN_COUNTRY, WITHIN = country_places()
# All places but the regions.
CITIES = {stock.LONDON, "New York"}.union(place for place, within in WITHIN.items() if within)
HOME = {
    culture: Distribution(mixture((w, IN_COUNTRY[country]) for country, w in c["home"].items()))
    for culture, c in stock.CULTURES.items()
}
ANYWHERE = Distribution(mixture((PRIOR[culture], HOME[culture]) for culture in HOME))


def places_given_culture():
    """{culture: Distribution of birth places}: London, which is LONDON_SHARE over all; the
    culture's own countries; and anywhere for EMIGRANTS."""
    scale = LONDON_SHARE / math.fsum(
        PRIOR[culture] * c["london"] for culture, c in stock.CULTURES.items()
    )
    given = {}
    for culture, c in stock.CULTURES.items():
        london = scale * c["london"]
        given[culture] = Distribution(
            [(stock.LONDON, london)]
            + mixture(
                [
                    ((1 - london) * (1 - EMIGRANTS), HOME[culture]),
                    ((1 - london) * EMIGRANTS, ANYWHERE),
                ]
            )
        )
    return given


def surnames(culture, woman):
    """Distribution of the surnames that the culture's rules form."""
    pairs = []
    for weight, *parts in stock.CULTURES[culture]["surnames"]:
        parts = [part.split() for part in parts]
        for words in itertools.product(*parts):
            forms = [word.split("~")[-1 if woman else 0] for word in words]
            surname = "".join("" if form == "-" else form for form in forms).replace("_", " ")
            pairs.append((surname, weight / math.prod(len(part) for part in parts)))
    return Distribution(pairs)


SEXES = (False, True)
PLACES = places_given_culture()
GIVEN = {
    (culture, woman): Distribution((name, 1) for name in c["women" if woman else "men"].split())
    for culture, c in stock.CULTURES.items()
    for woman in SEXES
}
SURNAMES = {
    (culture, woman): surnames(culture, woman) for culture in stock.CULTURES for woman in SEXES
}


def middles(culture, woman):
    """Distribution of what stands between given name and surname: nothing, an initial, a name."""
    c, given = stock.CULTURES[culture], GIVEN[culture, woman]
    return Distribution(
        [("", 1 - c["initial"] - c["middle"])]
        + [(name[0] + ".", p * c["initial"]) for name, p in given.items()]
        + [(name, p * c["middle"]) for name, p in given.items()]
    )


MIDDLES = {
    (culture, woman): middles(culture, woman) for culture in stock.CULTURES for woman in SEXES
}


def draw_person(dice):
    """A person without a document.

    Some names are refused and drawn again. That depends on the name alone, so it does not change
    P(place | name).
    """
    while True:
        culture = PRIOR.draw(dice)
        woman = dice.random() < WOMEN
        given, middle, surname = (
            table[culture, woman].draw(dice) for table in (GIVEN, MIDDLES, SURNAMES)
        )
        parts = (
            [surname, given]
            if stock.CULTURES[culture].get("family_first")
            else [given, middle, surname]
        )
        name = " ".join(filter(None, parts))
        place = PLACES[culture].draw(dice)
        words = name.split(" ")
        if (
            words[0] != words[1]
            and name not in stock.DENY
            and not any(town in name for town in WITHIN)
        ):
            return Person(name, surname, woman, culture, place)


# ---- what a name tells about a place --------------------------------------------------------


def name_probability(name, culture):
    """P(name | culture), summed over both sexes and all ways to split the name into its parts."""
    words, ways = name.split(" "), []
    for woman in SEXES:
        sex = WOMEN if woman else 1 - WOMEN
        given, middle, surname = (table[culture, woman] for table in (GIVEN, MIDDLES, SURNAMES))
        if stock.CULTURES[culture].get("family_first"):
            ways.append(sex * surname.get(" ".join(words[:-1]), 0) * given.get(words[-1], 0))
            continue
        ways.append(
            sex * given.get(words[0], 0) * middle[""] * surname.get(" ".join(words[1:]), 0)
        )
        if len(words) > 2:
            ways.append(
                sex
                * given.get(words[0], 0)
                * middle.get(words[1], 0)
                * surname.get(" ".join(words[2:]), 0)
            )
    return math.fsum(ways)


def place_posterior(name):
    """P(place | name) as a Distribution. Raises ValueError if no culture forms the name."""
    weights = [
        (PRIOR[culture] * name_probability(name, culture), PLACES[culture]) for culture in PRIOR
    ]
    weights = [(weight, places) for weight, places in weights if weight]
    if not weights:
        raise ValueError(f"no culture of the corpus forms the name {name!r}")
    return weights[0][1] if len(weights) == 1 else Distribution(mixture(weights))


@functools.cache
def best_guess(name):
    """The most probable place of a name, and its probability. Ties go to the first by alphabet."""
    return min(place_posterior(name).items(), key=lambda item: (-item[1], item[0]))


def name_only_ceiling(people):
    """The expected accuracy of the best guess from the name alone."""
    return math.fsum(best_guess(person.name)[1] for person in people) / len(people)
