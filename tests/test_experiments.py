"""Every experiment composes, builds with random weights and runs one batch of every stage."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from fovea.config import build
from fovea.config.paths import CONF
from fovea.config.validate import validate
from fovea.engine.fit import Session
from fovea.engine.processes import ChildProcesses
from fovea.engine.summary import Summary
from fovea.engine.train import plain

EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
FOLDERS = ("folder", "efficientnet_cats")  # only the files know the classes
LARGE = ("flowers", "cars", "cats", "folder", "bilinear", "vgg16", "transfer")  # nets for 224 pixels
DENSE = ("unet", "fcn", "colorize", "scenes")  # masks, or what only generated scenes have
SMALL = [name for name in EXPERIMENTS if not any(part in name for part in LARGE + DENSE)]


class Noise:
    """Random images with the shape and classes that a config asks for."""

    splits = ("train", "val", "test")
    targets = ("label", "mask")
    source = "generated"

    def __init__(self, *, split, num_classes, size, channels):
        self.classes = [f"class {i}" for i in range(num_classes)]
        self.labels = np.arange(2 * max(num_classes, 4)) % max(num_classes, 1)
        self.ids = [f"{split}/{i}" for i in range(len(self.labels))]
        self.shape = (*size, channels)

    def __len__(self):
        return len(self.labels)

    def load(self, index):
        image = np.random.default_rng(index).integers(0, 256, self.shape, dtype=np.uint8)
        mask = np.full(self.shape[:2], self.labels[index], dtype=np.uint8)
        return {"image": image, "label": int(self.labels[index]), "mask": mask}


def composed(experiment: str, run_dir: Path, *overrides: str):
    with initialize_config_dir(str(CONF)):
        config = compose(
            "train",
            overrides=[f"experiment={experiment}", f"run_dir={run_dir}", *overrides],
            return_hydra_config=True,
        )
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_composes(experiment, tmp_path):
    config = (
        composed(experiment, tmp_path / "run", "data.root=/nowhere", "data.num_classes=5")
        if experiment in FOLDERS
        else composed(experiment, tmp_path / "run")
    )
    del config.hydra
    config = plain(config)
    validate(config)
    assert config.experiment == experiment


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_one_batch(experiment, tmp_path, monkeypatch):
    given = ["trainer.fast_dev_run=true", "trainer.accelerator=cpu", "trainer.devices=1", "data.batch_size=4"]
    given += ["model.pretrained=false", "trainer.precision=32-true", "data.num_workers=0"]
    if experiment in FOLDERS:
        given += ["data.root=/nowhere", "data.num_classes=5"]
    if any(part in experiment for part in DENSE):
        given += ["data.image_size=64"]  # their nets take any size
    config = composed(experiment, tmp_path / "run", *given)
    config = config.copy()
    del config.hydra
    config = plain(config)
    size = build.preprocessing(config, None)["image_size"]
    noise = partial(Noise, num_classes=config.data.num_classes, size=size, channels=config.data.channels)
    make = build.make
    monkeypatch.setattr(
        build, "make", lambda node, **kw: noise if node == config.data.dataset else make(node, **kw)
    )
    (tmp_path / "run").mkdir()
    session = Session(config, None, Summary(tmp_path / "run", config), ChildProcesses())
    session.run()
    assert session.metrics["test/loss"] > 0
    assert session.summary.facts["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SMALL)
def test_runs_on_the_embedded_digits(experiment, tmp_path):
    given = ["data=digits", "trainer.fast_dev_run=true", "trainer.accelerator=cpu", "trainer.devices=1"]
    given += ["model.pretrained=false", "trainer.precision=32-true", "data.num_workers=0"]
    given += ["data.batch_size=16", "data.train_fraction=null", "data.targets=null"]
    config = composed(experiment, tmp_path / "run", *given).copy()
    del config.hydra
    config = plain(config)
    assert config.data.name == "digits" and config.data.channels == 1
    (tmp_path / "run").mkdir()
    session = Session(config, None, Summary(tmp_path / "run", config), ChildProcesses())
    session.run()
    assert session.summary.facts["data"]["source"] == "embedded"
    assert math.isfinite(session.metrics["test/loss"])
