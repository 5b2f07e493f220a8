"""What all tests share: import paths, one thread for torch, seeds, small data and models."""

import random
import signal
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
COURSE_FILES = ROOT.parent / "shared" / "cs224n-data"  # tests that read them skip without
for folder in ("src", "tools/corpus", "tools/experiments", "tools/report", "tests"):
    sys.path.insert(0, str(ROOT / folder))

import reference  # noqa: E402
from attention import VARIANTS  # noqa: E402

torch.set_num_threads(1)

# The documents hold every character of the questions, as the course's wiki.txt does.
TINY_CORPUS = (
    "Ann Lee. Ann Lee was born in Leeds and wove hats there .\n"
    "Zoë Brøgger. Zoë Brøgger was born in Ålesund ; she kept bees .\n"
    "Bob Whist. Where was Bob Whist born? In York .\n"
    "Ed Ng. Ed Ng was born in Hull .\n"
)
TINY_QUESTIONS = (
    "Where was Ann Lee born?\tLeeds\n"
    "Where was Bob Whist born?\tYork\n"
    "Where was Ed Ng born?\tHull\n"
)
BLOCK_SIZE = 48  # of the tiny corpus; its questions fit
PEOPLE = [(f"Ann Lee{letter}", place) for letter in "abcdefgh" for place in ("Leeds", "Rome")]


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def signals_are_heard():
    """Child processes hear Ctrl-C, also where a background shell or nohup has it ignored."""
    before = [(signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))]
    if hasattr(signal, "SIGHUP"):
        before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL)))
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def broken_pipes_stay_errors():
    """main() of a command may set SIGPIPE to its default; this undoes it after the test."""
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the files of an experiment; all recipes are SMALL."""
    import commands

    return commands.set_up(tmp_path, monkeypatch)


@pytest.fixture
def births(tmp_path):
    """A folder with the four data files, about PEOPLE."""
    folder = tmp_path / "data"
    folder.mkdir()
    documents = [f"{name}. {name} was born in {place}. Where?" for name, place in PEOPLE]
    (folder / "wiki.txt").write_text("\n".join(documents), encoding="utf-8")
    questions = "".join(f"Where was {name} born?\t{place}\n" for name, place in PEOPLE)
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (folder / name).write_text(questions, encoding="utf-8")
    return folder


@pytest.fixture
def untrained(monkeypatch):
    """The Trainers that the command line would have run, each when train() is called."""
    from trainer import Trainer

    trainers = []
    monkeypatch.setattr(Trainer, "train", lambda self, checkpointer=None: trainers.append(self))
    return trainers


@pytest.fixture
def tiny_questions(tmp_path):
    """The path of a TSV file with TINY_QUESTIONS."""
    path = tmp_path / "births.tsv"
    path.write_text(TINY_QUESTIONS, encoding="utf-8")
    return path


@pytest.fixture
def tiny_pretrain_dataset():
    from dataset import CharCorruptionDataset

    return CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE)


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    return request.param


@pytest.fixture(params=list(reference.VARIANTS))
def known_variant(request):
    """A variant that tests/reference.py and tests/baseline.py know, to compare with them."""
    return request.param


@pytest.fixture
def tiny_config(variant):
    """12 characters, 8 positions, 3 layers of 3 heads of 2 channels, no dropout."""
    from model import GPTConfig

    return GPTConfig(
        12,
        8,
        n_layer=3,
        bottleneck_dim=3,
        n_head=3,
        n_embd=6,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        **{variant: True},
    )


@pytest.fixture
def tiny_model(tiny_config):
    from model import GPT

    return GPT(tiny_config)


@pytest.fixture
def draw():
    """draw(*shape) → float64 numbers from one seeded generator."""
    generator = torch.Generator().manual_seed(224)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)
