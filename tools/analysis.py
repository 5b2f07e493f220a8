"""
What the kept records (tools/record.py) say: accuracies with intervals, and whether the model recalls or guesses.

Nothing here reads the data or runs a model. Fractions are in [0, 1]. "Pooled" means over the questions of all seeds together.
"""
import csv
import json
import math
import random
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

Z = 1.959964  # standard normal quantile of a two-sided 95% interval


@dataclass
class Row:
    """One row of the results table in one run: its part of record.json, and its tables as lists of dicts."""
    facts: dict
    answers: list     # of dev, see record.answer_facts()
    beam: list        # the same with --beam
    invented: list    # see record.invented_facts()
    predictions: dict  # {"dev": places, "test": …, "beam": …}
    logs: dict        # {"pretrain": records of progress.LossLog, "finetune": …}
    recall: list = field(default_factory=list)  # of the questions whose place stands early, see tools/recall.py; none in older records

    def correct(self):
        return [answer["correct"] for answer in self.answers]


@dataclass
class Run:
    """A record: one recipe, seed and data."""
    folder: Path
    facts: dict
    questions: list   # see record.question_facts()
    rows: dict        # {name: Row}

    @property
    def data(self):
        return self.facts["data"]["name"]

    @property
    def invented_world(self):
        return "best_guess" in self.questions[0]

    def machines(self, row):
        """The machines that trained a row, as tools/machine.py describes them, without doubles."""
        found = []
        for stage in self.facts["rows"][row]["stages"].values():
            if any(f"run.py {function} " in stage["command"] for function in ("pretrain", "finetune")):
                found += [machine for machine in stage["machines"] if machine not in found]
        return found

    def minutes(self):
        """Of all stages that belong to a row."""
        return sum(stage["seconds"] for row in self.facts["rows"].values() for stage in row["stages"].values()) / 60


def load_runs(folder):
    """{data: Runs by seed} for all records below a folder."""
    runs = []
    for path in sorted(folder.rglob("record.json")):
        try:
            runs.append(load_run(path.parent))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.parent} is no complete record ({type(error).__name__} {error})") from None
    found = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.facts["seed"]):
        found[run.data].append(run)
    for data, group in found.items():
        if any(run.facts["data"] != group[0].facts["data"] or run.facts["recipe"] != group[0].facts["recipe"] for run in group):
            raise ValueError(f"records of '{data}' are of different files or recipes")
        seeds = [(run.facts["seed"], row) for run in group for row in run.rows]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"records of '{data}' have the same row of the same seed twice")
    return dict(found)


def load_run(folder):
    facts = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    rows = {name: Row(row, *(read_table(folder / f"{name}.{kind}.tsv") for kind in ("dev.answers", "beam.answers")),
                      read_table_if_there(folder / f"{name}.invented.scores.tsv"),
                      {kind: (folder / f"{name}.{kind}.predictions").read_text(encoding="utf-8").removesuffix("\n").split("\n")
                       for kind in ("dev", "test", "beam")},
                      {kind: read_log(path) for kind, path in log_paths(folder, name).items() if path.exists()},
                      read_table_if_there(folder / f"{name}.recall.tsv", {}, int_if_any))
            for name, row in facts["rows"].items()}
    return Run(folder, facts, read_table(folder / "dev.questions.tsv"), rows)


def log_paths(folder, row):
    return {"pretrain": folder / f"{row}.log.jsonl", "finetune": folder / f"{row}.finetune.log.jsonl"}


