"""
Measures how fast this project is compared with the baseline, tests/baseline.py.

    python tools/experiments/benchmark.py --out mine.json        the bundled files
    python tools/experiments/benchmark.py --out mine.json --data data/cs224n --rounds 3

It measures pretraining, finetuning and evaluation by the course's recipe, each in a process of its
own, baseline and fast in turn. The machine should be idle. The rows go to the file --out, by
default results/benchmark.json, which keeps those that are not measured now. A file holds one
machine, one data set and one set of versions. tools/report makes tables of results/benchmark*.
"""

import argparse
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, name_of, new_model, whole_number

# isort: split
import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(ROOT / "tests"))
import run  # noqa: E402
from baseline import (  # noqa: E402
    BaselineGPT,
    baseline_answer,
    baseline_documents,
    baseline_epoch,
    baseline_names,
    baseline_optimizer,
    vocabulary,
)
from dataset import NameDataset, parse_questions  # noqa: E402
from fast.gradients import BatchGradient  # noqa: E402
from fast.packing import row_lengths  # noqa: E402
from machine import commit, hardware, versions  # noqa: E402
from recipe import RECIPES  # noqa: E402
from reference import VARIANTS  # noqa: E402
from runs.checkpoint import load_params  # noqa: E402
from runs.device import choose_precision, multiplies_bfloat16  # noqa: E402
from runs.files import check_output, write_lines  # noqa: E402
from runs.inputs import InputError, read_text  # noqa: E402

TASKS = ("pretrain", "finetune", "evaluate")
CPU = torch.device("cpu")


# ---- one measurement, in a process of its own -----------------------------------------------


class Steps:
    """A TensorBoard writer that notes when each step ended."""

    def __init__(self):
        self.ends = []

    def add_scalar(self, tag, value, step):
        if tag == "train/loss":
            self.ends.append(time.time())


def work_fast(task, variant, data, files, recipe, precision, epochs):
    """Times at which run.py's steps end; of an evaluation, when its work starts and ends."""
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    model = new_model(recipe, variant, corpus, seed=0)
    if task == "evaluate":
        load_params(model, files / "finetune.params")
        start = time.time()
        run.evaluate(model, corpus, data / "birth_dev.tsv", files / "fast.predictions")
        return [start, time.time()]
    steps = Steps()
    settings = {"recipe": recipe, "writer": steps, "max_epochs": epochs}
    settings |= {"seed": 0, "precision": precision, "device": CPU}
    if task == "pretrain":
        _, trainer = run.pretrain(corpus, recipe.block_size, model, **settings)
    else:
        paths = files / "pretrain.params", data / "birth_places_train.tsv"
        _, trainer = run.finetune(*paths, corpus, recipe.block_size, model, **settings)
    run.train(model, files / f"{task}.params", trainer)
    return steps.ends


def work_baseline(task, variant, data, files, recipe, precision, epochs):
    """The same for the baseline, which is in float32."""
    torch.manual_seed(0)
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    stoi = vocabulary(text)
    sizes = recipe.block_size, recipe.n_layer, recipe.n_head, recipe.n_embd, recipe.dropout
    model = BaselineGPT(len(stoi), *sizes, variant=variant)
    if task == "evaluate":
        model.load_state_dict(torch.load(files / "finetune.params", weights_only=True))
        itos = {i: char for char, i in stoi.items()}
        questions = parse_questions((data / "birth_dev.tsv").read_text(encoding="utf-8"))
        start = time.time()
        answers = []
        for question in questions:
            known = "".join(char for char in question.text if char in stoi)
            answers.append(baseline_answer(model, known, stoi, itos))
        end = time.time()
        lines = "".join(f"{answer}\n" for answer in answers)
        (files / "baseline.predictions").write_text(lines, encoding="utf-8")
        return [start, end]
    documents = baseline_documents(text, recipe.block_size)
    if task == "pretrain":
        settings, items = recipe.pretrain, documents
    else:
        settings = recipe.finetune
        questions = (data / "birth_places_train.tsv").read_text(encoding="utf-8")
        items = baseline_names(text, questions, recipe.block_size)
        model.load_state_dict(torch.load(files / "pretrain.params", weights_only=True))
    optimizer = baseline_optimizer(model, settings.learning_rate)
    final_tokens = settings.final_tokens(documents, recipe.block_size)
    schedule = settings.learning_rate, settings.warmup_tokens, final_tokens
    ends, tokens = [], 0
    for _ in range(epochs):
        steps = baseline_epoch(model, optimizer, items, settings.batch_size, *schedule, tokens)
        for step in steps:
            ends.append(time.time())
            tokens = step[1]
    torch.save(model.state_dict(), files / "baseline.params")
    return ends


