"""
Dropout for training on a CPU, where torch draws masks one Bernoulli number at a time, which takes
a third of a training step.

Here a mask comes from 16 random bits an element and a comparison: an element is dropped where its
bits, as a number from 0 to 65,535, are below round(p · 65536). The rate is p to within 1/131072,
and the scale is 1 / (1 - rate), rounded to the type of the mask, so that the expected value stays
the same up to this rounding (Srivastava et al. 2014,
https://jmlr.org/papers/v15/srivastava14a.html, section 10, with the scale moved into training).

The bits are those of numpy's SFC64, a small and fast generator that passes the usual batteries of
tests (PractRand, TestU01's BigCrush) and has the same stream on every platform.
"""

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn as nn

LEVELS = 2**16  # numbers of 16 bits


class MaskGenerator(threading.local):
    """
    Draws dropout masks, in each thread by itself. The same seed and calls give the same masks.
    """

    def seed(self, *entropy: int) -> None:
        """Begins the stream of the whole numbers `entropy`, for example seed, epoch and step."""
        self._bits = np.random.SFC64(np.random.SeedSequence(entropy))

    def mask(
        self, shape: torch.Size, p: float, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """A tensor of that shape: 0 with probability p, else 1 / (1 - p), p rounded to 1/65536."""
        count = torch.Size(shape).numel()
        bits = self._bits.random_raw(-(-count // 4)).view(np.int16)
        numbers = torch.from_numpy(bits)[:count].view(shape)
        first_kept = round(p * LEVELS) - LEVELS // 2  # the numbers are signed: -32768 … 32767
        # 0 for the dropped, 1 for the kept, without bool, for which torch has no vector
        # instructions.
        kept = numbers.clamp_(first_kept - 1, first_kept).sub_(first_kept - 1)
        scale = torch.tensor(LEVELS / (LEVELS - round(p * LEVELS)), dtype=dtype)
        if scale.element_size() == kept.element_size():
            # 1 becomes the scale's bits and 0 stays: nothing is converted.
            return kept.mul_(scale.view(torch.int16)).view(dtype)
        return kept.to(dtype).mul_(scale)


class FastDropout(nn.Module):
    """nn.Dropout(p) with masks from a MaskGenerator."""

    def __init__(self, p: float, generator: MaskGenerator):
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dropped_levels = round(self.p * LEVELS) if self.training else 0
        if dropped_levels == 0:
            return x
        if dropped_levels == LEVELS:
            return x * 0
        return x * self.generator.mask(x.shape, self.p, x.dtype)


@contextlib.contextmanager
def fast_dropout(model: nn.Module, generator: MaskGenerator) -> Iterator[None]:
    """While this lasts, a FastDropout stands for each nn.Dropout of the model."""
    replaced = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout
    ]
    for parent, name, child in replaced:
        setattr(parent, name, FastDropout(child.p, generator).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child.train(getattr(parent, name).training))