def read_log(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def int_if_any(text):
    return int(text) if text else None


NUMBERS = {**dict.fromkeys(("probability", "by_name", "by_any_name", "best_guess_probability"), float),
           **dict.fromkeys(("proven", "correct", "finetuning", "line"), int), "place_end": int_if_any}


def read_table(path, numbers=NUMBERS, others=str):
    """A TSV file's rows as dicts. numbers: {column: what makes its values of text}. others: the same for all other columns."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        return [{name: numbers.get(name, others)(text) for name, text in row.items()} for row in rows]


def read_table_if_there(path, *conversions):
    return read_table(path, *conversions) if path.exists() else []


# ---- accuracy -------------------------------------------------------------------------------------------------------

def wilson(share, n, z=Z):
    """The interval of a share of n trials (Wilson 1927), which unlike share ± z·sd holds near 0 as well. n need not be whole."""
    if n == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def accuracy_interval(correct):
    """
    Mean and 95% interval of the accuracy, from `correct`: for each seed a list of 0 and 1, one for each question, the same for all.

    Both are samples: the questions, of all that could be asked, and the seeds. In the two-way model y[s, q] = mean + seed + question
    + rest the variance of the mean is at most var(question means)/Q + var(seed means)/S; both hold the rest, which is left in twice,
    since with two or three seeds the second is often far too small by chance. The interval is Wilson's for as many independent
    questions as would have that variance, and as wide as Student's t makes it with so few seeds (degrees of freedom by Satterthwaite
    1946); of one seed it is Wilson's for Q, and knows of no other seed.
    """
    S, Q = len(correct), len(correct[0])
    seed_means = [statistics.fmean(row) for row in correct]
    question_means = [statistics.fmean(column) for column in zip(*correct)]
    mean = statistics.fmean(seed_means)
    n, z = Q, Z
    if S > 1 and Q > 1:
        of_questions, of_seeds = statistics.variance(question_means) / Q, statistics.variance(seed_means) / S
        variance = of_questions + of_seeds
        if variance > 0 and 0 < mean < 1:
            n = mean * (1 - mean) / variance
            z = student_quantile(variance ** 2 / (of_questions ** 2 / (Q - 1) + of_seeds ** 2 / (S - 1)))
    return mean, wilson(mean, n, z)


def student_quantile(freedom, probability=0.975):
    """The quantile of Student's t with so many degrees of freedom, at least 1, which need not be whole."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def above_zero(t, pieces=400):
        """P(0 < T < t): Simpson's rule, after the substitution t = √freedom · tan(angle), which keeps the range finite."""
        end = math.atan(t / math.sqrt(freedom))
        values = [math.cos(end * piece / pieces) ** (freedom - 1) for piece in range(pieces + 1)]
        weighted = values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])
        return constant * math.sqrt(freedom) * weighted * end / pieces / 3

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above_zero(middle) < probability - 0.5 else (low, middle)
    return (low + high) / 2


DRAWS = 2000  # of a bootstrap
FEWEST = 10   # questions that a bootstrap of right against wrong answers needs of both sorts


def resampled(count, seed):
    """How often each of so many things is in a sample of as many of them, drawn with replacement: an array (DRAWS, count)."""
    samples = np.random.RandomState(seed).randint(count, size=(DRAWS, count))  # the generator whose numbers no version of numpy changes
    return np.stack([np.bincount(sample, minlength=count) for sample in samples])


def middle_95(estimates):
    return tuple(float(bound) for bound in np.percentile(estimates, [2.5, 97.5]))


def mean_interval(groups):
    """
    The 95% interval of the mean of numbers in groups, by the bootstrap (Efron 1979): whole groups are drawn anew, since the answers that
    several seeds give to one question, which make a group, are not independent of each other.
    """
    drawn = resampled(len(groups), seed=0)
    return middle_95(drawn @ np.array([sum(group) for group in groups]) / (drawn @ np.array([len(group) for group in groups])))


def higher_interval(some, others):
    """The same of higher(), of numbers in groups: the groups of both sides are drawn anew."""
    wins = np.subtract.outer(np.concatenate(some), np.concatenate(others))
    wins = (wins > 0) + (wins == 0) / 2
    starts = [np.cumsum([0, *map(len, groups)])[:-1] for groups in (some, others)]
    wins = np.add.reduceat(np.add.reduceat(wins, starts[0], axis=0), starts[1], axis=1)  # (groups of some, groups of others)
    drawn, against = (resampled(len(groups), seed) for seed, groups in enumerate((some, others)))
    pairs = (drawn @ np.array([*map(len, some)])) * (against @ np.array([*map(len, others)]))
    return middle_95(((drawn @ wins) * against).sum(axis=1) / pairs)


def ranking_interval(groups):
    """
    The same of ranking_quality(), of groups of pairs (probability, correct): drawn anew are groups, with their right answers and their
    wrong ones; draws without one of the sorts are left out. None where fewer than FEWEST groups have answers of one of the sorts: they
    would tell too little of others.
    """
    right, wrong = ([[p for p, correct in group if bool(correct) == sort] for group in groups] for sort in (True, False))
    if min(sum(map(bool, sort)) for sort in (right, wrong)) < FEWEST:
        return None
    wins = np.subtract.outer(np.concatenate(right), np.concatenate(wrong))
    wins = (wins > 0) + (wins == 0) / 2
    of_right, of_wrong = (np.repeat(np.arange(len(groups)), [*map(len, sort)]) for sort in (right, wrong))  # the groups of the answers
    drawn = resampled(len(groups), seed=0)
    pairs = drawn[:, of_right].sum(axis=1) * drawn[:, of_wrong].sum(axis=1)
    won = ((drawn[:, of_right] @ wins) * drawn[:, of_wrong]).sum(axis=1)
    return middle_95(won[pairs > 0] / pairs[pairs > 0])


