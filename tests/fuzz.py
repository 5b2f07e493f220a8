"""python tests/fuzz.py [--inputs 100000] [--reader NAME ...] [--seed N] [--json FILE]

Gives every reader of the project inputs that nobody would think of, by hypothesis. Whatever comes, a reader takes it or refuses
it in one line that says why; it never ends in another exception, never goes on for ever, and never takes all memory.

A reader here is a context manager that gets a folder and yields a function: an input in, None or the message of the refusal out.
Beside that it checks what the input came to. tests/test_fuzz.py has the same readers with a few inputs each.
"""

import argparse
import contextlib
import functools
import io
import json
import math
import os
import pickle
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path
from unittest import mock

import hypothesis
import torch
from hypothesis import strategies as st
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
for place in (ROOT, ROOT / "src"):
    sys.path.insert(0, str(place))

import dataset as dataset_module  # noqa: E402
import london_baseline  # noqa: E402
import run  # noqa: E402
from arguments import READS  # noqa: E402
from checkpoint import load_params  # noqa: E402
from dataset import MASK_CHAR, PAD_CHAR, CharCorruptionDataset, InputError  # noqa: E402
from decoding import Answer  # noqa: E402
from model import GPT, GPTConfig  # noqa: E402
from recipe import Recipe, Training  # noqa: E402
from resume import Checkpointer  # noqa: E402
from trainer import Trainer, TrainerConfig  # noqa: E402
from utils import evaluate_places  # noqa: E402

LONGEST_MESSAGE = 1000     # characters
SECONDS = 10               # for one input; most take a hundredth of one
MEMORY = 4 * 2 ** 30       # bytes that a process of this script may take beyond what it has at its start
INPUTS_IN_A_ROUND = 5000   # hypothesis remembers what it has tried, and becomes slow
torch.set_num_threads(1)   # before any work: a process that is forked has no other threads

SPARE_LINES = ("note: ", "warning: ", "epoch ")  # what may stand on standard error beside the error

ONCE = Training(max_epochs=1, batch_size=4, learning_rate=1e-3, warmup_tokens=10, decay_epochs=4)
SMALL = Recipe(block_size=48, n_layer=1, n_head=2, n_embd=8, dropout=0.1,
               pretrain=ONCE, finetune=ONCE, finetune_without_pretraining=ONCE)
CORPUS = ("Ann Lee. Ann Lee was born in Leeds and wove hats there .\n"
          "Zoë Brøgger. Zoë Brøgger was born in Ålesund ; she kept bees .\n"
          "Bob Whist. Where was Bob Whist born? In York .\n"
          "Ed Ng. Ed Ng was born in Hull .\n")
QUESTIONS = "Where was Ann Lee born?\tLeeds\nWhere was Bob Whist born?\tYork\nWhere was Ed Ng born?\tHull\n"


class Broken(AssertionError):
    """A promise that was not kept."""


class TooSlow(BaseException):
    """An input took too long. No Exception, so that nothing on the way takes it for one of its own."""


def must(kept, *what):
    if not kept:
        raise Broken(*what)


# ---- the harness ----------------------------------------------------------------------------------------------------

READERS = {}  # by name: (the reader, the strategy of its inputs)


def reads(strategy):
    """Enters a reader in READERS, under its own name."""
    def enter(function):
        reader = contextlib.contextmanager(function)
        READERS[function.__name__] = reader, strategy
        return reader
    return enter


class Tally:
    """What came of the inputs: how many there were, how many were taken; refusals by kind; of each failure the shortest input."""

    def __init__(self):
        self.inputs = self.succeeded = 0
        self.kinds, self.failures = {}, {}

    def fail(self, key, value, report):
        if key not in self.failures or len(repr(value)) < len(repr(self.failures[key][0])):
            self.failures[key] = value, report

    def add(self, other):
        self.inputs, self.succeeded = self.inputs + other.inputs, self.succeeded + other.succeeded
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        for key, (value, report) in other.failures.items():
            self.fail(key, value, report)

    @property
    def refused(self):
        return sum(self.kinds.values())


def kind_of(message):
    """A message without what differs from input to input: names of files, numbers, characters."""
    message = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "'…'", message)
    message = re.sub(r"U\+[0-9A-F]+|0x[0-9a-f]+", "U", message)
    message = re.sub(r"'…' \(U\)(, '…' \(U\))*", "'…'", message)
    # What a file brings in: names of tensors and settings, values, what torch and Python say of them.
    message = re.sub(r"\b(it has|it lacks) .*?(?=[;,)]|$)", r"\1 …", message)
    message = re.sub(r"\bthe \S.{0,40}? was .*(?=;|$)", "the … was … and is …", message)
    message = re.sub(r"(passed to|expected a|state with version|invalid literal|does not fit this model: \S+ is) .*(?=;|$)",
                     r"\1 …", message)
    message = re.sub(r"\S*\w[./]\w\S*", "NAME", message)
    return re.sub(r"-?\d[\d.e+]*", "0", message)[:200]


def without_words(message, words):
    """A message without the words of the command that it answers to."""
    for word in sorted((word for word in words if len(word) > 2 and not word.startswith("--")), key=len, reverse=True):
        message = message.replace(word, "…").replace(repr(word)[1:-1], "…")
    return re.sub(r"arguments: .*", "arguments: …", message)


