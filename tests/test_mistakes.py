"""What people bring: senseless arguments and objects get a sentence, sensible ones work."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import BLOCK_SIZE
from model import GPT, GPTConfig
from runs.checkpoint import load_params
from runs.device import choose_device, choose_precision
from runs.inputs import InputError
from trainer import Trainer, TrainerConfig
from utils import sample, top_k_logits

X = torch.tensor([[1, 2, 3], [4, 5, 6]])


def greedy(model, x, steps):
    for _ in range(steps):
        x = torch.cat((x, model(x)[0][:, -1].argmax(dim=-1, keepdim=True)), dim=1)
    return x


# ---- sample() and top_k_logits() ----


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("temperature", [0, 0.0, np.float64(0)])
def test_temperature_0_is_greedy(temperature, drawn, tiny_model):
    found = sample(tiny_model, X, 4, temperature=temperature, sample=drawn)
    assert found.equal(greedy(tiny_model, X, 4))


def test_a_low_temperature_draws_the_most_probable_ids(tiny_model):
    found = sample(tiny_model, X, 4, temperature=1e-6, sample=True)
    assert found.equal(greedy(tiny_model, X, 4))


@pytest.mark.parametrize(
    "argument, value",
    [
        ("temperature", -1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("temperature", None),
        ("top_k", 0),
        ("top_k", -3),
        ("top_k", 2.5),
        ("top_k", True),
        ("steps", -1),
        ("steps", 1.5),
        ("steps", None),
        ("x", X[0]),
        ("x", X[:, :0]),
        ("x", X.float()),
        ("x", [[1, 2]]),
        ("x", X - 2),
        ("x", X + 100),
    ],
)
def test_a_senseless_argument_of_sample_is_refused_in_a_sentence(argument, value, tiny_model):
    arguments = {"x": X, "steps": 2, argument: value}
    with pytest.raises(ValueError, match=rf"\b{argument}\b"):
        sample(tiny_model, **arguments)


def test_top_k_above_the_vocabulary_keeps_all_ids(tiny_model):
    logits = torch.randn(2, 12)
    assert top_k_logits(logits, 1000).equal(logits)
    torch.manual_seed(1)
    clamped = sample(tiny_model, X, 3, sample=True, top_k=1000)
    torch.manual_seed(1)
    assert clamped.equal(sample(tiny_model, X, 3, sample=True))


@pytest.mark.parametrize("k", [0, -1, 1.5, None, True])
def test_a_senseless_k_is_refused(k):
    with pytest.raises(ValueError, match="top_k"):
        top_k_logits(torch.randn(2, 12), k)


def test_a_wrapped_model_is_sampled_as_the_model_itself(tiny_model):
    assert sample(torch.nn.DataParallel(tiny_model), X, 3).equal(sample(tiny_model, X, 3))


# ---- settings ----


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_epochs", 0),
        ("max_epochs", 1.5),
        ("batch_size", 0),
        ("batch_size", True),
        ("batch_size", None),
        ("micro_batch_size", 0),
        ("num_workers", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("grad_norm_clip", -1.0),
        ("weight_decay", math.nan),
        ("precision", "float16"),
        ("precision", None),
    ],
)
def test_a_setting_out_of_range_is_refused_at_once_and_later(name, value):
    with pytest.raises(ValueError, match=name):
        TrainerConfig(**{name: value})
    config = TrainerConfig()
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
        ("warmup_tokens", 512 * 20),
        ("final_tokens", 260e9),
        ("precision", "auto"),
    ],
)
def test_a_setting_in_range_is_taken(name, value):
    assert getattr(TrainerConfig(**{name: value}), name) == value


class CourseConfig:
    """As the course's own code has it: class attributes, and whatever is given."""

    max_epochs = 10
    batch_size = 64
    learning_rate = 3e-4
    betas = (0.9, 0.95)
    grad_norm_clip = 1.0
    weight_decay = 0.1
    lr_decay = False
    warmup_tokens = 375e6
    final_tokens = 260e9
    ckpt_path = None
    num_workers = 0

    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


def test_the_courses_own_config_object_trains_as_ours(tiny_name_dataset):
    def trained(config):
        torch.manual_seed(0)
        sizes = {"n_layer": 1, "n_head": 1, "n_embd": 8, "attn_pdrop": 0.0}
        sizes |= {"embd_pdrop": 0.0, "resid_pdrop": 0.0}
        model = GPT(GPTConfig(tiny_name_dataset.vocab_size, BLOCK_SIZE, **sizes))
        Trainer(model, tiny_name_dataset, None, config).train()
        return model.state_dict()

    settings = {"max_epochs": 2, "batch_size": 2, "learning_rate": 1e-2}
    settings |= {"lr_decay": True, "warmup_tokens": 100, "final_tokens": 400}
    ours, theirs = trained(TrainerConfig(**settings)), trained(CourseConfig(**settings))
    assert all(ours[name].equal(theirs[name]) for name in ours)


