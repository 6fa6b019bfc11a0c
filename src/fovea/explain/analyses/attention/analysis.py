"""Show the attention of a transformer: maps, distance and entropy of every head, share in the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from fovea.explain.analyses.attention.figure import animate, by_layer, grid
from fovea.explain.analyses.attention.read import AttentionReader, AttentionSample, layer_name
from fovea.explain.analyses.base import Analysis, write_table
from fovea.explain.core.model import ExplainedModel
from fovea.explain.methods.class_attention import Fuse, max_heads, mean_heads, min_heads
from fovea.files import write_npy
from fovea.page.blocks import Block, Fold, Picture, Table, Text
from fovea.page.formats import shorten

HEADS = ("image", "layer", "path", "head", "grid", "distance_pixels", "entropy_nats", "entropy_share")
OBJECTS = ("image", "map", "share_in_object", "share_of_image")
COLUMNS = 6  # images beside each other on a page; the CSV has all
FUSE = {"mean": mean_heads, "max": max_heads, "min": min_heads}
GRID = (
    "A row per layer, first its fusions and then its heads: the attention of the tokens that the classifier "
    "reads, over the picture. Colours run from 0 to each map's own maximum: a head with uniform attention "
    "is bright everywhere."
)


class AttentionAnalysis(Analysis):
    """Draw and measure the attention of every layer and head.

    Per image it writes a grid of maps (PNG), an animation through the layers (GIF) and the maps themselves
    (`.npy`, (layers, heads, h, w); one file for each run of layers of one shape); over all images `heads.csv`
    with distance and entropy, `by_layer.png`, and where objects are marked `objects.csv`, the share of the
    attention that falls in them.

    Args:
        images: how many of the model's images.
        fuse: by name, functions (B, heads, n, n) -> (B, n, n); the first is animated and measured.
        head_discard_ratio: share of heads left out of fusion and rollout, see `discard_heads`.
        discard_ratio: share of smallest weights that rollout sets to 0.
        frame_seconds: how long the animation shows a layer.
    """

    title = "Attention"

    def __init__(
        self,
        *,
        images: int = 4,
        fuse: Mapping[str, Fuse] | None = None,
        head_discard_ratio: float = 0.0,
        discard_ratio: float = 0.0,
        frame_seconds: float = 0.5,
    ) -> None:
        fuse = FUSE if fuse is None else fuse
        if images < 1 or frame_seconds <= 0 or not fuse:
            raise ValueError(
                f"images={images}, frame_seconds={frame_seconds}, fuse={list(fuse)}: take one image or more, "
                "a time above 0 and one fusion or more"
            )
        self.images, self.frame_seconds = images, frame_seconds
        self.reader = AttentionReader(
            fuse=fuse, head_discard_ratio=head_discard_ratio, discard_ratio=discard_ratio
        )

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write figures, tables and arrays into `folder`; return the blocks to show."""
        samples = [
            self.reader.read(model, batch, row)
            for batch in model.batches(self.images)
            for row in range(len(batch.rows))
        ]
        if not samples:
            return [Text("None of the images could be read.", "note")]
        write_heads(samples, folder / "heads.csv")
        drawn = [self._draw(sample, folder) for sample in samples]
        folds = [Fold(sample.id, blocks) for sample, blocks in zip(samples[1:], drawn[1:], strict=True)]
        return [*drawn[0], *folds, *_numbers(samples, folder)]

    def _draw(self, sample: AttentionSample, folder: Path) -> list[Block]:
        _save_maps(sample, folder)
        moving = animate(sample, folder / f"{sample.stem}.gif", frame_seconds=self.frame_seconds)
        maps = grid(sample, folder / f"{sample.stem}.png")
        first = next(iter(sample.layers[0].fused))
        return [
            Picture(moving, f"{sample.id}: attention, layer by layer", f"{sample.id}: {first} of the heads"),
            Picture(maps, f"{sample.id}: attention of every layer and head", GRID),
        ]


