"""
The report of what was measured: RESULTS.md and plots, from kept records (tools/record.py) and from nothing else.

    python tools/report.py                                of all runs in results/, into RESULTS.md and results/plots/
    python tools/report.py --records DIR --to RUN_DIR     of one run, as run_all.sh does at its end: RUN_DIR/RESULTS.md and RUN_DIR/plots/

The plots need matplotlib (requirements-dev.txt); without it the page is made without them.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

import analysis
from analysis import Share
from brief import in_brief
from knowledge import knowledge_section, lateness
from part3 import essay
from pieces import LABELS, ORDER, REPORTED, between, having, heading, name_of, number, percent, prose, rows_in, shown, table

ROOT = Path(__file__).resolve().parent.parent

REPORTED_BY = prose("""
    The last three columns were not measured here. They are what others report of this recipe on these files: two public write-ups of
    the assignment, and public copies of it, of which median and range are given. They are not the handout's, which asks for at least 10% of
    the pretrained vanilla model and, on the test questions, at least 5% of the synthesizer.""")

# ---- the table ------------------------------------------------------------------------------------------------------

def results_table(runs, reported=True):
    """Each row's dev accuracy over the seeds, beside what was reported for the course's files."""
    rows = []
    for row in REPORTED:
        said = REPORTED[row] if reported else ()
        if row == "london":
            london = Share(runs[0].facts["london"]["correct"], runs[0].facts["london"]["total"])
            rows.append([LABELS[row], percent(london.value), "–", "–", between(london.interval()), *said])
        elif not having(runs, row):
            rows.append([LABELS[row], "not run yet", "0", "–", "–", *said])
        else:
            correct = [run.rows[row].correct() for run in having(runs, row)]
            mean, interval = analysis.accuracy_interval(correct)
            shares = [statistics.fmean(one) for one in correct]
            spread = f"{100 * min(shares):.1f}–{percent(max(shares))}" if len(shares) > 1 else "–"
            rows.append([LABELS[row], percent(mean), len(correct), spread, between(interval), *said])
    if runs[0].invented_world:
        best = statistics.fmean(question["best_guess_probability"] for question in runs[0].questions)
        rows.append([LABELS["name_only"], f"{percent(best)}, expected", "–", "–", "–", *["–"] * (len(said))])
    head = ["dev accuracy", "measured, mean", "seeds", "lowest–highest seed", "95% interval"]
    if reported:
        head += ["reported: a write-up of all four rows", "another write-up", "public copies, median (range)"]
    return table(head, *rows)


def machines(runs):
    """`AMD EPYC, 2 cores (training in bfloat16; torch 2.13.0)`, and others if there were."""
    return "; ".join(dict.fromkeys(
        f"{machine['hardware']} (training in {machine['precision']}; torch {machine['versions']['torch']})"
        for run in runs for row in run.rows for machine in run.machines(row)))


def finetuning_seeds_section(records, by_data):
    """What tools/finetuning_seeds.py has found: the same pretrained models, finetuned with other seeds; nothing without records."""
    lines = []
    for one in records:
        row, runs = f"{one['variant']}.pretrain", by_data.get(one["data"], [])
        first = [run.facts["rows"][row]["dev"] for run in having(runs, row) if run.facts["seed"] == one["pretraining_seed"]]
        correct = [*(dev["correct"] for dev in first), *one["correct"]]
        shares = [count / one["total"] for count in correct]
        lines.append([name_of(one["data"]), LABELS[row], one["pretraining_seed"], percent(shares[0]) if first else "–",
                      ", ".join(percent(share) for share in shares[len(first):]), percent(statistics.fmean(shares)),
                      f"{100 * statistics.stdev(shares):.1f} points" if len(shares) > 1 else "–"])
    return [] if not lines else [prose("""
        The same pretrained models, finetuned anew with other seeds (`tools/finetuning_seeds.py`): so much an accuracy varies with the seed
        of finetuning alone."""), "", table(["data", "", "seed of pretraining", "dev accuracy of that run", "finetuned with other seeds",
                                                 "mean of all", "standard deviation"], *lines), ""]


def results_section(by_data, finetuning_seeds=()):
    parts = ["## The numbers", ""]
    for data, runs in by_data.items():
        recipe = runs[0].facts["recipe"]
        parts += [heading(data), "", f"Recipe `{recipe}`, {len(runs[0].questions)} questions. Machine: {machines(runs)}.", "",
                  *([REPORTED_BY, ""] if data == "course" else []), results_table(runs, data == "course"), ""]
    return parts + [prose("""
        An interval says where the accuracy would lie with other questions of the same kind and, where there are several seeds, other seeds.
        It is Wilson's interval with an effective number of questions, since the answers of several seeds to one question are not
        independent (`tools/analysis.py`, `accuracy_interval`), and wider by Student's t where there are few seeds. With one seed it does
        not include how seeds differ: public copies of the assignment differ by 4 to 5 points (standard deviation) with the same recipe."""), "",
        *finetuning_seeds_section(finetuning_seeds, by_data)]


# ---- training -------------------------------------------------------------------------------------------------------

def training_section(by_data, plots):
    parts = ["## The training", "",
             prose("""The first table has a line for each run. Losses are training losses, in nats per predicted character,
             each a mean over steps: the first ten of pretraining; those of the epoch that is a quarter, half, three quarters or all
             of the way through it; and the last of finetuning, ten at the most."""), ""]
    for data, runs in by_data.items():
        rows = [row for row in rows_in(runs) if any("pretrain" in run.rows[row].logs for run in having(runs, row))]
        if not rows:
            continue
        parts += [heading(data), "", *plots(data, "training",
                  "Two panels over the steps of pretraining: above the training loss in nats a character, below the learning rate.")]
        lines = []
        for row in rows:
            for run in having(runs, row):
                log, tuned = run.rows[row].logs["pretrain"], run.rows[row].logs["finetune"]
                losses = list(analysis.epoch_losses(log).values())  # of the epochs that a record ends in; all, if they have ten steps
                quarter = [losses[max(1, round(len(losses) * share)) - 1] for share in (0.25, 0.5, 0.75, 1)]
                lines.append([LABELS[row], run.facts["seed"], log[-1]["epoch"], f"{log[-1]['step']:,}", f"{log[0]['loss']:.2f}",
                              *(f"{loss:.3f}" for loss in quarter), f"{tuned[-1]['loss']:.3f}", f"{log[-1]['seconds'] / 60:.1f}"])
        parts += [table(["training loss", "seed", "epochs of pretraining", "steps of pretraining", "loss in its first ten steps",
                         "loss in the epoch at a quarter", "loss at half", "loss at three quarters", "loss in the last epoch",
                         "loss at the end of finetuning", "minutes of pretraining"], *lines), ""]
        parts += schedule([run.rows[row] for row in rows for run in having(runs, row)][0].logs["pretrain"])
    return parts


def schedule(log):
    """What the learning rate does and what the loss did meanwhile, by a log. Nothing of a log that shows no course."""
    phases = analysis.phases(log)
    if not phases:
        return []
    at = {record["step"]: record for record in log}
    steps, losses = [record["step"] for record in log], [record["loss"] for record in log]

    def loss_around(step):
        """The mean of the ten records up to it, or of as many as there are; at the beginning, of the first alone."""
        place = steps.index(step)
        return statistics.fmean(losses[max(0, place - 9):place + 1])

    lines = [[what, f"{first:,}–{last:,}", f"{at[first]['epoch']}–{at[last]['epoch']}",
              f"{at[first]['lr']:.2e} → {at[last]['lr']:.2e}", f"{loss_around(first):.3f} → {loss_around(last):.3f}"]
             for what, first, last in phases]
    text = "The learning rate follows a cosine, counted by target positions, and is never less than a tenth of its peak."
    if any(what == "rises" for what, *_ in phases):
        text += " " + prose("""
            The course's code does not stop the clock at the bottom of the cosine, so that in a run that is longer than the schedule the
            rate comes up again, to the peak, and falls once more.""")
    for what, first, last in phases:
        if what == "rises" and last - first > steps[-1] / 10 and abs(loss_around(last) / loss_around(first) - 1) < 0.1:
            top = max((step for step in steps if first <= step <= last), key=loss_around)
            text += " " + prose(f"""
                From step {first:,} to {last:,}, while the rate rises, the loss goes from {loss_around(first):.3f} to
                {loss_around(last):.3f}, at the most {loss_around(top):.3f} at step {top:,}: the plateau in the middle of training that the
                handout warns of.""")
    text += " The loss here is the training loss, the mean of the hundred steps up to that one, of the first run above."
    return [text, "", table(["what the learning rate does", "steps", "epochs", "learning rate, from → to", "loss, from → to"], *lines), ""]


def first_steps_section(records):
    """What tests/first_steps.py has found: the first steps, here and the plain way; nothing if there is no record of it."""
    if not records:
        return []
    spans = [(first, last) for first, last in ((1, 10), (11, 50), (51, 100))
             if all(last <= len(losses) for one in records for runs in one["own_numbers"].values() for losses in runs)]
    each, own = [], []
    for one in records:
        name, ways = f"{one['variant']}, {name_of(one['data'])}", one["each_on_its_way"]
        off = {way: [abs(a - b) for a, b in zip(ways["plain"], losses)] for way, losses in ways.items()}
        for way in [way for way in ways if way != "plain"]:
            here = one["in_each_step"].get(way)
            same = "–––" if here is None else [f"{figure:.1g}" for figure in (max(here["losses"]), statistics.median(here["gradients"]),
                                                                              max(here["gradients"]))]
            each.append([name, {"plain, off": "the plain way, from parameters 1e-7 off"}.get(way, f"here, {way}"), *same,
                         *(f"{max(off[way][:steps]):.1g}" for steps in (5, 10, len(off[way])))])
        for way, runs in one["own_numbers"].items():
            means = [[statistics.fmean(losses[first - 1:last]) for losses in runs] for first, last in spans]
            own.append([name, {"plain": "the plain way", "fast": "here"}[way], len(runs),
                        *(f"{statistics.fmean(of_runs):.3f}" + (f" ({min(of_runs):.3f}–{max(of_runs):.3f})" if len(runs) > 1 else "")
                          for of_runs in means)])
    steps = len(records[0]["each_on_its_way"]["plain"])
    return ["### The first steps, held against the plain way", "", prose(f"""
        Could a difference from the reported accuracies come from an error in this code? `tests/first_steps.py` trains the first steps of
        pretraining twice: *here*, by this code, and *the plain way*, by a slow, independent implementation of what the course does
        (`tests/plain.py`: float32, all rows padded, nothing left out). First {steps} steps without dropout, from the same initial
        parameters and on the same batches, where only rounding may differ. *In each step*: both start from the plain way's parameters there; the
        largest difference of their losses, and the length of their gradients' difference as a share of the gradient's length, median and
        largest (large where rounding is magnified, as when the loss leaps). *On its own way*: each goes on with its own parameters; the
        largest difference of their losses. For comparison, the plain way once more, its initial parameters changed by 1e-7."""), "",
        table(["", "", "in each step: loss", "gradient, median", "gradient, largest", "on its own way: loss in the first five",
               "in the first ten", f"in all {steps}"], *each), "",
        *what_first_steps_say(records), "",
        "Then with dropout, each with its own initial parameters, corruption and dropout: the mean training loss, and that of the lowest "
        "and the highest seed.", "",
        table(["training loss", "", "seeds", *(f"steps {first}–{last}" for first, last in spans)], *own), ""]


def what_first_steps_say(records):
    """One paragraph: how close float32 is in each step, and where a way leaves the other at a leap of the loss."""
    exact = [one["in_each_step"]["float32"] for one in records if "float32" in one["in_each_step"]]
    if not exact:
        return []
    text = f"""In float32, from the same parameters, losses agree to {max(max(one['losses']) for one in exact):.1g} and gradients to
        {max(max(one['gradients']) for one in exact):.1g} of their length."""
    for one in (one for one in records if "float32" in one["each_on_its_way"]):
        plain, here = (one["each_on_its_way"][way] for way in ("plain", "float32"))
        off = [abs(a - b) for a, b in zip(plain, here)]
        step = off.index(max(off))
        if off[step] > 0.1 and step and max(plain[step], here[step]) - here[step - 1] > 0.1:
            text += f""" Left to itself, {one['variant']} differs by at most {max(off[:step]):.1g} up to step {step}. In step {step + 1} the
                loss leaps, here to {here[step]:.2f}, the plain way's to {plain[step]:.2f}: in such a step rounding is magnified."""
            text += f" In the next it differs by {off[step + 1]:.1g}." if step + 1 < len(off) else ""
    return ["", prose(text)]


