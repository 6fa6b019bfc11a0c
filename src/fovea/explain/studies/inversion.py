"""Rebuild images from what layers of a model know of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fovea.explain.core.depth import spread_layers
from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.base import Study
from fovea.explain.studies.invert import Inversion, invert
from fovea.explain.studies.names import file_stem, layers_of, write_table
from fovea.page.blocks import Block, Picture, Text
from fovea.page.image_grid import Tile, grid


class InversionStudy(Study):
    """Draw the original beside the picture that each layer gives back (Mahendran & Vedaldi 2015).

    Args:
        layer: a path, or several; null: `layers` of them over the depth of the net.
        limit: how many images.
        options: of `Inversion`: steps, lr, the weights of its penalties, seed.
    """

    title = "Feature inversion"

    def __init__(
        self, *, layer: str | Sequence[str] | None = None, layers: int = 4, limit: int = 2, **options: Any
    ) -> None:
        if min(layers, limit) < 1:
            raise ValueError(f"layers={layers} and limit={limit} must be 1 or more")
        self.layer, self.layers, self.limit = layer, layers, limit
        self.inversion = Inversion(**{"keep": 1, **options})

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png), the pictures (npy: C, H, W in 0…1) and `inversion.csv`."""
        blocks: list[Block] = [
            Text(
                "Each picture starts as noise and is changed until the layer sees in it what it sees in the "
                "original. The distance is the squared error of the features over their squared size: "
                "0 is the same, 1 is as far as an answer of zeros."
            )
        ]
        paths, table = layers_of(self.layer), []
        for views in subject.batches(self.limit):
            for image, row in zip(views.image, views.rows, strict=True):
                image = image[None].to(subject.device)
                paths = paths or spread_layers(subject.net, image, self.layers, vectors=True)
                block, lines = self._sheet(subject, folder, image, row, paths)
                blocks.append(block)
                table += lines
        write_table(folder / "inversion.csv", table, columns=["image", "layer", "steps", "distance"])
        return blocks

    def _sheet(
        self, subject: Subject, folder: Path, image: Tensor, row: int, paths: Sequence[str]
    ) -> tuple[Picture, list[dict[str, Any]]]:
        stem = file_stem(subject, row)
        original = subject.pixels.decode(image).clamp(0, 1)
        cells, table = [Tile(picture=to_uint8(original[0]), lines=["original"])], []
        for path in paths:
            found = invert(subject.net, path, original, pixels=subject.pixels, inversion=self.inversion)
            picture, distance = found.pictures[-1, 0], float(found.distance[-1, 0])
            np.save(folder / f"{stem}__{path}.npy", picture.cpu().numpy())
            cells.append(Tile(picture=to_uint8(picture), lines=[path, f"distance {distance:.3g}"]))
            steps = self.inversion.steps
            table.append({"image": subject.ids[row], "layer": path, "steps": steps, "distance": distance})
        place = grid(folder / f"{stem}.png", [cells])
        return Picture(place, f"images rebuilt from {subject.name}", str(subject.ids[row])), table
