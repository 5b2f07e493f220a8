"""Device and precision, by name or by what there is; and malloc's settings."""

import io
import subprocess
import sys

import pytest
import torch

from conftest import ROOT
from runs import device as module
from runs.device import (
    check_compiler,
    choose_device,
    choose_precision,
    keep_freed_memory,
    multiplies_bfloat16,
)
from runs.inputs import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

CPUINFO = {
    "Sapphire Rapids": ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", True),
    "Zen 4": ("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_bf16\nbugs\t\t: x\n", True),
    "Graviton 3": ("processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n", True),
    "Skylake": ("model name\t: bf16 in the name\nflags\t\t: fpu avx512f avx512bw\n", False),
    "longer names": ("flags\t\t: fpu avx512_bf16x bf16s\nbugs\t\t: bf16\n", False),
    "nothing": ("", False),
}


@pytest.fixture
def cpuinfo(monkeypatch):
    """cpuinfo(text) puts that text, or an OSError, into /proc/cpuinfo."""

    def set_to(content):
        def fake(path, *args, **kwargs):
            assert path == "/proc/cpuinfo"
            if isinstance(content, OSError):
                raise content
            return io.StringIO(content)

        monkeypatch.setattr(module, "open", fake, raising=False)

    return set_to


@pytest.mark.parametrize("name", CPUINFO)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(cpuinfo, name):
    text, has = CPUINFO[name]
    cpuinfo(text)
    assert multiplies_bfloat16(CPU) is has
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has else torch.float32)


def test_without_proc_torch_is_asked_if_it_can_tell(cpuinfo, monkeypatch):
    cpuinfo(FileNotFoundError("/proc/cpuinfo"))
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda h=has: h, raising=False)
        assert multiplies_bfloat16(CPU) is has
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert multiplies_bfloat16(CPU) is False


@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_is_asked_without_emulation(monkeypatch, has):
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or has,
    )
    assert choose_precision("auto", CUDA) == (torch.bfloat16 if has else torch.float32)


def test_a_name_decides_and_other_devices_take_float32(cpuinfo):
    for text in ("", CPUINFO["Zen 4"][0]):
        cpuinfo(text)
        assert choose_precision("auto", torch.device("mps")) == torch.float32
        for device in (CPU, CUDA):
            assert choose_precision("float32", device) == torch.float32
            assert choose_precision("bfloat16", device) == torch.bfloat16


@pytest.mark.parametrize(
    "name", ["abacus", "cuda:99", "cpu:x", "meta", "mps", 99, -1, torch.device("cuda:99")]
)
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(InputError) as caught:
        choose_device(name)
    line = str(caught.value)
    assert f"device {name} " in line and "\n" not in line


def test_the_default_is_the_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert choose_device() == CUDA
    monkeypatch.setenv("LOCAL_RANK", "3")  # torchrun's processes have a GPU each
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 3)
    assert choose_device("cuda:1") == torch.device("cuda", 1) and choose_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps") and choose_device("cpu") == CPU  # a Mac


def test_a_gpu_that_does_not_work_is_one_line(monkeypatch):
    def fail(*_, device):
        raise RuntimeError("CUDA error: out of luck\nCompile with TORCH_USE_CUDA_DSA\n")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(InputError) as caught:
        choose_device()
    line = str(caught.value)
    assert "cuda" in line and "CUDA error: out of luck" in line and "\n" not in line


def test_a_compiler_that_is_not_there_is_one_line(monkeypatch):
    def fail(_):
        raise RuntimeError("no C++ compiler\nSet TORCHDYNAMO_VERBOSE=1\n")

    monkeypatch.setattr(torch, "compile", lambda function: function)
    check_compiler(CPU)
    monkeypatch.setattr(torch, "compile", lambda function: fail)
    with pytest.raises(InputError) as caught:
        check_compiler(CPU)
    assert "no C++ compiler" in str(caught.value) and "\n" not in str(caught.value)


# ---- memory ---------------------------------------------------------------------------------

PROGRAM = f"""
import resource, sys
sys.path.insert(0, {str(ROOT / "src")!r})
import torch
from concurrent.futures import ThreadPoolExecutor
from runs.device import keep_freed_memory

torch.set_num_threads(1)
way, place, tensors, numbers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if way == "kept":
    keep_freed_memory()

def take():
    kept = [torch.ones(numbers) for _ in range(tensors)]
    assert all(x[::1000].sum() == numbers // 1000 for x in kept)

pool = ThreadPoolExecutor(1)
for step in range(14):
    if step == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pool.submit(take).result() if place == "thread" else take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(module.platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("case", [("main", "1", "16000000"), ("thread", "8", "2000000")])
def test_kept_memory_is_used_again(case):
    """After some tensors of a size the next come without a page fault each 4 KiB."""
    faults = {}
    for way in ("kept", "given back"):
        words = [sys.executable, "-c", PROGRAM, way, *case]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    few = 5000  # with huge pages memory that is given back costs few faults, too
    assert faults["kept"] < max(few, faults["given back"] / 2)


class Malloc:
    """Stands for the C library. most: the largest threshold for mmap that it takes."""

    def __init__(self, most):
        self.most, self.taken = most, {}

    def mallopt(self, parameter, value):
        if parameter == M_MMAP_THRESHOLD and value > self.most:
            return 0
        self.taken[parameter] = value
        return 1


M_MMAP_THRESHOLD = -3


@pytest.mark.parametrize(
    "libc, most, taken, notes",
    [("glibc", 1 << 30, 4, 0), ("glibc", 1 << 25, 4, 0), ("glibc", 0, 0, 1), ("", 0, 0, 0)],
    ids=["new", "before 2.35", "refuses", "another"],
)
def test_malloc_takes_all_settings_or_none(monkeypatch, capsys, libc, most, taken, notes):
    """The others without the threshold would make it slower."""
    malloc = Malloc(most)
    monkeypatch.setattr(module.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_: malloc)
    keep_freed_memory()
    assert len(malloc.taken) == taken and malloc.taken.get(M_MMAP_THRESHOLD, most) == most
    assert capsys.readouterr().err.count("\n") == notes
