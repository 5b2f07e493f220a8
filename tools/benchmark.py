"""
How fast this project is against the plain way that the course does it, on one machine and in one run.

    python tools/benchmark.py                                    on the bundled files
    python tools/benchmark.py --data data/cs224n --rounds 3      on others, each measurement three times

Pretraining and finetuning by the full recipe's sizes, and evaluating birth_dev.tsv: each in processes of their own, plain and
fast in turn; rows of an earlier call that are not measured anew stay. Plain is tests/plain.py: single items from a DataLoader, full
padding, float32, one question at a time. Fast is what run.py does. Prints a table and writes everything to results/benchmark.json.
Nothing else should run meanwhile.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in ("src", "tests", "tools"):
    sys.path.insert(0, str(ROOT / folder))

TASKS = ("pretrain", "finetune", "evaluate")
BYTES_OF_MAXRSS = 1 if platform.system() == "Darwin" else 1024


# ---- one measurement, in a process of its own ------------------------------------------------------------------------

class Steps:
    """A TensorBoard writer that notes when each step ended."""

    def __init__(self):
        self.ends = []

    def add_scalar(self, tag, value, step):
        if tag == "train/loss":
            self.ends.append(time.time())


def work_fast(task, variant, data, files, precision, epochs):
    """What run.py does, with the times of its steps; of an evaluation only the work in run.evaluate."""
    import run
    from hardware import keep_freed_memory
    from model import GPT, GPTConfig
    from recipe import COURSE
    keep_freed_memory()
    run.set_seed(0)
    corpus = run.read_corpus(data / "wiki.txt", COURSE.block_size)
    model = GPT(GPTConfig(corpus.vocab_size, COURSE.block_size, **COURSE.model_settings(), **{variant: True}))
    if task == "evaluate":
        run.load_params(model, files / "finetune.params")
        start = time.time()
        run.evaluate(model, corpus, data / "birth_dev.tsv", files / "fast.predictions")
        return [start, time.time()]
    steps = Steps()
    settings = dict(writer=steps, max_epochs=epochs, seed=0, precision=precision)
    if task == "pretrain":
        _, trainer = run.pretrain(corpus, COURSE.block_size, model, **settings)
    else:
        _, trainer = run.finetune(files / "pretrain.params", data / "birth_places_train.tsv", corpus, COURSE.block_size, model,
                                  **settings)
    run.train(model, files / f"{task}.params", trainer)
    return steps.ends


def work_plain(task, variant, data, files, precision, epochs):
    """The same the plain way."""
    import torch
    from dataset import parse_questions
    from plain import PlainGPT, plain_answer, plain_documents, plain_epoch, plain_names, plain_optimizer, vocabulary
    from recipe import COURSE
    torch.manual_seed(0)
    text = (data / "wiki.txt").read_text(encoding="utf-8")
    stoi = vocabulary(text)
    model = PlainGPT(len(stoi), COURSE.block_size, COURSE.n_layer, COURSE.n_head, COURSE.n_embd, COURSE.dropout,
                     synthesizer=variant == "synthesizer")
    if task == "evaluate":
        model.load_state_dict(torch.load(files / "finetune.params", weights_only=True))
        itos = {i: char for char, i in stoi.items()}
        questions = parse_questions((data / "birth_dev.tsv").read_text(encoding="utf-8"))
        start = time.time()
        answers = [plain_answer(model, "".join(char for char in question.text if char in stoi), stoi, itos) for question in questions]
        end = time.time()
        (files / "plain.predictions").write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
        return [start, end]
    documents = plain_documents(text, COURSE.block_size)
    settings = COURSE.pretrain if task == "pretrain" else COURSE.finetune
    items = documents if task == "pretrain" else plain_names(
        text, (data / "birth_places_train.tsv").read_text(encoding="utf-8"), COURSE.block_size)
    if task == "finetune":
        model.load_state_dict(torch.load(files / "pretrain.params", weights_only=True))
    optimizer = plain_optimizer(model, settings.learning_rate)
    ends, tokens = [], 0
    for _ in range(epochs):
        for _, tokens in plain_epoch(model, optimizer, items, settings.batch_size, settings.learning_rate, settings.warmup_tokens,
                                     settings.final_tokens(documents, COURSE.block_size), tokens):
            ends.append(time.time())
    torch.save(model.state_dict(), files / "plain.params")
    return ends


def measure(way, task, variant, data, files, precision="float32", epochs=1):
    """
    Runs one measurement as a process. Returns seconds: `whole` (the process), `first` (from its start to the end of the first
    step), `unit` (a step, the mean of the last epoch, or of all but the first if there is one epoch; of an evaluation its work),
    and `memory`, the largest resident size of one process in bytes.
    """
    job = dict(way=way, task=task, variant=variant, data=str(data), files=str(files), precision=precision, epochs=epochs)
    start = time.time()
    process = subprocess.Popen([sys.executable, __file__, "--job", json.dumps(job)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"benchmark.py: error: the {way} {task} failed:\n{output}")
    whole = time.time() - start
    ends = json.loads(output.splitlines()[-1])
    # The fast way keeps memory that it once had; it takes it from the system in its first epochs, the hundreds after them need none.
    steps = len(ends) // epochs if epochs > 1 else len(ends) - 1
    return {"whole": whole, "first": ends[0] - start, "unit": (ends[-1] - ends[-1 - steps]) / steps,
            "memory": usage.ru_maxrss * BYTES_OF_MAXRSS}


# ---- the whole ------------------------------------------------------------------------------------------------------

def matrix_peak():
    """{precision: floating-point operations a second} of the product of two 2048-square matrices, the best of several."""
    import torch
    peaks = {}
    for name in ("float32", "bfloat16"):
        a, b = (torch.randn(2048, 2048).to(getattr(torch, name)) for _ in range(2))
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        peaks[name] = 2 * 2048 ** 3 / min(seconds)
    return peaks


def sizes(data, variant):
    """What a step is made of: {task: (steps an epoch, tokens a step that are not padding)}, and the weights in matrices."""
    import torch
    from torch.utils.data import DataLoader
    from dataset import NameDataset, read_text
    from model import GPT, GPTConfig
    from packing import row_lengths
    from recipe import COURSE
    from run import read_corpus
    corpus = read_corpus(data / "wiki.txt", COURSE.block_size)
    names = NameDataset(corpus, read_text(data / "birth_places_train.tsv"))
    made = {}
    for task, items, batch in (("pretrain", corpus.at_epoch(0, 0), COURSE.pretrain.batch_size),
                               ("finetune", names, COURSE.finetune.batch_size)):
        tokens = [int(row_lengths(y).sum()) for _, y in DataLoader(items, batch_size=batch)]
        made[task] = len(tokens), sum(tokens) / len(tokens)
    with torch.device("meta"):
        model = GPT(GPTConfig(corpus.vocab_size, COURSE.block_size, **COURSE.model_settings(), **{variant: True}))
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    return made, weights


# Operations by what they are for, as torch's profiler names them.
KINDS = {
    "products of matrices": ("mm", "addmm", "bmm", "baddbmm"),
    "GELU, softmax, layer norm and loss": ("gelu", "gelu_backward", "_softmax", "_softmax_backward_data", "native_layer_norm",
                                            "native_layer_norm_backward", "_log_softmax", "_log_softmax_backward_data",
                                            "nll_loss_forward", "nll_loss_backward"),
    "changes of type and of layout": ("copy_", "cat", "index_select", "index_fill_"),
    "sums, products and dropout element by element": ("add", "add_", "mul", "mul_", "clamp_", "sub_", "sum", "masked_fill_"),
}


def profile_step(data, variant, precision):
    """{kind of operation: share of the time} of a pretraining step's forward and backward pass on one core."""
    import run
    import torch
    from gradients import BatchGradient
    from hardware import choose_precision
    from model import GPT, GPTConfig
    from recipe import COURSE
    from torch.utils.data import DataLoader
    corpus = run.read_corpus(data / "wiki.txt", COURSE.block_size)
    model = GPT(GPTConfig(corpus.vocab_size, COURSE.block_size, **COURSE.model_settings(), **{variant: True})).train()
    cores, cpu = torch.get_num_threads(), torch.device("cpu")
    torch.set_num_threads(1)
    (x, y), *_ = DataLoader(corpus.at_epoch(0, 0), batch_size=COURSE.pretrain.batch_size)
    with BatchGradient(model, cpu, choose_precision(precision, cpu)) as gradient:
        for step in range(2):
            gradient(x, y, 0, 0, step)
        start = time.perf_counter()
        with torch.profiler.profile() as profiler:
            for step in range(3):
                gradient(x, y, 0, 0, step)
            total = (time.perf_counter() - start) * 1e6
    torch.set_num_threads(cores)
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profiler.key_averages()}
    return {kind: sum(spent.get(name, 0) for name in names) / total for kind, names in KINDS.items()}


