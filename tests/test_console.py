"""Notes and errors at a terminal: one line each; a stream that breaks ends nothing."""

import errno
import io
import os
import subprocess
import sys

import pytest

from conftest import ROOT
from runs.console import Parser, command, fail, note, one_line
from runs.inputs import InputError


class Broken(io.StringIO):
    """A stream that takes nothing, as a closed terminal or a full disk."""

    def __init__(self, error=errno.EIO, filename=None):
        super().__init__()
        self.error = OSError(error, "broken", filename)

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "x" * 9999])
def test_a_line_is_one_that_a_terminal_can_show(text):
    line = one_line(text)
    assert len(line.splitlines()) == 1 and line.isprintable() and len(line) < 1000


def test_a_plain_line_stays_as_it_is():
    assert one_line("Zoë: Ålesund – ⁇") == "Zoë: Ålesund – ⁇"


def test_a_note_goes_to_standard_error_or_nowhere(capsys, monkeypatch):
    note("take\ncare")
    assert capsys.readouterr() == ("", "take\\ncare\n")
    monkeypatch.setattr(sys, "stderr", Broken())
    note("take care")


def test_the_users_mistake_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as exit, command("tool"):
        raise InputError("wiki.txt: no\nsuch file")
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.count("\n") == 1 and "wiki.txt" in error
    with pytest.raises(SystemExit) as exit:
        fail("tool", "it", status=3)
    assert exit.value.code == 3


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
    with pytest.raises(SystemExit) as exit, command("tool"):
        raise KeyboardInterrupt
    assert exit.value.code == 130 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_a_standard_output_that_breaks_is_one_line(capsys, monkeypatch, number):
    monkeypatch.setattr(sys, "stdout", Broken(number))
    with pytest.raises(SystemExit) as exit, command("tool"):
        print("a result")
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.count("\n") == 1 and "standard output" in error


@pytest.mark.parametrize(
    "error",
    [ValueError("a defect"), OSError(errno.EACCES, "no"), OSError(errno.ENOSPC, "no", "a file")],
)
def test_errors_of_the_code_keep_their_traceback(error):
    with pytest.raises(type(error)) as caught, command("tool"):
        raise error
    assert caught.value is error


def test_closed_streams_end_nothing(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with command("tool"):
        print("to nobody")
        note("to nobody")


def test_output_is_utf8_in_any_locale(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with command("tool"):
        print("Zoë \udce9")
    assert raw.getvalue() == "Zoë \\udce9\n".encode()


def test_a_parser_takes_no_shortened_flag(capsys):
    parser = Parser(prog="tool.py")
    parser.add_argument("--eval_corpus_path")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--eval_corpus", "a"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and "--eval_corpus" in error
    assert parser.parse_args(["--eval_corpus_path", "a"]).eval_corpus_path == "a"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    ["corpus/make_corpus.py --size quick --out", "report/machine.py", "report/pages.py --list"],
)
def test_a_tool_whose_output_cannot_be_written_says_so_in_one_line(words, tmp_path):
    script, *rest = words.split()
    rest += [str(tmp_path)] * words.endswith("--out")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, ROOT / "tools" / script, *rest],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
