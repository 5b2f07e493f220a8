"""
Processes that train together. The slow tests start two under torchrun, on the CPU: the parameters
are those of one process, the first one prints and writes, and a stopped run resumes.
"""

import os
import subprocess
import sys

import pytest
import torch

import run
from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS
from resuming import Events
from runs import distributed as module
from runs.distributed import first_process_speaks, process_group, processes, rank_and_size
from runs.inputs import InputError

# Targets of the rows, and settings of the Trainer. Nine rows in batches of four: the last batch is
# one row, of which one process has none.
CASES = {
    "batches of 4, 4 and 1": ("full", {"batch_size": 4}),
    "one row at a time": ("full", {"batch_size": 1}),
    "one process has no target": ("odd rows only", {"batch_size": 4}),
    "some batches without any target": ("silent batch", {"batch_size": 3}),
    "in micro-batches": ("holes", {"batch_size": 8, "micro_batch_size": 1}),
    "with a schedule": (
        "full",
        {"batch_size": 4, "lr_decay": True, "warmup_tokens": 30, "final_tokens": 300},
    ),
}


def test_a_process_alone(monkeypatch, capsys):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes() == 1 and rank_and_size() == (0, 1)
    with process_group(), first_process_speaks():
        assert not torch.distributed.is_initialized()
        print("out")
        print("err", file=sys.stderr)
    assert capsys.readouterr() == ("out\n", "err\n")


@pytest.mark.parametrize("rank, heard", [("0", True), ("1", False)])
def test_of_several_processes_the_first_speaks(monkeypatch, capsys, rank, heard):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert processes() == 4
    with first_process_speaks():
        print("out")
        print("err", file=sys.stderr)
    print("afterwards")
    assert capsys.readouterr() == ("out\n" * heard + "afterwards\n", "err\n" * heard)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_error_of_any_process_is_shown(monkeypatch, tmp_path, capsys, rank):
    """The first process may not have it, as where there are fewer GPUs than processes."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", rank), ("MASTER_ADDR", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    path = tmp_path / "wiki.txt"
    path.write_text("Ann Lee.", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        run.main(["pretrain", "vanilla", str(path), "--writing_params_path", str(path)])
    assert capsys.readouterr().err.count(f"{path}: ") == 1


def test_the_group_is_taken_down_after_an_error(monkeypatch):
    """With torch's own functions replaced, which would wait for the other process."""
    calls = []
    for variable in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(variable, "2")
    monkeypatch.setattr(module.dist, "init_process_group", calls.append)
    monkeypatch.setattr(module.dist, "destroy_process_group", lambda: calls.append("destroyed"))
    with pytest.raises(KeyError), process_group("cpu"):
        assert calls == ["gloo"]
        raise KeyError
    assert calls == ["gloo", "destroyed"]


@pytest.mark.parametrize("rank", [None, "1"])
def test_a_clusters_world_size_without_torchrun_is_one_line(monkeypatch, rank):
    """The process speaks, and starts nothing that would wait for others."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert module.is_first_process()
    with pytest.raises(InputError) as caught, process_group("cpu"):
        raise AssertionError("the group was made")
    line = str(caught.value)
    assert "WORLD_SIZE" in line and "MASTER_ADDR" in line and "\n" not in line


def test_a_rank_that_is_no_number_is_one_line(monkeypatch):
    settings = {"WORLD_SIZE": "2", "RANK": "abc", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught, process_group("cpu"):
        raise AssertionError("the group was made")
    assert "abc" in str(caught.value) and "\n" not in str(caught.value)
    assert module.is_first_process()  # it is heard


# ---- two processes against one --------------------------------------------------------------


def targets_of(kind):
    rows = torch.randint(1, 12, (9, 16), generator=torch.Generator().manual_seed(4))
    lengths = torch.tensor([16, 5, 9, 12, 3, 16, 7, 8, 10])
    rows[torch.arange(16) >= lengths[:, None]] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    if kind == "holes":  # of the first 8 rows one process has four with targets, the other two
        y[::2, ::2], y[1], y[7] = 0, 0, 0
    elif kind == "odd rows only":
        y[::2] = 0
        y[8] = 3
    elif kind == "silent batch":
        y[3:6] = 0
    return x, y


def train_case(name, variant, dropout=0.0, tested=False, **changes):
    """The parameters after two epochs in float64, the losses, and where the last dropout fell."""
    from torch.utils.data import TensorDataset

    from model import GPT, GPTConfig
    from trainer import Trainer, TrainerConfig

    kind, settings = CASES[name]
    torch.manual_seed(2)
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), dropout)
    config = GPTConfig(
        12, 16, n_layer=3, bottleneck_dim=5, n_head=2, n_embd=8, **rates, **{variant: True}
    )
    model = GPT(config).double()
    events, dropped = Events(), [torch.zeros(64)]
    if dropout:
        model.blocks[0].register_forward_pre_hook(
            lambda _, inputs: dropped.append((inputs[0] == 0).flatten()[:64].float())
        )
    data = TensorDataset(*targets_of(kind))
    settings = {"max_epochs": 2, "learning_rate": 0.01, "seed": 1, "device": "cpu", **settings}
    tconf = TrainerConfig(writer=events, **{**settings, **changes})
    Trainer(model, data, data if tested else None, tconf).train()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return {"losses": events.of("train/loss"), "dropped": dropped[-1], **parameters}


PATHS = f"import sys\nsys.path[:0] = [{str(ROOT / 'src')!r}, {str(ROOT / 'tests')!r}]\n"
SCRIPT = f"""{PATHS}
import torch
torch.set_num_threads(1)
from runs.distributed import first_process_speaks, process_group, rank_and_size
from reference import VARIANTS
from test_distributed import CASES, train_case
with first_process_speaks(), process_group("cpu"):
    rank, processes = rank_and_size()
    results = {{(name, v): train_case(name, v) for name in CASES for v in VARIANTS}}
    masks = [torch.zeros(64) for _ in range(processes)]
    dropped = train_case("batches of 4, 4 and 1", "vanilla", dropout=0.5)["dropped"]
    torch.distributed.all_gather(masks, dropped)
    results["masks"] = masks
    path = f"{{sys.argv[1]}}/checkpoint{{rank}}"
    train_case("in micro-batches", "vanilla", tested=True, ckpt_path=path)
    torch.save(results, f"{{sys.argv[1]}}/rank{{rank}}.pt")
    print("rank", rank, "has finished")
