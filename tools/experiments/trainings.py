"""What experiments that train several models share: trainings from Python, and records."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "tools/corpus", "tools/report")]
import run  # noqa: E402, first, because it prepares the loading of torch
from arguments import whole_number  # noqa: E402
from fetch_data import SHA256  # noqa: E402
from machine import description  # noqa: E402
from model import GPT, GPTConfig  # noqa: E402
from reading import read_corpus  # noqa: E402
from record import name_of_data  # noqa: E402
from runs.checkpoint import digest, read_bytes, read_meta, save_params  # noqa: E402
from runs.files import check_output, write_lines  # noqa: E402
from runs.inputs import read_text  # noqa: E402
from utils import set_seed  # noqa: E402


def new_model(recipe, variant, dataset, seed, bottleneck_dim=None):
    set_seed(seed)
    sizes = dataset.vocab_size, recipe.block_size
    settings = {**recipe.model_settings(), variant: True, "bottleneck_dim": bottleneck_dim}
    return GPT(GPTConfig(*sizes, **settings))


def pretrain(recipe, variant, data, seed, params, **settings):
    """
    Writes the parameters of a pretrained model. Returns the seconds that it took, rounded.

    data: the folder of the data files; settings: of TrainerConfig.
    """
    start = time.perf_counter()
    dataset = read_corpus(data / "wiki.txt", recipe.block_size, recipe.dataset)
    model, settings = new_model(recipe, variant, dataset, seed), {"seed": seed, **settings}
    _, trainer = run.pretrain(dataset, recipe.block_size, model, recipe=recipe, **settings)
    trainer.train()
    save_params(model, params)
    return round(time.perf_counter() - start)


def right_answers(recipe, variant, data, seed, params, **settings):
    """(right, asked) of the dev questions after finetuning from these parameters."""
    dataset = read_corpus(data / "wiki.txt", recipe.block_size)
    sizes = read_meta(params, digest(read_bytes(params))).get("sizes", {})
    model = new_model(recipe, variant, dataset, seed, sizes.get("bottleneck_dim"))
    settings = {"seed": seed, **settings}
    paths = params, data / "birth_places_train.tsv"
    _, trainer = run.finetune(*paths, dataset, recipe.block_size, model, recipe=recipe, **settings)
    trainer.train()
    with tempfile.TemporaryDirectory() as folder:
        predictions = Path(folder) / "predictions"
        total, correct = run.evaluate(model, dataset, data / "birth_dev.tsv", predictions)
    return int(correct), int(total)


def name_of(data):
    """The name of a folder's data: course, bundled, or the folder's."""
    return name_of_data(data, {file: read_text(data / file) for file in SHA256})[0]


def new_parser(description, seeds, json_name):
    """With --seeds, a range by default, and --json, the file of the Records."""
    parser = argparse.ArgumentParser(description=description)
    of_seed = {"type": whole_number(0, 2**32 - 1), "default": list(seeds)}
    parser.add_argument(
        "--seeds", **of_seed, nargs="+", help=f"default: {seeds[0]} to {seeds[-1]}"
    )
    path = ROOT / "results" / json_name
    parser.add_argument("--json", type=Path, default=path, help=f"default: results/{json_name}")
    return parser


def read_records(path):
    """The JSON list in a file; empty if there is none yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def replace_record(path, record, names):
    """Puts a record into the list of a file, in place of those that agree with it in `names`."""
    others = [one for one in read_records(path) if any(one.get(n) != record[n] for n in names)]
    write_lines(path, ["[", ",\n".join(map(json.dumps, [*others, record])), "]"])


class Records:
    """The records in a file, one for each training, with the machine and the commit."""

    def __init__(self, path):
        check_output(path)
        self.path, self.facts = path, description()
        read_records(path)  # if it is damaged, say so now

    def has(self, key):
        """Whether one of them has all these items; it says so."""
        found = any(key.items() <= one.items() for one in read_records(self.path))
        if found:
            print(f"{', '.join(map(str, key.values()))}: measured before")
        return found

    def add(self, key, correct, total, **facts):
        """Writes another one and says the result."""
        print(f"{', '.join(map(str, key.values()))}: {correct} of {total}", flush=True)
        record = {**self.facts, **key, "correct": correct, "total": total, **facts}
        replace_record(self.path, record, key)
