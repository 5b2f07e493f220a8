"""python -m pytest tests/test_resume.py

Runs that are stopped and taken up: the same bits and the same log as without a stop, wherever it came; other runs' files
and damaged ones refused; signals; how often the file is written; and numbers that are no longer finite.
"""

import contextlib
import io
import itertools
import json
import math
import os
import random
import re
import signal
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import checkpoint
import resume
from conftest import BLOCK_SIZE, TINY_CORPUS
from dataset import CharCorruptionDataset, InputError
from model import GPT, GPTConfig
from resume import Checkpointer, Stopped, digest, digest_of_state
from trainer import Trainer, TrainerConfig

EPOCHS, STEPS = 3, 3  # five documents in batches of two
CORPUS = TINY_CORPUS  # four documents and the empty one


def new_trainer(variant="vanilla", checkpointer=None, dataset=None, model=None, test_dataset=None, **changes):
    torch.manual_seed(7)
    dataset = dataset or CharCorruptionDataset(CORPUS, BLOCK_SIZE)
    model = model or GPT(GPTConfig(dataset.vocab_size, BLOCK_SIZE, n_layer=2, n_head=3, n_embd=6, embd_pdrop=0.3, resid_pdrop=0.3,
                                   attn_pdrop=0.3, **{variant: True}))
    config = TrainerConfig(**{"max_epochs": EPOCHS, "batch_size": 2, "learning_rate": 1e-2, "seed": 3, "device": "cpu",
                              "lr_decay": True, "warmup_tokens": 200, "final_tokens": 900, "checkpointer": checkpointer, **changes})
    return Trainer(model, dataset, test_dataset, config)


class At:
    """A TensorBoard writer that does something when the step of that number has been taken, and keeps what it is given."""

    def __init__(self, step, action):
        self.step, self.action, self.scalars = step, action, []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))
        if tag == "train/lr" and step == self.step:
            self.action()


def interrupt():
    signal.raise_signal(signal.SIGTERM)


def die():
    """Ends the run without a chance to write anything, as far as that can be done within a process."""
    raise ZeroDivisionError


