"""
Parameter files: exchanged with the course's code, refused in one line where they do not fit, are
damaged or hostile, and written whole or not at all.
"""

import json
import math
import os
import pickle

import pytest
import torch
from torch import nn

from attention import VARIANTS
from baseline import BaselineGPT
from model import GPT, GPTConfig
from runs import checkpoint
from runs.checkpoint import load_params, meta_path, save_params, sizes_of, unwrap
from runs.inputs import InputError
from small_models import enlarge, make_baseline

SIZES = {"vocab_size": 12, "block_size": 8, "n_layer": 3, "n_head": 3, "n_embd": 6}


def gpt(variant="vanilla", **changes):
    settings = {**SIZES, "bottleneck_dim": 3, **changes, variant: True}
    return enlarge(GPT(GPTConfig(**settings))).eval()


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def identical(one, other):
    one, other = (
        state if isinstance(state, dict) else state.state_dict() for state in (one, other)
    )
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refused(model, path, *parts, **arguments):
    """Loading is refused in one line with the path and the parts; the model stays as it was."""
    before = copied(model)
    with pytest.raises(InputError) as caught:
        load_params(model, path, **arguments)
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in (str(path), *parts)), line
    assert identical(model, before)
    return line


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.params"


# ---- the course's files ---------------------------------------------------------------------

