"""
Parameter files: `torch.save` of a model's state dict and nothing else, as the course writes them.
They interchange with the course's code in both directions.

PARAMS.json beside a file PARAMS says what the parameters belong to: variant, sizes, vocabulary and
so on, and the sha256 of the parameter file. A file without it loads as well.
"""

import contextlib
import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn as nn

from attention import VARIANTS
from runs.console import note
from runs.files import is_special, write_atomically
from runs.inputs import InputError, errors_name

CONSTANTS = (".mask", ".rope_cache")  # tensors of a parameter file that are not trained
# What DataParallel and torch.compile put before every name of a state dict.
WRAPPERS = re.compile(r"\b(module|_orig_mod)\.")
HOW_TO_SAVE = "save a model by torch.save(model.state_dict(), PATH)"
# The entries of PARAMS.json that must be those of the model that loads the parameters.
MUST_AGREE = ("variant", "sizes", "vocabulary")

State = dict[str, torch.Tensor]
Hint = Callable[[dict[str, int], dict[str, int]], str]


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, where DataParallel, DistributedDataParallel or torch.compile wrap it."""
    while hasattr(model, "module") or hasattr(model, "_orig_mod"):
        model = model.module if hasattr(model, "module") else model._orig_mod
    return model


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def save_params(model: nn.Module, path: str, meta: dict | None = None) -> None:
    """
    Writes the model's state dict to path: all of it or nothing. With meta, also PARAMS.json,
    unless path is a device such as /dev/null.

    Raises InputError if a file cannot be written.
    """
    state = unwrap(model).state_dict()
    state = {WRAPPERS.sub("", name): tensor.detach().cpu() for name, tensor in state.items()}
    content = write_tensors(path, state)
    if meta is not None and not is_special(path):
        text = json.dumps({**meta, "sha256": digest(content)}, indent=1) + "\n"
        write_atomically(meta_path(path), lambda file: file.write(text.encode("utf-8")))


def meta_path(path: str) -> str:
    return f"{path}.json"


def write_tensors(path: str, content: object) -> bytes:
    """Writes what torch.save makes of the content. Returns the file's bytes."""
    buffer = io.BytesIO()  # torch's own error for a full disk does not say that it is full
    torch.save(content, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
    return buffer.getvalue()


def load_params(
    model: nn.Module, path: str, hint: Hint | None = None, meta: dict | None = None
) -> dict:
    """
    Loads a parameter file into the model, strictly: all of it, or the model stays as it was.
    Returns what PARAMS.json says, {} without it.

    Only tensors are read from the file (weights_only); nothing in it is executed. hint: see
    check_state(). meta: what the model is, to be compared with PARAMS.json where there is one.

    Raises InputError, in one line, for a file that is no parameter file, that belongs to a model
    of another variant, vocabulary or size, or that holds numbers that are not finite.
    """
    content = read_bytes(path)
    state = parse_tensors(content, path, "parameter file")
    if not is_state(state):
        raise InputError(f"{path}: not a parameter file: {describe_content(state)}")
    state = {WRAPPERS.sub("", name): tensor for name, tensor in state.items()}
    with errors_name(path):
        expected = unwrap(model).state_dict()
        own = {WRAPPERS.sub("", name): name for name in expected}
        check_state(state, {name: expected[own[name]] for name in own}, hint)
    found = read_meta(path, digest(content))
    check_meta(path, found, meta or {})
    for name in own:
        if not name.endswith(CONSTANTS):
            continue
        constant = expected[own[name]]
        if not torch.allclose(state[name].to(constant), constant, atol=0.01):  # as in bfloat16
            note(f"warning: {path}: {name} holds other numbers than this code's")
            break
    unwrap(model).load_state_dict({own[name]: tensor for name, tensor in state.items()})
    return found


def is_state(state: object) -> bool:
    return isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in state.items()
    )


def describe_content(content: object) -> str:
    """What a file holds instead of a state dict, and how to make a parameter file of it."""
    if isinstance(content, dict):
        for name, value in content.items():
            if is_state(value) and value:
                return (
                    f"it is a dict with a state dict in its entry {name!r}; save that entry "
                    f"alone, as torch.save(content[{name!r}], PATH)"
                )
    return f"it holds a {type(content).__name__}; {HOW_TO_SAVE}"


def read_meta(path: str, sha256: str) -> dict:
    """What PARAMS.json says; {} if it is not there, or not about the file as it is now."""
    beside = meta_path(path)
    try:
        with open(beside, encoding="utf-8") as file:
            found = json.load(file)
        current = found["sha256"] == sha256
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError):
        note(f"warning: {beside} cannot be read and is not used")
        return {}
    if not current:
        note(f"note: {beside} belongs to other parameters than {path} and is not used")
        return {}
    return found


