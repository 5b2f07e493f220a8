"""
The figures that pages quote by name, as text: `Figures(results)["course.vanilla.dev"]` is "22.8%".

A name is GROUP.FIGURE. `python tools/report/pages.py --list` prints all names with their values.
Groups:

    DATA                     course, bundled, quick: london, best_guess, questions …
    DATA.ROW                 ROW: none (vanilla without pretraining), or a pretrained variant
    finetuning_seeds.DATA.VARIANT.SEED, first_steps.DATA.VARIANT.WAY
    benchmark.VARIANT.TASK.WAY
    corpus, kills, fuzz, benchmark, ablation.VARIANT, precisions.VARIANT: from the JSON file of
                             that name

A share S comes with S_low and S_high, its 95% interval, and S_count of S_total.
"""

import statistics
from collections import Counter
from functools import partial

import analysis
import invented
import logs
import measured
import report
from intervals import Share, accuracy_interval, ranking_interval, ranking_quality
from load import having, load_runs, rows_in
from run_tables import best_guess
from tables import REPORTED, between, percent


class Figures(dict):
    """{name: text}. A name's group is computed when it is first looked up."""

    def __init__(self, results):
        super().__init__()
        self.makers = {}  # {group: functions that make {figure: text}}
        by_data, records = load_runs(results), measured.load(results)
        for data, runs in by_data.items():
            self.add(data, partial(of_data, runs))
            for row in rows_in(runs):
                name = "none" if row == "vanilla.nopretrain" else row.removesuffix(".pretrain")
                self.add(f"{data}.{name}", *(partial(make, runs, row) for make in OF_ROW))
            tuned = report.of_runs(records, "finetuning_seeds", runs)
            for key, shares in measured.finetuned_shares(tuned, runs).items():
                name = ".".join(map(str, (data, *key)))
                self.add(f"finetuning_seeds.{name}", partial(of_finetuning, *shares))
            for one in report.of_runs(records, "first_steps", runs):
                for way in one["in_each_step"]:
                    name = f"first_steps.{data}.{one['variant']}.{way}"
                    self.add(name, partial(of_first_steps, one, way))
        for file, record in records.items():
            if file.partition(".")[0] == "benchmark":
                self.add(file, partial(of_benchmark, record))
                for row in record["rows"]:
                    name = f"{row['variant']}.{row['task']}.{row['way']}"
                    self.add(f"{file}.{name}", partial(of_measurement, record, row))
        for variant, found in measured.ablated(records.get("ablation", ())).items():
            self.add(f"ablation.{variant}", partial(of_ablation, found))
        if "ablation" in records:
            self.add("ablation", partial(of_ablations, records["ablation"]))
        for variant, found in measured.by_precision(records.get("precisions", ())).items():
            self.add(f"precisions.{variant}", partial(of_precisions, found))
        for file, parts in PARTS.items():
            if file in records:
                self.add(file, partial(counts, parts(records[file])))

    def add(self, group, *makers):
        self.makers[group] = makers

    def __missing__(self, name):
        group, _, _ = name.rpartition(".")
        for make in self.makers.get(group, ()):
            self.update({f"{group}.{figure}": text for figure, text in make().items()})
            if name in self:
                return self[name]
        raise KeyError(name)

    def all(self):
        """Itself, with all figures."""
        for group, makers in self.makers.items():
            for make in makers:
                self.update({f"{group}.{figure}": text for figure, text in make().items()})
        return self


def span(numbers, form):
    """`146–163`, or the number if they are the same."""
    low, high = (format(bound, form) for bound in (min(numbers), max(numbers)))
    return low if low == high else f"{low}–{high}"


def of_share(name, share):
    low, high = share.interval()
    return {
        name: percent(share.value),
        f"{name}_low": percent(low),
        f"{name}_high": percent(high),
        f"{name}_count": f"{share.count:,}",
        f"{name}_total": f"{share.total:,}",
    }


def bounded(name, value, interval, form="{:.2f}".format):
    """A value with its interval; nothing without one."""
    if value is None or interval is None:
        return {}
    return {name: form(value), f"{name}_low": form(interval[0]), f"{name}_high": form(interval[1])}


# ---- of runs ---------------------------------------------------------------------------------