# ---- recall or guess ------------------------------------------------------------------------------------------------

def recall_section(by_data, plots):
    parts = ["## Recall or guess?", "",
             prose("""When a model answers, did it read the place in pretraining, or does it make up what would suit such a name? A single
             answer does not tell. These comparisons do. Pretraining never reads beyond character 112 of a document: a place that stands
             within the first 112 characters could be read early, another could not be read."""), ""]
    for data, runs in by_data.items():
        rows = rows_in(runs)
        seeds = {row: len(having(runs, row)) for row in rows}
        parts += [heading(data), "",
                  *plots(data, "recall", "Bars of dev accuracy in percent for each row of the table, by what the corpus offered.")]
        lines = [[name, *(f"{share.count} of {share.total}: {percent(share.value)}" for share in (shares[row] for row in rows))]
                 for name, shares in analysis.splits(runs)]
        parts += [table(["right answers, by what the data offered", *(f"{LABELS[row]} ({number(seeds[row], 'seed')})" for row in rows)],
                        *lines), ""]
        parts += [*invented_table(runs, rows), *kinds_table(runs, rows)]
    return parts + [prose("""
        A place is *in the document* if its words stand there, as the birth place or otherwise. Pretraining cuts every document off after
        4 to 112 characters, at random each time, so that what stands early is read more often than what stands late, and what ends after
        character 112 is never read whole."""), "", *lateness(by_data), *knowledge_section(by_data, plots)]


