"""The whole GPT against the reference, its parameters, and the settings of GPTConfig."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import reference
from attention import VARIANTS
from fast.kv_cache import KVCache
from model import GPT, GPT1Config, GPTConfig
from small_models import (
    BOTTLENECK,
    MeanAttention,
    enlarge,
    make_baseline,
    make_gpt,
    most_positions,
)

V, BLOCK, LAYERS, NH, C = 12, 8, 3, 3, 6  # of conftest's tiny_config
SIZES = {"vocab_size": V, "block_size": BLOCK, "n_layer": LAYERS, "n_head": NH, "n_embd": C}
COURSE_SIZES = {"vocab_size": 256, "block_size": 128, "n_layer": 4, "n_head": 8, "n_embd": 256}


def make_exact(variant):
    return enlarge(make_gpt(variant, SIZES, torch.float64), 0.5).eval()


def layer_names(variant):
    """What the names of the layers in a model begin with."""
    if variant == "perceiver":
        return ["down_block", "blocks.0", "up_block"]
    return [f"blocks.{i}" for i in range(LAYERS)]


# ---- agreement with the reference -----------------------------------------------------------


@pytest.mark.parametrize("T", [1, 4, BLOCK])
def test_logits_loss_and_gradients_are_the_references(known_variant, T):
    """With targets that are PAD at the end, at the beginning, all but one, and all of a row."""
    model = make_exact(known_variant)
    T = min(T, most_positions(known_variant, BLOCK))
    idx, targets = torch.randint(V, (5, T + 1)), torch.randint(1, V, (5, T + 1))
    idx, targets = idx[:, :-1], targets[:, 1:]  # not contiguous
    targets[0, T // 2 :] = targets[1, : T // 2] = targets[3, :-1] = targets[4] = 0
    state = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    logits, loss = model(idx, targets)
    logits2 = reference.gpt_logits(state, idx, LAYERS, NH)
    loss2 = reference.loss(logits2, targets)
    assert_close(logits, logits2, rtol=1e-10, atol=1e-10)
    assert_close(loss, loss2, rtol=1e-10, atol=1e-10)
    assert model(idx)[1] is None and model(idx, torch.zeros_like(idx))[1].isnan()
    grads = torch.autograd.grad(loss, list(model.parameters()))
    grads2 = torch.autograd.grad(
        loss2, list(state.values()), allow_unused=True, materialize_grads=True
    )
    for name, grad, grad2 in zip(state, grads, grads2, strict=True):
        assert_close(grad, grad2, rtol=1e-10, atol=1e-11, msg=lambda text, n=name: f"{n}: {text}")
        # A key's bias shifts all scores of a position alike.
        assert T == 1 or name.endswith("key.bias") or grad2.abs().max() > 1e-5, name


def test_no_position_sees_a_later_one(variant):
    model = make_exact(variant)
    for T in range(1, model.max_positions + 1):
        idx = torch.randint(V, (2, T))
        logits, _ = model(idx)
        for t in range(T):
            changed = idx.clone()
            changed[:, t] = (idx[:, t] + 1) % V
            assert torch.equal(model(changed)[0][:, :t], logits[:, :t])


def test_too_many_positions_are_refused_with_both_numbers(known_variant):
    model, most = make_exact(known_variant), most_positions(known_variant, BLOCK)
    assert (model.get_block_size(), model.max_positions) == (BLOCK, most)
    for T in (most + 1, most + 9):
        ids = torch.ones(1, T, dtype=torch.long)
        with pytest.raises(ValueError, match=rf"\b{T}\b.*\b{most}\b"):
            model(ids)
        packs = model.supports_packing
        with pytest.raises(ValueError, match=rf"\b{T}\b.*\b{most}\b" if packs else "loss_only"):
            model(ids, ids, loss_only=True)


def test_a_cache_beyond_the_block_is_refused_as_a_long_row_is():
    model, cache = make_exact("vanilla"), KVCache(LAYERS, 20, torch.zeros(1, dtype=torch.long))
    ids = torch.ones(1, BLOCK, dtype=torch.long)
    model(ids, kv_cache=cache)
    with pytest.raises(ValueError, match=rf"\b{BLOCK + 1}\b.*\b{BLOCK}\b"):
        model(ids[:, :1], kv_cache=cache)


@pytest.mark.parametrize("loss_only", [False, True])
def test_targets_of_another_shape_are_refused(loss_only):
    """Flattened, they would be other positions' targets."""
    model, x = make_exact("vanilla"), torch.randint(1, V, (2, 6))
    for y in (x[:, :-1], x.T, x.repeat(2, 1)):
        with pytest.raises(ValueError, match="shape"):
            model(x, y, loss_only=loss_only)


