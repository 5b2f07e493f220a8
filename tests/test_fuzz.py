"""python -m pytest tests/test_fuzz.py

Whatever a user gives, the outcome is success or one line: the readers of tests/fuzz.py with a few inputs each, what they found
written down, and large files through the whole command line within bounds of time and memory. `python tests/fuzz.py` has more.
"""

import contextlib
import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

if sys.platform != "linux":
    pytest.skip("bounds of memory and time are set as Linux has them", allow_module_level=True)

import fuzz
from checkpoint import load_params
from dataset import InputError
from model import GPT, GPTConfig

INPUTS = 200
MEMORY = 2 * 2 ** 30  # that a command may take for a large file
SECONDS = 30


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- the readers ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", fuzz.READERS)
def test_whatever_comes(name, tmp_path):
    """The same inputs every time. A good share is taken, and what is refused is refused for many reasons."""
    tally = fuzz.try_inputs(name, INPUTS, seed=1, folder=tmp_path)
    failures = [f"{key}: {value!r:.500}\n{report}" for key, (value, report) in tally.failures.items()]
    assert not failures, "\n".join(failures)
    assert tally.inputs == tally.succeeded + tally.refused >= INPUTS
    assert tally.succeeded > 0.1 * tally.inputs and len(tally.kinds) >= 3


# ---- the harness can fail -------------------------------------------------------------------------------------------

def value_error(value):
    raise ValueError("a defect")


def exits(value):
    raise SystemExit(1)


def loops(value):
    while True:
        with contextlib.suppress(Exception):  # as a reader may
            pass


def says(*messages):
    def read(value):
        for message in messages:
            print(message, file=sys.stderr)
        raise InputError(messages[-1])
    return lambda value: fuzz.refusal(read, value)


@pytest.mark.parametrize("read, kind", [
    (value_error, "ValueError"), (exits, "SystemExit"), (loops, "TooSlow"), (lambda value: bytearray(2 ** 50), "MemoryError"),
    (says("neither note nor warning"), "Broken"), (lambda value: fuzz.check_one_line(""), "Broken"),
    (lambda value: fuzz.check_one_line("two\nlines"), "Broken"), (lambda value: fuzz.check_one_line("x" * 1001), "Broken"),
    (lambda value: fuzz.refusal_of_command(lambda: print("Traceback", file=sys.stderr), [], "run.py"), "Broken"),
    (lambda value: fuzz.refusal_of_command(lambda: sys.exit(1), [], "run.py"), "Broken"),
    (lambda value: fuzz.refusal_of_command(lambda: sys.exit(2), [], "run.py"), "Broken"),
])
def test_a_failure_is_reported(read, kind, tmp_path, monkeypatch):
    monkeypatch.setitem(fuzz.READERS, "failing", (lambda folder: contextlib.nullcontext(read), fuzz.st.integers()))
    tally = fuzz.try_inputs("failing", 2, seed=0, folder=tmp_path, seconds=0.2)
    assert tally.inputs == 2 and tally.succeeded == tally.refused == 0
    assert [key[0] for key in tally.failures] == [kind]


def test_what_is_right_is_no_failure(tmp_path, monkeypatch):
    def read(value):
        print("note: x", file=sys.stderr)
        if value % 2:
            raise InputError(f"some.file: {value} is odd")

    monkeypatch.setitem(fuzz.READERS, "right", (lambda folder: contextlib.nullcontext(lambda value: fuzz.refusal(read, value)),
                                                fuzz.st.integers()))
    tally = fuzz.try_inputs("right", 50, seed=0, folder=tmp_path)
    assert not tally.failures and tally.succeeded > 5 and tally.kinds == {"NAME 0 is odd": tally.refused}
    assert tally.inputs == tally.succeeded + tally.refused


@pytest.mark.parametrize("action", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: sys.exit(3), lambda: bytearray(2 ** 32),
                                    lambda: time.sleep(60)])
