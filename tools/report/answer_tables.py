"""
The tables about the answers of the runs of one data set: right answers, completions, calibration,
invented people. Each is a function of the Runs and returns Markdown, or "" with nothing to show.
"""

import statistics

import analysis
import invented
from intervals import ranking_interval, ranking_quality
from load import having, rows_in
from tables import RUNG_LABELS, between, columns, counted, label_of, percent, points, shown, table


def with_seeds(runs, rows, corner, *measures):
    """columns(), and a line that says how many seeds each row pools."""
    return columns(corner, rows, ("seeds", {r: len(having(runs, r)) for r in rows}), *measures)


def recall(runs):
    measures = (
        (name, {row: counted(share, interval=False) for row, share in shares.items()})
        for name, shares in analysis.splits(runs)
    )
    return with_seeds(runs, rows_in(runs), "right answers", *measures)


def early(runs):
    """Of the people whose place stands early: right answers and completions by group."""
    lines = []
    for row in rows_in(runs):
        for name, among in analysis.EARLY_GROUPS.items():
            read, shares = analysis.mean_read(runs, among), analysis.early_shares(runs, row, among)
            if shares[0].total:
                lines.append([label_of(row), name, percent(read, 0), *map(counted, shares)])
    head = ["", "the place", "epochs that read it to its end", "right answers"]
    head += ["completed from the own document", "of these, answered right"]
    return table(head, *lines) if lines else ""


def completions(runs):
    rows = [row for row in rows_in(runs) if analysis.people(runs, row)]
    ladders = {row: analysis.ladder(runs, row) for row in rows}
    measures = (
        (RUNG_LABELS[rung], {row: counted(ladders[row][rung]) for row in rows})
        for rung in analysis.RUNGS
    )
    return with_seeds(runs, rows, "birthplace found by", *measures) if rows else ""


def crosses(runs):
    rows = [row for row in rows_in(runs) if analysis.people(runs, row)]
    given = (
        ("of those answered right: completed from the own document", "question", "document"),
        ("of those completed from the own document: answered right", "document", "question"),
        ("of those completed from the sentence: answered right", "sentence", "question"),
    )
    measures = [
        (name, {row: counted(analysis.crossed(runs, row, *rungs)) for row in rows})
        for name, *rungs in given
    ]
    by_name = {row: counted(analysis.share_of(runs, row, "name")) for row in rows}
    measures.append(("of all: found by at least one text with only the name", by_name))
    return columns("", rows, *measures) if rows else ""


def kinds(runs):
    words = (
        "right",
        "wrong, in the person's own document",
        "wrong, an answer in the finetuning examples",
        "wrong, elsewhere in the corpus",
        "wrong, nowhere in the corpus",
        "empty",
    )
    rows = rows_in(runs)
    found = {row: analysis.kinds(runs, row) for row in rows}
    measures = [
        (label, {row: percent(found[row][kind].value) for row in rows})
        for label, kind in zip(words, analysis.KINDS, strict=True)
    ]
    if runs[0].invented_world:
        expected = {row: percent(analysis.expected_of_guesses(runs, row)) for row in rows}
        measures.append(("right, expected if only names were known", expected))
    return columns("dev answers", rows, *measures)


COVERAGES = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def calibration(runs):
    cells = {}
    for row in rows_in(runs):
        pairs = analysis.pooled(runs, row)
        cells[row] = {}
        for coverage in COVERAGES:
            point = analysis.at_coverage(pairs, coverage)
            text = "–"
            if point:
                count = round(point[0] * len(pairs))
                text = f"{percent(point[1])} of {count} (≥ {point[2]:.2f})"
            cells[row][f"accuracy at coverage {percent(coverage, 0)}"] = text
        point = analysis.at_accuracy(pairs, 0.9)
        text = f"{percent(point[0])} (≥ {point[2]:.2f})" if point else "none"
        cells[row]["coverage at accuracy 90%"] = text
        quality = ranking_quality(pairs)
        interval = ranking_interval(analysis.by_question(runs, row))
        auroc = "–" if quality is None else points(quality, interval)
        cells[row] |= {
            "AUROC of right against wrong answers": auroc,
            "expected calibration error (ECE)": percent(analysis.calibration_error(pairs)),
            "ECE of a perfectly calibrated model": percent(
                analysis.calibration_error_by_chance(pairs)
            ),
            "mean probability of all answers": percent(statistics.fmean(p for p, _ in pairs)),
        }
    return transposed("", cells)


