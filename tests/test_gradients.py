"""The gradient of a batch is the reference's, in micro-batches, threads or at once."""

import pytest
import torch
from torch import nn

import reference
from fast import gradients
from fast.gradients import BatchGradient
from fast.packing import PackedRows
from model import GPT, GPTConfig
from models import default_dtype, enlarge

CPU = torch.device("cpu")
SIZES = {"n_layer": 3, "bottleneck_dim": 3, "n_head": 2, "n_embd": 8}


def model_of(variant="vanilla", dropout=0.0):
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), dropout)
    with default_dtype(torch.float64):
        model = GPT(GPTConfig(12, 8, **SIZES, **rates, **{variant: True}))
    return enlarge(model, 0.5, seed=3).train()


def batch():
    """Nine rows of 0 to 7 targets, so that a mean over micro-batches must be weighted."""
    rows = torch.randint(1, 12, (9, 8), generator=torch.Generator().manual_seed(4))
    rows[torch.arange(8) >= torch.tensor([8, 5, 0, 7, 3, 8, 2, 4, 6])[:, None]] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    y[::2, :1] = 0
    return x, y


def gradient_of(model, x, y, rows=None, seed=()):
    with BatchGradient(model, CPU, torch.float32, rows) as gradient:
        loss = gradient(x, y, *seed)
    return {"loss": loss, **{name: p.grad for name, p in model.named_parameters()}}


def rows_in(x, y):
    """How many rows a model is called with, packed or not."""
    return y.padded_shape[0] if isinstance(y, PackedRows) else len(x)


@pytest.fixture
def threads(monkeypatch):
    """Sets how many threads there are; afterwards torch has one again."""
    yield lambda count: monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "rows, tokens, count", [(None, 1000, 1), (1, 1000, 1), (None, 12, 1), (None, 12, 3)]
)
def test_micro_batches_give_the_references_gradient(
    monkeypatch, threads, known_variant, rows, tokens, count
):
    """Of rows, of tokens, and side by side in threads; each counts by its targets."""
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", tokens)
    threads(count)
    x, y = batch()
    model = model_of(known_variant)
    calls = []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(rows_in(*inputs)))
    found = gradient_of(model, x, y, rows)
    assert sum(calls) == (y != 0).any(dim=1).sum() == 7
    assert (len(calls) > 1) == (rows == 1 or tokens == 12)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    state = {**model.state_dict(), **leaves}
    loss = reference.loss(reference.gpt_logits(state, x, 3, 2), y)
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for name, tensor in {"loss": loss.detach(), **expected}.items():
        torch.testing.assert_close(found[name].double(), tensor, rtol=1e-6, atol=1e-12)


def test_a_batch_without_a_target_has_no_gradient():
    x, y = batch()
    model = model_of()
    gradient_of(model, x, y)
    found = gradient_of(model, x, 0 * y)
    assert found.pop("loss") == 0
    assert all(gradient is None or not gradient.any() for gradient in found.values())


def test_dropout_follows_the_seed_or_torchs_generator(monkeypatch, threads):
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 12)
    x, y = batch()
    model = model_of(dropout=0.5)
    losses = {}
    for seed in ((1, 0, 0), (1, 0, 1), (2, 0, 0), ()):
        for count in (1, 3):
            threads(count)
            torch.manual_seed(count if seed else 5)
            losses[seed, count] = gradient_of(model, x, y, seed=seed)["loss"].item()
    found = [losses[seed, 1] for seed in ((1, 0, 0), (1, 0, 1), (2, 0, 0), ())]
    assert len(set(found)) == 4
    for seed, _ in losses:
        assert losses[seed, 1] == pytest.approx(losses[seed, 3])


def test_a_model_of_ones_own_is_called_in_one_thread_and_without_keywords(monkeypatch, threads):
    threads(3)
    monkeypatch.setitem(gradients.TOKENS_AT_ONCE, "cpu", 12)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, x, y):
            return None, self.weight * 3

    found = gradient_of(Own(), *batch())
    assert found["loss"].item() == pytest.approx(6) and found["weight"].item() == pytest.approx(3)
