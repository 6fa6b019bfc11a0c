from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from real_formats import write_cifar10, write_fashion_mnist, write_flowers102, write_folder
from toy_data import Toy

from fovea.data.datasets.folder import count_classes
from fovea.data.module import DataModule

CONF = Path(__file__).parents[2] / "conf"
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
AUGMENT = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
WRITERS = {"cifar10": write_cifar10, "fashion_mnist": write_fashion_mnist, "flowers102": write_flowers102}
TRUSTED = ["fovea.*", "albumentations.*"]


def build(config):
    return instantiate(config, _convert_="all", _execution_whitelist_=TRUSTED)


def compose(name, root="data", augment="none", **overrides):
    node = OmegaConf.create(
        {"paths": {"data": str(root)}, "data": OmegaConf.load(CONF / "data" / f"{name}.yaml")}
    )
    chosen = OmegaConf.load(CONF / "augment" / f"{augment}.yaml")
    for parent in chosen.pop("defaults", []):
        if parent != "_self_":
            chosen = OmegaConf.merge(OmegaConf.load(CONF / "augment" / f"{parent}.yaml"), chosen)
    node.augment = chosen
    node.data = OmegaConf.merge(node.data, overrides)
    return node


def make(node, **options):
    augment = build(node.augment)
    return DataModule(
        **{**build(node.data), **options}, augment_sample=augment["sample"], augment_batch=augment["batch"]
    )


@pytest.mark.parametrize("name", DATA)
def test_every_data_config_serves_its_images(tmp_path, name):
    if name == "folder":
        write_folder(tmp_path, {"a": 9, "b": 9})
    elif name in WRITERS:
        WRITERS[name](tmp_path)
    node = compose(name, tmp_path, batch_size=4, num_workers=0)
    if node.data.num_classes is None:
        node.data.num_classes = count_classes(node.data.root)
    module = make(node)
    module.setup()
    batch = module.finish_batch(next(iter(module.train_dataloader())), training=True)
    size = node.data.image_size
    assert (
        batch["image"].shape == (4, node.data.channels, size, size) and torch.isfinite(batch["image"]).all()
    )
    assert set(module.sizes()) == {"train", "val", "test"} and module.num_classes == node.data.num_classes


@pytest.mark.parametrize("name", [name for name in DATA if name != "digits"])
def test_missing_data_ends_in_the_clear_message(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="experiment=vit_digits"):
        make(compose(name, tmp_path / "nothing")).setup()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", AUGMENT)
def test_every_augmentation_works_on_grey_and_colour(augment, channels):
    stats = [0.5] * channels
    node = compose(
        "digits", augment=augment, image_size=20, channels=channels, mean=stats, std=stats, num_workers=0
    )
    node.data.num_classes = 3
    module = make(node, dataset=partial(Toy, count=60, size=(24, 30), channels=channels), batch_size=8)
    module.setup()
    loader = module.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.batch_sampler.set_epoch(epoch)
        batches = [module.finish_batch(batch, training=True) for batch in loader]
        images = torch.cat([b["image"] for b in batches])
        order = torch.cat([b["index"] for b in batches]).argsort()
        assert images.shape[1:] == (channels, 20, 20) and torch.isfinite(images).all()
        epochs.append(images[order][:20])
    if augment == "none":
        return
    changed = sum(not torch.equal(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert changed > 10


def test_digits_are_never_mirrored_and_photos_are():
    for name, enabled in (("digits", False), ("cifar10", True)):
        for augment in ("light", "standard", "strong", "mixup", "cutmix"):
            flip = build(compose(name, augment=augment).augment.batch)["flip"]
            assert flip.enabled is enabled


def test_the_digits_statistics_are_those_of_the_images():
    from fovea.data.datasets.digits import Digits

    node = compose("digits").data
    pixels = Digits().images / 255.0
    assert abs(pixels.mean() - node.mean[0]) < 0.005 and abs(np.std(pixels) - node.std[0]) < 0.005
