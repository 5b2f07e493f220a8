"""tools/corpus/fetch_data.py against a server on this machine. Nothing here uses the network."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import fetch_data
from conftest import COURSE_FILES, ROOT
from shell import needs_posix

SCRIPT = ROOT / "tools" / "corpus" / "fetch_data.py"
BODIES = {"letters.txt": b"abcdefghijklmnopqrstuvwxyz\n" * 40, "cities.tsv": b"Oslo\tRome\n" * 7}
OLD = b"an older file\n"


class Handler(BaseHTTPRequestHandler):
    """GET /KIND/NAME sends the file in a way that KIND names."""

    def do_GET(self):
        kind, _, name = self.path.lstrip("/").partition("/")
        self.server.hits.append((kind, name))
        body = BODIES.get(name, b"another file\n")
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/right/{name}")
            self.end_headers()
            return
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "silent":
            self.server.stop.wait(20)
        elif kind == "cut":
            self.wfile.write(body[:-9])
        elif kind == "wrong":
            self.wfile.write(body[:-2] + b"?\n")
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hits, server.stop = [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch, capsys):
    """fetch(*kinds) fetches BODIES from the server's addresses: (exit code, stdout, stderr)."""
    sums = {name: hashlib.sha256(body).hexdigest() for name, body in BODIES.items()}
    monkeypatch.setattr(fetch_data, "SHA256", sums)
    for name in ("http_proxy", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def call(*kinds):
        mirrors = [word for kind in kinds for word in ("--mirror", f"{server.url}/{kind}/")]
        arguments = ["--out", str(tmp_path / "new" / "data"), "--timeout", "0.4", "--mirrors-only"]
        try:
            code = fetch_data.main([*arguments, *mirrors])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    call.folder = tmp_path / "new" / "data"
    return call


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["right", "redirect"])
def test_files_are_fetched_once(server, fetch, kind):
    code, out, err = fetch(kind)
    assert (code, err) == (0, "") and content(fetch.folder) == BODIES
    assert f"./run_all.sh --data {fetch.folder}" in out
    server.hits.clear()
    assert fetch(kind)[0] == 0 and server.hits == []


@pytest.mark.parametrize("kind", ["wrong", "cut", "missing", "silent"])
def test_a_bad_answer_is_one_line_and_leaves_the_old_file(fetch, kind):
    fetch.folder.mkdir(parents=True)
    (fetch.folder / "letters.txt").write_bytes(OLD)
    code, _, err = fetch(kind)
    assert code == 1 and content(fetch.folder) == {"letters.txt": OLD}
    assert [line.split(":")[0] for line in err.splitlines()] == list(BODIES)
    assert err.count(f"/{kind}/") == 2


@pytest.mark.parametrize("kind", ["wrong", "cut", "missing"])
def test_the_next_address_is_tried_and_the_old_file_replaced(server, fetch, kind):
    fetch.folder.mkdir(parents=True)
    (fetch.folder / "letters.txt").write_bytes(OLD)
    (fetch.folder / "cities.tsv").write_bytes(BODIES["cities.tsv"])
    assert fetch(kind, "right", "silent")[0] == 0 and content(fetch.folder) == BODIES
    assert server.hits == [(kind, "letters.txt"), ("right", "letters.txt")]


def test_an_address_that_is_none(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--mirrors-only", "--mirror", "nonsense"]
    assert fetch_data.main(arguments) == 1
    assert len(capsys.readouterr().err.splitlines()) == 4 and content(tmp_path) == {}


@pytest.mark.parametrize(
    "fault, code", [(OSError(28, "No space left"), 2), (KeyboardInterrupt, 130)]
)
def test_a_fault_while_a_file_is_written_leaves_the_old_one(fetch, monkeypatch, fault, code):
    def fail(*_):
        raise fault

    fetch.folder.mkdir(parents=True)
    (fetch.folder / "letters.txt").write_bytes(OLD)
    monkeypatch.setattr(os, "replace", fail)
    got, _, err = fetch("right")
    assert (got, err.count("\n"), content(fetch.folder)) == (code, 1, {"letters.txt": OLD})


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    folder = str(tmp_path / "file" / "below")
    with pytest.raises(SystemExit, match="2"):
        fetch_data.main(["--out", folder, "--mirrors-only", "--mirror", "nonsense"])
    err = capsys.readouterr().err
    assert folder in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--timeout", "0"], ["--timeout", "nan"], ["--mirrors-only"], ["data"]]
)
def test_a_wrong_argument(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        fetch_data.main(["--out", str(tmp_path / "new"), *arguments])
    err = capsys.readouterr().err
    assert arguments[0] in err and err.count("\n") == 1 and not (tmp_path / "new").exists()


@needs_posix
def test_ctrl_c_is_one_line(server, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        script = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--out", str(tmp_path)]
            + ["--mirrors-only", "--mirror", f"{server.url}/silent"],
            env={**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"},
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    give_up = time.monotonic() + 10
    while not server.hits and time.monotonic() < give_up:
        time.sleep(0.01)
    script.send_signal(signal.SIGINT)
    err = script.communicate(timeout=10)[1]
    assert (script.returncode, err.count("\n"), content(tmp_path)) == (130, 1, {})


@pytest.mark.skipif(not COURSE_FILES.is_dir(), reason="no copy of the course's files")
def test_the_sums_are_those_of_the_courses_files(tmp_path, capsys):
    for name in fetch_data.SHA256:
        shutil.copy(COURSE_FILES / name, tmp_path / name)
    assert fetch_data.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("complete") == 4
