"""TrainerConfig: the course's defaults, what it refuses, subclasses, other objects."""

import copy
import dataclasses
import math

import numpy as np
import pytest
from torch.utils.data import TensorDataset

from trainer import Trainer, TrainerConfig
from training import PEAK, Counted, copied, identical, model_of, numbered, ragged_rows, settings


def test_the_defaults_are_the_courses():
    expected = dict(max_epochs=10, batch_size=64, learning_rate=3e-4, betas=(0.9, 0.95))
    expected |= dict(grad_norm_clip=1.0, weight_decay=0.1, lr_decay=False, ckpt_path=None)
    expected |= dict(warmup_tokens=375e6, final_tokens=260e9, num_workers=0, writer=None)
    ours = dict(seed=None, device=None, precision="float32", micro_batch_size=None, compile=False)
    ours |= dict(optimizer="adamw")
    assert dataclasses.asdict(TrainerConfig()) == expected | ours
    given = dict(max_epochs=3, batch_size=7, learning_rate=1e-4, betas=(0.8, 0.9), lr_decay=True)
    given |= dict(grad_norm_clip=2.0, weight_decay=0.2, ckpt_path="path", writer=object())
    given |= dict(warmup_tokens=1, final_tokens=2, num_workers=3)
    assert given.keys() == expected.keys()
    config = TrainerConfig(**given)
    assert all(getattr(config, name) is given[name] for name in given)


@pytest.mark.parametrize("name", ["epochs", "lr", "_seed", "checkpointer"])
def test_a_setting_that_does_not_exist_is_refused(name):
    """In the construction and afterwards; one that does may be set afterwards."""
    with pytest.raises(TypeError, match=name):
        TrainerConfig(**{name: 1})
    config = TrainerConfig()
    with pytest.raises(TypeError, match=name):
        setattr(config, name, 1)
    config.max_epochs = 3
    assert copy.copy(config).max_epochs == 3


BAD_VALUES = {
    "max_epochs": (0, 1.5),
    "batch_size": (0, True, None),
    "micro_batch_size": (0,),
    "num_workers": (-1,),
    "seed": (-1, 2**32),
    "learning_rate": (-1e-3, math.nan, math.inf),
    "grad_norm_clip": (-1.0,),
    "weight_decay": (math.nan,),
    "precision": ("float16", None),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_setting_out_of_range_is_refused_at_once_and_later(name):
    config = TrainerConfig()
    for value in BAD_VALUES[name]:
        with pytest.raises(ValueError, match=name):
            TrainerConfig(**{name: value})
        with pytest.raises(ValueError, match=name):
            setattr(config, name, value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_epochs", np.int64(3)),
        ("batch_size", 1),
        ("micro_batch_size", None),
        ("seed", None),
        ("seed", 2**32 - 1),
        ("learning_rate", 0),
        ("learning_rate", np.float32(1e-3)),
        ("precision", "auto"),
    ],
)
def test_settings_at_the_edge_and_numpys_are_taken(name, value):
    assert getattr(TrainerConfig(**{name: value}), name) == value


def test_a_subclass_sets_defaults_by_class_attributes():
    class Mine(TrainerConfig):
        max_epochs = 1
        batch_size = 2

    assert (Mine().max_epochs, Mine().batch_size, Mine(batch_size=3).batch_size) == (1, 2, 3)
    with pytest.raises(TypeError, match="max_epoch"):
        type("Misspelt", (TrainerConfig,), {"max_epoch": 1})()


def test_a_subclass_keeps_its_own_init_and_properties():
    class Mine(TrainerConfig):
        max_epochs = 3

        def __init__(self, **given):
            super().__init__(**{"learning_rate": 1e-2, **given})

        @property
        def steps(self):
            return 2 * self.max_epochs

    assert (Mine().learning_rate, Mine(learning_rate=1.0).learning_rate) == (1e-2, 1.0)
    assert (Mine().steps, Mine(max_epochs=5).steps, type("Other", (Mine,), {})().steps) == (
        6,
        10,
        6,
    )


class CourseConfig:
    """As the course's own code has it: class attributes, and whatever is given."""

    betas = (0.9, 0.95)
    grad_norm_clip = 1.0
    weight_decay = 0.1
    ckpt_path = None
    num_workers = 0

    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


def test_the_courses_own_config_object_trains_as_ours():
    given = {"max_epochs": 2, "batch_size": 2, "learning_rate": PEAK, "lr_decay": True}
    given |= {"warmup_tokens": 20, "final_tokens": 60}
    models = model_of(), model_of()
    for config, model in zip((TrainerConfig, CourseConfig), models, strict=True):
        Trainer(model, TensorDataset(*ragged_rows()), None, config(**given)).train()
    assert identical(*map(copied, models))
    assert not identical(copied(models[0]), copied(model_of()))


def test_settings_that_change_no_result_do_not_identify_a_run():
    trainer = Trainer(Counted(), TensorDataset(*numbered(2)), None, settings())
    free = {"ckpt_path", "num_workers", "writer", "device"}
    free |= {"precision", "micro_batch_size", "compile"}
    names = {setting.name for setting in dataclasses.fields(TrainerConfig)}
    assert trainer.identifying_settings().keys() == names - free | {"number of training items"}