def parameters(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def identical(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def log_of(path):
    """The records of a log file, but for the seconds, which must not fall."""
    records = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    seconds = [record.pop("seconds") for record in records]
    assert seconds == sorted(seconds) and all(second >= 0 for second in seconds)
    return records


@pytest.fixture
def whole(tmp_path, variant):
    """Parameters and log of a run without interruption."""
    trainer = new_trainer(variant, Checkpointer(tmp_path / "whole", log_path=tmp_path / "whole.log"))
    trainer.train()
    return parameters(trainer), log_of(tmp_path / "whole.log")


@pytest.fixture(autouse=True)
def short_records(monkeypatch):
    """A record every two steps: some end within an epoch, some go over its end."""
    monkeypatch.setattr("progress.STEPS_IN_A_RECORD", 2)


def kept(tmp_path, **changes):
    return Checkpointer(tmp_path / "run", **{"log_path": tmp_path / "run.log", **changes})


def stopped_at(tmp_path, step, variant="vanilla", **changes):
    """Leaves the files of a run that was stopped after that many steps."""
    trainer = new_trainer(variant, kept(tmp_path), writer=At(step, interrupt), **changes)
    with pytest.raises(Stopped):
        trainer.train()


# ---- the same end ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("step", range(1, EPOCHS * STEPS + 1))
def test_a_run_that_was_stopped_anywhere_ends_in_the_same_bits(step, variant, whole, tmp_path, capsys):
    stopped_at(tmp_path, step, variant)
    again = new_trainer(variant, kept(tmp_path))
    capsys.readouterr()
    random.random(), torch.rand(1), np.random.rand()  # a new process has other numbers to begin with
    again.train()
    assert capsys.readouterr().out == (f"resuming from epoch {(step - 1) // STEPS + 1} step {(step - 1) % STEPS + 1} of {STEPS}, "
                                       f"as {tmp_path}/run has it\n")
    assert identical(parameters(again), whole[0])
    assert log_of(tmp_path / "run.log") == whole[1]


def test_a_run_that_is_stopped_after_every_step_ends_in_the_same_bits(variant, whole, tmp_path):
    for step in range(1, EPOCHS * STEPS + 1):
        stopped_at(tmp_path, step, variant)
    again = new_trainer(variant, kept(tmp_path))
    again.train()
    assert identical(parameters(again), whole[0]) and log_of(tmp_path / "run.log") == whole[1]


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_run_that_died_goes_on_from_what_was_written_last(every, variant, whole, tmp_path, monkeypatch, capsys):
    """A clock in steps; the run dies after each of them in turn, and does not get further each time."""
    clock, deaths = itertools.count(), 0
    monkeypatch.setattr(resume.time, "monotonic", lambda: 0)
    for step in range(every, EPOCHS * STEPS + 1, 2):
        monkeypatch.setattr(Checkpointer, "after_step", every_step(every, Checkpointer.after_step, clock))
        trainer = new_trainer(variant, kept(tmp_path, every=0), writer=At(step, die))
        with pytest.raises(ZeroDivisionError):
            trainer.train()
        monkeypatch.undo()
        monkeypatch.setattr("progress.STEPS_IN_A_RECORD", 2)
        deaths += 1
    assert deaths > 2
    again = new_trainer(variant, kept(tmp_path))
    again.train()
    assert "resuming from" in capsys.readouterr().out
    assert identical(parameters(again), whole[0]) and log_of(tmp_path / "run.log") == whole[1]


def every_step(every, after_step, clock):
    """after_step as it is when the time to write comes every so many steps."""
    def counted(self):
        self._next = 0 if next(clock) % every == 0 else math.inf
        after_step(self)
    return counted


class Drawn(Dataset):
    """Rows that are drawn from each of the global generators as they are asked for, as a plain dataset may do."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        numbers = [random.randrange(1, 9), int(np.random.randint(1, 9)), int(torch.randint(1, 9, ()))] * 2
        row = torch.tensor([index % 5 + 1, *numbers])
        return row[:-1], row[1:]


class Drawing(nn.Module):
    """A model of somebody else, with torch's own dropout."""

    def __init__(self):
        super().__init__()
        self.embedding, self.drop, self.head = nn.Embedding(12, 6), nn.Dropout(0.5), nn.Linear(6, 12)

    def forward(self, x, y):
        logits = self.head(self.drop(self.embedding(x)))
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("seed", [None, 3])
def test_without_a_seed_the_random_numbers_go_on_too(step, seed, tmp_path):
    """With a dataset and a model that draw from the global generators, which are the only seed there is."""
    def trainer(**changes):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        return Trainer(Drawing(), Drawn(), None, TrainerConfig(max_epochs=EPOCHS, batch_size=2, device="cpu", seed=seed, **changes))

    whole = trainer()
    whole.train()
    with pytest.raises(Stopped):
        trainer(checkpointer=kept(tmp_path), writer=At(step, interrupt)).train()
    again = trainer(checkpointer=kept(tmp_path))
    again.train()
    assert identical(parameters(again), parameters(whole))


def test_the_lowest_test_loss_is_remembered(tmp_path):
    """The checkpoint is of the epoch with the lowest loss, also if that came before the stop."""
    dataset = CharCorruptionDataset(CORPUS, BLOCK_SIZE)
    losses = {"whole": [], "first": [], "again": []}

    def trainer(name, given, **changes):
        trainer = new_trainer(dataset=dataset, test_dataset=dataset, ckpt_path=str(tmp_path / f"{name}.params"), **changes)
        trainer._test_loss = lambda gradient: losses[name].append(0) or given[trainer.epoch]
        return trainer

    given = [5.0, 3.0, 4.0]
    trainer("whole", given).train()
    with pytest.raises(Stopped):
        trainer("first", given, checkpointer=kept(tmp_path), writer=At(7, interrupt)).train()
    trainer("again", given, checkpointer=kept(tmp_path)).train()
    assert [len(found) for found in losses.values()] == [3, 2, 1]
    assert not (tmp_path / "again.params").exists()  # the third is no lower than the second
    best, first = (torch.load(tmp_path / f"{name}.params", weights_only=True) for name in ("whole", "first"))
    assert identical(best, first)


def test_a_stop_during_the_last_test_is_not_lost(tmp_path):
    trainer = new_trainer(checkpointer=kept(tmp_path), test_dataset=CharCorruptionDataset(CORPUS, BLOCK_SIZE))
    trainer._test_loss = lambda gradient: interrupt() or 1.0
    with pytest.raises(Stopped, match=r"up to epoch 2 step 1 of 3"):
        trainer.train()
    trainer = new_trainer(checkpointer=kept(tmp_path), max_epochs=1, test_dataset=CharCorruptionDataset(CORPUS, BLOCK_SIZE))
    trainer._test_loss = lambda gradient: interrupt() or 1.0
    with contextlib.suppress(FileNotFoundError):
        os.remove(tmp_path / "run")
    with pytest.raises(Stopped, match=r"up to epoch 1 step 3 of 3"):
        trainer.train()


def test_the_data_before_the_stop_is_not_read_again(tmp_path):
    asked = []

    class Asked(CharCorruptionDataset):
        def corrupt(self, indices, draws):
            asked.extend(indices)
            return super().corrupt(indices, draws)

    stopped_at(tmp_path, 5)
    new_trainer(checkpointer=kept(tmp_path), dataset=Asked(CORPUS, BLOCK_SIZE)).train()
    assert asked == [4, 0, 1, 2, 3, 4]  # the rest of the second epoch, and the third


def test_the_time_trained_goes_on_and_pauses_do_not_count(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])  # the module time itself: everybody's clock

    class Later(At):
        def add_scalar(self, tag, value, step):
            now[0] += 5.0  # twice a step
            super().add_scalar(tag, value, step)

    with pytest.raises(Stopped):
        new_trainer(checkpointer=kept(tmp_path, every=1e9), writer=Later(5, interrupt)).train()
    now[0] += 5000
    new_trainer(checkpointer=kept(tmp_path, every=1e9), writer=Later(99, interrupt)).train()
    records = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert [(record["step"], record["seconds"]) for record in records] == [(2, 10.0), (4, 30.0), (6, 50.0), (8, 70.0), (9, 80.0)]


# ---- the log --------------------------------------------------------------------------------------------------------

def test_the_log_is_what_the_steps_were(tmp_path):
    writer = At(99, interrupt)
    new_trainer(checkpointer=kept(tmp_path), writer=writer).train()
    losses = [value for tag, value, _ in writer.scalars if tag == "train/loss"]
    rates = [value for tag, value, _ in writer.scalars if tag == "train/lr"]
    records = log_of(tmp_path / "run.log")
    assert [(record["step"], record["epoch"]) for record in records] == [(2, 1), (4, 2), (6, 2), (8, 3), (9, 3)]
    for record, first in zip(records, (0, 2, 4, 6, 8)):
        mean = sum(losses[first:record["step"]]) / (record["step"] - first)
        assert record["loss"] == pytest.approx(mean, rel=1e-6) and record["lr"] == pytest.approx(rates[record["step"] - 1], rel=1e-6)


# ---- how often ------------------------------------------------------------------------------------------------------

def writings(tmp_path, monkeypatch, every, seconds_a_step, seconds_a_writing):
    """The steps after which a run of 90 steps writes its state, by a clock that the test sets; 0 for its beginning."""
    now, written = [0.0], []
    writer = At(0, None)

    def write(path, content):
        if path == tmp_path / "run":
            now[0] += seconds_a_writing
            written.append(len(writer.scalars) // 2)

    def count(tag, value, step):
        now[0] += seconds_a_step / 2
        writer.scalars.append(tag)

    writer.add_scalar = count
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "write_atomically", write)
    monkeypatch.setattr(resume, "write_atomically", write)
    new_trainer(checkpointer=kept(tmp_path, every=every), writer=writer, max_epochs=30).train()
    return written


@pytest.mark.parametrize("every, seconds_a_step, seconds_a_writing, expected", [
    (60, 10, 0, [0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90]),
    (60, 1, 0, [0, 60]), (60, 0.5, 0, [0]), (60, 100, 0, list(range(91))), (0, 1, 0, list(range(91))),
    (60, 10, 1, [0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90]),  # 60 s and more have passed by the sixth step
    (60, 10, 10, [0, 49]), (0, 10, 10, [0, 49]), (600, 10, 10, [0, 60]),  # ten seconds of writing are 2% of five hundred
])
def test_it_is_written_every_so_often_and_never_more_than_a_fiftieth(tmp_path, monkeypatch, every, seconds_a_step,
                                                                    seconds_a_writing, expected):
    assert writings(tmp_path, monkeypatch, every, seconds_a_step, seconds_a_writing) == expected


def test_where_nothing_can_be_kept_nothing_is_begun(tmp_path):
    trainer = new_trainer(checkpointer=Checkpointer(tmp_path / "none" / "run"), writer=At(1, lambda: pytest.fail("trained")))
    with pytest.raises(InputError, match="none/run: cannot be written: No such file"):
        trainer.train()


def test_a_full_disk_on_the_way_is_a_warning(tmp_path, variant, whole, monkeypatch, capsys):
    """The run goes on; what was written before is kept; and when there is room again, it is written again."""
    write, tried = checkpoint.write_atomically, []

    def full(path, content):
        if path == tmp_path / "run":
            tried.append(path)
            if 3 <= len(tried) <= 5:
                raise InputError(f"{path}: cannot be written: No space left on device")
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    monkeypatch.setattr(resume, "LARGEST_SHARE", 1)
    trainer = new_trainer(variant, kept(tmp_path, every=0))
    trainer.train()
    assert len(tried) == 1 + EPOCHS * STEPS and identical(parameters(trainer), whole[0])
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warnings == 3 * [f"warning: {tmp_path}/run: cannot be written: No space left on device; what it held before is kept, and "
                            "the run goes on"]


def test_a_disk_that_stays_full_does_not_take_all_the_time(tmp_path, monkeypatch):
    """Ten seconds of trying in vain are 2% of five hundred, too."""
    now, tried = [0.0], []
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])

    def full(path, content):
        now[0] += 10
        tried.append(path)
        if len(tried) > 2:
            raise InputError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)

    class Later(At):
        def add_scalar(self, tag, value, step):
            now[0] += 5

    new_trainer(checkpointer=kept(tmp_path, every=0, log_path=None), writer=Later(0, None), max_epochs=50).train()
    assert len(tried) == 1 + 150 // 49


