"""
The notebooks of mingpt-demo/: they run from top to bottom, and the committed outputs are those of
a whole run. NOTEBOOK_SIZE=full runs them at their full size.
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
MAX_BYTES = 1_000_000

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name):
    return nbformat.read(FOLDER / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_and_leaves_no_temporary_files(name, monkeypatch, tmp_path):
    if "sklearn" in (FOLDER / name).read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
    monkeypatch.setenv("NOTEBOOK_SIZE", os.environ.get("NOTEBOOK_SIZE", "small"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    resources = {"metadata": {"path": str(FOLDER)}}
    client = nbclient.NotebookClient(
        read(name), timeout=600, kernel_name="python3", resources=resources
    )
    client.execute()  # raises an error of any cell, failed assertions included
    # torch may leave its own cache.
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")]


TEXTS = {
    "no line ends": (
        "Ann wove hats in Leeds, and Bob kept bees in Hull; they met in York. " * 400,
        "",
    ),
    "Latin-1": ("Zoë wove hats in Leeds.\n" * 1000, "UTF-8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["play_char.ipynb", "play_word.ipynb"])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_of_ones_own_works_or_is_refused_before_training(kind, name, monkeypatch, tmp_path):
    text, refusal = TEXTS[kind]
    path = tmp_path / "my.txt"
    path.write_text(text, encoding="latin-1" if kind == "Latin-1" else "utf-8")
    monkeypatch.setenv("NOTEBOOK_SIZE", "small")
    notebook = read(name)
    (cell,) = [cell for cell in notebook.cells if 'TEXT = ROOT / "wiki.txt"' in cell.source]
    cell.source = cell.source.replace('ROOT / "wiki.txt"', f'"{path}"')
    resources = {"metadata": {"path": str(FOLDER)}}
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    )
    if not refusal:
        client.execute()
        return
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        client.execute()
    assert error.value.ename == "InputError" and re.search(refusal, error.value.evalue)
    assert "my.txt" in error.value.evalue and "\n" not in error.value.evalue
    assert "Trainer(" not in str(error.value)


@every_notebook
def test_the_committed_outputs_are_those_of_a_whole_run(name):
    notebook = read(name)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and all(output.output_type != "error" for output in outputs)


@every_notebook
def test_a_notebook_is_small_and_names_no_local_folder(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(text.encode("utf-8")) < MAX_BYTES
    for folder in ("/home/", "/Users/", "/tmp/", "C:\\\\", os.path.expanduser("~/"), str(ROOT)):
        assert folder not in text, folder


def test_the_readme_lists_every_notebook():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS == sorted(re.findall(r"^\| `(\w+\.ipynb)` \|", text, flags=re.M))
