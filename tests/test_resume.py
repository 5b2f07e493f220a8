"""
Runs that stop and resume: the same bits and the same log as without a stop, wherever it came;
another run's file or a damaged one refused; and how often the file is written.
"""

import itertools
import json
import math
import os
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import trainer
from attention import VARIANTS
from conftest import BLOCK_SIZE, TINY_CORPUS
from dataset import CharCorruptionDataset
from resuming import EPOCHS, STEPS, Events, copied, die, interrupt, keeper, new_trainer, stop_at
from runs import checkpoint, resume
from runs.inputs import InputError
from runs.resume import Checkpointer, Stopped, digest_of_code, digest_of_state
from trainer import NotFiniteError, Trainer, TrainerConfig
from training import identical


@pytest.fixture(autouse=True)
def short_records(monkeypatch):
    """A record of the log every two steps: some end within an epoch, some span its end."""
    monkeypatch.setattr("runs.progress.STEPS_IN_A_RECORD", 2)


def log_of(path):
    """The records of a log file without the seconds, which must not fall."""
    records = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    seconds = [record.pop("seconds") for record in records]
    assert seconds == sorted(seconds) and all(second >= 0 for second in seconds)
    return records


@pytest.fixture
def whole(tmp_path, variant):
    """Parameters and log of a run without a stop."""
    trainer = new_trainer(variant)
    trainer.train(Checkpointer(tmp_path / "whole", log_path=tmp_path / "whole.log"))
    return copied(trainer), log_of(tmp_path / "whole.log")


only_vanilla = pytest.mark.parametrize("variant", ["vanilla"])


# ---- the same end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant, step",
    [("vanilla", step) for step in range(1, EPOCHS * STEPS + 1)]
    + [(name, 5) for name in VARIANTS if name != "vanilla"],
)
def test_a_run_that_was_stopped_anywhere_ends_in_the_same_bits(
    variant, step, whole, tmp_path, capsys
):
    stop_at(tmp_path, step, variant)
    again = new_trainer(variant)
    random.random(), torch.rand(1), np.random.rand()  # a new process has other numbers
    capsys.readouterr()
    again.train(keeper(tmp_path))
    out = capsys.readouterr().out
    assert f"{tmp_path}/run" in out
    assert f"epoch {(step - 1) // STEPS + 1} step {(step - 1) % STEPS + 1} of {STEPS}" in out
    assert identical(copied(again), whole[0])
    assert log_of(tmp_path / "run.log") == whole[1]


def test_so_does_a_run_by_muon(tmp_path):
    whole, again = (new_trainer(optimizer="muon") for _ in range(2))
    whole.train()
    stop_at(tmp_path, 5, optimizer="muon")
    again.train(keeper(tmp_path))
    assert identical(copied(again), copied(whole))


@only_vanilla
def test_so_does_a_run_whose_figures_are_read_late(variant, whole, tmp_path, monkeypatch):
    """Every ten steps, as on a GPU: what is unread belongs to the state that is written."""
    monkeypatch.setitem(trainer.STEPS_TO_READ, "cpu", 10)
    take_step = Trainer._take_step
    for step in range(1, EPOCHS * STEPS + 1):
        calls = itertools.count(1)

        def then_stop(self, *figures, calls=calls, step=step):
            take_step(self, *figures)
            if next(calls) == step:
                interrupt()

        folder = tmp_path / str(step)
        folder.mkdir()
        monkeypatch.setattr(Trainer, "_take_step", then_stop)
        with pytest.raises(Stopped):
            new_trainer(variant).train(keeper(folder))
        monkeypatch.setattr(Trainer, "_take_step", take_step)
        again = new_trainer(variant)
        again.train(keeper(folder))
        assert identical(copied(again), whole[0])
        assert log_of(folder / "run.log") == whole[1]


@only_vanilla
def test_a_run_that_dies_resumes_from_what_was_written_last(
    variant, whole, tmp_path, monkeypatch, capsys
):
    """Here every second step; it dies after steps 2, 4 and so on, each time a step further."""
    after_step, calls = Checkpointer.after_step, itertools.count()

    def every_second(self):
        self._next = 0 if next(calls) % 2 == 0 else math.inf
        after_step(self)

    monkeypatch.setattr(Checkpointer, "after_step", every_second)
    for step in range(2, EPOCHS * STEPS + 1, 2):
        with pytest.raises(ZeroDivisionError):
            new_trainer(variant, writer=Events(step, die)).train(keeper(tmp_path))
    again = new_trainer(variant)
    again.train(keeper(tmp_path))
    assert "resuming" in capsys.readouterr().out
    assert identical(copied(again), whole[0]) and log_of(tmp_path / "run.log") == whole[1]


