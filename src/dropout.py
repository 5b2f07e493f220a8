"""
Dropout masks for training on a CPU, where torch draws them one Bernoulli number at a time and thereby takes a third of a training step.

Here a mask comes from 16 random bits an element and a comparison: an element is dropped where its bits, as a number
from 0 to 65,535, are below round(p · 65536). The rate is thus p to within 1/131072, and the scale 1 / (1 - rate) is that
of the rate itself, so that the expected value stays what it was (Srivastava et al. 2014,
https://jmlr.org/papers/v15/srivastava14a.html, section 10, where the scale is put into training).

The bits are those of numpy's SFC64, a generator that is small and fast and passes the usual batteries of tests
(PractRand, TestU01's BigCrush), and that has the same stream on every platform.
"""
import contextlib

import numpy as np
import torch
import torch.nn as nn

LEVELS = 2 ** 16  # as many as 16 bits can tell apart


class MaskGenerator:
    """Draws dropout masks. The same seed and the same calls after it give the same masks."""

    def __init__(self):
        self._bits = None

    def seed(self, *entropy):
        """Begins the stream of the whole numbers `entropy`, for example seed, epoch and step."""
        self._bits = np.random.SFC64(np.random.SeedSequence(entropy))

    def mask(self, shape, p):
        """A float32 tensor of that shape: 0 with probability p, else 1 / (1 - p), p taken to the next 1/65536."""
        count = torch.Size(shape).numel()
        numbers = torch.from_numpy(self._bits.random_raw(-(-count // 4)).view(np.int16))[:count].view(shape)
        first_kept = round(p * LEVELS) - LEVELS // 2  # the numbers are signed: -32768 … 32767
        # 0 for the dropped and 1 for the kept, without a detour over bool, for which torch has no vector instructions.
        kept = numbers.clamp_(first_kept - 1, first_kept).sub_(first_kept - 1)
        return kept.to(torch.float32).mul_(LEVELS / (LEVELS - round(p * LEVELS)))


@contextlib.contextmanager
def fast_dropout(model, generator):
    """While this lasts, the model's nn.Dropout modules take their masks from the generator; afterwards from torch again."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout]

    def drop(module, x):
        # Below 1/131072 nothing would be dropped, and at 1 nothing kept: torch's way does for these.
        if not module.training or not 0 < round(module.p * LEVELS) < LEVELS:
            return nn.Dropout.forward(module, x)
        return x * generator.mask(x.shape, module.p).to(x.dtype if x.dtype == torch.float64 else torch.float32)

    for module in modules:
        module.forward = lambda x, module=module: drop(module, x)
    try:
        yield
    finally:
        for module in modules:
            del module.forward
