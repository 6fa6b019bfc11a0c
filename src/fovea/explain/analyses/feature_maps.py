"""Show the strongest feature maps of layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fovea.explain.analyses.base import Analysis, file_stem, layers_of
from fovea.explain.core.depth import spread_layers
from fovea.explain.core.grid import to_grid
from fovea.explain.core.in_place import require_in_place
from fovea.explain.core.method import explaining
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import to_uint8
from fovea.files import write_npy
from fovea.models.hooks import record
from fovea.page.blocks import Block, Picture, Text
from fovea.page.heatmap import heat
from fovea.page.image_grid import Tile, grid


def feature_maps(net: nn.Module, image: Tensor, path: str) -> Tensor:
    """Return the maps (B, D, h, w) that the module `path` gives for normalised images (B, C, H, W)."""

    def read(some: Tensor) -> Tensor:
        with explaining(net), torch.no_grad(), record(net, path) as tapped:
            net(some)
        return to_grid(net, tapped[path], some.shape[2:]).clone()

    require_in_place(net, image, path, read)
    return read(image)


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


class FeatureMapAnalysis(Analysis):
    """Draw the channels with the largest mean of each layer, a row per layer, one sheet per image.

    Args:
        layer: a path, or several; null: `layers` of them over the depth of the net.
        channels: how many of each layer.
        limit: how many images.
    """

    title = "Feature maps"

    def __init__(
        self,
        *,
        layer: str | Sequence[str] | None = None,
        layers: int = 4,
        channels: int = 7,
        limit: int = 4,
    ) -> None:
        if min(layers, channels, limit) < 1:
            raise ValueError(f"layers={layers}, channels={channels} and limit={limit} must be 1 or more")
        self.layer, self.layers, self.channels, self.limit = layer, layers, channels, limit

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png) and the maps shown (npy: channels, h, w)."""
        blocks: list[Block] = [
            Text(
                "Each map is stretched from its least value (dark) to its largest (bright); below it the "
                "channel's number and its mean, by which the strongest are chosen."
            )
        ]
        paths = layers_of(self.layer)
        for batch in model.batches(self.limit):
            for image, row in zip(batch.image, batch.rows, strict=True):
                image = image[None].to(model.device)
                paths = paths or spread_layers(model.net, image, self.layers)
                blocks.append(self._sheet(model, folder, image, row, paths))
        return blocks

    def _sheet(
        self, model: ExplainedModel, folder: Path, image: Tensor, row: int, paths: Sequence[str]
    ) -> Picture:
        stem, picture = file_stem(model, row), to_uint8(model.pixels.decode(image[0]))
        rows, titles = [], []
        for path in paths:
            maps = feature_maps(model.net, image, path).float()  # (1, D, h, w)
            cells, shown = self._strongest(maps)
            write_npy(folder / f"{stem}__{path}.npy", shown.cpu().numpy())
            rows.append([Tile(picture=picture, lines=["image"]), *cells])
            titles.append(f"{path}: {maps.shape[1]} maps of {maps.shape[2]}×{maps.shape[3]}")
        path_ = grid(folder / f"{stem}.png", rows, titles=titles)
        return Picture(path_, f"feature maps of {model.name}", str(model.ids[row]))

    def _strongest(self, maps: Tensor) -> tuple[list[Tile], Tensor]:
        """Return the cells and the maps (n, h, w) of the strongest channels of one image."""
        channels = strongest(maps, min(self.channels, maps.shape[1]))
        shown = take(maps, channels)
        means: list[float] = shown.mean(dim=(2, 3))[0].tolist()
        cells = [
            Tile(picture=heat(picture.cpu().numpy()), lines=[f"{channel} · {_short(mean)}"])
            for picture, channel, mean in zip(
                as_pictures(shown)[0], torch.flatten(channels).tolist(), means, strict=True
            )
        ]
        return cells, shown[0]


def _short(value: float) -> str:
    return f"{value:.3g}"
