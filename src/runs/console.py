"""What a person at a terminal sees: notes and errors of one line each."""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from runs.inputs import InputError


def one_line(message: object, longest: int = 1000) -> str:
    """
    A message as one line that a terminal can show, whatever it quotes from files. The middle of a
    line longer than `longest` characters is left out.
    """
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))
    return line if len(line) <= longest else f"{line[: longest // 2]} … {line[-longest // 4 :]}"


def note(text: object) -> None:
    """Prints a line on standard error. A closed terminal or a full disk does not end the run."""
    with contextlib.suppress(OSError):
        print(one_line(text), file=sys.stderr, flush=True)


def fail(program: str, error: object, status: int = 2) -> NoReturn:
    """Ends the process with one line on standard error."""
    note(f"{program}: error: {error}")
    sys.exit(status)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which takes no shortened flags."""

    def __init__(self, **settings):
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {one_line(message, 400)} (see {self.prog} --help)\n")


@contextlib.contextmanager
def command(program: str) -> Iterator[None]:
    """
    Around the work of a command: output is UTF-8. An InputError, or a standard output that cannot
    be written, ends the process with exit code 2 and one line, Ctrl-C with 130.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller has closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's stream is UTF-8 and has no such method
            # Line by line, so that a full disk is noticed before hours of training.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        fail(program, error)
    except KeyboardInterrupt:
        note(f"{program}: interrupted")
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            raise  # an error of this code
        sys.stdout = open(
            os.devnull, "w", encoding="utf-8"
        )  # so that Python writes no more at exit
        fail(program, f"standard output: cannot be written: {error.strerror}")
