"""
What the notebooks share (mingpt-demo/demo.py): attention weights, the trainer that can be watched, the schedule, the run.
Run with: python -m pytest tests/test_demo.py
"""
import math
import sys

import pytest
import torch

import reference
from conftest import ROOT
from trainer import TrainerConfig, learning_rate_factor

pytest.importorskip("matplotlib")
pytest.importorskip("IPython")
sys.path.insert(0, str(ROOT / "mingpt-demo"))
import demo

IDS = [3, 1, 4, 1, 5, 9, 2]


def captured(model, ids):
    """(what goes into each block's attention, what comes out of it), a list of pairs of (T, C)."""
    pairs = []
    hooks = [block.attn.register_forward_hook(lambda module, inputs, output: pairs.append((inputs[0][0], output[0])))
             for block in model.blocks]
    with torch.no_grad():
        model.eval()(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return pairs


def test_attention_weights_are_those_that_the_output_is_made_with(tiny_model):
    """Each layer's output, computed anew from the weights and the values, head by head."""
    for parameter in tiny_model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    weights = demo.attention_weights(tiny_model, IDS)
    assert weights.shape == (2, 3, 7, 7)
    for block, layer, (x, out) in zip(tiny_model.blocks, weights, captured(tiny_model, IDS)):
        values = reference.linear(x, block.attn.value.weight, block.attn.value.bias)         # (T, C), heads side by side
        heads = [layer[head] @ values[:, 2 * head:2 * head + 2] for head in range(3)]
        expected = reference.linear(torch.cat(heads, dim=1), block.attn.proj.weight, block.attn.proj.bias)
        assert torch.allclose(out, expected, atol=1e-5)
        assert not torch.allclose(layer[0], layer[1], atol=1e-3)


def test_attention_weights_of_a_model_that_is_in_training_are_without_dropout(tiny_model):
    for parameter in tiny_model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for block in tiny_model.blocks:
        block.attn.attn_drop.p = 0.9
    weights = demo.attention_weights(tiny_model.train(), IDS)
    assert torch.equal(weights, demo.attention_weights(tiny_model.eval(), IDS))
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 3, 7), atol=1e-6)
    assert not any(block.attn.attn_drop._forward_pre_hooks for block in tiny_model.blocks)  # nothing stays behind


def test_hooks_are_taken_away_when_the_model_refuses(tiny_model):
    with pytest.raises(ValueError, match="positions"):
        demo.attention_weights(tiny_model, IDS * 2)
    assert not any(block.attn.attn_drop._forward_pre_hooks for block in tiny_model.blocks)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.tensor([1, 2, i + 1]), torch.tensor([2, i + 1, 3])


def test_a_watched_trainer_calls_after_each_epoch(tiny_model, tmp_path):
    calls, path = [], tmp_path / "x.params"
    trainer = demo.WatchedTrainer(tiny_model, Rows(), None, TrainerConfig(max_epochs=3, batch_size=2, ckpt_path=path, device="cpu"),
                                  watch=lambda epoch: calls.append((epoch, path.exists())))
    trainer.train()
    assert calls == [(1, True), (2, True), (3, True)]       # what is kept has been written by then
    assert demo.losses(trainer) == ([9], [trainer.log.records[0]["loss"]])


def test_one_cosine_goes_up_and_down_once():
    config = demo.one_cosine(4, 8, 0.01, positions=1000)
    assert (config.max_epochs, config.batch_size, config.learning_rate, config.lr_decay) == (4, 8, 0.01, True)
    rates = [learning_rate_factor(tokens, config.warmup_tokens, config.final_tokens) for tokens in (0, 100, 200, 2100, 4000)]
    assert rates[0] == 0 and math.isclose(rates[1], 0.5) and rates[2] == 1 and math.isclose(rates[3], 0.5) and rates[4] == 0.1
    assert demo.one_cosine(1, 1, 0.1, positions=1, micro_batch_size=3).micro_batch_size == 3


def test_attention_is_drawn_with_rows_down_and_columns_across():
    figure, axis = demo.plt.subplots()
    image = demo.show_attention(axis, torch.tensor([[0.0, 0.25, 0.5]]), ["r"], ["a", "b", "c"], largest=0.5)
    assert image.get_array().tolist() == [[0.0, 0.25, 0.5]] and image.get_clim() == (0, 0.5)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["r"]
    demo.plt.close(figure)


def test_a_quick_run_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "SMALL", False)
    monkeypatch.setattr(demo.subprocess, "run", lambda command, **how: commands.append((command, how)))
    folder = tmp_path / "out" / "quick-seed0"
    assert demo.quick_run() == folder
    (command, how), = commands
    assert command == ["bash", tmp_path / "run_all.sh", "--quick", "--variant", "vanilla"]
    assert how["check"] is True and how["env"]["PYTHON"] == sys.executable
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "vanilla.pretrain.dev.seconds").touch()
    assert demo.quick_run() == folder and len(commands) == 1
