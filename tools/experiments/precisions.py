"""
Measures whether bfloat16 matmuls cost accuracy: it pretrains, finetunes and evaluates with several
seeds in float32 and in bfloat16, by the quick recipe on the quick corpus.

    python tools/experiments/precisions.py [--variants NAME ...] [--seeds 0 1 ... 9]

The numbers of right dev answers go to results/precisions.json after each training. What is there
already is not measured again.
"""

import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

# Puts src/ on the path.
from trainings import ROOT, Records, name_of, new_parser, pretrain, right_answers

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
                right = right_answers(*training, precision=precision)
                records.add(key, *right, seconds=seconds)


def main():
    words = "Train in float32 and in bfloat16."
    parser = new_parser(words, seeds=range(10), json_name="precisions.json")
    parser.add_argument("--variants", nargs="+", default=QUICK.variants(), choices=list(VARIANTS))
    with command("precisions.py"):
        carry_out(parser.parse_args())


if __name__ == "__main__":
    main()
