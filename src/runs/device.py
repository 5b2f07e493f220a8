"""The device that a run computes on, the precision of its matmuls, and how its memory is kept."""

import ctypes
import os
import platform

import torch

from runs.console import note
from runs.inputs import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str | int | torch.device | None = None) -> torch.device:
    """
    The torch device of that name or the GPU of that number; without a name CUDA if there is one,
    else a Mac's GPU (mps), else the CPU. Under torchrun "cuda" is this process's own GPU.

    Raises InputError if the device cannot be used.
    """
    if name is None and torch.cuda.is_available():
        name = "cuda"
    elif name is None and torch.backends.mps.is_available():
        name = "mps"
    elif name is None:
        return torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch raises another class for each way in which one is absent
        reason = first_line(error).split(". ")[0]
        raise InputError(f"device {name} cannot be used here: {reason}") from None
    return device


def check_compiler(device: torch.device) -> None:
    """Raises InputError if torch.compile does not work here."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # torch raises another class for each thing that is missing
        raise InputError(f"torch.compile does not work here: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Of the error's message, or its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """
    The dtype of matmuls: PRECISIONS[name]; for "auto" bfloat16 where the device multiplies it in
    hardware, else float32, since emulated bfloat16 is slower.
    """
    if name == "auto":
        name = "bfloat16" if multiplies_bfloat16(device) else "float32"
    return PRECISIONS[name]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 matmuls."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
        flags = set(lines[0].split()) if lines else set()
        return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})  # Intel and AMD; Arm
    except OSError:  # not Linux: torch knows one kind of processor, in some of its versions
        return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def keep_freed_memory() -> None:
    """
    Tells glibc's malloc to keep freed memory for the next use. A training step frees and takes
    some hundred megabytes; returned to the system each time, they come back page by page, which
    costs a tenth of the step. Elsewhere than on glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
    mallopt = ctypes.CDLL(None).mallopt
    # Old versions take 32 MB at most. Without this one, the others would make it slower.
    if not (mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)):
        note("note: malloc did not take its settings; training may be a tenth slower")
        return
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(M_TOP_PAD, 1 << 27)  # an arena of threads keeps this much instead of 64 MB blocks
    # Threads of one arena wait for each other.
    mallopt(M_ARENA_MAX, max(2, torch.get_num_threads()))