def invented_table(runs, rows):
    lines = []
    for row in rows:
        found, same = analysis.guessing(runs, row), analysis.same_name(runs, row)
        if found is None:
            continue
        cells = [LABELS[row], f"{found.asked:,}", *(percent(found.shares.get(city, 0)) for city in ("London", "Paris")),
                 ", ".join(f"{shown(place)} {percent(share, 0)}" for place, share in list(found.shares.items())[:5]), len(found.shares),
                 f"{found.median_probability:.3f}", percent(found.above_half),
                 *("–" if apart is None else f"{apart[0]:.2f} ({apart[1][0]:.2f}–{apart[1][1]:.2f})"
                   for apart in (analysis.told_apart(runs, row, correct) for correct in (1, 0))),
                 "–" if same is None else f"{percent(same.same.value)} of {same.same.total:,} pairs; by chance {percent(same.by_chance)}, "
                                          f"at most {percent(same.most_by_chance)}"]
        if found.expected is not None:
            cells += [f"{percent(found.expected)} ({between(found.expected_interval)})",
                      f"{percent(found.shuffled)} ({between(found.shuffled_interval)})", percent(found.best)]
        lines.append(cells)
    if not lines:
        return []
    head = ["asked about invented people", "questions", "answering London", "answering Paris", "the five most frequent answers",
            "different answers", "median of the answers' probabilities", "answers with a probability above ½",
            "right dev answers more probable (AUROC)", "wrong dev answers more probable (AUROC)", "same first name, same answer"]
    if runs[0].invented_world:
        head += ["right, expected", "right, expected, if shuffled", "right, expected, of the best guess from the name"]
    note = prose("""
        No document has any of these names. *More probable*: how often a right, or a wrong, answer about somebody whose place stands
        within the first 112 characters has a higher probability than an answer about an invented person; ½ is no difference, 1 a perfect
        one. In the row without pretraining, which has read no document, any departure from ½ comes from the names and from which answers
        happen to be right. *Same first name*: how often two invented people of whom that holds get the same answer, and how often answers
        that are dealt out among all of them at random agree so, on the mean and at most in 2,000 deals. In brackets 95% intervals, by the
        bootstrap over people (`tools/analysis.py`, `mean_interval`, `higher_interval`); they do not include how seeds differ.""")
    if runs[0].invented_world:
        note += " " + prose("""
            *Right, expected*: the probability, by the rules that the world was drawn from, that somebody of such a name was born in the
            place answered; *shuffled*: the same after the answers are exchanged among these people. Where the first exceeds the second, the
            answers depend on the name.""")
    else:
        note += " The names are drawn from the name cultures of `tools/make_corpus.py` and need not look like those of this corpus."
    return [table(head, *lines), "", note, ""]