@dataclass
class Share:
    """How many of how many, and what that is as a fraction. seeds: of how many runs the answers are."""
    count: int
    total: int
    seeds: int = 1

    @property
    def value(self):
        return self.count / self.total if self.total else math.nan

    def interval(self):
        """95%, Wilson's. Several runs were asked the same questions: each question counts once, as if their answers were the same."""
        return wilson(self.value, self.total / self.seeds) if self.total else (math.nan, math.nan)


def split(runs, row, group_of):
    """{group: Share right}, pooled over the runs that have the row; group_of(question) names the group."""
    having = [run for run in runs if row in run.rows]
    shares = defaultdict(lambda: Share(0, 0, len(having)))
    for run in having:
        for question, answer in zip(run.questions, run.rows[row].answers):
            share = shares[group_of(question)]
            share.count += answer["correct"]
            share.total += 1
    return dict(shares)


def offered(question):
    return {"early": "place within the first 112 characters of the document", "late": "place only after character 112",
            "absent": "place not in the document", "none": "no document"}[question["document"]]


def characters(question):
    """Among which characters of the document the place has its last letter, if pretraining reads as far, else None."""
    end = question["place_end"]
    return None if question["document"] != "early" else "1–56" if end <= 56 else "57–84" if end <= 84 else "85–112"


def how_early(question):
    among = characters(question)
    return among and f"… of these, its last letter among characters {among}"


SHORTEST, LONGEST = 4, 112  # lengths that pretraining cuts a document to, all equally likely


def read_whole(end):
    """In what share of pretraining's passes over a document a place that ends there is read whole."""
    return (LONGEST + 1 - max(end, SHORTEST)) / (LONGEST + 1 - SHORTEST)


@dataclass
class PlaceEnd:
    """
    People whose place ends among these characters: how many of a row's answers are right, how many are known from the document, and how
    many of these are answered right (nobody, if that has not been measured), and the mean of read_whole().
    """
    characters: str
    right: Share
    known: Share
    found: Share
    read: float


def by_place_end(runs, row):
    """A PlaceEnd for each group of characters() that there is, the earliest first."""
    if not any(row in run.rows for run in runs):
        return []
    shares, ends = split(runs, row, characters), defaultdict(list)
    for question in runs[0].questions:
        ends[characters(question)].append(question["place_end"])
    return [PlaceEnd(among, shares[among], known_from_document(runs, row, lambda facts: characters(facts) == among),
                     share_of(rungs(runs, row), lambda person: person["document"] and characters(person["facts"]) == among,
                              lambda person: person["question"]), statistics.fmean(map(read_whole, ends[among])))
            for among in ("1–56", "57–84", "85–112") if among in shares]


def in_finetuning(question):
    return "place is the answer of a finetuning example" if question["finetuning"] else "place is in no finetuning example"


def best_guess_right(question):
    return f"the best guess from the name is {'right' if question['best_guess'] == question['place'] else 'wrong'}"


def splits(runs):
    """[(what the data offered, {row: Share right})], from what tells most to what tells least."""
    rows = list(dict.fromkeys(row for run in runs for row in run.rows))
    questions = sorted(runs[0].questions, key=lambda question: (
        ("early", "late", "absent", "none").index(question["document"]), question["place_end"] or 0))

    def by(group):
        shares = {row: split(runs, row, group) for row in rows}
        return [(name, {row: shares[row][name] for row in rows}) for name in dict.fromkeys(map(group, questions)) if name is not None]

    where = by(offered)
    first = 1 if questions[0]["document"] == "early" else 0
    return where[:first] + by(how_early) + where[first:] + by(in_finetuning) + (by(best_guess_right) if runs[0].invented_world else [])


# ---- how far a probability can be believed --------------------------------------------------------------------------

