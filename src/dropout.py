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
import threading

import numpy as np
import torch
import torch.nn as nn

LEVELS = 2 ** 16  # as many as 16 bits can tell apart


class MaskGenerator(threading.local):
    """Draws dropout masks, in each thread for itself. The same seed and the same calls after it give the same masks."""

    def seed(self, *entropy):
        """Begins the stream of the whole numbers `entropy`, for example seed, epoch and step."""
        self._bits = np.random.SFC64(np.random.SeedSequence(entropy))

    def mask(self, shape, p, dtype=torch.float32):
        """A tensor of that shape and type: 0 with probability p, else 1 / (1 - p), p taken to the next 1/65536."""
        count = torch.Size(shape).numel()
        numbers = torch.from_numpy(self._bits.random_raw(-(-count // 4)).view(np.int16))[:count].view(shape)
        first_kept = round(p * LEVELS) - LEVELS // 2  # the numbers are signed: -32768 … 32767
        # 0 for the dropped and 1 for the kept, without a detour over bool, for which torch has no vector instructions.
        kept = numbers.clamp_(first_kept - 1, first_kept).sub_(first_kept - 1)
        scale = torch.tensor(LEVELS / (LEVELS - round(p * LEVELS)), dtype=dtype)
        if scale.element_size() == kept.element_size():  # 1 becomes the scale's bits, 0 stays, and nothing is converted
            return kept.mul_(scale.view(torch.int16)).view(dtype)
        return kept.to(dtype).mul_(scale)


@contextlib.contextmanager
def fast_dropout(model, generator):
    """While this lasts, the model's nn.Dropout modules take their masks from the generator; afterwards from torch again."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout]

    def drop(module, x):
        dropped_levels = round(module.p * LEVELS) if module.training else 0
        if dropped_levels == 0:
            return x
        if dropped_levels == LEVELS:
            return x * 0
        return x * generator.mask(x.shape, module.p, x.dtype)

    for module in modules:
        module.forward = lambda x, module=module: drop(module, x)
    try:
        yield
    finally:
        for module in modules:
            del module.forward
