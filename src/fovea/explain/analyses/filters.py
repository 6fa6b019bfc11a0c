"""Show the weights next to the pixels: first filters, or the templates of nets without convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.analyses.base import Analysis, class_name
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import to_uint8
from fovea.files import write_npy
from fovea.models.hooks import find
from fovea.page.blocks import Block, Picture
from fovea.page.image_grid import Tile, beside, grid, stacked, write_png

Cell = TypeVar("Cell")
GAP = 4
PER_ROW = 16
BESIDE = 800  # pixels; two such pictures stand side by side on a page without being made smaller
SILENT = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity, nn.Flatten, nn.Sequential)


def filter_layer(net: nn.Module) -> str:
    """Return the dotted path of the first convolution, in the order in which the net declares its parts."""
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return path
    raise ValueError(f"{type(net).__name__} has no 2D convolution: its templates are shown instead")


def filter_weights(net: nn.Module, path: str | None = None) -> Tensor:
    """Return a copy of the first convolution's filters (K, C, h, w), or of those of the one at `path`."""
    path = filter_layer(net) if path is None else path
    layer = find(net, path)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"{path} is a {type(layer).__name__}, not a 2D convolution")
    return _copy(layer.weight)


def hidden_weights(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the weights of each unit of the first linear layer: (units, C, H, W).

    For softmax regression the units are the classes; for a two-layer net they are the hidden units. `shape`
    is C, H, W of the images.
    """
    return _copy(_layers(net, shape)[0].weight).reshape(-1, *shape)


def class_weights(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the weight of every input in every logit (num_classes, C, H, W), as if each unit were active.

    The product of the layers' matrices: exactly the weights of softmax regression; for deeper perceptrons the
    linear part, without the nonlinearities.
    """
    first, *others = (_copy(layer.weight) for layer in _layers(net, shape))
    for weight in others:
        first = weight @ first  # (out, C H W)
    return first.reshape(-1, *shape)


def as_pictures(weight: Tensor) -> Tensor:
    """Map each of (K, C, h, w) to 0…1 about mid-grey by its own largest size, colours kept in proportion.

    Krizhevsky et al. 2012, figure 3.
    """
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return 0.5 + 0.5 * weight / largest


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu().clone()


def _layers(net: nn.Module, shape: Sequence[int]) -> list[nn.Linear]:
    """Return the linear layers of a net that has nothing else that weighs its inputs."""
    leaves = [m for m in net.modules() if not any(True for _ in m.children())]
    layers = [m for m in leaves if isinstance(m, nn.Linear)]
    other = sorted({type(m).__name__ for m in leaves if not isinstance(m, (nn.Linear, *SILENT))})
    sizes = [(m.in_features, m.out_features) for m in layers]
    widths = [prod(shape), *(size for _, size in sizes)]
    if other or not layers or [size for size, _ in sizes] != widths[:-1]:
        raise ValueError(
            f"templates need a chain of linear layers from {prod(shape)} = {tuple(shape)} inputs; "
            f"{type(net).__name__} has {', '.join(other) or sizes}: use the filters or class_visualisation"
        )
    return layers


class FilterAnalysis(Analysis):
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

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write the weights (npy) and their pictures (png)."""
        net = model.net
        if self.layer is None and not any(isinstance(m, nn.Conv2d) for m in net.modules()):
            return self._templates(model, folder)
        path = filter_layer(net) if self.layer is None else self.layer
        weight = filter_weights(net, path)
        write_npy(folder / "filters.npy", weight.numpy())
        chosen, note = self._largest(weight)
        height, width = weight.shape[2:]
        stride = "×".join(map(str, dict.fromkeys(net.get_submodule(path).stride)))  # type: ignore[arg-type]
        caption = (
            f"{path}: {len(weight)} filters of {height}×{width} pixels, stride {stride}{note}. Mid-grey is "
            f"a weight of zero; each filter has its own scale; a weight is {self.scale}×{self.scale} pixels."
        )
        tiles = as_pictures(weight[chosen])
        if tiles.shape[1] not in (1, 3):  # maps, which have no colours: one picture for each
            tiles, caption = tiles.flatten(0, 1)[: self.limit, None], f"{caption} Grey: one input map each."
        columns = max(1, min(PER_ROW, (BESIDE - GAP) // (self.scale * width + GAP)))
        drawn = [_enlarged(tile, self.scale) for tile in tiles]
        rows = [beside(row, gap=GAP) for row in _cut(drawn, columns)]
        file = write_png(folder / "filters.png", stacked(rows, gap=GAP, margin=GAP))
        return [Picture(file, f"filters of {model.name}", caption)]

    def _templates(self, model: ExplainedModel, folder: Path) -> list[Block]:
        shape = (model.pixels.channels, *model.size)
        units, classes = hidden_weights(model.net, shape), class_weights(model.net, shape)
        direct = len(units) == len(classes) and torch.equal(units, classes)  # softmax regression
        blocks = [self._named(model, folder, classes, direct)]
        if not direct:
            write_npy(folder / "hidden.npy", units.numpy())
            rows, note = self._largest(units)
            cells = [Tile(picture=to_uint8(p)) for p in as_pictures(units[rows])]
            caption = f"The weights of each of the {len(units)} units of the first hidden layer{note}."
            path = grid(folder / "hidden.png", _cut(cells, PER_ROW))
            blocks.append(Picture(path, f"templates of the hidden units of {model.name}", caption))
        return blocks

    def _named(self, model: ExplainedModel, folder: Path, weight: Tensor, direct: bool) -> Block:
        write_npy(folder / "templates.npy", weight.numpy())
        rows, note = self._largest(weight)
        cells = [
            Tile(picture=to_uint8(picture), lines=[class_name(model.classes, row)])
            for row, picture in zip(rows.tolist(), as_pictures(weight[rows]), strict=True)
        ]
        active = ", as if every hidden unit were active: the product of the layers' matrices"
        product = "" if direct else active
        caption = f"The weight of each pixel in the score of each class{product}{note}. Mid-grey is zero."
        path = grid(folder / "templates.png", _cut(cells, 10))
        return Picture(path, f"templates of the classes of {model.name}", caption)

    def _largest(self, weight: Tensor) -> tuple[Tensor, str]:
        """Return which of (K, C, h, w) are shown, in their order, and how to say so."""
        if len(weight) <= self.limit:
            return torch.arange(len(weight)), ""
        rows = weight.flatten(1).norm(dim=1).topk(self.limit).indices.sort().values
        return rows, f"; the {self.limit} with the largest norm are shown"


def _enlarged(picture: Tensor, scale: int) -> np.ndarray:
    """Return a picture (C, h, w) in 0…1 as uint8, each pixel a square of `scale`."""
    return to_uint8(picture).repeat(scale, axis=0).repeat(scale, axis=1)


def _cut(cells: Sequence[Cell], columns: int) -> list[Sequence[Cell]]:
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]
