"""Show what a layer makes of an image: its feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fovea.explain.core.hooks import record
from fovea.explain.core.layers import to_grid
from fovea.explain.core.method import explaining


def feature_maps(net: nn.Module, image: Tensor, path: str) -> Tensor:
    """Return the maps (B, D, h, w) that the module `path` gives for normalised images (B, C, H, W)."""
    with explaining(net), torch.no_grad(), record(net, path) as tapped:
        net(image)
        return to_grid(net, tapped[path], image.shape[2:]).clone()


def strongest(maps: Tensor, count: int) -> Tensor:
    """Return the channels (B, count) of maps (B, D, h, w) with the largest mean, the largest first."""
    if not 1 <= count <= maps.shape[1]:
        raise ValueError(f"count={count} of {maps.shape[1]} channels: ask for 1 to {maps.shape[1]}")
    return maps.mean(dim=(2, 3)).topk(count, dim=1).indices


def take(maps: Tensor, channels: Tensor) -> Tensor:
    """Return the maps (B, n, h, w) of the channels (B, n) of each image."""
    return maps.gather(1, channels[:, :, None, None].expand(-1, -1, *maps.shape[2:]))


def as_pictures(maps: Tensor) -> Tensor:
    """Stretch each map of (B, D, h, w) from its least to its largest value over 0…1; a flat one is 0."""
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
