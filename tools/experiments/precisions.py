"""
Measures whether bfloat16 matmuls cost accuracy: it pretrains, finetunes and evaluates with several
seeds in float32 and in bfloat16, by the quick recipe on the quick corpus.

    python tools/experiments/precisions.py [--variants vanilla synthesizer] [--seeds 0 1 ... 9]

The numbers of right dev answers go to results/precisions.json after each training. What is there
already is not measured again.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from trainings import (  # puts src/ on the path
    ROOT,
    Records,
    add_json,
    add_seeds,
    name_of,
    pretrain,
    right_answers,
)

# isort: split
from attention import VARIANTS
from recipe import QUICK
from runs.console import command
from runs.device import PRECISIONS


def carry_out(args):
    records = Records(args.json)
    with tempfile.TemporaryDirectory() as folder:
        data, params = Path(folder) / "quick", Path(folder) / "pretrained.params"
        words = [sys.executable, ROOT / "tools/corpus/make_corpus.py", "--size", "quick"]
        subprocess.run([*words, "--out", data], check=True, stdout=subprocess.DEVNULL)
        facts = {"data": name_of(data)}
        for seed, variant, precision in product(args.seeds, args.variants, PRECISIONS):
            key = {**facts, "variant": variant, "precision": precision, "seed": seed}
            if not records.has(key):
                training = QUICK, variant, data, seed, params
                seconds = pretrain(*training, precision=precision)
                records.add(key, *right_answers(*training, precision=precision), seconds)


def main():
    parser = argparse.ArgumentParser(description="Train in float32 and in bfloat16.")
    variants = ["vanilla", "synthesizer"]
    parser.add_argument("--variants", nargs="+", default=variants, choices=list(VARIANTS))
    add_seeds(parser, 10)
    add_json(parser, "precisions.json")
    with command("precisions.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
