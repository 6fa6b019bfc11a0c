"""Predict in which of a few hundred cells of the ab plane a colour lies.

Zhang, Isola & Efros 2016, "Colorful image colorization", https://arxiv.org/abs/1603.08511. A mean over the
colours that something may have is grey; a distribution over them is not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.ops.lab import rgb_to_lab
from fovea.ops.precision import at_least_single

REACH = 1.4  # cells from the nearest colour of a screen: this gives as many as the paper has, 313
CHUNK = 65_536  # pixels whose distances to all cells are held at a time


class Bins(nn.Module):
    """Compare logits (B, Q, H, W) with true ab (B, 2, H, W) by cross-entropy, rare colours weighted up.

    A true colour is spread over its nearest cells (the soft encoding of the paper, section 2.1). The weight
    of a cell is w ~ ((1 - λ) p + λ / Q)^-1 with mean 1 over the colours of the training images (equation 4),
    whose smoothed frequencies p come from `fit`. A prediction is the mean of the cells under softmax(logits /
    T) (the annealed mean, equation 5).

    Args:
        channels: Q, which `grid` decides: 313 for 10. It is named here so that nets can be built to it.
        grid: side of a cell in ab.
        neighbours, sigma: cells that share a colour, and the width of the Gaussian by which they do.
        rebalance: λ, from 0 (every cell counts alike) to 1 (every pixel does).
        temperature: T, from near 0 (the most probable cell) to 1 (the mean).
    """

    points: Tensor
    weight: Tensor

    def __init__(
        self,
        *,
        channels: int = 313,
        grid: float = 10.0,
        neighbours: int = 5,
        sigma: float = 5.0,
        rebalance: float = 0.5,
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        points = in_gamut(grid)
        if channels != len(points):
            raise ValueError(f"channels={channels}, but grid={grid} gives {len(points)} cells: set that")
        if not 1 <= neighbours <= channels or not 0 <= rebalance <= 1 or not temperature > 0 or not sigma > 0:
            raise ValueError(
                f"neighbours={neighbours}, sigma={sigma}, rebalance={rebalance}, temperature={temperature}: "
                f"give 1…{channels} neighbours, a rebalance in 0…1, the others above 0"
            )
        self.channels, self.neighbours, self.sigma = channels, neighbours, sigma
        self.rebalance, self.temperature = rebalance, temperature
        self.register_buffer("points", points, persistent=False)  # (Q, 2)
        self.register_buffer("weight", torch.ones(channels))

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest cells of colours (N, 2) and their shares, (N, neighbours) each."""
        parts = [
            torch.cdist(chunk, self.points).topk(self.neighbours, largest=False) for chunk in _chunks(ab)
        ]
        distance = torch.cat([part.values for part in parts])
        share = torch.softmax(-(distance**2) / (2 * self.sigma**2), dim=1)
        return torch.cat([part.indices for part in parts]), share

    def fit(self, ab: Tensor) -> None:
        """Set the weights by how often each cell is nearest to the colours (N, 2) of the training images."""
        nearest = [torch.cdist(chunk, self.points).argmin(dim=1) for chunk in _chunks(ab)]
        counts = torch.bincount(torch.cat(nearest), minlength=self.channels).double()
        points = self.points.double()
        share = counts @ torch.softmax(-(torch.cdist(points, points) ** 2) / (2 * self.sigma**2), dim=1)
        share = share / share.sum()
        weight = 1 / ((1 - self.rebalance) * share + self.rebalance / self.channels).clamp(min=1e-6)
        self.weight.copy_(weight / (share * weight).sum())

    def loss(self, output: Tensor, ab: Tensor) -> Tensor:
        """Return the mean over pixels of -w Σ_q z_q log p_q, z the shares and w of the nearest cell."""
        colours = ab.movedim(1, -1)  # (B, H, W, 2)
        found = self.encode(colours.reshape(-1, 2))
        cells, share = (x.view(*colours.shape[:3], -1).movedim(-1, 1) for x in found)  # (B, neighbours, H, W)
        logits = at_least_single(output)
        losses = logits.logsumexp(dim=1) - (share * logits.gather(1, cells)).sum(dim=1)
        return (self.weight[cells[:, 0]] * losses).mean()

    def decode(self, output: Tensor) -> Tensor:
        """Return ab (B, 2, H, W), the annealed mean."""
        share = torch.softmax(at_least_single(output) / self.temperature, dim=1)
        with torch.autocast(output.device.type, enabled=False):
            return F.conv2d(share, self.points.to(share.dtype).T[:, :, None, None])


def in_gamut(grid: float) -> Tensor:
    """Return the grid points (Q, 2) at which, or near which, a screen has colours."""
    if not 2 <= grid <= 50:
        raise ValueError(f"grid={grid} must lie in 2…50; 10 is the paper's")
    ticks = torch.arange(-round(110 // grid), round(110 // grid) + 1) * grid
    points = torch.cartesian_prod(ticks, ticks).float()
    return points[torch.cdist(points, _surface()).min(dim=1).values <= REACH * grid]


def _surface(steps: int = 33) -> Tensor:
    """Return ab (N, 2) of the faces of the RGB cube, which have every pair that the inside has."""
    side = torch.linspace(0, 1, steps, dtype=torch.float64)
    face = torch.cartesian_prod(side, side)
    faces = [
        torch.cat([face[:, :axis], torch.full_like(face[:, :1], end), face[:, axis:]], dim=1)
        for axis in range(3)
        for end in (0.0, 1.0)
    ]
    return rgb_to_lab(torch.cat(faces)[:, :, None, None])[:, 1:, 0, 0].float()


def _chunks(ab: Tensor) -> Iterator[Tensor]:
    return iter(ab.float().split(CHUNK))
