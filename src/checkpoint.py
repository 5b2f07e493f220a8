"""
Parameter files: `torch.save` of a model's state dict and nothing else, as the course writes them.

They interchange with the course's code in both directions, also where they were saved under DataParallel, which puts
`module.` before every name.
"""
import io
import os
import tempfile
from types import SimpleNamespace

import torch

from attention import VARIANTS
from dataset import InputError

PARALLEL_PREFIX = "module."


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
    write_atomically(path, lambda file: torch.save(state, file))


def write_atomically(path, write):
    """
    Calls write(file) on a temporary binary file beside path, flushes it to disk and renames it to path. A symbolic link stays
    one, and what is no ordinary file, as /dev/null, is written to as it is.
    """
    target, temporary = os.path.realpath(path), None
    try:
        if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
            with open(target, "wb") as file:
                write(file)
            return
        folder, name = os.path.split(target)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
            temporary = file.name
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())  # temporary files are private; results are as other files are
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise InputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.remove(temporary)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_params(model, path):
    """
    Loads a parameter file into the model, strictly: all of it, or the model stays as it was.

    Only tensors are read from the file (weights_only); nothing in it is executed. Raises InputError, in one line, for a
    file that is no parameter file or belongs to a model of another variant, vocabulary or size.
    """
    try:
        with open(path, "rb") as file:
            content = io.BytesIO(file.read())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # torch raises a different class for each way in which a file can be damaged
        raise InputError(f"{path}: not a parameter file, or damaged (torch.load finds no tensors in it)") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) and isinstance(tensor, torch.Tensor)
                                              for name, tensor in state.items()):
        raise InputError(f"{path}: not a parameter file: it holds something else than a model's tensors by name")
    state = {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in state.items()}
    difference = describe_difference(state, unwrap(model).state_dict())
    if difference:
        raise InputError(f"{path}: does not fit this model: {difference}")
    unwrap(model).load_state_dict(state)


def describe_difference(found, expected):
    """One line on how the state dict `found` departs from `expected` in names or sizes; empty if it does not."""
    if attention_of(found) and attention_of(found) != attention_of(expected):
        return f"it holds a {attention_of(found)} model, not a {attention_of(expected)} one"
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    sizes = [f"{name} is {tuple(found[name].shape)} in the file and {tuple(expected[name].shape)} in the model"
             for name in expected if name in found and found[name].shape != expected[name].shape]
    parts = [("it lacks ", missing), ("it has ", surplus), ("", sizes)]
    return "; ".join(start + names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
                     for start, names in parts if names)


def attention_of(state):
    """The attention variant whose tensors a GPT's state dict holds, or None if it is none of them."""
    first = "blocks.0.attn."
    names = {name.removeprefix(first) for name in state if name.startswith(first)}
    smallest = SimpleNamespace(n_embd=1, n_head=1, block_size=2, attn_pdrop=0.0, resid_pdrop=0.0)
    for variant, attention in VARIANTS.items():
        with torch.device("meta"):  # only the names are wanted: no memory, no random numbers
            expected = set(attention(smallest).state_dict())
        if names == expected:
            return variant
    return None
