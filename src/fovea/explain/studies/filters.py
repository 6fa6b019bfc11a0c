"""Show the weights that touch the pixels: first filters, or the templates of nets without convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.base import Study
from fovea.explain.studies.filter_tiles import (
    as_pictures,
    class_weights,
    filter_layer,
    filter_weights,
    hidden_weights,
)
from fovea.explain.studies.montage import montage
from fovea.explain.studies.names import class_name
from fovea.page.blocks import Block, Picture
from fovea.page.image_grid import Tile, grid

GAP = 4
PER_ROW = 16
BESIDE = 800  # pixels; two such pictures stand side by side on a page without being made smaller


class FilterStudy(Study):
    """Draw first filters, all models at the same size of a filter's pixel, so that 7×7 is smaller than 11×11.

    Args:
        layer: path of another convolution; null: the first.
        scale: pixels of the picture for each of a filter.
        limit: the most filters or templates shown; of more, those with the largest norm.
    """

    title = "First filters"

    def __init__(self, *, layer: str | None = None, scale: int = 6, limit: int = 256) -> None:
        if scale < 1 or limit < 1:
            raise ValueError(f"scale={scale} and limit={limit} must be 1 or more")
        self.layer, self.scale, self.limit = layer, scale, limit

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write the weights (npy) and their pictures (png)."""
        net = subject.net
        if self.layer is None and not any(isinstance(m, nn.Conv2d) for m in net.modules()):
            return self._templates(subject, folder)
        path = filter_layer(net) if self.layer is None else self.layer
        weight = filter_weights(net, path)
        np.save(folder / "filters.npy", weight.numpy())
        rows, said = self._largest(weight)
        height, width = weight.shape[2:]
        stride = "×".join(map(str, dict.fromkeys(net.get_submodule(path).stride)))  # type: ignore[arg-type]
        caption = (
            f"{path}: {len(weight)} filters of {height}×{width} pixels, stride {stride}{said}. Mid-grey is "
            f"a weight of zero; each filter has its own scale; {self.scale} of the picture's pixels show one."
        )
        tiles = as_pictures(weight[rows])
        if tiles.shape[1] not in (1, 3):  # maps, which have no colours: one picture for each
            tiles, caption = tiles.flatten(0, 1)[: self.limit, None], f"{caption} Grey: one input map each."
        columns = max(1, min(PER_ROW, (BESIDE - GAP) // (self.scale * width + GAP)))
        picture = montage(tiles, columns, gap=GAP, enlarge=self.scale)
        return [_picture(folder / "filters.png", picture, f"filters of {subject.name}", caption)]

    def _templates(self, subject: Subject, folder: Path) -> list[Block]:
        shape = (subject.pixels.channels, *subject.size)
        units, classes = hidden_weights(subject.net, shape), class_weights(subject.net, shape)
        direct = len(units) == len(classes) and torch.equal(units, classes)  # softmax regression
        blocks = [self._named(subject, folder, classes, direct)]
        if not direct:
            np.save(folder / "hidden.npy", units.numpy())
            rows, said = self._largest(units)
            cells = [Tile(picture=to_uint8(p)) for p in as_pictures(units[rows])]
            caption = f"What each of the {len(units)} units of the first hidden layer adds up{said}."
            path = grid(folder / "hidden.png", _rows(cells, PER_ROW))
            blocks.append(Picture(path, f"templates of the hidden units of {subject.name}", caption))
        return blocks

    def _named(self, subject: Subject, folder: Path, weight: Tensor, direct: bool) -> Block:
        np.save(folder / "templates.npy", weight.numpy())
        rows, said = self._largest(weight)
        cells = [
            Tile(picture=to_uint8(picture), lines=[class_name(subject.classes, row)])
            for row, picture in zip(rows.tolist(), as_pictures(weight[rows]), strict=True)
        ]
        how = "" if direct else ", as if every hidden unit were active: the product of the layers' matrices"
        caption = f"The weight of each pixel in the score of each class{how}{said}. Mid-grey is zero."
        path = grid(folder / "templates.png", _rows(cells, 10))
        return Picture(path, f"templates of the classes of {subject.name}", caption)

    def _largest(self, weight: Tensor) -> tuple[Tensor, str]:
        """Return which of (K, C, h, w) are shown, in their order, and how to say so."""
        if len(weight) <= self.limit:
            return torch.arange(len(weight)), ""
        rows = weight.flatten(1).norm(dim=1).topk(self.limit).indices.sort().values
        return rows, f"; the {self.limit} with the largest norm are shown"


def _rows(cells: list[Tile], columns: int) -> list[list[Tile]]:
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]


def _picture(path: Path, picture: Tensor, alt: str, caption: str) -> Picture:
    from PIL import Image

    Image.fromarray(to_uint8(picture)).save(path, compress_level=4)
    return Picture(path, alt, caption)