def test_each_rate_reaches_its_layers(known_variant):
    rates = {"embd_pdrop": 0.1, "resid_pdrop": 0.2, "attn_pdrop": 0.3}
    model = make_gpt(known_variant, SIZES, **rates)
    layers = {"drop": 0.1}
    for layer in layer_names(known_variant):
        layers |= {f"{layer}.attn.attn_drop": 0.3, f"{layer}.attn.resid_drop": 0.2}
        layers |= {f"{layer}.mlp.3": 0.2}
    dropouts = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert dropouts == layers
    idx = torch.randint(V, (2, BLOCK - 1))
    assert not torch.equal(model(idx)[0], model(idx)[0])
    model.eval()
    assert torch.equal(model(idx)[0], model(idx)[0])


def test_the_sum_of_the_embeddings_is_dropped(known_variant):
    model, seen = make_gpt(known_variant, SIZES, embd_pdrop=0.5), []
    first = getattr(model, "down_block", model.blocks[0])
    first.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    model(torch.randint(V, (20, BLOCK - 1)))
    assert 0.3 < (seen[0] == 0).float().mean() < 0.7


# ---- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant, bottleneck_dim, count",
    [
        ("vanilla", None, 3323392),
        ("synthesizer", None, 3076988),
        ("rope", None, 3290624),
        ("perceiver", None, 3331584),
        ("perceiver", 64, 3339776),
    ],
)
def test_the_courses_model(variant, bottleneck_dim, count, capsys):
    """The printed number, and initial values: N(0, 0.02) weights, to five standard errors."""
    model = make_gpt(variant, COURSE_SIZES, bottleneck_dim=bottleneck_dim)
    assert capsys.readouterr().out == f"number of parameters: {count}\n"
    assert sum(p.numel() for p in model.parameters()) == count
    for name, p in model.named_parameters():
        values, last = p.detach().double(), name.split(".")[-1]
        if ".ln" in name or name.startswith("ln_f"):
            assert (values == (1.0 if last == "weight" else 0.0)).all(), name
        elif last in ("bias", "pos_emb", "b2"):
            assert (values == 0).all(), name
        elif last == "w2":
            assert 0.00098 < values.abs().max() <= 0.001, name
        elif last == "C":  # uniform, Glorot & Bengio 2010
            bound = math.sqrt(6 / (256 * (values.size(1) + 1)))
            assert 0.98 * bound < values.abs().max() <= bound, name
        else:
            n = values.numel()
            assert abs(values.mean()) < 5 * 0.02 / math.sqrt(n), name
            assert abs(values.std() - 0.02) < 5 * 0.02 / math.sqrt(2 * n), name
            kurtosis = ((values / values.std()) ** 4).mean()  # 3 if normal, 1.8 if uniform
            assert abs(kurtosis - 3) < 5 * math.sqrt(24 / n), name


def test_gpt1_is_of_the_papers_size(capsys):
    config = GPT1Config(40478, 512)
    assert (config.n_layer, config.n_head, config.n_embd) == (12, 12, 768)
    with torch.device("meta"):  # without the memory that it would take
        GPT(config)
    count = 2 * 40478 * 768 + 512 * 768 + 12 * (12 * 768**2 + 13 * 768) + 2 * 768
    assert capsys.readouterr().out == f"number of parameters: {count}\n"