def of_data(runs):
    facts = runs[0].facts
    found = of_share("london", Share(facts["london"]["correct"], facts["london"]["total"]))
    found |= {"questions": str(len(runs[0].questions)), "seeds": str(len(runs))}
    found["taught"] = str(facts["dev people in finetuning"])
    early = sum(question["document"] == "early" for question in runs[0].questions)
    found |= {"early": str(early), "elsewhere": str(len(runs[0].questions) - early)}
    if runs[0].invented_world:
        found["best_guess"] = percent(best_guess(runs[0]))
    return found


def of_accuracy(runs, row):
    correct = {run.seed: run.rows[row].correct() for run in having(runs, row)}
    mean, interval = accuracy_interval(list(correct.values()))
    shares = {f"seed{seed}": statistics.fmean(one) for seed, one in correct.items()}
    found = bounded("dev", mean, interval, percent)
    found["seeds"] = str(len(shares))
    found |= {seed: percent(share) for seed, share in shares.items()}
    kinds = analysis.kinds(runs, row)
    found |= {name.replace(" ", "_"): percent(share.value) for name, share in kinds.items()}
    found["wrong"] = percent(1 - mean)
    wrong = kinds["right"].total - kinds["right"].count
    found |= of_share(
        "wrong_in_finetuning", Share(kinds["in finetuning"].count, wrong, len(shares))
    )
    guessed = analysis.expected_of_guesses(runs, row)
    found |= {} if guessed is None else {"expected_of_names": percent(guessed)}
    if runs[0].data == "course" and row in REPORTED:
        found["reported"], _, copies = REPORTED[row]
        found["copies"], _, spread = copies.partition(" ")
        found["copies_range"] = spread.strip("()")
    change = analysis.beam_change(runs, row)
    beamed = [one["correct"] for run in having(runs, row) for one in run.rows[row].beam]
    found["beam"] = percent(statistics.fmean(beamed))
    return found | {f"beam_{name}": f"{count:,}" for name, count in vars(change).items()}


def of_training(runs, row):
    trainings = [run.rows[row].logs.get("pretrain") for run in having(runs, row)]
    trainings = [log for log in trainings if log]
    if not trainings:
        return {}
    log = trainings[0]
    found = {
        "pretrain_minutes": span([one[-1]["seconds"] / 60 for one in trainings], ".0f"),
        "steps": f"{log[-1]['step']:,}",
        "epochs": str(log[-1]["epoch"]),
        "loss_last": span([logs.epoch_losses(one)[-1] for one in trainings], ".3f"),
    }
    rising = [phase for phase in logs.phases(log) if phase[0] == "rises"]
    if rising:  # the plateau in the middle of training
        _, first, last = rising[0]
        found |= {"rise_first": f"{first:,}", "rise_last": f"{last:,}"}
        for name, step in (("rise_loss_first", first), ("rise_loss_last", last)):
            found[name] = f"{logs.loss_up_to(log, step):.3f}"
    return found


def of_recall(runs, row):
    """Right answers by what the data offer, and completions."""
    early = analysis.offers("early")
    among = {
        "early": early,
        "elsewhere": lambda question: not early(question),
        "shown": analysis.in_finetuning,
        "not_shown": analysis.not_in_finetuning,
    }
    shares = {name: analysis.share_right(runs, row, holds) for name, holds in among.items()}
    found = {}
    if analysis.people(runs, row):
        shares |= analysis.ladder(runs, row)
        shares["name"] = analysis.share_of(runs, row, "name")
        names = (*(f"ends_{last}" for _, last in analysis.ENDS), "shown", "not_shown")
        for name, holds in zip(names, analysis.EARLY_GROUPS.values(), strict=True):
            right, known, _ = analysis.early_shares(runs, row, holds)
            shares |= {f"document_{name}": known}
            if name.startswith("ends"):
                shares[name] = right
                read = name.replace("ends", "read")
                found[read] = percent(analysis.mean_read(runs, holds), 0)
    for name, share in shares.items():
        found |= of_share(name, share)
    return found


