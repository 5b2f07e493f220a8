"""python -m pytest tests/test_parallel.py

Two processes under torchrun, on the CPU: the parameters are those of one process, whatever the batches look like; one of
them prints and writes; and a user's mistake is one line. One start of torchrun trains every case, since it takes seconds.
"""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from conftest import ROOT, TINY_CORPUS, TINY_QUESTIONS

# The cases: targets of the rows, and settings of the Trainer. 9 rows in batches of 4: the last batch is one row alone.
CASES = {
    "batches of 4, 4 and 1": ("full", dict(batch_size=4)),
    "one row at a time": ("full", dict(batch_size=1)),
    "rows without targets": ("holes", dict(batch_size=4)),
    "one process has no target": ("odd rows only", dict(batch_size=4)),
    "some batches without any target": ("silent batch", dict(batch_size=3)),
    "in micro batches": ("holes", dict(batch_size=8, micro_batch_size=1)),
    "with the rate's schedule": ("full", dict(batch_size=4, lr_decay=True, warmup_tokens=30, final_tokens=300)),
}

SCRIPT = '''
import sys
sys.path[:0] = [{src!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from hardware import first_process_speaks, process_group, rank_and_size
from test_parallel import CASES, train_case
with first_process_speaks(), process_group("cpu"):
    rank, processes = rank_and_size()
    results = {{(name, variant): train_case(name, variant) for name in CASES for variant in ("vanilla", "synthesizer")}}
    masks = [torch.zeros(64) for _ in range(processes)]
    torch.distributed.all_gather(masks, train_case("batches of 4, 4 and 1", "vanilla", dropout=0.5)["dropped"])
    results["masks"] = masks
    train_case("rows without targets", "vanilla", tested=True, ckpt_path=f"{{sys.argv[1]}}/checkpoint{{rank}}")
    try:
        train_case("batches of 4, 4 and 1", "vanilla", seed=None)
    except ValueError as error:
        results["refused"] = str(error)
    torch.save(results, f"{{sys.argv[1]}}/rank{{rank}}.pt")
    print("rank", rank, "has finished")
'''


def targets_of(kind):
    rows = torch.randint(1, 12, (9, 16), generator=torch.Generator().manual_seed(4))
    rows[torch.arange(16) >= torch.tensor([16, 5, 9, 12, 3, 16, 7, 8, 10])[:, None]] = 0
    x, y = rows[:, :-1], rows[:, 1:].clone()
    if kind == "holes":
        y[::2, ::2], y[1], y[7] = 0, 0, 0  # of the first 8, one process has four rows with targets and the other two
    elif kind == "odd rows only":
        y[::2] = 0
        y[8] = 3
    elif kind == "silent batch":
        y[3:6] = 0
    return x, y


def train_case(name, variant, dropout=0.0, tested=False, **changed):
    """The parameters after two epochs, in float64; the losses; and what the dropout of the last pass has dropped."""
    from torch.utils.data import TensorDataset

    from model import GPT, GPTConfig
    from trainer import Trainer, TrainerConfig
    kind, settings = CASES[name]
    torch.manual_seed(2)
    model = GPT(GPTConfig(12, 16, n_layer=2, n_head=2, n_embd=8, embd_pdrop=dropout, resid_pdrop=dropout,
                          attn_pdrop=dropout, **{variant: True})).double()
    losses, dropped = [], [torch.zeros(64)]
    writer = type("Writer", (), {"add_scalar": lambda _, tag, value, step: losses.append(value) if "loss" in tag else None})()
    if dropout:
        model.drop.register_forward_hook(lambda _, inputs, out: dropped.append((out == 0).flatten()[:64].float()))
    data = TensorDataset(*targets_of(kind))
    Trainer(model, data, data if tested else None, TrainerConfig(**{
        "max_epochs": 2, "learning_rate": 0.01, "seed": 1, "device": "cpu", "writer": writer, **settings, **changed})).train()
    return {"losses": losses, "dropped": dropped[-1], **{name: p.detach() for name, p in model.named_parameters()}}


