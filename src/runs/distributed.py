"""
Several processes that train together, as torchrun starts them: each takes its share of every
batch's rows. The first one prints and writes; of the others only errors are shown.
"""

import contextlib
import gc
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from runs.device import choose_device, first_line
from runs.inputs import InputError


def processes() -> int:
    """How many processes torchrun started for this run; 1 without it."""
    number = os.environ.get("WORLD_SIZE", "1")
    return int(number) if number.isdecimal() else 1


def missing_variables() -> list[str]:
    """Those of torchrun's environment variables that are not set."""
    return [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]


def is_first_process() -> bool:
    """Whether this is the process that prints and writes, or torchrun did not start it."""
    if processes() == 1 or missing_variables():
        return True
    rank = os.environ["RANK"]
    return not rank.isdecimal() or int(rank) == 0


@contextlib.contextmanager
def process_group(device_name: str | None = None) -> Iterator[None]:
    """
    While this lasts, the processes that torchrun started train together; else it does nothing.
    Raises InputError where only a part of torchrun's environment is there, as on some clusters,
    and where the processes do not find each other.
    """
    if processes() == 1:
        yield
        return
    if missing_variables():
        raise InputError(
            f"WORLD_SIZE is {processes()}, but {', '.join(missing_variables())} not set; start by "
            "torchrun or unset WORLD_SIZE to train in one process"
        )
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the {processes()} processes cannot join: {first_line(error)}") from None
    try:
        yield
    finally:
        # A DistributedDataParallel in a reference cycle holds the group, whose threads can then
        # abort the interpreter as it ends.
        gc.collect()
        dist.destroy_process_group()


@contextlib.contextmanager
def first_process_speaks() -> Iterator[None]:
    """While this lasts, all processes but the first print nothing."""
    if is_first_process():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def rank_and_size() -> tuple[int, int]:
    """This process's number in the group and the group's size; (0, 1) without a group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
