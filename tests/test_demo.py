"""mingpt-demo/demo.py, which the notebooks share."""

import math
import sys

import pytest
import torch

import reference
from attention import VARIANTS
from conftest import ROOT
from trainer import TrainerConfig, learning_rate_factor

pytest.importorskip("matplotlib")
pytest.importorskip("IPython")
sys.path.insert(0, str(ROOT / "mingpt-demo"))
import demo  # noqa: E402

IDS = [3, 1, 4, 1, 5, 9, 2]


WHOLE = [name for name in reference.VARIANTS if not getattr(VARIANTS[name], "has_bottleneck", 0)]


@pytest.fixture(params=WHOLE)
def variant(request):
    """
    demo.attention_weights() needs an attention with attn_drop, as the known variants have, and
    blocks that read the text itself.
    """
    return request.param


@pytest.fixture
def random_model(tiny_model):
    """A tiny_model whose heads differ clearly."""
    for parameter in tiny_model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return tiny_model


def attention_inputs_and_outputs(model, ids):
    """[(x, output)] of each layer's attention, (T, C) both."""
    pairs = []
    hooks = [
        block.attn.register_forward_hook(
            lambda module, inputs, output: pairs.append((inputs[0][0], output[0]))
        )
        for block in model.blocks
    ]
    with torch.no_grad():
        model.eval()(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return pairs


def has_hooks(model):
    return any(block.attn.attn_drop._forward_pre_hooks for block in model.blocks)


def test_attention_weights_and_values_give_the_attention_output(random_model):
    weights = demo.attention_weights(random_model, IDS)
    assert weights.shape == (3, 3, 7, 7)
    pairs = attention_inputs_and_outputs(random_model, IDS)
    for block, layer, (x, output) in zip(random_model.blocks, weights, pairs, strict=True):
        attn = block.attn
        v = reference.linear(x, attn.value.weight, attn.value.bias)  # (T, C), C = nh · hs
        heads = [layer[head] @ v[:, 2 * head : 2 * head + 2] for head in range(3)]
        expected = reference.linear(torch.cat(heads, dim=1), attn.proj.weight, attn.proj.bias)
        assert torch.allclose(output, expected, atol=1e-5)
    assert not torch.allclose(weights[:, 0], weights[:, 1], atol=1e-3)


def test_attention_weights_are_without_dropout(random_model):
    for block in random_model.blocks:
        block.attn.attn_drop.p = 0.9
    weights = demo.attention_weights(random_model.train(), IDS)
    assert torch.equal(weights, demo.attention_weights(random_model.eval(), IDS))
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 3, 7), atol=1e-6)


def test_attention_weights_leave_no_hooks(tiny_model):
    demo.attention_weights(tiny_model, IDS)
    assert not has_hooks(tiny_model)
    with pytest.raises(ValueError):
        demo.attention_weights(tiny_model, IDS * 2)  # more than the block size
    assert not has_hooks(tiny_model)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.tensor([1, 2, i + 1]), torch.tensor([2, i + 1, 3])


def test_a_watched_trainer_calls_watch_after_each_epoch(tiny_model, tmp_path):
    calls, path = [], tmp_path / "x.params"
    config = TrainerConfig(max_epochs=3, batch_size=2, ckpt_path=path, device="cpu")
    trainer = demo.WatchedTrainer(
        tiny_model, Rows(), None, config, watch=lambda epoch: calls.append((epoch, path.exists()))
    )
    trainer.train()
    assert calls == [(1, True), (2, True), (3, True)]  # the checkpoint is written before the call
    assert demo.losses(trainer) == ([9], [trainer.log.records[0]["loss"]])


def test_one_cosine_warms_up_and_decays_once():
    config = demo.one_cosine(4, 8, 0.01, positions=1000, micro_batch_size=3)
    assert (config.max_epochs, config.batch_size, config.learning_rate) == (4, 8, 0.01)
    assert config.lr_decay and config.micro_batch_size == 3
    expected = {0: 0, 100: 0.5, 200: 1, 2100: 0.5, 4000: 0.1}
    for tokens, factor in expected.items():
        found = learning_rate_factor(tokens, config.warmup_tokens, config.final_tokens)
        assert math.isclose(found, factor), tokens


def test_attention_is_drawn_with_rows_down_and_columns_across():
    figure, axis = demo.plt.subplots()
    weights = torch.tensor([[0.0, 0.25, 0.5]])
    image = demo.show_attention(axis, weights, ["r"], ["a", "b", "c"], largest=0.5)
    assert image.get_array().tolist() == weights.tolist() and image.get_clim() == (0, 0.5)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["r"]
    demo.plt.close(figure)


def test_an_existing_quick_run_is_not_repeated(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "SMALL", False)
    monkeypatch.setattr(
        demo.subprocess, "run", lambda command, **settings: commands.append((command, settings))
    )
    folder = tmp_path / "out" / "quick-seed0"
    assert demo.quick_run() == folder
    ((command, settings),) = commands
    assert command == ["bash", tmp_path / "run_all.sh", "--quick", "--variant", "vanilla"]
    assert settings["check"] is True and settings["env"]["PYTHON"] == sys.executable
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "vanilla.pretrain.dev.seconds").touch()
    assert demo.quick_run() == folder and len(commands) == 1
