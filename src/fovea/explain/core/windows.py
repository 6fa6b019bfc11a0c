"""Locate the tokens of an attention map in the image, shifted and dilated windows included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Place the tokens of one attention layer: `windows` maps of n tokens over a grid of h x w patches.

    Args:
        grid: (h, w).
        index: (windows, n) int64; below h w the patch in raster order, then the prefix tokens (class,
            distillation, registers) from h w on, and h w + prefix for padding.
        prefix: number of prefix tokens.
    """

    grid: tuple[int, int]
    index: Tensor
    prefix: int = 0

    @property
    def patches(self) -> int:
        """Count the patches of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """Count patches and prefix tokens; it is also the index of padding."""
        return self.patches + self.prefix

    def split(self, weights: Tensor) -> Tensor:
        """Split the axis of maps (B windows, ..., n, n) into images and windows: (B, windows, ..., n, n)."""
        windows, n = self.index.shape
        if len(weights) % windows or weights.shape[-1] != n:
            raise ValueError(
                f"maps of shape {tuple(weights.shape)} do not belong to {windows} windows of {n} tokens"
            )
        return weights.unflatten(0, (-1, windows))


def global_layout(grid: tuple[int, int], *, prefix: int = 0) -> Layout:
    """Place tokens that all attend to each other, the prefix tokens first."""
    patches = grid[0] * grid[1]
    index = torch.cat([torch.arange(patches, patches + prefix), torch.arange(patches)])
    return Layout(grid, index[None], prefix)


def shifted_layout(grid: tuple[int, int], *, window: tuple[int, int], shift: tuple[int, int]) -> Layout:
    """Place the windows of Swin after the cyclic shift: Liu et al. (2021), https://arxiv.org/abs/2103.14030.

    The grid is rolled by `-shift`, padded on the right and below to whole windows, and cut, as in timm.
    """
    height, width = grid
    raster = torch.arange(height * width).view(height, width).roll((-shift[0], -shift[1]), (0, 1))
    pad = (0, -width % window[1], 0, -height % window[0])
    raster = F.pad(raster, pad, value=height * width)
    cut = raster.unflatten(1, (-1, window[1])).unflatten(0, (-1, window[0]))  # (rows, wh, columns, ww)
    return Layout(grid, cut.permute(0, 2, 1, 3).flatten(2).flatten(0, 1))


def dilated_layout(grid: tuple[int, int], *, size: tuple[int, int]) -> Layout:
    """Place the tokens of MaxViT's grid attention, which lie h/size apart.

    Tu et al. (2022), https://arxiv.org/abs/2204.01697.
    """
    raster = torch.arange(grid[0] * grid[1]).view(grid)
    cut = raster.unflatten(1, (size[1], -1)).unflatten(0, (size[0], -1))  # (sh, rows, sw, columns)
    return Layout(grid, cut.permute(1, 3, 0, 2).flatten(2).flatten(0, 1))


def block_layout(block: nn.Module, grid: tuple[int, int]) -> Layout | None:
    """Place the windows of a Swin or MaxViT block on its map of h x w; None for any other block."""
    found: Any = block
    if hasattr(block, "window_size") and hasattr(block, "shift_size"):
        return shifted_layout(grid, window=_pair(found.window_size), shift=_pair(found.shift_size))
    if hasattr(block, "partition_size") and hasattr(block, "partition_block"):
        size = _pair(found.partition_size)
        if found.partition_block:
            return shifted_layout(grid, window=size, shift=(0, 0))
        return dilated_layout(grid, size=size)
    return None


def find_layout(
    block: nn.Module,
    block_shapes: list[tuple[int, ...]],
    shape: tuple[int, ...],
    maps: tuple[int, ...],
    image_grid: tuple[int, int] | None,
) -> Layout | None:
    """Place the tokens of an attention module, or return None where its net cuts them in an unknown way.

    Args:
        block: the module around it.
        block_shapes: of what the block took: (B, h, w, C) or (B, C, h, w) in windowed nets.
        shape: of what the attention took, (B windows, n, C), (B, h, w, C) or (B, C, h, w).
        maps: of its maps, (B windows, heads, n, n).
        image_grid: the patches of the image.
    """
    n = maps[-1]
    last = len(shape) == 3 or shape[1] * shape[2] == n  # channels come last
    if block_shapes and len(block_shapes[0]) == 4:
        around = block_shapes[0]
        layout = block_layout(block, around[1:3] if last else around[2:4])
        if layout is not None:
            return layout if layout.index.shape == (maps[0] // around[0], n) else None
        if maps[0] != around[0]:  # windows of another kind
            return None
    grid = image_grid
    if len(shape) == 4:
        grid = shape[1:3] if last else shape[2:4]
    if grid is None or n < grid[0] * grid[1]:
        return None
    return global_layout(grid, prefix=n - grid[0] * grid[1])


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
