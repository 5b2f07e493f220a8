"""tests/baseline.py against tests/reference.py: model, data, training step, answers."""

import random

import pytest
import torch
from torch.testing import assert_close

import baseline
import reference
from conftest import BLOCK_SIZE, TINY_CORPUS, TINY_QUESTIONS
from reference import MASK, PAD
from small_models import default_dtype

V, BLOCK, LAYERS, HEADS, C = 12, 8, 3, 3, 6


def baseline_model(known_variant, block_size=BLOCK, vocab_size=V, std=0.5, dropout=0.0):
    """A BaselineGPT in float64, every parameter, biases and positions too, of a size to matter."""
    sizes = vocab_size, block_size, LAYERS, HEADS, C, dropout
    with default_dtype(torch.float64):
        model = baseline.BaselineGPT(*sizes, variant=known_variant, bottleneck_dim=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std)
    return model


def gradients(loss, parameters):
    return {
        name: grad
        for name, grad in zip(
            parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True
        )
    }


# ---- the model ------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 4, BLOCK - 1])
def test_logits_loss_and_gradients_are_the_references(known_variant, T):
    model = baseline_model(known_variant)
    idx, targets = torch.randint(V, (3, T)), torch.randint(1, V, (3, T))
    targets[0, T // 2 :] = 0
    targets[1, : T // 2] = 0
    assert model(idx)[1] is None
    logits, loss = model(idx, targets)
    parameters = dict(model.named_parameters())
    logits2 = reference.gpt_logits(parameters, idx, LAYERS, HEADS)
    loss2 = reference.loss(logits2, targets)
    assert_close(model(idx)[0], logits2, rtol=1e-10, atol=1e-10)
    assert_close(loss, loss2, rtol=1e-10, atol=1e-10)
    if T == BLOCK - 1:
        assert_close(
            gradients(loss, parameters), gradients(loss2, parameters), rtol=1e-9, atol=1e-11
        )


def test_it_begins_as_the_projects_model_does(known_variant):
    """The same names, and initial values from the same distributions."""
    from model import GPT, GPTConfig

    sizes = dict(n_layer=LAYERS, n_head=8, n_embd=64)
    ours = GPT(GPTConfig(200, 64, **sizes, **{known_variant: True})).state_dict()
    theirs = baseline.BaselineGPT(200, 64, LAYERS, 8, 64, variant=known_variant).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    for name in ours:
        one, other = ours[name].double(), theirs[name].double()
        assert (
            abs(one.std() - other.std()) <= 0.1 * one.std()
            and abs(one.mean() - other.mean()) < 2e-3
        ), name


def test_it_drops_at_its_rate_in_training_alone(known_variant):
    model, idx = baseline_model(known_variant, dropout=0.25), torch.randint(V, (20, BLOCK - 1))
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {
        0.25
    }
    assert (
        sum(isinstance(module, torch.nn.Dropout) for module in model.modules()) == 1 + 3 * LAYERS
    )
    seen = []
    first = model.blocks if model.down_block is None else model.down_block
    first.register_forward_pre_hook(
        lambda _, inputs: seen.append((inputs[0] == 0).double().mean().item())
    )
    model(idx)
    assert 0.15 < seen[0] < 0.35
    assert torch.equal(model.eval()(idx)[0], model(idx)[0]) and seen[1:] == [0, 0]


# ---- the data -------------------------------------------------------------------------------


def test_the_vocabulary():
    stoi = baseline.vocabulary("cab\nb")
    assert stoi == {PAD: 0, MASK: 1, "\n": 2, "a": 3, "b": 4, "c": 5}
    from dataset import CharCorruptionDataset

    assert baseline.vocabulary(TINY_CORPUS) == CharCorruptionDataset(TINY_CORPUS, BLOCK_SIZE).stoi


def text_of(ids, stoi):
    itos = {i: char for char, i in stoi.items()}
    return "".join(itos[i] for i in ids.tolist())


def test_documents_are_corrupted_as_the_reference_does_it():
    """reference.corrupt makes the same item from the lengths that are read off an item."""
    data = baseline.baseline_documents(TINY_CORPUS, BLOCK_SIZE)
    documents = TINY_CORPUS.split("\n")
    assert len(data) == len(documents) == 5
    lengths, shares, starts = set(), [], set()
    for _ in range(200):
        for index, document in enumerate(documents[:4]):
            x, y = data[index]
            assert x.dtype == y.dtype == torch.long and x.shape == y.shape == (BLOCK_SIZE - 1,)
            x, y = text_of(x, data.stoi), text_of(y, data.stoi)
            prefix, suffix, masked = (x[0] + y).rstrip(PAD).split(MASK)
            length = len(prefix + suffix + masked)
            assert (x, y) == reference.corrupt(
                document, length, len(masked), len(prefix), BLOCK_SIZE
            )
            lengths.add((index, length))
            shares.append(len(masked) / length)
            starts.add(len(prefix))
    most = int(BLOCK_SIZE * 7 / 8)
    assert {length for _, length in lengths} == {
        *range(4, min(most, max(map(len, documents))) + 1)
    }
    assert 0.22 < sum(shares) / len(shares) < 0.28 and len(starts) > 20
    assert text_of(data[4][0], data.stoi) == MASK * 2 + PAD * (
        BLOCK_SIZE - 3
    )  # the empty last document


def test_questions_are_the_references_examples():
    data = baseline.baseline_names(
        TINY_CORPUS, TINY_QUESTIONS + "\nWhere was Zoë Ng born?\tÅlesund\n", BLOCK_SIZE
    )
    pairs = [line.split("\t") for line in TINY_QUESTIONS.splitlines()] + [
        ["Where was Zoë Ng born?", "Ålesund"]
    ]
    assert len(data) == 4
    for (x, y), pair in zip((data[i] for i in range(4)), pairs, strict=True):
        assert (text_of(x, data.stoi), text_of(y, data.stoi)) == reference.name_example(
            *pair, BLOCK_SIZE
        )


# ---- training -------------------------------------------------------------------------------


@pytest.mark.parametrize("grown", [0.1, 30.0])  # the norm of all gradients is below 1, or above
def test_steps_are_the_references(known_variant, grown):
    """Loss, gradients, clipping, AdamW, learning rates and token counts over two epochs."""
    model = baseline_model(known_variant, std=0.8 if grown > 1 else 0.2)
    with torch.no_grad():
        model.head.weight.mul_(grown)
    rows = torch.randint(1, V, (5, BLOCK))
    rows[1, 4:] = 0
    data = torch.utils.data.TensorDataset(rows[:, :-1], rows[:, 1:])
    params = {name: p.detach().clone() for name, p in model.named_parameters()}
    fixed = {name: tensor for name, tensor in model.state_dict().items() if name not in params}
    optimizer = baseline.baseline_optimizer(model, learning_rate=0.01, weight_decay=0.2)

    steps, tokens = [], 0
    for _ in range(2):
        steps += baseline.baseline_epoch(
            model, optimizer, data, 2, 0.01, 20, 60, tokens, workers=0
        )
        tokens = steps[-1][1]
    assert [tokens for _, tokens in steps] == [14, 28, 35, 49, 63, 70]

    memory, norms = {}, []
    for step, rate in enumerate(reference.learning_rates_of_run(5, BLOCK - 1, 2, 2, 0.01, 20, 60)):
        batch = rows[step % 3 * 2 : step % 3 * 2 + 2]
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        loss = reference.loss(
            reference.gpt_logits({**leaves, **fixed}, batch[:, :-1], LAYERS, HEADS), batch[:, 1:]
        )
        assert steps[step][0] == pytest.approx(loss.item(), rel=1e-6)
        clipped, norm = reference.clip_gradients(gradients(loss, leaves))
        norms.append(norm)
        params = reference.adamw_step(params, clipped, memory, rate, weight_decay=0.2)
    assert all((norm > 1.0) == (grown > 1) for norm in norms), norms
    for name, parameter in model.named_parameters():
        # The gradient of a key's bias is 0 but for rounding, and AdamW magnifies that.
        assert_close(
            parameter.detach(),
            params[name],
            rtol=1e-8,
            atol=1e-7 if name.endswith("key.bias") else 1e-10,
            msg=name,
        )


# ---- answers --------------------------------------------------------------------------------


def test_answers_are_the_references(known_variant):
    """Of models that answer at random; some answers end with ⁇, some run to the limit."""
    stoi = baseline.vocabulary("abcdefgh")
    itos = {i: char for char, i in stoi.items()}
    found = set()
    for _ in range(8):
        model = baseline_model(known_variant, block_size=12, vocab_size=len(stoi), std=1.0)
        with torch.no_grad():
            if model.pos_emb is not None:
                model.pos_emb.mul_(4)
            model.head.weight[1].mul_(2)
        question = "".join(random.choices("abcdefgh", k=4))
        answer = baseline.baseline_answer(model, question, stoi, itos, max_new=6)
        assert answer == reference.greedy_answer(
            model.state_dict(), question, stoi, itos, LAYERS, HEADS, 12, max_new=6
        )
        found.add(answer)
    assert len(found) > 4 and len({len(answer) for answer in found}) > 1
