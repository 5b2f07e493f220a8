"""
Fills the tables and figures of README.md, docs/*.md and results/README.md from results/.

    python tools/report/pages.py            writes them in place
    python tools/report/pages.py --check    exits with 1 if a page is stale, and says which
    python tools/report/pages.py --list     the names of all tables and figures

On a page, a table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`. A figure
stands directly before its name: `22.8%<!--= course.vanilla.dev -->`. A figure has no spaces.

Table names: results (README's), quick, speed, profile, speed_elsewhere, ablation.VARIANT,
precisions, kills, fuzz, corpus; DATA.TABLE for each table of the page results/DATA/README.md.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import measured
import report
import run_tables
from figures import Figures
from load import load_runs

ROOT = Path(__file__).resolve().parents[2]
TABLE = re.compile(r"^<!-- table: (\S+) -->\n(?:(?!<!-- table:).*\n)*?<!-- end -->$", re.MULTILINE)
OPEN = re.compile(r"^<!-- table: \S+ -->$", re.MULTILINE)
FIGURE = re.compile(r"(-?\w[\w.,%×–+-]*|–)<!--= (\S+) -->")
MARK = re.compile(r"<!--= ")


def tables(results):
    """{name: a function that makes the table}."""
    by_data, records = load_runs(results), measured.load(results)
    found = {}
    for data, runs in by_data.items():
        for name, make in report.tables_of(runs, records).items():
            found[f"{data}.{name}"] = make
    if "course" in by_data:
        found["results"] = partial(run_tables.accuracy, by_data["course"], sources=1)
    if "quick" in by_data:
        found["quick"] = partial(quick_table, by_data["quick"])
    for name in ("precisions", "kills", "fuzz", "corpus"):
        if name in records:
            found[name] = partial(getattr(measured, name), records[name])
    for name in {"precisions", "kills"} & found.keys():
        found[name] = partial(measured.with_machines, records[name], found[name])
    ablations = records.get("ablation", ())
    for variant, accuracies in measured.ablated(ablations).items():
        of_variant = [one for one in ablations if one["variant"] == variant]
        make = partial(measured.ablation, accuracies)
        found[f"ablation.{variant}"] = partial(measured.with_machines, of_variant, make)
    if "benchmark" in records:
        found["speed"] = partial(speed_table, records["benchmark"])
        found["profile"] = partial(measured.profile, records["benchmark"])
        benchmarks = [one for name, one in records.items() if name.startswith("benchmark")]
        found["speed_elsewhere"] = partial(measured.speed_elsewhere, benchmarks)
    return found


def quick_table(runs):
    return f"{run_tables.by_seed(runs)}\n\nMachine: {run_tables.machines(runs)}."


def speed_table(benchmark):
    return f"{measured.speed(benchmark)}\n\n{measured.measured_on(benchmark)}"


def fill(text, made, figures):
    """
    A page's text with its tables and figures, and the names of those that have changed. Raises
    ValueError for a name that does not exist, and for a mark that is not as above.
    """
    stale = []

    def table_of(mark):
        name = mark[1]
        if name not in made:
            raise ValueError(f"no table '{name}' (pages.py --list has the names)")
        new = f"<!-- table: {name} -->\n{made[name]()}\n<!-- end -->"
        stale.extend([f"table {name}"] if new != mark[0] else [])
        return new

    def figure_of(mark):
        old, name = mark.groups()
        try:
            new = figures[name]
        except KeyError:
            raise ValueError(f"no figure '{name}' (pages.py --list has the names)") from None
        stale.extend([f"figure {name}: {old}, now {new}"] if new != old else [])
        return f"{new}<!--= {name} -->"

    if len(TABLE.findall(text)) != len(OPEN.findall(text)):
        raise ValueError("a table's mark without '<!-- end -->'")
    if len(FIGURE.findall(text)) != len(MARK.findall(text)):
        raise ValueError("a figure's mark without a figure directly before it, or without a name")
    text = TABLE.sub(table_of, text)
    return FIGURE.sub(figure_of, text), stale


def pages(root=ROOT):
    found = [root / "README.md", *sorted((root / "docs").glob("*.md")), root / "results/README.md"]
    return [path for path in found if path.exists()]


def main(argv=None, root=ROOT):
    parser = argparse.ArgumentParser(description="Fill the pages' tables and figures.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if stale")
    parser.add_argument("--list", action="store_true", help="print the names, with their figures")
    args = parser.parse_args(argv)
    try:
        made, figures = tables(root / "results"), Figures(root / "results")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        sys.exit(f"pages.py: error: {root / 'results'}: {error}")
    if args.list:
        print(*(f"table {name}" for name in made), sep="\n")
        print(*(f"{name} {text}" for name, text in figures.all().items()), sep="\n")
        return
    status = 0
    for path in pages(root):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        try:
            new, stale = fill(text, made, figures)
        except ValueError as error:
            sys.exit(f"pages.py: error: {name}: {error}")
        if args.check:
            for what in stale:
                print(f"{name}: {what}", file=sys.stderr)
                status = 1
        elif new != text:
            path.write_text(new, encoding="utf-8", newline="\n")
            print(f"Written: {name}")
    if status:
        print("Stale; run python tools/report/pages.py", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    from runs.console import command

    with command("pages.py"):
        main()
