"""Labels, number formats and the Markdown table of the generated pages."""

import math

# Dev accuracy on the course's files as others report it: a write-up with all four rows, another
# write-up, and public copies of the assignment (median and range).
REPORTED = {
    "vanilla.nopretrain": ("1.4%", "2%", "1.6% (0.2–2.8)"),
    "vanilla.pretrain": ("23.0%", "22%", "22% (14.6–28.0)"),
    "synthesizer.pretrain": ("14.4%", "–", "9.6% (3.8–14.4)"),
    "rope.pretrain": ("–", "–", "32.5% (24.4–38.0)"),
    "perceiver.pretrain": ("–", "–", "5.0% (3.8–12.6)"),
    "london": ("5.0%", "–", "5.0%"),
}
LONDON = "answering London"
BEST_GUESS = "best guess from the name alone"
DATA = {
    "course": "the course's files",
    "bundled": "the bundled corpus",
    "quick": "the quick corpus",
}
# What yields the birthplace: analysis.RUNGS.
RUNG_LABELS = {
    "document": "pretrained model, own document up to the place",
    "document_other_own": "… with another name in it: the document's place",
    "document_other_other": "… with another name in it: that person's place",
    "sentence": "pretrained model, “NAME. NAME was born in”",
    "question": "finetuned model, “Where was NAME born?”",
    "finetuned_document": "finetuned model, own document up to the place",
    "finetuned_sentence": "finetuned model, “NAME. NAME was born in”",
}


def label_of(row):
    """`vanilla, pretrained` for the row vanilla.pretrain."""
    if row == "london":
        return LONDON
    variant, _, kind = row.partition(".")
    return f"{variant}, {'without pretraining' if kind == 'nopretrain' else 'pretrained'}"


def name_of(data):
    """`the course's files`; for course-recall `the course's files, recipe recall`."""
    name, _, recipe = data.rpartition("-")
    if data not in DATA and name in DATA:
        return f"{DATA[name]}, recipe {recipe}"
    return DATA.get(data, data)


def percent(share, digits=1):
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{digits}f}%"


def between(interval):
    return "–".join(f"{100 * bound:.1f}" for bound in interval) + "%"


def points(value, interval):
    """An area under a ROC curve with its interval."""
    return f"{value:.2f} ({'–' if interval is None else '–'.join(f'{b:.2f}' for b in interval)})"


def counted(share, interval=True):
    """A Share in a cell."""
    if not share.total:
        return "–"
    text = f"{share.count} of {share.total}: {percent(share.value)}"
    return f"{text} ({between(share.interval())})" if interval else text


def seeds(count):
    return f"{count} seed{'' if count == 1 else 's'}"


def shown(place):
    """A prediction in a cell."""
    return place.replace("|", "\\|") if place.strip() else "(nothing)"


def table(head, *rows):
    """A Markdown table; head and rows are lists of cells."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def columns(corner, rows, *measures):
    """A table with a column for each of the results' rows. measures: (label, {row: cell})."""
    head = [corner, *map(label_of, rows)]
    return table(head, *([label, *(cells[row] for row in rows)] for label, cells in measures))
