"""Values that cannot be are refused before a network is built or data is read."""

import re
from copy import deepcopy
from functools import cache

import pytest
from omegaconf import OmegaConf

from fovea.config import build
from fovea.config.groups import member, members
from fovea.config.overrides import parse
from fovea.config.validate import INTERPOLATIONS, RESIZES, RULES, broken_rule, validate
from fovea.engine.fit import Session
from fovea.engine.processes import ChildProcesses
from fovea.engine.resume import Start
from fovea.errors import UsageError
from fovea.ops.placement import INTERPOLATION, RESIZE
from helpers import runs

VALUES = {  # of each key: a part of the remedy, what a user may type by mistake, the last values that pass
    "seed": ("0 to 4294967295", "-1 4294967296 1.5 null true x", "0 4294967295"),
    "data.batch_size": ("at least 1", "0 -4 1.5 '64' null true", "1"),
    "data.num_workers": ("auto", "-1 many 1.5", "0"),
    "data.image_size": ("height,width", "0 [28] [28,0] [1,2,3] '28'", "1 [28,32]"),
    "data.val_fraction": ("below 1", "1.0 half -0.1", "0 0.01"),
    "data.test_fraction": ("below 1", "1.0 -0.1 true", "0 0.99"),
    "data.train_fraction": ("up to 1", "0 1.5 true", "1 1e-9"),
    "data.limit_per_class": ("null", "0 all", "1"),
    "data.num_folds": ("at least 2", "1 2.5", "2"),
    "data.fold": ("from 0", "-1 0.5", "0"),
    "data.num_classes": ("null", "-1 x 1.5 true", "0 1"),
    "data.mean": ("each channel", "0.5 [] [a] null", "[0.5]"),
    "data.std": ("each channel", "x [[1]]", "[0.5,0.5,0.5]"),
    "data.on_error": ("raise or skip", "ignore null", "skip"),
    "data.cache": ("auto", "maybe null", "false auto"),
    "data.resize": ("crop, pad, stretch", "squash null", "pad"),
    "data.interpolation": ("bicubic", "cubic null", "area"),
    "data.crop_pct": ("above 0 and at most 2", "0 2.1 big", "2 0.5"),
    "data.subset": ("true or false", "maybe 1", "true"),
    "data.download": ("true or false", "maybe null", "false"),
    "model.pretrained": ("true or false", "maybe 0", "false"),
    "optimizer.lr": ("above 0", "0 -0.001 fast null nan inf", "1e-9"),
    "optimizer.weight_decay": ("at least 0", "-0.1 none", "0"),
    "trainer.devices": ("auto", "0 -2 null 1.5 abc [] true", "1 auto"),
    "name": ("letters", "'' null a/b", "x 7 a-b.c"),
    "tags": ("a list", "x null ['a/b'] [[]]", "[] [a,week3] [3]"),
    "run_dir": ("directory", "'' null", "x"),
    "optimizer.betas": (r"\[0\.9,0\.999\]", "[0.9] 0.9 [0.9,1.0] [a,b] [0.1,0.2,0.3]", "[0,0.9]"),
    "scheduler.warmup_epochs": ("at least 0", "-1 x null", "0 0.5"),
    "checkpoint.every_n_epochs": ("at least 1", "0 abc 1.5 null", "1"),
    "trainer.max_steps": ("-1: no limit", "0 abc -2 null", "1 -1"),
    "trainer.limit_train_batches": ("share", "-1 1.5 abc true", "0 1.0 3 null"),
    "trainer.limit_val_batches": ("share", "-0.1 all", "0.0 7"),
    "trainer.limit_test_batches": ("share", "-1 x", "1"),
    "trainer.overfit_batches": ("share", "-1 null 2.5", "0.0 3"),
    "trainer.check_val_every_n_epoch": ("at least 1", "0 1.5", "1 null"),
    "+trainer.val_check_interval": ("above 0", "0 -1 1.5 x", "1 0.25 null"),
    "trainer.log_every_n_steps": ("at least 1", "0 x", "1"),
    "trainer.num_nodes": ("at least 1", "0 1.5", "1"),
    "trainer.deterministic": ("warn", "maybe 1", "true warn"),
    "trainer.max_epochs": ("-1: no limit", "-2 1.5 ten", "-1 0"),
    "trainer.precision": ("bf16-mixed", "fp32 8", "32"),
    "trainer.accelerator": ("cuda, mps", "cudaa null", "cpu"),
    "trainer.strategy": ("auto, ddp", "magic null ddp_spwan", "ddp_find_unused_parameters_true"),
    "trainer.profiler": ("simple", "nope true", "null simple"),
    "trainer.accumulate_grad_batches": ("at least 1", "0 1.5", "1"),
    "trainer.gradient_clip_val": ("above 0", "0 -1.0", "0.5 null"),
    "metrics.mode": ("'min' or 'max'", "maximum null", "min"),
    "checkpoint.mode": ("'min' or 'max'", "up", "max"),
    "metrics.monitor": ("val/loss", "'' null 3", "val/acc"),
    "test": ("true or false", "maybe null 1", "false"),
    "channels_last": ("true or false", "maybe null", "true"),
    "compile": ("true or false", "maybe null", "true"),
    "resume": ("auto", "maybe null", "auto"),
}


