import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from fovea.data.datasets.scenes import Scenes
from fovea.ops.selective_search import selective_search

ONE = {"colours": ("hsv",), "scales": (100.0,)}


def patches(*boxes, size=(64, 80)):
    """Draw plain patches, each with a colour of its own, on a plain ground."""
    image = np.full((*size, 3), 200, dtype=np.uint8)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = (250 - 60 * i, 40, 60 * i)
    return image


def best(true, found):
    return box_iou(torch.tensor(true, dtype=torch.float32), torch.from_numpy(found)).amax(dim=1)


def test_segments_and_what_they_are_merged_to_are_proposed():
    apart, together = [[5, 6, 25, 30], [50, 30, 75, 60]], [[5, 6, 25, 30], [25, 6, 45, 30]]
    for boxes in (apart, together):
        found = selective_search(patches(*boxes), **ONE)
        assert bool((best([*boxes, [0, 0, 80, 64]], found) > 0.8).all())
        assert len(np.unique(found, axis=0)) == len(found) and found.dtype == np.float32
        assert (found[:, :2] >= 0).all() and (found[:, 2:] <= [80, 64]).all()
        np.testing.assert_array_equal(found, selective_search(patches(*boxes), **ONE))
    assert best([[5, 6, 45, 30]], found) > 0.7  # both patches, before they join the ground


def test_the_mirror_image_has_the_boxes_mirrored():
    image = patches([5, 6, 25, 30], [50, 30, 75, 60], [30, 2, 48, 20])
    found, mirrored = selective_search(image), selective_search(np.ascontiguousarray(image[:, ::-1]))
    back = np.stack([80 - mirrored[:, 2], mirrored[:, 1], 80 - mirrored[:, 0], mirrored[:, 3]], axis=1)
    same = best(found.tolist(), back) > 0.85  # but for rims of few pixels
    assert same.float().mean() > 0.9 and abs(len(found) - len(back)) <= 4


def test_weights_say_what_is_merged_first():
    """Two neighbours of nearly one colour fill the most: by colour they join first, by size the others do."""
    image = patches([0, 0, 30, 64], [30, 0, 60, 64], [60, 0, 80, 20], size=(64, 80))
    image[:, 30:60] = image[0, 0] + np.array([0, 30, 0], dtype=np.uint8)
    both = [[0, 0, 60, 64]]
    colour = selective_search(image, weights=(1, 0, 0, 0), colours=("rgb",), scales=(20.0,))
    size = selective_search(image, weights=(0, 0, 1, 0), colours=("rgb",), scales=(20.0,))
    assert best(both, colour) > 0.95 > best(both, size)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_odd_images_have_one_box_at_least(shape):
    found = selective_search(np.zeros((*shape, 3), dtype=np.uint8))
    assert len(found) >= 1 and found[0].tolist() == [0, 0, *shape[::-1]]
    assert len(selective_search(patches([5, 6, 25, 30]), most=2)) == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [({"colours": ("hsl",)}, "choose from rgb, hsv, lab"), ({"scales": ()}, r"\[50,100\]"),
     ({"weights": (0, 0, 0, 0)}, "colour, texture, size and fill")],
)  # fmt: skip
def test_what_it_does_not_know_is_refused(option, words):
    with pytest.raises(ValueError, match=words):
        selective_search(patches(), **option)
    with pytest.raises(ValueError, match="float64"):
        selective_search(np.zeros((4, 4, 3)))


@pytest.mark.slow
def test_it_finds_the_objects_of_scenes():
    data = Scenes(split="test", annotation="boxes", difficulty=0.3, num_train=1, num_test=30, image_size=128)
    samples = [data.load(i) for i in range(30)]
    overlap, proposals = [], []
    for sample in samples:
        found = selective_search(sample["image"], **ONE)
        overlap.append(best(sample["boxes"].tolist(), found))
        proposals.append(len(found))
    assert (torch.cat(overlap) >= 0.5).float().mean() > 0.95 and np.mean(proposals) < 120
