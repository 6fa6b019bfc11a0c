"""Bring images of the data module to the channels, size and normalisation of a pretrained backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._checks import height_width

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class AdaptInput(nn.Module):
    """Map images (B, C, H, W), normalised with `mean` and `std`, to (B, 3, *size) in another normalisation.

    Grey images are repeated in all channels; `size=None` leaves the size as it is.

    Args:
        mean, std: what the data were normalised with, per channel, of pixels in 0…1.
        own_mean, own_std: what the backbone expects, three numbers each.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        own_mean: Sequence[float] = IMAGENET[0],
        own_std: Sequence[float] = IMAGENET[1],
        size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or len(mean) not in (1, 3) or len(own_mean) != 3 or len(own_std) != 3:
            raise ValueError(
                f"mean={list(mean)}, std={list(std)} must be one or three numbers each, "
                "as data.mean and data.std are; a backbone has three"
            )
        self.channels = len(mean)
        self.size = None if size is None else height_width(size)
        m, s, own_m, own_s = (
            torch.tensor(list(v), dtype=torch.float64).view(1, -1, 1, 1)
            for v in (mean, std, own_mean, own_std)
        )
        # (x s + m - own_m) / own_s as one multiplication and one addition; the config has them
        self.register_buffer("scale", (s / own_s).float(), persistent=False)
        self.register_buffer("shift", ((m - own_m) / own_s).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Resample, then renormalise: both are linear, and a resampled grey image is cheaper."""
        if x.shape[1] != self.channels:
            raise ValueError(
                f"images of {x.shape[1]} channels, but mean and std of {self.channels}: "
                "set model.net.mean=${data.mean} and model.net.std=${data.std}"
            )
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            shrinks = x.shape[-2] > self.size[0] or x.shape[-1] > self.size[1]
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=shrinks)
        return x * self.scale.to(x.dtype) + self.shift.to(x.dtype)  # (B, 3, H', W')


def check_channels(in_channels: int, mean: Sequence[float]) -> None:
    """Raise a ValueError unless images have as many channels as their mean."""
    if in_channels != len(mean):
        raise ValueError(
            f"model.net.in_channels={in_channels} does not fit mean={list(mean)}: set both from data"
        )


def normalisation(net: nn.Module) -> dict[str, Sequence[float]]:
    """Return `own_mean` and `own_std` of a net of timm, ImageNet's for one without any."""
    known = getattr(net, "pretrained_cfg", None) or {}
    return {"own_mean": known.get("mean", IMAGENET[0]), "own_std": known.get("std", IMAGENET[1])}
