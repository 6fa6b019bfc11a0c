"""Every experiment composes, builds with random weights and runs one batch of every stage."""

import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fovea.config import build
from fovea.config.paths import CONF
from fovea.config.validate import validate
from fovea.engine.fit import Session
from fovea.engine.processes import ChildProcesses
from fovea.engine.resume import Start
from fovea.engine.summary import Summary
from fovea.engine.train import plain

EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
FAST = [
    "trainer.fast_dev_run=true", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.precision=32-true",
    "model.pretrained=false", "data.num_workers=0",
]  # fmt: skip


def composed(experiment: str, run_dir: Path, *overrides: str) -> DictConfig:
    """Compose an experiment as its command does; where only the files know the classes, there are five."""
    given = [f"experiment={experiment}", f"run_dir={run_dir}", *overrides]
    with initialize_config_dir(str(CONF)):
        config = compose("train", overrides=given, return_hydra_config=True)
        if config.data.num_classes is None and config.data.dataset._target_.endswith("Folder"):
            given += ["data.root=/nowhere", "data.num_classes=5"]
            config = compose("train", overrides=given, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    config = config.copy()
    del config.hydra
    return plain(config)


def classifies(config: DictConfig) -> bool:
    return config.task._target_.endswith("Classification")


def run(config: DictConfig) -> Session:
    Path(config.run_dir).mkdir()
    session = Session(Start(config), Summary(Path(config.run_dir), config), ChildProcesses())
    session.run()
    return session


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_composes(experiment, tmp_path):
    config = composed(experiment, tmp_path / "run")
    validate(config)
    assert config.experiment == experiment


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_one_batch(experiment, tmp_path, monkeypatch):
    given = [*FAST, "data.batch_size=4"]
    config = composed(experiment, tmp_path / "run", *given)
    if not classifies(config):  # its net takes any size
        config = composed(experiment, tmp_path / "run", *given, "data.image_size=64")
    size = build.preprocessing(config, None)["image_size"]
    about = {"num_classes": config.data.num_classes, "size": size, "channels": config.data.channels}
    config.data.dataset = {"_target_": "helpers.noise.Noise", "_partial_": True, **about}
    monkeypatch.setattr(build, "WHITELIST", [*build.WHITELIST, "helpers.noise.Noise"])
    session = run(config)
    assert session.metrics["test/loss"] > 0
    assert session.summary.facts["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_classifiers_of_small_images_run_on_the_embedded_digits(experiment, tmp_path):
    own = composed(experiment, tmp_path / "run")
    if not classifies(own) or own.data.image_size not in (28, 32):
        pytest.skip("another task, or a net for larger images")
    digits = ["data=digits", "data.batch_size=16", "data.train_fraction=null", "data.targets=null"]
    config = composed(experiment, tmp_path / "run", *FAST, *digits)
    assert config.data.name == "digits" and config.data.channels == 1
    session = run(config)
    assert session.summary.facts["data"]["source"] == "embedded"
    assert math.isfinite(session.metrics["test/loss"])
