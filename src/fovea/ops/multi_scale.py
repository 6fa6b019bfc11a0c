"""Train each batch at a size of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F

from fovea.ops import rng
from fovea.ops.augment import replaced
from fovea.types import Batch


class MultiScale:
    """Resize batches, boxes and masks along, by a factor uniform in 1 ± `scale`, to multiples of `stride`.

    As in YOLO9000 (Redmon & Farhadi 2017, https://arxiv.org/abs/1612.08242, section 2); for nets that take
    images of any size.
    """

    def __init__(self, *, scale: float = 0.25, stride: int = 32, stream: int = 9) -> None:
        if not 0 <= scale < 1 or stride < 1:
            raise ValueError(f"MultiScale: scale={scale} must lie in [0, 1) and stride={stride} above 0")
        self.scale, self.stride, self.stream = scale, stride, stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Resize the batch."""
        key = rng.seed_for(seed, batch["epoch"], int(batch["index"][0]), stream=self.stream)
        factor = np.random.default_rng(key).uniform(1 - self.scale, 1 + self.scale)
        height, width = batch["image"].shape[-2:]
        h, w = self._sides(factor, height, width)
        given: Any = batch  # whose keys are variables below
        image = given["image"].float()
        out = replaced(batch, image=F.interpolate(image, size=(h, w), mode="bilinear", antialias=True))
        for name in ("mask", "instances"):
            if name in given:
                pixels = given[name][:, None].float()
                sized = F.interpolate(pixels, size=(h, w), mode="nearest")[:, 0]
                out = replaced(out, **{name: sized.to(given[name].dtype)})
        for name, sides in (("boxes", [w / width, h / height] * 2), ("keypoints", [w / width, h / height])):
            if name in given:
                out = replaced(out, **{name: given[name] * given[name].new_tensor(sides)})
        return out

    def extremes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the smallest and the largest (H, W) that batches of this size can get."""
        return [self._sides(factor, height, width) for factor in (1 - self.scale, 1 + self.scale)]

    def _sides(self, factor: float, height: int, width: int) -> tuple[int, int]:
        h, w = (max(1, round(factor * side / self.stride)) * self.stride for side in (height, width))
        return h, w
