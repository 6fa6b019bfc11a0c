"""Histograms of oriented gradients: Dalal & Triggs (2005), https://doi.org/10.1109/CVPR.2005.177."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.precision import at_least_single

TINY = 1e-20
EPS, CLIP = 1e-5, 0.2  # of the normalisation that Lowe (2004) calls Hys


def hog(image: Tensor, *, cell: int = 8, block: int = 2, bins: int = 9) -> Tensor:
    """Return normalised blocks of grey images (B, 1, H, W).

    They are (B, block² bins, H / cell - block + 1, W / cell - block + 1). Each pixel votes with the length of
    its gradient for that of `bins` directions in 0…180° which it has; the votes of cell × cell pixels are
    averaged, and block × block cells are normalised together. Channels stand in the order of scikit-image's
    `hog`: row and column of the cell, then direction.
    """
    votes = F.avg_pool2d(directions(at_least_single(image), bins=bins), cell)  # (B, bins, H / cell, W / cell)
    size = votes.shape
    blocks = F.unfold(votes, block).unflatten(1, (bins, block * block)).transpose(1, 2).flatten(1, 2)
    blocks = _hys(blocks)  # (B, block² bins, places)
    return blocks.unflatten(2, (size[2] - block + 1, size[3] - block + 1))


def directions(image: Tensor, *, bins: int) -> Tensor:
    """Return the length of the gradient (B, bins, H, W) in the channel of its direction, 0 in the others."""
    down, across = torch.zeros_like(image), torch.zeros_like(image)
    down[:, :, 1:-1] = image[:, :, 2:] - image[:, :, :-2]
    across[..., 1:-1] = image[..., 2:] - image[..., :-2]
    angle = torch.rad2deg(torch.atan2(down, across)) % 180
    chosen = (angle * (bins / 180)).floor().clamp(max=bins - 1)
    length = (down.square() + across.square()).clamp(min=TINY).sqrt()  # finite gradients where it is flat
    numbers = torch.arange(bins, device=image.device).view(1, bins, 1, 1)
    return torch.where(chosen == numbers, length, 0.0)


def hog_shape(side: int, *, cell: int = 8, block: int = 2, bins: int = 9) -> tuple[int, int, int]:
    """Return the shape (block² bins, n, n) of the blocks of a window of side × side pixels."""
    blocks = side // cell - block + 1
    return block**2 * bins, blocks, blocks


def _hys(blocks: Tensor) -> Tensor:
    """Scale blocks (B, C, places) to unit length, cut off at 0.2, and scale again."""
    blocks = blocks / (blocks.square().sum(dim=1, keepdim=True) + EPS**2).sqrt()
    blocks = blocks.clamp(max=CLIP)
    return blocks / (blocks.square().sum(dim=1, keepdim=True) + EPS**2).sqrt()
