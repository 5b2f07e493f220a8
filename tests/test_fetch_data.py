"""python -m pytest -q tests/test_fetch_data.py

tools/fetch_data.py against a server on this machine that serves invented files rightly, wrongly, in part,
without end, late or not at all. Nothing here reaches further than 127.0.0.1.
"""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tools" / "fetch_data.py"
COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"
sys.path.insert(0, str(SCRIPT.parent))
import fetch_data  # noqa: E402

TIMEOUT = 0.4  # for the addresses that never answer; the others answer at once
FLOOD = 64 << 20  # bytes after which an "endless" answer ends, so that reading it whole fails and doesn't hang

BODIES = {"letters.txt": b"abcdefghijklmnopqrstuvwxyz\n" * 40, "cities.tsv": "Zürich\tNouméa\n".encode() * 7}
FILES = [fetch_data.File(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in BODIES.items()]
LETTERS = FILES[0]
BODY = BODIES[LETTERS.name]
OLD = b"an older file\n"


class Handler(BaseHTTPRequestHandler):
    """The path's first part names what is done with the file that the rest names."""

    def do_GET(self):
        kind, _, name = self.path.lstrip("/").partition("/")
        self.server.hits.append((kind, name))
        # A name of the built-in table gets an invented body here, which no SHA-256 of that table fits.
        getattr(self, kind)(BODIES.get(name, b"invented\n"), name)

    def answer(self, body, length=None, code=200, **headers):
        """Sends `body` under a Content-Length of its own choosing; none at all if `length` is False."""
        self.send_response(code)
        if length is not False:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def flood(self):
        """Sends on until the other side hangs up, and notes whether it did."""
        block = bytes(1 << 16)
        try:
            for _ in range(FLOOD // len(block)):
                self.wfile.write(block)
        except OSError:
            self.server.hung_up.set()

    def right(self, body, name):
        self.answer(body)

    def wrong(self, body, name):
        self.answer(body[:-2] + b"?\n")  # the right size

    def cut(self, body, name):
        self.answer(body[:-9], length=len(body))

    def cut_unsized(self, body, name):
        self.answer(body[:-9], length=False)

    def long(self, body, name):
        self.answer(body + b"\n")  # right up to its last byte

    def empty(self, body, name):
        self.answer(b"")

    def endless(self, body, name):
        self.answer(body, length=False)
        self.flood()

    def endless_redirect(self, body, name):
        self.answer(b"", length=False, code=302, Location=f"/right/{name}")
        self.flood()

    def redirect(self, body, name):
        self.answer(b"", code=302, Location=f"/right/{name}")

    def circle(self, body, name):
        self.answer(b"", code=302, Location=self.path)

    def missing(self, body, name):
        self.answer(b"no such file", code=404)

    def fault(self, body, name):
        self.answer(body, code=500)  # the right body does not mend the code

    def no_http(self, body, name):
        self.wfile.write(b"SSH-2.0-something_else\r\n" * 3)

    def silent(self, body, name):
        self.server.stop.wait(20)

    def stalled(self, body, name):
        self.answer(body[:-9], length=len(body))
        self.server.stop.wait(20)

    def paced(self, body, name):
        """Half the body, then the test's own look at the folder, then the rest."""
        self.answer(body[: len(body) // 2], length=len(body))
        self.server.look()
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hits, server.hung_up, server.stop = [], threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def refused():
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch, refused):
    """Whatever is not 127.0.0.1 goes to a proxy that is not there, in this process and in those it starts."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, refused)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetch(folder, addresses, files=(LETTERS,)):
    """fetch_data.fetch with the server's timeout; returns (problems, lines said)."""
    lines = []
    return fetch_data.fetch(folder, files, addresses, TIMEOUT, lines.append), lines


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_script(*arguments):
    """Runs the script itself; returns its exit code and the lines of stdout and of stderr."""
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)],
                          capture_output=True, text=True, encoding="utf-8", timeout=30)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def run_main(folder, *mirrors):
    """main() with the invented files, as a command line would call it."""
    arguments = ["--out", str(folder), "--timeout", str(TIMEOUT), "--mirrors-only"]
    for mirror in mirrors:
        arguments += ["--mirror", mirror]
    return fetch_data.main(arguments, FILES)


