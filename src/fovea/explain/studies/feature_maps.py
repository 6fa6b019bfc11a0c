"""Show what layers make of images: their strongest feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fovea.explain.core.depth import spread_layers
from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.base import Study
from fovea.explain.studies.feature_tiles import as_pictures, feature_maps, strongest, take
from fovea.explain.studies.names import file_stem, layers_of
from fovea.page.blocks import Block, Picture, Text
from fovea.page.heatmap import heat
from fovea.page.image_grid import Tile, grid


class FeatureMapStudy(Study):
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

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png) and the maps shown (npy: channels, h, w)."""
        blocks: list[Block] = [
            Text(
                "Each map is stretched from its least value (dark) to its largest (bright); below it the "
                "channel's number and its mean, by which the strongest are chosen."
            )
        ]
        paths = layers_of(self.layer)
        for views in subject.batches(self.limit):
            for image, row in zip(views.image, views.rows, strict=True):
                image = image[None].to(subject.device)
                paths = paths or spread_layers(subject.net, image, self.layers)
                blocks.append(self._sheet(subject, folder, image, row, paths))
        return blocks

    def _sheet(
        self, subject: Subject, folder: Path, image: Tensor, row: int, paths: Sequence[str]
    ) -> Picture:
        stem, picture = file_stem(subject, row), to_uint8(subject.pixels.decode(image[0]))
        rows, titles = [], []
        for path in paths:
            maps = feature_maps(subject.net, image, path).float()  # (1, D, h, w)
            cells, shown = self._strongest(maps)
            np.save(folder / f"{stem}__{path}.npy", shown.cpu().numpy())
            rows.append([Tile(picture=picture, lines=["image"]), *cells])
            titles.append(f"{path}: {maps.shape[1]} maps of {maps.shape[2]}×{maps.shape[3]}")
        path_ = grid(folder / f"{stem}.png", rows, titles=titles)
        return Picture(path_, f"feature maps of {subject.name}", str(subject.ids[row]))

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