def test_a_full_disk_at_the_stop_is_said(tmp_path, monkeypatch):
    stopped_at(tmp_path, 2)
    before = (tmp_path / "run").read_bytes()

    def full(path, content):
        raise InputError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(Stopped) as caught:
        new_trainer(checkpointer=kept(tmp_path), writer=At(4, interrupt)).train()
    assert str(caught.value) == f"{tmp_path}/run: cannot be written: No space left on device; what it held before is kept"
    assert (tmp_path / "run").read_bytes() == before


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path, variant, whole, capsys):
    (tmp_path / "folder").mkdir()
    trainer = new_trainer(variant, kept(tmp_path, log_path=tmp_path / "folder"))
    trainer.train()
    assert f"warning: {tmp_path}/folder: cannot be written: Is a directory; the run goes on" in capsys.readouterr().err
    assert identical(parameters(trainer), whole[0])


def test_it_is_removed_when_it_is_no_longer_needed(tmp_path):
    checkpointer = kept(tmp_path)
    new_trainer(checkpointer=checkpointer).train()
    assert (tmp_path / "run").exists()
    checkpointer.remove()
    checkpointer.remove()
    assert os.listdir(tmp_path) == ["run.log"]


# ---- another run's file ---------------------------------------------------------------------------------------------

SETTINGS = {"function": "pretrain", "corpus": digest(b"one"), "recipe": "course"}


