"""Helpers of the assignment: seeding, sampling from a model, scoring predicted birth places."""

import math
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from dataset import Question, parse_questions
from runs.checkpoint import unwrap
from runs.inputs import InputError, errors_name, read_text


def set_seed(seed: int) -> None:
    """Seeds Python's, numpy's and torch's random numbers, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def top_k_logits(logits: torch.Tensor, k: int) -> torch.Tensor:
    """
    Logits (B, V) with -inf in all but the k largest of each row; ties with the k-th stay, and a k
    above V keeps all. Raises ValueError for a k below 1.
    """
    if k < 1:
        raise ValueError(f"top_k is {k}; at least 1 is expected")
    kth_largest = torch.topk(logits, min(k, logits.size(-1))).values[:, [-1]]
    return logits.masked_fill(logits < kth_largest, float("-inf"))


@torch.no_grad()
def sample(
    model: nn.Module,
    x: torch.Tensor,
    steps: int,
    temperature: float = 1.0,
    sample: bool = False,
    top_k: int | None = None,
) -> torch.Tensor:
    """
    Continues the ids x (B, T) by `steps` ids, each the most probable one or, with sample=True,
    drawn at random.

    temperature divides the logits; 0 takes the most probable id. top_k keeps only that many ids to
    draw from. The model sees as many of the last ids as it has positions for. Returns a LongTensor
    (B, T + steps). Leaves the model in evaluation mode. Raises ValueError for a temperature out
    of range, and in drawing for a top_k below 1.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; a finite number, 0 or more, is expected")
    model = unwrap(model).eval()
    positions = getattr(model, "max_positions", model.get_block_size())
    for _ in range(steps):
        logits, _ = model(x[:, -positions:])
        logits = logits[:, -1, :]  # (B, V)
        if sample and temperature > 0:
            if top_k is not None:
                logits = top_k_logits(logits, top_k)
            # A tiny temperature makes large numbers; a Mac's GPU has no float64.
            logits = logits.cpu().double()
            logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
            next_id = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1).to(x.device)
        else:
            next_id = logits.argmax(dim=-1, keepdim=True)
        x = torch.cat((x, next_id), dim=1)
    return x


def evaluate_places(filepath: str, predicted_places: list[str]) -> tuple[float, float]:
    """
    Compares predicted places with those of a TSV file, in its order, character by character.

    Returns (total, correct) as floats; (0, 0) after a printed line if the file has no places.
    Raises InputError unless there are as many predictions as questions (blank lines not counted).
    """
    text = read_text(filepath)
    with errors_name(filepath):
        return score_places(parse_questions(text), predicted_places)


def score_places(questions: list[Question], predicted_places: list[str]) -> tuple[float, float]:
    """evaluate_places() of questions that have been read already."""
    if questions[0].place is None:
        print("No gold birth places provided; returning (0,0)")
        return (0, 0)
    if len(predicted_places) != len(questions):
        raise InputError(f"{len(questions)} questions, but {len(predicted_places)} predictions")
    correct = sum(
        place == question.place
        for place, question in zip(predicted_places, questions, strict=True)
    )
    return float(len(questions)), float(correct)