# ---- datasets ----


@pytest.mark.parametrize("empty", ["train_dataset", "test_dataset"])
def test_an_empty_dataset_is_refused_before_training(empty, tiny_model, tiny_name_dataset):
    datasets = {"train_dataset": tiny_name_dataset, "test_dataset": tiny_name_dataset, empty: []}
    with pytest.raises(ValueError, match=empty):
        Trainer(tiny_model, config=TrainerConfig(), **datasets)


def test_the_test_loss_is_shown_logged_and_written(tiny_name_dataset, capsys):
    sizes = {"n_layer": 1, "n_head": 1, "n_embd": 8}
    model = GPT(GPTConfig(tiny_name_dataset.vocab_size, BLOCK_SIZE, **sizes))
    events = []
    writer = SimpleNamespace(add_scalar=lambda *event: events.append(event))
    config = TrainerConfig(max_epochs=2, batch_size=2, writer=writer)
    trainer = Trainer(model, tiny_name_dataset, tiny_name_dataset, config)
    trainer.train()
    with torch.no_grad():
        model.eval()
        batches = torch.utils.data.DataLoader(tiny_name_dataset, batch_size=2)
        losses = [model(x, y)[1].item() for x, y in batches]
    expected = sum(losses) / len(
        losses
    )  # of the last epoch: the parameters have not changed since
    shown = [line for line in capsys.readouterr().err.splitlines() if "test loss" in line]
    logged = [record for record in trainer.log.records if "test_loss" in record]
    written = [event for event in events if event[0] == "test/loss"]
    assert len(shown) == len(logged) == len(written) == 2
    assert f"{expected:.4f}" in shown[-1]
    assert logged[-1]["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert logged[-1]["epoch"] == 2 and written[-1][2] == logged[-1]["step"]
    assert written[-1][1] == pytest.approx(expected, rel=1e-5)


# ---- devices ----


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", [0, 1, "cuda", "cuda:0", torch.device("cuda")])
def test_a_device_that_is_not_there_is_a_sentence(device, tiny_model, tiny_name_dataset):
    with pytest.raises(InputError, match=str(device)):
        choose_device(device)
    with pytest.raises(InputError, match=str(device)):
        Trainer(tiny_model, tiny_name_dataset, None, TrainerConfig(device=device))


@pytest.mark.parametrize("device", ["toaster", "cpu:x", -1])
def test_a_device_that_does_not_exist_is_a_sentence(device):
    with pytest.raises(InputError, match=str(device)):
        choose_device(device)


def test_a_precision_that_is_not_offered_is_a_sentence():
    with pytest.raises(InputError, match="float16"):
        choose_precision("float16", torch.device("cpu"))


# ---- parameter files ----


@pytest.mark.parametrize(
    "wrap, words",
    [
        (lambda model: model, ["state_dict"]),
        (lambda model: {"model": model.state_dict()}, ["'model'"]),
        (lambda model: {"state_dict": model.state_dict(), "epoch": 3}, ["'state_dict'"]),
        (lambda model: {"net": model.state_dict()}, ["'net'"]),
        (lambda model: {"model": model}, ["state_dict"]),
        (lambda model: list(model.state_dict().values()), ["list", "state_dict"]),
        (lambda model: torch.zeros(3), ["Tensor", "state_dict"]),
    ],
)
def test_what_is_no_state_dict_is_named_with_the_way_to_save_one(
    wrap, words, tiny_model, tmp_path
):
    path = str(tmp_path / "saved.params")
    torch.save(wrap(tiny_model), path)
    with pytest.raises(InputError, match="saved.params") as error:
        load_params(tiny_model, path)
    message = str(error.value)
    assert all(word in message for word in words) and "\n" not in message


# ---- further members of these kinds ----


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e300])
def test_an_extreme_temperature_changes_no_greedy_id(temperature, tiny_model):
    expected = greedy(tiny_model, X, 4)
    assert sample(tiny_model, X, 4, temperature=temperature).equal(expected)
    if temperature < 1:
        assert sample(tiny_model, X, 4, temperature=temperature, sample=True).equal(expected)


def test_targets_of_another_shape_are_refused_in_every_path(tiny_model):
    """Flattened, they would be other positions' targets."""
    x = torch.randint(1, 12, (2, 6))
    for y in (x[:, :-1], x.T, x.repeat(2, 1)):
        with pytest.raises(ValueError, match="shape"):
            tiny_model(x, y)
        with pytest.raises(ValueError, match="shape|loss_only"):
            tiny_model(x, y, loss_only=True)
    config = TrainerConfig(max_epochs=1, device="cpu")
    items = [(row, row[1:]) for row in x]
    with pytest.raises(ValueError, match="shape"):
        Trainer(tiny_model, items, None, config).train()


