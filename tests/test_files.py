"""
Output files: written whole or not at all, on a full disk too; the lock against a second writer,
also of a process that was killed; and what killed processes left.
"""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from conftest import ROOT
from runs import files
from runs.files import check_output, sole_writer, write_atomically, write_lines
from runs.inputs import InputError
from shell import needs_posix

IMPORT = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "src")!r})
from runs.files import sole_writer, write_atomically
"""


@pytest.fixture
def path(tmp_path):
    """The path of a file that is there."""
    path = tmp_path / "a"
    path.write_bytes(b"the older file")
    return path


# ---- whole or not at all --------------------------------------------------------------------


@needs_posix
def test_a_file_is_on_disk_before_it_takes_its_name(path, monkeypatch):
    """Or a power cut would leave an empty file in the older one's place."""
    replace, fsync, events = os.replace, os.fsync, []

    def flushing(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder" if is_folder else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def renaming(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)  # else another disk, perhaps
        with open(source, "rb") as file:
            events.append((file.read(), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", flushing)
    monkeypatch.setattr(files.os, "replace", renaming)
    write_atomically(path, lambda file: file.write(b"new"))
    assert events == [3, (b"new", b"the older file"), "folder"] and path.read_bytes() == b"new"


@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), TypeError(), KeyboardInterrupt()]
)
def test_a_write_that_fails_keeps_the_older_file(path, monkeypatch, where, error):
    """The user's mistake is an InputError that names the file; others stay what they are."""

    def fail(*_):
        raise error

    def write(file):
        file.write(b"half of the")
        if where == "write":
            raise error

    if where != "write":
        monkeypatch.setattr(files.os, where, fail)
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_atomically(path, write)
    if expected is InputError:
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(path.parent) == ["a"] and path.read_bytes() == b"the older file"


@needs_posix
@pytest.mark.slow
def test_a_full_disk_keeps_what_was_there(path):
    """The system's limit on a file's size fails in the same way, here for tensors."""
    program = (
        IMPORT + "import resource, torch\nfrom runs.checkpoint import write_tensors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: write_tensors(sys.argv[1], torch.ones(9999))\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and str(path) in done.stdout, done.stderr
    assert os.listdir(path.parent) == ["a"] and path.read_bytes() == b"the older file"


def test_a_target_that_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "none" / "a", tmp_path / "folder"):
        with pytest.raises(InputError) as caught:
            write_lines(target, ["text"])
        assert str(target) in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == []


def test_lines_are_utf8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines("a", ["Zoë", "", "x"])  # a name without a folder
    assert (tmp_path / "a").read_bytes() == "Zoë\n\nx\n".encode()


def test_a_link_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "b")
    write_lines(tmp_path / "a", ["text"])
    assert (tmp_path / "a").is_symlink() and os.listdir(tmp_path / "disk") == ["b"]
    assert (tmp_path / "disk" / "b").read_bytes() == b"text\n"


@needs_posix
def test_a_pipe_or_device_is_written_to_and_neither_replaced_nor_locked(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with sole_writer(path), sole_writer(path):
            write_atomically(path, lambda file: file.write(b"written"))
        assert stat.S_ISFIFO(path.stat().st_mode) and os.read(reader, 100) == b"written"
    finally:
        os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


@needs_posix
def test_a_link_into_a_folder_that_is_not_there_is_refused_in_advance(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none" / "a")
    with pytest.raises(InputError, match="none"):
        check_output(link)
    (tmp_path / "none").mkdir()
    check_output(link)
    check_output("/dev/null")


@needs_posix
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(umask, mode, path):
    before = os.umask(umask)
    try:
        write_lines(path, ["text"])
    finally:
        after = os.umask(before)
    assert after == umask and path.stat().st_mode & 0o777 == mode


# ---- one at a time --------------------------------------------------------------------------


@pytest.fixture
def holder(path):
    """A process that holds the lock on a file."""
    program = (
        IMPORT + "with sole_writer(sys.argv[1]): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def is_locked(path):
    try:
        with sole_writer(path):
            return False
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return True


@needs_posix
@pytest.mark.parametrize("end", ["kill", "terminate", "close"])
def test_a_second_writer_is_refused_until_the_first_has_ended(holder, path, end):
    """The lock file stays and is in nobody's way."""
    assert is_locked(path) and is_locked(path)
    assert not is_locked(path.with_name("b"))  # another file is free
    holder.stdin.close() if end == "close" else getattr(holder, end)()
    holder.wait()
    assert path.with_name(".a.lock").exists()
    assert not is_locked(path) and not is_locked(path)


@needs_posix
def test_the_lock_is_the_files_whatever_it_is_called(path, monkeypatch):
    path.with_name("link").symlink_to(path)
    monkeypatch.chdir(path.parent)
    with sole_writer(path):
        assert all(is_locked(name) for name in ("link", "a", "./a"))


def test_an_error_lets_the_lock_go(path):
    with pytest.raises(ZeroDivisionError), sole_writer(path):
        raise ZeroDivisionError
    assert not is_locked(path)


@needs_posix
def test_where_no_lock_can_be_made(tmp_path):
    assert is_locked(tmp_path / "none" / "a")


@needs_posix
def test_a_file_system_without_locks_is_a_warning(path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with sole_writer(path):
        pass
    error = capsys.readouterr().err
    assert error.startswith("warning: ") and str(path) in error and error.count("\n") == 1


def test_a_system_without_locks_is_taken_as_it_is(path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with sole_writer(path), sole_writer(path):
        pass


@needs_posix
@pytest.mark.parametrize("name", ["a.params", "a[1]"])
def test_what_killed_processes_left_is_removed(tmp_path, name):
    """Of this file and those that belong to it, and of no other."""
    mine = [f".{name}.12345678.part", f".{name}.abcdefg_.part", f".{name}.resume.12345678.part"]
    others = [".a.12345678.part", ".a1.12345678.part", f".{name}.b.12345678.part", f".{name}.1234"]
    others += [name, f"{name}.resume"]
    for file in mine + others:
        (tmp_path / file).write_bytes(b"half")
    with sole_writer(tmp_path / name, companions=[tmp_path / f"{name}.resume"]):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([*others, f".{name}.lock"])


@needs_posix
def test_a_process_that_dies_as_it_writes_leaves_the_older_file(path):
    program = IMPORT + (
        "write_atomically(sys.argv[1], lambda file: (file.write(b'half'), file.flush(), "
        "os.kill(os.getpid(), signal.SIGKILL)))"
    )
    done = subprocess.run([sys.executable, "-c", program, path])
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(path.parent)) == 2 and path.read_bytes() == b"the older file"
    with sole_writer(path):
        pass
    assert sorted(os.listdir(path.parent)) == [".a.lock", "a"]
