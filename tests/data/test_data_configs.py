"""Every data config serves its images, from files in the real format, with every augmentation."""

from functools import partial

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from fovea.config import build
from fovea.config.paths import CONF
from helpers import formats_boxes, formats_labels, formats_masks, formats_own_boxes
from helpers.annotated_scene import scene
from helpers.toy_data import Toy

PAIRS = ("content_style",)  # of pictures, and no set
DATA = sorted({path.stem for path in (CONF / "data").glob("*.yaml")} - {*PAIRS})
AUGMENT = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
WRITERS = {
    **formats_labels.WRITERS,
    **formats_masks.WRITERS,
    **formats_boxes.WRITERS,
    **formats_own_boxes.WRITERS,
}
FILELESS = ("digits", "scenes")
OPTIONS = {"csv": ["data.dataset.table=table.csv"]}  # what a set cannot do without


def composed(name, root="data", augment="none", **overrides):
    options = [f"data={name}", f"augment={augment}", *OPTIONS.get(name, [])]
    with initialize_config_dir(str(CONF)):
        config = compose("train", overrides=[*options, f"run_dir={root}/run"], return_hydra_config=True)
    with open_dict(config):
        config.experiment, config.paths.data = "none", str(root)
        config.data = OmegaConf.merge(config.data, overrides)
        del config.hydra
    return config


def make(config, dataset=None):
    if dataset is None and config.data.num_classes is None:
        build.count_classes(config)
    module = build.datamodule(config, build.preprocessing(config, None))
    module.dataset = dataset or module.dataset
    return module


def test_every_data_set_has_a_writer_of_its_format():
    assert sorted([*WRITERS, *FILELESS]) == DATA


@pytest.mark.parametrize("name", DATA)
def test_every_data_config_serves_its_images(tmp_path, name):
    if name in WRITERS:
        WRITERS[name](tmp_path)
    small = {"image_size": 32} if name not in FILELESS else {}
    config = composed(name, tmp_path, batch_size=4, num_workers=0, subset=True, **small)
    module = make(config)
    module.setup()
    assert set(module.sizes()) == {"train", "val", "test"} and all(module.sizes().values())
    assert module.num_classes == config.data.num_classes == len(module.classes)
    names = [set(view.ids) for view in module.splits.values()]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    batch = module.finish_batch(next(iter(module.train_dataloader())), training=True)
    check_batch(batch, module, config)


def check_batch(batch, module, config):
    size = module.preprocess.size
    assert batch["image"].shape == (4, config.data.channels, *size) and torch.isfinite(batch["image"]).all()
    assert set(module.train.targets) <= set(batch)
    if "label" in batch:
        assert batch["label"].max() < module.num_classes
    if "mask" in batch:
        values = set(batch["mask"].unique().tolist()) - {255}
        assert batch["mask"].shape == (4, *size) and values and max(values) < module.num_classes + 1
    if "boxes" in batch:
        for boxes, labels, ignore in zip(batch["boxes"], batch["labels"], batch["ignore"], strict=True):
            assert len(boxes) == len(labels) == len(ignore)
            assert (boxes[:, :2] < boxes[:, 2:]).all() and (labels < module.num_classes).all()
        assert sum(map(len, batch["boxes"]))
    if "captions" in batch:
        assert all(batch["captions"]) and batch["caption"].shape[0] == 4
        for row, texts in zip(batch["caption"], batch["captions"], strict=True):
            assert module.vocabulary.decode(row) and len(texts) >= 1


@pytest.mark.parametrize("name", [name for name in DATA if name not in FILELESS])
def test_missing_data_ends_in_the_clear_message(tmp_path, name):
    with pytest.raises((FileNotFoundError, NotADirectoryError), match="experiment=vit_digits"):
        make(composed(name, tmp_path / "nothing")).setup()


class Scenes(Toy):
    """Everything marked, in grey or colour."""

    targets = ("boxes", "labels", "ignore", "mask", "instances", "keypoints")

    def load(self, index):
        image = np.maximum(scene(count=3)["image"], self.images[index].max())
        return {**scene(count=3), "image": image[..., : self.images.shape[-1]]}


OWN = ("mosaic", "multi_scale")  # mix images, or change their size: tests/ops/test_mosaic.py


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [name for name in AUGMENT if name not in OWN])
def test_every_augmentation_works_on_grey_and_colour(augment, channels):
    stats = [0.5] * channels
    config = composed(
        "digits", augment=augment, image_size=[20, 28], channels=channels, mean=stats, std=stats,
        num_workers=0, batch_size=8, num_classes=3,
    )  # fmt: skip
    module = make(config, partial(Toy, count=60, size=(24, 30), channels=channels))
    module.setup()
    loader = module.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.batch_sampler.set_epoch(epoch)
        batches = [module.finish_batch(batch, training=True) for batch in loader]
        images = torch.cat([b["image"] for b in batches])
        order = torch.cat([b["index"] for b in batches]).argsort()
        assert images.shape[1:] == (channels, 20, 28) and torch.isfinite(images).all()
        epochs.append(images[order][:20])
    if augment == "none":
        return
    changed = sum(not torch.equal(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert changed > 10


@pytest.mark.parametrize("augment", [name for name in AUGMENT if name not in ("mixup", "cutmix", *OWN)])
def test_every_augmentation_moves_what_is_marked(augment):
    config = composed(
        "cifar10", augment=augment, image_size=[48, 64], batch_size=8, num_classes=3, num_workers=0
    )
    module = make(config, partial(Scenes, count=60))
    module.setup()
    for batch in module.train_dataloader():
        batch = module.finish_batch(batch, training=True)
        assert batch["mask"].shape == (8, 48, 64) and set(batch["mask"].unique().tolist()) <= {0, 1, 2, 255}
        for i, boxes in enumerate(batch["boxes"]):
            for row, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
                y, x = torch.nonzero(batch["instances"][i] == row + 1, as_tuple=True)
                assert not len(x) or (x1 - 1 <= x.min() and x.max() < x2 + 1 and y1 - 1 <= y.min())
                assert not len(y) or y.max() < y2 + 1


def test_digits_are_never_mirrored_and_photos_are():
    for name, enabled in (("digits", False), ("cifar10", True)):
        for augment in ("light", "standard", "strong", "mixup", "cutmix"):
            flip = build.make(composed(name, augment=augment).augment.batch)["flip"]
            assert flip.enabled is enabled


def test_the_digits_statistics_are_those_of_the_images():
    from fovea.data.datasets.digits import Digits

    node = composed("digits").data
    pixels = Digits().images / 255.0
    assert abs(pixels.mean() - node.mean[0]) < 0.005 and abs(np.std(pixels) - node.std[0]) < 0.005
