from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fovea.data.datasets.folder import Folder
from helpers.formats_labels import write_cat_breeds

CONF = Path(__file__).parents[3] / "conf"


def build(root):
    """Build the partial of the config, merged with the defaults that it names."""
    defaults = OmegaConf.load(CONF / "data_defaults.yaml")
    data = OmegaConf.merge(defaults, OmegaConf.load(CONF / "data" / "cat_breeds.yaml"))
    node = OmegaConf.create({"paths": {"data": str(root)}, "data": data})
    return instantiate(node.data.dataset, _convert_="all", _execution_whitelist_=["fovea.*"])


def test_breeds_are_the_folders_below_data_cat_breeds(tmp_path):
    write_cat_breeds(tmp_path)
    factory = build(tmp_path)
    assert factory.func is Folder and Folder.find_splits(**factory.keywords) == ("all",)
    assert Folder.find_classes(**factory.keywords) == ["Abyssinian", "Bengal", "Sphynx"]
    data = factory(split="all")
    assert data.labels.tolist() == [0] * 9 + [1] * 10 + [2] * 9 and data.ids[9] == "Bengal/000.jpg"


def test_own_splits_are_taken(tmp_path):
    for split in ("train", "test"):
        write_cat_breeds(tmp_path / split)
        (tmp_path / split / "cat_breeds").rename(tmp_path / f"{split}_moved")
        (tmp_path / "cat_breeds").mkdir(exist_ok=True)
        (tmp_path / f"{split}_moved").rename(tmp_path / "cat_breeds" / split)
    factory = build(tmp_path)
    assert Folder.find_splits(**factory.keywords) == ("train", "test") and len(factory(split="test")) == 28


def test_nothing_there_names_the_folder(tmp_path):
    factory = build(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cat_breeds. Give data.root=DIR with DIR/<class>"):
        factory(split="all")
