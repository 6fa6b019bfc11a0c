"""Correlate the channels of features: what is left of a picture when places are forgotten."""

from __future__ import annotations

from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Return F Fᵀ / N (B, D, D) of features F (B, D, N) or (B, D, h, w), N the number of positions.

    Gatys, Ecker & Bethge 2016 (CVPR), eq. 3, with the mean over positions in place of the sum, so that
    pictures of different sizes compare.
    """
    flat = features.flatten(2)  # (B, D, N)
    return flat @ flat.transpose(1, 2) / flat.shape[2]