def transposed(corner, cells):
    """A table of {row: {measure: cell}}, with the measures of the last row as lines."""
    if not cells:
        return ""
    names = list(dict.fromkeys(name for of_row in cells.values() for name in of_row))
    return columns(
        corner,
        list(cells),
        *((name, {r: cells[r].get(name, "–") for r in cells}) for name in names),
    )


def beam(runs):
    cells = {}
    for row in rows_in(runs):
        change = analysis.beam_change(runs, row)
        answers = [one for run in having(runs, row) for one in run.rows[row].beam]
        greedy = statistics.fmean(one["correct"] for one in analysis.answers_of(runs, row))
        cells[row] = {
            "accuracy, greedy decoding": percent(greedy),
            "accuracy, beam search": percent(statistics.fmean(one["correct"] for one in answers)),
            "questions": f"{change.asked:,}",
            "beam search's answer differs": change.different,
            "… and is the more probable one": change.more_probable,
            "only beam search right": change.gained,
            "only greedy decoding right": change.lost,
            "beam search's answer proven most probable": change.proven,
        }
    return transposed("", cells)


def invented_people(runs):
    cells = {}
    for row in rows_in(runs):
        found, same = invented.guessing(runs, row), invented.same_name(runs, row)
        if found is None:
            continue
        most = list(found.shares.items())[:5]
        apart = [invented.told_apart(runs, row, correct) for correct in (1, 0)]
        pairs = same and f"{percent(same.same.value)} of {same.same.total:,} pairs"
        chance = same and f"{percent(same.by_chance)}, at most {percent(same.most_by_chance)}"
        cells[row] = {
            "questions": f"{found.asked:,}",
            "different answers": len(found.shares),
            "most frequent": ", ".join(f"{shown(place)} {percent(s, 0)}" for place, s in most),
            "London": percent(found.shares.get("London", 0)),
            "Paris": percent(found.shares.get("Paris", 0)),
            "median probability": f"{found.median_probability:.3f}",
            "probability above ½": percent(found.above_half),
            "AUROC of right dev answers": points(*apart[0]) if apart[0] else "–",
            "AUROC of wrong dev answers": points(*apart[1]) if apart[1] else "–",
            "same first name, same answer": pairs or "–",
            "… by chance": chance or "–",
        }
        labels = {"by_name": "expected accuracy", "by_any_name": "… if answers are shuffled"}
        for name, label in labels.items() if found.expected else ():
            mean, interval = found.expected[name]
            cells[row][label] = f"{percent(mean)} ({between(interval)})"
        if found.expected:
            cells[row]["… of the best guess from the name"] = percent(found.best)
    return transposed("invented people", cells)


def surest(runs, count=4):
    """
    The most probable answers of the first pretrained row, first seed: wrong ones, and right ones.
    Other people's data get only the wrong ones, by the question's line.
    """
    row = next((row for row in rows_in(runs) if row.endswith(".pretrain")), None)
    if row is None:
        return ""
    run, lines = having(runs, row)[0], []
    answers = run.rows[row].answers
    for correct in (0, 1) if run.invented_world else (0,):
        of_kind = [i for i, answer in enumerate(answers) if answer["correct"] == correct]
        for i in sorted(of_kind, key=lambda i: -answers[i]["probability"])[:count]:
            question, answer = run.questions[i], answers[i]
            person = question.get("name", f"line {answer['line']} of birth_dev.tsv")
            place = shown(run.rows[row].predictions["dev"][i])
            cells = [person, place, f"{answer['probability']:.3f}", question.get("place", "–")]
            lines.append([*cells, answer["kind"]])
    strangers = sorted(run.rows[row].invented, key=lambda one: -one["probability"])
    for one in strangers[: 2 * count]:
        name = one["question"].removeprefix("Where was ").removesuffix(" born?")
        place = shown(one["prediction"])
        lines.append([name, place, f"{one['probability']:.3f}", "–", "an invented person"])
    return table([label_of(row), "answer", "probability", "true place", "the answer is"], *lines)


TABLES = {
    "recall": recall,
    "early": early,
    "completions": completions,
    "crosses": crosses,
    "kinds": kinds,
    "invented": invented_people,
    "calibration": calibration,
    "beam": beam,
    "surest": surest,
}
