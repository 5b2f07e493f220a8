"""
The notebooks of mingpt-demo/, executed from top to bottom at a small size, and what is committed of them.
Run with: python -m pytest tests/test_notebooks.py (NOTEBOOK_SIZE=full for the full size)
"""
import os
import re

import pytest

from conftest import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

FOLDER = ROOT / "mingpt-demo"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000  # bytes


def read(name):
    return nbformat.read(FOLDER / name, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, monkeypatch, tmp_path):
    """Its assertions with it; and it leaves no temporary files behind."""
    if "sklearn" in (FOLDER / name).read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
    monkeypatch.setenv("NOTEBOOK_SIZE", os.environ.get("NOTEBOOK_SIZE", "small"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = read(name)
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    assert not any(output.output_type == "error" for output in outputs(notebook))
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")]     # torch's own cache


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed_is_a_whole_run_in_order(name):
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert outputs(read(name)) and not any(output.output_type == "error" for output in outputs(read(name)))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_names_no_folder_of_anybodys(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(text.encode("utf-8")) < LARGEST
    for start in ("/home/", "/Users/", "/tmp/", "C:\\\\", os.path.expanduser("~/"), str(ROOT)):
        assert start not in text, start


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_checks_what_it_says(name):
    assert any("assert " in cell.source for cell in read(name).cells if cell.cell_type == "code")


def test_the_folder_s_readme_lists_every_notebook():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS == sorted(re.findall(r"^\| `(\w+\.ipynb)` \|", text, flags=re.M))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_line_of_code_is_not_cut_off_where_a_notebook_is_shown(name):
    """A browser shows some 114 characters of a line of code."""
    code = [line for cell in read(name).cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    assert not [line for line in code if len(line) > 114]
