"""Choose which boxes train a classifier of boxes, and classify the pixels or features in many boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou, roi_align

from fovea.models.detectors._base import Objects

ON_CPU, ELSEWHERE = 2**17, 2**22  # pixels that are classified at once: what caches, and memory, hold


class Samples(NamedTuple):
    """Boxes that train, and what they should be called."""

    boxes: list[Tensor]  # of each image (n, 4)
    labels: Tensor  # (boxes of all images,)


def sample(
    boxes: Sequence[Tensor],
    objects: Sequence[Objects],
    *,
    positive: float,
    negative: float,
    number: int,
    ratio: float,
    background: int | None,
) -> Samples:
    """Draw positive and negative boxes of each image, which depends on the random state.

    Args:
        boxes: of each image (N, 4).
        objects: of each image.
        positive: a box that overlaps an object as much is called what that is.
        negative: one that overlaps every object less is background; what lies between is not drawn.
        number: of boxes of an image at most.
        ratio: negative boxes for each positive one at most; as many where there is no positive one.
        background: its label; None: negative boxes are not drawn.
    """
    chosen, labels = [], []
    for own, known in zip(boxes, objects, strict=True):
        overlap, label = _overlaps(own, known)
        most = number if background is None else max(1, round(number / (1 + ratio)))
        right = _some(overlap >= positive, most)
        fewest = 0 if background is None else min(number - len(right), int(ratio * max(len(right), 1)))
        wrong = _some(overlap < negative, fewest)
        chosen.append(own[torch.cat([right, wrong])])
        labels += [label[right], label.new_full((len(wrong),), background or 0)]
    return Samples(chosen, torch.cat(labels))


def jittered(boxes: Tensor, *, times: int, share: float) -> Tensor:
    """Return `times` copies of boxes (N, 4) whose sides are moved by up to a share of the box's own sides."""
    many = boxes.repeat(times, 1)
    sides = (many[:, 2:] - many[:, :2]).repeat(1, 2)
    return many + (2 * torch.rand_like(many) - 1) * share * sides


def classify(
    net: Callable[[Tensor], Tensor], maps: Tensor, boxes: Sequence[Tensor], *, size: tuple[int, int]
) -> Tensor:
    """Return what `net` says of the boxes of all images (N, …), each resampled to `size`.

    Resampling averages over as many points as a box has pixels for each of its own: a window of one size on
    an image pyramid sees the same. While gradients are recorded all boxes go through at once.
    """
    which = [box.new_full((len(box), 1), i) for i, box in enumerate(boxes)]
    rows = torch.cat([torch.cat([i, box], dim=1) for i, box in zip(which, boxes, strict=True)])  # (N, 5)
    most = max(1, (ON_CPU if maps.device.type == "cpu" else ELSEWHERE) // (size[0] * size[1]))
    parts = [rows] if torch.is_grad_enabled() else rows.split(most)
    return torch.cat([net(roi_align(maps, part.to(maps.dtype), size, aligned=True)) for part in parts])


def _overlaps(boxes: Tensor, known: Objects) -> tuple[Tensor, Tensor]:
    """Return the overlap of each box (N,) with the object that it overlaps most, and that object's label."""
    if not len(known["boxes"]):
        return boxes.new_zeros(len(boxes)), known["labels"].new_zeros(len(boxes))
    overlap, at = box_iou(boxes, known["boxes"].float()).max(dim=1)
    return overlap, known["labels"][at]


def _some(mask: Tensor, most: int) -> Tensor:
    found = mask.nonzero()[:, 0]
    return found[torch.randperm(len(found), device=found.device)[: max(most, 0)]]
