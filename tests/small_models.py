"""Models whose parameters are all large enough to matter, for the tests of several files."""

import contextlib

import torch
from torch import nn

from baseline import BaselineGPT
from model import GPT, GPTConfig

BOTTLENECK = 3  # positions of a perceiver's, if no other number is given
NO_DROPOUT = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}


def enlarge(model, size=0.3, seed=None):
    """Draws every parameter, biases, positions and w2 too, from N(0, size²). Returns the model."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.copy_(size * draw)
    return model


def make_gpt(variant, sizes, dtype=torch.float32, **settings):
    """A GPT of these sizes (keywords of GPTConfig), without dropout unless settings say so."""
    settings = {**NO_DROPOUT, "bottleneck_dim": BOTTLENECK, **settings, variant: True}
    with default_dtype(dtype):
        return GPT(GPTConfig(**sizes, **settings))


@contextlib.contextmanager
def default_dtype(dtype):
    """
    What is made inside has this type: rope's angles too, which .double() would only convert.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def most_positions(variant, block_size):
    """The longest row that a model of this variant takes."""
    return block_size - 1 if variant == "synthesizer" else block_size


def make_baseline(variant, sizes, state):
    """A BaselineGPT of a variant that it knows, with the parameters of a GPT's state dict."""
    bottleneck = {}
    if "down_block.C" in state:
        bottleneck["bottleneck_dim"] = state["down_block.C"].size(1)
    baseline = BaselineGPT(**sizes, dropout=0.0, variant=variant, **bottleneck)
    baseline.to(state["head.weight"].dtype).load_state_dict(state)
    return baseline


class MeanAttention(nn.Module):
    """
    The mean of the positions up to each one. It has the course's interface and nothing more:
    forward(x, layer_past=None), no supports_packing, supports_kv_cache or max_positions.
    """

    def __init__(self, config):
        super().__init__()
        self.value = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, layer_past=None):
        assert x.dim() == 3 and layer_past is None
        counts = torch.arange(1, x.size(1) + 1, dtype=x.dtype)
        return self.value(x).cumsum(dim=1) / counts[:, None]


MASK_ID = 1  # ⁇ ends each of draw_prompts() and, where it is the stop id, each answer


def draw_prompts(lengths, vocab_size, seed=2):
    """Random prompts of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(2, vocab_size, (n - 1,), generator=generator).tolist() + [MASK_ID]
        for n in lengths
    ]


def make_writer(variant, sizes, seed=150, size=1.0, mask=1.5, dtype=torch.float32):
    """A GPT whose answers differ, depend on all of the prompt, and end in ⁇ more with `mask`."""
    model = enlarge(make_gpt(variant, sizes, dtype), size, seed)
    with torch.no_grad():
        model.head.weight[MASK_ID] *= mask
    return model
