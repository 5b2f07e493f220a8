"""
The example of docs/extending.md, a class and one line, in a copy of the project: run.py trains it,
and run_all.sh runs the whole experiment with it and reports it.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from shell import needs_bash

pytestmark = [pytest.mark.slow, needs_bash]
COPIED = ("src", "tools", "run_all.sh", "london_baseline.py", "requirements.txt")


def edit(path, *changes):
    """Replaces (pattern, text) in a file. Each pattern must be there."""
    text = path.read_text(encoding="utf-8")
    for pattern, new in changes:
        text, count = re.subn(pattern, lambda match, new=new: match.expand(new), text)
        assert count, pattern
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The copy, with the example, one epoch for each training, and a smaller quick corpus."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    first = next(i for i, block in enumerate(blocks) if "class RandomSynthesizer" in block)
    added_class, added_line = blocks[first : first + 2]
    attention = folder / "src" / "attention.py"
    text = attention.read_text(encoding="utf-8")
    before, start, after = text.partition("VARIANTS = {\n")
    attention.write_text(f"{before}{added_class}\n\n{start}{added_line}{after}", encoding="utf-8")
    edit(folder / "src" / "recipe.py", (r"max_epochs=\d+", "max_epochs=1"))
    sizes = (r'("quick": Size\(n_train)=150, n_dev=150, n_test=20', r"\1=30, n_dev=30, n_test=5")
    edit(folder / "tools/corpus/make_corpus.py", sizes, (r"N_UNSEEN = \d+", "N_UNSEEN = 20"))
    return folder


def call(project, *words):
    return subprocess.run(
        [*map(str, words)],
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_class_and_one_line_are_a_variant(project):
    words = ["bash", "run_all.sh", "--quick", "--variant", "random", "--out", "out"]
    done = call(project, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    out = project / "out"
    rows = {path.name.split(".dev.")[0] for path in out.glob("*.dev.predictions")}
    assert rows == {"random.pretrain"}
    assert len((out / "random.pretrain.dev.predictions").read_text("utf-8").splitlines()) == 30
    pages = "".join(path.read_text(encoding="utf-8") for path in out.glob("*.md"))
    assert "random, pretrained" in pages
    again = call(project, *words)
    assert again.returncode == 0 and "== random.pretrain: complete (" in again.stdout


def test_parameters_of_a_new_variant_are_not_loaded_as_another(project):
    corpus = project / "corpus.txt"
    corpus.write_text("Ann Lee. Ann Lee was born in Leeds .\nWhere?\n" * 4, encoding="utf-8")
    asked = project / "asked.tsv"
    asked.write_text("Where was Ann Lee born?\tLeeds\n", encoding="utf-8")
    run = [sys.executable, "src/run.py"]
    words = [corpus, "--recipe", "quick", "--writing_params_path", "new.params"]
    done = call(project, *run, "pretrain", "random", *words)
    assert done.returncode == 0, done.stderr
    words = [corpus, "--recipe", "quick", "--reading_params_path", "new.params"]
    words += ["--eval_corpus_path", asked, "--outputs_path", "new.predictions"]
    assert call(project, *run, "evaluate", "random", *words).returncode == 0
    done = call(project, *run, "evaluate", "vanilla", *words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "new.params" in done.stderr
