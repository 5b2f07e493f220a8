"""
The gradient of a batch, put together from micro-batches: rows of similar length that go through
the model one after another, or on a CPU side by side in threads, or in processes that share the
batch's rows. The result is the whole batch's.

It takes a model as the trainer does (see trainer.py), and knows nothing of optimizer and schedule.
"""

import contextlib
import inspect
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel

from fast.dropout import MaskGenerator, fast_dropout
from fast.packing import PackedRows, count_targets, crop_padding, group_by_length, send
from runs.checkpoint import unwrap
from runs.device import keep_freed_memory
from runs.distributed import rank_and_size

# Tokens in a micro-batch, about. On a CPU its activations then stay near the caches; a GPU is
# faster with all at once.
TOKENS_AT_ONCE = {"cpu": 2048}


class BatchGradient:
    """
    Puts the gradient of a batch's mean loss into the parameters' .grad. Use as a context manager,
    which holds the threads.

    model: on `device`. precision: the dtype of matmuls. micro_batch_size: rows in a micro-batch at
    most, or None. compiled: whether torch.compile makes kernels for the model, one for each shape;
    so that there are few, padding is computed.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        precision: torch.dtype,
        micro_batch_size: int | None = None,
        compiled: bool = False,
    ):
        self.compiled = compiled
        self.model, self.device, self.precision = model, device, precision
        self.micro_batch_size = micro_batch_size
        self.rank, self.processes = rank_and_size()
        self.wrapped = unwrap(model) if isinstance(model, nn.DataParallel) else model
        if compiled:
            self.wrapped = torch.compile(self.wrapped)
        if self.processes > 1:
            self.wrapped = DistributedDataParallel(self.wrapped, **without_buffers())
        # Another model may draw random numbers of its own, for which threads would compete.
        self.packs = not compiled and getattr(unwrap(model), "supports_packing", False)
        self.threads = 1
        if device.type == "cpu" and self.processes == 1 and self.packs:
            self.threads = torch.get_num_threads()
        self.masks = MaskGenerator()
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def __enter__(self):
        self._open = contextlib.ExitStack()
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.device.type == "cpu" and not self.compiled:  # which draws its masks itself
            self._open.enter_context(fast_dropout(self.model, self.masks))
        if self.threads > 1:
            self._pool = self._open.enter_context(ThreadPoolExecutor(self.threads))
            self._open.callback(torch.set_num_threads, self.threads)
        return self

    def __exit__(self, *error):
        self._open.close()

    def backward(self, x: torch.Tensor, y: torch.Tensor, *seed: int) -> torch.Tensor:
        """
        x, y: ids (B, T), the same in all processes. seed: whole numbers on which dropout depends,
        and on nothing else; without them it draws from torch's generator.

        Returns the mean loss over the targets, a scalar without gradient.
        """
        if x.shape != y.shape:
            raise ValueError(f"x has the shape {tuple(x.shape)}, and its targets {tuple(y.shape)}")
        for parameter in self.parameters:
            parameter.grad = None
        targets = count_targets(y)
        x, y = x[self.rank :: self.processes], y[self.rank :: self.processes]
        tokens = None if self.compiled else TOKENS_AT_ONCE.get(self.device.type)
        groups = group_by_length(y, tokens, self.micro_batch_size)
        micro_batches = [(x[rows], y[rows]) for rows in groups]
        if not self.compiled:
            micro_batches = [crop_padding(*micro_batch) for micro_batch in micro_batches]
        if seed:
            seed = (*seed, self.rank)
            # For a GPU, and for a model that draws numbers itself. torch's CPU generator takes 32
            # bits. torch.manual_seed() would note each call for every kind of GPU there might be.
            number = int(np.random.SeedSequence(seed).generate_state(1)[0])
            torch.default_generator.manual_seed(number)
            if self.device.type != "cpu":
                torch.manual_seed(number)
        else:
            seed = (int(torch.randint(2**62, ())),)
        if self.threads > 1 and len(micro_batches) > 1:
            return self._side_by_side(micro_batches, targets, seed)
        if targets and not micro_batches:
            # This process has nothing to do, but the others wait for its gradients: it sends
            # zeros.
            micro_batches = [(x.new_ones(1, x.size(1)), y.new_ones(1, y.size(1)))]
            targets = math.inf
        total = torch.zeros((), device=self.device)
        for number, (micro_x, micro_y) in enumerate(micro_batches):
            self.masks.seed(*seed, number)
            share = count_targets(micro_y) / targets
            is_last = number + 1 == len(micro_batches)
            with (
                contextlib.nullcontext()
                if self.processes == 1 or is_last
                else self.wrapped.no_sync()
            ):
                loss = self.loss(micro_x, micro_y)
                # Times processes, since DistributedDataParallel takes the gradients' mean over
                # them.
                (loss * (share * self.processes)).backward()
            total += loss.detach() * share
        if self.processes > 1:
            dist.all_reduce(total)
        return total

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The model's mean loss over the targets of x and y (B, T) on the CPU, a scalar."""
        if self.packs:
            rows = PackedRows(y, unwrap(self.model).max_positions, self.device)
            inputs, settings = (rows.ids(x), rows), {"loss_only": True}
        else:
            inputs, settings = (send(x, self.device), send(y, self.device)), {}
        rounded = contextlib.nullcontext()
        if self.precision != torch.float32:
            # Each weight is used once in a micro-batch: autocast need not keep its rounded copy.
            rounded = torch.autocast(self.device.type, self.precision, cache_enabled=False)
        with rounded:
            return self.wrapped(*inputs, **settings)[1]

    def _side_by_side(self, micro_batches, targets, seed):
        """
        The micro-batches in threads, each with its share of the cores, so that no core waits for
        the others after every operation. Their gradients are added in order: the result is the
        same every time.
        """
        parameters = self.parameters
        cores = max(1, self.threads // len(micro_batches))

        def gradients_of(number):
            if torch.get_num_threads() != cores:
                torch.set_num_threads(cores)  # of this thread alone
            self.masks.seed(*seed, number)
            x, y = micro_batches[number]
            loss = self.loss(x, y) * (count_targets(y) / targets)
            # Zeros for a parameter that the model does not use.
            return loss.detach(), torch.autograd.grad(loss, parameters, materialize_grads=True)

        # The longest rows take longest and come first.
        numbers = reversed(range(len(micro_batches)))
        jobs = [self._pool.submit(gradients_of, number) for number in numbers]
        (total, gradients), *others = [job.result() for job in reversed(jobs)]
        for loss, more in others:
            total = total + loss
            torch._foreach_add_(gradients, more)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return total


def without_buffers() -> dict[str, bool]:
    """
    The keyword that keeps DistributedDataParallel from sending buffers, here constant masks,
    before each pass.
    """
    new = "forward_sync_buffers"  # since torch 2.12 or so, where the old name draws a warning
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    return {new if new in known else "broadcast_buffers": False}
