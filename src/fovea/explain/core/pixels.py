"""Turn pictures in 0…1 into the input of a net and back, and move, blur and measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.page.label import to_rgb


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Convert between pictures in 0…1 and what a net takes: (x - mean) / std per channel."""

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                f"mean={list(self.mean)}, std={list(self.std)} must be as many numbers, std above 0: "
                "take both from the preprocessing of the run"
            )

    @property
    def channels(self) -> int:
        """Return how many channels a picture has."""
        return len(self.mean)

    def encode(self, picture: Tensor) -> Tensor:
        """Normalise a picture (…, C, H, W) in 0…1 for the net; always a new tensor."""
        mean, std = self._constants(picture)
        return (picture - mean) / std

    def decode(self, image: Tensor) -> Tensor:
        """Return the picture of a net's input (…, C, H, W); values outside 0…1 are left as they are."""
        mean, std = self._constants(image)
        return image * std + mean

    def clip(self, image: Tensor) -> Tensor:
        """Bring a net's input (…, C, H, W) to the nearest one whose picture is within 0…1."""
        mean, std = self._constants(image)
        return torch.minimum(torch.maximum(image, -mean / std), (1 - mean) / std)

    def check(self, picture: Tensor) -> Tensor:
        """Return a picture (B, C, H, W) detached; ValueError where it is no float picture in 0…1."""
        if picture.ndim != 4 or picture.shape[1] != self.channels or not picture.is_floating_point():
            raise ValueError(
                f"pictures of shape {tuple(picture.shape)} and type {picture.dtype} are not float "
                f"(B, {self.channels}, H, W)"
            )
        low, high = picture.min().item(), picture.max().item()
        if not -1e-4 <= low <= high <= 1 + 1e-4:
            raise ValueError(
                f"pictures must be in 0…1, these are in {low:.3g}…{high:.3g}: "
                "undo the normalisation first with Pixels.decode"
            )
        return picture.detach().clamp(0, 1)

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if like.shape[-3] != self.channels:
            raise ValueError(
                f"images of shape {tuple(like.shape)} have not the {self.channels} channels of mean and std"
            )
        mean, std = (like.new_tensor(list(v)).view(-1, 1, 1) for v in (self.mean, self.std))
        return mean, std


def to_uint8(picture: Tensor) -> np.ndarray:
    """Return a picture (C, H, W) in 0…1 as uint8 (H, W, 3); other than 1 or 3 channels are averaged."""
    picture = picture.detach().float().cpu().clamp(0, 1)
    picture = picture if len(picture) in (1, 3) else picture.mean(dim=0, keepdim=True)
    return to_rgb((255 * picture).round().byte().permute(1, 2, 0).numpy())


def blur(image: Tensor, sigma: float) -> Tensor:
    """Convolve each channel of (B, C, H, W) with a Gaussian of `sigma` pixels; edges are repeated."""
    if sigma <= 0:
        return image
    reach = max(1, ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)  # (C, 1, 1, 2 reach + 1)
    framed = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(framed, kernel, groups=image.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=image.shape[1])


def total_variation(image: Tensor, beta: float = 2.0) -> Tensor:
    """Return the mean over pixels and channels of (dx² + dy²)^(beta / 2) for (B, C, H, W): (B,).

    Mahendran & Vedaldi 2015, https://arxiv.org/abs/1412.0035, eq. 4, with the mean in place of the sum, so
    that a weight means the same at every size.
    """
    down = image[..., 1:, :-1] - image[..., :-1, :-1]
    right = image[..., :-1, 1:] - image[..., :-1, :-1]
    square = down**2 + right**2
    if beta != 2:
        square = (square + 1e-12) ** (beta / 2)  # the root of 0 has no gradient
    return square.mean(dim=(1, 2, 3))


def moments(steps: int, keep: int) -> list[int]:
    """Return `keep` iterations of 0…steps, evenly apart, the first and the last among them."""
    if steps < 1 or keep < 1:
        raise ValueError(f"steps={steps} and keep={keep} must be 1 or more")
    count = min(keep, steps + 1)
    return [steps] if count == 1 else [round(i * steps / (count - 1)) for i in range(count)]
