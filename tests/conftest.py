"""Runs that several tests read: one trained in a process of its own, others with random weights."""

import importlib
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from fovea.config.cli import COMMANDS
from fovea.config.overrides import quote
from fovea.engine.processes import SIGNALS
from helpers import runs
from helpers.toy_runs import HEADER, rows, write_arrays

TRAINING = ["experiment=mlp_digits", "trainer=cpu", "trainer.max_epochs=3", "trainer.limit_train_batches=12"]


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """Train a small network; its validation and test are not cut short."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    code = runs.train([*TRAINING, "optimizer.lr=0.01"], run_dir=run_dir)
    assert code == 0, runs.output(run_dir)
    return run_dir


@pytest.fixture
def own_process():
    """Let a command set up logging and signals as in a process of its own; put them back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    signals = {s: signal.getsignal(s) for s in SIGNALS}
    yield
    for s, handler in signals.items():
        signal.signal(s, handler)
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)  # which also forgets what other loggers were allowed
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def same_start():
    """Give every test the same random numbers and level of the log, alone as after others."""
    torch.manual_seed(int(os.environ.get("FOVEA_TEST_SEED", "0")))
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="session")
def untrained_config():
    """Return the config of a run on coloured 8 x 8 images of cats and dogs."""
    data = ["data=folder", "data.root=/nowhere", "data.num_classes=2", "data.image_size=8"]
    return OmegaConf.to_container(runs.compose([*runs.QUICK, *data, "model.net.hidden=[6]"]))


@pytest.fixture
def untrained_run(untrained_config, tmp_path):
    """Write a run directory with random weights."""
    from fovea.config import build

    config = OmegaConf.create(untrained_config)
    torch.manual_seed(0)
    net = build.network(config)
    about = {
        "version": 1,
        "config": untrained_config,
        "classes": ["cat", "dog"],
        "preprocessing": build.preprocessing(config, net),
    }
    state = {f"net.{name}": 3 * tensor for name, tensor in net.state_dict().items()}
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"state_dict": state, "fovea": about}, folder / "best.ckpt")
    return tmp_path / "run"


@pytest.fixture
def call(own_process):
    """Run a command's code with overrides."""

    def run(name, **overrides):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(runs.ROOT / "conf")):
            config = compose(name, overrides=[f"{k}={quote(v)}" for k, v in overrides.items()])
        return importlib.import_module(COMMANDS[name]).main(config)

    return run


METRICS = HEADER + rows(3)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run directory; None leaves a file out."""

    def make(*, name="run", record=None, metrics=METRICS, config="experiment: toy\nseed: 3\n", test=True):
        run = tmp_path / "logs" / "toy" / name
        (run / "predictions").mkdir(parents=True)
        (run / "checkpoints").mkdir()
        if record is not None:
            (run / "summary.json").write_text(json.dumps(record))
        if metrics is not None:
            (run / "metrics.csv").write_text(metrics)
        if config is not None:
            (run / "config.yaml").write_text(config)
        if test:
            write_arrays(run)
        return run

    return make