def test_a_process_that_dies_is_reported(action):
    with pytest.raises(fuzz.Broken):
        fuzz.in_child(action, memory=2 ** 30, seconds=2)


def test_memory_and_time_are_measured():
    def action():
        time.sleep(0.2)
        return len(bytes(10 ** 8).replace(b"\0", b"1"))

    result, seconds, memory = fuzz.in_child(action)
    assert result == 10 ** 8 and 0.2 < seconds < 10 and 0.9e8 < memory < 5e8


# ---- large files, through the command line --------------------------------------------------------------------------

MILLION = 10 ** 6
FLAGS = ["--writing_params_path", "out", "--precision", "float32"]
COMMANDS = {
    "wiki.txt": ["pretrain", "vanilla", "wiki.txt", *FLAGS],
    "births.tsv": ["finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "births.tsv", *FLAGS],
    "asked.tsv": ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "some.params", "--eval_corpus_path", "asked.tsv",
                  "--outputs_path", "out"],
}
QUESTION = "Where was Ann Lee born?"
HEBREW, MARY = "\u05d1\u05df \u05d2\u05d5\u05e8\u05d9\u05d5\u05df", "\u0645\u0631\u064a\u0645"
NO_UTF8 = "line 1: byte 0xed is not UTF-8"
CASES = [  # a file, its content, and what is said of it, or None
    ("wiki.txt", lambda: b"Ann Lee was. " * (MILLION // 13), None),
    ("wiki.txt", lambda: b"Ann\n" * MILLION, None),
    ("wiki.txt", lambda: b"", "wiki.txt: no document in it"),
    ("wiki.txt", lambda: b"A", None),
    ("wiki.txt", lambda: b"\n" * MILLION, "wiki.txt: no document in it"),
    ("wiki.txt", lambda: b"\r\n" * MILLION, "wiki.txt: no document in it"),
    ("wiki.txt", lambda: b"\n" * MILLION + b"Ann\n", None),
    ("wiki.txt", lambda: b"\0" * MILLION, None),
    ("wiki.txt", lambda: b"Ann\n\n" + "\u2047".encode(),
     "wiki.txt: line 3: holds \u2047 (U+2047), which is reserved as the mask character"),
    ("wiki.txt", lambda: "Ann \u25a1\n".encode(),
     "wiki.txt: line 1: holds \u25a1 (U+25A1), which is reserved as the padding character"),
    ("wiki.txt", lambda: b"Ann \xed\xa0\x80\n", f"wiki.txt: {NO_UTF8}"),
    ("wiki.txt", lambda: f"{HEBREW}. {MARY} .\n".encode(), None),
    ("wiki.txt", lambda: "".join(map(chr, range(0x4e00, 0x9000))).encode(), None),
    ("births.tsv", lambda: b"Ann?\tYork\n" * MILLION, None),
    ("births.tsv", lambda: f"{QUESTION}\t{'Leeds ' * (MILLION // 6)}".encode(),
     "births.tsv: line 1: question and place take 1000020 characters"),
    ("births.tsv", lambda: b"", "births.tsv: no question in it"),
    ("births.tsv", lambda: f"{QUESTION}\tLeeds".encode(), None),
    ("births.tsv", lambda: b"\n" * MILLION, "births.tsv: no question in it"),
    ("births.tsv", lambda: b"\0\tYork\n", "births.tsv: line 1: '\\x00' (U+0000) is not in the pretraining corpus"),
    ("births.tsv", lambda: f"{QUESTION}\u2047\tYork\u25a1\n".encode(), None),  # dropped with all that is not ASCII
    ("births.tsv", lambda: b"Where \xed\xa0\x80\tYork\n", f"births.tsv: {NO_UTF8}"),
    ("births.tsv", lambda: f"Where was {HEBREW} born?\tYork\n".encode(), None),
    ("births.tsv", lambda: f"{HEBREW}\tYork\n".encode(), "births.tsv: line 1: no question before the tab"),
    ("births.tsv", lambda: f"Where was {'Ann ' * 20}born?\tYork\n".encode(),
     "births.tsv: line 1: question and place take 101 characters"),
    ("births.tsv", lambda: b"\t" * MILLION + b"x", "births.tsv: line 1: 1000000 tabs where at most one is expected"),
    ("asked.tsv", lambda: b"Ann?\tYork\n" * MILLION, None),
    ("asked.tsv", lambda: b"Where " * (MILLION // 6), "asked.tsv: line 1: the question takes 999996 characters"),
    ("asked.tsv", lambda: b"", "asked.tsv: no question in it"),
    ("asked.tsv", lambda: QUESTION.encode(), None),
    ("asked.tsv", lambda: b"\n" * MILLION, "asked.tsv: no question in it"),
    ("asked.tsv", lambda: b"\0\n" * 1000, None),
    ("asked.tsv", lambda: f"{QUESTION}\u2047\n".encode(), None),
    ("asked.tsv", lambda: f"{QUESTION}\u25a1\tYork\n".encode(), None),
    ("asked.tsv", lambda: b"Where \xed\xa0\x80\n", f"asked.tsv: {NO_UTF8}"),
    ("asked.tsv", lambda: f"Where was {HEBREW} born?\tYork\n".encode(), None),
    ("asked.tsv", lambda: f"Where was {'Ann ' * 20}born?\n".encode(), "asked.tsv: line 1: the question takes 96 characters"),
    ("asked.tsv", lambda: "".join(map(chr, range(0x4e00, 0x9000))).encode(), None),  # all unknown, and the warning bearable
]


@pytest.fixture
def experiment(tmp_path):
    fuzz.experiment(tmp_path)


def outcome(words):
    with fuzz.untrained():
        return fuzz.refusal_of_command(lambda: fuzz.run.main(words), words, "run.py")


@pytest.mark.parametrize("name, content, said", CASES, ids=[f"{i} {name}" for i, (name, _, _) in enumerate(CASES)])
def test_a_large_or_strange_file(name, content, said, experiment):
    Path(name).write_bytes(content())
    message, _, memory = fuzz.in_child(outcome, COMMANDS[name], memory=2 * MEMORY, seconds=SECONDS)
    assert memory < MEMORY
    assert os.path.exists("out") == (said is None)
    if said is None:
        assert message is None
        assert name != "asked.tsv" or Path("out").read_bytes().count(b"\n") == len(fuzz.lines_of(Path(name).read_bytes()))
    else:
        assert message.startswith(f"run.py: error: {said}")


# ---- what was found -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", COMMANDS)
def test_a_text_without_end_is_refused(name, experiment):
    """It is read up to a limit, not into all of the memory."""
    words = ["/dev/zero" if word == name else word for word in COMMANDS[name]]
    message, _, memory = fuzz.in_child(outcome, words, memory=4 * 2 ** 30, seconds=SECONDS)
    assert message.startswith("run.py: error: /dev/zero: larger than ") and memory < 2.5 * 2 ** 30


def test_a_small_parameter_file_takes_little_memory(experiment):
    """Also of addresses, of which some systems give a process only so many."""
    message, _, _ = fuzz.in_child(outcome, COMMANDS["asked.tsv"], memory=2 ** 28)
    assert message is None


@pytest.mark.parametrize("words", [
    ["pretrain", "vanilla", "no\nfile", *FLAGS], ["pretrain", "vanilla", "no\x1b[31mfile", *FLAGS],
    ["pretrain", "vanilla", "wiki.txt", "a\nb", *FLAGS],
    ["pretrain", "vanilla", "wiki.txt", "--seed", "9" * 5000], ["pretrain", "vanilla", "folder/" * 1000, *FLAGS],
    ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "a\0b"],
    ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "\ud800"],
    ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "a\0b", "--eval_corpus_path", "asked.tsv", "--outputs_path",
     "out"],
    ["pretrain", "vanilla", "wiki.txt", *FLAGS, "--device", "fpga"],
])
def test_words_that_spoil_the_line(words, experiment):
    assert outcome(words) is not None


@pytest.mark.parametrize("name", ["out.log.jsonl", "out.resume"])
@pytest.mark.parametrize("command", ["wiki.txt", "births.tsv"])
def test_what_is_kept_beside_the_parameters_is_no_input(name, command, experiment):
    """The log and the resume file of --writing_params_path out would be written over it."""
    os.rename(command, name)
    words = [name if word == command else word for word in COMMANDS[command]]
    before = Path(name).read_bytes()
    assert "would overwrite an input" in outcome(words)
    assert Path(name).read_bytes() == before


STATES = {
    "a name of two lines": lambda state: {**state, "a\nb": torch.ones(2)},
    "a long name": lambda state: {**state, "x" * 3000: torch.ones(2)},
    "600 dimensions": lambda state: {**state, "pos_emb": state["pos_emb"].reshape(600 * [1] + list(state["pos_emb"].shape))},
    "a nested tensor": lambda state: {**state, "head.weight": fuzz.nested(state["head.weight"])},
    "beyond float32": lambda state: {**state, "head.weight": state["head.weight"].double() * 0 + 1e300},
    **{name: lambda state,
       name=name: {**state, "head.weight": fuzz.TENSORS[name](state["head.weight"])} for name in fuzz.PACKED + fuzz.FLOAT8},
}


@pytest.mark.parametrize("what", STATES)
def test_a_parameter_file_that_is_refused(what):
    torch.manual_seed(1)
    model = fuzz.quiet(GPT, GPTConfig(7, 9, n_layer=1, n_head=2, n_embd=4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(STATES[what](before), "some.params")
    message = fuzz.refusal(load_params, model, "some.params")
    if what in fuzz.FLOAT8:  # some of these kinds can be read
        assert message is None or message.startswith("some.params: ")
    else:
        assert message.startswith("some.params: ")
        assert all(fuzz.same_bits(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("place, change, taken", [
    (("conditions",), ("add", "a\nb", "c"), True), (("conditions", "device"), ("replace", "x\ny"), True),
    (("settings",), ("add", "a\nb", "c"), False), (("settings", "seed"), ("replace", "x" * 50_000), False),
    (("random", "python"), ("replace", (9, tuple(range(600)), None)), False),
    (("trainer", "log", "seconds"), ("replace", math.inf), False), (("trainer", "log", "losses"),
                                                                    ("replace", [math.inf, -math.inf]), False),
    (("trainer", "epoch"), ("replace", -1), False), (("trainer", "epoch"), ("replace", -10 ** 9), False),
    (("trainer", "epoch"), ("replace", 10 ** 400), False),
    (("trainer", "step"), ("replace", 4), False), (("trainer", "step"), ("replace", -1), False),
    (("trainer", "tokens"), ("replace", math.nan), False),
    (("trainer", "tokens"), ("replace", 10 ** 400), False),
    (("trainer", "optimizer", 0, "exp_avg"), ("replace", ("tensor", "huge in 16 bits")), False),
    (("trainer", "optimizer", 0, "exp_avg"), ("replace", ("tensor", "sparse")), False),
    (("trainer", "optimizer", 0, "exp_avg"), ("replace", ("tensor", "float8_e4m3fn")), False),
    (("trainer", "optimizer", 0, "exp_avg"), ("replace", "x"), False),
    (("trainer", "optimizer", 1, "step"), ("replace", -1), False),
    (("trainer", "log", "losses"), ("replace", [1e308, 1e308]), False),
    (("trainer", "log", "records"), ("replace", [[1, 2, 3]]), False), (("format",), ("replace", 10 ** 400), False),
])
def test_a_resume_file_that_is_spoiled(place, change, taken, tmp_path):
    with fuzz.READERS["resuming"][0](tmp_path) as read, fuzz.time_limit(10):
        assert (read((3, ("state", [(place, change)]))) is None) == taken
