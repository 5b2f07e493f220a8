"""
Gives the readers of the project strange inputs, drawn by hypothesis. A reader must accept an input
or refuse it with one line. It must not end in another exception or take very long.

    python tools/experiments/fuzz.py [--inputs 100000] [--reader NAME ...] [--seed N] [--json FILE]

tests/test_fuzz.py runs it with few inputs. It needs POSIX signals.
"""

import argparse
import contextlib
import io
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import run  # noqa: E402, before torch

# isort: split
import hypothesis  # noqa: E402
import london_baseline  # noqa: E402
import torch  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from attention import VARIANTS  # noqa: E402
from dataset import MASK_CHAR, PAD_CHAR, CharCorruptionDataset  # noqa: E402
from fast.decoding import Answer  # noqa: E402
from model import GPT, GPTConfig  # noqa: E402
from recipe import Recipe, Training  # noqa: E402
from runs.checkpoint import load_params  # noqa: E402
from runs.files import check_output, write_lines  # noqa: E402
from runs.inputs import InputError  # noqa: E402
from trainer import Trainer  # noqa: E402
from utils import evaluate_places  # noqa: E402

SECONDS = 10  # for one input
LONGEST_LINE = 1000  # characters
ONCE = Training(max_epochs=1, batch_size=4, learning_rate=1e-3, warmup_tokens=10, decay_epochs=4)
SMALL = Recipe(48, 1, 2, 8, 0.1, ONCE, ONCE, ONCE)
CORPUS = (
    "Ann Lee. Ann Lee was born in Leeds and wove hats there .\n"
    "Zoë Brøgger. Zoë Brøgger was born in Ålesund ; she kept bees .\n"
    "Bob Whist. Where was Bob Whist born? In York .\n"
    "Ed Ng. Ed Ng was born in Hull .\n"
)
QUESTIONS = "Where was Ann Lee born?\tLeeds\nWhere was Ed Ng born?\tHull\n"


# ---- the harness ----------------------------------------------------------------------------

READERS = {}  # {name: (reader, strategy of its inputs)}


def reads(strategy):
    """
    Enters a reader in READERS: a generator function that gets a folder and yields a function. That
    function reads an input, checks the result, and returns None or the line of the refusal.
    """

    def enter(function):
        READERS[function.__name__] = contextlib.contextmanager(function), strategy
        return function

    return enter


def must(condition, *what):
    if not condition:
        raise AssertionError(*what)


