"""
What the notebooks of this folder share: a Trainer with a callback, attention weights, and the
quick run. Model, trainer and datasets are those of src/; `import demo` puts src/ on the path.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import runs.startup  # noqa: E402, F401, I001, before torch is loaded

import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from IPython import get_ipython  # noqa: E402

from runs.inputs import InputError, read_text  # noqa: E402
from trainer import Trainer, TrainerConfig  # noqa: E402

if get_ipython() is not None:
    sys.stderr = sys.stdout  # the progress lines, which a notebook would show as errors

# For tests: a short training, and no assertion about how good it is.
SMALL = os.environ.get("NOTEBOOK_SIZE") == "small"

plt.rcParams.update(
    {
        "figure.figsize": (6.4, 3.2),
        "figure.dpi": 80,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "image.cmap": "magma",
    }
)


class WatchedTrainer(Trainer):
    """A Trainer without a test dataset that calls watch(epoch) after each epoch, from 1."""

    def __init__(self, *arguments, watch):
        super().__init__(*arguments)
        self.watch = watch

    def save_checkpoint(self):
        super().save_checkpoint()
        self.watch(self.epoch + 1)


def one_cosine(
    epochs: int, batch_size: int, peak: float, positions: int, **settings
) -> TrainerConfig:
    """
    A TrainerConfig with seed 0. The learning rate warms up to its peak over the first twentieth
    of the training and then falls along a cosine to a tenth of it. As always with the Trainer,
    the very first step takes the peak.

    positions: target positions of an epoch, those with target 0 included. settings: further ones
    of TrainerConfig.
    """
    return TrainerConfig(
        max_epochs=epochs,
        batch_size=batch_size,
        learning_rate=peak,
        lr_decay=True,
        warmup_tokens=epochs * positions // 20,
        final_tokens=epochs * positions,
        precision="auto",
        seed=0,
        **settings,
    )


def read_in_two(path: str | Path, least: int) -> tuple[str, str]:
    """
    The text of a file without its last tenth, and the last tenth: of the lines, or, where there
    are few, of the characters. Raises InputError for a text that is not UTF-8 or has fewer than
    `least` characters.
    """
    text = read_text(str(path))
    if len(text) < least:
        raise InputError(f"{path}: {len(text)} characters; a text of at least {least} is needed")
    lines = text.splitlines(keepends=True)
    cut = sum(map(len, lines[: len(lines) * 9 // 10]))
    if not 0.8 < cut / len(text) < 0.95:
        cut = len(text) * 9 // 10
    return text[:cut], text[cut:]


def device_of(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


@torch.no_grad()
def attention_weights(model: torch.nn.Module, ids) -> torch.Tensor:
    """
    The attention weights of every layer and head for one row of ids (T): (layers, heads, T, T).
    Row t holds the weights of position t on all positions and sums to 1. They are the input of
    each attention's attn_drop, so without dropout. Leaves the model in evaluation mode.
    """
    model.eval()
    weights = []
    hooks = [
        block.attn.attn_drop.register_forward_pre_hook(
            lambda module, inputs: weights.append(inputs[0][0])
        )
        for block in model.blocks
    ]
    try:
        model(torch.as_tensor(ids, device=device_of(model))[None])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(weights).cpu()


def losses(trainer: Trainer) -> tuple[list[int], list[float]]:
    """Steps and training losses in nats from a Trainer's log: one mean for every ten steps."""
    records = [record for record in trainer.log.records if "loss" in record]
    return [record["step"] for record in records], [record["loss"] for record in records]


def show_attention(axis, weights, rows, columns=None, largest=1):
    """
    Draws attention weights (rows, columns), from 0 to `largest`, on a matplotlib axis. rows,
    columns: labels of the positions; the columns have the rows' labels by default. Returns the
    image, for a colour bar.
    """
    columns = rows if columns is None else columns
    image = axis.imshow(torch.as_tensor(weights).numpy(), vmin=0, vmax=largest, aspect="auto")
    axis.set_xticks(range(len(columns)), columns, fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
    axis.grid(False)
    return image


def quick_run() -> Path:
    """
    The output folder of `run_all.sh --quick` with seed 0: the corpus, and the vanilla model's
    parameters with and without pretraining. Runs it for some minutes if the folder lacks them.
    With SMALL, it trains two epochs in a temporary folder instead.
    """
    if SMALL:
        return small_run()
    folder = ROOT / "out" / "quick-seed0"
    if not (folder / "stages" / "vanilla.pretrain.dev.seconds").exists():
        command = ["bash", ROOT / "run_all.sh", "--quick", "--variant", "vanilla"]
        subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=True)
    return folder


def small_run() -> Path:
    """A folder like quick_run()'s, after two epochs; it is removed at exit."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    corpus = folder / "corpus"

    def python(script, *arguments):
        subprocess.run([sys.executable, ROOT / script, *arguments], check=True)

    def train(function, name, *arguments):
        python(
            "src/run.py", function, "vanilla", corpus / "wiki.txt", "--recipe", "quick",
            "--max_epochs", "2", "--writing_params_path", folder / name, *arguments,
        )  # fmt: skip

    python("tools/corpus/make_corpus.py", "--size", "quick", "--out", corpus)
    examples = ("--finetune_corpus_path", corpus / "birth_places_train.tsv")
    train("pretrain", "vanilla.pretrain.params")
    train("finetune", "vanilla.model.params", *examples)
    train(
        "finetune", "vanilla.finetune.params", *examples,
        "--reading_params_path", folder / "vanilla.pretrain.params",
    )  # fmt: skip
    return folder
