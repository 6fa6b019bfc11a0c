"""Hold the real files against the published number of images, for every data set that is on this machine."""

import os
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FOVEA_DATA", ROOT / "data"))


def options(name):
    """Return the class of a data config, and what its constructor is called with, splits apart."""
    defaults = OmegaConf.load(ROOT / "conf" / "data_defaults.yaml")
    data = OmegaConf.merge(defaults, OmegaConf.load(ROOT / "conf" / "data" / f"{name}.yaml"))
    node = OmegaConf.create({"paths": {"data": str(DATA)}, "data": data})
    found = OmegaConf.to_container(node.data.dataset, resolve=True)
    owner = get_class(found.pop("_target_"))
    found.pop("_partial_")
    return owner, found, node.data.num_classes


def configs():
    """Name the data configs that say how many images there must be."""
    names = sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml"))
    return [
        name
        for name in names
        if name != "folder"  # anybody's own images
        and "subset: ${data.subset}" in (ROOT / "conf" / "data" / f"{name}.yaml").read_text()
    ]


@pytest.mark.parametrize("name", configs())
def test_the_files_on_this_machine_are_the_official_ones(name):
    owner, given, num_classes = options(name)
    given |= {"subset": False} | ({"download": False} if "download" in given else {})
    try:
        first, *others = owner.find_splits(**given) if hasattr(owner, "find_splits") else owner.splits
        parts = {first: owner(**given, split=first)}
    except FileNotFoundError as error:
        pytest.skip(str(error).splitlines()[0])
    parts |= {split: owner(**given, split=split) for split in others}
    seen = set()
    for split, data in parts.items():
        assert (
            len(data) <= getattr(data, "official", {}).get(split, len(data))
            and len(data.ids) == len(data) > 0
        )
        names = {
            f"{split}/{name}" if getattr(data, "images", None) is not None else name for name in data.ids
        }
        assert len(names) == len(data) and not names & seen
        seen |= names
        assert num_classes is None or len(data.classes) == num_classes
        if data.labels is not None:
            assert np.unique(data.labels).tolist() == list(range(len(data.classes)))
        assert "image" in data.load(len(data) - 1)


def test_fashion_mnist_is_among_them():
    assert "fashion_mnist" in configs() and len(configs()) > 5