def test_loss_only_is_refused_where_it_is_not_known(tiny_model):
    x = torch.randint(1, 12, (2, 6))
    if tiny_model.supports_packing:
        torch.testing.assert_close(tiny_model(x, x, loss_only=True)[1], tiny_model(x, x)[1])
    else:
        with pytest.raises(ValueError, match="loss_only"):
            tiny_model(x, x, loss_only=True)


def test_a_cache_beyond_the_block_is_refused_as_a_long_row_is(tiny_model):
    from fast.kv_cache import KVCache

    if not tiny_model.supports_kv_cache:
        return
    cache = KVCache(3, 20, torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match=str(tiny_model.max_positions)):
        for _ in range(20):
            tiny_model(X[:1, :1], kv_cache=cache)
    assert cache.used == tiny_model.max_positions + 1


def test_a_subclass_sets_and_checks_by_class_attributes():
    class Mine(TrainerConfig):
        max_epochs = 1
        batch_size = 2

    class Small(GPTConfig):
        n_layer = 2
        rope = True

    assert (Mine().max_epochs, Mine().batch_size, Mine(batch_size=3).batch_size) == (1, 2, 3)
    assert (Small(9, 8).n_layer, Small(9, 8).rope) == (2, True)
    with pytest.raises(TypeError, match="max_epoch"):
        type("Misspelt", (TrainerConfig,), {"max_epoch": 1})()
    with pytest.raises(TypeError, match="synthesiser"):
        type("Misspelt", (GPTConfig,), {"synthesiser": True})
    with pytest.raises(ValueError, match="n_layer"):
        type("Wrong", (GPTConfig,), {"n_layer": 0})


@pytest.mark.parametrize("config", [{"max_epochs": 1}, None, "x"])
def test_what_is_no_configuration_of_a_training_is_refused(config, tiny_model):
    with pytest.raises(TypeError, match=type(config).__name__):
        Trainer(tiny_model, [(X[0], X[0])], None, config)


def test_a_refused_flag_changes_nothing():
    config = GPTConfig(12, 8, n_layer=1, n_head=1, n_embd=4, rope=True)
    with pytest.raises(ValueError, match="rope"):
        config.synthesizer = True
    assert config.synthesizer is False and "pos_emb" not in GPT(config).state_dict()


def test_one_config_makes_two_models_as_the_courses_code_does():
    import run

    config = GPTConfig(12, 8, n_layer=2, n_head=2, n_embd=8)
    for name in ("vanilla", "rope", "synthesizer", "vanilla"):
        run.initialize_model(name, config)


@pytest.mark.parametrize("place", ["no folder/a.params", "."])
def test_where_nothing_can_be_written_is_known_before_training(place, tmp_path, tiny_model):
    import run

    trained = []
    path = str(tmp_path / place)
    trainer = Trainer(tiny_model, [(X[0], X[0])], None, TrainerConfig(device="cpu"))
    trainer.train = lambda *_: trained.append(1)
    with pytest.raises(InputError):
        run.train(tiny_model, path, trainer)
    with pytest.raises(InputError):
        Trainer(tiny_model, [(X[0], X[0])], None, TrainerConfig(device="cpu", ckpt_path=path))
    assert not trained


def test_predictions_do_not_overwrite_their_questions(tiny_pretrain_dataset, tiny_questions):
    import run

    model = GPT(
        GPTConfig(tiny_pretrain_dataset.vocab_size, BLOCK_SIZE, n_layer=1, n_head=1, n_embd=8)
    )
    before = tiny_questions.read_bytes()
    for paths in ((tiny_questions, None), (str(tiny_questions) + ".out", tiny_questions)):
        with pytest.raises(InputError, match="overwrite"):
            run.evaluate(model, tiny_pretrain_dataset, tiny_questions, *paths)
    assert tiny_questions.read_bytes() == before


def test_a_wrapper_inside_a_model_leaves_no_name_in_its_file(tiny_model, tmp_path):
    """model.blocks = DataParallel(model.blocks), or torch.compile of a block."""
    import copy

    from runs.checkpoint import save_params

    wrapped = copy.deepcopy(tiny_model)
    wrapped.blocks = torch.nn.DataParallel(wrapped.blocks)
    path = tmp_path / "a.params"
    save_params(wrapped, path)
    state = torch.load(path, weights_only=True)
    assert state.keys() == tiny_model.state_dict().keys()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            parameter.zero_()
    load_params(wrapped, path)
    assert torch.equal(wrapped.head.weight, tiny_model.head.weight)


def test_numbers_of_another_kind_are_refused(tiny_model, tmp_path):
    path = tmp_path / "a.params"
    state = {name: tensor.to(torch.int32) for name, tensor in tiny_model.state_dict().items()}
    torch.save(state, path)
    with pytest.raises(InputError, match="int32"):
        load_params(tiny_model, path)
