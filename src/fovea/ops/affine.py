"""Turn, scale, shear and move whole batches of images, each its own way."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.annotations import PIXELS, annotated, transform_annotations
from fovea.ops.augment import draw, replaced
from fovea.types import Batch


class RandomAffine:
    """Map each image by its own affine transform about its centre, bilinearly; what comes in is black.

    Angle and shear are uniform in ±`degrees` and ±`shear` degrees, the factor of size in 1 ± `scale`, the way
    in both directions in ±`translate` of the side. Images become float.
    """

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        translate: float = 0.08,
        scale: float = 0.1,
        shear: float = 0.0,
        stream: int = 6,
    ) -> None:
        if not (0 <= degrees <= 180 and 0 <= translate <= 1 and 0 <= scale < 1 and 0 <= shear < 90):
            raise ValueError(
                f"RandomAffine: degrees={degrees} must lie in [0, 180], translate={translate} in [0, 1], "
                f"scale={scale} in [0, 1) and shear={shear} in [0, 90)"
            )
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        self.stream = stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Transform every image on its own."""
        image = batch["image"].float()
        drawn = 2 * draw(batch, seed=seed, n=5, stream=self.stream) - 1  # (B, 5) in [-1, 1)
        maps = self._maps(drawn, image)
        grid = F.affine_grid(maps, list(image.shape), align_corners=False)
        moved = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        out = replaced(batch, image=moved)
        if not annotated(batch):
            return out
        for key, fill in PIXELS.items():
            if key in batch:
                out = replaced(out, **{key: _nearest(batch[key], grid, fill)})  # type: ignore[literal-required]
        return transform_annotations(out, lambda xy, index: _forward(maps, xy, index, image.shape[-2:]))

    def _maps(self, drawn: Tensor, image: Tensor) -> Tensor:
        """Return the maps (B, 2, 3) from places in the new image to places in the old, sides being 2 long."""
        angle = torch.deg2rad(self.degrees * drawn[:, 0])
        lean = torch.tan(torch.deg2rad(self.shear * drawn[:, 1]))
        size = 1 / (1 + self.scale * drawn[:, 2])
        cos, sin, aspect = size * angle.cos(), size * angle.sin(), image.shape[-2] / image.shape[-1]
        move = 2 * self.translate * drawn[:, 3:]  # (B, 2)
        rows = [cos, (lean * cos - sin) * aspect, move[:, 0], sin / aspect, lean * sin + cos, move[:, 1]]
        return torch.stack(rows, dim=1).view(-1, 2, 3)


def _nearest(pixels: Tensor, grid: Tensor, fill: int) -> Tensor:
    """Sample class or instance numbers (B, H, W) without mixing them; `fill` beside the old image."""
    shifted = (pixels.float() - fill)[:, None]  # outside is sampled as 0
    moved = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (moved[:, 0] + fill).round().to(pixels.dtype)


def _forward(maps: Tensor, xy: Tensor, index: Tensor, size: torch.Size) -> Tensor:
    """Return where points (…, 2) in pixels of the images `index` (…,) go: the inverse of `maps` (B, 2, 3)."""
    half = torch.tensor([size[1], size[0]], device=xy.device) / 2
    turn = torch.linalg.inv(maps[:, :, :2].double())[index]  # (…, 2, 2)
    place = xy.double() / half - 1 - maps[:, :, 2].double()[index]
    return (((turn @ place[..., None])[..., 0] + 1) * half).to(xy.dtype)