@contextlib.contextmanager
def captured():
    """Yields a function for the lines on standard error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", err):
        yield lambda: err.buffer.getvalue().decode("utf-8").splitlines()


def check_line(line):
    must(line.strip() and len(line.splitlines()) == 1, "not one line", line[:300])
    must(len(line) <= LONGEST_LINE, f"a line of {len(line)} characters", line[:300])
    return line


def refusal(action, *arguments):
    """The one line of the InputError that the action raises, or None."""
    with captured():
        try:
            action(*arguments)
        except InputError as error:
            return check_line(str(error))


def refusal_of_command(main, words):
    """The one line after which a command exits with 2, or None. Notes and warnings may precede."""
    code = 0
    with captured() as stderr, mock.patch.object(sys, "argv", ["command", *words]):
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        lines = stderr()
    must(code in (0, 2), f"exit code {code}")
    error = lines.pop() if code == 2 else None
    for line in lines:
        must(line.startswith(("note: ", "warning: ")), "another line", line[:300])
    must(error is None or ": error: " in check_line(error), "no error", error)
    return error


@contextlib.contextmanager
def time_limit(seconds):
    def stop(number, frame):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kind_of(message):
    """A message without file names, numbers and quoted text."""
    return re.sub(r"'.*'|\S*[^\sA-Za-z,;:()]\S*", "…", message)[:150]


SETTINGS = hypothesis.settings(
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def try_inputs(name, inputs, seed, seconds=SECONDS):
    """The counts of a reader, and its failures as {kind: (input, report)}."""
    reader, strategy = READERS[name]
    results, failures = Counter(), {}

    def attempt(read, value):
        try:
            with time_limit(seconds):
                message = read(value)
            results["accepted" if message is None else kind_of(message)] += 1
        except (Exception, SystemExit) as error:
            report = "".join(traceback.format_exception(error)[-5:])
            results["failed"] += 1
            failures.setdefault(kind_of(report[-300:]), (value, report))

    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with reader(Path(folder)) as read:
                test = hypothesis.given(strategy)(lambda value: attempt(read, value))
                settings = hypothesis.settings(SETTINGS, max_examples=inputs)
                hypothesis.seed(seed)(settings(test))()
        finally:
            os.chdir(here)
    total, succeeded, failed = (
        results.total(),
        results.pop("accepted", 0),
        results.pop("failed", 0),
    )
    counts = {"inputs": total, "succeeded": succeeded, "refused": total - succeeded - failed}
    return counts | {"kinds": len(results)}, failures


# ---- texts ----------------------------------------------------------------------------------

PIECES = "Ann Lee. |Ann Lee was born in Leeds .|Where was Ann Lee born?|York| |\n|\n|\t|\r\n|\r"
PIECES += "|\ufeff|\0|\u2028|\x0b|مريم العذراء|李小龍|𝔘𝔫𝔦|e\u0301|\u202eeht|\n\n\n|\x1b[31m"
PIECES = [*PIECES.split("|"), "x" * 200, MASK_CHAR, PAD_CHAR]
BYTES = [b"\xed\xa0\x80", b"\xff", b"\xc0\x80", b"\xef\xbb\xbf", b"\xe2\x81", b"\0", b"\r"]
NAMES = ["Ann Lee", "Bob Whist", "Ed Ng", "Leeds", "York", "Zoë", "x" * 60, "", " "]

name = st.sampled_from(NAMES) | st.text("ABLWeno deshirtYk", max_size=12)
end = st.sampled_from(["\n", "\n", "\r\n", "\n\n", " \n"])
tab = st.sampled_from(["\t", "\t", "\t", " \t ", "\t\t", ""])
answered = st.builds("Where was {} born?{}{}{}".format, name, tab, name, end)
good = st.builds("Where was {} born?\t{}\n".format, st.sampled_from(NAMES[:5]), name)
words = st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=12).map("".join)


def lines(line):
    return st.lists(line, min_size=1, max_size=6).map("".join)


def encoded(text):
    """Bytes of a text: as UTF-8, with bytes inserted, or in another encoding."""
    utf8 = text.map(lambda value: value.encode("utf-8", "surrogatepass"))

    def insert(content, piece, place):
        place %= len(content) + 1
        return content[:place] + piece + content[place:]

    damaged = st.builds(insert, utf8, st.sampled_from(BYTES), st.integers(0, 500))
    other = text.map(lambda value: value.encode("utf-16", "replace"))
    kinds = [utf8, utf8, utf8, utf8, damaged, other, st.binary(max_size=60)]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


document = encoded(words)
table = encoded(lines(good) | lines(good) | lines(answered) | words)


def small_corpus():
    with captured():
        return CharCorruptionDataset(CORPUS, SMALL.block_size)


@reads(st.tuples(document, st.sampled_from([9, 48]), st.integers(0, 2**32 - 1)))
def corpus(folder):
    """The pretraining corpus: run.read_corpus(), and an item of it."""
    path = folder / "wiki.txt"

    def read(value):
        content, block_size, number = value
        path.write_bytes(content)
        made = []
        message = refusal(lambda: made.append(run.read_corpus(path, block_size)))
        if message is None:
            x, y = made[0][number % len(made[0])]
            must(x.shape == y.shape == (block_size - 1,), "an item of another size")
        return message

    yield read


@reads(table)
def finetuning(folder):
    """The finetuning corpus: run.finetune(), and the items of its dataset."""
    path, data = folder / "births.tsv", small_corpus()

    def read(content):
        path.write_bytes(content)
        made = []
        arguments = None, path, data, SMALL.block_size, nn.Linear(1, 1)
        message = refusal(lambda: made.append(run.finetune(*arguments, device="cpu")))
        if message is None:
            for x, y in made[0][1].train_dataset:
                must(x.shape == y.shape and y.count_nonzero(), "an item without a target")
        return message

    yield read


@reads(
    st.tuples(table, st.lists(st.sampled_from(["York", "", "Le\neds\n", PAD_CHAR]), min_size=1))
)
def evaluation(folder):
    """The questions to answer: run.evaluate() with given answers, and the files it writes."""
    path, outputs, scores = folder / "births.tsv", folder / "out", folder / "out.tsv"
    data = small_corpus()
    model = SimpleNamespace(max_positions=SMALL.block_size)

    def read(value):
        content, texts = value

        def answer(model, prompts, *_):
            ids = [
                [data.stoi[char] for char in texts[i % len(texts)]] for i in range(len(prompts))
            ]
            return [Answer(row, -1.5, True) for row in ids]

        path.write_bytes(content)
        outputs.unlink(missing_ok=True)
        with mock.patch.object(run, "generate", answer):
            message = refusal(run.evaluate, model, data, path, outputs, scores, 2)
        must(outputs.exists() == (message is None), "predictions in spite of a refusal")
        if message is None:
            count = len(outputs.read_text("utf-8").splitlines())
            must(scores.read_text("utf-8").count("\n") == count + 1, "another table")
        return message

    yield read


@reads(st.tuples(table, st.none() | st.integers(0, 3)))
def places(folder):
    """The questions to score: evaluate_places() and london_baseline.py."""
    path = folder / "births.tsv"

    def read(value):
        content, number = value
        path.write_bytes(content)
        if number is None:
            return refusal_of_command(london_baseline.main, ["--eval_corpus_path", str(path)])
        return refusal(evaluate_places, path, number * ["York"])

    yield read


# ---- parameter files ------------------------------------------------------------------------


class Hostile:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


CHANGES = {
    "same": lambda t: t.clone(),
    "double": lambda t: t.double(),
    "wrong shape": lambda t: t[None],
    "smaller": lambda t: t.flatten()[:1],
    "nan": lambda t: torch.full_like(t, math.nan),
    "infinite": lambda t: t.double() * 0 + 1e300,
    "text": lambda t: "text",
    "hostile": lambda t: Hostile(),
}


@reads(
    st.tuples(
        st.sampled_from(["same", "same", *CHANGES, "drop", "add"]),
        st.integers(0, 40),
        st.sampled_from(["", "module."]),
        st.none() | st.floats(0, 1),
    )
)
def parameters(folder):
    """load_params() of a changed or truncated file: the model has all of it or none of it."""
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 4}
    with captured():
        model, source = (GPT(GPTConfig(7, 9, **sizes)) for _ in range(2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def read(value):
        change, number, prefix, cut = value
        state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
        name = list(state)[number % len(state)]
        if change == "drop":
            del state[name]
        elif change == "add":
            state[name + "x"] = torch.ones(2)
        else:
            state[name] = CHANGES[change](state[name])
        torch.save(state, "some.params")
        content = Path("some.params").read_bytes()
        if cut is not None:
            Path("some.params").write_bytes(content[: int(cut * len(content))])
        message = refusal(load_params, model, "some.params")
        must(not os.path.exists("executed"), "something in the file was executed")
        expected = before
        if message is None:
            must(change in ("same", "double"), "accepted")
            expected = source.state_dict()
        for name, tensor in model.state_dict().items():
            must(torch.equal(tensor, expected[name]), "another model", name)
        model.load_state_dict(before)
        return message

    yield read


# ---- the command line -----------------------------------------------------------------------

VARIANT = next(iter(VARIANTS))
COMMANDS = [
    f"pretrain {VARIANT} wiki.txt --writing_params_path out",
    f"finetune {VARIANT} wiki.txt --finetune_corpus_path births.tsv --writing_params_path out",
    f"finetune {VARIANT} wiki.txt --finetune_corpus_path births.tsv --writing_params_path out "
    "--reading_params_path some.params",
    f"evaluate {VARIANT} wiki.txt --reading_params_path some.params --eval_corpus_path births.tsv "
    "--outputs_path out --scores_path out.tsv",
]
FLAGS = "reading_params_path writing_params_path finetune_corpus_path eval_corpus_path "
FLAGS += "outputs_path scores_path tb_log_dir seed device beam recipe max_epochs precision "
FLAGS += "micro_batch_size resume_every restart unknown re"
PATHS = "wiki.txt|births.tsv|some.params|out|folder|folder/|folder/out||no/such|/dev/null|."
PATHS += f"|wiki.txt/x|{'x' * 256}|a b|a\nb|é|-x"
VALUES = f"0|1|-1|4294967296|1e9|nan|inf|x|{'9' * 5000}|1.5|cpu|cuda:99|meta|course|quick|auto"
VALUES += "|float32|a\nb|--|-h"
WORDS = [*PATHS.split("|"), *VALUES.split("|")]
flag = st.sampled_from(FLAGS.split()).map("--{}".format)
change = st.tuples(
    st.sampled_from(["replace", "insert", "drop"]),
    st.integers(0, 12),
    st.sampled_from(WORDS) | flag | st.text(max_size=8).filter(lambda t: "/" not in t),
)


def changed(command, changes, added):
    words = [*command.split(), *added]
    for action, place, word in changes:
        place %= len(words) + 1
        words[place : place + (action != "insert")] = [] if action == "drop" else [word]
    return words


def contents(folder):
    """{path: content} of a folder, without the lock files, which stay."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith(".lock")
    }


