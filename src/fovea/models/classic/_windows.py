"""Seek the window of an image that scores best, over places, sizes and shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from fovea.models.classic._fitted import Fitted
from fovea.models.classic._grey import Grey

LARGEST = 1024  # side of an image in which windows are sought, however small the objects are


class WindowSearch(Fitted):
    """Give the logits of an image and the box of its best window; a subclass scores windows of side × side.

    Every class has one size of box, the geometric mean of those that train. A window of another size or shape
    is sought by resizing the image until what lies in the window fills side × side pixels. The logits are the
    best score of each class by `temperature`, the box is the best window of the best class; a class that had
    no box in training stays one below the others. In training a net that has observed nothing gives 0
    throughout.

    Args:
        side: of a window in pixels.
        scales: sizes of the windows, of the mean of the class.
        aspects: ratios of width to height of the windows, of the mean of the class.
        temperature: by which scores are divided.
        mean, std: by which the images were normalised.
    """

    sizes: Tensor  # (K, 2) logarithm of the height and the width, as shares
    observed: Tensor  # (K,) boxes
    step = 1  # pixels between windows

    def __init__(
        self,
        *,
        num_classes: int,
        side: int,
        scales: Sequence[float] = (0.7, 0.85, 1.0, 1.18, 1.4),
        aspects: Sequence[float] = (0.85, 1.0, 1.18),
        temperature: float = 1.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        for name, values in (("scales", scales), ("aspects", aspects)):
            if not values or min(values) <= 0:
                raise ValueError(f"{name}={list(values)} must hold numbers above 0, such as 1.0")
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be above 0")
        self.num_classes, self.side, self.temperature = num_classes, side, temperature
        self.scales, self.aspects = list(scales), list(aspects)
        self.grey = Grey(mean=mean, std=std)
        self.register_buffer("sizes", torch.zeros(num_classes, 2))
        self.register_buffer("observed", torch.zeros(num_classes))

    def score(self, level: Tensor, label: int) -> Tensor:
        """Return the scores (B, h, w) of the windows of one class in grey images (B, 1, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits and box (B, K + 4)."""
        if self.training and not bool(self.observed.any()):
            return x.new_zeros(x.shape[0], self.num_classes + 4)
        scores, boxes = self.best(self.grey(x))
        logits, known = scores / self.temperature, self.observed > 0
        lowest = logits.where(known, logits.amax(dim=1, keepdim=True)).amin(dim=1, keepdim=True)
        logits = logits.where(known, lowest - 1)
        chosen = logits.argmax(dim=1)[:, None, None].expand(-1, 1, 4)
        return torch.cat([logits, boxes.gather(1, chosen)[:, 0]], dim=1)

    def best(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each class the best score (B, K), and its window (B, K, 4) as shares of the sides."""
        found = [self._best_of(grey, label) for label in range(self.num_classes)]
        scores, boxes = zip(*found, strict=True)
        return torch.stack(scores, dim=1), torch.stack(boxes, dim=1)

    def _best_of(self, grey: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """Return the best score (B,) of a class and its window (B, 4)."""
        best, boxes = grey.new_full(grey.shape[:1], -math.inf), grey.new_zeros(grey.shape[0], 4)
        for size in dict.fromkeys(self._levels(label)):
            level = F.interpolate(grey, size, mode="bilinear", antialias=True)
            scores = self.score(level, label)
            highest, place = scores.flatten(1).max(dim=1)
            across = scores.shape[2]
            corner = torch.stack([place % across, place // across], dim=1) * self.step
            sides = grey.new_tensor([size[1], size[0]])
            window = torch.cat([corner / sides, (corner + self.side) / sides], dim=1)
            better = highest > best
            boxes = torch.where(better[:, None], window, boxes)
            best = torch.where(better, highest, best)
        return best, boxes

    def _levels(self, label: int) -> list[tuple[int, int]]:
        """Return to which sizes an image is brought; no window is larger than the image."""
        shares = self.sizes[label].exp().tolist()  # height, width
        levels = []
        for scale, aspect in itertools.product(self.scales, self.aspects):
            stretched = (scale / math.sqrt(aspect), scale * math.sqrt(aspect))
            sides = [self.side / share / by for share, by in zip(shares, stretched, strict=True)]
            height, width = (min(max(round(one), self.side), LARGEST) for one in sides)
            levels.append((height, width))
        return levels

    def take_sizes(self, labels: Tensor, boxes: Tensor) -> None:
        """Set the size of each class to the mean of boxes (n, 4) with labels (n,)."""
        chosen = F.one_hot(labels, self.num_classes).to(boxes.dtype)  # (n, K)
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).log().flip(1)  # height, width
        self.observed.copy_(chosen.sum(dim=0))
        self.sizes.copy_(chosen.T @ sides / self.observed.clamp(min=1)[:, None])

    def crop(self, grey: Tensor, images: Tensor, boxes: Tensor) -> Tensor:
        """Return (n, 1, side, side): of each of the images (n,) what lies in its box (n, 4), in shares."""
        sides = grey.new_tensor([grey.shape[3], grey.shape[2]] * 2)
        rois = torch.cat([images[:, None].to(grey.dtype), boxes * sides], dim=1)
        return roi_align(grey, rois, self.side, aligned=True)


def with_box(target: Tensor) -> Tensor:
    """Return the numbers (n,) of the images that have a box with an area."""
    return ((target[:, 3:] - target[:, 1:3]).nan_to_num().amin(dim=1) > 0).nonzero()[:, 0]
