from functools import partial

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from fovea.models.cnn import CNN
from fovea.models.detectors.sliding_window import SlidingWindow, windows

GRID = {"smallest": 16.0, "scale_step": 1.25, "stride": 0.25, "aspects": (1.0,)}
NONE = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
TEMPLATES = torch.zeros(2, 3, 16, 16)  # a bright and a dark square, on grey
TEMPLATES[0, :, 2:14, 2:14], TEMPLATES[1, :, 3:13, 3:13] = 1.0, -1.0


class Matching(nn.Module):
    """Say how like two templates a window is; a third output, that says nothing is there, is fixed."""

    def __init__(self, num_classes):
        super().__init__()
        self.background = num_classes > len(TEMPLATES)

    def forward(self, x):
        distance = (x[:, None] - TEMPLATES).square().mean(dim=(2, 3, 4))  # (N, 2)
        logits = 8 - 60 * distance
        return torch.cat([logits, torch.zeros(len(x), 1)], dim=1) if self.background else logits


def planted(*objects, size=(96, 128)):
    """Plant templates, resampled to boxes, on an image of noise."""
    torch.manual_seed(0)
    image = 0.05 * torch.randn(1, 3, *size)
    for label, (x1, y1, x2, y2) in objects:
        template = nn.functional.interpolate(TEMPLATES[label : label + 1], (y2 - y1, x2 - x1), mode="nearest")
        image[..., y1:y2, x1:x2] = template
    return image


@pytest.mark.parametrize("average", [True, False])
def test_templates_are_found_at_their_place_and_scale(average):
    """Also one of another aspect, with windows of it; nothing is found where nothing is."""
    objects = [(0, (10, 8, 34, 32)), (1, (60, 20, 108, 68)), (0, (4, 60, 44, 80))]
    grid = {"aspects": (1.0, 2.0), "stride": 0.125, "smallest": 24.0, "scale_step": 1.19}
    net = SlidingWindow(
        classifier=Matching, num_classes=2, window=16, score_threshold=0.5, average=average, **grid
    )
    found, nothing = net(planted(*objects))[0], net(planted())
    there = found[found[:, 4] > 0]
    overlap, at = box_iou(torch.tensor([box for _, box in objects], dtype=torch.float32), there[:, :4]).max(1)
    assert len(there) == 3 and bool((overlap > 0.65).all())
    assert there[at, 5].tolist() == [label for label, _ in objects]
    assert not bool(nothing.any())


def test_without_a_background_the_largest_probability_is_the_score():
    net = SlidingWindow(
        classifier=Matching,
        num_classes=2,
        window=16,
        background=False,
        smallest=24.0,
        score_threshold=0.9,
        stride=0.125,
    )
    found = net(planted((0, (10, 8, 34, 32))))[0, 0]
    assert (
        found[5] == 0 and found[4] > 0.9 and box_iou(found[None, :4], torch.tensor([[10.0, 8, 34, 32]])) > 0.5
    )
    losses = net.losses(torch.zeros(1, 3, 40, 40), [NONE])
    assert losses["class"] == 0


@pytest.mark.parametrize("size", [(96, 128), (17, 300), (5, 3), (1, 1)])
def test_windows_cover_the_image_from_border_to_border(size):
    found = windows(size, **GRID)
    height, width = size
    assert bool((found >= 0).all()) and bool(
        (found[:, 2::2] <= width).all() and (found[:, 3] <= height).all()
    )
    assert found[-1].tolist() == [0, 0, width, height] and len(found.unique(dim=0)) == len(found)
    small = found[(found[:, 3] - found[:, 1] <= 16.01) & (found[:, 2] - found[:, 0] <= 16.01)]
    assert small[:, 0].min() == 0 and small[:, 2].max() == width and small[:, 3].max() == height


def test_every_square_object_is_met_by_a_window():
    """With the default stride and step; what the training calls positive exists."""
    torch.manual_seed(0)
    side = 16 + 64 * torch.rand(200)
    left, top = torch.rand(200) * (128 - side), torch.rand(200) * (96 - side)
    true = torch.stack([left, top, left + side, top + side], dim=1)
    assert box_iou(true, windows((96, 128), **GRID)).amax(dim=1).min() > 0.55


def test_weights_of_a_classifier_keep_its_classes(tmp_path):
    """With a background beside them, which says 0 at first."""
    torch.manual_seed(0)
    trained = CNN(num_classes=3, widths=[4, 8]).eval()
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {f"net.{k}": v for k, v in trained.state_dict().items()}}, path)
    build = partial(
        SlidingWindow, classifier=partial(CNN, widths=[4, 8]), num_classes=3, checkpoint=str(path)
    )
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(build(background=False).eval().classifier(x), trained(x))
    found = build().eval().classifier(x)
    torch.testing.assert_close(found[:, :3], trained(x))
    assert not bool(found[:, 3].any())
    with pytest.raises(ValueError, match="does not fit this net"):
        build(classifier=partial(CNN, widths=[4, 6]))


@pytest.mark.parametrize(
    ("option", "words"),
    [({"scale_step": 1.0}, "scale_step=1.0"), ({"stride": 0}, "stride=0"), ({"aspects": ()}, r"\[0.5,1,2\]"),
     ({"negative": 0.8}, "negative the smaller"), ({"smallest": -1}, "smallest=-1"),
     ({"background": False, "num_classes": 1}, "background=false with one class")],
)  # fmt: skip
def test_windows_that_cannot_be_are_refused(option, words):
    with pytest.raises(ValueError, match=words):
        SlidingWindow(**({"classifier": Matching, "num_classes": 2} | option))
