import pytest
from omegaconf import OmegaConf

from fovea.config.validate import RULES, validate
from fovea.errors import UsageError
from helpers import runs

WRONG = {
    "seed": [-1, 2**32, 1.5, None, True, "x"],
    "data.batch_size": [0, -4, 1.5, "64", None, True],
    "data.num_workers": [-1, "many", 1.5, True],
    "data.image_size": [0, [28], [28, 0], [1, 2, 3], "28"],
    "data.val_fraction": [0, 1.0, -0.1, "half"],
    "data.test_fraction": [0, 1.0, -0.1, None],
    "data.download": ["yes", 1, None],
    "data.resize": ["squash", None, True],
    "data.on_error": ["ignore", None, True],
    "data.train_fraction": [0, 1.5, -0.1, "half", True],
    "data.limit_per_class": [0, 1.5, "all", True],
    "data.num_folds": [0, 1, 2.5, True],
    "data.fold": [-1, 0.5, True],
    "data.subset": ["no", 1, None],
    "model.pretrained": ["yes", 1, None],
    "optimizer.lr": [0, -1e-3, "fast", None, float("nan"), float("inf")],
    "optimizer.weight_decay": [-0.1, "none"],
    "metrics.mode": ["maximum", None],
    "trainer.max_epochs": [-2, 1.5, "ten", None],
    "trainer.precision": ["fp32", "bf32", 8],
    "trainer.accelerator": ["cudaa", None],
    "trainer.accumulate_grad_batches": [0, 1.5],
    "trainer.gradient_clip_val": [0, -1.0, "one"],
    "resume": ["maybe", None],
}
RIGHT = {
    "seed": [0, 2**32 - 1],
    "data.batch_size": [1],
    "data.num_workers": ["auto", 0, 2],
    "data.image_size": [None, 28, [28, 32]],
    "data.val_fraction": [0.01, 0.5],
    "data.test_fraction": [0.15, 0.99],
    "data.download": [True, False],
    "data.resize": ["crop", "pad", "stretch"],
    "data.on_error": ["raise", "skip"],
    "data.train_fraction": [None, 0.01, 1, 1.0],
    "data.limit_per_class": [None, 1, 100],
    "data.num_folds": [None, 2, 10],
    "data.fold": [None, 0, 4],
    "data.subset": [True, False],
    "model.pretrained": [True, False],
    "optimizer.lr": [1e-9, 1],
    "optimizer.weight_decay": [0, 0.1],
    "metrics.mode": ["min", "max"],
    "trainer.max_epochs": [-1, 0, 100],
    "trainer.precision": ["auto", 32, "bf16-mixed"],
    "trainer.accelerator": ["cpu", "auto"],
    "trainer.accumulate_grad_batches": [1, 8],
    "trainer.gradient_clip_val": [None, 0.5, 1],
    "resume": [True, False, "auto"],
}


@pytest.fixture(scope="module")
def config():
    return runs.compose(runs.QUICK)


def changed(config, key, value):
    copy = config.copy()
    OmegaConf.set_struct(copy, False)
    OmegaConf.update(copy, key, value, merge=False)
    return copy


def test_the_default_config_is_valid(config):
    validate(config)


def test_every_rule_is_tested():
    assert set(WRONG) == set(RIGHT) == set(RULES)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_a_wrong_value_names_key_value_and_what_is_allowed(config, key, value):
    with pytest.raises(UsageError) as error:
        validate(changed(config, key, value))
    assert str(error.value) == f"{key} is {value!r}; allowed: {RULES[key][1]}"


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in RIGHT.items() for v in values])
def test_a_right_value_passes(config, key, value):
    validate(changed(config, key, value))


@pytest.mark.parametrize("key", RULES)
def test_every_rule_names_a_key_of_the_config(config, key):
    assert OmegaConf.select(config, key, default=KeyError) is not KeyError


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_cuda_asked_for_and_absent(config, name, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    with pytest.raises(UsageError) as error:
        validate(changed(config, "trainer.accelerator", name))
    assert str(error.value) == (
        f"trainer.accelerator={name}, but no CUDA device was found; use trainer=cpu or trainer=auto"
    )
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(UsageError, match="but this torch build has no CUDA; use trainer=cpu or trainer=auto"):
        validate(changed(config, "trainer.accelerator", name))


def test_apple_gpu_asked_for_and_absent(config, monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="this machine has no Apple GPU; use trainer=cpu or trainer=auto"):
        validate(changed(config, "trainer.accelerator", "mps"))
