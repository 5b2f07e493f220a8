"""python -m pytest tests/test_hardware.py

What a run is carried out on: device and precision by name or by what there is, memory, and a process on its own. Processes
that train together are test_parallel.py's.
"""

import io
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hardware
import trainer as module
from conftest import ROOT
from dataset import InputError
from hardware import (
    choose_device, choose_precision, first_process_speaks, keep_freed_memory, multiplies_bfloat16, process_group, processes,
    rank_and_size,
)
from trainer import Trainer, TrainerConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

CPUINFO = {
    "Sapphire Rapids": ("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8488C\n"
                        "flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 amx_bf16 amx_tile\nbugs\t\t: spectre_v1\n", True),
    "Zen 4": ("processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f avx512_bf16\n", True),
    "Graviton 3": ("processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\nCPU implementer\t: 0x41\n", True),
    "Skylake": ("processor\t: 0\nmodel name\t: bf16 in the name alone\nflags\t\t: fpu sse2 avx2 avx512f avx512bw\n", False),
    "Graviton 2": ("processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n", False),
    "a flag that only begins so": ("flags\t\t: fpu avx512_bf16x bf16s\n", False),
    "said elsewhere": ("flags\t\t: fpu sse2\nbugs\t\t: bf16 avx512_bf16\n", False),
    "a second processor that can, beside one that cannot": ("flags\t\t: fpu\nflags\t\t: fpu avx512_bf16\n", False),
    "no flags": ("processor\t: 0\n", False),
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
        monkeypatch.setattr(hardware, "open", fake, raising=False)
    return set_to


# ---- precision ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CPUINFO)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(cpuinfo, name):
    text, has = CPUINFO[name]
    cpuinfo(text)
    assert multiplies_bfloat16(CPU) is has
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize("has", [True, False])
def test_without_proc_torch_is_asked(cpuinfo, monkeypatch, has):
    cpuinfo(FileNotFoundError("/proc/cpuinfo"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    assert multiplies_bfloat16(CPU) is has


def test_without_proc_and_a_torch_that_cannot_tell_it_is_float32(cpuinfo, monkeypatch):
    cpuinfo(PermissionError("/proc/cpuinfo"))
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_is_asked_and_emulation_does_not_count(cpuinfo, monkeypatch, has):
    cpuinfo(CPUINFO["Zen 4"][0] if not has else "")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    assert choose_precision("auto", CUDA) == (torch.bfloat16 if has else torch.float32)


def test_other_devices_take_float32(cpuinfo):
    cpuinfo(CPUINFO["Zen 4"][0])
    assert choose_precision("auto", torch.device("mps")) == choose_precision("auto", torch.device("meta")) == torch.float32


@pytest.mark.parametrize("text", ["", CPUINFO["Zen 4"][0]])
def test_a_name_decides(cpuinfo, text):
    cpuinfo(text)
    for device in (CPU, CUDA):
        assert choose_precision("float32", device) == torch.float32
        assert choose_precision("bfloat16", device) == torch.bfloat16


def test_a_trainer_takes_float32_unless_it_is_told(cpuinfo):
    cpuinfo(CPUINFO["Zen 4"][0])
    data = TensorDataset(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long))
    for precision, expected in (({}, torch.float32), ({"precision": "bfloat16"}, torch.bfloat16),
                                ({"precision": "auto"}, torch.bfloat16)):
        assert Trainer(nn.Linear(1, 1), data, None, TrainerConfig(device="cpu", **precision)).precision == expected


# ---- device ---------------------------------------------------------------------------------------------------------

def test_a_device_by_name():
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(InputError, match=f"^--device {name}: .+") as error:
        choose_device(name)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_the_default_is_the_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tried = []
    monkeypatch.setattr(torch, "zeros", lambda *_, device: tried.append(device) or torch.ones(1))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert choose_device() == CUDA == tried[0]
    monkeypatch.setenv("LOCAL_RANK", "3")  # torchrun's processes have a GPU each
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 3)
    assert choose_device("cuda:1") == torch.device("cuda", 1) and choose_device("cpu") == CPU


def test_a_gpu_that_does_not_work_is_one_line(monkeypatch):
    def fail(*_, device):
        raise RuntimeError("CUDA error: out of luck\nCompile with TORCH_USE_CUDA_DSA\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(InputError, match="^--device cuda: CUDA error: out of luck$"):
        choose_device()


# ---- memory ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("in_thread, tensors, numbers", [(False, 1, 16_000_000), (True, 4, 5_000_000), (True, 8, 2_000_000)],
                         ids=["64 MB", "four of 20 MB in a thread", "eight of 8 MB in a thread"])
def test_kept_memory_is_harmless_and_used_again(in_thread, tensors, numbers):
    """In a process of its own: after a few tensors of a size the next come without a page fault each 4 KiB, in threads too."""
    script = f"""if True:
        import resource, sys; sys.path.insert(0, 'src'); import torch; torch.set_num_threads(1)
        from concurrent.futures import ThreadPoolExecutor
        from hardware import keep_freed_memory
        if sys.argv[1] == 'kept': keep_freed_memory(); keep_freed_memory()
        def take():
            tensors = [torch.ones({numbers}) for _ in range({tensors})]
            assert all(x[::1000].sum() == {numbers // 1000} for x in tensors)
        pool = ThreadPoolExecutor(1)
        for step in range(14):
            if step == 9: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            pool.submit(take).result() if {in_thread} else take()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"""
    faults = {way: int(subprocess.run([sys.executable, "-c", script, way], cwd=ROOT, capture_output=True, text=True,
                                      check=True).stdout) for way in ("kept", "given back")}
    if hardware.platform.libc_ver()[0] == "glibc" and faults["given back"] > 10_000:  # elsewhere huge pages may be at work
        assert faults["kept"] < faults["given back"] / 2


def test_without_glibc_nothing_is_asked_of_the_c_library(monkeypatch):
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda *_: pytest.fail("asked"))
    keep_freed_memory()


