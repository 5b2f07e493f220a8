"""The recipes: the course's numbers, and how many tokens a schedule counts."""

from torch import nn

from attention import VARIANTS
from dataset import CharCorruptionDataset
from recipe import COURSE, COURSE2024, QUICK, RECIPES
from salient_spans import SalientSpanDataset

RATES = ("embd_pdrop", "resid_pdrop", "attn_pdrop")


def test_the_courses_model():
    assert COURSE.block_size == 128
    assert COURSE.model_settings() == {
        "n_layer": 4,
        "n_head": 8,
        "n_embd": 256,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
    }


def test_the_courses_trainings():
    """Epochs, rows, peak rate; all warm up over 512·20 tokens and decay over 200 passes."""
    found = {}
    for name in ("pretrain", "finetune", "finetune_without_pretraining"):
        training = getattr(COURSE, name)
        assert (training.warmup_tokens, training.decay_epochs) == (10_240, 200)
        found[name] = (training.max_epochs, training.batch_size, training.learning_rate)
    assert found == {
        "pretrain": (650, 128, 6e-3),
        "finetune": (10, 256, 6e-4),
        "finetune_without_pretraining": (75, 256, 6e-4),
    }


def test_final_tokens_count_the_documents_of_the_pretraining_corpus():
    """75,212,800 for the course's 2,938 documents."""
    assert COURSE.pretrain.final_tokens(range(2938), 128) == 75_212_800
    assert COURSE.finetune.final_tokens(range(2938), 128) == 75_212_800
    assert COURSE.pretrain.final_tokens(range(100), 64) == 200 * 100 * 64


def test_the_recipes_by_name():
    assert RECIPES["course"] is COURSE and RECIPES["quick"] is QUICK
    assert next(iter(RECIPES)) == "course"  # which an error names for parameters of its sizes
    editions = {name: one.edition for name, one in RECIPES.items()}
    assert editions == {"course": 2021, "course2024": 2024, "quick": 2021, "recall": 2021}


def test_a_recipe_has_the_variants_of_its_edition_and_those_of_none(monkeypatch):
    of_none = {name for name, one in VARIANTS.items() if not hasattr(one, "editions")}
    assert {*COURSE.variants()} == {*QUICK.variants()} == {"vanilla", "synthesizer", *of_none}
    assert {*COURSE2024.variants()} == {"vanilla", "rope", *of_none}
    assert COURSE.variants()[:2] == ["vanilla", "synthesizer"]
    monkeypatch.setitem(VARIANTS, "new", nn.Module)
    assert all("new" in recipe.variants() for recipe in RECIPES.values())


def test_recall_is_the_courses_model_on_less_than_the_courses_compute():
    """Rows are as long at most, so steps and rows bound the compute."""
    recall = RECIPES["recall"]
    assert recall.model_settings() | {rate: 0.1 for rate in RATES} == COURSE.model_settings()
    assert recall.block_size == COURSE.block_size
    rows = recall.pretrain.max_epochs * 2938
    assert rows <= 650 * 2938 and recall.pretrain.optimizer == "muon"
    assert recall.dataset is SalientSpanDataset and COURSE.dataset is CharCorruptionDataset
