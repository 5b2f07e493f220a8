"""
What the notebooks of this folder share: the way to src/, a Trainer that can be watched, and a look at attention weights.

Model, trainer and datasets are those of src/, which `import demo` puts on the path.
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

import run  # before torch: it keeps waiting threads from taking a core that something else needs
import matplotlib.pyplot as plt
import torch
from IPython import get_ipython

from trainer import Trainer, TrainerConfig

if get_ipython() is not None:
    sys.stderr = sys.stdout  # progress goes there, and a notebook would show it like an error

SMALL = os.environ.get("NOTEBOOK_SIZE") == "small"  # for tests: less training, and no claim about how well it went

plt.rcParams.update({"figure.figsize": (6.4, 3.2), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3, "image.cmap": "magma"})


class WatchedTrainer(Trainer):
    """A Trainer that calls watch(epoch), with the number of epochs done, after each epoch that it keeps the parameters of."""

    def __init__(self, *arguments, watch):
        super().__init__(*arguments)
        self.watch = watch

    def save_checkpoint(self):
        super().save_checkpoint()
        self.watch(self.epoch + 1)


def one_cosine(epochs, batch_size, peak, positions, **settings):
    """
    A TrainerConfig with seed 0 whose learning rate rises to its peak over a twentieth of the training and then falls along a cosine to
    a tenth of it. (The very first step takes the peak, as always in the Trainer.)
    positions: target positions in an epoch, those that do not count included. settings: further ones of TrainerConfig.
    """
    return TrainerConfig(max_epochs=epochs, batch_size=batch_size, learning_rate=peak, lr_decay=True, precision="auto", seed=0,
                         warmup_tokens=epochs * positions // 20, final_tokens=epochs * positions, **settings)


def device_of(model):
    return next(model.parameters()).device


@torch.no_grad()
def attention_weights(model, ids):
    """
    The weights by which each position of the row `ids` (T) attends to those before it: (layers, heads, T, T), each row of which
    sums to one. They are what attn_drop gets, without dropout. Leaves the model in evaluation mode.
    """
    model.eval()
    seen = []
    hooks = [block.attn.attn_drop.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0])) for block in model.blocks]
    try:
        model(torch.as_tensor(ids, device=device_of(model))[None])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen).cpu()


def losses(trainer):
    """Steps and mean losses in nats of a Trainer's log, a point for every ten steps."""
    return [record["step"] for record in trainer.log.records], [record["loss"] for record in trainer.log.records]


def show_attention(axis, weights, rows, columns=None, largest=1):
    """
    Draws weights (rows, columns), from 0 to `largest`, on a matplotlib axis. rows, columns: names of the positions; columns as rows if
    None. Returns the image, for a colour bar.
    """
    columns = rows if columns is None else columns
    image = axis.imshow(torch.as_tensor(weights).numpy(), vmin=0, vmax=largest, aspect="auto")
    axis.set_xticks(range(len(columns)), columns, fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
    axis.grid(False)
    return image


def quick_run():
    """
    The folder of a `run_all.sh --quick` of seed 0 that has vanilla's parameters, with and without pretraining, and its corpus; makes it
    if it is not there, in some minutes. For tests (SMALL) a few epochs of the same in a folder of its own.
    """
    if SMALL:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        subprocess.run([sys.executable, ROOT / "tools" / "make_corpus.py", "--size", "quick", "--out", folder / "corpus"], check=True)
        wiki, examples = folder / "corpus" / "wiki.txt", folder / "corpus" / "birth_places_train.tsv"
        pretrained = folder / "vanilla.pretrain.params"
        for how in (["pretrain", "vanilla", wiki, "--writing_params_path", pretrained],
                    ["finetune", "vanilla", wiki, "--finetune_corpus_path", examples, "--writing_params_path", folder / "vanilla.model.params"],
                    ["finetune", "vanilla", wiki, "--finetune_corpus_path", examples, "--writing_params_path",
                     folder / "vanilla.finetune.params", "--reading_params_path", pretrained]):
            subprocess.run([sys.executable, ROOT / "src" / "run.py", *how, "--recipe", "quick", "--max_epochs", "2"], check=True)
        return folder
    folder = ROOT / "out" / "quick-seed0"
    if not (folder / "stages" / "vanilla.pretrain.dev.seconds").exists():
        command = ["bash", ROOT / "run_all.sh", "--quick", "--variant", "vanilla"]
        subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=True)
    return folder