# ---- one file, one address -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["right", "redirect"])
def test_a_right_file_is_fetched(server, tmp_path, kind):
    folder = tmp_path / "not" / "there yet"
    problems, lines = fetch(folder, [f"{server.url}/{kind}/"])
    assert problems == []
    assert content(folder) == {LETTERS.name: BODY}
    assert lines == [f"letters.txt: fetched from {server.url}/{kind}/letters.txt, {len(BODY)} bytes"]


BAD = {
    "wrong": r"wrong SHA-256",
    "cut": rf"{len(BODY) - 9} bytes, not {len(BODY)}|broken HTTP answer \(IncompleteRead\)",
    "cut_unsized": rf"{len(BODY) - 9} bytes, not {len(BODY)}",
    "long": rf"more than {len(BODY)} bytes",
    "endless": rf"more than {len(BODY)} bytes",
    "empty": rf"0 bytes, not {len(BODY)}",
    "missing": r"HTTP 404",
    "fault": r"HTTP 500",
    "circle": r"HTTP 302",
    "no_http": r"broken HTTP answer \(\w+\)",
    "silent": rf"timed out \({TIMEOUT} s\)",
    "stalled": rf"timed out \({TIMEOUT} s\)",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_leaves_the_old_file_and_says_why(server, tmp_path, kind):
    (tmp_path / LETTERS.name).write_bytes(OLD)
    problems, lines = fetch(tmp_path, [f"{server.url}/{kind}"])
    assert len(problems) == 1 and lines == []
    assert re.fullmatch(r"letters\.txt: not fetched \(the file of that name with other content is left as it was\)\. "
                        rf"Tried {server.url}/{kind}/letters\.txt: ({BAD[kind]})", problems[0]), problems[0]
    assert content(tmp_path) == {LETTERS.name: OLD}


@pytest.mark.parametrize("kind", BAD)
def test_after_a_bad_answer_the_next_address_is_tried(server, tmp_path, kind):
    problems, lines = fetch(tmp_path, [f"{server.url}/{kind}", f"{server.url}/right"])
    assert problems == []
    assert content(tmp_path) == {LETTERS.name: BODY}
    assert re.fullmatch(rf"letters\.txt: {server.url}/{kind}/letters\.txt: ({BAD[kind]}); trying the next address",
                        lines[0]), lines[0]
    assert lines[1:] == [f"letters.txt: fetched from {server.url}/right/letters.txt, {len(BODY)} bytes"]


def test_a_refused_connection_too(server, tmp_path, refused):
    problems, lines = fetch(tmp_path, [refused, f"{server.url}/right"])
    assert problems == [] and content(tmp_path) == {LETTERS.name: BODY}
    assert len(lines) == 2 and lines[0].startswith(f"letters.txt: {refused}/letters.txt: ")


def test_the_first_right_address_is_the_last_one_asked(server, tmp_path):
    fetch(tmp_path, [f"{server.url}/{kind}" for kind in ("missing", "wrong", "right", "long")])
    assert server.hits == [(kind, LETTERS.name) for kind in ("missing", "wrong", "right")]


def test_an_address_that_is_no_address_raises_nothing(tmp_path):
    problems, _ = fetch(tmp_path, ["nonsense", "http://[", "http://a b", "http://127.0.0.1:x"])
    assert len(problems) == 1 and problems[0].count("; ") == 3
    assert content(tmp_path) == {}


@pytest.mark.parametrize("kind", ["endless", "endless_redirect"])
def test_an_endless_body_is_not_read_to_its_end(server, tmp_path, kind):
    fetch(tmp_path, [f"{server.url}/{kind}"])
    assert server.hung_up.wait(3), f"all {FLOOD} bytes were taken"


# ---- what is there already -------------------------------------------------------------------------


def test_a_complete_file_is_left_alone(server, tmp_path):
    path = tmp_path / LETTERS.name
    path.write_bytes(BODY)
    os.utime(path, (1e9, 1e9))
    problems, lines = fetch(tmp_path, [f"{server.url}/right"])
    assert (problems, lines) == ([], ["letters.txt: already there, complete"])
    assert server.hits == [] and path.stat().st_mtime == 1e9


@pytest.mark.parametrize("old", [OLD, BODY[:-1], BODY + b"\n", BODY[:-2] + b"?\n", b""])
def test_a_file_of_other_content_is_replaced_and_that_is_said(server, tmp_path, old):
    (tmp_path / LETTERS.name).write_bytes(old)
    problems, lines = fetch(tmp_path, [f"{server.url}/right"])
    assert problems == [] and content(tmp_path) == {LETTERS.name: BODY}
    assert lines == [f"letters.txt: fetched from {server.url}/right/letters.txt, {len(BODY)} bytes, "
                     "in place of a file with other content"]


@pytest.mark.parametrize("leftover", [BODY[:-9], BODY])
def test_a_leftover_is_never_used(server, tmp_path, leftover):
    names = [f"{LETTERS.name}.0123456789abcdef.part", f"{LETTERS.name}.part", f".{LETTERS.name}.part"]
    for name in names:
        (tmp_path / name).write_bytes(leftover)
    assert fetch(tmp_path, [f"{server.url}/missing"])[0] != []
    assert sorted(content(tmp_path)) == sorted(names)
    assert fetch(tmp_path, [f"{server.url}/right"])[0] == []
    assert (tmp_path / LETTERS.name).read_bytes() == BODY


# ---- nothing half-written --------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, OLD])
def test_during_the_download_the_name_holds_the_old_content(server, tmp_path, old):
    path, seen = tmp_path / LETTERS.name, []
    if old is not None:
        path.write_bytes(old)
    server.look = lambda: seen.append(path.read_bytes() if path.exists() else None)
    assert fetch(tmp_path, [f"{server.url}/paced"])[0] == []
    assert seen == [old] and path.read_bytes() == BODY


def test_the_old_file_is_replaced_and_not_written_over(server, tmp_path):
    path, link = tmp_path / LETTERS.name, tmp_path / "second name"
    path.write_bytes(OLD)
    os.link(path, link)
    fetch(tmp_path, [f"{server.url}/right"])
    assert path.read_bytes() == BODY and link.read_bytes() == OLD


def test_the_new_file_is_whole_and_on_the_disk_before_it_gets_its_name(server, tmp_path, monkeypatch):
    events = []

    def fsync(descriptor, real=os.fsync):
        events.append(("fsync", os.fstat(descriptor).st_size))
        real(descriptor)

    def replace(part, path, real=os.replace):
        events.append(("replace", part.parent, part.read_bytes(), path.read_bytes()))
        real(part, path)

    (tmp_path / LETTERS.name).write_bytes(OLD)
    monkeypatch.setattr(fetch_data.os, "fsync", fsync)
    monkeypatch.setattr(fetch_data.os, "replace", replace)
    fetch(tmp_path, [f"{server.url}/right"])
    assert events == [("fsync", len(BODY)), ("replace", tmp_path, BODY, OLD)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault, code", [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)],
                         ids=["disk full", "Ctrl-C"])
def test_a_fault_while_saving(server, tmp_path, monkeypatch, capsys, step, fault, code):
    def fail(*args):
        raise fault

    (tmp_path / LETTERS.name).write_bytes(OLD)
    monkeypatch.setattr(fetch_data.os, step, fail)
    try:
        assert run_main(tmp_path, f"{server.url}/right") == code
    except KeyboardInterrupt:  # would end pytest itself
        pytest.fail("Ctrl-C went through main()")
    assert content(tmp_path) == {LETTERS.name: OLD}
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a file size limit")
def test_a_disk_that_takes_only_a_part(server, tmp_path, monkeypatch, capsys):
    import resource

    (tmp_path / LETTERS.name).write_bytes(OLD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, before[1]))
    try:
        code = run_main(tmp_path, f"{server.url}/right")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2 and content(tmp_path) == {LETTERS.name: OLD}
    assert capsys.readouterr().err.startswith(f"cannot use the folder {tmp_path}: ")


