"""python -m pytest tests/test_files.py

Output files: written whole or not at all, on a full disk too; the lock against a second writer, also of processes that
were killed; and what killed processes left.
"""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

import files
from conftest import ROOT
from dataset import InputError
from files import sole_writer, write_atomically

HOLD = f"""
import sys
sys.path.insert(0, {str(ROOT / 'src')!r})
from files import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""

# ---- whole or not at all --------------------------------------------------------------------------------------------
def test_a_file_is_on_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    """Else a power cut leaves an empty file in the older one's place."""
    path, replace, fsync, events = tmp_path / "a", os.replace, os.fsync, []
    monkeypatch.setattr(files.os, "fsync", lambda file: (events.append((os.fstat(file).st_size, "flushed")), fsync(file)))

    def looking(source, target):
        with open(source, "rb") as file:
            events.append(file.read())
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", looking)
    write_atomically(path, lambda file: file.write(b"new"))
    (size, flushed), content, (_, folder_flushed) = events  # the folder too: else a later removal may outlive this renaming
    assert (size, flushed, content, folder_flushed) == (3, "flushed", b"new", "flushed")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_target_that_is_no_ordinary_file_is_written_to_and_not_replaced(tmp_path):
    """As /dev/null and /dev/stdout are, which root could otherwise replace by a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(path, lambda file: file.write(b"written"))
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert os.read(reader, 100) == b"written"
    finally:
        os.close(reader)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits on processes")
@pytest.mark.parametrize("what", ["bytes", "tensors"])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(what, tmp_path):
    """A real one would need a file system of its own; the system's limit on a file's size fails in the same way."""
    path = tmp_path / "a"
    path.write_bytes(b"the older file")
    script = f"""
import resource, sys
sys.path.insert(0, {str(ROOT / 'src')!r})
import torch
from checkpoint import write_tensors
from dataset import InputError
from files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    if {what!r} == "bytes":
        write_atomically({str(path)!r}, lambda file: file.write(bytes(30000)))
    else:
        write_tensors({str(path)!r}, torch.ones(9999))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{path}: cannot be written: File too large\n", done.stderr
    assert os.listdir(tmp_path) == ["a"] and path.read_bytes() == b"the older file"


# ---- one at a time --------------------------------------------------------------------------------------------------

@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock on a file; the file's path and the process."""
    path = tmp_path / "a.params"
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_second_writer_is_told_who_the_first_is(holder):
    path, process = holder
    with pytest.raises(InputError) as caught:
        with sole_writer(path):
            pytest.fail("both of them write")
    assert str(caught.value) == (f"{path}: another run (process {process.pid}) is about to write this file; wait for it to end, or "
                                 "write another file")
    with sole_writer(path.with_name("b.params")):  # another file is free
        pass
    assert os.listdir(path.parent) == [".a.params.lock"]


def test_the_lock_ends_with_its_holder(holder):
    path, process = holder
    process.stdin.close()
    process.wait()
    assert os.listdir(path.parent) == []
    with sole_writer(path):
        assert os.listdir(path.parent) == [".a.params.lock"]
    assert os.listdir(path.parent) == []


def test_a_killed_process_leaves_no_lock_behind(holder):
    path, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    with sole_writer(path):
        pass
    assert os.listdir(path.parent) == []


def test_the_lock_is_the_files_whatever_it_is_called(holder, monkeypatch):
    """By a link, or from its own folder."""
    path, _ = holder
    path.with_name("link").symlink_to(path)
    monkeypatch.chdir(path.parent)
    for name in ("link", "a.params", "./a.params"):
        with pytest.raises(InputError, match="another run"):
            with sole_writer(name):
                pytest.fail("both of them write")


