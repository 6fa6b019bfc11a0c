"""Measure the colours of pictures: how far off, and how vivid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fovea.metrics.exact import FIXED_POINT, ExactMetric, to_fixed


class ABError(ExactMetric):
    """Average over the images the root mean square of the differences in a and b of CIE Lab."""

    higher_is_better = False
    errors: Tensor
    compared: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sums("errors", "compared")

    def update(self, preds_ab: Tensor, target_ab: Tensor) -> None:
        """Add a batch of ab (B, 2, H, W)."""
        self.errors += to_fixed(ab_error(preds_ab, target_ab)).sum()
        self.compared += len(preds_ab)

    def compute(self) -> Tensor:
        """Return the mean, NaN where there was no image."""
        return self.errors / FIXED_POINT / self.compared


class Colourfulness(ExactMetric):
    """Average the colourfulness of the predicted pictures, or divide it by that of the true ones."""

    higher_is_better = True
    shared_state = "colourfulness"  # absolute and relative count the same: see `tasks.base.collection`
    vivid: Tensor
    vivid_truth: Tensor
    pictures: Tensor

    def __init__(self, *, relative: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.relative = relative
        self.add_sums("vivid", "vivid_truth", "pictures")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of sRGB pictures (B, 3, H, W) in 0…1."""
        self.vivid += to_fixed(colourfulness(preds)).sum()
        self.vivid_truth += to_fixed(colourfulness(target)).sum()
        self.pictures += len(preds)

    def compute(self) -> Tensor:
        """Return the mean over the pictures, or the ratio of the means: 1 is as vivid as the truth."""
        return self.vivid / (self.vivid_truth if self.relative else self.pictures * FIXED_POINT)


def ab_error(preds_ab: Tensor, target_ab: Tensor) -> Tensor:
    """Return the root mean square difference (B,) of ab (B, 2, H, W)."""
    return (preds_ab.float() - target_ab.float()).square().mean(dim=(1, 2, 3)).sqrt()


def image_psnr(preds: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio (B,) of pictures (B, C, H, W) in 0…1, in dB, at most 100."""
    return -10 * (preds - target).square().mean(dim=(1, 2, 3)).clamp(min=1e-10).log10()


def colourfulness(rgb: Tensor) -> Tensor:
    """Return how colourful pictures (B, 3, H, W) in 0…1 look, (B,): 0 is grey, 33 average, 80 very vivid.

    Hasler & Süsstrunk 2003, "Measuring colourfulness in natural images", section 5: σ + 0.3 μ of red - green
    and yellow - blue, on the scale of 0…255.
    """
    red, green, blue = (255 * rgb.float()).unbind(1)
    planes = torch.stack([red - green, (red + green) / 2 - blue], dim=1).flatten(2)  # (B, 2, H W)
    spread = planes.var(dim=2, correction=0).sum(dim=1).sqrt()
    return spread + 0.3 * planes.mean(dim=2).square().sum(dim=1).sqrt()