@contextlib.contextmanager
def time_limit(seconds):
    """Raises TooSlow when the time is up. A loop in C, which never comes back for that, ends the process at six times as much."""
    def stop(number, frame):
        raise TooSlow(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, 6 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def captured(encoding="utf-8"):
    """Standard output and error as a process has them; yields a function for what stands on standard error."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", write_through=True)
    with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", err):
        yield lambda: err.buffer.getvalue().decode("utf-8")


def check_one_line(message):
    must(isinstance(message, str) and message.strip(), "an empty message")
    must(len(message.splitlines()) == 1, "a message of several lines", message[:300])
    must(len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters", message[:300])


def check_stderr(text):
    for line in text.splitlines():
        must(line.startswith(SPARE_LINES), "a line that is neither note nor warning", line[:300])
        must(len(line) <= LONGEST_MESSAGE, f"a note or warning of {len(line)} characters", line[:300])


def refusal(action, *arguments):
    """What InputError says if the action raises one, else None. Whatever is printed must be notes and warnings."""
    message = None
    with captured() as stderr:
        try:
            action(*arguments)
        except InputError as error:
            message = str(error)
            check_one_line(message)
        check_stderr(stderr())
    return message


def refusal_of_command(main, words, name):
    """The same of a command line: None where it ends well, else the one line, after which it must exit with 2."""
    code = 0
    with captured("ascii") as stderr, mock.patch.object(sys, "argv", [name, *words]):
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        text = stderr()
    must(code in (0, 2), f"exit code {code}")
    if code == 0:
        check_stderr(text)
        return None
    must(text.endswith("\n"), "an unfinished line")
    *others, last = text.removesuffix("\n").split("\n")
    check_stderr("\n".join(others))
    must(last.startswith(f"{name}: error: "), "another line than the error at the end", last[:300])
    check_one_line(last)
    return last


def one_input(read, value, tally, seconds=SECONDS):
    """Tries an input and enters what came of it in the tally."""
    tally.inputs += 1
    try:
        with time_limit(seconds):
            message = read(value)
    except (Exception, SystemExit, TooSlow) as error:  # a failure, whatever it is
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).parent in (ROOT, ROOT / "src")] or frames
        said = kind_of(" ".join(map(str, error.args[:1])) if isinstance(error, Broken) else "")
        report = "".join(traceback.format_exception(error)[-5:])
        tally.fail((type(error).__name__, said, own[-1].name, own[-1].lineno), value, report)
        return
    if message is None:
        tally.succeeded += 1
    else:
        kind = kind_of(message)
        tally.kinds[kind] = tally.kinds.get(kind, 0) + 1


def try_inputs(name, inputs, seed, folder, seconds=SECONDS):
    """The Tally of so many inputs of a reader. They follow from the seed."""
    reader, strategy = READERS[name]
    tally = Tally()
    with reader(Path(folder)) as read:
        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=inputs, database=None, deadline=None, derandomize=False,
                             phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(strategy)
        def attempt(value):
            one_input(read, value, tally, seconds)

        with warnings.catch_warnings():  # torch has some about odd tensors
            warnings.simplefilter("ignore")
            attempt()
    return tally


def in_child(action, *arguments, memory=MEMORY, seconds=24 * 3600):
    """
    action(*arguments) in a process of its own, which may take so much memory beyond what this one has, and so much time.

    Returns (its result, seconds, bytes that it took more at its peak). Raises Broken if the process dies.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            before = resident_bytes()
            resource.setrlimit(resource.RLIMIT_AS, (virtual_bytes() + memory, resource.RLIM_INFINITY))
            result = action(*arguments)
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump((result, peak), pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            must(select.select([pipe], [], [], seconds)[0], f"nothing came within {seconds} s")
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if status:
        name = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        raise Broken(f"the process died: {name}")
    result, peak = pickle.loads(answer)
    return result, time.monotonic() - start, max(0, peak)


def virtual_bytes():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def fuzz(name, inputs, seed):
    """The Tally of a reader, in rounds with other seeds, each in a process and a folder of its own."""
    whole = Tally()
    while whole.inputs < inputs and not any(key[0] == "the process died" for key in whole.failures):
        folder = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        round_seed = 1_000_000 * seed + whole.inputs
        try:
            tally, _, _ = in_child(try_inputs, name, min(INPUTS_IN_A_ROUND, inputs - whole.inputs), round_seed, folder)
            whole.add(tally)
            shutil.rmtree(folder)
        except Broken as error:  # what it read last is still there
            whole.inputs += 1
            whole.fail(("the process died",), f"see {folder}, seed {round_seed}", str(error))
    return whole


# ---- texts ----------------------------------------------------------------------------------------------------------

ORDINARY = ["Ann Lee. ", "Ann Lee was born in Leeds .", "Where was Ann Lee born?", "Leeds", "York", "Bob Whist", " ", "\n", "\n",
            "\n"]
UNUSUAL = ["\r\n", "\r", "\t", "\ufeff", "\0", "\u2028", "\x85", "\x0b", "\x1c", "\u200f", "مريم العذراء", "בן גוריון",
           "Zoë Brøgger",
           "李小龍", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "e\u0301", "\u202eeht", "👩‍👩‍👧", "Hieronymus Karl Friedrich " * 6, "x" * 200, "\n\n\n", "   ",
           "\x7f\x1b[31m"]
RESERVED = [MASK_CHAR, PAD_CHAR]
BYTES = [b"\xed\xa0\x80", b"\xed\xb0\x80\xed\xbf\xbf", b"\xff", b"\xfe\xff", b"\xc0\x80", b"\xef\xbb\xbf",
         b"\xf8\x88\x80\x80\x80", b"\xe2\x81",
         b"\0", b"\r", b"\x80"]



def mixed(*strategies):
    """One of the strategies, each as often as the number before it says; st.one_of takes what is named twice for one."""
    choices = [strategy for number, strategy in zip(strategies[::2], strategies[1::2]) for _ in range(number)]
    return st.sampled_from(range(len(choices))).flatmap(choices.__getitem__)


word = mixed(2, st.sampled_from(ORDINARY), 1, st.sampled_from(UNUSUAL), 1, st.text(max_size=12))
rare_word = mixed(9, word, 1, st.sampled_from(RESERVED))
name = st.one_of(st.sampled_from(["Ann Lee", "Bob Whist", "Ed Ng", "Leeds", "York"]), st.sampled_from(UNUSUAL),
                 st.text("ABLWeno deshirtYk", min_size=1, max_size=12), st.text(max_size=6))
question = st.builds("Where was {} born?".format, name)
end = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", " \n"])
asked = st.builds(lambda *parts: "".join(parts), question, end)
answered = st.builds(lambda text, tab, place, end: f"{text}{tab}{place}{end}", question,
                     st.sampled_from(["\t", "\t", "\t", "\t", " \t ", "\t\t", ""]), name, end)
plain_name = st.text("ABLWeno deshirtYk", min_size=1, max_size=12).filter(str.strip)
plain_line = st.builds("Where was {} born?\t{}{}".format, plain_name, plain_name, end)


def encoded(text):
    """A strategy of bytes from one of text, often damaged."""
    utf8 = text.map(lambda value: value.encode("utf-8", "surrogatepass"))
    inserted = st.builds(lambda content, piece, at: content[:at % (len(content) + 1)] + piece + content[at % (len(content) + 1):],
                         utf8, st.one_of(st.sampled_from(BYTES), st.binary(max_size=4)), st.integers(0, 500))
    other = st.builds(lambda value, code: value.encode(code, "replace"), text,
                      st.sampled_from(["utf-16", "latin-1", "utf-32", "utf-7"]))
    return mixed(4, utf8, 1, inserted, 1, other, 1, st.binary(max_size=60))


document = encoded(st.one_of(st.lists(word, max_size=12).map("".join), st.lists(rare_word, max_size=12).map("".join)))
table = encoded(st.one_of(st.lists(plain_line, min_size=1, max_size=6).map("".join), st.lists(answered, max_size=6).map("".join),
                          st.lists(asked, max_size=6).map("".join), st.lists(rare_word, max_size=10).map("".join)))


def lines_of(content):
    """The lines that are not blank, of bytes that are UTF-8: by another way than the code's."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=None).read()
    return [line for line in text.split("\n") if line.strip()]


def check_item(item, block_size, vocab_size):
    """Checks the form of an item; returns the row of ids that x and y are parts of."""
    x, y = item
    must(x.shape == y.shape == (block_size - 1,) and x.dtype == y.dtype == torch.int64, "the form of an item")
    must(all(0 <= int(ids.min()) and int(ids.max()) < vocab_size for ids in (x, y)), "an id beyond the vocabulary")
    return x.tolist(), y.tolist()


def check_corrupted(data, index, item):
    """Checks that an item is its document from the start on, with a span moved to the end."""
    x, y = check_item(item, data.block_size, data.vocab_size)
    must(x[1:] == y[:-1], "x and y do not follow each other")
    text = "".join(data.itos[i] for i in x + y[-1:])
    parts = text.rstrip(PAD_CHAR).split(MASK_CHAR)
    must(len(parts) == 3, "not two masks", text)
    prefix, suffix, masked = parts
    must(data.data[index].startswith(prefix + masked + suffix), "another text than the document's", text, data.data[index])


@reads(st.tuples(document, st.sampled_from([9, 16, 48, 128]), st.integers(0, 2 ** 32 - 1)))
def corpus(folder):
    """The corpus to pretrain on: run.read_corpus, and items of what it gives."""
    path = folder / "wiki.txt"

    def read(value):
        content, block_size, number = value
        path.write_bytes(content)
        made = []
        message = refusal(lambda: made.append(run.read_corpus(path, block_size)))
        if message is None:
            data, documents = made[0], lines_of(content)
            must(data.data in (documents, documents + [""]), "other documents than the file's")
            index = number % len(data)
            check_corrupted(data, index, data[index])
            check_corrupted(data, len(data) - 1, data.at_epoch(number, 3)[len(data) - 1])
        return message

    yield read


@reads(st.tuples(document, table, st.booleans()))
def examples(folder):
    """dataset.py's own command line, which prints examples of the files in the current folder."""
    before = os.getcwd()
    os.chdir(folder)
    corpus = CORPUS.encode("utf-8")

    def read(value):
        content, questions, both = value
        Path("wiki.txt").write_bytes(corpus if both else content)
        Path("birth_places_train.tsv").write_bytes(questions)
        return refusal_of_command(dataset_module.main, ["namedata" if both else "charcorruption"], "dataset.py")

    yield read
    os.chdir(before)


def quiet(action, *arguments):
    with captured():
        return action(*arguments)


@reads(table)
def finetuning(folder):
    """The questions to finetune on: run.finetune, and items of its dataset."""
    path, model = folder / "births.tsv", nn.Linear(1, 1)
    corpus = quiet(CharCorruptionDataset, CORPUS, SMALL.block_size)

    def read(content):
        path.write_bytes(content)
        made = []
        message = refusal(lambda: made.append(run.finetune(None, path, corpus, SMALL.block_size, model, recipe=SMALL,
                                                           device="cpu",
                                                           precision="float32")))
        if message is None:
            data = made[0][1].train_dataset
            text = "\n".join(lines_of(content)).encode("ascii", "ignore").decode("ascii")
            lines = [line for line in text.split("\n") if line.strip()]
            must(len(data) == len(lines), "another number of items than of lines")
            for line, item in zip(lines, data):
                x, y = check_item(item, corpus.block_size, corpus.vocab_size)
                asked, place = (field.strip() for field in line.split("\t"))
                shown = "".join(corpus.itos[i] for i in x)
                must((shown + PAD_CHAR).rstrip(PAD_CHAR) in (f"{asked}{MASK_CHAR}{place}{MASK_CHAR}",
                                                             f"{asked}{MASK_CHAR}{place}"),
                     "another item than the line", shown, line)
                must("".join(corpus.itos[i] for i in y).strip(PAD_CHAR) == f"{MASK_CHAR}{place}{MASK_CHAR}", "another target")
        return message

    yield read


class Answers:
    """Stands for a model that is asked; its answers are texts, one after another."""

    max_positions = SMALL.block_size

    def __init__(self, corpus):
        self.corpus, self.texts = corpus, [""]

    def find_answers(self, model, prompts, stop_id, max_length, beam):
        for ids in prompts:
            must(0 < len(ids) <= self.max_positions and ids[-1] == stop_id == 1 and min(ids) >= 1, "a wrong prompt", ids)
        return [Answer([self.corpus.stoi[char] for char in self.texts[i % len(self.texts)]], -1.5 * i, True)
                for i in range(len(prompts))]


@reads(st.tuples(table, st.lists(st.sampled_from(["Leeds", "York", "", "Ålesund", "\n", "Le\neds\n", PAD_CHAR, " "]), min_size=1,
                                 max_size=3)))
def evaluation(folder):
    """The questions to evaluate: run.evaluate, and the predictions and the table of their probabilities that it writes."""
    path, outputs, scored = folder / "births.tsv", folder / "out.predictions", folder / "out.tsv"
    corpus = quiet(CharCorruptionDataset, CORPUS, SMALL.block_size)
    model = Answers(corpus)

    def read(value):
        content, model.texts = value
        path.write_bytes(content)
        outputs.unlink(missing_ok=True)
        scored.unlink(missing_ok=True)
        scores = []
        with mock.patch.object(run, "find_answers", model.find_answers):
            message = refusal(lambda: scores.append(run.evaluate(model, corpus, path, outputs, scored, beam=2)))
        if message is None:
            count = len(lines_of(content))
            predictions = outputs.read_bytes().decode("utf-8")
            must(predictions.count("\n") == len(predictions.splitlines()) == count,
                 "another number of predictions than of questions")
            must(scores[0][0] in (0, count) and 0 <= scores[0][1] <= scores[0][0], "an impossible score", scores)
            rows = [line.split("\t") for line in scored.read_bytes().decode("utf-8").removesuffix("\n").split("\n")]
            must(len(rows) == count + 1 and {len(row) for row in rows} == {6}, "another table than of six columns and a row a question")
            must(sum(row[4] == "1" for row in rows) == scores[0][1], "another score in the table", rows)
        else:
            must(not outputs.exists() and not scored.exists(), "predictions in spite of an error")
        return message

    yield read


@reads(st.tuples(table, st.one_of(st.none(), st.none(), st.integers(0, 3))))
def places(folder):
    """The questions to score: utils.evaluate_places with as many predictions or others, and london_baseline.py."""
    path = folder / "births.tsv"

    def read(value):
        content, number = value
        path.write_bytes(content)
        if number is None:
            return refusal_of_command(london_baseline.main, ["--eval_corpus_path", str(path)], "london_baseline.py")
        return refusal(evaluate_places, path, number * ["York"])

    yield read


# ---- files of torch -------------------------------------------------------------------------------------------------

class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def nested(tensor, **layout):
    return torch.nested.nested_tensor([tensor.flatten()[:1], tensor.flatten()[:2]], **layout)


FLOAT8 = [name for name in ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz") if hasattr(torch, name)]
PACKED = [name for name in ("float4_e2m1fn_x2", "bits8", "bits1x8") if hasattr(torch, name)]
TENSORS = {  # by name: another form of a tensor
    **{name: functools.partial(torch.Tensor.to, dtype=getattr(torch, name))
       for name in ("float64", "float16", "bfloat16", "int64", "int8", "uint8", "uint16", "uint64", "bool", "complex64",
                    "complex32", *FLOAT8)},
    **{name: lambda t, name=name: torch.zeros(t.shape, dtype=torch.uint8).view(getattr(torch, name)) for name in PACKED},
    "same": torch.Tensor.clone, "parameter": nn.Parameter,
    "transposed": lambda t: t.t().contiguous().t() if t.ndim == 2 else t.clone(),
    "expanded": lambda t: torch.ones(1).expand(t.shape), "negated": torch._neg_view, "flat": torch.flatten,
    "a view of more": lambda t: torch.cat((t, t))[:len(t)], "not a number": lambda t: torch.full_like(t, math.nan),
    "infinite": lambda t: -t / 0,
    "beyond float32": lambda t: t.double() * 0 + 1e300, "huge": lambda t: torch.zeros(1).expand(2 ** 40),
    "huge in 16 bits": lambda t: torch.zeros(1, dtype=torch.float16).expand(2 ** 40),
    "many dimensions": lambda t: t.reshape(600 * [1] + list(t.shape)),
    "empty": lambda t: t.flatten()[:0], "scalar": lambda t: t.sum(), "sparse": torch.Tensor.to_sparse,
    "compressed": lambda t: t.reshape(len(t), -1).to_sparse_csr(),
    "quantized": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "on meta": lambda t: t.to("meta"), "nested": nested, "jagged": lambda t: nested(t, layout=torch.jagged),
    "storage": lambda t: t.untyped_storage(), "list": torch.Tensor.tolist, "array": lambda t: t.numpy(),
}

position = st.integers(0, 2 ** 15)
edit = st.one_of(st.tuples(st.just("set"), position, st.binary(min_size=1, max_size=6)),
                 st.tuples(st.just("insert"), position, st.binary(min_size=1, max_size=30)),
                 st.tuples(st.just("delete"), position, st.integers(1, 300)), st.tuples(st.just("cut"), position, st.just(0)),
                 st.tuples(st.just("copy"), position, position), st.tuples(st.just("zero"), position, st.integers(1, 300)))
edits = st.lists(edit, min_size=1, max_size=3)
entry_edit = st.tuples(st.integers(0, 60), st.one_of(
    st.just(("drop",)), st.just(("twice",)), st.just(("deflate",)), st.just(("bomb",)),
    st.tuples(st.just("rename"), st.text(max_size=8)),
    st.tuples(st.just("content"), st.binary(max_size=40)), st.tuples(st.just("edit"), edits), st.tuples(st.just("edit"), edits)))
PICKLES = [b"cos\nmkdir\n(S'executed'\ntR.", b"c__builtin__\neval\n(S'1/0'\ntR.", b"\x80\x02]q\0(h\0h\0e.", b"(lp0\n0.",
           b"\x80\x04N.", b"N.", b".",
           b"\x80\x02\x8a\xff" + 255 * b"\x7f" + b".", b"\x80\x02]" + 3000 * b"]" + 3000 * b"a" + b".", b"\x80\x02U\xffx.",
           b"\x80\x02X\xff\xff\xff\x7fx.", b"\x80\x02B\xff\xff\xff\xffx."]
leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=9),
                 st.sampled_from(list(TENSORS)).map(lambda form: shaped(torch.ones(2, 2), form)))
key = st.one_of(st.text(max_size=9), st.integers())
tree = st.recursive(leaf, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(key, inner, max_size=3)), max_leaves=5)


