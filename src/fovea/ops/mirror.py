"""Extend images beyond their borders by what a mirror at the border shows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mirror(x: Tensor, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Tensor:
    """Extend (B, C, H, W) by so many rows and columns; the border pixel itself is not repeated.

    Unlike `torch.nn.functional.pad(mode="reflect")` any amount will do, also around a single pixel: what is
    beyond the opposite border is mirrored again.
    """
    for dim, before, after in ((2, top, bottom), (3, left, right)):
        if min(before, after) < 0:
            raise ValueError(f"mirror by {before} and {after} pixels: give numbers of at least 0")
        if before or after:
            x = x.index_select(dim, _places(x.shape[dim], before, after, x.device))
    return x


def on_multiples(run: Callable[[Tensor], Tensor], x: Tensor, *, multiple: int) -> Tensor:
    """Mirror (B, C, H, W) at its borders to sides that are multiples, run, and crop the output to (H, W)."""
    height, width = x.shape[2:]
    extra = -height % multiple, -width % multiple
    top, left = extra[0] // 2, extra[1] // 2  # around the image, so that its borders are treated alike
    out = run(mirror(x, top=top, bottom=extra[0] - top, left=left, right=extra[1] - left))
    return out[:, :, top : top + height, left : left + width]


def _places(side: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return where in 0 … side - 1 each of the new pixels comes from: a triangular wave."""
    period = max(2 * (side - 1), 1)
    wave = torch.arange(-before, side + after, device=device).remainder(period)
    return torch.minimum(wave, period - wave) if side > 1 else torch.zeros_like(wave)
