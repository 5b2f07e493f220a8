"""Pieces of the report's page: names of rows and data, numbers, tables and text as Markdown."""
import math

LABELS = {
    "vanilla.nopretrain": "vanilla, without pretraining",
    "vanilla.pretrain": "vanilla, pretrained",
    "synthesizer.pretrain": "synthesizer, pretrained",
    "london": "answering London",
    "name_only": "the best guess from the name alone",
}
# Dev accuracy as reported for the course's recipe on the course's files: by a public write-up of all four, by another one, and over
# public copies of the assignment, median and range.
REPORTED = {
    "vanilla.nopretrain": ("1.4%", "2%", "1.6% (0.2–2.8)"),
    "vanilla.pretrain": ("23.0%", "22%", "22% (14.6–28.0)"),
    "synthesizer.pretrain": ("14.4%", "–", "9.6% (3.8–14.4)"),
    "london": ("5.0%", "–", "5.0%"),
}
# What a model was given, see analysis.RUNGS.
RUNG_LABELS = {
    "document": "pretrained, after the person's own document up to the place",
    "document_other_own": "… with another name put in: the place of the document",
    "document_other_other": "… with another name put in: the place of that person",
    "sentence": "pretrained, after “NAME. NAME was born in”",
    "question": "finetuned, asked “Where was NAME born?”",
    "finetuned_document": "finetuned, after the person's own document up to the place",
    "finetuned_sentence": "finetuned, after “NAME. NAME was born in”",
}
DATA = {"course": "the course’s files", "bundled": "the bundled corpus", "quick": "the quick corpus"}
ORDER = list(DATA)  # in which data sets are shown; others follow


def name_of(data):
    return DATA.get(data, data)


def heading(data, level=3):
    name = name_of(data)
    return f"{'#' * level} {name[0].upper()}{name[1:]}"


def having(runs, row):
    return [run for run in runs if row in run.rows]


def rows_in(runs):
    """The rows that any of the runs has, in the table's order."""
    return [row for row in LABELS if having(runs, row)]


def percent(share, digits=1):
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{digits}f}%"


def between(interval):
    return "–".join(f"{100 * bound:.1f}" for bound in interval) + "%"


def in_words(interval, digits=1):
    """A 95% interval in a sentence; between() is for tables."""
    return " to ".join(percent(bound, digits) for bound in interval)


def below(some, others):
    """Whether one analysis.Share lies below another beyond the intervals."""
    return some.interval()[1] < others.interval()[0]


def counted(share):
    """An analysis.Share in a sentence."""
    return f"{share.count:,} of {share.total:,} ({percent(share.value)})"


def number(count, noun):
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(place):
    """A prediction in a table's cell."""
    return place.replace("|", "\\|") if place.strip() else "(nothing)"


def table(head, *rows):
    """A Markdown table; rows are lists of cells."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *rows))


def prose(text):
    """A paragraph, written over several lines, as one."""
    return " ".join(text.split())