# ---- the command line ------------------------------------------------------------------------------


def test_all_files_there(server, tmp_path, capsys):
    assert run_main(tmp_path, f"{server.url}/right") == 0
    assert content(tmp_path) == BODIES
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["letters.txt", "cities.tsv", "next"]
    assert out.splitlines()[-1].startswith("next: ./run_all.sh --data ") and err == ""
    assert run_main(tmp_path, f"{server.url}/right") == 0
    assert capsys.readouterr().out.splitlines()[:2] == [f"{name}: already there, complete" for name in BODIES]
    assert len(server.hits) == 2


def test_one_file_missing(server, tmp_path, capsys):
    (tmp_path / LETTERS.name).write_bytes(BODY)
    assert run_main(tmp_path, f"{server.url}/missing", f"{server.url}/wrong") == 1
    out, err = capsys.readouterr()
    assert content(tmp_path) == {LETTERS.name: BODY}
    assert err == (f"cities.tsv: not fetched. Tried {server.url}/missing/cities.tsv: HTTP 404; "
                   f"{server.url}/wrong/cities.tsv: wrong SHA-256\n")
    assert "run_all" not in out


def test_the_timeout_is_the_one_asked_for(server, tmp_path, capsys):
    start = time.monotonic()
    assert run_main(tmp_path, f"{server.url}/silent") == 1
    assert len(FILES) * TIMEOUT <= time.monotonic() - start < 3
    assert capsys.readouterr().err.count(f"timed out ({TIMEOUT} s)") == len(FILES)