IDX = torch.arange(14).view(2, 7) * 5 % 12


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_the_courses_files_are_read(known_variant, prefix, zipped, path):
    course = enlarge(BaselineGPT(**SIZES, variant=known_variant, bottleneck_dim=3)).eval()
    state = {prefix + name: tensor for name, tensor in course.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    model = gpt(known_variant)
    load_params(model, path)
    assert identical(model, course)
    torch.testing.assert_close(model(IDX)[0], course(IDX)[0], rtol=1e-4, atol=1e-5)


def test_the_courses_code_reads_our_files(known_variant, path):
    model = gpt(known_variant)
    save_params(model, path)
    course = make_baseline(known_variant, SIZES, torch.load(path)).eval()
    torch.testing.assert_close(course(IDX)[0], model(IDX)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module._orig_mod."],
)
def test_wrappers_names_are_taken_off_in_any_order(prefix, path):
    model, other = gpt(), gpt()
    torch.save({prefix + name: tensor for name, tensor in model.state_dict().items()}, path)
    load_params(other, path)
    assert identical(model, other)


class Compiled(nn.Module):
    """As torch.compile wraps a model, whose compiler takes seconds to load."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: Compiled(nn.DataParallel(model)),
        lambda model: nn.DataParallel(Compiled(model)),
        pytest.param(torch.compile, marks=pytest.mark.slow),
    ],
)
def test_a_wrapped_model_is_saved_and_loaded_as_the_model_in_it(wrap, path):
    model, other = gpt(), gpt()
    assert unwrap(wrap(model)) is model
    save_params(wrap(model), path)
    assert list(torch.load(path, weights_only=True)) == list(model.state_dict())
    load_params(wrap(other), path)
    assert identical(model, other)


def test_a_wrapper_inside_a_model_leaves_no_name_in_its_file(path):
    """DataParallel or torch.compile of a block alone."""
    model, wrapped = gpt(), gpt()
    wrapped.blocks[0] = nn.DataParallel(wrapped.blocks[0])
    save_params(wrapped, path)
    assert torch.load(path, weights_only=True).keys() == model.state_dict().keys()
    save_params(model, path)
    load_params(wrapped, path)
    assert torch.equal(wrapped(IDX)[0], model(IDX)[0])


def test_a_file_holds_tensors_by_name_and_nothing_else(variant, path):
    model = gpt(variant)
    save_params(model, path)
    state = torch.load(path, weights_only=True)
    assert isinstance(state, dict) and identical(state, model)
    assert all(type(t) is torch.Tensor and not t.requires_grad for t in state.values())
    assert os.listdir(path.parent) == ["a.params"]
    other = gpt(variant)
    load_params(other, path)
    assert identical(other, model) and all(p.requires_grad for p in other.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_of_numbers_are_taken(dtype, path):
    model = gpt()
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    torch.save(state, path)
    load_params(model, path)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state[name].float())


def test_loading_draws_no_random_numbers(path):
    model = gpt()
    save_params(model, path)
    before = torch.get_rng_state()
    load_params(model, path)
    assert torch.equal(torch.get_rng_state(), before)


# ---- files of another model -----------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("found, wanted", [("vanilla", "synthesizer"), ("synthesizer", "vanilla")])
def test_a_file_of_another_variant_is_refused_by_name(found, wanted, prefix, path):
    torch.save({prefix + name: t for name, t in gpt(found).state_dict().items()}, path)
    refused(gpt(wanted), path, found, wanted)


def test_a_new_variant_is_recognised(known_variant, path, monkeypatch):
    class Double(VARIANTS["vanilla"]):
        def __init__(self, config):
            super().__init__(config)
            self.gate = nn.Parameter(torch.ones(config.n_head))

    monkeypatch.setitem(VARIANTS, "double", Double)
    monkeypatch.setattr(GPTConfig, "double", False, raising=False)
    save_params(gpt("double"), path)
    refused(gpt(known_variant), path, "double", known_variant)
    load_params(gpt("double"), path)


def test_a_variant_that_takes_larger_sizes_only_is_in_nobodys_way(path, monkeypatch):
    class Picky(VARIANTS["vanilla"]):
        def __init__(self, config):
            assert config.n_embd > 4

    monkeypatch.setitem(VARIANTS, "picky", Picky)
    save_params(gpt("rope"), path)
    load_params(gpt("rope"), path)
    refused(gpt("vanilla"), path, "rope")
    torch.save({"x": torch.zeros(1)}, path)
    refused(gpt("vanilla"), path)


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"vocab_size": 13}, ("tok_emb.weight", "(13, 6)", "(12, 6)")),
        ({"block_size": 9}, ("9", "8")),
        ({"n_embd": 12}, ("12)", "6)")),
        ({"n_layer": 4}, ("it has blocks.",)),
        ({"n_layer": 2}, ("it lacks blocks.",)),
    ],
)
def test_a_file_of_another_size_is_refused_with_a_hint(variant, changes, parts, path):
    """hint() is told the sizes of both, and its answer ends the line."""
    asked = []

    def hint(found, expected):
        asked.append((found, expected))
        return "give more"

    other = gpt(variant, **changes)
    save_params(other, path)
    line = refused(gpt(variant), path, *parts, hint=hint)
    assert line.endswith("; give more")
    visible = {name: size for name, size in SIZES.items() if name != "n_head"}
    if variant == "perceiver":
        visible["bottleneck_dim"] = 3
    assert asked == [(visible | changes, visible)]


@pytest.mark.parametrize("variant, name", [("perceiver", "down_block.C"), ("rope", "rope_cache")])
def test_a_file_without_what_makes_its_variant_is_not_called_another(variant, name, path):
    """As copies save it in which C is no parameter, or the buffer is not persistent."""
    model = gpt(variant)
    torch.save({key: one for key, one in copied(model).items() if not key.endswith(name)}, path)
    refused(model, path, "lacks", name)


def test_a_perceiver_of_two_layers_is_named(path):
    """It has no block between its first and last."""
    save_params(gpt("perceiver", n_layer=2), path)
    refused(gpt(), path, "perceiver", "vanilla")


def test_sizes_of_what_is_no_gpt_are_unknown():
    state = gpt().state_dict()
    for name in ("pos_emb", "tok_emb.weight"):
        assert sizes_of({**state, name: torch.ones(6)}) == {}
    without = {"tok_emb.weight"}, {"pos_emb", "blocks.0.attn.mask"}
    for names in without:
        assert sizes_of({key: state[key] for key in state.keys() - names}) == {}


@pytest.mark.parametrize("name", ["head.weight", "blocks.1.attn.mask", "pos_emb"])
def test_a_tensor_too_few_or_too_many_is_refused(name, path):
    model = gpt()
    state = copied(model)
    torch.save({**state, "more." + name: state.pop(name)}, path)
    refused(model, path, name)
    torch.save(state, path)
    refused(model, path, name)
    torch.save({**copied(model), "more." + name: torch.ones(3)}, path)
    refused(model, path, "more." + name)


@pytest.mark.parametrize(
    "name, value",
    [
        ("head.weight", math.nan),
        ("ln_f.bias", math.inf),
        ("blocks.1.attn.key.bias", -math.inf),
    ],
)
def test_numbers_that_are_not_finite_are_refused(name, value, path):
    model = gpt()
    state = copied(model)
    state[name].view(-1)[-1] = value
    torch.save(state, path)
    refused(model, path, name)


def test_numbers_of_another_kind_are_refused(path):
    model = gpt()
    torch.save({name: t.to(torch.int32) for name, t in model.state_dict().items()}, path)
    refused(model, path, "int32")


# ---- files that are no parameters -----------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, path):
    model = gpt()
    save_params(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(model, path)


@pytest.mark.parametrize(
    "raw",
    [
        "Ann Lee was born in Leeds .\nZoë\n".encode(),
        b"PK\x03\x04" + bytes(200),
        bytes(range(256)) * 40,
        pickle.dumps({"tok_emb.weight": [1.0, 2.0]}, protocol=2),
    ],
    ids=["text", "a zip's beginning", "bytes", "another pickle"],
)
def test_a_file_of_something_else_is_refused(raw, path):
    path.write_bytes(raw)
    refused(gpt(), path)


def test_a_torch_file_of_something_else_is_refused(path):
    """With the way to save parameters, or the name under which a checkpoint holds them."""
    model, one = gpt(), torch.ones(3)
    state = model.state_dict()
    for content in (model, {"model": model}, list(state.values()), one, None, {0: one}):
        torch.save(content, path)
        refused(model, path, "state_dict()")
    for name in ("model", "state_dict", "net"):
        torch.save({"epoch": 3, name: state}, path)
        refused(model, path, f"'{name}'")
    for content in ({}, {"tok_emb.weight": 3.0}):
        torch.save(content, path)
        refused(model, path)


def test_a_missing_file_and_a_folder_are_refused(path):
    refused(gpt(), path)
    refused(gpt(), path.parent)


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(zipped, path, tmp_path):
    model, folder = gpt(), tmp_path / "made"
    state = {**copied(model), "head.weight": Hostile(folder)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    refused(model, path)
    assert not folder.exists()
    torch.load(path, weights_only=False)  # where it is let, it does what it is meant to do
    assert folder.exists()


# ---- PARAMS.json ----------------------------------------------------------------------------

META = {"variant": "vanilla", "sizes": SIZES, "vocabulary": "abc", "seed": 0, "recipe": "course"}


def test_meta_stands_beside_the_parameters(path):
    save_params(gpt(), path, META)
    found = json.loads(open(meta_path(path), encoding="utf-8").read())
    assert found == META | {"sha256": checkpoint.digest(path.read_bytes())}
    assert meta_path(path) == f"{path}.json"


def test_another_seed_or_recipe_of_the_same_model_is_taken(path, capsys):
    save_params(gpt(), path, META)
    load_params(gpt(), path, meta=META | {"seed": 1, "recipe": "quick"})
    load_params(gpt(), path)  # without meta nothing is compared
    assert capsys.readouterr().err == ""
