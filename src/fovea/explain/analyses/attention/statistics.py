"""Measure the attention distance and entropy of the heads of a transformer."""

from __future__ import annotations

import torch
from torch import Tensor

from fovea.explain.core.attention import precise
from fovea.explain.core.windows import Layout


def entropy(weights: Tensor) -> Tensor:
    """Average -sum_k a_k ln a_k over the queries: (B windows, heads, n, n) to (B windows, heads), in nats.

    It is 0 where every token attends to one, and ln n where attention is uniform.
    """
    return torch.special.entr(weights).sum(dim=-1).mean(dim=-1)


def attention_entropy(weights: Tensor, layout: Layout) -> Tensor:
    """Average the entropy over windows, padded queries left out: (B windows, heads, n, n) to (B, heads)."""
    rows = torch.special.entr(layout.split(weights)).sum(dim=-1)  # (B, windows, heads, n)
    real = (layout.index < layout.tokens).to(rows)[:, None]  # (windows, 1, n)
    return (rows * real).sum(dim=(1, 3)) / real.sum()


def attention_distance(
    weights: Tensor, layout: Layout, *, patch_size: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Average the distance from each patch to the others, weighted by attention: to (B, heads).

    Dosovitskiy et al. (2021), Fig. 7 and App. D.7, https://arxiv.org/abs/2010.11929. Weights count among the
    patches alone, so a head that attends mostly to the class token is measured by the rest.

    Args:
        weights: (B windows, heads, n, n).
        layout: where the tokens lie; distances are in the image, also in shifted or dilated windows.
        patch_size: height and width of a patch of this layer in pixels; in patches otherwise.
    """
    index = layout.index.to(weights.device)
    place = torch.stack([index // layout.grid[1] * patch_size[0], index % layout.grid[1] * patch_size[1]], -1)
    apart = (place[:, :, None] - place[:, None]).float().norm(dim=-1)  # (windows, n, n)
    real = (index < layout.patches).float()  # (windows, n)
    split = layout.split(weights).float() * real[:, None, None, :]  # (B, windows, heads, n, n)
    mean = (split * apart[:, None]).sum(dim=-1) / split.sum(dim=-1).clamp_min(torch.finfo(split.dtype).tiny)
    return (mean * real[:, None]).sum(dim=(1, 3)) / real.sum()


def share_inside(maps: Tensor, region: Tensor) -> Tensor:
    """Return the share of each map (B, H, W) that lies in its region (B, H, W): (B,), NaN where a map is 0.

    Negative values count as 0. Of an even map it is the share of the image that the region covers.
    """
    if maps.shape != region.shape:
        raise ValueError(f"maps {tuple(maps.shape)} and regions {tuple(region.shape)} must be (B, H, W)")
    positive = precise(maps).clamp_min(0)
    return (positive * region).sum((1, 2)) / positive.sum((1, 2))
