"""
The tables about the JSON files in results/: benchmark, first steps, finetuning seeds, ablation,
precisions, kills, fuzz, and the corpus. results/README.md explains them.
"""

import json
import statistics

from intervals import mean_of_seeds
from load import having
from tables import between, label_of, name_of, percent, table


def load(results):
    """{name: the content of results/name.json}. Raises ValueError for a damaged file."""
    found = {}
    for path in sorted(results.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
    return found


def with_machines(records, make):
    """The table that make() makes of the records, and below it their machines and commits."""
    commits = {}
    for one in records:
        commits.setdefault(one["hardware"], {})[one["commit"]] = None
    found = "; ".join(f"{where} ({', '.join(map(str, of))})" for where, of in commits.items())
    text = make()
    return text and f"{text}\n\nMachine, with the code's commits: {found}."


# ---- finetuning seeds, first steps -----------------------------------------------------------


def finetuned_shares(records, runs):
    """
    {(variant, seed of pretraining): (the accuracy of the run itself, None if it is not kept; those
    with other seeds of finetuning)}; runs: those of the same data.
    """
    found = {}
    for one in records:
        variant, seed = key = one["variant"], one["pretraining_seed"]
        if key not in found:
            row = f"{variant}.pretrain"
            own = [run.rows[row].correct() for run in having(runs, row) if run.seed == seed]
            found[key] = statistics.fmean(own[0]) if own else None, []
        found[key][1].append(one["correct"] / one["total"])
    return found


def finetuning_seeds(records, runs):
    """The same pretrained models, finetuned with other seeds."""
    lines = []
    for (variant, seed), (own, others) in finetuned_shares(records, runs).items():
        shares = others if own is None else [own, *others]
        deviation = f"{100 * statistics.stdev(shares):.1f} points" if len(shares) > 1 else "–"
        cells = [label_of(f"{variant}.pretrain"), seed, percent(own)]
        cells += [", ".join(map(percent, others)), percent(statistics.fmean(shares)), deviation]
        lines.append(cells)
    head = ["the same pretrained model", "pretraining seed", "dev accuracy of that run"]
    head += ["finetuned with other seeds", "mean of all", "standard deviation"]
    return table(head, *lines) if lines else ""


WAYS = {"baseline": "baseline", "baseline, off": "baseline, parameters changed by 1e-7"}


def first_steps(records):
    """Losses and gradients without dropout against the baseline's."""
    lines = []
    for one in records:
        losses = one["each_on_its_way"]
        for way in losses:
            if way == "baseline":
                continue
            same, cells = one["in_each_step"].get(way), ["–"] * 3
            if same:
                gradients = same["gradients"]
                found = (max(same["losses"]), statistics.median(gradients), max(gradients))
                cells = [f"{figure:.1g}" for figure in found]
            off = [abs(a - b) for a, b in zip(losses["baseline"], losses[way], strict=True)]
            cells += [f"{max(off[:steps]):.1g}" for steps in (5, 10, len(off))]
            lines.append([one["variant"], WAYS.get(way, f"this code, {way}"), *cells])
    head = ["", "", "each step: loss, largest", "gradient, median", "gradient, largest"]
    head += ["continued: loss, first 5 steps", "first 10", "all"]
    return table(head, *lines) if lines else ""


def first_losses(records):
    """Mean training losses of the first steps with dropout."""
    runs = [losses for one in records for way in one["own_numbers"].values() for losses in way]
    spans = ((1, 10), (11, 50), (51, 100))
    spans = [span for span in spans if all(span[1] <= len(losses) for losses in runs)]
    lines = []
    for one in records:
        for way, found in one["own_numbers"].items():
            cells = []
            for first, last in spans:
                means = [statistics.fmean(losses[first - 1 : last]) for losses in found]
                spread = f" ({min(means):.3f}–{max(means):.3f})" if len(means) > 1 else ""
                cells.append(f"{statistics.fmean(means):.3f}{spread}")
            lines.append([one["variant"], WAYS.get(way, "this code"), len(found), *cells])
    head = ["training loss", "", "seeds", *(f"steps {first}–{last}" for first, last in spans)]
    return table(head, *lines) if lines else ""


# ---- ablation of the recipe recall -----------------------------------------------------------

WITHOUT = {
    "nothing": "nothing: the whole recipe",
    "finetuning": "gentle finetuning (4): the course's, 10 epochs at 6e-4",
    "heading": "ten characters (1): a document begins at position 1",
    "short rows": "short rows (1): the document stands before each span",
    "salient spans": "salient spans (1): the course's span corruption",
    "no dropout": "training without dropout (3): 0.1, the course's",
    "Muon": "Muon (2): AdamW, as the course's",
    "everything": "everything: the course's recipe; its learning rate falls once",
}


def ablated(records):
    """{variant: {what was left out: {seed: accuracy}}}, of the first record's data and length."""
    found = {}
    for one in records:
        if all(one[name] == records[0][name] for name in ("data", "epochs")):
            of_variant = found.setdefault(one["variant"], {})
            shares = of_variant.setdefault(one["without"], {})
            shares[one["seed"]] = one["correct"] / one["total"]
    return found


def mean_and_range(shares):
    """`50.0% (25.0–75.0%)`; of a single one `50.0%`."""
    if len(shares) == 1:
        return percent(*shares)
    return f"{percent(statistics.fmean(shares))} ({between((min(shares), max(shares)))})"


def mean_in_points(differences):
    """`2.0 (-3.0 to 7.0)`: the mean over seeds and its interval, if there are several."""
    if len(differences) == 1:
        return f"{100 * differences[0]:.1f}"
    mean, (low, high) = mean_of_seeds(differences)
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def ablation(found):
    """
    Accuracy without each ingredient, and how much lower it is with the same seeds; found: of a
    variant in ablated().
    """
    lines = []
    for name, shares in found.items():
        whole = found.get("nothing", {})
        lost = [whole[seed] - shares[seed] for seed in shares.keys() & whole.keys()]
        text = "–" if name == "nothing" or not lost else mean_in_points(lost)
        lines.append([WITHOUT[name], mean_and_range(shares.values()), len(shares), text])
    head = ["without", "dev accuracy, mean and range", "seeds"]
    return table([*head, "points lost (95% interval over seeds)"], *lines)


def by_precision(records):
    """{variant: [(accuracy in float32, in bfloat16)]}, of seeds with both; two at least."""
    shares, found = {}, {}
    for one in records:
        of_seed = shares.setdefault((one["variant"], one["seed"]), {})
        of_seed[one["precision"]] = one["correct"] / one["total"]
    for (variant, _), of_seed in shares.items():
        if len(of_seed) == 2:
            found.setdefault(variant, []).append((of_seed["float32"], of_seed["bfloat16"]))
    return {variant: pairs for variant, pairs in found.items() if len(pairs) > 1}


def precisions(records):
    """Accuracies by the precision of training."""
    lines = []
    for variant, pairs in by_precision(records).items():
        cells = [variant, len(pairs), *map(mean_and_range, zip(*pairs, strict=True))]
        lines.append([*cells, mean_in_points([more - less for more, less in pairs])])
    head = ["dev accuracy, mean and range", "seeds", "trained in float32", "in bfloat16"]
    return table([*head, "float32 is higher by, points (95% interval over seeds)"], *lines)


# ---- speed -----------------------------------------------------------------------------------


def seconds_of(row):
    """The seconds of an epoch, or of an evaluation, in each round."""
    return [one["unit"] * row["steps"] for one in row["rounds"]]


def ratio(benchmark, row):
    """The speed-up over the baseline in the same round, the median over rounds."""
    key = (row["variant"], row["task"], "baseline")
    slow = next(
        one for one in benchmark["rows"] if (one["variant"], one["task"], one["way"]) == key
    )
    pairs = zip(seconds_of(slow), seconds_of(row), strict=True)
    return statistics.median(before / after for before, after in pairs)


def utilisation(benchmark, row):
    """Model FLOPs utilisation: matmuls with weights (6 FLOPs a weight and token) over the peak."""
    dtype = "float32" if row["way"] == "baseline" else row["way"]
    peak = max(peaks[dtype] for peaks in benchmark["matrix_peak"])
    flops = 6 * row["weights"] * row["tokens"] * row["steps"]
    return flops / statistics.median(seconds_of(row)) / peak


def speed(benchmark):
    tasks = {"pretrain": "pretraining epoch", "finetune": "finetuning epoch"}
    tasks["evaluate"] = f"evaluating {benchmark.get('questions')} names"
    lines = []
    for row in benchmark["rows"]:
        seconds = seconds_of(row)
        middle = statistics.median(seconds)
        spread = f" ({min(seconds):.3g}–{max(seconds):.3g})" if len(seconds) > 1 else ""
        cells = [f"{middle:.3g}{spread}", f"{ratio(benchmark, row):.1f}×", "–", "–"]
        if row["tokens"]:
            cells[2] = f"{row['tokens'] * row['steps'] / middle:,.0f}"
            cells[3] = f"{utilisation(benchmark, row):.0%}"
        whole, first, memory = (
            statistics.median(one[key] for one in row["rounds"])
            for key in ("whole", "first", "memory")
        )
        cells += [f"{whole:.1f}", "–" if row["task"] == "evaluate" else f"{first:.1f}"]
        cells.append(f"{memory / 2**20:,.0f}")
        lines.append([f"{row['variant']}, {tasks[row['task']]}", row["way"], *cells])
    head = ["", "", "seconds", "speed-up", "tokens/s", "MFU", "whole command, s"]
    return table([*head, "first step after, s", "memory, MB"], *lines)


def profile(benchmark):
    lines = []
    for row in benchmark["rows"]:
        if "profile" in row:
            shares = [*row["profile"].values(), 1 - sum(row["profile"].values())]
            limits = row["profile"]["matmuls"], utilisation(benchmark, row)
            cells = [f"{share:.0%}" for share in shares]
            cells += [f"{ratio(benchmark, row) / limit:.1f}×" for limit in limits]
            lines.append([f"{row['variant']}, {row['way']}", *cells])
            kinds = row["profile"]
    if not lines:
        return ""
    head = ["a pretraining step", *kinds, "rest (random bits, Python)"]
    return table([*head, "speed-up by matmuls alone", "speed-up at 100% MFU"], *lines)


def speed_elsewhere(benchmarks):
    """The speed-ups of several benchmarks side by side."""
    columns = [{"matmul peak": peak_of(benchmark)} for benchmark in benchmarks]
    for benchmark, column in zip(benchmarks, columns, strict=True):
        for row in benchmark["rows"]:
            if row["way"] != "baseline":
                name = f"{row['variant']}, {row['task']}, {row['way']}"
                column[name] = f"{ratio(benchmark, row):.1f}×"
    names = dict.fromkeys(name for column in columns for name in column)
    lines = ([name, *(column.get(name, "–") for column in columns)] for name in names)
    return table(["speed-up", *(benchmark["hardware"] for benchmark in benchmarks)], *lines)


def peak_of(benchmark):
    """What the processor reaches in a matmul of two 2048 × 2048 matrices."""
    rounds = benchmark["matrix_peak"]
    best = {dtype: max(peaks[dtype] for peaks in rounds) / 1e9 for dtype in rounds[0]}
    return ", ".join(f"{peak:.0f} GFLOP/s in {dtype}" for dtype, peak in best.items())


def measured_on(benchmark):
    """The machine, its matmul peak, versions, data and rounds, in a line."""
    versions = ", ".join(map(" ".join, benchmark["versions"].items()))
    commits = ", ".join(dict.fromkeys(row["commit"] for row in benchmark["rows"]))
    rounds = " or ".join(sorted({str(len(row["rounds"])) for row in benchmark["rows"]}))
    return (
        f"Machine: {benchmark['hardware']}, {peak_of(benchmark)}; {versions}. "
        f"Commits: {commits}. Data: {name_of(benchmark['data'])}. Rounds: {rounds}, with median "
        "and range."
    )


# ---- resuming and safety, the corpus ---------------------------------------------------------


def kills(records):
    keys = ("kills", "while_writing", "differences", "bytes_lost")
    lines = [
        [
            f"{one['function']}, {one['variant']}, recipe {one['recipe']}, {one['epochs']} epochs",
            *(one[key] for key in keys),
        ]
        for one in records
    ]
    head = ["a training killed at random", "SIGKILLs", "of these, while writing a file"]
    return table([*head, "differences at the end", "bytes lost"], *lines)


READERS = {
    "corpus": "pretraining corpus",
    "finetuning": "finetuning corpus",
    "evaluation": "questions",
    "places": "answers to score",
    "parameters": "parameter files",
    "command": "command lines",
}


def fuzz(record):
    lines = []
    for name, one in record.items():
        rest = one["inputs"] - one["succeeded"] - one["refused"]
        counts = (one["inputs"], one["succeeded"], one["refused"], one["kinds"], rest)
        lines.append([READERS.get(name, name), *(f"{count:,}" for count in counts)])
    head = ["generated inputs", "inputs", "accepted", "refused in one line"]
    return table([*head, "different lines", "anything else"], *lines)


def corpus(record):
    train, dev, test = (record[split] for split in ("train", "dev", "test"))
    top = ", ".join(f"{place} {count}" for place, count in record["places_top"][:5])
    lengths = (record[f"length_{kind}"] for kind in ("mean", "median", "shortest", "longest"))
    read = next(key for key in record if key.startswith("place_in_first_"))
    within = f"… within its first {read.rpartition('_')[2]} characters"
    return table(
        ["the bundled corpus", ""],
        ["documents, one per person and line", f"{record['documents']:,}"],
        ["characters", f"{record['characters']:,}"],
        ["different characters", record["unique_characters"]],
        [
            "length of a document: mean / median / shortest / longest",
            " / ".join(f"{length:g}" for length in lengths),
        ],
        [
            "people in train / dev / test",
            f"{train['people']:,} / {dev['people']} / {test['people']}",
        ],
        ["different places", record["places"]],
        ["most frequent places", top],
        ["birthplace stated in the document", percent(record["place_stated"])],
        [within, percent(record[read])],
        ["names with letters outside ASCII", percent(record["names_not_ascii"])],
        ["name cultures", record["cultures"]],
        ["sentence patterns", record["sentence_patterns"]],
        *(
            [f"{what}, train / dev", f"{percent(train[key])} / {percent(dev[key])}"]
            for what, key in (
                ("answering London", "london"),
                ("best guess from the name alone", "best_guess_expected"),
            )
        ),
    )
