"""Whole-batch augmentations move boxes, masks, instances and keypoints with the image."""

import numpy as np
import pytest
import torch

from fovea.data.collate import collate, split_boxes
from fovea.ops.affine import RandomAffine
from fovea.ops.annotations import keep_boxes
from fovea.ops.augment import CutMix, HorizontalFlip, Mixup, RandomErasing, RandomShift
from helpers.annotated_scene import agree, scene


def batch(count=12):
    samples = [scene(count=3 + i % 4) for i in range(count)]
    for sample in samples:
        del sample["keypoints"]
        sample["keypoints"] = np.array(
            [sample["boxes"][0].reshape(2, 2).mean(0), [np.nan, np.nan]], np.float32
        )
    samples[4] = {**samples[4], "boxes": np.zeros((0, 4)), "labels": [], "ignore": []}
    samples[4]["instances"] = np.zeros_like(samples[4]["instances"])
    return {**collate(samples), "index": torch.arange(count), "epoch": 0}


def samples_of(out):
    out = split_boxes(out)
    for i in range(len(out["image"])):
        sample = {
            k: out[k][i].numpy() for k in ("mask", "instances", "boxes", "labels", "ignore", "keypoints")
        }
        yield {**sample, "image": out["image"][i].permute(1, 2, 0).numpy()}


CASES = [
    HorizontalFlip(p=0.5),
    RandomShift(fraction=0.3),
    RandomAffine(degrees=0, shear=0, scale=0.3, translate=0.3),
]


@pytest.mark.parametrize("augment", CASES, ids=lambda a: type(a).__name__)
def test_all_annotations_move_together(augment):
    before, dropped = batch(), 0
    out = augment(before, seed=0, num_classes=2)
    assert not torch.equal(out["mask"], before["mask"])
    for sample in samples_of(out):
        agree(sample, slack=1.5)
        dropped += len(sample["boxes"])
    if not isinstance(augment, HorizontalFlip):
        assert dropped < len(before["boxes"]) and (out["mask"] == 255).any()


def test_a_turned_box_encloses_the_turned_object():
    out = RandomAffine(degrees=40, shear=10)(batch(), seed=0, num_classes=2)
    for sample in samples_of(out):
        for i, (x1, y1, x2, y2) in enumerate(sample["boxes"]):
            y, x = np.nonzero(sample["instances"] == i + 1)
            inside = (x + 1 > x1 - 1) & (x < x2 + 1) & (y + 1 > y1 - 1) & (y < y2 + 1)
            assert inside.all() and inside.any()


def test_mirroring_twice_changes_nothing():
    flip = HorizontalFlip(p=1.0)
    before = batch()
    after = flip(flip(before, seed=0, num_classes=2), seed=0, num_classes=2)
    for key in ("image", "mask", "instances", "boxes", "labels", "batch_index"):
        assert torch.equal(before[key], after[key]), key
    assert torch.equal(before["keypoints"].isnan(), after["keypoints"].isnan())


def test_dropping_boxes_renumbers_the_instances():
    out = keep_boxes(batch(), torch.arange(len(batch()["boxes"])) % 2 == 0)
    assert len(out["boxes"]) < len(batch()["boxes"])
    for sample in samples_of(out):
        assert set(np.unique(sample["instances"])) <= set(range(len(sample["boxes"]) + 1))
        agree(sample)


@pytest.mark.parametrize("augment", [Mixup(), CutMix()], ids=lambda a: type(a).__name__)
def test_what_cannot_be_mixed_is_refused(augment):
    with pytest.raises(ValueError, match="boxes, keypoints, mask, instances"):
        augment({**batch(), "label": torch.zeros(12, dtype=torch.long)}, seed=0, num_classes=2)


def test_erasing_leaves_the_marks():
    before = batch()
    out = RandomErasing(p=1.0)(before, seed=0, num_classes=2)
    assert out["mask"] is before["mask"] and out["boxes"] is before["boxes"]
