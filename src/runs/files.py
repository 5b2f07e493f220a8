"""Output files: written whole or not at all, and by one run at a time."""

import contextlib
import glob
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from runs.console import note
from runs.inputs import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks: two runs are not told apart there
    fcntl = None

TEMPORARY_SUFFIX = ".part"  # a file that is being written is `.NAME.xxxxxxxx.part` beside NAME


def check_output(path: str) -> None:
    """Raises InputError if no file can be written there, which is better known in advance."""
    path = os.fspath(path)
    if not path:
        raise InputError("the path is empty")
    if os.path.isdir(path) or not os.path.basename(path):
        raise InputError(f"{path}: is a folder; a file's name is expected")
    folder = os.path.dirname(path) or "."
    if os.path.islink(path):
        folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise InputError(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK) and not is_special(path):
        raise InputError(f"{path}: the folder {folder} cannot be written to")


def write_atomically(path: str, write: Callable[[BinaryIO], object]) -> None:
    """
    Calls write(file) on a temporary binary file beside path, flushes it to disk and renames it to
    path. A symbolic link stays one; a device or pipe such as /dev/null is written to directly.

    Raises InputError if the file cannot be written; an older file stays as it was.
    """
    temporary = None
    try:
        if is_special(path):
            with open(path, "wb") as file:
                write(file)
            return
        target = os.path.realpath(path)
        folder, name = os.path.split(target)
        with tempfile.NamedTemporaryFile(
            dir=folder, prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, delete=False
        ) as file:
            temporary = file.name
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(
            temporary, 0o666 & ~current_umask()
        )  # temporary files are private, results are not
        os.replace(temporary, target)
        flush_folder(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.remove(temporary)


def write_lines(path: str, lines: Iterable[str]) -> None:
    """write_atomically() of lines of text, each with its line end, in UTF-8."""
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def flush_folder(folder: str) -> None:
    """
    Puts a folder's names on disk, so that a rename survives a power cut; not all systems can.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_special(path: str) -> bool:
    """Whether path is there and is neither a file nor a folder but a device or a pipe."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def sole_writer(path: str, companions: Iterable[str] = ()) -> Iterator[None]:
    """
    While this lasts, no other run may write path: an advisory lock on `.NAME.lock` beside it. The
    lock ends with the process that holds it; the empty file stays. What a killed run left
    half-written of path and its companions is removed.

    Raises InputError if another run holds the lock, or if the folder cannot be written to. On a
    file system without locks it warns and goes on.
    """
    if is_special(path) or fcntl is None:
        yield
        return
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    try:
        lock = open(os.path.join(folder, f".{name}.lock"), "ab")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path}: another run is writing this file; wait for its end, or name another one"
            ) from None
        except OSError as error:
            note(f"warning: {path}: cannot be locked against other runs: {error.strerror}")
        for file in (target, *map(os.path.realpath, companions)):
            remove_leftovers(file)
        yield


def remove_leftovers(path: str) -> None:
    """Removes the temporary files of write_atomically(path) that a killed process left."""
    folder, name = os.path.split(path)
    pattern = f".{glob.escape(name)}.????????{TEMPORARY_SUFFIX}"
    for leftover in glob.glob(os.path.join(glob.escape(folder), pattern)):
        with contextlib.suppress(OSError):
            os.remove(leftover)
