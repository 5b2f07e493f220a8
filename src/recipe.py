"""
The sizes and hyperparameters of an experiment. COURSE is the assignment's recipe, COURSE2024 the
campus course's since 2024; QUICK is the small one of `run_all.sh --quick`; RECALL is ours, which
recalls more with the course's model and files.
"""

from collections.abc import Sized
from dataclasses import dataclass, replace

from attention import VARIANTS
from dataset import CharCorruptionDataset
from salient_spans import SalientSpanDataset


@dataclass(frozen=True)
class Training:
    """One training: its length, its batches and the schedule of its learning rate."""

    max_epochs: int
    batch_size: int  # rows
    learning_rate: float  # the peak
    warmup_tokens: int  # target positions, PAD included, until the peak
    decay_epochs: int  # passes over the *pretraining* corpus from there to the cosine's bottom
    optimizer: str = "adamw"

    def final_tokens(self, pretrain_dataset: Sized, block_size: int) -> int:
        """Target positions until the cosine's bottom: for the course's wiki.txt 200·2938·128."""
        return self.decay_epochs * len(pretrain_dataset) * block_size


@dataclass(frozen=True)
class Recipe:
    """Sizes of the model, its dropout probability, and the three trainings."""

    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    pretrain: Training
    finetune: Training
    finetune_without_pretraining: Training
    dataset: type[CharCorruptionDataset] = CharCorruptionDataset  # of pretraining
    edition: int = 2021  # run_all.sh runs the variants that the course had in that year

    def variants(self) -> list[str]:
        """The attention variants of its edition, and those that are of none."""
        year = self.edition
        return [name for name, one in VARIANTS.items() if year in getattr(one, "editions", [year])]

    def model_settings(self) -> dict[str, int | float]:
        """The keywords of GPTConfig."""
        sizes = {"n_layer": self.n_layer, "n_head": self.n_head, "n_embd": self.n_embd}
        return sizes | dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), self.dropout)


# The handout's. 512·20 target positions of warm-up are less than one batch (128·127), so there is
# hardly any. In pretraining 650 epochs go 3.2 times the way to the bottom of the cosine: the rate
# falls, rises and falls again. In finetuning, counted by the same corpus, 10 epochs of 2,000·127
# positions are 3% of the way to the bottom, 75 epochs 25%.
COURSE = Recipe(
    block_size=128,
    n_layer=4,
    n_head=8,
    n_embd=256,
    dropout=0.1,
    pretrain=Training(
        max_epochs=650,
        batch_size=128,
        learning_rate=6e-3,
        warmup_tokens=512 * 20,
        decay_epochs=200,
    ),
    finetune=Training(
        max_epochs=10, batch_size=256, learning_rate=6e-4, warmup_tokens=512 * 20, decay_epochs=200
    ),
    finetune_without_pretraining=Training(
        max_epochs=75, batch_size=256, learning_rate=6e-4, warmup_tokens=512 * 20, decay_epochs=200
    ),
)

# Since 2024 pretraining goes the cosine down once, without a second rise.
COURSE2024 = replace(COURSE, pretrain=replace(COURSE.pretrain, decay_epochs=650), edition=2024)

# For 320 people with one short sentence each (tools/corpus/make_corpus.py --size quick), found by
# experiment. 250 epochs of 21 batches are 5,250 steps: the facts are learned between step 2,000
# and the end, and small batches buy steps cheaply. Dropout, which helps over the course's 15,000
# steps, delays that beyond a laptop's patience. Pretraining goes the cosine down once. The low
# rate in finetuning links the question to what is known before the 150 answers themselves are
# learned by heart.
QUICK = Recipe(
    block_size=128,
    n_layer=2,
    n_head=4,
    n_embd=128,
    dropout=0.0,
    pretrain=Training(
        max_epochs=250, batch_size=16, learning_rate=2e-3, warmup_tokens=512 * 20, decay_epochs=250
    ),
    finetune=Training(
        max_epochs=10, batch_size=16, learning_rate=1e-4, warmup_tokens=512 * 20, decay_epochs=10
    ),
    finetune_without_pretraining=Training(
        max_epochs=75, batch_size=16, learning_rate=6e-4, warmup_tokens=512 * 20, decay_epochs=75
    ),
)

# It answers what the course's model has read and cannot say (docs/recall.md). Pretraining asks for
# what a document says by the person's name, Muon learns rare facts sooner than AdamW, there is no
# dropout, and finetuning is short and gentle, so that little is forgotten.
RECALL = replace(
    COURSE,
    dropout=0.0,
    dataset=SalientSpanDataset,
    pretrain=Training(
        max_epochs=100,
        batch_size=64,
        learning_rate=2e-3,
        warmup_tokens=512 * 20,
        decay_epochs=100,
        optimizer="muon",
    ),
    # 512 tokens are less than a batch: no warm-up. 4 epochs of 2,000·127 positions are nine tenths
    # of 3·2,938·128, so the rate falls once.
    finetune=Training(
        max_epochs=4, batch_size=64, learning_rate=5e-5, warmup_tokens=512, decay_epochs=3
    ),
)

RECIPES = {"course": COURSE, "course2024": COURSE2024, "quick": QUICK, "recall": RECALL}
