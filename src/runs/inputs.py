"""
Input files: read as UTF-8, and refused in one line that names the file where they are at fault.
"""

import codecs
import contextlib
from collections.abc import Iterator


class InputError(ValueError):
    """The user's input is at fault. The message is one line that says what, and in which file."""


@contextlib.contextmanager
def errors_name(path: str) -> Iterator[None]:
    """Turns a ValueError about a file's content into an InputError that names the file first."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def read_text(path: str) -> str:
    """
    The text of a file as UTF-8, whatever the platform's default is. A byte-order mark is dropped;
    CRLF and CR become LF.

    Raises InputError if the file cannot be read or is not UTF-8 (with the line of the first wrong
    byte).
    """
    try:
        with open(path, "rb") as file:
            raw = file.read().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
