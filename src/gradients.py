"""
The gradient of a batch, put together from parts: rows of similar length that go through the model one after another, or on a CPU
side by side in threads, or in processes that share the batch's rows out. The result is the whole batch's.

It takes a model as the trainer does (see trainer.py), and knows nothing of optimizers and schedules.
"""
import contextlib
import inspect
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from checkpoint import unwrap
from dropout import MaskGenerator, fast_dropout
from hardware import rank_and_size
from packing import count_targets, crop_padding, group_by_length

# Positions to compute in one part, about. On a CPU that keeps what is computed on near the caches; a GPU prefers one large part.
TOKENS_AT_ONCE = {"cpu": 2048}


class BatchGradient:
    """
    Puts the gradient of a batch's mean loss into the parameters' .grad. Use as a context manager, which holds the threads.

    model: on `device`. precision: the dtype of matrix products. micro_batch_size: rows of a part at the most, or None.
    """

    def __init__(self, model, device, precision, micro_batch_size=None):
        self.model, self.device, self.precision, self.micro_batch_size = model, device, precision, micro_batch_size
        self.rank, self.processes = rank_and_size()
        self.wrapped = model if self.processes == 1 else DistributedDataParallel(model, **without_buffers())
        # A model of somebody else may draw random numbers of its own, which threads would take from each other.
        self.packs = getattr(unwrap(model), "packs_and_caches", False)
        self.threads = torch.get_num_threads() if device.type == "cpu" and self.processes == 1 and self.packs else 1
        self.masks = MaskGenerator()

    def __enter__(self):
        self._open = contextlib.ExitStack()
        if self.device.type == "cpu":
            self._open.enter_context(fast_dropout(self.model, self.masks))
        if self.threads > 1:
            self._pool = self._open.enter_context(ThreadPoolExecutor(self.threads))
            self._open.callback(torch.set_num_threads, self.threads)
        return self

    def __exit__(self, *error):
        self._open.close()

    def __call__(self, x, y, *seed):
        """
        x, y: ids (B, T), the same in all processes. seed: whole numbers that dropout depends on, and on nothing else; without
        them it draws from torch's generator. Returns the mean loss over the targets, a tensor without gradient.
        """
        self.model.zero_grad(set_to_none=True)
        targets = count_targets(y)
        whole, x, y = x, x[self.rank::self.processes], y[self.rank::self.processes]
        parts = [crop_padding(x[rows], y[rows])
                 for rows in group_by_length(y, TOKENS_AT_ONCE.get(self.device.type), self.micro_batch_size)]
        if seed:
            seed = (*seed, self.rank)
            # For a GPU, and for what else may draw numbers. Mixed into 32 bits, since torch's CPU generator takes no more.
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        else:
            seed = (int(torch.randint(2 ** 62, ())),)
        if self.threads > 1 and len(parts) > 1:
            return self._side_by_side(parts, targets, seed)
        if targets and not parts:  # nothing to do for this process, but the others wait for its gradients: it sends zeros
            parts, targets = [(torch.ones_like(whole[:1]), torch.ones_like(whole[:1]))], math.inf
        total = torch.zeros((), device=self.device)
        for number, (part_x, part_y) in enumerate(parts):
            self.masks.seed(*seed, number)
            share = count_targets(part_y) / targets
            with contextlib.nullcontext() if self.processes == 1 or number + 1 == len(parts) else self.wrapped.no_sync():
                loss = self.loss(part_x, part_y)
                (loss * (share * self.processes)).backward()  # times processes, over which gradients are averaged then
            total += loss.detach() * share
        if self.processes > 1:
            dist.all_reduce(total)
        return total

    def loss(self, x, y):
        """The model's mean loss over the targets of x and y (B, T), as a tensor."""
        x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        # Each weight is used once a part, so that there is nothing to keep of its rounded copies.
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32, cache_enabled=False):
            return self.wrapped(x, y, loss_only=True)[1] if self.packs else self.wrapped(x, y)[1]

    def _side_by_side(self, parts, targets, seed):
        """
        The parts in threads, each with its share of the processor's cores. That leaves no core to wait for the others at the
        end of each operation. The parts' gradients are added in order, so that the result is the same every time.
        """
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        cores = max(1, self.threads // len(parts))

        def gradients_of(number):
            if torch.get_num_threads() != cores:
                torch.set_num_threads(cores)  # of this thread alone
            self.masks.seed(*seed, number)
            x, y = parts[number]
            loss = self.loss(x, y) * (count_targets(y) / targets)
            return loss.detach(), torch.autograd.grad(loss, parameters)

        # The longest rows, which take longest, come first.
        jobs = [self._pool.submit(gradients_of, number) for number in reversed(range(len(parts)))]
        (total, gradients), *others = [job.result() for job in reversed(jobs)]
        for loss, further in others:
            total = total + loss
            torch._foreach_add_(gradients, further)
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        return total


def without_buffers():
    """The keyword that keeps DistributedDataParallel from sending buffers (here constant masks) round before each pass."""
    new = "forward_sync_buffers"  # the name since torch 2.12 or so; the old one draws a warning there
    return {new if new in inspect.signature(DistributedDataParallel.__init__).parameters else "broadcast_buffers": False}