@pytest.mark.parametrize("change, settings, said", [
    ({"seed": 4}, {}, "the seed was 3 and is 4"), ({"seed": None}, {}, "the seed was 3 and is None"),
    ({"max_epochs": 4}, {}, "the max_epochs was 3 and is 4"), ({"batch_size": 3}, {}, "the batch_size was 2 and is 3"),
    ({"learning_rate": 0.02}, {}, "the learning_rate was 0.01 and is 0.02"),
    ({"betas": (0.9, 0.99)}, {}, r"the betas was \(0.9, 0.95\) and is \(0.9, 0.99\)"),
    ({"grad_norm_clip": 2.0}, {}, "the grad_norm_clip was 1.0 and is 2.0"), ({"weight_decay": 0.0}, {}, "the weight_decay was 0.1 and is 0.0"),
    ({"lr_decay": False}, {}, "the lr_decay was True and is False"), ({"warmup_tokens": 1}, {}, "the warmup_tokens was 200 and is 1"),
    ({"final_tokens": 1}, {}, "the final_tokens was 900 and is 1"),
    ({}, {"corpus": digest(b"two")}, "the corpus is another"), ({}, {"recipe": "quick"}, "the recipe was course and is quick"),
    ({"seed": 4}, {"corpus": digest(b"two"), "function": "finetune"},
     "the function was pretrain and is finetune, the corpus is another, the seed was 3 and is 4"),
    ({}, {"pretrained": "none"}, "the pretrained was None and is none"),
    ({"dataset": CharCorruptionDataset(CORPUS + "Bo. Bo was born in Bow .\n", BLOCK_SIZE)}, {},
     "the number of training items was 5 and is 6"),
])
def test_another_runs_file_is_refused_and_kept(tmp_path, change, settings, said):
    trainer = new_trainer(checkpointer=kept(tmp_path, settings=SETTINGS), writer=At(2, interrupt))
    with pytest.raises(Stopped):
        trainer.train()
    before = (tmp_path / "run").read_bytes(), (tmp_path / "run.log").read_bytes()
    other = new_trainer(checkpointer=kept(tmp_path, settings={**SETTINGS, **settings}), **change)
    start = parameters(other)
    with pytest.raises(InputError, match=rf"^{tmp_path}/run: belongs to another run: ({said}); --restart starts this one over") as caught:
        other.train()
    assert "\n" not in str(caught.value) and identical(parameters(other), start)
    assert ((tmp_path / "run").read_bytes(), (tmp_path / "run.log").read_bytes()) == before