class Drawn(Dataset):
    """Rows drawn from the global generators as they are asked for, as a plain dataset may do."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        numbers = random.randrange(1, 9), np.random.randint(1, 9), torch.randint(1, 9, ())
        row = torch.tensor([index % 5 + 1, *(int(number) for number in numbers * 2)])
        return row[:-1], row[1:]


class Drawing(nn.Module):
    """A model of somebody else, with torch's own dropout."""

    def __init__(self):
        super().__init__()
        self.embedding, self.drop = nn.Embedding(12, 6), nn.Dropout(0.5)
        self.head = nn.Linear(6, 12)

    def forward(self, x, y):
        logits = self.head(self.drop(self.embedding(x)))
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def small_trainer(writer=None, **changes):
    config = TrainerConfig(**{"max_epochs": EPOCHS, "batch_size": 2, "device": "cpu", **changes})
    config.writer = writer
    return Trainer(Drawing(), Drawn(), None, config)


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("seed", [None, 3])
def test_the_global_random_numbers_continue(step, seed, tmp_path):
    def trainer(writer=None):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        return small_trainer(writer, seed=seed)

    whole = trainer()
    whole.train()
    with pytest.raises(Stopped):
        trainer(Events(step, interrupt)).train(keeper(tmp_path))
    again = trainer()
    again.train(keeper(tmp_path))
    assert identical(copied(again), copied(whole))


def test_the_lowest_test_loss_is_remembered(tmp_path):
    """The checkpoint is that of the lowest loss, also if it came before the stop."""
    dataset = CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE)

    def trainer(name, **changes):
        path = str(tmp_path / f"{name}.params")
        trainer = new_trainer(dataset=dataset, test_dataset=dataset, ckpt_path=path, **changes)
        trainer._test_loss = lambda gradient: [5.0, 3.0, 4.0][trainer.epoch]
        return trainer

    trainer("whole").train()
    with pytest.raises(Stopped):
        trainer("first", writer=Events(7, interrupt)).train(keeper(tmp_path))
    trainer("again").train(keeper(tmp_path))
    assert not (tmp_path / "again.params").exists()  # the third is no lower than the second
    names = ("whole", "first")
    best = [torch.load(tmp_path / f"{name}.params", weights_only=True) for name in names]
    assert identical(*best)


def test_a_stop_during_the_last_test_is_not_lost(tmp_path):
    dataset = CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE)
    trainer = new_trainer(test_dataset=dataset, max_epochs=1)
    trainer._test_loss = lambda gradient: interrupt() or 1.0
    with pytest.raises(Stopped, match="epoch 1 step 3 of 3"):
        trainer.train(keeper(tmp_path))


def test_the_data_before_the_stop_is_not_read_again(tmp_path):
    asked = []

    class Asked(CharCorruptionDataset):
        def corrupt(self, indices, draws):
            asked.extend(indices)
            return super().corrupt(indices, draws)

    stop_at(tmp_path, 5)
    new_trainer(dataset=Asked(TINY_CORPUS, BLOCK_SIZE)).train(keeper(tmp_path))
    assert asked == [4, 0, 1, 2, 3, 4]  # the rest of the second epoch, and the third


# ---- how often ------------------------------------------------------------------------------