def test_state_dict(known_variant):
    """Names and shapes; strict loading both ways with the baseline, which has the course's."""
    model = make_exact(known_variant)
    attention = VARIANTS[known_variant](GPTConfig(**SIZES)).state_dict()
    shared = {f"ln{i}.{part}": (C,) for i in (1, 2) for part in ("weight", "bias")}
    shared |= {"mlp.0.weight": (4 * C, C), "mlp.0.bias": (4 * C,)}
    shared |= {"mlp.2.weight": (C, 4 * C), "mlp.2.bias": (C,)}
    shared |= {f"attn.{name}": tuple(tensor.shape) for name, tensor in attention.items()}
    expected = {"tok_emb.weight": (V, C), "head.weight": (V, C)}
    expected |= {"ln_f.weight": (C,), "ln_f.bias": (C,)}
    if known_variant != "rope":
        expected["pos_emb"] = (1, BLOCK, C)
    for layer in layer_names(known_variant):
        expected |= {f"{layer}.{name}": shape for name, shape in shared.items()}
    if known_variant == "perceiver":
        expected["down_block.C"] = (1, BOTTLENECK, C)
        expected["blocks.0.attn.mask"] = (1, 1, BOTTLENECK, BOTTLENECK)
    state = model.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert state["head.weight"].data_ptr() != state["tok_emb.weight"].data_ptr()  # not tied

    baseline = make_baseline(known_variant, SIZES, state)
    idx = torch.randint(V, (3, BLOCK - 1))
    assert_close(baseline.eval()(idx)[0], model(idx)[0], rtol=1e-10, atol=1e-10)
    for wrap in (lambda m: m, nn.DataParallel):
        wrapped = wrap(make_gpt(known_variant, SIZES, torch.float64))
        wrapped.load_state_dict(wrap(baseline).state_dict())
        assert torch.equal(wrapped.eval()(idx)[0], model(idx)[0])
    other = make_gpt(known_variant, SIZES)
    with pytest.raises(RuntimeError, match="attn.value"):
        other.load_state_dict({n: t for n, t in state.items() if "attn.value" not in n})


def test_every_block_has_the_variants_attention(variant):
    """A `synthesizer` that never reaches the blocks is silently a second vanilla model."""
    model = make_gpt(variant, SIZES)
    inner = LAYERS - 2 if hasattr(model, "down_block") else LAYERS
    assert [type(block.attn) for block in model.blocks] == [VARIANTS[variant]] * inner


def test_an_attention_that_has_only_forward_will_do(monkeypatch):
    """A class and a line in VARIANTS are all that a variant needs. See also test_decoding.py."""
    monkeypatch.setitem(VARIANTS, "mean", MeanAttention)
    model = make_gpt("mean", SIZES)
    assert (model.max_positions, model.supports_packing, model.supports_kv_cache) == (BLOCK, 0, 0)
    idx = torch.randint(V, (2, BLOCK))
    assert model(idx)[0].shape == (2, BLOCK, V)
    with pytest.raises(ValueError, match="loss_only"):
        model(idx, idx, loss_only=True)
    assert not model.blocks[0].attn.value.bias.any()  # initialised as the other layers are
    with pytest.raises(ValueError, match="synthesizer.*mean"):
        GPTConfig(11, BLOCK, synthesizer=True, mean=True)


# ---- settings -------------------------------------------------------------------------------


def test_defaults_are_an_instances_own():
    GPTConfig(12, 8, embd_pdrop=0.5, synthesizer=True)
    config = GPTConfig(12, 8, n_layer=2)
    assert (config.vocab_size, config.block_size, config.n_layer) == (12, 8, 2)
    assert (config.embd_pdrop, config.resid_pdrop, config.attn_pdrop) == (0.1, 0.1, 0.1)
    assert (config.additive, config.synthesizer) == (False, False)
    assert (config.perceiver, config.bottleneck_dim, config.rope) == (False, None, False)
    with pytest.raises(ValueError, match="n_head, n_embd"):
        GPT(config)