def ways(task):
    """The ways in which a task is measured: [(name, way, precision)]. Evaluation is in float32 alone."""
    import torch
    from hardware import multiplies_bfloat16
    fast = ["float32"] if task == "evaluate" else ["bfloat16"] * multiplies_bfloat16(torch.device("cpu")) + ["float32"]
    return [("plain", "plain", "float32")] + [(precision, "fast", precision) for precision in fast]


def run_all(data, variants, tasks, rounds):
    """The record of all measurements, rounds after each other, and within a round each way in turn."""
    import torch
    from machine import commit, hardware, versions
    record = {"hardware": hardware(), "commit": commit(), "date": time.strftime("%Y-%m-%d"), "threads": torch.get_num_threads(),
              "versions": versions(),
              "data": data.name if data != ROOT else "bundled", "matrix_peak": [], "rows": []}
    for variant in variants:
        made, weights = sizes(data, variant)
        with tempfile.TemporaryDirectory() as folder:
            files, measured = Path(folder), {}
            for _ in range(rounds):
                record["matrix_peak"].append(matrix_peak())
                # The fast way first where both would write what the next task reads; plain starts from the same parameters.
                for task in TASKS[:max(TASKS.index(task) for task in tasks) + 1]:
                    for name, way, precision in reversed(ways(task)):
                        if task in tasks or name == ways(task)[-1][0]:
                            epochs = 1 if way == "plain" or task == "evaluate" else 3
                            result = measure(way, task, variant, data, files, precision, epochs)
                            measured.setdefault((task, name), []).append(result)
                            print(f"{variant} {task} {name}: {result['unit']:.3f} s, whole {result['whole']:.1f} s", file=sys.stderr,
                                  flush=True)
                if "evaluate" in tasks:
                    answers = [(files / f"{way}.predictions").read_text(encoding="utf-8").splitlines() for way in ("plain", "fast")]
                    record["questions"] = len(answers[0])
                    different = sum(a != b for a, b in zip(*answers, strict=True))
                    record.setdefault("different_answers", {}).setdefault(variant, 0)
                    record["different_answers"][variant] += different
        for (task, name), results in measured.items():
            if task in tasks:
                steps, tokens = made.get(task, (1, None))
                record["rows"].append({"variant": variant, "task": task, "way": name, "rounds": results, "steps": steps,
                                       "tokens": tokens, "weights": weights, "commit": record["commit"]})
                if task == "pretrain" and name != "plain":
                    record["rows"][-1]["profile"] = profile_step(data, variant, name)
    return record


