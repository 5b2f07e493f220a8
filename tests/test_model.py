"""python -m pytest tests/test_model.py

The whole GPT against the plain implementation, logits, loss and gradients; its parameters, their number, names and
initial values; and the settings that GPTConfig takes and refuses.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import reference
from attention import VARIANTS
from model import GPT, GPT1Config, GPTConfig

V, BLOCK, LAYERS, NH, C = 12, 8, 2, 3, 6  # of conftest's tiny_config
COURSE_SIZES = dict(n_layer=4, n_head=8, n_embd=256)


def shaken(model):
    """The model in float64, every parameter, biases and positions too, of a size to matter."""
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def ragged_targets(T):
    """Rows whose targets end in PAD, begin with PAD, are whole, have one target, and have none."""
    targets = torch.randint(1, V, (5, T))
    targets[0, T // 2:] = 0
    targets[1, :T // 2] = 0
    targets[3, :-1] = 0
    targets[4] = 0
    return targets


# ---- agreement with the reference -----------------------------------------------------------------------------------

@pytest.mark.parametrize("T", [1, 4, BLOCK - 1, BLOCK])
def test_logits_loss_and_gradients_are_the_references(tiny_model, variant, T):
    model = shaken(tiny_model)
    T = min(T, model.max_positions)  # a synthesizer has one position fewer
    idx, targets = torch.randint(V, (5, T)), ragged_targets(T)
    state = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    logits, loss = model(idx, targets)
    logits2 = reference.gpt_logits(state, idx, LAYERS, NH)
    loss2 = reference.loss(logits2, targets)
    assert logits.shape == (5, T, V) and loss.shape == ()
    assert_close(logits, logits2, rtol=1e-10, atol=1e-10)
    assert_close(loss, loss2, rtol=1e-10, atol=1e-10)
    loss.backward()
    loss2.backward()
    for name, p in model.named_parameters():
        grad2 = torch.zeros_like(p) if state[name].grad is None else state[name].grad
        assert_close(p.grad, grad2, rtol=1e-10, atol=1e-11, msg=lambda text: f"{name}: {text}")
        if T > 1 and not name.endswith("key.bias"):  # which shifts all scores of a row alike
            assert grad2.abs().max() > 1e-5  # or there is nothing to compare


def test_logits_in_single_precision(tiny_model):
    model = shaken(tiny_model).float()
    idx = torch.randint(V, (2, BLOCK - 1))
    logits, loss = model(idx)
    assert loss is None
    assert logits.dtype == torch.float32
    assert_close(logits, reference.gpt_logits(model.state_dict(), idx, LAYERS, NH), rtol=1e-4, atol=1e-5)


def test_targets_that_are_pad_do_not_count(tiny_model):
    model = shaken(tiny_model)
    idx = torch.randint(V, (2, 5))
    targets = torch.tensor([[0, 3, 0, 0, 7], [0, 0, 0, 0, 0]])
    logits, loss = model(idx, targets)
    each = torch.log_softmax(logits, dim=-1)
    assert loss.item() == pytest.approx(-(each[0, 1, 3] + each[0, 4, 7]).item() / 2, rel=1e-12)
    assert model(idx, torch.zeros_like(targets))[1].isnan()


def test_targets_may_be_columns_of_a_wider_tensor(tiny_model):
    rows = torch.randint(1, V, (3, BLOCK))
    x, y = rows[:, :-1], rows[:, 1:]
    model = shaken(tiny_model)
    assert torch.equal(model(x, y)[1], model(x.contiguous(), y.contiguous())[1])


def test_no_position_sees_a_later_one(tiny_model):
    model = shaken(tiny_model)
    idx = torch.randint(V, (2, BLOCK - 1))
    logits, _ = model(idx)
    for t in range(BLOCK - 1):
        changed = idx.clone()
        changed[:, t] = (idx[:, t] + 1) % V
        differs = (model(changed)[0] != logits).any(dim=-1)
        assert not differs[:, :t].any() and differs[:, t:].all()


def test_too_many_positions_are_refused_with_both_numbers(tiny_model, variant):
    most = {"vanilla": BLOCK, "synthesizer": BLOCK - 1}[variant]
    assert tiny_model.get_block_size() == BLOCK
    assert tiny_model(torch.zeros(1, most, dtype=torch.long))[0].shape == (1, most, V)
    for T in (most + 1, most + 9):
        with pytest.raises(ValueError, match=rf"^{T} positions.*\b{most} at most"):
            tiny_model(torch.zeros(1, T, dtype=torch.long))


# ---- dropout --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rate", ["embd_pdrop", "resid_pdrop", "attn_pdrop"])
def test_each_rate_drops_in_training_and_not_in_evaluation(variant, rate):
    rates = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0, rate: 0.5}
    model = shaken(GPT(GPTConfig(V, BLOCK, n_layer=LAYERS, n_head=NH, n_embd=C, **{variant: True}, **rates)))
    idx = torch.randint(V, (2, BLOCK - 1))
    assert torch.equal(model(idx)[0], model(idx)[0])
    model.train()
    assert not torch.equal(model(idx)[0], model(idx)[0])


def test_rates_reach_their_layers(variant):
    model = GPT(GPTConfig(V, BLOCK, n_layer=LAYERS, n_head=NH, n_embd=C, embd_pdrop=0.1, resid_pdrop=0.2, attn_pdrop=0.3,
                          **{variant: True}))
    assert {name: layer.p for name, layer in model.named_modules() if isinstance(layer, nn.Dropout)} == {
        "drop": 0.1, **{f"blocks.{i}.{name}": p for i in range(LAYERS)
                        for name, p in (("attn.attn_drop", 0.3), ("attn.resid_drop", 0.2), ("mlp.3", 0.2))}}


def test_the_embedding_sum_is_dropped(tiny_model):
    tiny_model.drop.p = 0.5
    seen = []
    tiny_model.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    tiny_model(torch.randint(V, (20, BLOCK - 1)))
    assert 0.3 < (seen[0] == 0).float().mean() < 0.7


# ---- parameters -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("variant, count", [("vanilla", 3323392), ("synthesizer", 3076988)])
def test_the_number_of_parameters_of_the_courses_model(variant, count, capsys):
    model = GPT(GPTConfig(256, 128, **COURSE_SIZES, **{variant: True}))
    assert capsys.readouterr().out == f"number of parameters: {count}\n"
    assert sum(p.numel() for p in model.parameters()) == count


def test_gpt1_is_of_the_papers_size(capsys):
    config = GPT1Config(40478, 512)
    assert (config.n_layer, config.n_head, config.n_embd) == (12, 12, 768)
    with torch.device("meta"):  # without the memory that it would take
        GPT(config)
    count = 2 * 40478 * 768 + 512 * 768 + 12 * (12 * 768 ** 2 + 13 * 768) + 2 * 768
    assert capsys.readouterr().out == f"number of parameters: {count}\n"


ATTENTION_SHAPES = {
    "vanilla": {f"{name}.{part}": shape for name in ("key", "query", "value", "proj")
                for part, shape in (("weight", (C, C)), ("bias", (C,)))},
    "synthesizer": {"w1.weight": (C, C), "w1.bias": (C,), "value.weight": (C, C), "value.bias": (C,), "proj.weight": (C, C),
                    "proj.bias": (C,), "w2": (C // NH, BLOCK - 1), "b2": (BLOCK - 1,)},
}


def test_state_dict(tiny_model, variant):
    block = {"ln1.weight": (C,), "ln1.bias": (C,), "ln2.weight": (C,), "ln2.bias": (C,),
             "mlp.0.weight": (4 * C, C), "mlp.0.bias": (4 * C,), "mlp.2.weight": (C, 4 * C), "mlp.2.bias": (C,),
             "attn.mask": (1, 1, BLOCK, BLOCK)}
    block |= {f"attn.{name}": shape for name, shape in ATTENTION_SHAPES[variant].items()}
    expected = {"tok_emb.weight": (V, C), "pos_emb": (1, BLOCK, C), "ln_f.weight": (C,), "ln_f.bias": (C,),
                "head.weight": (V, C)}
    expected |= {f"blocks.{i}.{name}": shape for i in range(LAYERS) for name, shape in block.items()}
    assert {name: tuple(tensor.shape) for name, tensor in tiny_model.state_dict().items()} == expected
    assert {name for name, _ in tiny_model.named_parameters()} == {name for name in expected if not name.endswith("mask")}


def test_the_variants_are_different_models():
    """`synthesizer` that never reaches the blocks is silently a second vanilla model."""
    models = {name: GPT(GPTConfig(V, BLOCK, n_layer=LAYERS, n_head=NH, n_embd=C, **{name: True})) for name in VARIANTS}
    for name, model in models.items():
        assert [type(block.attn) for block in model.blocks] == [VARIANTS[name]] * LAYERS
    names = {name: set(model.state_dict()) for name, model in models.items()}
    assert names["vanilla"] - names["synthesizer"] == {
        f"blocks.{i}.attn.{layer}.{part}"
        for i in range(LAYERS) for layer in ("key", "query") for part in ("weight", "bias")}
    assert names["synthesizer"] - names["vanilla"] == {
        f"blocks.{i}.attn.{name}" for i in range(LAYERS) for name in ("w1.weight", "w1.bias", "w2", "b2")}


def test_the_head_is_not_tied_to_the_embedding(tiny_model):
    assert not torch.equal(tiny_model.head.weight, tiny_model.tok_emb.weight)
    before = tiny_model.head.weight.detach().clone()
    with torch.no_grad():
        tiny_model.tok_emb.weight.add_(1)
    assert torch.equal(tiny_model.head.weight, before)


def test_initial_values(variant):
    """Weights normal with standard deviation 0.02 (to five standard errors), biases 0, norms 1 and 0, positions 0."""
    model = GPT(GPTConfig(256, 128, **COURSE_SIZES, **{variant: True}))
    for name, p in model.named_parameters():
        values, last = p.detach().double(), name.split(".")[-1]
        if ".ln" in name or name.startswith("ln_f"):
            assert (values == (1.0 if last == "weight" else 0.0)).all(), name
        elif last in ("bias", "pos_emb", "b2"):
            assert (values == 0).all(), name
        elif last == "w2":
            assert 0.00098 < values.abs().max() <= 0.001, name
        else:
            n = values.numel()
            assert last == "weight" and n >= 65536, name
            assert abs(values.mean()) < 5 * 0.02 / math.sqrt(n), name
            assert abs(values.std() - 0.02) < 5 * 0.02 / math.sqrt(2 * n), name
            kurtosis = ((values / values.std()) ** 4).mean()  # 3 if normal, 1.8 if uniform
            assert abs(kurtosis - 3) < 5 * math.sqrt(24 / n), name


def test_the_same_seed_gives_the_same_parameters(tiny_config):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(GPT(tiny_config).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    for name in ("tok_emb.weight", "head.weight", "blocks.0.attn.value.weight", "blocks.1.mlp.2.weight"):
        assert not torch.equal(states[0][name], states[2][name])
    assert not torch.equal(states[0]["blocks.0.mlp.0.weight"], states[0]["blocks.1.mlp.0.weight"])


PRINTED = """\
GPT(
  (tok_emb): Embedding(12, 6)
  (drop): Dropout(p=0.1, inplace=False)
  (blocks): Sequential(
    (0): Block(
      (ln1): LayerNorm((6,), eps=1e-05, elementwise_affine=True)
      (ln2): LayerNorm((6,), eps=1e-05, elementwise_affine=True)
      (attn): CausalSelfAttention(
        (key): Linear(in_features=6, out_features=6, bias=True)
        (query): Linear(in_features=6, out_features=6, bias=True)
        (value): Linear(in_features=6, out_features=6, bias=True)
        (attn_drop): Dropout(p=0.1, inplace=False)
        (resid_drop): Dropout(p=0.1, inplace=False)
        (proj): Linear(in_features=6, out_features=6, bias=True)
      )
      (mlp): Sequential(
        (0): Linear(in_features=6, out_features=24, bias=True)
        (1): GELU(approximate='none')
        (2): Linear(in_features=24, out_features=6, bias=True)
        (3): Dropout(p=0.1, inplace=False)
      )
    )
  )
  (ln_f): LayerNorm((6,), eps=1e-05, elementwise_affine=True)
  (head): Linear(in_features=6, out_features=12, bias=False)
)"""


def test_a_printed_model_is_the_courses():
    model = GPT(GPTConfig(V, BLOCK, n_layer=1, n_head=NH, n_embd=C))
    # Later versions of torch say of LayerNorm whether it has a bias too.
    assert repr(model).replace(", bias=True)\n      (ln2)", ")\n      (ln2)").replace(
        "elementwise_affine=True, bias=True)", "elementwise_affine=True)") == PRINTED


# ---- settings -------------------------------------------------------------------------------------------------------

def test_defaults():
    config = GPTConfig(12, 8, n_layer=2, n_head=3, n_embd=6)
    assert (config.vocab_size, config.block_size) == (12, 8)
    assert (config.n_layer, config.n_head, config.n_embd) == (2, 3, 6)
    assert (config.embd_pdrop, config.resid_pdrop, config.attn_pdrop) == (0.1, 0.1, 0.1)
    assert (config.additive, config.synthesizer) == (False, False)


def test_settings_are_an_instances_own():
    GPTConfig(12, 8, embd_pdrop=0.5, synthesizer=True)
    config = GPTConfig(12, 8)
    assert (config.embd_pdrop, config.synthesizer) == (0.1, False)


@pytest.mark.parametrize("name", ["n_layers", "dropout", "__init__", "SIZES", "synthesiser"])
def test_settings_that_do_not_exist_are_refused(name):
    with pytest.raises(TypeError, match=f"there is no setting '{name}'; there are vocab_size, .*synthesizer"):
        GPTConfig(12, 8, **{name: 3})


@pytest.mark.parametrize("name, value", [
    *[(name, value) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
      for value in (0, -1, 2.0, "8", True, None)],
    *[(name, value) for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop")
      for value in (1, 1.5, -0.1, "0.1", False, None, math.nan)],
    *[(name, value) for name in ("additive", "vanilla", "synthesizer") for value in (1, "True", None, np.True_)],
])
def test_values_out_of_range_or_of_another_type_are_refused(name, value):
    settings = {"vocab_size": 12, "block_size": 8, "n_layer": 1, "n_head": 1, "n_embd": 4, name: value}
    with pytest.raises(ValueError, match=f"GPTConfig: {name} is .*expected"):
        GPTConfig(**settings)


@pytest.mark.parametrize("name, value", [("vocab_size", 1), ("n_embd", 1), ("attn_pdrop", 0), ("resid_pdrop", 0.999),
                                         ("additive", False), ("vanilla", True)])
def test_values_at_the_edge_are_taken(name, value):
    config = GPTConfig(**{"vocab_size": 12, "block_size": 8, name: value})
    assert getattr(config, name) == value


def test_additive_and_two_variants_are_refused():
    with pytest.raises(ValueError, match="additive"):
        GPTConfig(12, 8, additive=True)
    with pytest.raises(ValueError, match="vanilla and synthesizer"):
        GPTConfig(12, 8, vanilla=True, synthesizer=True)


def test_a_flag_set_after_construction_counts():
    """The course's run.py does `mconf.synthesizer = True`."""
    config = GPTConfig(V, BLOCK, n_layer=1, n_head=NH, n_embd=C)
    assert type(GPT(config).blocks[0].attn) is VARIANTS["vanilla"]
    config.synthesizer = True
    assert type(GPT(config).blocks[0].attn) is VARIANTS["synthesizer"]
    config.synthesizer = False
    assert type(GPT(config).blocks[0].attn) is VARIANTS["vanilla"]
    config.additive = True
    with pytest.raises(ValueError, match="additive"):
        GPT(config)


def test_heads_that_do_not_share_the_channels_evenly_are_refused(variant):
    with pytest.raises(ValueError, match=r"n_embd is 6\b.*\b4\b"):
        GPT(GPTConfig(V, BLOCK, n_layer=1, n_head=4, n_embd=6, **{variant: True}))
