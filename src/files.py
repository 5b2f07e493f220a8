"""Output files: written whole or not at all, and by one run at a time."""
import contextlib
import glob
import os
import tempfile

from dataset import InputError
from progress import note

try:
    import fcntl
except ImportError:  # Windows has no advisory locks; there two runs are not told apart
    fcntl = None

TEMPORARY_SUFFIX = ".part"  # of what is being written, `.NAME.xxxxxxxx.part` beside NAME


def write_atomically(path, write):
    """
    Calls write(file) on a temporary binary file beside path, flushes it to disk and renames it to path. A symbolic link stays
    one, and what is no ordinary file, as /dev/null, is written to as it is.

    Raises InputError if the file cannot be written; what was there stays.
    """
    target, temporary = os.path.realpath(path), None
    try:
        if is_special(path):
            with open(path, "wb") as file:
                write(file)
            return
        folder, name = os.path.split(target)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, delete=False) as file:
            temporary = file.name
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())  # temporary files are private; results are as other files are
        os.replace(temporary, target)
        flush_folder(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.remove(temporary)


def flush_folder(folder):
    """Puts a folder's names on disk, so that a later renaming or removal is not kept without an earlier one; not all systems can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_special(path):
    """Whether path is there and neither a file nor a folder: a device or a pipe."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def sole_writer(path, companions=()):
    """
    While this lasts, no other process that asks may write path: an advisory lock on `.NAME.lock` beside it, which ends with
    the process that holds it, however that ends. What a killed run left half written of path and its companions is removed.

    Raises InputError if another process holds the lock, or if the folder cannot be written to. A file system that has no locks is
    taken as it is, with a warning.
    """
    target = os.path.realpath(path)
    if is_special(path) or fcntl is None:
        yield
        return
    folder, name = os.path.split(target)
    lock_path = os.path.join(folder, f".{name}.lock")
    lock = acquire(lock_path, path)
    try:
        for file in (target, *map(os.path.realpath, companions)):
            remove_leftovers(file)
        yield
    finally:
        # Before it is let go, so that whoever opened it in the meantime finds it gone and opens a new one.
        with contextlib.suppress(OSError):
            os.remove(lock_path)
        os.close(lock)


def acquire(lock_path, path):
    """The descriptor of the locked file lock_path, made if need be. path: what the error is to name."""
    while True:
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file after it was opened here; then the lock is on nothing.
            if is_open_as(lock, lock_path):
                with contextlib.suppress(OSError):  # for the message to the other; a full disk does without
                    os.truncate(lock, 0)
                    os.write(lock, f"{os.getpid()}\n".encode("ascii"))
                return lock
        except BlockingIOError:
            process = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise InputError(f"{path}: another run{f' (process {process})' if process else ''} is about to write this file; wait "
                             "for it to end, or write another file") from None
        except OSError as error:
            note(f"warning: {path}: cannot be locked against other runs: {error.strerror}")
            return lock
        os.close(lock)


def is_open_as(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_leftovers(path):
    """Removes the temporary files of write_atomically(path) that a killed process left."""
    folder, name = os.path.split(path)
    for leftover in glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.????????{TEMPORARY_SUFFIX}")):
        with contextlib.suppress(OSError):
            os.remove(leftover)
