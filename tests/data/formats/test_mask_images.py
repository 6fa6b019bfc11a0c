"""Masks from files to batches: any depth, coding and size of the files."""

from functools import partial

import numpy as np
import pytest
import torch

from fovea.data.formats.mask_images import MaskImages
from fovea.data.geometry import fit_sample
from fovea.data.packed import Paths, Strings
from fovea.data.transforms import SampleTransform
from helpers.formats_masks import photo
from helpers.toy_data import toy_module

COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], dtype=np.uint8)


class Files(MaskImages):
    splits = ("all",)

    def __init__(self, *, root, split="all", colours=None):
        names = sorted(path.name for path in (root / "images").iterdir())
        self.ids, self.channels, self.colours = Strings(names), 3, colours
        self.paths, self.masks = Paths(root / "images", names), Paths(root / "masks", names)
        self.classes, self.palette = ["background", "left", "right"], COLOURS


def write(root, sizes, code, deep=False):
    """Write images, the left part dark and the right one bright, with masks that say so."""
    for number, (height, width) in enumerate(sizes):
        labels = np.where(np.arange(width) < width // 2, 1, 2)[None].repeat(height, 0).astype(np.uint8)
        pixels = (labels[..., None] * 100).repeat(3, 2).astype(np.uint8)
        image = pixels[..., 0].astype(np.uint16) * 257 if deep else pixels
        photo(root / "images" / f"{number}.png", image)
        photo(root / "masks" / f"{number}.png", code(labels))


CODES = {
    "grey": (lambda labels: labels, None),
    "deep": (lambda labels: labels.astype(np.uint16), None),
    "colour": (lambda labels: COLOURS[labels], COLOURS),
}


def batches(root, *, colours, sample=(), **options):
    options = {"num_workers": 0, "batch_size": 4, "val_fraction": 0.25, "test_fraction": 0.25, **options}
    module = toy_module(
        lambda split: Files(root=root, split=split, colours=colours), augment_sample=dict(sample), **options
    )
    module.dataset.splits = ("all",)
    module.setup()
    return [module.finish_batch(b, training=True) for b in module.train_dataloader()]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_masks_of_every_coding_fit_their_images_in_batches(tmp_path, code, deep):
    encode, colours = CODES[code]
    write(tmp_path, [(30 + i, 40 - i) for i in range(8)], encode, deep)
    (batch,) = batches(tmp_path, colours=colours)
    assert batch["mask"].shape == (4, 12, 12) and batch["mask"].dtype == torch.int64
    bright = batch["image"][:, 0] > batch["image"][:, 0].mean()
    agree = (bright == (batch["mask"] == 2)).float().mean()
    assert set(batch["mask"].unique().tolist()) == {1, 2} and agree > 0.9


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_images_of_one_pixel_become_batches_too(tmp_path, resize):
    import albumentations as A

    write(tmp_path, [(1, 1)] * 8, CODES["grey"][0])
    crop = {"crop": A.RandomResizedCrop(size=(12, 12)), "turn": A.Affine(rotate=(-9, 9), p=1)}
    for sample in ({}, crop):
        (batch,) = batches(tmp_path, colours=None, sample=sample, resize=resize)
        assert batch["mask"].shape == (4, 12, 12) and batch["image"].isfinite().all()
        assert 2 in batch["mask"].unique() and set(batch["mask"].unique().tolist()) <= {2, 255}


def test_a_shrunk_mask_stays_in_place():
    rows = np.arange(160, dtype=np.uint8)[:, None].repeat(160, 1)
    small = fit_sample({"image": rows[..., None], "mask": rows}, size=(10, 10), interpolation="area")
    shift = small["mask"].astype(float) - small["image"][..., 0]
    assert np.abs(shift).max() <= 1  # of 16 rows that become one


def test_the_dense_recipe_moves_image_and_mask_together():
    import albumentations as A

    rows, columns = np.mgrid[0:200, 0:200]
    labels = ((rows // 80 + columns // 80) % 2).astype(np.uint8)
    crop = A.RandomResizedCrop(
        size=(48, 48), scale=(0.9, 1), area_for_downscale="image", mask_interpolation=6
    )
    turn = A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), translate_percent=(-0.07, 0.07), p=1)
    transform = SampleTransform({"crop": crop, "turn": turn}, seed=0)
    image = (100 + 100 * labels)[..., None]
    for index in range(8):
        found = transform({"image": image, "mask": labels}, epoch=0, index=index)
        known = found["mask"] != 255
        assert ((found["image"][..., 0] > 150) == (found["mask"] == 1))[known].mean() > 0.95
        assert (found["image"][..., 0][~known] < 100).mean() > 0.9 or known.all()


def test_scenes_for_masks_train_although_their_shapes_are_not_their_classes():
    from fovea.data.datasets.scenes import Scenes

    options = {"image_size": 16, "num_train": 16, "num_val": 4, "num_test": 4, "annotation": "masks"}
    module = toy_module(partial(Scenes, **options), num_classes=None, image_size=16, targets=["mask"])
    module.setup()
    batch = module.finish_batch(next(iter(module.train_dataloader())), training=True)
    assert module.num_classes == 9 and module.train.labels is None
    assert batch["mask"].shape == (8, 16, 16) and not {"label", "instances"} & set(batch)
