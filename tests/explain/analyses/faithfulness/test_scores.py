"""Curves and pointing game on cases whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from fovea.data.datasets.scenes import Scenes
from fovea.explain.analyses.faithfulness.scores import (
    boxes_to_region,
    deletion,
    insertion,
    pointing_game,
)
from fovea.explain.core.targets import ClassScore
from helpers.explained_nets import SIDE, assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow

N = 8


class Patch(nn.Module):
    """Score an image by its mean over the upper left quarter."""

    def forward(self, x):
        seen = x[:, 0, : N // 2, : N // 2].mean((1, 2))
        return torch.stack([seen, -seen], dim=1)


def quarter(value):
    maps = torch.zeros(2, N, N)
    maps[:, : N // 2, : N // 2] = value
    return maps


def test_areas_of_a_linear_score_are_what_they_must_be():
    net, x = Patch(), torch.ones(2, 3, N, N)
    best, worst = quarter(1.0), quarter(-1.0)
    curve = deletion(net, x, best, ClassScore(0), steps=64)
    assert curve.fraction.tolist() == [i / 64 for i in range(65)]
    expected = (1 - 4 * curve.fraction).clamp_min(0)  # falls to 0 within the first quarter
    torch.testing.assert_close(curve.score, expected.expand(2, -1))
    torch.testing.assert_close(curve.auc, torch.tensor([1 / 8, 1 / 8]))
    torch.testing.assert_close(
        deletion(net, x, worst, ClassScore(0), steps=64).auc, torch.tensor([7 / 8] * 2)
    )
    x[1] *= 3
    torch.testing.assert_close(
        deletion(net, x, best, ClassScore(0), steps=4).auc, torch.tensor([1 / 8, 3 / 8])
    )
    half = deletion(net, torch.ones(2, 3, N, N), best, ClassScore(0), steps=64, fill=0.5)
    torch.testing.assert_close(half.auc, torch.tensor([0.5 + 1 / 16] * 2))


def test_insertion_begins_with_a_blurred_image_and_ends_with_the_image():
    net = Patch()
    x = torch.zeros(2, 3, N, N)
    x[:, :, : N // 2, : N // 2] = 1.0
    good = insertion(net, x, quarter(1.0), ClassScore(0), steps=16, blur=2.0)
    bad = insertion(net, x, quarter(-1.0), ClassScore(0), steps=16, blur=2.0)
    assert good.score[0, 0] < 0.8 and good.score[0, -1] == 1
    assert good.score[0, 4] == 1 and (good.score[0].diff() >= 0).all()
    assert torch.equal(bad.score[:, 12], bad.score[:, 0])
    assert (good.auc > bad.auc + 0.1).all()
    plain = torch.full((2, 3, N, N), 0.7)
    torch.testing.assert_close(
        insertion(net, plain, quarter(1.0), ClassScore(0)).auc, torch.tensor([0.7, 0.7])
    )


def test_the_class_is_that_of_the_unchanged_image_and_the_net_is_left_as_it_was():
    net, x = built("our_cnn"), images(3)
    classes = net(x).argmax(1)
    probability = net(x).softmax(1).gather(1, classes[:, None])[:, 0].detach()
    gone = net(torch.zeros_like(x)).softmax(1).gather(1, classes[:, None])[:, 0].detach()
    net.train()
    before = state_of(net)
    maps = torch.rand(3, SIDE, SIDE)
    out, back = deletion(net, x, maps, steps=3), insertion(net, x, maps, steps=3)
    assert_unchanged(net, before)
    torch.testing.assert_close(out.score[:, 0], probability)
    torch.testing.assert_close(out.score[:, -1], gone)
    torch.testing.assert_close(back.score[:, -1], probability)


def test_wrong_maps_and_steps_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\) .*\(2, 3, 8, 8\)"):
        deletion(Patch(), torch.ones(2, 3, N, N), torch.ones(2, 4, 4))
    with pytest.raises(ValueError, match="steps=65: take 1 to 64"):
        insertion(Patch(), torch.ones(2, 3, N, N), quarter(1.0), steps=65)
    with pytest.raises(ValueError, match=r"must be \(B, H, W\)"):
        pointing_game(quarter(1.0), torch.ones(2, 4, 4))


def test_pointing_game_allows_the_tolerance_and_no_more():
    maps, regions = torch.zeros(1, 40, 40), torch.zeros(1, 40, 40, dtype=torch.bool)
    maps[0, 10, 12] = 1.0
    regions[0, 10, 17:30] = True
    assert [pointing_game(maps, regions, tolerance=t).item() for t in (0, 4, 5, 15)] == [
        False,
        False,
        True,
        True,
    ]
    regions[0, 10, 12] = True
    assert pointing_game(maps, regions, tolerance=0).item()
    assert not pointing_game(maps, torch.zeros_like(regions)).item()


def test_boxes_cover_the_pixels_whose_centres_they_hold():
    region = boxes_to_region(torch.tensor([[1.0, 2.0, 3.0, 3.0], [4.6, 0.0, 6.0, 0.4]]), (4, 6))
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[2, 1:3] = True
    assert torch.equal(region, expected)
    assert not boxes_to_region(torch.zeros(0, 4), (4, 6)).any()


def test_pointing_game_on_scenes_by_boxes_and_masks():
    made = Scenes(split="test", image_size=SIDE, difficulty=0.3).load_many(np.arange(20))
    masks = torch.from_numpy(np.stack(made["mask"])).long()
    fronts = torch.tensor([int(label) for label in made["label"]])
    shapes = masks == fronts[:, None, None] + 1  # the masks' classes begin with the background
    boxes = torch.stack(
        [boxes_to_region(torch.as_tensor(b)[torch.as_tensor(k) == f], (SIDE, SIDE))
         for b, k, f in zip(made["boxes"], made["labels"], fronts, strict=True)]
    )  # fmt: skip
    assert shapes.flatten(1).any(1).all() and (boxes | ~shapes).float().mean() > 0.999
    pictures = torch.from_numpy(np.stack(made["image"])).float()
    smooth = nn.functional.avg_pool2d(shapes[:, None].float(), 5, 1, 2)[:, 0] * shapes
    for regions in (shapes, boxes):
        assert pointing_game(smooth, regions, tolerance=0).all()
        assert not pointing_game((~regions).float(), regions, tolerance=0).any()
        chance = pointing_game(torch.rand(len(pictures), SIDE, SIDE), regions, tolerance=0).float().mean()
        assert chance < 0.9
