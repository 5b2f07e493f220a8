"""The experiment at its smallest: a model recalls places that it has read in pretraining only."""

import random

import pytest

from dataset import MASK_CHAR, CharCorruptionDataset, NameDataset
from fast.decoding import generate
from model import GPT, GPTConfig
from trainer import Trainer, TrainerConfig
from utils import set_seed

BLOCK_SIZE = 128
PLACES = ["Oslo", "Bern", "Lima", "Quito", "Cairo", "Turin", "Delhi", "Perth"]
SYLLABLES = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "su", "ta", "ve", "zo"]


def people(count):
    """{name: place}. Names of random syllables tell nothing about the places."""
    dice = random.Random(7)
    names = set()
    while len(names) < count:
        words = ("".join(dice.choices(SYLLABLES, k=2)).capitalize() for _ in range(2))
        names.add(" ".join(words))
    names = sorted(names)
    dice.shuffle(names)
    return {name: PLACES[i % len(PLACES)] for i, name in enumerate(names)}


def train(model, dataset, epochs, rate):
    config = TrainerConfig(
        max_epochs=epochs,
        batch_size=4,
        learning_rate=rate,
        lr_decay=True,
        warmup_tokens=2000,
        final_tokens=epochs * len(dataset) * BLOCK_SIZE,
        seed=0,
        device="cpu",
    )
    Trainer(model, dataset, None, config).train()


@pytest.mark.slow
def test_a_model_recalls_places_that_it_read_in_pretraining_only():
    """
    A guess is right for one in eight. Documents have a long end: a window that starts anywhere,
    instead of a truncation from the start, would separate names and places.
    """
    place_of = people(40)
    asked, taught = list(place_of)[:20], list(place_of)[20:]
    # As long as "Where was ", so that names are where the questions have them.
    end = "and after that came a long and quiet life of which no letter, book or friend tells more"
    documents = [f"Entry for {name}. Born in {place_of[name]}, {end} ." for name in place_of]
    set_seed(0)
    corpus = CharCorruptionDataset("\n".join([*documents, "Where?"]), BLOCK_SIZE)
    questions = "".join(f"Where was {name} born?\t{place_of[name]}\n" for name in taught)
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 64}
    rates = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.0)
    model = GPT(GPTConfig(corpus.vocab_size, BLOCK_SIZE, **sizes, **rates))
    train(model, corpus, epochs=500, rate=2e-3)
    train(model, NameDataset(corpus, questions), epochs=10, rate=3e-4)

    stoi, itos = corpus.stoi, corpus.itos
    prompts = [[stoi[char] for char in f"Where was {name} born?{MASK_CHAR}"] for name in asked]
    answers = generate(model, prompts, stoi[MASK_CHAR], 32)
    places = ["".join(itos[i] for i in answer.ids) for answer in answers]
    right = sum(place == place_of[name] for place, name in zip(places, asked, strict=True))
    assert right >= 8, f"{right} of {len(asked)}: {places}"
