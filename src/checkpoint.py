"""
Parameter files: `torch.save` of a model's state dict and nothing else, as the course writes them.

They interchange with the course's code in both directions, also where they were saved under DataParallel, which puts
`module.` before every name.
"""
import io
import warnings
import zipfile
from types import SimpleNamespace

import torch

from attention import VARIANTS
from dataset import InputError, read_at_most
from files import write_atomically

PARALLEL_PREFIX = "module."
USUAL_TYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
               torch.bool}


def unwrap(model):
    """The model itself, where DataParallel or DistributedDataParallel may hold it."""
    return model.module if hasattr(model, "module") else model


def save_params(model, path):
    """
    Writes the model's state dict to path: all of it or nothing. A reader never sees half a file, and an older file stays
    until the new one is complete.

    Raises InputError if the file cannot be written.
    """
    state = {name: tensor.detach().cpu() for name, tensor in unwrap(model).state_dict().items()}
    write_tensors(path, state)


def write_tensors(path, content):
    """Writes to path what torch.save makes of the content. By way of memory: torch says of a full disk only that something is wrong."""
    def write(file):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        file.write(buffer.getbuffer())

    write_atomically(path, write)


def load_params(model, path, hint=None):
    """
    Loads a parameter file into the model, strictly: all of it, or the model stays as it was. hint: see check_state().

    Only tensors are read from the file (weights_only); nothing in it is executed. Raises InputError, in one line, for a
    file that is no parameter file, belongs to a model of another variant, vocabulary or size, or holds numbers that are
    not finite.
    """
    state = read_tensors(path, "parameter file", most_bytes(unwrap(model).state_dict()))
    if not isinstance(state, dict) or not all(isinstance(name, str) and isinstance(tensor, torch.Tensor)
                                              for name, tensor in state.items()):
        raise InputError(f"{path}: not a parameter file: it holds something else than a model's tensors by name")
    try:
        load_state(model, {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state.items()}, hint)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_state(model, state, hint=None):
    """Loads a state dict into the model, all of it or nothing. Raises InputError if it does not fit or cannot be used."""
    check_state(state, unwrap(model).state_dict(), hint)
    unwrap(model).load_state_dict(state)


def check_state(state, expected, hint=None):
    """
    Raises InputError if a dict of tensors cannot take the place of `expected`: other names, sizes, kinds, or not finite.

    hint: of names and sizes that differ, hint(sizes_of(state), sizes_of(expected)) ends the error's line; it may be empty.
    """
    unusual = [name for name, tensor in state.items() if not is_plain(tensor)]
    if unusual:
        raise InputError(f"{unusual[0]} is no plain array of numbers" + count_more(unusual))
    difference = describe_difference(state, expected)
    if difference:
        advice = hint(sizes_of(state), sizes_of(expected)) if hint else ""
        raise InputError(f"does not fit this model: {difference}" + (f"; {advice}" if advice else ""))
    infinite = [name for name, tensor in state.items() if not torch.isfinite(tensor.to(expected[name].dtype)).all()]
    if infinite:
        raise InputError(f"{infinite[0]} holds numbers that are not finite" + count_more(infinite) + "; the model is spoiled")


def is_plain(tensor):
    """Whether a tensor from a file can be copied into a model's: dense numbers of a usual type, in memory."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.dtype in USUAL_TYPES and not tensor.is_nested


def most_bytes(state):
    """How large a file for this state dict may be: of much more than that, named by mistake, not all is read into memory."""
    return 2 ** 30 + 4 * sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def read_tensors(path, kind, limit):
    """
    What torch.save wrote to path: tensors, numbers and text in dicts, lists and tuples. Nothing in it is executed.

    kind: what the file should be, for the error. limit: its bytes at the most. Raises InputError if it cannot be read, is
    larger, or is no such file.
    """
    try:
        with open(path, "rb") as file:
            content = read_at_most(file, limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise InputError(f"{path}: not a {kind} of this model: larger than {limit} bytes")
    try:
        refuse_compressed(content)
        with warnings.catch_warnings():  # of what old files hold
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises a different class for each way in which a file can be damaged
        raise InputError(f"{path}: not a {kind}, or damaged (torch.load finds no tensors in it)") from None


def refuse_compressed(content):
    """torch.save compresses nothing. A zip file that unfolds to more than it holds is made to fill the memory."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise ValueError("compressed")


def describe_difference(found, expected):
    """One line on how the state dict `found` departs from `expected` in names or sizes; empty if it does not."""
    if attention_of(found) and attention_of(found) != attention_of(expected):
        return f"it holds a {attention_of(found)} model, not a {attention_of(expected)} one"
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    sizes = [f"{name} is {tuple(found[name].shape)} in the file and {tuple(expected[name].shape)} in the model"
             for name in expected if name in found and found[name].shape != expected[name].shape]
    parts = [("it lacks ", missing), ("it has ", surplus), ("", sizes)]
    return "; ".join(start + names[0] + count_more(names) for start, names in parts if names)


def sizes_of(state):
    """The sizes of the GPT whose state dict this is, by their names in GPTConfig, but for n_head, which it does not tell; {} of none."""
    tokens, positions = state.get("tok_emb.weight"), state.get("pos_emb")
    if tokens is None or positions is None or tokens.dim() != 2 or positions.dim() != 3:
        return {}
    layers = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    return {"vocab_size": tokens.shape[0], "block_size": positions.shape[1], "n_layer": len(layers), "n_embd": positions.shape[2]}


def count_more(names):
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def attention_of(state):
    """The attention variant whose tensors a GPT's state dict holds, or None if it is none of them."""
    first = "blocks.0.attn."
    names = {name.removeprefix(first) for name in state if name.startswith(first)}
    smallest = SimpleNamespace(n_embd=1, n_head=1, block_size=2, attn_pdrop=0.0, resid_pdrop=0.0)
    # Only the names are wanted. The random numbers are given back; the meta device would draw none, but has torch import its compiler.
    with torch.random.fork_rng(devices=[]):
        return next((variant for variant, attention in VARIANTS.items() if names == set(attention(smallest).state_dict())), None)