class Disk(Events):
    """
    Stands for write_atomically(): a write takes `seconds` on the clock, and a step
    `seconds_a_step`. Fails from write number `full_from` until `full_to`.
    """

    def __init__(self, monkeypatch, path, seconds, seconds_a_step, full_from=None, full_to=None):
        super().__init__(action=self.take_step)
        self.now, self.steps, self.writes = 0.0, 0, []  # after which step each write came
        write = checkpoint.write_atomically

        def fake(target, content):
            if target != path:
                return write(target, content)
            self.now += seconds
            self.writes.append(self.steps)
            if full_from is not None and full_from <= len(self.writes) <= full_to:
                raise InputError(f"{path}: cannot be written: No space left on device")
            write(target, content)

        monkeypatch.setattr(resume.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(checkpoint, "write_atomically", fake)
        self.seconds_a_step = seconds_a_step

    def take_step(self):
        self.now, self.steps = self.now + self.seconds_a_step, self.steps + 1


@pytest.mark.parametrize(
    "every, seconds_a_step, seconds, expected",
    [
        (60, 10, 0, [0, *range(6, 91, 6)]),
        (60, 1, 0, [0, 60]),
        (60, 0.5, 0, [0]),
        (0, 1, 0, list(range(91))),
        (60, 10, 10, [0, 49]),  # ten seconds of writing are 2% of five hundred
        (600, 10, 10, [0, 60]),
    ],
)
def test_it_is_written_now_and_then_and_in_a_fiftieth_of_the_time(
    tmp_path, monkeypatch, every, seconds_a_step, seconds, expected
):
    disk = Disk(monkeypatch, tmp_path / "run", seconds, seconds_a_step)
    small_trainer(disk, max_epochs=30).train(keeper(tmp_path, every=every, log_path=None))
    assert disk.writes == expected


@only_vanilla
def test_a_full_disk_on_the_way_is_a_warning(tmp_path, variant, whole, monkeypatch, capsys):
    """The run continues, and when there is room again, the state is written again."""
    disk = Disk(monkeypatch, tmp_path / "run", 0, 1, full_from=3, full_to=5)
    trainer = new_trainer(variant, writer=disk)
    trainer.train(keeper(tmp_path, every=0))
    assert disk.writes == list(range(EPOCHS * STEPS + 1)) and identical(copied(trainer), whole[0])
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 3 and all(f"{tmp_path}/run" in line for line in warnings)


def test_a_disk_that_stays_full_does_not_take_all_the_time(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path / "run", 10, 10, full_from=2, full_to=99)
    small_trainer(disk, max_epochs=50).train(keeper(tmp_path, every=0, log_path=None))
    assert disk.writes == [0, 49, 98, 147]


def test_a_full_disk_at_the_stop_is_said_and_the_older_state_kept(tmp_path, monkeypatch):
    stop_at(tmp_path, 2)
    before = (tmp_path / "run").read_bytes()
    Disk(monkeypatch, tmp_path / "run", 0, 1, full_from=1, full_to=9)
    with pytest.raises(Stopped) as caught:
        new_trainer(writer=Events(4, interrupt)).train(keeper(tmp_path))
    assert str(tmp_path / "run") in str(caught.value) and "epoch" not in str(caught.value)
    assert (tmp_path / "run").read_bytes() == before


def test_where_nothing_can_be_kept_nothing_is_begun(tmp_path):
    trainer = new_trainer(writer=Events(1, lambda: pytest.fail("trained")))
    with pytest.raises(InputError, match="none/run"):
        trainer.train(Checkpointer(tmp_path / "none" / "run"))


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    new_trainer().train(keeper(tmp_path, log_path=tmp_path / "folder"))
    assert f"warning: {tmp_path}/folder" in capsys.readouterr().err


def test_it_is_removed_when_it_is_no_longer_needed(tmp_path):
    checkpointer = keeper(tmp_path)
    new_trainer().train(checkpointer)
    assert (tmp_path / "run").exists()
    checkpointer.remove()
    checkpointer.remove()
    assert os.listdir(tmp_path) == ["run.log"]


def test_parameters_that_are_not_finite_are_not_written_over_finite_ones(tmp_path):
    trainer = new_trainer(learning_rate=1e39, lr_decay=False, batch_size=5)
    before = copied(trainer)
    with pytest.raises(NotFiniteError):
        trainer.train(keeper(tmp_path, every=0))
    assert identical(torch.load(tmp_path / "run", weights_only=True)["trainer"]["model"], before)


def test_a_loss_that_is_not_finite_is_no_failed_write(tmp_path, monkeypatch):
    """Where losses are read late, as on a GPU, writing reads them first."""
    monkeypatch.setitem(trainer.STEPS_TO_READ, "cpu", 10)
    monkeypatch.setattr(resume, "LARGEST_SHARE", 1)  # it is written after every step
    backward, losses = trainer.BatchGradient.backward, iter([1, math.nan, 1, 1, 1])
    monkeypatch.setattr(
        trainer.BatchGradient, "backward", lambda *args: backward(*args) * next(losses)
    )
    with pytest.raises(NotFiniteError, match="step 2"):
        new_trainer().train(keeper(tmp_path, every=0))


@pytest.mark.parametrize("step, stays", [(2, True), (3, False)])
def test_an_earlier_runs_log_stays_until_there_is_a_record(tmp_path, monkeypatch, step, stays):
    """A run that is written after every step dies in this one."""
    monkeypatch.setattr(resume, "LARGEST_SHARE", 1)
    (tmp_path / "run.log").write_text("earlier")
    with pytest.raises(ZeroDivisionError):
        new_trainer(writer=Events(step, die)).train(keeper(tmp_path, every=0))
    assert ((tmp_path / "run.log").read_text() == "earlier") == stays


# ---- another run's file ---------------------------------------------------------------------


def refused(tmp_path, *parts, settings=None, **changes):
    """A resume is refused in one line with the parts; files and parameters stay."""
    trainer = new_trainer(**changes)
    before, file = copied(trainer), (tmp_path / "run").read_bytes()
    with pytest.raises(InputError) as caught:
        trainer.train(keeper(tmp_path, settings=settings))
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in (f"{tmp_path}/run", "--restart", *parts)), line
    assert (tmp_path / "run").read_bytes() == file and identical(copied(trainer), before)


