"""
The tables and figures on the project's pages are those of results/, and a stale or wrong mark is
one line.
"""

import re
import statistics
from pathlib import Path

import pytest

import pages
from figures import Figures
from load import load_runs
from records import ROWS, pooled, write_record

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def kept():
    results = ROOT / "results"
    return pages.tables(results), Figures(results)


@pytest.fixture
def project(tmp_path):
    """A project with two pages and two seeds, and what was written of these."""
    written = [
        write_record(tmp_path / "results" / f"seed{seed}", seed=seed, rows=rows)
        for seed, rows in ((0, ROWS), (1, ROWS[:2]))
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A\n\n<!-- table: quick -->\n<!-- end -->\n\nB.\n")
    page = tmp_path / "docs" / "a.md"
    page.write_text(
        "It gets 1.5%<!--= quick.vanilla.dev --> (0<!--= quick.none.seeds --> seeds).\n"
    )
    return tmp_path, written


def run_main(root, *words):
    """The exit code, or the message with which Python would end with 1."""
    with pytest.raises(SystemExit) as ended:
        pages.main(words, root)
    return ended.value.code


@pytest.mark.parametrize("path", pages.pages(ROOT), ids=lambda path: path.name)
def test_the_projects_pages_are_up_to_date(path, kept):
    text, stale = pages.fill(path.read_text(encoding="utf-8"), *kept)
    assert stale == [], "run tools/report/pages.py"


def test_pages_are_filled_in_place_and_then_pass_the_check(project, capsys):
    root, written = project
    assert run_main(root, "--check") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all("README.md" in line or "a.md" in line for line in lines[:3])
    assert "quick.vanilla.dev" in lines[1] and "quick.none.seeds" in lines[2]
    assert run_main(root) == 0 and run_main(root, "--check") == 0
    share = statistics.fmean(one["correct"] for one in pooled(written, "vanilla.pretrain"))
    text = (root / "docs" / "a.md").read_text()
    assert text.startswith(f"It gets {100 * share:.1f}%<!--= quick.vanilla.dev --> (2<!--= ")
    text = (root / "README.md").read_text()
    assert text.startswith("# A\n\n<!-- table: quick -->\n| dev ") and text.endswith("-->\n\nB.\n")


def test_a_changed_record_makes_pages_stale(project):
    root, _ = project
    assert run_main(root) == 0
    path = root / "results" / "seed0" / "vanilla.pretrain.dev.answers.tsv"
    text = path.read_text()
    path.write_text(text.replace("\t0\tin the corpus", "\t1\tright", 1))
    assert path.read_text() != text and run_main(root, "--check") == 1


@pytest.mark.parametrize(
    "text",
    [
        "1%<!--= quick.vanilla.nothing -->",
        "1%<!--= nothing -->",
        "1%<!--= quick.dummy.dev -->",
        "1% <!--= quick.vanilla.dev -->",
        "1%<!--= quick.vanilla.dev-->",
        "<!-- table: nothing -->\n<!-- end -->",
        "<!-- table: quick -->\n\n<!-- table: quick -->\n<!-- end -->",
    ],
)
@pytest.mark.parametrize("words", [[], ["--check"]])
def test_a_mark_that_cannot_be_filled_is_one_line_and_changes_nothing(project, text, words):
    root, _ = project
    page = root / "docs" / "a.md"
    page.write_text(text)
    message = run_main(root, *words)
    assert isinstance(message, str) and len(message.splitlines()) == 1 and "docs/a.md" in message
    name = re.search(r"quick\.dummy\.dev|nothing", text)
    assert page.read_text() == text and (not name or name[0] in message)


def test_a_damaged_file_is_one_line(project):
    root, _ = project
    (root / "results" / "kills.json").write_text("[{")
    with pytest.raises(SystemExit, match="kills.json"):
        pages.main([], root)


@pytest.mark.parametrize(
    "text", ["(1.5%{})", "5.0–7.1%{}", "from 2%{}–{}", "–{}", "**1,234{}**", "| 1e-06{} |", "9×{}"]
)
def test_of_a_sentence_only_the_figure_is_replaced(text):
    marked = (
        text.replace("{}", "0<!--= a -->") if "–{}" in text else text.replace("{}", "<!--= a -->")
    )
    filled, _ = pages.fill(marked, {}, {"a": "N"})
    expected = re.sub(r"[\d.,%e×-]+(–7.1%)?(?=<)", "N", marked)
    assert filled == expected and pages.fill(filled, {}, {"a": "N"}) == (filled, [])


def test_figures_are_looked_up_one_by_one_or_all_together(project):
    root, written = project
    one, every = Figures(root / "results"), Figures(root / "results").all()
    assert one["quick.synthesizer.seeds"] == "1" == every["quick.synthesizer.seeds"]
    assert all(" " not in text and text for text in every.values())
    known = [line["document"] for line in pooled(written, "vanilla.pretrain", "recall")]
    assert every["quick.vanilla.document"] == f"{100 * statistics.fmean(known):.1f}%"
    assert every["quick.vanilla.document_total"] == str(len(known))
    assert load_runs(root / "results")["quick"][0].rows.keys() == set(ROWS)


@pytest.mark.slow
def test_every_figure_is_one_word_that_a_page_can_hold(kept):
    _, figures = kept
    for name, text in figures.all().items():
        marked = f"is 0<!--= {name} -->."
        filled, _ = pages.fill(marked, {}, figures)
        assert pages.fill(filled, {}, figures) == (f"is {text}<!--= {name} -->.", [])


def test_the_worked_example_is_the_code_itself():
    """docs/extending.md shows rope as it stands in src/attention.py."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    source = (ROOT / "src" / "attention.py").read_text(encoding="utf-8")
    section = page.split("### Example: rope")[1].split("### Example:")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3 and all(block in source for block in blocks)
    assert '"rope": RotaryAttention,' in section and '"rope": RotaryAttention,' in source