def shaped(tensor, form):
    """The tensor in another form; as it is where torch cannot make it of this one."""
    try:
        return TENSORS[form](tensor)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return tensor


def edited(content, changes):
    """Bytes with changes. Even positions count from the start, odd ones from the end, where a zip file has its directory."""
    for action, place, what in changes:
        place = min(place // 2, len(content)) if place % 2 == 0 else max(0, len(content) - place // 2)
        if action == "set":
            content = content[:place] + what + content[place + len(what):]
        elif action == "insert":
            content = content[:place] + what + content[place:]
        elif action == "delete":
            content = content[:place] + content[place + what:]
        elif action == "cut":
            content = content[:place]
        elif action == "copy":
            content = content[:place] + content[what:what + 200] + content[place + 200:]
        else:
            content = content[:place] + bytes(what) + content[place + what:]
    return content


def with_entries(content, changes):
    """A zip file with entries changed, all of it well-formed; file_names and checksums are written anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [[entry.filename, archive.read(entry), zipfile.ZIP_STORED] for entry in archive.infolist()]
    for number, (action, *what) in changes:
        if not entries:
            break
        number %= len(entries)
        entry = entries[number]
        if action == "drop":
            del entries[number]
        elif action == "twice":
            entries.append(list(entry))
        elif action == "deflate":
            entry[2] = zipfile.ZIP_DEFLATED
        elif action == "bomb":
            entry[1:] = bytes(2 ** 22), zipfile.ZIP_DEFLATED
        elif action == "rename":
            entry[0] = os.path.dirname(entry[0]) + "/" + what[0]
        elif action == "content":
            entry[1] = what[0]
        else:
            entry[1] = edited(entry[1], what[0])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        for entry_name, data, method in entries:
            archive.writestr(zipfile.ZipInfo(entry_name), data, compress_type=method)
    return file.getvalue()


def saved(content, form="zip"):
    """The bytes of a file with this content; those of the ordinary form where the other one cannot hold it."""
    file = io.BytesIO()
    try:
        if form == "pickle":
            pickle.dump(content, file, protocol=2)
        else:
            torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    except (RuntimeError, KeyError, AttributeError, NotImplementedError, TypeError, ValueError) as error:
        must(form != "zip", "cannot be saved", error)
        return saved(content)
    return file.getvalue()


form = st.sampled_from(["zip", "zip", "zip", "zip", "legacy", "legacy", "pickle"])
tensor_change = st.tuples(st.integers(0, 40), st.one_of(st.sampled_from(list(TENSORS)),
                                                        st.sampled_from(["same", "float64", "float16", "parameter",
                                                                         "transposed"]), st.just("drop"),
                                                        st.just("hostile"), st.tuples(st.just("rename"), st.text(max_size=6)),
                                                        st.tuples(st.just("add"),
                                                                  st.one_of(st.text(max_size=12), st.just("x" * 3000),
                                                                            st.just("a\nb"))),
                                                        st.tuples(st.just("value"), leaf)))


@reads(mixed(
    1, st.tuples(st.just("bytes"), st.binary(max_size=80)), 1, st.tuples(st.just("bytes"), st.sampled_from(PICKLES)),
    3, st.tuples(st.just("edited"), form, edits), 3, st.tuples(st.just("entries"), st.lists(entry_edit, max_size=3)),
    9, st.tuples(st.just("state"), form, st.lists(tensor_change, max_size=2),
                 st.sampled_from(["", "", "", "", "module.", "module.", "list", "inside", "other", "model"])),
    1, st.tuples(st.just("tree"), form, tree)))
def parameters(folder):
    """A parameter file: checkpoint.load_params. The model has all of it, or is what it was; nothing in it is executed."""
    sizes = dict(n_layer=1, n_head=2, n_embd=4)
    path, made = folder / "some.params", folder / "executed"
    os.chdir(folder)
    model, source = (quiet(GPT, GPTConfig(7, 9, **sizes)) for _ in range(2))
    other = quiet(GPT, GPTConfig(7, 9, synthesizer=True, **sizes)).state_dict()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bases = {kind: saved(source.state_dict(), kind) for kind in ("zip", "legacy", "pickle")}

    def content_of(value):
        kind, *how = value
        if kind == "bytes":
            return how[0]
        if kind == "edited":
            return edited(bases[how[0]], how[1])
        if kind == "entries":
            return with_entries(bases["zip"], how[0])
        if kind == "tree":
            return saved(how[1], how[0])
        file_form, changes, wrapper = how
        state = dict(other if wrapper == "other" else source.state_dict())
        for number, change in changes:
            if not state:
                break
            key = list(state)[number % len(state)]
            if change == "drop":
                del state[key]
            elif change == "hostile":
                state[key] = Hostile(made)
            elif isinstance(change, str):
                state[key] = shaped(state[key], change) if isinstance(state[key], torch.Tensor) else state[key]
            elif change[0] == "rename":
                state[change[1]] = state.pop(key)
            elif change[0] == "add":
                state[change[1]] = torch.ones(2)
            else:
                state[key] = change[1]
        if wrapper == "module.":
            state = {wrapper + key: tensor for key, tensor in state.items()}
        whole = {"list": list(state.items()), "inside": {"model": state}, "model": source}.get(wrapper, state)
        return saved(whole, file_form)

    def read(value):
        path.write_bytes(content_of(value))
        message = refusal(load_params, model, path)
        must(not made.exists(), "something in the file was executed")
        after = model.state_dict()
        if message is not None:
            must(all(same_bits(after[name], before[name]) for name in before), "the model has changed in spite of an error")
            return message
        state = torch.load(path, weights_only=True, map_location="cpu")
        for name, tensor in state.items():
            must(same_bits(after[name.removeprefix("module.")], tensor.to(torch.float32)), "a tensor was not loaded", name)
            must(torch.isfinite(after[name.removeprefix("module.")]).all(), "the model has numbers that are not finite", name)
        model.load_state_dict(before)
        return None

    yield read


def same_bits(a, b):
    a, b = (tensor.detach().resolve_neg().contiguous() for tensor in (a, b))
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


# ---- resume files ---------------------------------------------------------------------------------------------------

class Bigrams(nn.Module):
    """A model that is trained in no time: the next character follows from the last one."""

    def __init__(self, vocab_size):
        super().__init__()
        self.before, self.after = nn.Embedding(vocab_size, 3), nn.Linear(3, vocab_size)

    def forward(self, x, y):
        scores = self.after(self.before(x))
        return scores, nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten(), ignore_index=0)


class Keeping(Checkpointer):
    """Keeps every state that it writes, one a step."""

    def __init__(self, path, **arguments):
        super().__init__(path, **arguments)
        self.states = []

    def after_step(self):
        self._write()

    def _write(self):
        super()._write()
        self.states.append(Path(self.path).read_bytes())


WRONG = [None, True, False, -1, 0, 1, 2, 3, 6, 7, 10 ** 6, 2 ** 63, 10 ** 18, 10 ** 400, -10 ** 18, 0.5, 1e300, math.nan,
         math.inf, -math.inf, "", "x",
         "a\nb", "\x1b[31m", "x" * 50_000, "1", [], {}, (), [1, 2], [math.inf, -math.inf], [1e308, 1e308], [[1, 2, 3, 4, 5]],
         [None], [1, 1, math.nan, 0, 0],
         {"a": 1}, {"a\nb": "c\nd"}, {0: 0}, b"bytes", 1j]
wrong = st.one_of(st.sampled_from(WRONG), st.sampled_from(WRONG), st.integers(-3, 9), st.floats(), st.text(max_size=6),
                  st.sampled_from(list(TENSORS)).map(lambda form: ("tensor", form)),
                  st.integers(4300, 6000).map(lambda digits: ("power", digits)))
POSITIONS = [("trainer", "epoch"), ("trainer", "step"), ("trainer", "tokens"), ("trainer", "best_loss"), ("trainer", "log"),
             ("trainer", "optimizer"),
             ("trainer", "log", "records"), ("trainer", "log", "losses"), ("trainer", "log", "seconds"), ("format",),
             ("settings",), ("conditions",),
             ("settings", "seed"), ("conditions", "device"), ("random",), ("random", "python"), ("random", "numpy"),
             ("random", "torch"),
             ("trainer", "optimizer", 0), ("trainer", "optimizer", 0, "exp_avg"), ("trainer", "optimizer", 1, "step"),
             ("trainer", "model")]
state_change = st.tuples(st.one_of(st.sampled_from(POSITIONS), st.integers(0, 200)),
                         mixed(4, st.tuples(st.just("replace"), wrong), 1, st.just(("drop",)),
                               1, st.tuples(st.just("add"), st.one_of(st.text(max_size=9),
                                                                      st.sampled_from(["a\nb", "x" * 9000, "extra"]),
                                                                      st.integers()), wrong)))


def paths_in(state, path=(), limit=400):
    """Where the values of a tree of dicts and lists stand; of a long list the first few."""
    found = [path] if path else []
    keys = list(state) if isinstance(state, dict) else range(min(6, len(state))) if isinstance(state, list | tuple) else []
    for key in keys:
        found += paths_in(state[key], (*path, key))
    return found[:limit]


def changed(state, path, change):
    """A copy of the tree with the value at path changed."""
    action, *what = change
    if path:
        if isinstance(state, dict):
            copied = dict(state)
        elif isinstance(state, list | tuple):
            copied = list(state)
        else:
            return state
        try:
            if len(path) == 1 and action == "drop":
                del copied[path[0]]
            else:
                copied[path[0]] = changed(copied[path[0]], path[1:], change)
        except (KeyError, IndexError, TypeError):  # an earlier change has taken the place away
            return state
        return type(state)(copied)
    if action == "add":
        value = what[1] if not isinstance(what[1], tuple) else 0
        return {**state, what[0]: value} if isinstance(state, dict) else [*state, value] if isinstance(state, list) else value
    value = what[0]
    if isinstance(value, tuple) and value[:1] == ("tensor",):
        return shaped(state if isinstance(state, torch.Tensor) else torch.ones(2, 2), value[1])
    if isinstance(value, tuple) and value[:1] == ("power",):
        return 10 ** value[1]
    return value


@reads(st.tuples(st.integers(0, 6), mixed(
    1, st.tuples(st.just("bytes"), st.binary(max_size=60)), 1, st.tuples(st.just("bytes"), st.sampled_from(PICKLES)),
    3, st.tuples(st.just("edited"), edits), 3, st.tuples(st.just("entries"), st.lists(entry_edit, max_size=2)),
    1, st.tuples(st.just("tree"), tree), 12, st.tuples(st.just("state"), st.lists(state_change, max_size=2)))))
def resuming(folder):
    """What an interrupted training left: Trainer.train with a Checkpointer goes on from there to the end, or refuses."""
    path, log_path = folder / "some.params.resume", folder / "some.params.log.jsonl"
    os.chdir(folder)
    lines = "\n".join(["Ann Lee.", "Bob was born in York .", "Ed Ng was born in Hull .", "Who?", "Ann was born in Leeds ."])
    data = quiet(CharCorruptionDataset, lines, 16)

    def trainer(checkpointer):
        torch.manual_seed(0)
        config = TrainerConfig(max_epochs=2, batch_size=2, learning_rate=1e-2, lr_decay=True, warmup_tokens=30, final_tokens=200,
                               seed=1, device="cpu",
                               checkpointer=checkpointer)
        return Trainer(Bigrams(data.vocab_size), data, None, config)

    keeping = Keeping(path, settings={"function": "pretrain"}, log_path=log_path)
    whole = trainer(keeping)
    quiet(whole.train)
    bases = keeping.states
    expected = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    trees = [torch.load(io.BytesIO(base), weights_only=True) for base in bases]
    places = [paths_in(tree) for tree in trees]

    def content_of(number, kind, what):
        if kind == "bytes":
            return what
        if kind == "edited":
            return edited(bases[number], what)
        if kind == "entries":
            return with_entries(bases[number], what)
        if kind == "tree":
            return saved(what)
        state = trees[number]
        for place, change in what:
            state = changed(state, place if isinstance(place, tuple) else places[number][place % len(places[number])], change)
        return saved(state)

    def read(value):
        number, (kind, what) = value
        number %= len(bases)
        path.write_bytes(content_of(number, kind, what))
        taken = trainer(Checkpointer(path, {"function": "pretrain"}, log_path, every=1e9))
        message = refusal(taken.train)
        must(not (folder / "executed").exists(), "something in the file was executed")
        if message is None:
            must((taken.epoch, taken.step) == (2, 0), "the training has not come to its end", taken.epoch, taken.step)
            must(all(torch.isfinite(p).all() for p in taken.model.parameters()), "parameters that are not finite")
            for line in log_path.read_text().splitlines():
                record = json.loads(line, parse_constant=lambda name: must(False, "no JSON in the log", name))
                must(1 <= record["step"] <= 6 and 1 <= record["epoch"] <= 2, "a step in the log that never was", record)
            if (kind, what) == ("state", []):
                must(all(same_bits(taken.model.state_dict()[name], expected[name]) for name in expected),
                     "another end than without interruption")
        return message

    yield read


# ---- the command line -----------------------------------------------------------------------------------------------

COMMANDS = [
    "pretrain vanilla wiki.txt --writing_params_path out", "pretrain synthesizer wiki.txt --writing_params_path folder/out",
    "finetune vanilla wiki.txt --finetune_corpus_path births.tsv --writing_params_path out",
    "finetune vanilla wiki.txt --finetune_corpus_path births.tsv --reading_params_path some.params --writing_params_path out",
    "evaluate vanilla wiki.txt --reading_params_path some.params --eval_corpus_path births.tsv --outputs_path out",
    "evaluate vanilla wiki.txt --reading_params_path some.params --eval_corpus_path asked.tsv --outputs_path folder/out",
    "evaluate vanilla wiki.txt --reading_params_path some.params --eval_corpus_path asked.tsv --outputs_path out --scores_path out.tsv",
]
PATH_FLAGS = ["--reading_params_path", "--writing_params_path", "--finetune_corpus_path", "--eval_corpus_path", "--outputs_path",
              "--scores_path", "--tb_log_dir"]
FLAGS = [*PATH_FLAGS, "--seed", "--device", "--beam",
         "--recipe", "--max_epochs", "--precision", "--micro_batch_size", "--resume_every", "--restart"]
# Without folders but those that are there, so that nothing outside is touched.
PATHS = ["wiki.txt", "births.tsv", "asked.tsv", "some.params", "other.params", "out", "folder", "folder/", "folder/out",
         "folder/../out", "no/such", "/dev/null",
         "", ".", "..", "./out", "missing", "wiki.txt/x", "link", "dangling", "loop", "out.log.jsonl", "link.resume", "taken",
         "taken/x", "empty",
         "x" * 250, "x" * 256, "x" * 6000, "folder/" * 900 + "x", "~", "*", "%s", "a b", "a\nb", "a\rb", "a\u2028b", "\x1b[31m",
         "é", "\udcff", "a\0b", "\ud800", "-x", "--", "-"]
VALUES = ["0", "1", "-1", "7", "4294967295", "4294967296", "1e9", "1e400", "nan", "inf", "-inf", "-0.0", "0x10", "1_000", "９",
          " 3 ", "", "x", "9" * 30, "9" * 5000,
          "1.5", "cpu", "cuda", "cuda:99", "cpu:0", "cpu:x", "cpu:-1", "meta", "mps", "xla", "lazy", "ort", "hpu", "vulkan",
          "mkldnn", "privateuseone", "fpga", "ideep", "course",
          "quick", "auto", "float32", "bfloat16", "half", "True", "a\nb", "\udcff", "\0", "%d", "{}", "-h"]
WORDS = [*FLAGS, "--help", "--h", "--see", "--re", "--reading", "--seed=5", "--seed=", "--device=cpu", "--resume_every=nan",
         "--restart=1", "--unknown", "--max", "pretrain",
         "finetune", "evaluate", "vanilla", "synthesizer", "additive"]
some_text = st.text(max_size=8).filter(lambda text: "/" not in text)
value = st.one_of(st.sampled_from(PATHS), st.sampled_from(VALUES), some_text)
right = st.one_of(st.tuples(st.just("--seed"), st.integers(0, 2 ** 32 - 1).map(str)),
                  st.tuples(st.just("--max_epochs"), st.integers(1, 10 ** 12).map(str)),
                  st.tuples(st.just("--resume_every"), st.floats(0, 1e9).map(str)),
                  st.tuples(st.just("--precision"), st.sampled_from(["auto", "float32", "bfloat16"])),
                  st.tuples(st.just("--recipe"), st.sampled_from(["course", "quick"])),
                  st.tuples(st.just("--micro_batch_size"), st.integers(1, 99).map(str)),
                  st.tuples(st.just("--beam"), st.integers(1, 256).map(str)),
                  st.just(("--restart",)), st.just(("--device", "cpu")))
option = mixed(3, right, 2, st.tuples(st.sampled_from(FLAGS), value), 2,
               st.tuples(st.sampled_from(PATH_FLAGS), st.sampled_from(PATHS)))
word_change = st.tuples(st.sampled_from(["replace", "insert", "drop", "shorten", "repeat"]),
                        mixed(4, st.integers(2, 12), 1, st.integers(0, 1)),
                        st.one_of(value, st.sampled_from(WORDS)))
command_line = mixed(
    9, st.builds(lambda command, options, changes: with_changes(command.split() + [word for pair in options for word in pair],
                                                                changes),
                 st.sampled_from(COMMANDS), st.lists(option, max_size=2),
                 mixed(2, st.just([]), 1, st.lists(word_change, max_size=2))),
    1, st.lists(st.one_of(value, st.sampled_from(WORDS)), max_size=8))


def with_changes(words, changes):
    for action, place, other in changes:
        place %= len(words) + 1
        if action == "insert":
            words = words[:place] + [other] + words[place:]
        elif place < len(words):
            new = {"replace": [other], "drop": [], "shorten": [words[place][:-3]], "repeat": 2 * [words[place]]}[action]
            words = words[:place] + new + words[place + 1:]
    return words


def experiment(folder):
    """Writes the files that the commands name."""
    (folder / "wiki.txt").write_text(CORPUS, encoding="utf-8")
    (folder / "births.tsv").write_text(QUESTIONS, encoding="utf-8")
    (folder / "asked.tsv").write_text("Where was Ed Ng born?\n", encoding="utf-8")
    vocab_size = quiet(CharCorruptionDataset, CORPUS, SMALL.block_size).vocab_size
    for name, variant in (("some.params", "vanilla"), ("other.params", "synthesizer")):
        model = quiet(GPT, GPTConfig(vocab_size, SMALL.block_size, **SMALL.model_settings(), **{variant: True}))
        torch.save(model.state_dict(), folder / name)


@contextlib.contextmanager
def untrained():
    """run.main with small recipes, without training, and with answers that cost nothing."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(run.RECIPES, {name: SMALL for name in run.RECIPES}))
        stack.enter_context(mock.patch.object(Trainer, "train", lambda self: None))
        stack.enter_context(mock.patch.object(run, "find_answers", lambda model, prompts, *_: len(prompts) * [Answer([3, 4], -1.0, True)]))
        stack.enter_context(mock.patch.object(run, "keep_freed_memory", lambda: None))
        stack.enter_context(mock.patch("hardware.multiplies_bfloat16", lambda device: False))
        yield


def contents(folder):
    """What is in a folder of few small files, by name."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(root, name)
            found[path] = os.readlink(path) if os.path.islink(path) else None if os.path.isdir(path) else Path(path).read_bytes()
    return found


@reads(command_line)
def command(folder):
    """run.main with any words. What it refuses leaves nothing behind, and an input stays as it was."""
    folder = folder / "inner"  # so that .. is ours as well
    folder.mkdir()
    os.chdir(folder)
    experiment(folder)
    for name in ("folder", "taken", "taken.resume"):
        (folder / name).mkdir()
    (folder / "empty").touch()
    for name, target in (("link", "folder/linked"), ("dangling", "no/such/file"), ("loop", "loop")):
        (folder / name).symlink_to(target)
    before = contents(folder.parent)

    def restore(after):
        for path in after.keys() - before.keys():
            os.remove(path)
        for path in before:
            if before[path] != after.get(path):
                if isinstance(before[path], str):
                    os.remove(path)
                    os.symlink(before[path], path)
                else:
                    Path(path).write_bytes(before[path])

    def read(words):
        with untrained():
            message = refusal_of_command(lambda: run.main(list(words)), words, "run.py")
        after = contents(folder.parent)
        try:
            if message is not None:
                must(after == before, "files have changed in spite of an error", sorted(after.keys() ^ before.keys()))
            for path in before:
                if after.get(path) != before[path] and not path.endswith("loop"):
                    must(words[:1] == ["finetune"] and path.endswith((".params", "empty")) or
                         path.endswith(("other.params", "empty", "births.tsv", "asked.tsv", "some.params")) and not is_read(words,
                                                                                                                            path),
                         "an input was written over", path)
        finally:
            restore(after)
        return message and without_words(message, words)

    yield read


def is_read(words, path):
    """Whether a path is one that the command reads."""
    flags = READS.get(words[0], [])
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word.removeprefix("--") in flags]
    return os.path.basename(path) in [os.path.basename(name) for name in given]


# ---- as a script ----------------------------------------------------------------------------------------------------

def show(name, tally, seconds):
    print(f"{name}: {tally.inputs} inputs, {tally.succeeded} succeeded, {tally.refused} refused in {len(tally.kinds)} ways, "
          f"{len(tally.failures)} kinds of failure, {seconds:.0f} s", flush=True)
    for key, (value, report) in tally.failures.items():
        shown = repr(value)
        print(f"\nFAILURE of {name}: {key}\ninput: {shown[:3000]}{' …' if len(shown) > 3000 else ''}\n{report}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Give every reader of the project inputs that nobody would think of.")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader; default 100000")
    parser.add_argument("--reader", nargs="+", choices=list(READERS), default=list(READERS), help="default all")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other inputs; default 0")
    parser.add_argument("--json", help="a file to enter the figures in")
    parser.add_argument("--kinds", action="store_true", help="list the kinds of refusal, too")
    args = parser.parse_args()
    failed = False
    for reader in args.reader:
        start = time.monotonic()
        tally = fuzz(reader, args.inputs, args.seed)
        seconds = time.monotonic() - start
        show(reader, tally, seconds)
        failed = failed or bool(tally.failures)
        if args.kinds:
            for kind, count in sorted(tally.kinds.items(), key=lambda pair: -pair[1]):
                print(f"{count:8d}  {kind}")
        if args.json:
            path = Path(args.json)
            figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            figures[reader] = {"inputs": tally.inputs, "succeeded": tally.succeeded, "refused": tally.refused,
                               "kinds": len(tally.kinds),
                               "seconds": round(seconds)}
            path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