def kinds_table(runs, rows):
    words = {"right": "right", "in the document": "wrong, but in the person's own document",
             "in finetuning": "wrong, and the answer of a finetuning example", "in the corpus": "wrong, and somewhere else in the corpus",
             "nowhere": "wrong, and nowhere in the corpus", "empty": "nothing"}
    shares = {row: analysis.kinds(runs, row) for row in rows}
    lines = [[words[kind], *(percent(shares[row][kind].value) for row in rows)] for kind in analysis.KINDS]
    if runs[0].invented_world:
        lines.append(["right, expected if only names were known", *(percent(analysis.expected_of_guesses(runs, row)) for row in rows)])
    return [table(["what the dev answers are", *(LABELS[row] for row in rows)], *lines), ""]


# ---- how far an answer can be believed ------------------------------------------------------------------------------

COVERAGES = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def belief_section(by_data, plots):
    parts = ["## How far an answer can be believed", "",
             prose("""The probability of an answer is the product over its characters and the ⁇ that closes it, as `evaluate --scores_path
             FILE.tsv` writes it. A model that may decline answers only where it is above a threshold."""), "",
             prose("""*Answering 5%* in the tables: accuracy on the 5% of the questions whose answers have the highest probabilities
             (coverage 5%); in brackets the threshold, the lowest of these probabilities. It is read off the same dev questions that
             are judged by it, so that on others a little less is to be expected. *Right above wrong*: how often a right answer has a
             higher probability than a wrong one (the area under the ROC curve; ½ is chance), with its 95% interval by drawing the questions
             anew, unless fewer than ten answers are right. *Calibration error* (ECE): the mean difference between
             accuracy and mean probability over ten bins of as many answers each. With so few answers even a perfectly calibrated model
             would not have 0; the next column gives what it would have."""), ""]
    for data, runs in by_data.items():
        lines = []
        for row in rows_in(runs):
            pairs = analysis.pooled(runs, row)
            points = [analysis.at_coverage(analysis.coverage_curve(pairs), coverage) for coverage in COVERAGES]
            quality, bounds = analysis.ranking_quality(pairs), analysis.ranking_interval(analysis.by_question(runs, row))
            quality = "–" if quality is None else f"{quality:.2f} ({'–' if bounds is None else f'{bounds[0]:.2f}–{bounds[1]:.2f}'})"
            lines.append([LABELS[row], *(f"{percent(point[1])} of {round(point[0] * len(pairs))} (≥ {point[2]:.2f})" if point else "–"
                                         for point in points),
                          quality, percent(analysis.calibration_error(pairs)),
                          percent(analysis.calibration_error_by_chance(pairs)), percent(statistics.fmean(p for p, _ in pairs))])
        parts += [heading(data), "",
                  *plots(data, "belief", "Left: share of right answers over their mean probability, ten bins, with the diagonal of perfect "
                                         "calibration. Right: accuracy over coverage."),
                  table(["right, of the questions answered", *(f"answering {percent(c, 0)}" for c in COVERAGES),
                         "right above wrong (AUROC)", "calibration error", "the same, if perfectly calibrated",
                         "mean probability of all answers"], *lines), ""]
    return parts