def overrides(column):
    return [(key, value) for key, row in VALUES.items() for value in row[column].split()]


@cache
def composed():
    return runs.compose(runs.QUICK)


def given(key, value):
    """Return a resolved config in which a key has a value as typed."""
    config, (override,) = deepcopy(composed()), parse([f"{key}={value}"]).overrides
    OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
    return config


@pytest.mark.parametrize("name", members("data"))
def test_every_data_set_keeps_the_rules(name):
    plain = member("data", name)
    for key in [key for key in RULES if key.startswith("data.")]:
        value = plain.get(key.removeprefix("data."))
        assert value is None or "${" in str(value) or RULES[key][0](value), (key, value)


def test_every_rule_is_tested():
    assert {key.removeprefix("+") for key in VALUES} == set(RULES)


@pytest.mark.parametrize(("key", "value"), overrides(1))
def test_a_wrong_value_names_key_value_and_what_is_allowed(key, value):
    config = given(key, value)
    with pytest.raises(UsageError) as error:
        validate(config)
    name = key.removeprefix("+")
    told = re.escape(repr(OmegaConf.select(config, name)))
    assert re.search(f"^{name} .*{told}.*{VALUES[key][0]}", str(error.value))


@pytest.mark.parametrize(("key", "value"), overrides(2))
def test_the_last_value_that_can_be_passes(key, value):
    assert broken_rule(OmegaConf.to_container(given(key, value))) is None


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("metrics.mode=maximum", "'min' or 'max'"),
        ("data.on_error=ignore", "raise or skip"),
        ("data.resize=squash", "crop, pad, stretch"),
        ("data.interpolation=cubic", "bicubic"),
        ("data.crop_pct=0", "above 0 and at most 2"),
    ],
)
def test_constructors_refuse_before_data_is_read(override, remedy, tmp_path, monkeypatch):
    from fovea.data.module import DataModule

    monkeypatch.setattr(DataModule, "prepare_data", lambda self: pytest.fail("it reads data"))
    monkeypatch.setattr(DataModule, "setup", lambda self, stage=None: pytest.fail("it reads data"))
    config = runs.compose([*runs.QUICK, override, f"run_dir={tmp_path}"])
    key, _, value = override.partition("=")
    with pytest.raises(Exception) as error:
        Session(Start(config), None, ChildProcesses()).run()
        build.datamodule(config, build.preprocessing(config, None))
    assert key in str(error.value) and value in str(error.value) and remedy in str(error.value)


@pytest.mark.parametrize(
    ("key", "built", "why"),
    [
        ("gpu", True, "no CUDA device"),
        ("cuda", True, "no CUDA device"),
        ("cuda", False, "build.* no CUDA"),
        ("mps", False, "no Apple GPU"),
    ],
)
def test_a_device_that_is_absent_is_refused_with_the_way_out(key, built, why, monkeypatch):
    import torch

    monkeypatch.setattr("fovea.config.machine.may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"trainer.accelerator={key}.*{why}.*trainer=cpu"):
        validate(runs.compose([*runs.QUICK, f"trainer.accelerator={key}"]))


def test_choices_are_those_of_what_is_built():
    assert (RESIZES, set(INTERPOLATIONS)) == (RESIZE, set(INTERPOLATION))


def test_strategies_are_those_of_lightning():
    from lightning.pytorch.strategies import StrategyRegistry

    allowed, _ = RULES["trainer.strategy"]
    assert [name for name in StrategyRegistry.available_strategies() if not allowed(name)] == []
