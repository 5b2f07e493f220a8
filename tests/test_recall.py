"""
The experiment itself, as small as it can be: a model that read where people were born is asked about people who were in no
question that it learned from. Run with: python -m pytest tests/test_recall.py
"""
import random

from dataset import MASK_CHAR, CharCorruptionDataset, NameDataset
from decoding import greedy_answers
from model import GPT, GPTConfig
from trainer import Trainer, TrainerConfig
from utils import set_seed

BLOCK_SIZE = 128
PLACES = ["Oslo", "Bern", "Lima", "Quito", "Cairo", "Turin", "Delhi", "Perth"]
SYLLABLES = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "su", "ta", "ve", "zo"]


def people(count):
    """{name: place}; names of random syllables say nothing about places, which are all equally frequent."""
    dice = random.Random(7)
    names = set()
    while len(names) < count:
        names.add(" ".join("".join(dice.choices(SYLLABLES, k=2)).capitalize() for _ in range(2)))
    names = sorted(names)
    dice.shuffle(names)
    return {name: PLACES[i % len(PLACES)] for i, name in enumerate(names)}


def train(model, dataset, epochs, rate):
    Trainer(model, dataset, None, TrainerConfig(
        max_epochs=epochs, batch_size=4, learning_rate=rate, lr_decay=True, warmup_tokens=2000,
        final_tokens=epochs * len(dataset) * BLOCK_SIZE, seed=0, device="cpu")).train()


def test_a_model_recalls_places_that_it_read_in_pretraining_only():
    """
    Guessing gets one in eight right. The end of each document is long and tells nothing: cut off from the start, as the
    assignment has it, name and place stay together; a window that starts anywhere parts them, and little is recalled.
    """
    place_of = people(40)
    asked, learned = list(place_of)[:20], list(place_of)[20:]
    # The heading has as many letters as "Where was ", so that names stand at the positions where the questions have them.
    wiki = "".join(f"Entry for {name}. Born in {place}, and after that came a long and quiet life of which no letter, book or "
                   "friend tells us more .\n" for name, place in place_of.items()) + "Where?"
    set_seed(0)
    pretrain_dataset = CharCorruptionDataset(wiki, BLOCK_SIZE)
    questions = "".join(f"Where was {name} born?\t{place_of[name]}\n" for name in learned)
    model = GPT(GPTConfig(pretrain_dataset.vocab_size, BLOCK_SIZE, n_layer=2, n_head=4, n_embd=64,
                          embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0))
    train(model, pretrain_dataset, epochs=500, rate=2e-3)
    train(model, NameDataset(pretrain_dataset, questions), epochs=10, rate=3e-4)

    stoi, itos = pretrain_dataset.stoi, pretrain_dataset.itos
    prompts = [[stoi[char] for char in f"Where was {name} born?{MASK_CHAR}"] for name in asked]
    answers = ["".join(itos[i] for i in ids) for ids in greedy_answers(model, prompts, stoi[MASK_CHAR], 32)]
    right = sum(answer == place_of[name] for answer, name in zip(answers, asked))
    assert right >= 8, f"{right} of {len(asked)}: {answers}"