class Hungry(nn.Module):
    """A model that takes `most` rows at the most."""

    def __init__(self, most):
        super().__init__()
        self.weight, self.most = nn.Parameter(torch.tensor(1.0)), most

    def forward(self, x, y):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity …")
        return None, self.weight * 1.0


def train_hungry(most, rows=130, **settings):
    ones = torch.ones(rows, 3, dtype=torch.long)
    Trainer(Hungry(most), TensorDataset(ones, ones), None, TrainerConfig(max_epochs=1, seed=1, device="cpu", **settings)).train()


@pytest.mark.parametrize("settings, rows, advice", [
    ({"batch_size": 128}, 128, 64), ({"batch_size": 100}, 100, 64), ({"batch_size": 3}, 3, 2), ({"batch_size": 2}, 2, 1),
    ({"batch_size": 128, "micro_batch_size": 64}, 64, 32), ({"batch_size": 128, "micro_batch_size": 5}, 5, 4)])
def test_a_gpu_without_memory_gives_advice_that_helps(settings, rows, advice):
    with pytest.raises(InputError) as error:
        train_hungry(rows - 1, **settings)
    text = str(error.value)
    assert text == f"cpu is out of memory with {rows} rows at once; try --micro_batch_size {advice}, with the same result"
    assert error.value.__cause__ is None and error.value.__suppress_context__  # no traceback of torch's
    train_hungry(rows - 1, **{**settings, "micro_batch_size": advice})


def test_processes_share_the_rows_that_memory_lacks_for(monkeypatch):
    monkeypatch.setattr(module, "rank_and_size", lambda: (0, 2))
    trainer = Trainer(Hungry(0), [None], None, TrainerConfig(batch_size=128, seed=1, device="cpu"))
    with pytest.raises(InputError, match="out of memory with 64 rows at once; try --micro_batch_size 32, "):
        with trainer._advice_on_memory():
            raise torch.OutOfMemoryError("…")


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 128, "micro_batch_size": 1}])
def test_if_one_row_is_too_much_there_is_the_cpu(settings):
    with pytest.raises(InputError, match="^cpu is out of memory with 1 rows at once; .*--device cpu") as error:
        train_hungry(0, **settings)
    assert "micro_batch_size" not in str(error.value) and "\n" not in str(error.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    class Broken(Hungry):
        def forward(self, x, y):
            raise RuntimeError("a mistake")
    ones = torch.ones(3, 3, dtype=torch.long)
    with pytest.raises(RuntimeError, match="^a mistake$"):
        Trainer(Broken(1), TensorDataset(ones, ones), None, TrainerConfig(max_epochs=1, device="cpu")).train()


# ---- a process on its own -------------------------------------------------------------------------------------------

def test_a_process_alone(monkeypatch, capsys):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes() == 1 and rank_and_size() == (0, 1)
    with process_group(), first_process_speaks():
        assert not torch.distributed.is_initialized() and rank_and_size() == (0, 1)
        print("heard")
        print("heard too", file=sys.stderr)
    assert capsys.readouterr() == ("heard\n", "heard too\n")


@pytest.mark.parametrize("rank, heard", [("0", True), ("1", False), ("3", False)])
def test_of_several_processes_the_first_speaks(monkeypatch, capsys, rank, heard):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", rank)
    assert processes() == 4
    with first_process_speaks():
        print("a line")
        print("a line", file=sys.stderr)
    print("afterwards")
    assert capsys.readouterr() == ("a line\n" * heard + "afterwards\n", "a line\n" * heard)


def test_a_process_group_of_one_is_taken_down_after_an_error(monkeypatch):
    """WORLD_SIZE 2 would wait for the other: here torch's own functions are replaced."""
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(hardware.dist, "init_process_group", calls.append)
    monkeypatch.setattr(hardware.dist, "destroy_process_group", lambda: calls.append("destroyed"))
    with pytest.raises(KeyError), process_group("cpu"):
        assert calls == ["gloo"]
        raise KeyError
    assert calls == ["gloo", "destroyed"]
    assert "WORLD_SIZE" in os.environ
