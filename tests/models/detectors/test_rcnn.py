import numpy as np
import pytest
import torch

from fovea.models.detectors._proposals import Proposals
from fovea.models.detectors._samples import classify
from fovea.models.detectors.rcnn import RCNN
from fovea.models.timm import create

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


class Searches:
    """A search that counts its images."""

    def __init__(self):
        self.seen = []

    def __call__(self, image):
        self.seen.append(image.copy())
        return np.array([[1, 2, 9, 10], [0, 0, image.shape[1], image.shape[0]]], dtype=np.float32)


def normalised(image):
    values = (torch.from_numpy(image).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return values.permute(2, 0, 1)[None]


def test_an_image_is_searched_once_and_its_mirror_image_never():
    rng = np.random.default_rng(0)
    first, other = rng.integers(0, 256, (2, 12, 20, 3), dtype=np.uint8)
    search = Searches()
    proposals = Proposals(search, mean=MEAN, std=STD, remembered=2)
    for _ in range(2):
        found = proposals(torch.cat([normalised(first), normalised(other)]))
    views = [[[1, 2, 9, 10], [0, 0, 20, 12]], [[11, 2, 19, 10], [0, 0, 20, 12]]]
    if turned := (search.seen[0] != first).any():
        views.reverse()
    pixels = first[:, ::-1] if turned else first
    assert len(search.seen) == 2 and (search.seen[0] == pixels).all()
    assert found[0].tolist() == views[0]
    mirrored = proposals(normalised(first).flip(3))
    assert len(search.seen) == 2 and mirrored[0].tolist() == views[1]
    proposals(normalised(255 - first))  # a third: the first is forgotten
    proposals(normalised(first))
    assert len(search.seen) == 4 and len(proposals.known) == 2
    grey = Proposals(search, mean=[0.5], std=[0.2], remembered=2)
    assert len(grey(torch.zeros(1, 1, 6, 5))[0]) == 2 and search.seen[-1].shape == (6, 5, 3)


def test_what_is_proposed_does_not_depend_on_which_view_came_first():
    """A training that goes on has forgotten what it searched, and gets the same proposals all the same."""
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    views = [normalised(image), normalised(image).flip(3)]
    found = []
    for order in (views, views[::-1]):
        proposals = Proposals(Searches(), mean=MEAN, std=STD, remembered=9)
        for view in order:
            proposals(view)
        found.append([proposals(view)[0].tolist() for view in views])
    assert found[0] == found[1]


def build(**options):
    torch.manual_seed(0)
    backbone = create(name="mobilenetv3_small_050", num_classes=0)
    usual = {"crop": 32, "colours": ("hsv",), "scales": (100.0,), "regions": 16}
    return RCNN(backbone=backbone, num_classes=3, mean=MEAN, std=STD, **(usual | options))


def test_crops_show_what_surrounds_a_proposal():
    """Its own pixels end at the share of context; beyond the image is the mean."""
    image = torch.zeros(1, 3, 40, 40)
    image[..., 10:30, 10:30] = 1.0

    def crops(pixels, boxes):
        around = build(context=0.25).net.box_roi_pool({"pixels": pixels}, [torch.tensor(boxes)], [(40, 40)])
        return classify(lambda crop: crop, *around, size=(32, 32))

    found = crops(image, [[10.0, 10, 30, 30], [0, 0, 40, 40]])
    assert found.shape == (2, 3, 32, 32)
    assert bool((found[0, :, 9:23, 9:23] == 1).all()) and found[0, :, :7].abs().max() < 1e-6
    outside = crops(image + 5, [[0.0, 0, 40, 40]])
    assert not bool(outside[0, :, :6].any()) and bool((outside[0, :, 10:22, 10:22] > 4).all())


def test_grey_images_and_one_pixel_are_taken():
    grey = RCNN(
        backbone=create(name="mobilenetv3_small_050", num_classes=0), num_classes=1, in_channels=1,
        mean=[0.5], std=[0.2], crop=32,
    ).eval()  # fmt: skip
    assert grey(torch.zeros(2, 1, 1, 1)).shape == (2, 100, 6)
    with pytest.raises(ValueError, match="in_channels=1"):
        build(in_channels=1)
    with pytest.raises(ValueError, match=r"context=0\.5"):
        build(context=0.5)