def test_what_to_do_next_names_the_folder_from_the_root(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fetch_data, "ROOT", tmp_path.resolve())
    assert run_main(tmp_path / "data" / "cs224n", f"{server.url}/right") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: ./run_all.sh --data data/cs224n"
    assert run_main(tmp_path / "two words", f"{server.url}/right") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: ./run_all.sh --data 'two words'"


def test_the_default_folder():
    assert fetch_data.DEFAULT_OUT == ROOT / "data" / "cs224n"


def test_script_with_bad_mirrors(server, tmp_path):
    code, out, err = run_script("--out", tmp_path, "--mirrors-only",
                                "--mirror", f"{server.url}/missing", "--mirror", f"{server.url}/right")
    assert code == 1 and content(tmp_path) == {}
    assert [line.split(":")[0] for line in err] == [file.name for file in fetch_data.FILES]
    assert err[0] == (f"wiki.txt: not fetched. Tried {server.url}/missing/wiki.txt: HTTP 404; "
                      f"{server.url}/right/wiki.txt: 9 bytes, not 419253")
    assert out == [f"{file.name}: {server.url}/missing/{file.name}: HTTP 404; trying the next address"
                   for file in fetch_data.FILES]


def test_script_tries_mirrors_then_the_two_public_addresses(server, tmp_path):
    code, _, err = run_script("--out", tmp_path, "--mirror", f"{server.url}/missing")
    assert code == 1 and len(err) == 4
    tried = re.findall(r"https?://\S+(?=: )", err[0])
    assert tried == [f"{address}/wiki.txt" for address in (f"{server.url}/missing", *fetch_data.ADDRESSES)]
    assert len(set(fetch_data.ADDRESSES)) == 2
    assert all(re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}", address)
               for address in fetch_data.ADDRESSES)


