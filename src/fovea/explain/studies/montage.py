"""Lay pictures out side by side."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def montage(pictures: Tensor, columns: int, *, gap: int = 1, enlarge: int = 1, fill: float = 1.0) -> Tensor:
    """Put pictures (N, C, h, w) into rows of `columns`, `gap` pixels apart: one picture (C, H, W).

    Each pixel becomes a square of `enlarge` pixels; `fill` is the colour between pictures and where none is.
    """
    if columns < 1 or enlarge < 1 or not len(pictures):
        raise ValueError(
            f"{len(pictures)} pictures, columns={columns}, enlarge={enlarge}: all must be 1 or more"
        )
    pictures = pictures.repeat_interleave(enlarge, dim=-2).repeat_interleave(enlarge, dim=-1)
    empty = -len(pictures) % columns
    pictures = F.pad(pictures, (0, gap, 0, gap, 0, 0, 0, empty), value=fill)  # (rows · columns, C, h, w)
    channels, width = pictures.shape[1], pictures.shape[3]
    cells = pictures.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)  # (C, rows, h, columns, w)
    whole = cells.reshape(channels, -1, columns * width)
    return F.pad(whole, (gap, 0, gap, 0), value=fill)


def over_iterations(pictures: Tensor, **layout: float) -> Tensor:
    """Lay out (T, K, C, h, w) with a row per class or image and a column per iteration: (C, H, W)."""
    return montage(pictures.transpose(0, 1).flatten(0, 1), pictures.shape[0], **layout)  # type: ignore[arg-type]
