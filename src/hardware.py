"""What a run is carried out on: the device, the precision of its matrix products, its memory, and the processes that share it."""
import contextlib
import ctypes
import gc
import os
import platform

import torch
import torch.distributed as dist

from dataset import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name=None):
    """
    The torch device of that name, or CUDA if there is one and else the CPU. Under torchrun, "cuda" is this process's own GPU.

    Raises InputError if it is not there.
    """
    if name is None and not torch.cuda.is_available():
        return torch.device("cpu")
    try:
        device = torch.device(name or "cuda")
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch has a class of its own for each way in which a device can be absent
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"--device {name or 'cuda'}: {reason:.300}") from None
    return device


def choose_precision(name, device):
    """
    The dtype of matrix products: that of the name, one of PRECISIONS, or for "auto" bfloat16 where the device multiplies it in
    hardware and float32 elsewhere, since to emulate it is slower than to go without.
    """
    if name == "auto":
        name = "bfloat16" if multiplies_bfloat16(device) else "float32"
    return PRECISIONS[name]


def multiplies_bfloat16(device):
    """Whether the device has instructions for products of bfloat16 numbers."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
        flags = set(lines[0].split()) if lines else set()
        return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})  # of Intel and AMD; of Arm
    except OSError:  # not Linux; torch knows of one kind of processor, by a function that not every version has
        return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def keep_freed_memory():
    """
    Has the C library keep what is freed for the next use, where it is glibc. A training step frees and takes again
    some hundred megabytes; handed back to the system each time, they come back page by page, which takes a tenth of the step.
    """
    if platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
        libc = ctypes.CDLL(None)
        # Threads of one arena take each other's freed memory, and wait for each other to take it: on two cores two are best.
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(M_TOP_PAD, 1 << 27)  # an arena of threads hands pieces of 64 MB back, unless more than this is to be left over


def processes():
    """How many processes torchrun started for this run; 1 without it."""
    number = os.environ.get("WORLD_SIZE", "1")
    return int(number) if number.isdecimal() else 1


def is_first_process():
    """Whether this is the one of torchrun's processes that prints and writes, or the only one."""
    return processes() == 1 or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def process_group(device_name=None):
    """While this lasts, the processes that torchrun started train together; without torchrun it does nothing."""
    if processes() == 1:
        yield
        return
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        # A DistributedDataParallel that waits in a cycle for the collector holds the group, whose threads then end with the
        # interpreter and abort it, now and then.
        gc.collect()
        dist.destroy_process_group()


@contextlib.contextmanager
def first_process_speaks():
    """While this lasts, what all processes but torchrun's first print is dropped, so that no line appears several times."""
    if is_first_process():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def rank_and_size():
    """This process's number in the process group and how many there are; (0, 1) without one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
