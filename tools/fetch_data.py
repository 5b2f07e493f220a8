"""Brings the course's own four data files to data/cs224n/, checked against their SHA-256.

    python tools/fetch_data.py                      # into data/cs224n under the project's root
    python tools/fetch_data.py --mirror http://host/folder --out somewhere

The files are those of Stanford CS224N assignment 5 (2021 and 2022), taken from two public copies at a
pinned commit each; the second is asked only where the first fails. They are fetched and not bundled
because they are not this project's to hand on: wiki.txt is text of Wikipedia, under CC BY-SA, and the
three lists of birth places are the course's. data/ is git-ignored.

A file appears under its name only when it is whole and right, so this may be stopped and run again at
any time. Files already complete are left alone; nothing is resumed from a half-written one.

Exit code: 0 all files are there and right; 1 some are not (one line on stderr for each); 2 a bad
argument, or a folder that cannot be read or written; 130 stopped by Ctrl-C.
"""

import argparse
import functools
import hashlib
import os
import secrets
import shlex
import sys
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_OUT = ROOT / "data" / "cs224n"


class File(NamedTuple):
    name: str
    size: int  # bytes
    sha256: str  # hexadecimal


FILES = (
    File("wiki.txt", 419253, "823bb536fca77c8b5a15b34b0dead6355d0cf1f806e822464bca28806c2fd055"),
    File("birth_places_train.tsv", 79923, "02364dfca78e23d2583a19f03a2d8cddd90ee3e1a3795ddec7f0addadea30b0d"),
    File("birth_dev.tsv", 20041, "101a56073eba0db9aad5e2aaf1aa9bf8bdae966ae3aaed8fc8cda5edfa7856da"),
    File("birth_test_inputs.tsv", 13880, "5ccd3b2a1682e0daf90d59488aef8805ef21b9d35795cc3bdabdea79d293aa1f"),
)

ADDRESSES = (
    "https://raw.githubusercontent.com/tlatjddnd101/COSE461_a5_utils/7fc48da41d14e724c55d4e26128a92fb511883b4",
    "https://raw.githubusercontent.com/borislavmavrin/cs224n-a5/77b29372bf7355317af3385c130ce8bb02e2b50a",
)

say = functools.partial(print, flush=True)  # at once, so that a log keeps stdout and stderr in order


class RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirects as urllib does, but never reads the body of the answer that redirects."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url, limit, timeout):
    """The first `limit` bytes of what `url` serves, or all if it serves less."""
    opener = urllib.request.build_opener(RedirectHandler)
    with opener.open(url, timeout=timeout) as response:
        return response.read(limit)


def network_fault(error, timeout):
    """What went wrong, in a few words on one line."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"timed out ({timeout:g} s)"
    if isinstance(cause, HTTPException):
        return f"broken HTTP answer ({type(cause).__name__})"
    return " ".join(str(cause).split()) or type(cause).__name__


def mismatch(data, file):
    """Why `data` (read up to file.size + 1 bytes) is not `file`; an empty string if it is."""
    if len(data) > file.size:
        return f"more than {file.size} bytes"
    if len(data) < file.size:
        return f"{len(data)} bytes, not {file.size}"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return "wrong SHA-256"
    return ""


def save(data, path):
    """Writes `data` to `path` so that `path` holds its old content or all of the new, never a part."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def fetch_file(file, folder, addresses, timeout, say):
    """Brings one file. Returns "" when it is there and right, otherwise a line that says why not."""
    path = folder / file.name
    there = path.exists()
    if there:
        with path.open("rb") as handle:
            if not mismatch(handle.read(file.size + 1), file):
                say(f"{file.name}: already there, complete")
                return ""
    tempfile.TemporaryFile(dir=folder).close()  # a folder that takes no file: say so before the download

    failures = []
    for address in addresses:
        if failures:
            say(f"{file.name}: {failures[-1]}; trying the next address")
        url = f"{address.rstrip('/')}/{file.name}"
        try:
            data = download(url, file.size + 1, timeout)
            fault = mismatch(data, file)
        except (OSError, HTTPException, ValueError) as error:
            fault = network_fault(error, timeout)
        if not fault:
            save(data, path)
            replaced = ", in place of a file with other content" if there else ""
            say(f"{file.name}: fetched from {url}, {file.size} bytes{replaced}")
            return ""
        failures.append(f"{url}: {fault}")
    kept = " (the file of that name with other content is left as it was)" if there else ""
    return f"{file.name}: not fetched{kept}. Tried {'; '.join(failures)}"


def fetch(folder=DEFAULT_OUT, files=FILES, addresses=ADDRESSES, timeout=30.0, say=say):
    """Brings `files` into `folder`, each from the first of `addresses` (address/name) that serves it right.

    timeout is the silence in seconds after which an address is given up; `say` gets each line of the
    account. Returns a line for each file that could not be had, so an empty list is success. A network
    fault raises nothing; OSError means that `folder` cannot be read or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    problems = [fetch_file(file, folder, addresses, timeout, say) for file in files]
    return [problem for problem in problems if problem]


def web_address(text):
    parts = urlsplit(text)  # ValueError here, and for a port that is no number, is argparse's to report
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not plain:
        raise ValueError
    return text


def seconds(text):
    if not 0 < float(text) <= 3600:  # refuses nan too
        raise ValueError
    return float(text)


def main(argv=None, files=FILES):
    parser = argparse.ArgumentParser(
        description="Bring the course's four data files, checked against their SHA-256.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR",
                        help="where to put them (default: data/cs224n under the project's root)")
    parser.add_argument("--mirror", type=web_address, action="append", default=[], metavar="URL",
                        help="an http(s) address tried first, serving URL/FILE; may be repeated")
    parser.add_argument("--mirrors-only", action="store_true",
                        help="try the mirrors and never the built-in addresses")
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS",
                        help="give an address up after this long a silence, up to 3600 (default: 30)")
    args = parser.parse_args(argv)
    if args.mirrors_only and not args.mirror:
        parser.error("--mirrors-only needs a --mirror")

    addresses = args.mirror if args.mirrors_only else [*args.mirror, *ADDRESSES]
    try:
        problems = fetch(args.out, files, addresses, args.timeout)
    except OSError as error:
        print(f"cannot use the folder {args.out}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the files that are complete stay, run it again for the others", file=sys.stderr)
        return 130
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    out = args.out.resolve()
    out = out.relative_to(ROOT) if out.is_relative_to(ROOT) else out
    say(f"next: ./run_all.sh --data {shlex.quote(out.as_posix())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