def with_earlier(record, path):
    """The record with those rows of an earlier one, from the same machine, libraries and data, that were not measured now."""
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if all(earlier[key] == record[key] for key in ("hardware", "versions", "data", "threads")):
            new = {(row["variant"], row["task"]) for row in record["rows"]}
            record["rows"] += [row for row in earlier["rows"] if (row["variant"], row["task"]) not in new]
            record["matrix_peak"] += earlier["matrix_peak"]
            for key in ("questions", "different_answers"):
                if key in earlier:
                    record.setdefault(key, earlier[key])
    return record


def seconds_of(row):
    """The seconds of an epoch, or of an evaluation, in each round."""
    return [result["unit"] * row["steps"] for result in row["rounds"]]


def ratio_of(record, row):
    """How many times faster a row is than the plain way in the same round, the median."""
    plain, = (other for other in record["rows"] if (other["variant"], other["task"], other["way"]) ==
              (row["variant"], row["task"], "plain"))
    return statistics.median(slow / fast for slow, fast in zip(seconds_of(plain), seconds_of(row)))


def share_of_peak(record, row):
    """What a training's products of weights and tokens are of those that the processor could do in the time."""
    peak = max(peaks["float32" if row["way"] == "plain" else row["way"]] for peaks in record["matrix_peak"])
    return 6 * row["weights"] * row["tokens"] * row["steps"] / statistics.median(seconds_of(row)) / peak


def limit(record, row):
    """How many times faster than plain it would be if it did these products at the peak and nothing else."""
    return ratio_of(record, row) / share_of_peak(record, row)


def table(record):
    """The record as a Markdown table."""
    unit = {"pretrain": "a pretraining epoch", "finetune": "a finetuning epoch",
            "evaluate": f"evaluating {record.get('questions')} names"}
    lines = ["| | s | ratio | tokens/s | of the peak | whole command, s | first step after, s | memory, MB |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in record["rows"]:
        seconds = seconds_of(row)
        middle = statistics.median(seconds)
        spread = f" ({min(seconds):.3g}–{max(seconds):.3g})" if len(seconds) > 1 else ""
        rate = share = "–"
        if row["tokens"]:
            rate, share = f"{row['tokens'] * row['steps'] / middle:,.0f}", f"{share_of_peak(record, row):.0%}"
        whole, first, memory = (statistics.median(result[key] for result in row["rounds"]) for key in ("whole", "first", "memory"))
        first = "–" if row["task"] == "evaluate" else f"{first:.1f}"
        way = "plain" if row["way"] == "plain" else f"fast, {row['way']}"
        lines.append(f"| {row['variant']}, {unit[row['task']]}, {way} | {middle:.3g}{spread} | {ratio_of(record, row):.1f}× | {rate} | "
                     f"{share} | {whole:.1f} | {first} | {memory / 2 ** 20:,.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Measure plain against fast, in turn, and write results/benchmark.json.")
    parser.add_argument("--data", type=Path, default=ROOT, help="folder of the four data files; default the bundled ones")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured; default 2")
    parser.add_argument("--variants", nargs="+", default=["vanilla", "synthesizer"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark.json")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job = json.loads(args.job)
        way = {"fast": work_fast, "plain": work_plain}[job.pop("way")]
        print(json.dumps(way(**{**job, "data": Path(job["data"]), "files": Path(job["files"])})))
        return
    record = with_earlier(run_all(args.data.resolve(), args.variants, args.tasks, args.rounds), args.out)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))


if __name__ == "__main__":
    main()