def measure(way, task, variant, data, files, recipe, precision, epochs):
    """
    Runs a measurement as a process. Returns seconds and bytes: `whole`, the process; `first`, from
    its start to the end of the first step; `unit`, a step, the mean of the last epoch (of one
    epoch without its first step), or an evaluation's work; `memory`, the peak resident size.
    """
    job = {
        "way": way,
        "task": task,
        "variant": variant,
        "data": str(data),
        "files": str(files),
        "recipe": recipe,
        "precision": precision,
        "epochs": epochs,
    }
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    start = time.time()
    process = subprocess.run(command, capture_output=True, text=True)
    whole = time.time() - start
    if process.returncode:
        sys.exit(f"benchmark.py: error: {way} {task} failed:\n{process.stderr}")
    ends, memory = json.loads(process.stdout.splitlines()[-1])
    steps = len(ends) // epochs if epochs > 1 else len(ends) - 1
    return {
        "whole": whole,
        "first": ends[0] - start,
        "unit": (ends[-1] - ends[-1 - steps]) / steps,
        "memory": memory,
    }


def peak_memory():
    """
    The largest resident size of this process in bytes. Linux counts in ru_maxrss what the process
    that started this one had used, so there it is read elsewhere.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1]) * 1024
    except OSError:
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage * (1 if platform.system() == "Darwin" else 1024)


# ---- what a step is made of -----------------------------------------------------------------


def matrix_peak():
    """{precision: FLOP/s} of the matmul of two 2048-square matrices, the best of several."""
    peaks = {}
    for name in ["float32"] + ["bfloat16"] * multiplies_bfloat16(CPU):
        a, b = (torch.randn(2048, 2048).to(getattr(torch, name)) for _ in range(2))
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        peaks[name] = 2 * 2048**3 / min(seconds)
    return peaks


def sizes(data, variant, recipe):
    """{task: (steps an epoch, tokens a step without padding)}, and the weights in matrices."""
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    names = NameDataset(corpus, read_text(data / "birth_places_train.tsv"))
    items = {
        "pretrain": (corpus.at_epoch(0, 0), recipe.pretrain.batch_size),
        "finetune": (names, recipe.finetune.batch_size),
    }
    made = {}
    for task, (dataset, batch_size) in items.items():
        batches = DataLoader(dataset, batch_size=batch_size)
        tokens = [int(row_lengths(y).sum()) for _, y in batches]
        made[task] = len(tokens), sum(tokens) / len(tokens)
    with torch.device("meta"):
        model = new_model(recipe, variant, corpus, seed=0)
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return made, sum(module.weight.numel() for module in linear)


# Operations of torch's profiler by what they are for.
KINDS = {
    "matmuls": "mm addmm bmm baddbmm",
    "GELU, softmax, layer norm, loss": "gelu gelu_backward _softmax _softmax_backward_data "
    "native_layer_norm native_layer_norm_backward _log_softmax _log_softmax_backward_data "
    "nll_loss_forward nll_loss_backward",
    "type and layout conversions": "copy_ cat index_select index_fill_",
    "element-wise operations": "add add_ mul mul_ clamp_ sub_ sum masked_fill_",
}


def profile_step(data, variant, recipe, precision):
    """{kind of operation: share of the time} of a pretraining step's passes on one core."""
    corpus = run.read_corpus(data / "wiki.txt", recipe.block_size)
    model = new_model(recipe, variant, corpus, seed=0).train()
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    (x, y), *_ = DataLoader(corpus.at_epoch(0, 0), batch_size=recipe.pretrain.batch_size)
    with BatchGradient(model, CPU, choose_precision(precision, CPU)) as gradient:
        for step in range(2):
            gradient.backward(x, y, 0, 0, step)
        start = time.perf_counter()
        with torch.profiler.profile() as profiler:
            for step in range(3):
                gradient.backward(x, y, 0, 0, step)
            total = (time.perf_counter() - start) * 1e6
    torch.set_num_threads(cores)
    spent = {
        event.key.removeprefix("aten::"): event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    return {
        kind: sum(spent.get(name, 0) for name in names.split()) / total
        for kind, names in KINDS.items()
    }


# ---- the whole ------------------------------------------------------------------------------


def ways(task):
    """[(name, way, precision)] of a task. Evaluation is in float32 alone."""
    fast = ["float32"]
    if task != "evaluate" and multiplies_bfloat16(CPU):
        fast = ["bfloat16", "float32"]
    return [("baseline", "baseline", "float32")] + [(name, "fast", name) for name in fast]


def new_record(data, recipe, path):
    """
    Where and when it is measured. Raises InputError if the file at `path` has other measurements
    than of this machine, these data and these versions.
    """
    same = {
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "data": name_of(data),
        "recipe": recipe,
    }
    record = {**same, "commit": commit(), "date": time.strftime("%Y-%m-%d")}
    record |= {"matrix_peak": [], "different_answers": {}, "rows": []}
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        for name, value in same.items():
            if earlier.get(name) != value:
                was = earlier.get(name)
                raise InputError(f"{path}: its {name} is {was}, now {value}; give another --out")
        added = ("matrix_peak", "different_answers", "rows")
        record = earlier | record | {key: earlier[key] for key in added}
    return record


def measure_variant(record, data, variant, tasks, rounds, recipe):
    """Adds the measurements of a variant, round by round, and in a round each way in turn."""
    with tempfile.TemporaryDirectory() as folder:
        measured, different = {}, []
        for _ in range(rounds):
            record["matrix_peak"].append(matrix_peak())
            measure_round(Path(folder), data, variant, tasks, recipe, measured)
            if "evaluate" in tasks:
                baseline, fast = (
                    (Path(folder) / f"{way}.predictions").read_text("utf-8").splitlines()
                    for way in ("baseline", "fast")
                )
                differ = sum(a != b for a, b in zip(baseline, fast, strict=True))
                record["questions"] = len(fast)
                different.append(differ)
    if different:
        record["different_answers"][variant] = max(different)
    made, weights = sizes(data, variant, RECIPES[recipe])
    record["rows"] = [
        row for row in record["rows"] if row["variant"] != variant or row["task"] not in tasks
    ]
    for (task, name), results in measured.items():
        steps, tokens = made.get(task, (1, None))
        row = {"variant": variant, "task": task, "way": name, "rounds": results}
        row |= {"steps": steps, "tokens": tokens, "weights": weights}
        row["commit"] = record["commit"]
        if task == "pretrain" and name != "baseline":
            row["profile"] = profile_step(data, variant, RECIPES[recipe], name)
        record["rows"].append(row)


def measure_round(files, data, variant, tasks, recipe, measured):
    """Appends to measured[task, name]. Runs earlier tasks where a task reads their parameters."""
    last = max(TASKS.index(task) for task in tasks)
    for task in TASKS[: last + 1]:
        # The baseline comes last, and starts from the parameters that the fast way has written.
        for name, way, precision in reversed(ways(task)):
            if task not in tasks and name != ways(task)[-1][0]:
                continue
            # The fast way takes memory from the system in its first epochs only.
            epochs = 1 if way == "baseline" or task == "evaluate" else 3
            result = measure(way, task, variant, data, files, recipe, precision, epochs)
            print(
                f"{variant} {task} {name}: {result['unit']:.3f} s, "
                f"the whole process {result['whole']:.1f} s",
                flush=True,
            )
            if task in tasks:
                measured.setdefault((task, name), []).append(result)


def main():
    parser = argparse.ArgumentParser(description="Measure the baseline and the fast way in turn.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files")
    parser.add_argument(
        "--rounds", type=whole_number(1), default=2, help="of each measurement; default 2"
    )
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--recipe", choices=list(RECIPES), default="course")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark.json")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        work = {"fast": work_fast, "baseline": work_baseline}[args.job.pop("way")]
        changes = {name: Path(args.job[name]) for name in ("data", "files")}
        changes["recipe"] = RECIPES[args.job["recipe"]]
        print(json.dumps([work(**args.job | changes), peak_memory()]))
        return
    check_output(args.out)
    data = args.data.resolve()
    record = new_record(data, args.recipe, args.out)
    for variant in args.variants:
        measure_variant(record, data, variant, args.tasks, args.rounds, args.recipe)
        write_lines(args.out, [json.dumps(record, indent=1)])


if __name__ == "__main__":
    from runs.console import command

    with command("benchmark.py"):
        main()