def test_an_error_lets_the_lock_go(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with sole_writer(tmp_path / "a"):
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    with sole_writer(tmp_path / "a"):
        pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """The holder before removes the file between the opening and the locking of it: then a new one is opened."""
    flock, removed = files.fcntl.flock, []

    def late(descriptor, operation):
        if not removed:
            removed.append(os.remove(tmp_path / ".a.lock"))
        flock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with sole_writer(tmp_path / "a"):
        assert os.listdir(tmp_path) == [".a.lock"]
        with pytest.raises(InputError, match="another run"):
            with sole_writer(tmp_path / "a"):
                pytest.fail("both of them write")


def test_of_many_at_once_one_at_a_time_writes(tmp_path):
    """Eight processes that lock, look at what is there, change it, and let go, each thirty times."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / 'src')!r})
from dataset import InputError
from files import sole_writer
done = 0
while done < 30:
    try:
        with sole_writer("a"):
            count = int(open("count").read())
            open("count", "w").write(str(count + 1))
        done += 1
    except InputError:
        pass
"""
    (tmp_path / "count").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) for _ in range(8)]
    assert [worker.wait(timeout=100) for worker in workers] == [0] * 8
    assert (tmp_path / "count").read_text() == "240" and os.listdir(tmp_path) == ["count"]


def test_where_no_lock_can_be_made(tmp_path):
    with pytest.raises(InputError) as caught:
        with sole_writer(tmp_path / "none" / "a"):
            pytest.fail("written to no folder")
    assert str(caught.value) == f"{tmp_path}/none/a: cannot be written: No such file or directory"


def test_a_file_system_without_locks_is_taken_as_it_is(tmp_path, monkeypatch, capsys):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with sole_writer(tmp_path / "a"):
        pass
    assert capsys.readouterr().err == f"warning: {tmp_path}/a: cannot be locked against other runs: No locks available\n"
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_lock_behind(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)
    with sole_writer(tmp_path / "a"):
        with pytest.raises(InputError, match="another run is about"):
            with sole_writer(tmp_path / "a"):
                pytest.fail("both of them write")
    assert os.listdir(tmp_path) == []


def test_a_link_to_a_pipe_is_written_to():
    """As /dev/stdout is under `| cat`; where it points to is no path at all."""
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); from files import *\n" \
             "with sole_writer('/dev/stdout'): write_atomically('/dev/stdout', lambda file: file.write(b'written'))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "written"


def test_devices_and_pipes_are_not_locked(tmp_path):
    with sole_writer("/dev/null"), sole_writer("/dev/null"):
        assert not os.path.exists("/dev/.null.lock")


def test_what_killed_processes_left_is_removed(tmp_path):
    """Of this file and those that belong to it, and of no other."""
    mine = [".a.params.12345678.part", ".a.params.abcdefg_.part", ".a.params.resume.12345678.part"]
    others = [".a.12345678.part", ".a.params.12345678", ".a.params.b.12345678.part", ".b.params.12345678.part", "a.params", "a.params.resume"]
    for name in mine + others:
        (tmp_path / name).write_bytes(b"half")
    with sole_writer(tmp_path / "a.params", companions=[tmp_path / "a.params.resume"]):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_names_that_are_patterns_mean_themselves(tmp_path):
    folder = tmp_path / "[ab]"
    for place in (folder, tmp_path / "a"):
        place.mkdir()
        for name in (".a[1].12345678.part", ".a1.12345678.part"):
            (place / name).write_bytes(b"half")
    with sole_writer(folder / "a[1]"):
        pass
    assert os.listdir(folder) == [".a1.12345678.part"] and len(os.listdir(tmp_path / "a")) == 2


def test_the_number_of_a_process_that_died_does_not_stay(tmp_path):
    (tmp_path / ".a.lock").write_text("9" * 15 + "\n")
    with sole_writer(tmp_path / "a"):
        assert (tmp_path / ".a.lock").read_text() == f"{os.getpid()}\n"


def test_what_a_process_leaves_that_dies_as_it_writes(tmp_path):
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / 'src')!r})
from files import write_atomically
write_atomically("a", lambda file: (file.write(b"half"), file.flush(), os.kill(os.getpid(), signal.SIGKILL)))
"""
    (tmp_path / "a").write_bytes(b"the older file")
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2 and (tmp_path / "a").read_bytes() == b"the older file"
    with sole_writer(tmp_path / "a"):
        pass
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"the older file"