@pytest.mark.parametrize("change", [{"seed": 4}, {}])
def test_restart_begins_anew_whatever_is_there(tmp_path, change, capsys):
    stopped_at(tmp_path, 5)
    again = new_trainer(checkpointer=kept(tmp_path, restart=True), **change)
    capsys.readouterr()
    again.train()
    plain = new_trainer(checkpointer=Checkpointer(tmp_path / "plain", log_path=tmp_path / "plain.log"), **change)
    plain.train()
    assert "resuming" not in capsys.readouterr().out
    assert identical(parameters(again), parameters(plain)) and log_of(tmp_path / "run.log") == log_of(tmp_path / "plain.log")


def test_restart_begins_anew_over_what_is_damaged(tmp_path):
    (tmp_path / "run").write_bytes(b"nothing of the kind")
    new_trainer(checkpointer=kept(tmp_path, restart=True)).train()


def test_what_changes_roundings_alone_is_noted(tmp_path, monkeypatch, capsys):
    stopped_at(tmp_path, 2)
    monkeypatch.setattr(resume, "machine", lambda: {"torch version": "1.0", "number of threads": 1})
    trainer = new_trainer(checkpointer=kept(tmp_path), precision="bfloat16", micro_batch_size=1, writer=At(4, interrupt))
    capsys.readouterr()
    with pytest.raises(Stopped):
        trainer.train()
    out, err = capsys.readouterr()
    assert out.startswith("resuming from epoch 1 step 2")
    assert f"note: since {tmp_path}/run was written, the precision was float32 and is bfloat16, the micro_batch_size was None and is 1, " \
           f"the torch version was {torch.__version__} and is 1.0" in err and "may not end in the parameters" in err
    new_trainer(checkpointer=kept(tmp_path), precision="bfloat16", micro_batch_size=1).train()  # and now nothing has changed
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize("name, other", [("device", "cuda"), ("precision", "bfloat16"), ("micro_batch_size", 5), ("torch version", "1.0"),
                                         ("processor's instruction set", "abacus"), ("number of threads", 64), ("number of processes", 3)])
def test_each_condition_is_noted(name, other, tmp_path, capsys):
    stopped_at(tmp_path, 2)
    state = torch.load(tmp_path / "run", weights_only=True)
    now, state["conditions"][name] = state["conditions"][name], other
    torch.save(state, tmp_path / "run")
    new_trainer(checkpointer=kept(tmp_path)).train()
    assert f"note: since {tmp_path}/run was written, the {name} was {other} and is {now}; the run goes on" in capsys.readouterr().err


