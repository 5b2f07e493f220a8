"""
Muon against another implementation, by singular values in double precision; which parameters it
takes; steps that are not finite; and a run that stops and resumes.
"""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import muon
from dataset import CharCorruptionDataset
from muon import Muon, orthogonalize
from small_models import make_gpt
from trainer import Trainer, TrainerConfig, make_optimizer

RATE, DECAY = 0.01, 0.1
SHAPES = [(6, 6), (4, 9), (9, 4), (1, 5)]


def reference_direction(matrix):
    """The polynomial, on the singular values of the matrix over its Frobenius norm."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ vh


def reference_step(theta, gradient, momentum):
    """
    Parameter and momentum after a step: m ← μ m + (1 - μ) g; the direction is that of
    μ m + (1 - μ) g, Nesterov's.
    """
    momentum = 0.95 * momentum + 0.05 * gradient
    update = 0.2 * max(theta.shape) ** 0.5 * reference_direction(0.95 * momentum + 0.05 * gradient)
    return theta - RATE * DECAY * theta - RATE * update, momentum


def optimizer_of(parameters):
    groups = [{"params": parameters, "weight_decay": DECAY, "muon": True}]
    optimizer = Muon(groups, torch.float32, lr=RATE, fused=True)
    optimizer.found_inf = torch.zeros(())
    return optimizer


@pytest.mark.parametrize("shape", [*SHAPES, (64, 64), (256, 64)])
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e6])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape, size):
    matrix = torch.randn(shape) * size
    expected = reference_direction(matrix)
    for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float32, 1e-4)):
        found = orthogonalize(matrix, dtype)
        assert found.dtype == matrix.dtype
        assert_close(found.double(), expected, rtol=0.0, atol=tolerance)


def test_steps_are_the_references():
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    optimizer = optimizer_of(parameters)
    expected = [(p.detach().double(), torch.zeros(p.shape)) for p in parameters]
    for _ in range(3):
        for number, p in enumerate(parameters):
            p.grad = torch.randn(p.shape)
            expected[number] = reference_step(expected[number][0], p.grad, expected[number][1])
        optimizer.step()
        for p, (theta, _) in zip(parameters, expected, strict=True):
            step = RATE * 0.2 * max(p.shape) ** 0.5
            assert_close(p.detach().double(), theta, rtol=0.0, atol=1e-3 * step)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(bad):
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    optimizer = optimizer_of(parameters)
    states = []
    for found in (0.0, 1.0):
        for p in parameters:
            p.grad = torch.full(p.shape, bad) if found else torch.randn(p.shape)
        optimizer.found_inf.fill_(found)
        optimizer.step()
        momenta = [optimizer.state[p]["momentum"].clone() for p in parameters]
        states.append([p.detach().clone() for p in parameters] + momenta)
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert all(state.isfinite().all() for state in states[0])


def test_a_matrix_without_a_gradient_stays():
    """A batch without a target gives none."""
    matrix = nn.Parameter(torch.randn(3, 3))
    before = matrix.detach().clone()
    optimizer_of([matrix]).step()
    assert torch.equal(matrix, before)


def test_it_takes_the_weights_of_linear_layers_but_the_last(known_variant):
    sizes = {"vocab_size": 9, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 4}
    model = make_gpt(known_variant, sizes)
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, TrainerConfig(optimizer="muon", weight_decay=DECAY))
    groups = {
        (group["weight_decay"], group.get("muon", False)): {names[id(p)] for p in group["params"]}
        for group in optimizer.param_groups
    }
    expected = {
        name
        for name, p in model.named_parameters()
        if "block" in name and name.endswith(".weight") and p.ndim == 2
    }
    assert groups[DECAY, True] == expected and "head.weight" in groups[DECAY, False]
    assert groups[0.0, False] == {name for name in names.values() if "bias" in name}
    assert sum(map(len, groups.values())) == len(names)
    assert type(make_optimizer(model, TrainerConfig())) is torch.optim.AdamW


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_its_matmuls_are_in_the_precision_of_training(monkeypatch, precision):
    dtypes = []

    def recorded(matrix, dtype):
        dtypes.append(dtype)
        return matrix

    monkeypatch.setattr(muon, "orthogonalize", recorded)
    dataset = CharCorruptionDataset("Ann Lee was born in Leeds .", 16)
    sizes = {"vocab_size": dataset.vocab_size, "block_size": 16}
    model = make_gpt("vanilla", {**sizes, "n_layer": 1, "n_head": 1, "n_embd": 4})
    settings = {"max_epochs": 1, "device": "cpu", "precision": precision}
    Trainer(model, dataset, None, TrainerConfig(optimizer="muon", **settings)).train()
    assert dtypes and set(dtypes) == {getattr(torch, precision)}


def test_an_optimizer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="sgd"):
        TrainerConfig(optimizer="sgd")


def test_all_other_parameters_are_adamws():
    """The same steps as AdamW's, beside a matrix of Muon's."""
    matrix, ours = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(5))
    theirs = nn.Parameter(ours.detach().clone())
    groups = [{"params": [ours]}, {"params": [matrix], "muon": True}]
    optimizers = (
        Muon(groups, torch.float32, lr=RATE, fused=True),
        torch.optim.AdamW([theirs], lr=RATE),
    )
    optimizers[0].found_inf = torch.zeros(())
    for _ in range(3):
        matrix.grad, ours.grad = torch.randn(3, 3), torch.randn(5)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert_close(ours, theirs)
    assert optimizers[0].state[matrix].keys() == {"step", "momentum"} and muon.MOMENTUM == 0.95