@contextlib.contextmanager
def untrained():
    """run.py with small models, without training, and with given answers."""

    def answer(model, prompts, *_):
        return [Answer([3, 4], -1.0, True)] * len(prompts)

    with (
        mock.patch.dict(run.RECIPES, dict.fromkeys(run.RECIPES, SMALL)),
        mock.patch.object(Trainer, "train", lambda self, checkpointer=None: None),
        mock.patch.object(run, "generate", answer),
        mock.patch("runs.device.multiplies_bfloat16", lambda device: False),
    ):
        yield


@reads(
    st.builds(
        changed,
        st.sampled_from(COMMANDS),
        st.lists(change, max_size=1),
        st.just(()) | st.tuples(flag, st.sampled_from(WORDS)),
    )
)
def command(folder):
    """run.main() with any words. A refusal changes no file."""
    (folder / "wiki.txt").write_text(CORPUS, encoding="utf-8")
    (folder / "births.tsv").write_text(QUESTIONS, encoding="utf-8")
    (folder / "folder").mkdir()
    with captured():
        config = GPTConfig(small_corpus().vocab_size, 48, **SMALL.model_settings())
        torch.save(GPT(config).state_dict(), folder / "some.params")
    before = contents(folder)

    def read(words):
        with untrained():
            message = refusal_of_command(lambda: run.main(list(words)), words)
        after = contents(folder)
        for path in after.keys() - before.keys():
            os.rmdir(path) if os.path.isdir(path) else os.remove(path)
        for path, content in before.items():
            if content is not None:
                Path(path).write_bytes(content)
        if message is not None:
            must(after == before, "files have changed", sorted(after.keys() ^ before.keys()))
        return message

    yield read


# ---- as a script ----------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description="Give the readers strange inputs.")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each; default 100000")
    parser.add_argument("--reader", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--seed", type=int, default=0, help="of the inputs; default 0")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    args = parser.parse_args()
    if args.json:
        check_output(args.json)
    failed = False
    for name in args.reader:
        start = time.monotonic()
        counts, failures = try_inputs(name, args.inputs, args.seed)
        counts["seconds"] = round(time.monotonic() - start)
        print(f"{name}: {counts}, {len(failures)} kinds of failure", flush=True)
        for value, report in failures.values():
            print(f"FAILURE of {name}, input {value!r:.1000}\n{report}", flush=True)
        failed = failed or bool(failures)
        if args.json:
            records = json.loads(args.json.read_text("utf-8")) if args.json.exists() else {}
            write_lines(args.json, [json.dumps({**records, name: counts}, indent=2)])
    sys.exit(failed)


if __name__ == "__main__":
    from runs.console import command

    with command("fuzz.py"):
        main()