def of_calibration(runs, row):
    pairs = analysis.pooled(runs, row)
    above = [correct for probability, correct in pairs if probability > 0.5]
    found = {
        "mean_probability": percent(statistics.fmean(probability for probability, _ in pairs)),
        "ece": percent(analysis.calibration_error(pairs)),
        "ece_by_chance": percent(analysis.calibration_error_by_chance(pairs)),
    }
    found |= of_share("above_half", Share(sum(above), len(above), len(having(runs, row))))
    found["wrong_above_half"] = percent(1 - statistics.fmean(above)) if above else "–"
    interval = ranking_interval(analysis.by_question(runs, row))
    found |= bounded("auroc", ranking_quality(pairs), interval)
    for coverage in (0.05, 0.2):
        point = analysis.at_coverage(pairs, coverage)
        if point:
            count = round(point[0] * len(pairs))
            share = Share(round(point[1] * count), count, len(having(runs, row)))
            found |= of_share(f"surest{100 * coverage:.0f}", share)
    point = analysis.at_accuracy(pairs, 0.9)
    found["coverage90"] = percent(point[0]) if point else "none"
    return found


def of_invented(runs, row):
    found, same = invented.guessing(runs, row), invented.same_name(runs, row)
    if found is None:
        return {}
    figures = {
        "invented": f"{len(invented.by_person(runs, row)):,}",
        "invented_different": str(len(found.shares)),
        "invented_median": f"{found.median_probability:.3f}",
    }
    for correct, name in ((1, "apart_right"), (0, "apart_wrong")):
        found_apart = invented.told_apart(runs, row, correct) or (None, None)
        figures |= bounded(name, *found_apart)
        figures |= bounded(f"{name}_percent", *found_apart, partial(percent, digits=0))
    if same:
        figures["same_name"] = percent(same.same.value)
        figures["same_name_by_chance"] = percent(same.by_chance)
        figures["same_name_most"] = percent(same.most_by_chance)
    for name, (mean, interval) in found.expected.items():
        figures |= bounded(f"expected_{name}", mean, interval, percent)
    if found.best is not None:
        figures["expected_best"] = percent(found.best)
    return figures


OF_ROW = (of_accuracy, of_training, of_recall, of_calibration, of_invented)


# ---- of the JSON files -----------------------------------------------------------------------


def of_finetuning(own, others):
    shares = others if own is None else [own, *others]
    return {"lowest": percent(min(shares)), "highest": percent(max(shares))}


def of_first_steps(one, way):
    """leap: the step with the largest difference of the losses, if each goes its own way."""
    same, own = one["in_each_step"][way], one["each_on_its_way"]
    off = [abs(a - b) for a, b in zip(own["baseline"], own[way], strict=True)]
    leap = off.index(max(off))
    return {
        "loss": f"{max(same['losses']):.1g}",
        "gradient": f"{max(same['gradients']):.1g}",
        "gradient_median": f"{statistics.median(same['gradients']):.1g}",
        "leap": str(leap + 1),
        "before_leap": f"{max(off[:leap], default=0):.1g}",
        "leap_here": f"{own[way][leap]:.2f}",
        "leap_baseline": f"{own['baseline'][leap]:.2f}",
    }


def of_benchmark(record):
    different = record["different_answers"]
    answers = str(sum(different.values()))
    return {"different_answers": answers, "questions": str(record.get("questions", 0))}


def of_ablation(found):
    means = {name: statistics.fmean(shares.values()) for name, shares in found.items()}
    return {name.replace(" ", "_"): percent(mean) for name, mean in means.items()}


def of_ablations(records):
    return {"epochs": str(records[0]["epochs"])}


def of_precisions(pairs):
    """The ranges over seeds of what was trained in each precision."""
    ranges = (between((min(shares), max(shares))) for shares in zip(*pairs, strict=True))
    names = ("float32_range", "bfloat16_range")
    return {"seeds": str(len(pairs)), **dict(zip(names, ranges, strict=True))}


def of_measurement(record, row):
    return {
        "seconds": f"{statistics.median(measured.seconds_of(row)):.3g}",
        "ratio": f"{measured.ratio(record, row):.1f}×",
    }


PARTS = {"kills": list, "fuzz": dict.values, "corpus": lambda record: [record]}


def counts(parts):
    """The numbers of several dicts, added up; shares in percent."""
    found = Counter()
    for part in parts:
        found.update({name: x for name, x in part.items() if isinstance(x, (int, float))})
    return {
        name: percent(number) if isinstance(number, float) and number < 1 else f"{number:,}"
        for name, number in found.items()
    }
