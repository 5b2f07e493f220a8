"""london_baseline.py: the accuracy of answering London."""

import importlib.util
import os
import sys

import pytest

from conftest import COURSE_FILES, ROOT
from shell import needs_posix


@pytest.fixture
def london(monkeypatch, capsys):
    """london(*arguments) → (exit code, standard output, standard error)."""
    spec = importlib.util.spec_from_file_location("london_baseline", ROOT / "london_baseline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["london_baseline.py", *map(str, arguments)])
        code = 0
        try:
            module.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return call


def test_london_on_a_few_questions(london, tmp_path, monkeypatch):
    path, places = (
        tmp_path / "births.tsv",
        ("London", "London, Ontario", "York", "london", "London"),
    )
    lines = [f"Where was {i} born?\t{place}\n" for i, place in enumerate(places)]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert london("--eval_corpus_path", path) == (0, "Correct: 2.0 out of 5.0: 40.0%\n", "")
    path.rename(tmp_path / "birth_dev.tsv")
    monkeypatch.chdir(tmp_path)
    assert london() == (0, "Correct: 2.0 out of 5.0: 40.0%\n", "")  # the default
    path.write_text("Where was A born?\n", encoding="utf-8")
    out = "No gold birth places provided; returning (0,0)\n"
    assert london("--eval_corpus_path", path) == (0, out, "")


@needs_posix
def test_a_pipe_is_read_once(london):
    """As a shell's <(head -1 birth_dev.tsv)."""
    reader, writer = os.pipe()
    os.write(writer, b"Where was A born?\tLondon\n")
    os.close(writer)
    expected = (0, "Correct: 1.0 out of 1.0: 100.0%\n", "")
    assert london("--eval_corpus_path", f"/dev/fd/{reader}") == expected
    os.close(reader)


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="no copy of the course's files")
def test_london_on_the_courses_questions(london):
    expected = (0, "Correct: 25.0 out of 500.0: 5.0%\n", "")
    assert london("--eval_corpus_path", COURSE_FILES / "birth_dev.tsv") == expected


@pytest.mark.parametrize("content", [None, b"", b"Where?\tA\tB\n", b"Where?\t\xff\n"])
def test_londons_errors_are_one_line(london, tmp_path, content):
    path = tmp_path / "births.tsv"
    if content is not None:
        path.write_bytes(content)
    code, out, err = london("--eval_corpus_path", path)
    assert (code, out, err.count("\n")) == (2, "", 1) and str(path) in err