def _numbers(samples: Sequence[AttentionSample], folder: Path) -> list[Block]:
    images = f"mean of {len(samples)} images" if len(samples) > 1 else "one image"
    figure = by_layer(samples, folder / "by_layer.png")
    blocks: list[Block] = [
        Picture(figure, "Distance and entropy of each head by layer", f"A dot is a head, {images}."),
        Fold(
            "Distance and entropy of every head",
            [
                head_table(samples, "distance", caption=f"Mean attention distance in pixels, {images}"),
                head_table(samples, "entropy", caption=f"Entropy in nats, {images}"),
                head_table(samples, "entropy_share", caption=f"Entropy as a share of ln n, {images}"),
            ],
        ),
    ]
    inside = object_table(samples, caption="Share of the attention that falls in the object")
    if inside is not None:
        write_objects(samples, folder / "objects.csv")
        blocks.append(inside)
        blocks.append(Text("An even map scores the object's share of the image.", "note"))
    return blocks


def _save_maps(sample: AttentionSample, folder: Path) -> None:
    """Write the maps of layers of one shape, one after the other, as (layers, heads, h, w)."""
    runs = [list(run) for _, run in groupby(enumerate(sample.layers), key=lambda k: tuple(k[1].heads.shape))]
    for run in runs:
        layers = "" if len(runs) == 1 else f"__layers_{run[0][0] + 1}-{run[-1][0] + 1}"
        write_npy(folder / f"{sample.stem}{layers}.npy", np.stack([layer.heads.numpy() for _, layer in run]))


def write_heads(samples: Sequence[AttentionSample], path: Path) -> Path:
    """Write distance and entropy of every head of every layer in every image as CSV."""
    return write_table(path, [row for sample in samples for row in _head_rows(sample)], columns=HEADS)


def write_objects(samples: Sequence[AttentionSample], path: Path) -> Path:
    """Write which share of each map falls in the object, beside the share of the image that this covers."""
    rows = [
        {"image": sample.id, "map": name, "share_in_object": share, "share_of_image": sample.area}
        for sample in samples
        for name, share in sample.inside.items()
    ]
    return write_table(path, rows, columns=OBJECTS)


def head_table(samples: Sequence[AttentionSample], measure: str, *, caption: str) -> Table:
    """Show an attribute of `AttentionLayer`, (heads,), with a row per layer and a column per head."""
    layers = samples[0].layers
    most = max(len(layer.heads) for layer in layers)
    rows = []
    for k, layer in enumerate(layers):
        mean = sum(getattr(sample.layers[k], measure) for sample in samples) / len(samples)
        cells = [f"{value:.3g}" for value in mean.tolist()]
        grid = f"{layer.grid[0]} × {layer.grid[1]}"
        rows.append([layer_name(k), grid, f"{mean.mean():.3g}", *cells, *[""] * (most - len(cells))])
    headers = ["", "grid", "mean", *(f"{k + 1}" for k in range(most))]
    return Table(headers, rows, caption=caption, align="ll" + "r" * (most + 1))


def object_table(samples: Sequence[AttentionSample], *, caption: str) -> Table | None:
    """Compare layers and images by the share of the attention in the object; None where none is known."""
    known = [sample for sample in samples if sample.area is not None]
    if not known:
        return None
    shown = known[:COLUMNS]
    headers = ["", *(shorten(Path(sample.id).name, width=18) for sample in shown), f"mean of {len(known)}"]
    areas = [sample.area for sample in known if sample.area is not None]
    rows = [_shares("object's share of the image", areas, len(shown))]
    rows += [_shares(name, [sample.inside[name] for sample in known], len(shown)) for name in known[0].inside]
    return Table(headers, rows, caption=caption, align="l" + "r" * (len(shown) + 1))


def _shares(name: str, values: Sequence[float], shown: int) -> list[str]:
    finite = [value for value in values if value == value]
    mean = f"{100 * sum(finite) / len(finite):.1f} %" if finite else "–"
    return [name, *(f"{100 * value:.1f} %" for value in values[:shown]), mean]


def _head_rows(sample: AttentionSample) -> Iterable[dict[str, Any]]:
    for k, layer in enumerate(sample.layers):
        layer_of = {"image": sample.id, "layer": k + 1, "path": layer.path}
        measured = (layer.distance.tolist(), layer.entropy.tolist(), layer.entropy_share.tolist())
        for head, (distance, entropy, share) in enumerate(zip(*measured, strict=True)):
            yield layer_of | {
                "head": head + 1,
                "grid": f"{layer.grid[0]}x{layer.grid[1]}",
                "distance_pixels": distance,
                "entropy_nats": entropy,
                "entropy_share": share,
            }
