"""What ends a training in one line, before it spoils parameters or a file; late figures."""

import math

import pytest
import torch
from torch.utils.data import TensorDataset

import trainer as module
from resuming import Events
from runs.inputs import InputError
from trainer import NotFiniteError, OutOfMemoryError, Trainer
from training import (
    Counted,
    Scripted,
    copied,
    identical,
    kept_and_passed,
    model_of,
    numbered,
    ragged_rows,
    settings,
    train,
)


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_stops_the_run_before_it_is_taken(
    tmp_path, monkeypatch, what, value, every
):
    """Also where the figures are read later, as on a GPU: no step after it is taken either."""
    monkeypatch.setitem(module.STEPS_TO_READ, "cpu", every)
    model, calls, seen = Counted(), [], []
    forward = model.forward

    def spoiled(x, y):
        calls.append(1)
        seen.append(copied(model))
        loss = forward(x, y)[1]
        if len(calls) == 4:
            if what == "loss":
                loss = loss * value
            else:
                loss.register_hook(lambda gradient: gradient * value)
        return None, loss

    model.forward = spoiled
    path = tmp_path / "a.params"
    with pytest.raises(NotFiniteError) as caught:
        train(model, *numbered(5), ckpt_path=str(path))
    line = str(caught.value)
    assert isinstance(caught.value, InputError) and "\n" not in line
    assert what in line and "epoch 2 step 1" in line
    assert identical(copied(model), seen[3])
    assert identical(torch.load(path, weights_only=True), seen[3])  # of the epoch before


def test_figures_that_are_read_later_are_the_same(tmp_path, monkeypatch):
    """Every ten steps, as on a GPU, and before the state is taken: log, events, state."""
    kept = {}
    for every in (1, 10):
        monkeypatch.setitem(module.STEPS_TO_READ, "cpu", every)
        torch.manual_seed(0)
        writer = Events()
        trainer = train(model_of(), *ragged_rows(), max_epochs=3, batch_size=3, writer=writer)
        state = trainer.state_dict()
        losses = [record["loss"] for record in trainer.log.records]
        kept[every] = losses, writer.rows, state["log"]["losses"], copied(trainer.model)
    for one, other in zip(kept[1][:-1], kept[10][:-1], strict=True):
        assert one == other
    assert identical(kept[1][-1], kept[10][-1]) and len(kept[1][1]) == 12


@pytest.mark.parametrize(
    "message, known", [("MPS backend out of memory (9 GB)", True), ("another error", False)]
)
def test_out_of_memory_on_a_mac_is_a_plain_error_of_torch(message, known):
    model = Counted()

    def fail(x, y):
        raise RuntimeError(message)

    model.forward = fail
    with pytest.raises(OutOfMemoryError if known else RuntimeError) as caught:
        train(model, *numbered(5))
    assert isinstance(caught.value, OutOfMemoryError) == known


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_that_cannot_be_compiled_is_one_line(monkeypatch, compiled):
    """Also where Ctrl-C has stopped the compiler. Without --compile, such an error is a bug."""

    class CompilerError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def fail(self, *_):
        raise CompilerError("g++ was killed\nand more")

    monkeypatch.setattr(module, "check_compiler", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(Counted, "forward", fail)
    with pytest.raises(InputError if compiled else CompilerError) as caught:
        train(Counted(), *numbered(4), compile=compiled)
    assert "g++ was killed" in str(caught.value) and ("\n" in str(caught.value)) != compiled


def test_a_parameter_that_is_not_finite_is_written_nowhere(tmp_path):
    """As an absurd learning rate makes it from a finite gradient."""
    path = tmp_path / "a.params"
    with pytest.raises(NotFiniteError) as caught:
        train(Counted(), *numbered(2), ckpt_path=str(path), learning_rate=1e39)
    assert "weight" in str(caught.value) and not path.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_any_number_of_any_parameter_is_looked_at(value):
    trainer = train(model_of(), *ragged_rows(), max_epochs=1)
    trainer.check_parameters()
    for name, parameter in trainer.model.named_parameters():
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[-1] = value
            with pytest.raises(NotFiniteError) as caught:
                trainer.check_parameters()
            parameter.copy_(before)
        assert str(caught.value).startswith(name + " ")


def test_a_test_loss_that_is_not_finite_stops_the_run(tmp_path):
    """It is lower than none, so that no checkpoint would ever be written."""
    path = tmp_path / "a.params"
    with pytest.raises(NotFiniteError):
        kept_and_passed(Scripted([math.nan]), TensorDataset(*numbered(2)), path)
    assert not path.exists()


class Hungry(Counted):
    """A model that takes `most` rows at once."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, x, y):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nGPU 0 has a total capacity …")
        return super().forward(x, y)


@pytest.mark.parametrize(
    "batch_size, micro_batch_size, processes, rows",
    [(128, None, 1, 128), (100, None, 1, 100), (128, 64, 1, 64), (128, None, 2, 64)],
)
def test_out_of_memory_tells_how_many_rows_were_too_many(
    monkeypatch, batch_size, micro_batch_size, processes, rows
):
    changes = {"batch_size": batch_size, "micro_batch_size": micro_batch_size, "max_epochs": 1}
    trainer = Trainer(Hungry(rows - 1), TensorDataset(*numbered(128)), None, settings(**changes))
    trainer.processes = processes
    with pytest.raises(OutOfMemoryError) as caught:
        trainer.train()
    line = str(caught.value)
    assert caught.value.rows == rows and str(rows) in line and "cpu" in line and "\n" not in line
    assert caught.value.__suppress_context__  # no traceback of torch's
    train(Hungry(rows - 1), *numbered(128), **{**changes, "micro_batch_size": rows // 2})


def test_several_processes_need_a_seed(monkeypatch):
    monkeypatch.setattr("trainer.rank_and_size", lambda: (0, 2))
    with pytest.raises(ValueError, match="seed"):
        Trainer(Counted(), TensorDataset(*numbered(2)), None, settings(seed=None))