def check_meta(path: str, found: dict, meta: dict) -> None:
    """
    Raises InputError if PARAMS.json says, in `found`, that the parameters are another model's.
    """
    for name in MUST_AGREE:
        if name in found and name in meta and found[name] != meta[name]:
            known = "" if name == "vocabulary" else f" ({found[name]}, here {meta[name]})"
            raise InputError(
                f"{path}: was trained with another {name}{known}, as {meta_path(path)} says"
                + ("; give the corpus that it was pretrained on" if name == "vocabulary" else "")
            )


def check_state(state: State, expected: State, hint: Hint | None = None) -> None:
    """
    Raises InputError if the tensors of `state` cannot replace those of `expected`: other names,
    other sizes, or numbers that are not finite.

    hint(sizes_of(state), sizes_of(expected)) ends the error's line where names or sizes differ.
    """
    difference = describe_difference(state, expected)
    if difference:
        advice = hint(sizes_of(state), sizes_of(expected)) if hint else ""
        raise InputError(f"does not fit this model: {difference}" + (advice and f"; {advice}"))
    for name, tensor in state.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise InputError(f"{name} holds numbers of the type {tensor.dtype}")
        if not torch.isfinite(tensor.to(expected[name].dtype)).all():
            raise InputError(
                f"{name} holds numbers that are not finite; these parameters are useless"
            )


def read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_tensors(content: bytes, path: str, kind: str) -> object:
    """
    What torch.save wrote: tensors, numbers and text in dicts, lists and tuples. Nothing in it is
    executed. path, kind: the file, and what it should be, for the InputError if it is none.
    """
    try:
        with warnings.catch_warnings():  # torch warns about old files
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch raises another class for each way in which a file is damaged
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            reason = (
                "it holds Python objects, such as a whole model, and only tensors are read; "
                f"{HOW_TO_SAVE}"
            )
        else:
            reason = "torch.load finds no tensors in it"
        raise InputError(f"{path}: not a {kind}, or damaged: {reason}") from None


def describe_difference(found: State, expected: State) -> str:
    """One line on how a state dict differs from the expected one in names or sizes; else empty."""
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    sizes = [
        f"{name} is {tuple(found[name].shape)} in the file and {tuple(tensor.shape)} in the model"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if missing or surplus:
        variant, wanted = variant_of_state(found), variant_of_state(expected)
        if variant and variant != wanted:
            return f"it holds a {variant} model" + (f", not a {wanted} one" if wanted else "")
    for start, names in (("it lacks ", missing), ("it has ", surplus), ("", sizes)):
        if names:
            return start + names[0] + (f" (and {len(names) - 1} more)" if names[1:] else "")
    return ""


def sizes_of(state: State) -> dict[str, int]:
    """
    The sizes of the GPT that a state dict belongs to, by their names in GPTConfig; without n_head,
    which no tensor shows. {} if it is no GPT's.
    """
    bottleneck = state.get("down_block.C")
    tokens, mask = state.get("tok_emb.weight"), state.get(f"{first_attention(state)}mask")
    positions = state.get("pos_emb")  # rope has none; its mask has as many rows
    if positions is None and mask is not None:
        positions = mask[0]
    if tokens is None or positions is None or tokens.dim() != 2 or positions.dim() != 3:
        return {}
    layers = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    sizes = {
        "vocab_size": tokens.shape[0],
        "block_size": positions.shape[1],
        "n_layer": len(layers),
        "n_embd": tokens.shape[1],
    }
    if first_attention(state).startswith("down_block"):
        sizes["n_layer"] += 2
    if bottleneck is not None and bottleneck.dim() == 3:
        sizes["bottleneck_dim"] = bottleneck.shape[1]
    return sizes


def first_attention(state: State) -> str:
    """What the names of a GPT's first attention begin with."""
    perceiver = "down_block.attn."
    return perceiver if any(name.startswith(perceiver) for name in state) else "blocks.0.attn."


def variant_of_state(state: State) -> str | None:
    """The attention variant whose tensors a GPT's state dict has; None if it is none of them."""
    first = first_attention(state)
    model = first.startswith("down_block"), "pos_emb" in state
    names = {name.removeprefix(first) for name in state if name.startswith(first)}
    smallest = SimpleNamespace(n_embd=2, n_head=1, block_size=2, attn_pdrop=0.0, resid_pdrop=0.0)
    # fork_rng gives the random numbers back. torch's meta device would draw none, but loads
    # slowly.
    with torch.random.fork_rng(devices=[]):
        for variant, attention in VARIANTS.items():
            bottleneck = getattr(attention, "has_bottleneck", False)
            if (bottleneck, getattr(attention, "learned_positions", True)) != model:
                continue
            with contextlib.suppress(Exception):  # one that takes larger sizes only
                if names == set(attention(smallest).state_dict()):
                    return variant
    return None
