"""
The pages of results, with tables and plots made from the records (record.py) and nothing else.

    python tools/report/report.py                              results/DATA/README.md and plots
    python tools/report/report.py --records DIR --to RUN_DIR   RUN_DIR/RESULTS.md and plots

The text is in page.md, which `page` fills. The plots need matplotlib (requirements-dev.txt);
without it the pages are made without them.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from urllib.parse import quote

import answer_tables
import measured
import run_tables
from analysis import READ, SHORTEST
from load import load_runs, with_recipe
from run_tables import accuracy
from tables import REPORTED, label_of, name_of, seeds

ROOT = Path(__file__).resolve().parents[2]
TABLE = re.compile(r"<!-- table: (\w+) -->\n\n?")
PLOT = re.compile(r"<!-- plot: (\w+): (.*) -->\n\n")


def of_runs(besides, name, runs):
    """The measurements in results/name.json of the runs' data and recipe."""
    return [
        one
        for one in besides.get(name, ())
        if with_recipe(one["data"], one["recipe"]) == runs[0].data
    ]


def tables_of(runs, besides=None):
    """{name: a function that makes the table}; besides: see measured.load()."""
    steps, tuned = (
        of_runs(besides or {}, name, runs) for name in ("first_steps", "finetuning_seeds")
    )
    return {
        **{
            name: partial(make, runs)
            for name, make in (run_tables.TABLES | answer_tables.TABLES).items()
        },
        "finetuning_seeds": partial(
            measured.with_machines, tuned, partial(measured.finetuning_seeds, tuned, runs)
        ),
        "first_steps": partial(
            measured.with_machines, steps, partial(measured.first_steps, steps)
        ),
        "first_losses": partial(measured.first_losses, steps),
    }


def page(runs, show=None, besides=None):
    """
    The page about the runs of one data set: page.md with its tables and plots, without sections
    that have nothing to show. show(name, alternative text) → a plot as HTML; None: no plots.
    """
    template = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    facts = {
        "name": name_of(runs[0].data),
        "recipe": runs[0].facts["recipe"],
        "seeds": seeds(len(runs)),
        "questions": len(runs[0].questions),
        "machines": run_tables.machines(runs),
        "shortest": SHORTEST,
        "read": READ,
    }
    template = re.sub(r"{(\w+)}", lambda found: str(facts[found[1]]), template)
    head, *sections = re.split(r"^(?=## )", template, flags=re.MULTILINE)
    parts = [head]
    made = tables_of(runs, besides)
    for section in sections:
        found = {name: made[name]() for name in TABLE.findall(section)}
        if any(found.values()):
            filled = TABLE.sub(lambda mark, found=found: block(found[mark[1]]), section)
            parts.append(
                PLOT.sub(lambda mark: block(show(*mark.groups()) if show else ""), filled)
            )
    return "".join(parts).rstrip("\n") + "\n"


def block(text):
    return f"{text}\n\n" if text else ""


def plotter(runs, folder, shown_as):
    """The `show` of page(): it draws into the folder; None without matplotlib."""
    try:
        import plots
    except ImportError:
        return None

    def show(name, alternative):
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{runs[0].data}.{name}"
        for theme in plots.THEMES:
            plots.draw(name, runs, folder / f"{file}.{theme}.svg", theme)
        address = f"{shown_as}/{quote(file)}"
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{address}.dark.svg">'
        light = f'<img src="{address}.light.svg" alt="{alternative}">'
        return f"<picture>{dark}{light}</picture>"

    return show


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"Written: {path}")


def main():
    parser = argparse.ArgumentParser(description="Make pages and plots from records.")
    parser.add_argument("--records", type=Path, default=ROOT / "results", help="their folder")
    parser.add_argument("--to", type=Path, help="folder for RESULTS.md and plots/")
    args = parser.parse_args()
    try:
        by_data = load_runs(args.records)
        besides = measured.load(args.records)
        if not by_data:
            raise ValueError("no record.json in it")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        sys.exit(f"report.py: error: {args.records}: {error}")
    folder = (args.to or args.records) / "plots"
    found = {}
    for data, runs in by_data.items():
        show = plotter(runs, folder, "plots" if args.to else "../plots")
        found[data] = page(runs, show, besides)
        if args.to:
            print(f"\n{name_of(data)}:\n\n{accuracy(runs)}\n")
    if show is None:
        print("The plots need matplotlib: pip install -r requirements-dev.txt")
    if args.to:
        known = {row: said[0] for row, said in REPORTED.items() if said[0] != "–"}
        reported = ", ".join(f"{label_of(row)} {figure}" for row, figure in known.items())
        print(f"Reported for the course's files: {reported}.")
        write(args.to / "RESULTS.md", "\n".join(found.values()))
    else:
        for data, text in found.items():
            write(args.records / data / "README.md", text)


if __name__ == "__main__":
    from runs.console import command

    with command("report.py"):
        main()