def pooled(runs, row):
    """[(probability, correct)] of the dev answers of all runs that have the row, the most probable first."""
    pairs = [(answer["probability"], answer["correct"]) for run in runs if row in run.rows for answer in run.rows[row].answers]
    return sorted(pairs, key=lambda pair: -pair[0])


def by_question(runs, row):
    """The same in groups: of each question the pairs of all runs that have the row."""
    answers = [run.rows[row].answers for run in runs if row in run.rows]
    return [[(answer["probability"], answer["correct"]) for answer in of_one] for of_one in zip(*answers)]


@dataclass
class Bin:
    """Answers of similar probability: their mean probability and how many are right."""
    probability: float
    right: Share


def reliability(pairs, bins=10, seeds=1):
    """Bins of as many answers, the least probable first. pairs: see pooled(), of so many seeds."""
    rising, found = pairs[::-1], []
    for number in range(bins):
        part = rising[len(rising) * number // bins:len(rising) * (number + 1) // bins]
        if part:
            found.append(Bin(statistics.fmean(p for p, _ in part), Share(sum(c for _, c in part), len(part), seeds)))
    return found


def calibration_error(pairs, bins=10):
    """
    Expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599), here over bins of as many answers instead of bins
    as wide: |share right - mean probability|, the mean over all answers.
    """
    return sum(one.right.total * abs(one.right.value - one.probability) for one in reliability(pairs, bins)) / len(pairs)


def calibration_error_by_chance(pairs, bins=10, draws=200):
    """The calibration error to expect of these probabilities if they were perfectly calibrated: of so few answers it is not zero."""
    draw = random.Random(0).random
    return statistics.fmean(calibration_error([(p, int(draw() < p)) for p, _ in pairs], bins) for _ in range(draws))


def coverage_curve(pairs):
    """
    [(share answered, share of these right, threshold)] for a model that declines below a threshold, which is each probability that
    occurs in turn. Answers of one probability stand and fall together.
    """
    curve, right = [], 0
    for number, (probability, correct) in enumerate(pairs, start=1):
        right += correct
        if number == len(pairs) or pairs[number][0] < probability:
            curve.append((number / len(pairs), right / number, probability))
    return curve


def at_coverage(curve, coverage):
    """The point of a coverage_curve() that answers at most `coverage`, the largest; None if there is none."""
    points = [point for point in curve if point[0] <= coverage + 1e-9]
    return points[-1] if points else None


def ranking_quality(pairs):
    """
    The probability that a right answer has a higher one than a wrong answer (the area under the ROC curve); ties count half. None
    without answers of both sorts.
    """
    right = sorted(p for p, correct in pairs if correct)
    wrong = sorted(p for p, correct in pairs if not correct)
    if not right or not wrong:
        return None
    return higher(right, wrong)


def higher(some, others):
    """The probability that one of `some` numbers is larger than one of the others; ties count half. Lists in rising order."""
    below = equal = first = last = 0
    for number in some:
        while first < len(others) and others[first] < number:
            first += 1
        last = max(last, first)
        while last < len(others) and others[last] <= number:
            last += 1
        below, equal = below + first, equal + last - first
    return (below + equal / 2) / (len(some) * len(others))


# ---- recall or guess ------------------------------------------------------------------------------------------------

@dataclass
class Guessing:
    """Answers about people of whom nothing was read."""
    asked: int
    shares: dict          # {place: its share of the answers}, the most frequent first
    mean_probability: float
    median_probability: float
    above_half: float     # share of answers with a probability above 1/2
    # In an invented world, whose probabilities are known, else None: the accuracy to expect of these answers; of the same answers, each
    # given to somebody else of those asked about; and of the best possible guess from the name alone.
    expected: Optional[float]
    shuffled: Optional[float]
    best: Optional[float]
    # 95% intervals of the first two and of their difference, with other people asked about; they know of no other seeds.
    expected_interval: Optional[tuple] = None
    shuffled_interval: Optional[tuple] = None
    gain_interval: Optional[tuple] = None


def guessing(runs, row):
    """What the row answers about invented people, pooled; None if no run has the row."""
    answers = [answer for run in runs if row in run.rows for answer in run.rows[row].invented]
    if not answers:
        return None
    places = Counter(answer["prediction"] for answer in answers)
    probabilities = [answer["probability"] for answer in answers]
    known = ("by_name", "by_any_name", "best_guess_probability") if "by_name" in answers[0] else ()
    means = [statistics.fmean(answer[name] for answer in answers) for name in known] or [None] * 3
    if known:
        people = by_person(runs, row)
        means += [mean_interval([[value(answer) for answer in group] for group in people]) for value in (
            lambda answer: answer["by_name"], lambda answer: answer["by_any_name"],
            lambda answer: answer["by_name"] - answer["by_any_name"])]
    return Guessing(len(answers), {place: count / len(answers) for place, count in places.most_common()},
                    statistics.fmean(probabilities), statistics.median(probabilities), sum(p > 0.5 for p in probabilities) / len(answers),
                    *means)


def by_person(runs, row):
    """The answers about invented people, in a list for each of them."""
    people = defaultdict(list)
    for run in runs:
        for answer in run.rows[row].invented if row in run.rows else ():
            people[answer["question"]].append(answer)
    return list(people.values())


def compared(runs, row, correct):
    """
    The probabilities of the right (correct: 1) or wrong (0) answers about people whose place was within reach of pretraining ("early"), and
    of those about invented people; in a list for each person.
    """
    early = defaultdict(list)
    for run in runs:
        for number, question in enumerate(run.questions if row in run.rows else ()):
            answer = run.rows[row].answers[number]
            if question["document"] == "early" and answer["correct"] == correct:
                early[number].append(answer["probability"])
    return [early[number] for number in sorted(early)], [[answer["probability"] for answer in one] for one in by_person(runs, row)]


def told_apart(runs, row, correct):
    """
    The probability that a right (correct: 1) or wrong (0) answer about somebody whose place was within reach of pretraining ("early") has
    a higher probability than one about an invented person (the area under the ROC curve), and its 95% interval with other people. 1/2: no
    difference. The names may differ in kind as well, so that a row that was not pretrained need not have 1/2. None without both.
    """
    early, invented = compared(runs, row, correct)
    if not early or not invented:
        return None
    return higher(*(sorted(p for group in groups for p in group) for groups in (early, invented))), higher_interval(early, invented)


@dataclass
class SameName:
    """Pairs of invented people whose names have the first word in common: how often both get the same answer."""
    same: Share
    by_chance: float        # the share to expect if the answers were dealt out anew among all invented people
    most_by_chance: float   # the largest share in DRAWS such deals


def same_name(runs, row):
    """A SameName of the answers within each run, pooled; None without pairs."""
    groups = []  # of each run the numbers of its answers' places, and the pairs as indices into them
    for run in runs:
        answers = run.rows[row].invented if row in run.rows else []
        first = np.array([answer["question"].removeprefix("Where was ").split(" ")[0] for answer in answers])
        one, other = np.nonzero(np.triu(np.equal.outer(first, first), k=1))
        if len(one):
            groups.append((np.unique([answer["prediction"] for answer in answers], return_inverse=True)[1], one, other))
    total = sum(len(one) for _, one, _ in groups)
    if not total:
        return None
    dealt = np.random.RandomState(0)
    deals = [sum(np.sum(places[one] == places[other]) for places, one, other in
                 ((dealt.permutation(places), one, other) for places, one, other in groups)) for _ in range(DRAWS)]
    by_chance = 0
    for places, one, _ in groups:
        counts = np.bincount(places)
        by_chance += len(one) * float(np.sum(counts * (counts - 1))) / (len(places) * (len(places) - 1))
    same = sum(int(np.sum(places[one] == places[other])) for places, one, other in groups)
    return SameName(Share(same, total, len(groups)), by_chance / total, max(deals) / total)


# From what a model knows to what it can be asked for: the columns of ROW.recall.tsv, see tools/recall.py, and its answer to the question.
RUNGS = ("document", "document_other_own", "document_other_other", "sentence", "question", "finetuned_document", "finetuned_sentence")


def rungs(runs, row):
    """
    For each run that has measured what the row knows, for each question whose place stands early: {rung: 1, 0, or None where it could not
    be asked}, the question's facts, and "name": 1 if one at least of three texts finds the place that have of the person only the name:
    the sentence, the question, and the document of the one before, into which the name is put.
    """
    found = []
    for run in runs:
        if row in run.rows and run.rows[row].recall:
            asked = {answer["line"]: {"facts": question, "question": answer["correct"]}
                     for question, answer in zip(run.questions, run.rows[row].answers)}
            lines = run.rows[row].recall
            people = [{**line, **asked[line["line"]]} for line in lines]
            for person, before in zip(people, [lines[-1], *lines]):
                person["name"] = int(1 in (person["sentence"], person["question"], before["document_other_other"]))
            found.append(people)
    return found


def ladder(runs, row):
    """{rung: Share of those whom it could be asked of}, pooled; {} if no run has measured it."""
    found = rungs(runs, row)
    return {rung: share_of(found, lambda person: person[rung] is not None, lambda person: person[rung]) for rung in RUNGS} if found else {}


def by_name_alone(runs, row):
    """The Share of those whose place one at least of the texts finds that have only the name: see rungs()."""
    return share_of(rungs(runs, row), lambda person: True, lambda person: person["name"])


def crossed(runs, row, given, then):
    """Of those of whom one rung has the place, the Share of whom another has it, too."""
    return share_of(rungs(runs, row), lambda person: person[given] and person[then] is not None, lambda person: person[then])


def known_from_document(runs, row, among):
    """The Share of those whose place the pretrained model knows from the document, of people of whom among(question's facts) holds."""
    return share_of(rungs(runs, row), lambda person: among(person["facts"]), lambda person: person["document"])


def share_of(found, among, holds):
    """The Share of those for whom it holds among some people, each as rungs() has them."""
    people = [person for run in found for person in run if among(person)]
    return Share(sum(bool(holds(person)) for person in people), len(people), max(1, len(found)))


KINDS = ("right", "in the document", "in finetuning", "in the corpus", "nowhere", "empty")


def kinds(runs, row):
    """{kind: Share of all dev answers}, see record.answer_facts(), pooled."""
    counts = Counter(answer["kind"] for run in runs if row in run.rows for answer in run.rows[row].answers)
    return {kind: Share(counts[kind], counts.total()) for kind in KINDS}


def expected_of_guesses(runs, row):
    """In an invented world: how many of the row's dev answers would be right, as a share, if names were all that it knew. Else None."""
    answers = [answer for run in runs if row in run.rows for answer in run.rows[row].answers]
    return statistics.fmean(answer["by_name"] for answer in answers) if answers and "by_name" in answers[0] else None


@dataclass
class BeamChange:
    """What the most probable answer as a whole changes against the greedy one."""
    asked: int
    different: int
    more_probable: int
    proven: int           # answers than which no other can be more probable
    gained: int           # questions that become right
    lost: int             # and that become wrong


def beam_change(runs, row):
    change = BeamChange(0, 0, 0, 0, 0, 0)
    for run in runs:
        if row in run.rows:
            predictions = run.rows[row].predictions
            for greedy, beam, before, after in zip(run.rows[row].answers, run.rows[row].beam, predictions["dev"], predictions["beam"]):
                change.asked += 1
                change.different += before != after
                change.more_probable += before != after and beam["probability"] > greedy["probability"]
                change.proven += beam["proven"]
                change.gained += beam["correct"] > greedy["correct"]
                change.lost += beam["correct"] < greedy["correct"]
    return change


# ---- training -------------------------------------------------------------------------------------------------------

def thinned(log, points=650):
    """A log's records joined to about so many, loss averaged by the steps that a record stands for."""
    width = max(1, round(len(log) / points))
    joined, before = [], 0
    for first in range(0, len(log), width):
        part = log[first:first + width]
        steps = [record["step"] - earlier for record, earlier in zip(part, [before] + [record["step"] for record in part[:-1]])]
        before = part[-1]["step"]
        loss = sum(record["loss"] * n for record, n in zip(part, steps)) / sum(steps)
        joined.append({**part[-1], "loss": loss})
    return joined


def phases(log):
    """[(what, first step, last step)] of the learning rate: "falls", "rises" or "stays", by a log's records."""
    found = []
    for before, after in zip(log, log[1:]):
        change = after["lr"] - before["lr"]
        what = "rises" if change > 0 else "falls" if change < 0 else "stays"
        if found and found[-1][0] == what:
            found[-1] = (what, found[-1][1], after["step"])
        else:
            found.append((what, before["step"], after["step"]))
    return found


def epoch_losses(log):
    """{epoch: mean loss of its steps}, by a log's records; one that spans two epochs counts in the later."""
    sums, steps, before = Counter(), Counter(), 0
    for record in log:
        n, before = record["step"] - before, record["step"]
        sums[record["epoch"]] += n * record["loss"]
        steps[record["epoch"]] += n
    return {epoch: sums[epoch] / steps[epoch] for epoch in sums}
