"""Read sizes, and refuse the images and depths that an architecture cannot take."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (H, W) of one side of a square, or of [H, W]."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def check_images(x: Tensor, *, net: str, channels: int, smallest: int) -> None:
    """Raise a ValueError unless `x` is (B, channels, H, W) with sides of at least `smallest` pixels."""
    if x.ndim == 4 and x.shape[1] == channels and min(x.shape[2:]) >= smallest:
        return
    remedy = f"set data.image_size={smallest} or more"
    if x.ndim != 4:
        remedy = "give a batch of images"
    elif x.shape[1] != channels:
        remedy = f"set model.net.in_channels={x.shape[1]}"
    raise ValueError(
        f"{net} takes images of shape (B, {channels}, H, W) with sides of {smallest} pixels and more, got "
        f"{tuple(x.shape)}: {remedy}"
    )


def blocks_per_stage(depth: int, *, layers: int, extra: int, net: str) -> int:
    """Return n of `depth` = `layers` n + `extra`, or say which depths are near."""
    blocks, rest = divmod(depth - extra, layers)
    if blocks >= 1 and not rest:
        return blocks
    below = max(blocks, 1) * layers + extra
    raise ValueError(
        f"depth={depth}: {net} has {layers} n + {extra} layers, near it are {below} and {below + layers}"
    )
