"""
A training step never asks the device for a number. On a GPU each such question is a wait, and this
is the proof that needs no GPU: on torch's meta device, whose tensors have no numbers, every
question raises. torch's FakeTensorMode does the same for bfloat16, which has no autocast on meta.
The kernels of a step are counted, since each costs a launch on a GPU.
"""

import sys

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset

import fast.gradients as gradients
import fast.packing as packing
import trainer as module
from model import GPT, GPTConfig
from trainer import Trainer, TrainerConfig

SIZES = {"n_layer": 3, "n_head": 2, "n_embd": 8, "bottleneck_dim": 6}
COURSE_SIZES = {"n_layer": 4, "n_head": 8, "n_embd": 256, "bottleneck_dim": 6}
ROWS, BLOCK, V = 12, 16, 20


NO_KERNEL = {torch.ops.aten.detach, torch.ops.aten._unsafe_view, torch.ops.aten.empty}


class OneDevice(TorchDispatchMode):
    """Counts the kernels of the device, and refuses an operator that mixes it with the CPU."""

    def __init__(self, device="meta"):
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if "_to_copy" in str(function) or "copy_" in str(function):
            return out
        tensors = [one for one in flat((args, out)) if isinstance(one, torch.Tensor)]
        # A CPU tensor of one number may be mixed with any device: it is sent along.
        devices = {tensor.device.type for tensor in tensors if tensor.dim() > 0}
        assert len(devices) <= 1, f"{function}: {devices}"
        launches = not function.is_view and function.overloadpacket not in NO_KERNEL
        self.count += self.device in devices and launches
        return out


def flat(value):
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in flat(part)]
    return [value]


def rows(count=ROWS):
    """Texts of all lengths, with 0 after the end; one has no target."""
    ids = torch.randint(1, V, (count, BLOCK))
    ids[torch.arange(BLOCK) >= torch.randint(2, BLOCK + 1, (count, 1))] = 0
    ids[3] = 0
    return TensorDataset(ids[:, :-1], ids[:, 1:])


class NothingIsRead(Trainer):
    """A Trainer that reads no figures, which on a device without numbers cannot be had."""

    def read_figures(self):
        self.unread.clear()

    def check_parameters(self):
        pass


@pytest.fixture
def on_meta(monkeypatch):
    """The Trainer takes the device meta, and torch's fused AdamW does."""
    from torch.optim import optimizer

    monkeypatch.setattr(module, "choose_device", torch.device)
    name = "_get_fused_kernels_supported_devices"
    for place in (optimizer, torch.utils._foreach_utils):
        devices = [*getattr(place, name)(), "meta"]
        monkeypatch.setattr(place, name, lambda devices=devices: devices)


def trained(variant, dropout=0.1, dataset=None, **settings):
    """Trains an epoch on the meta device. Returns how many kernels that takes."""
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), dropout)
    with torch.device("meta"):
        model = GPT(GPTConfig(V, BLOCK, **SIZES, **rates, **{variant: True}))
    config = TrainerConfig(
        max_epochs=1, batch_size=ROWS, lr_decay=True, seed=3, device="meta", **settings
    )
    trainer = NothingIsRead(model, dataset or rows(), None, config)
    with OneDevice() as mode:
        trainer.train()
    return mode.count


@pytest.mark.parametrize("optimizer, micro_batch_size", [("adamw", None), ("muon", 5)])
def test_steps_read_nothing_from_the_device(on_meta, variant, optimizer, micro_batch_size):
    """
    Forward, backward, clipping, the optimizer and the schedule, with dropout, of batches of
    several shapes.
    """
    settings = {"optimizer": optimizer, "micro_batch_size": micro_batch_size}
    assert trained(variant, dataset=rows(2 * ROWS + 4), **settings) > 300


def test_nor_does_a_step_in_bfloat16(monkeypatch, variant):
    """Forward and backward, where autocast rounds the matmuls."""
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.1)
    mode = FakeTensorMode()
    with mode:
        model = GPT(GPTConfig(V, BLOCK, **SIZES, **rates, **{variant: True}))
    fake = torch.device("xpu")  # stands for a device of its own; its tensors are fake ones

    def send(tensor, device):
        assert device == fake
        return mode.from_tensor(tensor)

    autocast, dtypes = torch.autocast, []
    monkeypatch.setattr(packing, "send", send)
    monkeypatch.setattr(gradients, "send", send)
    monkeypatch.setattr(torch, "autocast", lambda _, *a, **k: autocast("cpu", *a, **k))
    monkeypatch.setattr(torch, "zeros", lambda *a, device=None: mode.from_tensor(torch.ones(())))
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, inputs, y: dtypes.append(y.dtype))
    x, y = rows().tensors
    with gradients.BatchGradient(model, fake, torch.bfloat16, micro_batch_size=5) as gradient:
        loss = gradient.backward(x, y, 1, 2, 3)
    assert set(dtypes) == {torch.bfloat16} and len(dtypes) > 5
    with pytest.raises(DataDependentOutputException):
        loss.item()


def test_a_question_to_the_device_is_noticed(on_meta, monkeypatch):
    """The test itself: with one .item() in the model it fails."""
    forward = GPT.loss

    def asking(self, *args):
        loss = forward(self, *args)
        loss.item()
        return loss

    monkeypatch.setattr(GPT, "loss", asking)
    with pytest.raises(RuntimeError, match="meta"):
        trained("vanilla")


# Kernels of a step of the course's model. On a GPU each takes about 5 microseconds to launch, so
# 100 more are 7 seconds in the 14,950 steps of a pretraining. Here 140 of them are clipping,
# which on a GPU takes a few for all parameters together.
MOST_KERNELS = 470  # of any variant; another version of torch may need some more or fewer


def test_a_step_has_few_kernels(on_meta, known_variant, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SIZES", COURSE_SIZES)
    counts = [trained(known_variant, dataset=rows(n * ROWS)) for n in (1, 2)]
    warm = counts[1] - counts[0]  # the first step also makes the optimizer's state
    assert 0 < warm <= MOST_KERNELS, warm
