"""Measure how far a picture is from the content of one picture and the style of another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Return F Fᵀ / N (B, D, D) of features F (B, D, N) or (B, D, h, w), N the number of positions.

    Gatys, Ecker & Bethge 2016 (CVPR), eq. 3, with the mean over positions in place of the sum, so that
    pictures of different sizes compare.
    """
    flat = features.flatten(2)  # (B, D, N)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return |f - w|² / |w|² over all elements: 0 at identity, 1 for f = 0, whatever the scale of a layer."""
    tiny = torch.finfo(wanted.dtype).tiny
    return (found - wanted).square().sum() / wanted.square().sum().clamp(min=tiny)


def content_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over layers of the relative error of features (B, D, N).

    Gatys, Ecker & Bethge 2016 (CVPR), eq. 1; relative, as Mahendran & Vedaldi 2015 (arXiv 1412.0035, eq. 3)
    have it, so that one weight suits every layer of every net.
    """
    return torch.stack([relative_error(found[k], w) for k, w in wanted.items()]).mean()


def style_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over layers of the relative error of Gram matrices: of features, to `wanted` (B, D, D).

    Gatys, Ecker & Bethge 2016 (CVPR), eqs. 4 and 5, relative as above.
    """
    return torch.stack([relative_error(gram(found[k]), w) for k, w in wanted.items()]).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours, down and across, of (B, C, H, W)."""
    down, across = image.diff(dim=-2), image.diff(dim=-1)
    return down.square().mean() + across.square().mean()