@pytest.mark.parametrize("name", ["n_layers", "dropout", "__init__", "SIZES", "synthesiser"])
def test_settings_that_do_not_exist_are_refused(name):
    with pytest.raises(TypeError, match=f"'{name}'"):
        GPTConfig(12, 8, **{name: 3})
    with pytest.raises(TypeError, match=f"'{name}'"):
        setattr(GPTConfig(12, 8), name, True)


BAD_VALUES = {
    ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"): (0, -1, 2.0, "8", True, None),
    ("embd_pdrop", "resid_pdrop", "attn_pdrop"): (1, 1.5, -0.1, "0.1", False, None, math.nan),
    ("bottleneck_dim",): (0, -1, 2.0, "8", True),
    tuple(VARIANTS): (2, "True", ""),
}


@pytest.mark.parametrize("names", BAD_VALUES)
def test_values_out_of_range_or_of_another_type_are_refused(names):
    for name in names:
        for value in BAD_VALUES[names]:
            with pytest.raises(ValueError, match=f"{name} is "):
                GPTConfig(**{"vocab_size": 12, "block_size": 8, name: value})


@pytest.mark.parametrize("value", [True, 1, np.True_, False, 0, np.False_, None])
def test_a_flag_may_be_anything_that_means_true_or_false(value):
    """As in the course's code."""
    config = GPTConfig(12, 8, rope=value, n_layer=1, n_head=1, n_embd=2)
    assert config.rope is bool(value)
    assert type(GPT(config).blocks[0].attn) is VARIANTS["rope" if value else "vanilla"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("vocab_size", 1),
        ("n_embd", np.int64(6)),
        ("attn_pdrop", 0),
        ("resid_pdrop", np.float32(0.999)),
        ("vanilla", True),
        ("rope", False),
        ("bottleneck_dim", None),
    ],
)
def test_values_at_the_edge_and_numpys_are_taken(name, value):
    config = GPTConfig(**{"vocab_size": 12, "block_size": 8, name: value})
    assert getattr(config, name) == value


def test_all_variants_are_packed_and_all_but_the_perceiver_have_a_cache():
    """No result shows it; without them training and answers are slow."""
    for variant in ("vanilla", "synthesizer", "rope", "perceiver"):
        model = make_gpt(variant, SIZES)
        assert model.supports_packing is True
        assert model.supports_kv_cache is (variant != "perceiver")


def test_a_flag_set_after_construction_takes_effect():
    """The course's run.py does `mconf.synthesizer = True`."""
    config = GPTConfig(**SIZES)
    assert type(GPT(config).blocks[0].attn) is VARIANTS["vanilla"]
    config.synthesizer = True
    assert type(GPT(config).blocks[0].attn) is VARIANTS["synthesizer"]
    with pytest.raises(ValueError, match="vanilla.*synthesizer"):
        config.vanilla = True
    assert type(GPT(config).blocks[0].attn) is VARIANTS["synthesizer"]  # nothing has changed
    with pytest.raises(ValueError, match="additive"):
        GPTConfig(12, 8).additive = True


def test_a_subclass_sets_and_checks_by_class_attributes():
    class Small(GPTConfig):
        n_layer = 2
        rope = True

    assert (Small(9, 8).n_layer, Small(9, 8).rope) == (2, True)
    with pytest.raises(TypeError, match="synthesiser"):
        type("Misspelt", (GPTConfig,), {"synthesiser": True})
    with pytest.raises(ValueError, match="n_layer"):
        type("Wrong", (GPTConfig,), {"n_layer": 0})
    with_property = type(
        "Sized", (GPTConfig,), {"twice": property(lambda self: 2 * self.vocab_size)}
    )
    assert with_property(9, 8).twice == 18