"""


def torchrun(*arguments, cwd=None):
    """Two processes, on a port that torch chooses."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launcher += ["--local_addr=127.0.0.1", "--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0"]
    return subprocess.run(
        [*launcher, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=240,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What the two processes come to, what they print, and their folder."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "script.py").write_text(SCRIPT)
    done = torchrun(folder / "script.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)], done, folder


def check_same(found, expected):
    for key in expected.keys() - {"losses", "dropped"}:
        # The gradient of a key's bias is 0 but for rounding, which AdamW makes a full step of.
        atol = 1e-7 if key.endswith("key.bias") else 1e-10
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(together, known_variant, name):
    one = train_case(name, known_variant)
    first, second = (result[name, known_variant] for result in together[0])
    assert first["losses"] == second["losses"] == pytest.approx(one["losses"], rel=1e-6)
    check_same(first, one)
    assert all(torch.equal(first[key], second[key]) for key in one if key != "losses")


@pytest.mark.slow
def test_processes_drop_differently_and_the_first_one_speaks_and_writes(together):
    results, done, folder = together
    masks = results[0]["masks"]
    assert not torch.equal(*masks) and all(0.2 < mask.mean() < 0.8 for mask in masks)
    assert done.stdout.count("has finished") == 1 and "rank 0 has finished" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    names = {path.name for path in folder.iterdir()}
    assert names == {"checkpoint0", "rank0.pt", "rank1.pt", "script.py"}
    alone = train_case("in micro-batches", "vanilla", tested=True, ckpt_path=str(folder / "a"))
    checkpoint = torch.load(folder / "checkpoint0", weights_only=True)
    assert checkpoint.keys() == torch.load(folder / "a", weights_only=True).keys()
    check_same({**alone, **checkpoint}, alone)


# ---- the command line -----------------------------------------------------------------------

COMMAND = f"""{PATHS}
from dataclasses import replace
import run
from commands import SMALL
small = replace(SMALL, dropout=0.2 if "pretrain" in sys.argv else 0.0)
run.RECIPES.update(course=small, quick=small)
"""
STOP = """
import signal
import pytest
from commands import at_step
at_step(pytest.MonkeyPatch(), 3, lambda: signal.raise_signal(signal.SIGTERM))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS, encoding="utf-8")
    (tmp_path / "births.tsv").write_text(TINY_QUESTIONS, encoding="utf-8")
    (tmp_path / "command.py").write_text(f"{COMMAND}run.main()\n")
    (tmp_path / "stopped.py").write_text(f"{COMMAND}{STOP}run.main()\n")
    return tmp_path


@pytest.mark.slow
def test_the_command_line_writes_once_what_one_process_writes(folder):
    command = "command.py finetune vanilla wiki.txt --finetune_corpus_path births.tsv"
    command += " --precision float32 --max_epochs 3 --device cpu --writing_params_path"
    two = torchrun(*command.split(), "two.params", cwd=folder)
    words = [sys.executable, *command.split(), "one.params"]
    one = subprocess.run(words, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert (two.returncode, one.returncode) == (0, 0), two.stderr + one.stderr
    assert two.stdout == one.stdout and two.stdout.count("number of parameters") == 1
    assert two.stderr.count("epoch 3/3, step 3/3: loss ") == 1
    for ending in ("", ".json", ".log.jsonl"):
        assert (folder / f"two.params{ending}").exists()
    found, expected = (
        torch.load(folder / f"{n}.params", weights_only=True) for n in ("two", "one")
    )
    for key in expected:
        if not key.endswith("key.bias"):
            torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_resume_file_that_cannot_be_used_ends_all_processes_in_a_line(folder):
    (folder / "a.params.resume").write_text("no resume file")
    command = "command.py pretrain vanilla wiki.txt --device cpu --writing_params_path a.params"
    done = torchrun(*command.split(), cwd=folder)
    lines = [line for line in done.stderr.splitlines() if line.startswith("run.py: error: ")]
    assert done.returncode != 0 and lines and all("a.params.resume" in line for line in lines)
    assert "[rank" not in done.stderr  # how torch begins the traceback of a process


@pytest.mark.slow
def test_processes_that_were_stopped_resume_together(folder):
    """
    They end in the same bytes as two processes without a stop. torchrun passes a SIGTERM on to all
    processes; here they get it in the same step.
    """
    command = "pretrain vanilla wiki.txt --device cpu --precision float32 --max_epochs 3"
    command = f"{command} --writing_params_path".split()
    whole = torchrun("command.py", *command, "whole.params", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    resume = folder / "a.params.resume"
    stopped = torchrun("stopped.py", *command, "a.params", cwd=folder)
    assert stopped.returncode != 0, stopped.stdout
    assert "a.params.resume holds the run up to epoch 2 step 1 of 2" in stopped.stderr
    assert resume.exists() and not (folder / "a.params").exists()
    again = torchrun("command.py", *command, "a.params", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("resuming ") == 1 and not resume.exists()
    assert (folder / "a.params").read_bytes() == (folder / "whole.params").read_bytes()