def test_another_setting_of_the_trainer_is_refused(tmp_path):
    """Which settings identify a run, test_trainer.py says."""
    stop_at(tmp_path, 2)
    refused(tmp_path, "learning_rate", "0.02", learning_rate=0.02)
    refused(tmp_path, "betas", "0.99", betas=(0.9, 0.99))


def test_other_settings_and_another_dataset_are_refused(tmp_path):
    settings = {"corpus": "a" * 64, "recipe": "course"}
    stop_at(tmp_path, 2, settings=settings)
    refused(tmp_path, "corpus", "seed", settings=settings | {"corpus": "b" * 64}, seed=4)
    refused(tmp_path, "recipe", "course", "quick", settings=settings | {"recipe": "quick"})
    refused(tmp_path, "pretrained", settings=settings | {"pretrained": "none"})
    larger = CharCorruptionDataset(TINY_CORPUS + "Ed.\n", BLOCK_SIZE)
    refused(tmp_path, "5", "6", settings=settings, dataset=larger)


@pytest.mark.parametrize("change", [{"seed": 4}, {}, None])
def test_restart_starts_over_whatever_is_there(tmp_path, change, capsys):
    stop_at(tmp_path, 5)
    if change is None:
        (tmp_path / "run").write_bytes(b"nothing of the kind")
    again, plain = new_trainer(**change or {}), new_trainer(**change or {})
    again.train(keeper(tmp_path, restart=True))
    plain.train()
    assert "resuming" not in capsys.readouterr().out and identical(copied(again), copied(plain))


CONDITIONS = ["device", "precision", "micro_batch_size", "use of torch.compile", "code"]
CONDITIONS += [
    "torch version",
    "processor's instruction set",
    "number of threads",
    "number of processes",
]


def test_conditions_that_have_changed_are_noted(tmp_path, capsys):
    stop_at(tmp_path, 2)
    state = torch.load(tmp_path / "run", weights_only=True)
    assert state["conditions"].keys() == set(CONDITIONS)
    state["conditions"] = dict.fromkeys(CONDITIONS, "another")
    torch.save(state, tmp_path / "run")
    new_trainer().train(keeper(tmp_path))
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("note: ")]
    assert f"{tmp_path}/run" in line and all(f"the {name} " in line for name in CONDITIONS)


def test_digests_tell_contents_apart(tmp_path):
    state = new_trainer().model.state_dict()
    first = digest_of_state(state)
    assert first == digest_of_state({name: tensor.clone() for name, tensor in state.items()})
    state["pos_emb"][0, 0, 0] += 1e-6
    assert digest_of_state(state) != first
    (tmp_path / "runs").mkdir()
    for name in ("a.py", "runs/b.py", ".#a.py"):
        (tmp_path / name).write_text("x = 1\n")
        before = digest_of_code(tmp_path)
        (tmp_path / name).write_text("x = 2\n")
        assert (digest_of_code(tmp_path) == before) == name.startswith(".")


# ---- a damaged file -------------------------------------------------------------------------


def test_a_truncated_file_is_refused(tmp_path):
    stop_at(tmp_path, 2)
    content = (tmp_path / "run").read_bytes()
    (tmp_path / "run").write_bytes(content[: len(content) * 9 // 10])
    refused(tmp_path)


def test_a_file_of_another_version_is_refused(tmp_path):
    stop_at(tmp_path, 2)
    state = torch.load(tmp_path / "run", weights_only=True)
    torch.save(state | {"format": 99}, tmp_path / "run")
    refused(tmp_path)


@pytest.mark.parametrize(
    "optimizer, name", [("adamw", "exp_avg"), ("adamw", "exp_avg_sq"), ("muon", "momentum")]
)
def test_an_average_of_another_size_is_refused(tmp_path, optimizer, name):
    """torch would write beyond its end."""
    stop_at(tmp_path, 2, optimizer=optimizer)
    state = torch.load(tmp_path / "run", weights_only=True)
    kept = state["trainer"]["optimizer"].values()
    next(one for one in kept if name in one)[name] = torch.zeros(3)
    torch.save(state, tmp_path / "run")
    refused(tmp_path, name, optimizer=optimizer)


def test_a_macs_random_state_is_kept(monkeypatch):
    """Its GPU has a generator of its own."""
    device, seen = torch.device("mps"), []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: seen.append(state.tolist()))
    state = resume.random_state(device)
    resume.set_random_state(state, device)
    resume.set_random_state(state, torch.device("cpu"))
    assert seen == [[7]]
