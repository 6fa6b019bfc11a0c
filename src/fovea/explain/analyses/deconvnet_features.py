"""Show the images that excite the channels of a convolution most, projected back to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.explain.analyses.base import Analysis, write_table
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import to_uint8
from fovea.explain.methods.deconvnet import chain_layer, chain_output, project
from fovea.files import write_npy
from fovea.page.blocks import Block, Picture
from fovea.page.image_grid import Tile, grid

COLUMNS = ("layer", "channel", "rank", "image", "activation", "x1", "y1", "x2", "y2")


class DeconvnetAnalysis(Analysis):
    """Draw, per channel, the pieces of images that excite it most, and their projections below them.

    Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901, figure 2.

    Args:
        layer: of the leading chain of convolutions; null: the last convolution.
        channels: how many, those with the largest activations.
        images: how many for each channel.
        limit: how many images are searched; null: all.
    """

    title = "Deconvnet features"

    def __init__(
        self, *, layer: str | None = None, channels: int = 6, images: int = 6, limit: int | None = 500
    ) -> None:
        if min(channels, images) < 1:
            raise ValueError(f"channels={channels} and images={images} must be 1 or more")
        self.layer, self.channels, self.images, self.limit = layer, channels, images, limit

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write the sheet (png), `deconvnet.csv` and each channel's projections (npy: images, C, H, W)."""
        first = next(model.batches(1), None)
        if first is None:
            raise ValueError("there are no images to search")
        image = first.image.to(model.device)
        layer = self.layer if self.layer is not None else chain_layer(model.net, image)
        rows, best = self._search(model, layer)
        channels = best.mean(dim=0).topk(min(self.channels, best.shape[1])).indices.tolist()
        sheet, titles, table = [], [], []
        for channel in channels:
            cells, projected, lines = _channel(
                model, layer, channel, rows[:, channel].tolist(), best[:, channel]
            )
            write_npy(folder / f"{layer}__{channel}.npy", projected)
            sheet += cells
            titles += [f"{layer}, channel {channel}", "projected back"]
            table += lines
        write_table(folder / "deconvnet.csv", table, columns=COLUMNS)
        path = grid(folder / "deconvnet.png", sheet, titles=titles)
        caption = (
            "For each channel the image patches with the largest activations, and below them the projection "
            "of that one activation back to pixels, through the unpooling switches. Each projection has its "
            "own scale about mid-grey."
        )
        return [Picture(path, f"strongest activations of {layer} of {model.name}", caption)]

    def _search(self, model: ExplainedModel, layer: str) -> tuple[Tensor, Tensor]:
        """Return the images (n, D) with the largest activations (n, D) of each channel, the largest first."""
        best, rows = torch.empty(0), torch.empty(0, dtype=torch.long)
        for batch in model.batches(self.limit):
            maps = chain_output(model.net, batch.image.to(model.device), layer)
            peak = maps.amax(dim=(2, 3)).float().cpu()  # (B, D)
            at = torch.tensor(batch.rows)[:, None].expand(peak.shape)
            best, rows = (torch.cat([a, b]) if len(a) else b for a, b in ((best, peak), (rows, at)))
            best, order = best.sort(dim=0, descending=True, stable=True)
            best, rows = best[: self.images], rows.gather(0, order)[: self.images]
        return rows, best


def _channel(
    model: ExplainedModel, layer: str, channel: int, rows: list[int], best: Tensor
) -> tuple[list[list[Tile]], np.ndarray, list[dict[str, Any]]]:
    image = model.load(rows).image.to(model.device)
    projected, _ = project(model.net, image, layer=layer, channel=channel)
    boxes = _boxes(projected)
    pieces, back, table = [], [], []
    for rank, (row, picture, change, box, activation) in enumerate(
        zip(rows, model.pixels.decode(image), projected, boxes, best.tolist(), strict=True), start=1
    ):
        x1, y1, x2, y2 = box
        part = change[:, y1:y2, x1:x2]
        grey = 0.5 + 0.5 * part / part.abs().max().clamp(min=torch.finfo(part.dtype).tiny)
        pieces.append(Tile(picture=to_uint8(picture[:, y1:y2, x1:x2]), lines=[f"{activation:.3g}"]))
        back.append(Tile(picture=to_uint8(grey)))
        values = (layer, channel, rank, model.ids[row], activation, *box)
        table.append(dict(zip(COLUMNS, values, strict=True)))
    return [pieces, back], projected.cpu().numpy(), table


def _boxes(projected: Tensor) -> list[tuple[int, int, int, int]]:
    """Return the box x1 y1 x2 y2 around what is not zero of each of (B, C, H, W), all of one size."""
    height, width = projected.shape[2:]
    spans = [
        (_span(found.any(dim=0)), _span(found.any(dim=1))) for found in (projected != 0).any(dim=1)
    ]  # across, down
    wide = max(high - low for (low, high), _ in spans)
    tall = max(high - low for _, (low, high) in spans)
    return [
        (x, y, x + wide, y + tall)
        for x, y in ((_start(across, wide, width), _start(down, tall, height)) for across, down in spans)
    ]


def _span(excited: Tensor) -> tuple[int, int]:
    """Return the first and one past the last that is true; all where none is."""
    at = excited.nonzero()[:, 0]
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, len(excited))


def _start(span: tuple[int, int], length: int, whole: int) -> int:
    return max(0, min((span[0] + span[1] - length) // 2, whole - length))