def test_a_change_of_the_code_is_noted(tmp_path, monkeypatch, capsys):
    stopped_at(tmp_path, 2)
    source = resume.Path(resume.__file__).parent
    (tmp_path / "src").mkdir()
    for path in source.glob("*.py"):
        (tmp_path / "src" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "src" / ".#model.py").symlink_to("nowhere")  # as an editor puts it there
    (tmp_path / "src" / "gone.py").symlink_to("nowhere")
    assert resume.digest_of_code(source) == resume.CODE == resume.digest_of_code(tmp_path / "src") == resume.machine()["code"]
    (tmp_path / "src" / "model.py").write_bytes(b"# changed\n" + (tmp_path / "src" / "model.py").read_bytes())
    monkeypatch.setattr(resume, "CODE", resume.digest_of_code(tmp_path / "src"))
    new_trainer(checkpointer=kept(tmp_path)).train()
    assert "the code is another; the run goes on" in capsys.readouterr().err


def test_digests_tell_contents_apart(tiny_model):
    state = tiny_model.state_dict()
    first = digest_of_state(state)
    assert first == digest_of_state({name: tensor.clone() for name, tensor in state.items()}) and first.startswith("sha256 ")
    state["pos_emb"][0, 0, 0] += 1e-6
    assert digest_of_state(state) != first
    assert digest(b"a") != digest(b"b") and digest(b"a") == digest(b"a")


# ---- a file that is none --------------------------------------------------------------------------------------------

def refused(tmp_path, said):
    trainer = new_trainer(checkpointer=kept(tmp_path))
    start = parameters(trainer)
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(InputError) as caught:
        trainer.train()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/run: ") and "\n" not in message and message.endswith("--restart starts over")
    assert said in message
    assert (tmp_path / "run").read_bytes() == before
    return identical(parameters(trainer), start)


