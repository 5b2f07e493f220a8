"""
How a batch's gradient is put together: micro-batches, threads, and other models. That it is the
baseline's is in test_speed_is_exact.py; what dropout's masks depend on, in test_dropout.py.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from attention import VARIANTS
from fast import gradients
from fast.dropout import FastDropout
from fast.gradients import BatchGradient
from fast.packing import PackedRows
from small_models import MeanAttention, enlarge, make_gpt

SIZES = {"vocab_size": 12, "block_size": 8, "n_layer": 3, "n_head": 2, "n_embd": 8}
DROPOUT = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.5)


@pytest.fixture(autouse=True)
def small_micro_batches(monkeypatch):
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 8)


def model_of(variant="vanilla", **settings):
    return enlarge(make_gpt(variant, SIZES, torch.float64, **settings), 0.5, seed=3).train()


def batch():
    """Nine rows of 0 to 7 targets, so that a mean over micro-batches must be weighted."""
    rows = torch.randint(1, 12, (9, 8), generator=torch.Generator().manual_seed(4))
    rows[torch.arange(8) >= torch.tensor([8, 5, 0, 7, 3, 8, 2, 4, 6])[:, None]] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    y[::2, :1] = 0
    return x, y


def gradient_of(model, x, y, rows=None, seed=(1, 2, 3), threads=1, compiled=False):
    """The loss and the gradients by their names."""
    torch.set_num_threads(threads)
    try:
        cpu = torch.device("cpu")
        with BatchGradient(model, cpu, torch.float32, rows, compiled) as gradient:
            loss = gradient.backward(x, y, *seed)
        with ThreadPoolExecutor(1) as later:  # torch.set_num_threads() holds
            assert later.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(1)
    return {"loss": loss, **{name: p.grad for name, p in model.named_parameters()}}


def check(found, expected):
    """The loss is added up in float32."""
    for name, gradient in expected.items():
        precision = 1e-6 if name == "loss" else 1e-9
        assert_close(found[name].double(), gradient.double(), rtol=precision, atol=1e-12)


def watched(model):
    """The list where each call of the model leaves its thread and how many rows it has."""
    calls = []

    def note(_, inputs):
        x, y = inputs
        rows = y.padded_shape[0] if isinstance(y, PackedRows) else len(x)
        calls.append((threading.get_ident(), rows))

    model.register_forward_pre_hook(note)
    return calls


# ---- micro-batches and threads --------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens, rows, count", [(1000, None, 1), (1000, 1, 7), (1000, 3, 3), (12, None, 3)]
)
def test_a_batch_is_cut_by_rows_and_by_tokens(monkeypatch, tokens, rows, count):
    """Rows without a target, of which there are two, are left out."""
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", tokens)
    model = model_of()
    calls = watched(model)
    gradient_of(model, *batch(), rows)
    assert len(calls) == count and sum(rows for _, rows in calls) == 7


def test_a_batch_without_a_target_has_no_gradient():
    x, y = batch()
    model = model_of()
    gradient_of(model, x, y)
    found = gradient_of(model, x, 0 * y)
    assert found.pop("loss") == 0
    assert all(gradient is None or not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("seed", [(1, 2, 3), ()])
def test_threads_change_nothing(seed):
    """Nor dropout, whose masks belong to the micro-batch; and each time to the bit."""
    model = model_of(**DROPOUT)
    calls, found = watched(model), []
    for threads in (1, 3, 3, 3):
        torch.manual_seed(5)
        found.append(gradient_of(model, *batch(), seed=seed, threads=threads))
        used = {thread for thread, _ in calls}
        assert (threading.get_ident() in used) == (threads == 1) and len(calls) > 3
        calls.clear()
    for again in found[2:]:
        assert all(torch.equal(again[name], found[1][name]) for name in again)
    check(found[1], found[0])


@pytest.mark.parametrize("threads", [1, 3])
def test_frozen_parameters_stay_so(threads):
    expected, model = gradient_of(model_of(), *batch()), model_of()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("blocks.0")
    found = gradient_of(model, *batch(), threads=threads)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert found[name] is None
            del expected[name]
    check(found, expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_parameter_that_the_model_does_not_use_harms_nothing(threads):
    expected, model = gradient_of(model_of(), *batch()), model_of()
    model.spare = nn.Parameter(torch.ones(2, dtype=torch.float64))
    found = gradient_of(model, *batch(), threads=threads)
    spare = found.pop("spare")
    assert spare is None or not spare.any()
    check(found, expected)


def test_an_error_in_a_thread_is_not_swallowed():
    x, y = batch()
    x[3, 0] = 12
    with pytest.raises(IndexError):
        gradient_of(model_of(), x, y, threads=3)


# ---- other models ---------------------------------------------------------------------------


def test_an_attention_that_has_only_forward_is_trained(monkeypatch):
    """Not from threads, since it may draw random numbers or keep something between calls."""
    monkeypatch.setitem(VARIANTS, "mean", MeanAttention)
    model, (x, y) = model_of("mean"), batch()
    loss = model(x, y)[1]
    names, parameters = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, parameters)
    calls = watched(model)
    expected = {"loss": loss.detach().float(), **dict(zip(names, grads, strict=True))}
    check(gradient_of(model, x, y, threads=3), expected)
    assert {thread for thread, _ in calls} == {threading.get_ident()} and len(calls) > 2


def test_what_is_compiled_sees_one_shape(monkeypatch):
    """Each further shape would be compiled anew. Padding is computed."""
    shapes = []

    class Compiled(nn.Module):
        def __init__(self, model):
            super().__init__()
            self._orig_mod = model

        def forward(self, x, y):
            assert not any(isinstance(part, FastDropout) for part in self.modules())
            shapes.append((x.shape, y.shape))
            return self._orig_mod(x, y)

    monkeypatch.setattr(torch, "compile", Compiled)
    x, y = (ids[[0, 1, 3, 4, 5, 7]] for ids in batch())
    model = model_of()
    expected = gradient_of(model, x, y)
    check(gradient_of(model, x, y, 2, threads=2, compiled=True), expected)
    assert shapes == [((2, 7), (2, 7))] * 3
