"""Downloads the course's four data files to data/cs224n/ and checks their SHA-256.

    python tools/corpus/fetch_data.py
    python tools/corpus/fetch_data.py --mirror http://host/folder --out DIR

The files are those of Stanford CS224N assignment 5 (2021, 2022). They come from two public copies,
each at a fixed commit; the second is asked if the first fails. This project does not bundle them:
wiki.txt is text of Wikipedia under CC BY-SA, and the lists of birth places are the course's.

Files that are complete are kept. Exit code: 0 all files are complete; 1 some are not, with one
line on stderr for each; 2 a wrong argument, or a folder that cannot be used; 130 Ctrl-C.
"""

import hashlib
import shlex
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
from runs.console import Parser, fail  # noqa: E402
from runs.files import write_atomically  # noqa: E402
from runs.inputs import InputError  # noqa: E402

DEFAULT_OUT = ROOT / "data" / "cs224n"

SHA256 = {
    "wiki.txt": "823bb536fca77c8b5a15b34b0dead6355d0cf1f806e822464bca28806c2fd055",
    "birth_places_train.tsv": "02364dfca78e23d2583a19f03a2d8cddd90ee3e1a3795ddec7f0addadea30b0d",
    "birth_dev.tsv": "101a56073eba0db9aad5e2aaf1aa9bf8bdae966ae3aaed8fc8cda5edfa7856da",
    "birth_test_inputs.tsv": "5ccd3b2a1682e0daf90d59488aef8805ef21b9d35795cc3bdabdea79d293aa1f",
}

MOST_BYTES = 2**20  # the largest file has 419,253

GITHUB = "https://raw.githubusercontent.com"
ADDRESSES = (
    f"{GITHUB}/tlatjddnd101/COSE461_a5_utils/7fc48da41d14e724c55d4e26128a92fb511883b4",
    f"{GITHUB}/borislavmavrin/cs224n-a5/77b29372bf7355317af3385c130ce8bb02e2b50a",
)


def is_right(name, data):
    return hashlib.sha256(data).hexdigest() == SHA256[name]


def download(url, name, timeout):
    """The bytes of a file. Raises OSError, HTTPException or ValueError if they are not right."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        data = response.read(MOST_BYTES)
    if not is_right(name, data):
        raise ValueError(f"wrong SHA-256 ({len(data)} bytes)")
    return data


def fetch_file(name, folder, addresses, timeout):
    """Downloads a file unless it is complete. Returns None, or a line that says why it failed."""
    path = folder / name
    if path.exists() and is_right(name, path.read_bytes()):
        print(f"{name}: complete, not fetched again", flush=True)
        return None
    failures = []
    for address in addresses:
        url = f"{address.rstrip('/')}/{name}"
        try:
            data = download(url, name, timeout)
        except (OSError, HTTPException, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            failures.append(f"{url}: {reason}")
            continue
        write_atomically(path, lambda file, data=data: file.write(data))
        print(f"{name}: fetched from {url}", flush=True)
        return None
    return f"{name}: not fetched. {'; '.join(failures)}"


def main(argv=None):
    parser = Parser(
        prog="fetch_data.py",
        description="Download the course's four data files and check their SHA-256.",
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="default data/cs224n"
    )
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="try this address first: it serves URL/wiki.txt and the others; may be repeated",
    )
    parser.add_argument(
        "--mirrors-only", action="store_true", help="do not try the built-in addresses"
    )
    parser.add_argument(
        "--timeout", type=float, default=30, metavar="SECONDS", help="of an address; default 30"
    )
    args = parser.parse_args(argv)
    if args.mirrors_only and not args.mirror:
        parser.error("--mirrors-only needs a --mirror")
    if not 0 < args.timeout <= 3600:
        parser.error(f"--timeout is {args.timeout}; seconds from 0 to 3600 are expected")
    addresses = args.mirror if args.mirrors_only else [*args.mirror, *ADDRESSES]
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        lines = [fetch_file(name, args.out, addresses, args.timeout) for name in SHA256]
    except OSError as error:
        fail(parser.prog, f"{args.out}: {error.strerror}")
    except InputError as error:
        fail(parser.prog, str(error))
    except KeyboardInterrupt:
        print("fetch_data.py: interrupted; files that are complete stay", file=sys.stderr)
        return 130
    problems = [line for line in lines if line]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    out = args.out.resolve()
    out = out.relative_to(ROOT) if out.is_relative_to(ROOT) else out
    print(f"next: ./run_all.sh --data {shlex.quote(out.as_posix())}")
    return 0


if __name__ == "__main__":
    from runs.console import command

    with command("fetch_data.py"):
        sys.exit(main())