@pytest.mark.parametrize("share", [0, 0.1, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    stopped_at(tmp_path, 2)
    content = (tmp_path / "run").read_bytes()
    (tmp_path / "run").write_bytes(content[:int(share * len(content))])
    assert refused(tmp_path, "not a resume file, or damaged")


@pytest.mark.parametrize("content", [None, [], {}, {"format": 1}, {"format": 1, "settings": {}, "conditions": {}, "trainer": {}},
                                     {"format": 1, "settings": {"seed": torch.ones(2)}, "conditions": {}, "trainer": {}, "random": {}}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "run")
    assert refused(tmp_path, "not a resume file")


def test_a_file_of_another_format_is_refused(tmp_path):
    stopped_at(tmp_path, 2)
    torch.save({**torch.load(tmp_path / "run", weights_only=True), "format": 2}, tmp_path / "run")
    assert refused(tmp_path, "a resume file of format 2, not 1")


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_in_a_file_is_executed(tmp_path):
    stopped_at(tmp_path, 2)
    torch.save({**torch.load(tmp_path / "run", weights_only=True), "more": Hostile(tmp_path / "made")}, tmp_path / "run")
    assert refused(tmp_path, "not a resume file, or damaged")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("path, value", [
    (("trainer", "model"), None), (("trainer", "model", "pos_emb"), torch.zeros(3)), (("trainer", "model", "more"), torch.zeros(3)),
    (("trainer", "model", "ln_f.bias"), torch.full((6,), math.nan)),
    (("trainer", "optimizer"), {}), (("trainer", "optimizer"), []), (("trainer", "optimizer", 1000), {}),
    (("trainer", "optimizer", 0), {}), (("trainer", "optimizer", 0, "exp_avg"), torch.zeros(3)),
    (("trainer", "optimizer", 1, "exp_avg"), torch.full((6, 6), math.inf)),
    (("trainer", "optimizer", 3, "exp_avg_sq"), "text"), (("trainer", "optimizer", 3, "step"), torch.tensor(-5.0)),
    (("trainer", "optimizer", 3, "step"), torch.tensor(3.0)), (("trainer", "optimizer", 3, "step"), torch.zeros(2)),
    (("trainer", "epoch"), -1), (("trainer", "epoch"), EPOCHS + 1), (("trainer", "epoch"), 1.5), (("trainer", "epoch"), None),
    (("trainer", "step"), -1), (("trainer", "step"), STEPS + 1), (("trainer", "tokens"), math.nan), (("trainer", "tokens"), -3),
    (("trainer", "best_loss"), "low"), (("trainer", "best_loss"), math.nan),
    (("trainer", "epoch"), EPOCHS),  # two steps beyond the end
    (("trainer", "log", "records"), [[3, 1, 2.0, 0.1, 1.0]]), (("trainer", "log", "records"), [[2, 2, 2.0, 0.1, 1.0]]),
    (("trainer", "log"), []), (("trainer", "log", "records"), [[1, 2]]), (("trainer", "log", "losses"), [None]),
    (("trainer", "log", "records"), [[4, 2, 2.0, 0.1, 1.0], [2, 1, 2.0, 0.1, 2.0]]), (("trainer", "log", "losses"), [math.inf]),
    (("trainer", "log", "seconds"), "long"), (("random", "python"), ()), (("random", "torch"), torch.zeros(3)), (("random", "numpy"), [1]),
])
def test_a_file_whose_form_is_right_and_whose_content_is_not(tmp_path, path, value):
    stopped_at(tmp_path, 2)
    state = torch.load(tmp_path / "run", weights_only=True)
    *way, last = path
    inner = state
    for name in way:
        inner = inner[name]
    inner[last] = value
    torch.save(state, tmp_path / "run")
    refused(tmp_path, "not the resume file of such a run")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_average_that_shows_one_number_everywhere_is_copied(tmp_path, precision):
    """It fits in names, sizes and type, but there is one number's memory behind it, and AdamW writes to all of it."""
    stopped_at(tmp_path, 2, precision=precision)
    state = torch.load(tmp_path / "run", weights_only=True)
    for averages in state["trainer"]["optimizer"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            averages[name] = torch.zeros(1).expand(averages[name].shape)
    torch.save(state, tmp_path / "run")
    trainer = new_trainer(checkpointer=kept(tmp_path), precision=precision)
    trainer.train()
    for averages in trainer.optimizer.state_dict()["state"].values():
        assert averages["exp_avg"].is_contiguous() and averages["exp_avg"].unique().numel() > 1


@pytest.mark.parametrize("key", [-1, 1000, True])
def test_an_average_of_no_parameter_is_refused(tmp_path, key):
    stopped_at(tmp_path, 2)
    state = torch.load(tmp_path / "run", weights_only=True)
    state["trainer"]["optimizer"][key] = state["trainer"]["optimizer"].pop(1 if key is True else 5)
    torch.save(state, tmp_path / "run")
    refused(tmp_path, "the optimizer has stepped an unknown parameter")


# ---- signals --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_the_run_after_its_step(name, tmp_path, capfd):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    trainer = new_trainer(checkpointer=kept(tmp_path), writer=At(4, lambda: signal.raise_signal(number)))
    with pytest.raises(Stopped) as caught:
        trainer.train()
    assert caught.value.number == number and isinstance(caught.value, KeyboardInterrupt)
    assert str(caught.value) == f"{tmp_path}/run holds the run up to epoch 2 step 1 of 3; the same command goes on from there"
    assert capfd.readouterr().err.endswith("\nstopping after this step (once more: at once)\n")
    assert torch.load(tmp_path / "run", weights_only=True)["trainer"]["step"] == 1
    assert signal.getsignal(number) == before


def test_a_second_signal_acts_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        new_trainer(checkpointer=kept(tmp_path), writer=At(4, twice)).train()
    assert not isinstance(caught.value, Stopped)
    assert torch.load(tmp_path / "run", weights_only=True)["trainer"]["step"] == 0  # what was there before


def test_a_second_signal_of_another_kind_acts_at_once_too(tmp_path):
    def both():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        new_trainer(checkpointer=kept(tmp_path), writer=At(4, both)).train()
    assert not isinstance(caught.value, Stopped)


class Unprintable(io.StringIO):
    """A stream that is in the middle of a print, with a file behind it or none."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise RuntimeError("reentrant call")

    def fileno(self):
        return self.number if self.number is not None else super().fileno()


@pytest.mark.parametrize("number", [2, None])
def test_a_signal_may_come_in_the_middle_of_a_print(number, tmp_path, monkeypatch):
    def stop():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Unprintable(number))
            interrupt()

    with pytest.raises(Stopped):
        new_trainer(checkpointer=kept(tmp_path), writer=At(4, stop)).train()


def test_signals_that_are_ignored_stay_so(tmp_path, variant, whole):
    """nohup has SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        trainer = new_trainer(variant, kept(tmp_path), writer=At(4, lambda: signal.raise_signal(signal.SIGHUP)))
        trainer.train()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and identical(parameters(trainer), whole[0])
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_left_alone_without_a_checkpointer():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        new_trainer(writer=At(4, lambda: signal.raise_signal(signal.SIGINT))).train()
    assert not isinstance(caught.value, Stopped) and signal.getsignal(signal.SIGINT) == before


def test_signals_are_as_before_when_the_run_has_ended(tmp_path):
    before = [signal.getsignal(number) for number in resume.SIGNALS]
    new_trainer(checkpointer=kept(tmp_path)).train()
    with pytest.raises(ZeroDivisionError):
        new_trainer(checkpointer=kept(tmp_path, restart=True), writer=At(2, die)).train()
    assert [signal.getsignal(number) for number in resume.SIGNALS] == before


def test_training_in_another_thread_works(tmp_path, variant, whole):
    """Only the main thread can handle signals."""
    trainer = new_trainer(variant, kept(tmp_path))
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert identical(parameters(trainer), whole[0])


# ---- numbers --------------------------------------------------------------------------------------------------------

class Rows(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        row = torch.arange(1, 8) + index % 3
        return row[:-1], row[1:]


def spoiling(tmp_path, spoil, step=4, **changes):
    """A trainer that spoils the gradient of that step (from 0) before it is looked at; and the parameters before that step."""
    torch.manual_seed(1)
    model, seen = Drawing(), []
    calls = itertools.count()

    def forward(x, y):
        number = next(calls)
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        logits, loss = Drawing.forward(model, x, y)
        if number == step:
            spoil(model, loss)
            if spoil is lose:
                loss = loss * math.nan
        return logits, loss

    model.forward = forward
    config = TrainerConfig(max_epochs=3, batch_size=2, device="cpu", seed=1, checkpointer=kept(tmp_path, every=0), **changes)
    return Trainer(model, Rows(), None, config), seen


def lose(model, loss):
    pass


def spoil_gradient(value):
    def spoil(model, loss):
        model.head.weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    return spoil


@pytest.mark.parametrize("spoil, said", [(lose, r"the loss is not finite \(nan\)"), (spoil_gradient(math.inf), r"the gradient is not finite"),
                                         (spoil_gradient(math.nan), r"the gradient is not finite \(nan\)")])
def test_a_step_that_is_not_finite_stops_the_run_before_it_is_taken(tmp_path, monkeypatch, spoil, said):
    monkeypatch.setattr(resume, "LARGEST_SHARE", 1)
    trainer, seen = spoiling(tmp_path, spoil)
    with pytest.raises(InputError, match=said + r".* in epoch 2 step 2; .*Try a lower learning rate") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)
    assert identical(parameters(trainer), seen[4])  # those of the step before
    state = torch.load(tmp_path / "run", weights_only=True)["trainer"]
    assert (state["epoch"], state["step"]) == (1, 1) and identical(state["model"], seen[4])


def test_a_parameter_that_is_not_finite_is_written_nowhere(tmp_path, monkeypatch):
    """As a learning rate beyond all measure makes them, from a gradient that is finite."""
    monkeypatch.setattr(resume, "LARGEST_SHARE", 1)
    for folder in ("at a writing", "at an epoch's end"):
        (tmp_path / folder).mkdir()
        checkpointer = Checkpointer(tmp_path / folder / "run", every=0 if folder == "at a writing" else 1e9)
        trainer = new_trainer(checkpointer=checkpointer, learning_rate=1e39, lr_decay=False, batch_size=5, ckpt_path=str(tmp_path / "a.params"))
        start = parameters(trainer)
        with pytest.raises(InputError, match=r"is not finite after epoch 1 step 1 of 1; nothing of it is written"):
            trainer.train()
        assert identical(torch.load(tmp_path / folder / "run", weights_only=True)["trainer"]["model"], start)
    assert not (tmp_path / "a.params").exists()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_any_number_of_any_parameter_is_looked_at(value):
    model = new_trainer().model
    for name, parameter in list(model.named_parameters())[::5] + list(model.named_parameters())[-1:]:
        trainer = new_trainer(model=model, max_epochs=1)
        trainer._begin()
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[-1] = value
        with pytest.raises(InputError, match=f"^{re.escape(name)} is not finite"):
            trainer.check_parameters()
        with torch.no_grad():
            parameter.copy_(before)
    trainer.check_parameters()


def test_float32_is_advised_where_it_is_not_in_use(tmp_path):
    trainer, _ = spoiling(tmp_path, lose, precision="bfloat16")
    with pytest.raises(InputError, match="Try --precision float32, a lower learning rate or another seed"):
        trainer.train()
