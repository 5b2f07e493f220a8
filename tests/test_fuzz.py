"""tools/experiments/fuzz.py with a few inputs, and that it can fail."""

import contextlib
import os
import sys

import pytest

if os.name != "posix":
    pytest.skip("needs POSIX signals", allow_module_level=True)
import fuzz
from runs.inputs import InputError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_reader_accepts_an_input_or_refuses_it_in_one_line(name):
    counts, failures = fuzz.try_inputs(name, inputs=150, seed=1)
    assert not failures, "\n".join(
        f"{value!r:.500}\n{report}" for value, report in failures.values()
    )
    assert counts["inputs"] == counts["succeeded"] + counts["refused"] >= 150
    assert counts["succeeded"] > 0.1 * counts["inputs"] and counts["kinds"] >= 3


def loops(value):
    while True:
        pass


def refuses(message):
    def read(value):
        raise InputError(message)

    return lambda value: fuzz.refusal(read, value)


def ends(code, text=""):
    def main():
        print(text, end="", file=sys.stderr)
        sys.exit(code)

    return lambda value: fuzz.refusal_of_command(main, [])


@pytest.mark.parametrize(
    "read, failed",
    [
        (lambda value: 1 / 0, True),
        (lambda value: sys.exit(1), True),
        (loops, True),
        (refuses(""), True),
        (refuses("two\nlines"), True),
        (refuses("x" * 2000), True),
        (refuses("some.file: is odd"), False),
        (ends(1), True),
        (ends(2, "no error\n"), True),
        (ends(0, "Traceback\n"), True),
        (ends(2, "note: x\nrun.py: error: x\n"), False),
    ],
)
def test_a_failure_is_counted(read, failed, monkeypatch):
    reader = lambda folder: contextlib.nullcontext(read)  # noqa: E731
    monkeypatch.setitem(fuzz.READERS, "one", (reader, fuzz.st.integers()))
    counts, failures = fuzz.try_inputs("one", 2, seed=0, seconds=0.2)
    assert (counts["inputs"], bool(failures)) == (2, failed)
    assert counts["succeeded"] == 0 and counts["refused"] == (0 if failed else 2)
