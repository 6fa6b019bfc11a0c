import numpy as np
import pytest

from fovea.data.geometry import fit_sample, keep_boxes
from fovea.ops.placement import RESIZE, place
from helpers.annotated_scene import agree, scene

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("resize", RESIZE)
@pytest.mark.parametrize("size", [(64, 64), (45, 70), (180, 100), (90, 140), (200, 300)])
def test_all_annotations_move_together(resize, size):
    out = fit_sample(scene(), size=size, interpolation="bilinear", resize=resize, crop_pct=0.9)
    assert out["image"].shape == (*size, 3) and out["mask"].shape == out["instances"].shape == size
    agree(out)
    assert out["boxes"].min() >= 0 and (out["boxes"] <= [size[1], size[0], size[1], size[0]]).all()
    assert len(out["boxes"]) == 6 or resize == "crop"


def test_padding_keeps_all_and_is_ignored():
    out = fit_sample(scene(), size=(100, 100), interpolation="bilinear", resize="pad")
    assert len(out["boxes"]) == 6 and (out["mask"][:15] == 255).all() and not out["instances"][:15].any()
    assert not (out["mask"][20:80] == 255).any()


def test_boxes_cut_away_are_dropped_with_all_that_belongs_to_them():
    out = fit_sample(scene(90, 400), size=(90, 90), interpolation="bilinear")
    assert 0 < len(out["boxes"]) < 6
    agree(out)
    assert set(np.unique(out["instances"])) <= set(range(len(out["boxes"]) + 1))


@pytest.mark.parametrize("resize", RESIZE)
def test_points_go_there_and_back(resize):
    where = place((90, 140), size=(64, 50), resize=resize, crop_pct=0.9)
    points = RNG.uniform(0, 90, (20, 2)).astype(np.float32)
    assert np.abs(where.back(where.points(points)) - points).max() < 1e-3


def test_more_objects_than_an_eight_bit_map_can_number():
    sample = {
        "boxes": np.zeros((300, 4)),
        "labels": np.arange(300),
        "instances": np.array([[0, 1, 200, 255]]),
    }
    keep = np.arange(300) % 2 == 1
    out = keep_boxes(sample, keep)
    assert len(out["boxes"]) == 150 and out["instances"].tolist() == [[0, 0, 100, 255]]