@pytest.mark.parametrize("arguments", [
    ["--timeout", "0"], ["--timeout", "nan"], ["--timeout", "inf"], ["--timeout", "soon"],
    ["--mirror", "somewhere"], ["--mirror", "ftp://127.0.0.1"], ["--mirror", "http://127.0.0.1:x"],
    ["--mirror", "http://127.0.0.1/a b"], ["--mirrors-only"], ["--output", "x"], ["data"],
], ids=" ".join)
def test_a_bad_argument(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        fetch_data.main(["--out", str(tmp_path / "new"), *arguments])
    assert exit_.value.code == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_script_with_a_bad_argument():
    code, out, err = run_script("--mirrors-only")
    assert code == 2 and out == [] and err[-1].endswith("error: --mirrors-only needs a --mirror")


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_script_with_a_folder_that_cannot_be(server, tmp_path, folder):
    (tmp_path / "file").write_bytes(OLD)
    code, out, err = run_script("--out", tmp_path / folder, "--mirrors-only", "--mirror", f"{server.url}/right")
    assert code == 2 and out == [] and len(err) == 1 and server.hits == []
    assert err[0].startswith(f"cannot use the folder {tmp_path / folder}: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom a folder's mode binds")
def test_script_with_a_folder_that_cannot_be_written(server, tmp_path):
    tmp_path.chmod(0o555)
    try:
        code, _, err = run_script("--out", tmp_path, "--mirrors-only", "--mirror", f"{server.url}/missing")
    finally:
        tmp_path.chmod(0o755)
    assert code == 2 and len(err) == 1 and server.hits == []


def test_a_folder_that_takes_no_file_is_told_before_the_download(server, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fetch_data.tempfile, "TemporaryFile", fail)
    assert run_main(tmp_path, f"{server.url}/right") == 2
    assert server.hits == [] and capsys.readouterr().err.count("\n") == 1


def test_script_with_a_folder_in_a_files_place(server, tmp_path):
    (tmp_path / "wiki.txt").mkdir()
    code, _, err = run_script("--out", tmp_path, "--mirrors-only", "--mirror", f"{server.url}/right")
    assert code == 2 and len(err) == 1 and (tmp_path / "wiki.txt").is_dir()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("kind", ["silent", "stalled"])
def test_script_stopped_by_ctrl_c(server, tmp_path, kind):
    (tmp_path / "wiki.txt").write_bytes(OLD)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a pytest in the background ignores it,
    try:                                                               # and the child would inherit that
        script = subprocess.Popen([sys.executable, str(SCRIPT), "--out", str(tmp_path), "--mirrors-only",
                                   "--mirror", f"{server.url}/{kind}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    give_up = time.monotonic() + 10
    while not server.hits and time.monotonic() < give_up:
        time.sleep(0.01)
    script.send_signal(signal.SIGINT)
    out, err = script.communicate(timeout=10)
    assert script.returncode == 130 and out == ""
    assert err == "stopped; the files that are complete stay, run it again for the others\n"
    assert content(tmp_path) == {"wiki.txt": OLD}


# ---- the course's own files, where a copy is at hand -----------------------------------------------

needs_course_files = pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="no copy of the course's files")


@needs_course_files
def test_the_table_is_that_of_the_course_files():
    measured = [(file.name, (data := (COURSE_FILES / file.name).read_bytes()), hashlib.sha256(data).hexdigest())
                for file in fetch_data.FILES]
    assert [(name, len(data), sha256) for name, data, sha256 in measured] == list(map(tuple, fetch_data.FILES))


def test_the_table_names_the_four_files():
    assert [file.name for file in fetch_data.FILES] == [
        "wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"]


@needs_course_files
def test_script_with_the_course_files(server, tmp_path, monkeypatch):
    for file in fetch_data.FILES:
        monkeypatch.setitem(BODIES, file.name, (COURSE_FILES / file.name).read_bytes())
    shutil.copyfile(COURSE_FILES / "birth_dev.tsv", tmp_path / "birth_dev.tsv")
    code, out, err = run_script("--out", tmp_path, "--mirrors-only", "--mirror", f"{server.url}/right")
    assert code == 0 and err == [] and len(out) == 5 and len(server.hits) == 3
    assert "birth_dev.tsv: already there, complete" in out
    assert content(tmp_path) == {file.name: (COURSE_FILES / file.name).read_bytes() for file in fetch_data.FILES}