def torchrun(*arguments, cwd=None):
    """Two processes, on a port that is free, until they end."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(*arguments, cwd=None):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.Popen([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1",
                             f"--master_port={port}", *map(str, arguments)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**outside, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONIOENCODING": "utf-8"})


@pytest.fixture(scope="module")
def folder_of_both(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def together(folder_of_both):
    """What the two processes come to, one dictionary each, and what they print."""
    folder = folder_of_both
    (folder / "script.py").write_text(SCRIPT.format(src=str(ROOT / "src"), tests=str(ROOT / "tests")))
    done = torchrun(folder / "script.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)], done


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(together, variant, name):
    one, results = train_case(name, variant), [result[name, variant] for result in together[0]]
    assert results[0]["losses"] == results[1]["losses"] == pytest.approx(one["losses"], rel=1e-6) and len(one["losses"]) > 3
    for key in one.keys() - {"losses", "dropped"}:
        # The gradient of a key's bias is 0 but for rounding, and AdamW divides it by little more than itself.
        tolerance = 1e-7 if key.endswith("key.bias") else 1e-10
        torch.testing.assert_close(results[0][key], one[key], rtol=0, atol=tolerance, msg=lambda text: f"{key}: {text}")
        assert torch.equal(results[0][key], results[1][key]), key


def test_some_batches_are_what_the_cases_say():
    """Else the cases above would prove less than they say."""
    for name, silent in (("one process has no target", [0, 2]), ("some batches without any target", [3, 4, 5])):
        _, y = targets_of(CASES[name][0])
        assert not y[silent].any() and y.any()
    x, y = targets_of("odd rows only")
    assert not y[0:4:2].any() and y[1:4:2].any() and y[8].any()


def test_processes_drop_differently(together):
    masks = together[0][0]["masks"]
    assert not torch.equal(*masks) and all(0.2 < mask.mean() < 0.8 for mask in masks)


def test_without_a_seed_processes_refuse_to_train_together(together):
    for result in together[0]:
        assert result["refused"] == "TrainerConfig: processes that train together need a seed, to draw the same batches"


def test_only_one_process_speaks(together):
    out, err = together[1].stdout, together[1].stderr
    assert out.count("has finished") == 1 and "rank 0 has finished" in out
    assert err.count("epoch 2/2, step 6/6: loss ") >= 1 and "Traceback" not in out + err
    assert out.count("number of parameters") == 2 * len(CASES) + 3


def test_the_first_process_writes_the_checkpoint(together, folder_of_both):
    assert sorted(path.name for path in folder_of_both.iterdir()) == ["checkpoint0", "rank0.pt", "rank1.pt", "script.py"]
    train_case("rows without targets", "vanilla", tested=True, ckpt_path=str(folder_of_both / "alone"))
    one, two = (torch.load(folder_of_both / name, weights_only=True) for name in ("alone", "checkpoint0"))
    (folder_of_both / "alone").unlink()
    assert one.keys() == two.keys()  # not DistributedDataParallel's, with module. before each
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-7, msg=lambda text: f"{key}: {text}")


# ---- the command line -----------------------------------------------------------------------------------------------

RUN = '''
import sys
sys.path[:0] = [{src!r}, {tests!r}]
import run
from test_run import SMALL
from dataclasses import replace
recipe = replace(SMALL, dropout=0.2 if "pretrain" in sys.argv else 0.0)
run.RECIPES.update(course=recipe, quick=recipe)
run.main()
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wiki.txt").write_text(TINY_CORPUS, encoding="utf-8")
    (tmp_path / "births.tsv").write_text(TINY_QUESTIONS, encoding="utf-8")
    (tmp_path / "command.py").write_text(RUN.format(src=str(ROOT / "src"), tests=str(ROOT / "tests")))
    return tmp_path


def test_the_command_line_writes_once_what_one_process_writes(folder):
    command = ["command.py", "finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "births.tsv", "--precision", "float32",
               "--max_epochs", "3", "--device", "cpu", "--writing_params_path"]
    together = torchrun(*command, "two.params", cwd=folder)
    assert together.returncode == 0, together.stderr
    alone = subprocess.run([sys.executable, *command, "one.params"], cwd=folder, capture_output=True, text=True,
                           env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"})
    assert alone.returncode == 0, alone.stderr
    assert together.stdout == alone.stdout and together.stdout.count("number of parameters") == 1
    assert together.stderr.count("epoch 3/3, step 3/3: loss ") == 1
    assert {path.name for path in folder.iterdir()} == {"wiki.txt", "births.tsv", "command.py", "one.params", "two.params",
                                                         "one.params.log.jsonl", "two.params.log.jsonl"}
    one, two = (torch.load(folder / name, weights_only=True) for name in ("one.params", "two.params"))
    assert one.keys() == two.keys()
    for key in one:
        if not key.endswith("key.bias"):
            torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-5, msg=lambda text: f"{key}: {text}")


def test_a_users_mistake_is_one_line(folder):
    done = torchrun("command.py", "pretrain", "vanilla", "nowhere.txt", "--writing_params_path", "out.params", cwd=folder)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "nowhere.txt" in line]
    assert lines == ["run.py: error: nowhere.txt: no such file"]
    assert not (folder / "out.params").exists()


def test_evaluation_is_refused(folder):
    done = torchrun("command.py", "evaluate", "vanilla", "wiki.txt", cwd=folder)
    assert done.returncode != 0
    assert done.stderr.count("evaluate runs in one process, without torchrun") == 1


def test_processes_that_were_stopped_go_on_together(folder):
    """Whether they are killed or asked to stop, as they are here one after the other; they end in the same bytes as two processes without a stop."""
    command = ["command.py", "pretrain", "vanilla", "wiki.txt", "--device", "cpu", "--precision", "float32", "--max_epochs", "150",
               "--resume_every", "0", "--writing_params_path"]
    whole = torchrun(*command, "whole.params", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = (folder / "a.params.resume").stat().st_mtime_ns if (folder / "a.params.resume").exists() else 0
        process = start(*command, "a.params", cwd=folder)
        while not (folder / "a.params.resume").exists() or (folder / "a.params.resume").stat().st_mtime_ns == before:
            time.sleep(0.01)
            assert process.poll() is None, process.communicate()
        if number == signal.SIGKILL:
            for worker in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split():
                os.kill(int(worker), number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode != 0 and (folder / "a.params.resume").exists() and not (folder / "a.params").exists()
        assert err.count("run.py: stopped: a.params.resume holds the run up to epoch ") == (number == signal.SIGTERM)
    again = torchrun(*command, "a.params", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("resuming from epoch ") == 1 and not (folder / "a.params.resume").exists()
    assert (folder / "a.params").read_bytes() == (folder / "whole.params").read_bytes()
    left = {path.name for path in folder.iterdir() if path.name.startswith((".", "a."))}
    assert left == {"a.params", "a.params.log.jsonl"}
