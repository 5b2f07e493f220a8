"""python -m pytest tests/test_checkpoint.py

Parameter files: exchanged with a plain model written here from the course's names alone, refused in one line where they
do not fit or are none, harmless where they are hostile, and written whole or not at all.
"""

import io
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import checkpoint
import files
from attention import VARIANTS
from checkpoint import load_params, save_params
from dataset import InputError
from model import GPT, GPTConfig

SIZES = dict(n_layer=2, n_head=3, n_embd=6)  # of conftest's tiny_config, with 12 characters and 8 positions


def gpt(variant, vocab_size=12, block_size=8, **changes):
    return GPT(GPTConfig(vocab_size, block_size, **{**SIZES, **changes}, **{variant: True})).eval()


def other_variant(variant):
    return {"vanilla": "synthesizer", "synthesizer": "vanilla"}[variant]


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_refused(model, path, said):
    """Loading is refused in one line that begins with the file's name, and the model stays as it was."""
    before = copied(model)
    with pytest.raises(InputError) as caught:
        load_params(model, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert re.search(said, message), message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# ---- a plain model with the course's names --------------------------------------------------------------------------

class PlainVanilla(nn.Module):
    def __init__(self, C, nh, block):
        super().__init__()
        self.nh = nh
        self.key, self.query, self.value, self.proj = (nn.Linear(C, C) for _ in range(4))
        self.register_buffer("mask", torch.ones(block, block).tril()[None, None])

    def forward(self, x):
        heads = (linear(x).unflatten(-1, (self.nh, -1)) for linear in (self.key, self.query, self.value))
        k, q, v = heads  # (B, T, nh, hs) each
        return self.proj(weighted(torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(k.shape[-1]), v, self.mask))


class PlainSynthesizer(nn.Module):
    def __init__(self, C, nh, block):
        super().__init__()
        self.nh = nh
        self.w1, self.value, self.proj = (nn.Linear(C, C) for _ in range(3))
        self.w2 = nn.Parameter(torch.randn(C // nh, block - 1))
        self.b2 = nn.Parameter(torch.randn(block - 1))
        self.register_buffer("mask", torch.ones(block, block).tril()[None, None])

    def forward(self, x):
        a, v = (linear(x).unflatten(-1, (self.nh, -1)) for linear in (self.w1, self.value))  # (B, T, nh, hs)
        scores = torch.einsum("bthc,cs->bhts", F.relu(a), self.w2) + self.b2
        return self.proj(weighted(scores[..., :x.shape[1]], v, self.mask))


def weighted(scores, v, mask):
    """Scores (B, nh, T, T) and values (B, T, nh, hs) → (B, T, C)."""
    T = scores.shape[-1]
    weights = torch.softmax(scores.masked_fill(mask[..., :T, :T] == 0, -math.inf), dim=-1)
    return torch.einsum("bhts,bshc->bthc", weights, v).flatten(2)


class PlainBlock(nn.Module):
    def __init__(self, attention, C, nh, block):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attn = attention(C, nh, block)
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C), nn.Dropout(0.1))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class PlainGPT(nn.Module):
    def __init__(self, variant, V=12, block=8, layers=2, nh=3, C=6):
        super().__init__()
        attention = {"vanilla": PlainVanilla, "synthesizer": PlainSynthesizer}[variant]
        self.tok_emb = nn.Embedding(V, C)
        self.pos_emb = nn.Parameter(torch.randn(1, block, C))
        self.blocks = nn.Sequential(*[PlainBlock(attention, C, nh, block) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        for p in self.parameters():
            nn.init.normal_(p, std=0.5)

    def forward(self, idx):
        x = self.tok_emb(idx) + self.pos_emb[:, :idx.shape[1]]
        return self.head(self.ln_f(self.blocks(x)))


IDX = torch.arange(14).view(2, 7) * 5 % 12


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_the_courses_files_are_read(variant, prefix, zipped, tmp_path):
    plain, model = PlainGPT(variant).eval(), gpt(variant)
    state = {prefix + name: tensor for name, tensor in plain.state_dict().items()}
    torch.save(state, tmp_path / "plain.params", _use_new_zipfile_serialization=zipped)
    load_params(model, tmp_path / "plain.params")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in plain.state_dict().items())
    assert_close(model(IDX)[0], plain(IDX), rtol=1e-4, atol=1e-5)


def test_a_file_of_the_courses_data_parallel_model_is_read(variant, tmp_path):
    plain, model = PlainGPT(variant).eval(), gpt(variant)
    torch.save(nn.DataParallel(plain).state_dict(), tmp_path / "plain.params")
    load_params(model, tmp_path / "plain.params")
    assert_close(model(IDX)[0], plain(IDX), rtol=1e-4, atol=1e-5)


def test_the_courses_code_reads_our_files(variant, tmp_path):
    model, plain = gpt(variant), PlainGPT(variant).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)
    save_params(model, tmp_path / "ours.params")
    plain.load_state_dict(torch.load(tmp_path / "ours.params"), strict=True)
    assert_close(plain(IDX), model(IDX)[0], rtol=1e-4, atol=1e-5)


def test_a_data_parallel_model_is_saved_and_loaded_as_the_model_in_it(variant, tmp_path):
    model, other = gpt(variant), gpt(variant)
    save_params(nn.DataParallel(model), tmp_path / "a.params")
    assert set(torch.load(tmp_path / "a.params", weights_only=True)) == set(model.state_dict())
    load_params(nn.DataParallel(other), tmp_path / "a.params")
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


# ---- what is written ------------------------------------------------------------------------------------------------

def test_a_file_holds_tensors_by_name_and_nothing_else(tiny_model, tmp_path):
    save_params(tiny_model, tmp_path / "a.params")
    state = torch.load(tmp_path / "a.params", weights_only=True)
    assert isinstance(state, dict) and list(state) == list(tiny_model.state_dict())
    for name, tensor in state.items():
        assert type(tensor) is torch.Tensor and not tensor.requires_grad and tensor.device.type == "cpu"
        assert torch.equal(tensor, tiny_model.state_dict()[name])


def test_saved_and_loaded_again(variant, tmp_path):
    model, other = gpt(variant), gpt(variant)
    save_params(model, tmp_path / "a.params")
    assert not torch.equal(model(IDX)[0], other(IDX)[0])
    load_params(other, tmp_path / "a.params")
    assert torch.equal(model(IDX)[0], other(IDX)[0])
    assert all(p.requires_grad for p in other.parameters())
    assert os.listdir(tmp_path) == ["a.params"]


def test_a_name_without_a_folder_is_of_the_current_one(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_params(tiny_model, "a.params")
    assert os.listdir(tmp_path) == ["a.params"]
    load_params(tiny_model, "a.params")


@pytest.mark.parametrize("error, raised", [
    (OSError(28, "No space left on device"), InputError), (RuntimeError("a defect"), RuntimeError),
    (KeyboardInterrupt(), KeyboardInterrupt), (TypeError("a defect"), TypeError),
])
def test_a_write_that_fails_half_way_keeps_the_older_file(error, raised, tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "a.params"
    path.write_bytes(b"the older file")

    def half(state, file):
        file.write(b"half of the")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(raised) as caught:
        save_params(tiny_model, path)
    if raised is InputError:
        assert str(caught.value).startswith(f"{path}: cannot be written: ") and "\n" not in str(caught.value)
        assert error.args[-1] in str(caught.value)
    assert os.listdir(tmp_path) == ["a.params"]
    assert path.read_bytes() == b"the older file"


def test_the_older_file_stays_until_the_new_one_is_complete(tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "a.params"
    path.write_bytes(b"the older file")
    replace, seen = os.replace, []

    def looking(source, target):
        state = torch.load(source, weights_only=True)  # complete, and all of it on disk
        seen.append((set(state), path.read_bytes(), os.path.dirname(source)))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", looking)
    save_params(tiny_model, path)
    assert seen == [(set(tiny_model.state_dict()), b"the older file", str(tmp_path))]  # another folder may be another disk
    assert set(torch.load(path, weights_only=True)) == set(tiny_model.state_dict())


def test_a_target_that_cannot_be_written(tiny_model, tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "a.params", tmp_path / "folder"):
        with pytest.raises(InputError) as caught:
            save_params(tiny_model, path)
        assert str(caught.value).startswith(f"{path}: cannot be written: ") and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == []


def test_a_link_stays_and_what_it_points_to_is_written(tiny_model, tmp_path):
    (tmp_path / "disk").mkdir()
    try:
        (tmp_path / "a.params").symlink_to(tmp_path / "disk" / "a.params")
    except OSError:
        pytest.skip("this system does not let us make links")
    save_params(tiny_model, tmp_path / "a.params")
    assert (tmp_path / "a.params").is_symlink()
    assert set(torch.load(tmp_path / "disk" / "a.params", weights_only=True)) == set(tiny_model.state_dict())
    assert os.listdir(tmp_path / "disk") == ["a.params"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(umask, mode, tiny_model, tmp_path):
    before = os.umask(umask)
    try:
        save_params(tiny_model, tmp_path / "a.params")
    finally:
        after = os.umask(before)
    assert after == umask
    assert (tmp_path / "a.params").stat().st_mode & 0o777 == mode


# ---- files of another model -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_the_other_variant_is_refused_by_name(variant, prefix, tmp_path):
    other = other_variant(variant)
    torch.save({prefix + name: tensor for name, tensor in gpt(other).state_dict().items()}, tmp_path / "a.params")
    check_refused(gpt(variant), tmp_path / "a.params", f"a {other} model, not a {variant} one")


@pytest.mark.parametrize("changes, said", [
    ({"vocab_size": 13}, r"tok_emb\.weight is \(13, 6\) in the file and \(12, 6\) in the model \(and 1 more\)"),
    ({"block_size": 9}, r"pos_emb is \(1, 9, 6\) in the file and \(1, 8, 6\) in the model"),
    ({"n_embd": 9}, r"pos_emb is \(1, 8, 9\) in the file and \(1, 8, 6\) in the model \(and \d+ more\)"),
    ({"n_layer": 3}, r"it has blocks\.2\.\S+ \(and \d+ more\)"),
    ({"n_layer": 1}, r"it lacks blocks\.1\.\S+ \(and \d+ more\)"),
])
def test_a_file_of_another_size_is_refused(variant, changes, said, tmp_path):
    save_params(gpt(variant, **changes), tmp_path / "a.params")
    check_refused(gpt(variant), tmp_path / "a.params", f"does not fit this model: .*{said}")


@pytest.mark.parametrize("changes", [{}, {"vocab_size": 13}, {"block_size": 9}, {"n_embd": 9}, {"n_layer": 3}, {"n_layer": 1}])
def test_the_sizes_of_a_state_dict_are_those_of_its_model(variant, changes):
    sizes = {"vocab_size": 12, "block_size": 8, "n_layer": 2, "n_embd": 6}
    assert checkpoint.sizes_of(gpt(variant, **changes).state_dict()) == {**sizes, **changes}


@pytest.mark.parametrize("changes", [
    {"pos_emb": None}, {"tok_emb.weight": None}, {"pos_emb": torch.ones(8, 6)}, {"tok_emb.weight": torch.ones(())}])
def test_of_what_is_no_gpt_the_sizes_are_unknown(changes, variant):
    state = {**gpt(variant).state_dict(), **changes}
    assert checkpoint.sizes_of({name: tensor for name, tensor in state.items() if tensor is not None}) == {}


@pytest.mark.parametrize("advice, end", [
    ("give more", r" in the model \(and \d+ more\); give more$"), ("", r" in the model \(and \d+ more\)$")])
def test_a_hint_that_knows_both_sizes_ends_the_line(advice, end, variant, tmp_path):
    asked = []

    def hint(found, expected):
        asked.append((found["n_embd"], expected["n_embd"]))
        return advice

    torch.save({f"module.{name}": tensor for name, tensor in gpt(variant, n_embd=9).state_dict().items()}, tmp_path / "a.params")
    with pytest.raises(InputError, match=end):
        load_params(gpt(variant), tmp_path / "a.params", hint)
    assert asked == [(9, 6)]


def test_no_hint_is_asked_for_where_sizes_and_names_are_right(variant, tmp_path):
    def hint(found, expected):
        pytest.fail("a hint was asked for")

    model = gpt(variant)
    save_params(model, tmp_path / "a.params")
    load_params(gpt(variant), tmp_path / "a.params", hint)
    torch.save({**copied(model), "pos_emb": torch.full((1, 8, 6), math.nan)}, tmp_path / "a.params")
    with pytest.raises(InputError, match="not finite"):
        load_params(gpt(variant), tmp_path / "a.params", hint)


@pytest.mark.parametrize("name", ["head.weight", "blocks.1.attn.mask", "blocks.0.attn.proj.bias", "pos_emb"])
def test_a_file_that_lacks_a_tensor_is_refused(name, tiny_model, tmp_path):
    state = copied(tiny_model)
    del state[name]
    torch.save(state, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", f"it lacks {re.escape(name)}$")


@pytest.mark.parametrize("name", ["head.bias", "blocks.0.attn.w3", "optimizer"])
def test_a_file_with_a_tensor_too_many_is_refused(name, tiny_model, tmp_path):
    torch.save({**copied(tiny_model), name: torch.ones(3)}, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", f"it has {re.escape(name)}$")


def test_a_new_variant_is_recognised(variant, tmp_path, monkeypatch):
    class Double(VARIANTS["vanilla"]):
        def __init__(self, config):
            super().__init__(config)
            self.gate = nn.Parameter(torch.ones(config.n_head))

    monkeypatch.setitem(VARIANTS, "double", Double)
    save_params(gpt("double"), tmp_path / "a.params")
    check_refused(gpt(variant), tmp_path / "a.params", f"a double model, not a {variant} one")
    load_params(gpt("double"), tmp_path / "a.params")


# ---- files that are no parameters -----------------------------------------------------------------------------------

@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, tiny_model, tmp_path):
    save_params(tiny_model, tmp_path / "a.params")
    whole = (tmp_path / "a.params").read_bytes()
    (tmp_path / "a.params").write_bytes(whole[:int(share * len(whole))])
    check_refused(tiny_model, tmp_path / "a.params", "not a parameter file, or damaged")


@pytest.mark.parametrize("content", [
    b"", b"\n", "Ann Lee. Ann Lee was born in Leeds .\nZoë Brøgger\n".encode(), b"PK\x03\x04" + bytes(200),
    bytes(range(256)) * 40,
    pickle.dumps({"tok_emb.weight": [1.0, 2.0]}, protocol=2), b"\x80\x02}q\x00.",
], ids=["empty", "blank", "text", "a zip's beginning", "bytes", "another pickle", "an empty pickle"])
def test_a_file_of_something_else_is_refused(content, tiny_model, tmp_path):
    (tmp_path / "a.params").write_bytes(content)
    check_refused(tiny_model, tmp_path / "a.params", "not a parameter file, or damaged")


def test_random_bytes_are_refused(tiny_model, tmp_path):
    generator = torch.Generator().manual_seed(1)
    for size in (1, 7, 100, 5000):
        content = bytes(torch.randint(256, (size,), generator=generator).tolist())
        (tmp_path / "a.params").write_bytes(content)
        check_refused(tiny_model, tmp_path / "a.params", "not a parameter file, or damaged")


@pytest.mark.parametrize("content", [
    [torch.ones(3)], torch.ones(3), "text", 3, {"tok_emb.weight": 3.0}, {"model": {"tok_emb.weight": torch.ones(12, 6)}},
    {0: torch.ones(3)}, None,
], ids=["list", "tensor", "text", "number", "number by name", "nested", "numbered", "nothing"])
def test_a_torch_file_of_something_else_is_refused(content, tiny_model, tmp_path):
    torch.save(content, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", "not a parameter file: it holds something else")


def test_an_empty_dictionary_is_refused(tiny_model, tmp_path):
    torch.save({}, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", "it lacks pos_emb")


def test_a_missing_file_and_a_folder_are_refused(tiny_model, tmp_path):
    check_refused(tiny_model, tmp_path / "none.params", "cannot be read: No such file")
    check_refused(tiny_model, tmp_path, "cannot be read: ")


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def let_torch(path):
    torch.load(path, weights_only=False)


@pytest.mark.parametrize("write, let", [
    (lambda state, path: path.write_bytes(pickle.dumps(state["head.weight"], protocol=2)),
     lambda path: pickle.loads(path.read_bytes())),
    (torch.save, let_torch),
    (lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False), let_torch),
], ids=["pickle", "torch", "before torch 1.6"])
def test_nothing_in_a_file_is_executed(write, let, tiny_model, tmp_path):
    path, folder = tmp_path / "a.params", tmp_path / "made"
    write({**copied(tiny_model), "head.weight": Hostile(folder)}, path)
    check_refused(tiny_model, path, "not a parameter file, or damaged")
    assert not folder.exists()
    let(path)  # the file does what it is meant to do, where it is let
    assert folder.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_parameters_that_are_not_finite_are_refused(value, tiny_model, tmp_path):
    state = copied(tiny_model)
    state["head.weight"][3, 1] = value
    torch.save(state, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", r"head\.weight holds numbers that are not finite; the model is spoiled")
    state["ln_f.bias"][0] = value
    torch.save(state, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", r"not finite \(and 1 more\)")


@pytest.mark.parametrize("kind", ["sparse", "complex", "meta", "quantized"])
def test_tensors_that_are_no_arrays_of_real_numbers_are_refused(kind, tiny_model, tmp_path):
    """Of the last one: all others fit, and must not have been loaded when that one fails."""
    state = copied(tiny_model)
    state = {name: tensor + 1 for name, tensor in state.items()}
    weight = state["head.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how old quantized tensors are
        state["head.weight"] = {"sparse": weight.to_sparse, "complex": lambda: weight.to(torch.complex64),
                                "meta": lambda: weight.to("meta"),
                                "quantized": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)}[kind]()
        torch.save(state, tmp_path / "a.params")
    check_refused(tiny_model, tmp_path / "a.params", r"head\.weight is no plain array of numbers")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_of_real_numbers_are_taken(dtype, tiny_model, tmp_path):
    state = {name: tensor.to(dtype) for name, tensor in tiny_model.state_dict().items()}
    torch.save(state, tmp_path / "a.params")
    load_params(tiny_model, tmp_path / "a.params")
    for name, tensor in tiny_model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state[name].float())


def test_a_file_that_unfolds_is_refused_before_it_does(tiny_model, tmp_path):
    """Compressed zeros: small on disk, large in memory. torch itself would read them."""
    save_params(tiny_model, tmp_path / "a.params")
    with zipfile.ZipFile(tmp_path / "a.params") as source, zipfile.ZipFile(tmp_path / "b.params", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        target.writestr("archive/zeros", bytes(10 ** 7))
    assert (tmp_path / "b.params").stat().st_size < 10 ** 5
    check_refused(tiny_model, tmp_path / "b.params", "not a parameter file, or damaged")


def test_a_file_that_unfolds_to_twice_its_size_is_refused():
    buffer, repacked = io.BytesIO(), io.BytesIO()
    torch.save({"pos_emb": torch.cat([torch.rand(10 ** 4), torch.zeros(10 ** 4)])}, buffer)
    checkpoint.refuse_compressed(buffer.getvalue())
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(repacked, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(ValueError, match="compressed"):
        checkpoint.refuse_compressed(repacked.getvalue())


def test_no_more_is_read_than_a_model_can_take(tiny_model, tmp_path, monkeypatch):
    """A film that was named by mistake, here of holes, does not fill the memory."""
    size = checkpoint.most_bytes(tiny_model.state_dict())
    assert 2 ** 30 < size < 2 ** 30 + 2 ** 16
    monkeypatch.setattr(checkpoint, "most_bytes", lambda state: 1000)
    with open(tmp_path / "a.params", "wb") as file:
        file.truncate(1000)
    check_refused(tiny_model, tmp_path / "a.params", "not a parameter file, or damaged")
    with open(tmp_path / "a.params", "wb") as file:
        file.truncate(10 ** 12)
    check_refused(tiny_model, tmp_path / "a.params", "not a parameter file of this model: larger than 1000 bytes")


def test_loading_draws_no_random_numbers(tmp_path):
    save_params(gpt("vanilla"), tmp_path / "a.params")
    model, before = gpt("vanilla"), torch.get_rng_state()
    load_params(model, tmp_path / "a.params")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loading_does_not_wait_for_torchs_compiler(variant, tmp_path):
    """Whose import takes longer than the rest of what evaluating a hundred names does."""
    save_params(gpt(variant), tmp_path / "a.params")
    program = ("import sys, torch; from checkpoint import load_params; from model import GPT, GPTConfig; "
               f"model = GPT(GPTConfig(12, 8, {variant}=True, **{SIZES!r})); load_params(model, 'a.params'); model(torch.ones(1, 3).long()); "
               "print('torch._dynamo' in sys.modules)")
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONPATH": str(Path(checkpoint.__file__).parent)})
    assert found.stdout.splitlines()[-1] == "False"