def beam_section(by_data):
    lines = []
    for data, runs in by_data.items():
        for row in rows_in(runs):
            change = analysis.beam_change(runs, row)
            before = statistics.fmean(answer["correct"] for run in having(runs, row) for answer in run.rows[row].answers)
            after = statistics.fmean(answer["correct"] for run in having(runs, row) for answer in run.rows[row].beam)
            lines.append([name_of(data), LABELS[row], f"{change.asked:,}", change.proven, change.different, change.more_probable,
                          change.gained, change.lost, percent(before), percent(after)])
    return ["## The most probable place instead of the most probable letters", "",
            prose("""`evaluate` takes the most probable character each time, as the course's code does. The best first letter need not begin
            the best place: `evaluate --beam 8` follows eight beginnings at once and predicts the most probable whole place that it finds.
            *Proven*: it is certain that no other answer at all is more probable than the one that the beam has found. *Greedy*: the
            answer of the most probable character each time."""), "",
            table(["data", "", "questions", "beam's answer proven", "beam's answer is not the greedy one",
                   "of these, the beam's is more probable", "greedy wrong, beam right", "greedy right, beam wrong",
                   "accuracy, greedy", "accuracy, beam 8"], *lines), ""]


# ---- the runs -------------------------------------------------------------------------------------------------------

def runs_section(by_data):
    parts = ["## The runs", "",
             prose("""Each has a folder with its record: commands, commit, machine, predictions of dev and test, probabilities, loss and
             learning rate. `utils.evaluate_places` gives the accuracies above for the predictions there. Minutes are wall time, whatever
             else ran on the machine meanwhile."""), ""]
    for data, runs in by_data.items():
        lines = []
        for run in runs:
            for name, row in run.facts["rows"].items():
                stages, machines = row["stages"].values(), run.machines(name)
                lines.append([name_of(data), run.facts["seed"], LABELS[name], f"{row['dev']['correct']} of {row['dev']['total']}",
                              f"{sum(stage['seconds'] for stage in stages) / 60:.1f}",
                              *("; ".join(dict.fromkeys(str(machine[part]) for machine in machines)) for part in ("hardware", "precision")),
                              "; ".join(dict.fromkeys(", ".join(map(" ".join, machine["versions"].items())) for machine in machines)),
                              ", ".join(dict.fromkeys(str(machine["commit"]) for machine in machines))])
        parts += [table(["data", "seed", "", "dev, right", "minutes", "hardware", "training in", "versions", "commit"], *lines), ""]
    first = next(iter(by_data.values()))[0]
    commands = [stage["command"] for row in first.facts["rows"].values() for stage in row["stages"].values()]
    default = first.facts["recipe"] == "course" and not all(" --recipe " in command for command in commands)
    return parts + ["The commands of the first run, with the names of folders left out (each record has its own)."
                    + " One without `--recipe` runs by the default, `course`." * default, "",
                    *(f"    {command}" for command in commands), ""]


# ---- the page -------------------------------------------------------------------------------------------------------

def page(by_data, plots, first_steps=(), finetuning_seeds=()):
    """
    RESULTS.md's text. plots(data, name, alt) → the lines that show a plot. first_steps, finetuning_seeds: what the scripts of these names
    have written.
    """
    return "\n".join([
        "# Results", "", "<!-- generated by tools/report.py from the kept records; do not edit -->", "",
        *in_brief(by_data), *results_section(by_data, finetuning_seeds), *training_section(by_data, plots),
        *first_steps_section(first_steps), *recall_section(by_data, plots), *belief_section(by_data, plots),
        *beam_section(by_data), *essay(by_data), *runs_section(by_data)]).rstrip("\n") + "\n"


def plot_writer(by_data, folder, shown_as):
    """What shows a plot on the page, light or dark as the reader has it; the files are drawn where matplotlib is installed."""
    try:
        import plots
    except ImportError:
        return None

    def show(data, name, alt):
        for theme in plots.THEMES:
            plots.draw(name, by_data[data], folder / f"{data}.{name}.{theme}.svg", theme)
        path = f"{shown_as}/{data}.{name}"
        return [f'<picture><source media="(prefers-color-scheme: dark)" srcset="{path}.dark.svg">'
                f'<img src="{path}.light.svg" alt="{alt}"></picture>', ""]
    return show


def main():
    parser = argparse.ArgumentParser(description="Make RESULTS.md and its plots from kept records.")
    parser.add_argument("--records", type=Path, default=ROOT / "results", help="folder below which the records are; default results/")
    parser.add_argument("--to", type=Path, help="folder for RESULTS.md and plots/; default the project's, with the plots in results/plots/")
    args = parser.parse_args()
    try:
        found = analysis.load_runs(args.records)
        besides = {name: json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
                   for name in ("first_steps", "finetuning_seeds") for path in [args.records / f"{name}.json"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"report.py: error: {args.records}: {error}")
    if not found:
        sys.exit(f"report.py: error: {args.records}: no record.json in it")
    by_data = {data: found[data] for data in sorted(found, key=lambda data: ORDER.index(data) if data in ORDER else len(ORDER))}
    folder = args.to / "plots" if args.to else ROOT / "results" / "plots"
    show = plot_writer(by_data, folder, "plots" if args.to else "results/plots")
    path = (args.to or ROOT) / "RESULTS.md"
    (folder if show else path.parent).mkdir(parents=True, exist_ok=True)
    path.write_text(page(by_data, show or (lambda *_: []), **besides), encoding="utf-8", newline="\n")
    if args.to:
        for data, runs in by_data.items():
            print(f"\n{name_of(data)}:\n\n{results_table(runs, data == 'course')}\n")
            if data != "course":
                said = ", ".join(f"{LABELS[row]} {reported[0]}" for row, reported in REPORTED.items())
                print(f"Reported for the course's recipe on the course's files (another corpus, to be compared with care): {said}.\n")
    print(f"Written: {path}" + ("" if show else ", without plots: they need matplotlib (pip install -r requirements-dev.txt)"))


if __name__ == "__main__":
    main()
