"""Show the attention of a transformer: every layer and head, how far they look, and whether at the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from fovea.explain.core.model import Subject
from fovea.explain.methods.class_attention import Fuse, max_heads, mean_heads, min_heads
from fovea.explain.studies.attention.figure import animate, by_layer, grid
from fovea.explain.studies.attention.read import Look, Reading
from fovea.explain.studies.attention.table import head_table, object_table, write_heads, write_objects
from fovea.explain.studies.base import Study
from fovea.page.blocks import Block, Fold, Picture, Text

FUSE = {"mean": mean_heads, "max": max_heads, "min": min_heads}
GRID = (
    "A row per layer, a column per fusion and per head: where the tokens that decide the class look, over "
    "the picture. Colours run from 0 to each map's own maximum: a head that looks evenly is bright all over."
)


class AttentionStudy(Study):
    """Draw and measure the attention of every layer and head.

    Per image it writes a grid of maps (PNG), an animation through the layers (GIF) and the maps themselves
    (`.npy`, (layers, heads, h, w); one file for each run of layers of one shape); over all images `heads.csv`
    with distance and entropy, `by_layer.png`, and where objects are marked `objects.csv`, the share of the
    attention that falls in them.

    Args:
        images: how many of the subject's images.
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
        self.reading = Reading(fuse=fuse, head_discard_ratio=head_discard_ratio, discard_ratio=discard_ratio)

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write figures, tables and arrays into `folder`; return the blocks to show."""
        looks = [
            self.reading.look(subject, views, row)
            for views in subject.batches(self.images)
            for row in range(len(views.rows))
        ]
        if not looks:
            return [Text("None of the images could be read.", "note")]
        write_heads(looks, folder / "heads.csv")
        shown = [self._draw(look, folder) for look in looks]
        folds = [Fold(look.id, blocks) for look, blocks in zip(looks[1:], shown[1:], strict=True)]
        return [*shown[0], *folds, *_numbers(looks, folder)]

    def _draw(self, look: Look, folder: Path) -> list[Block]:
        _save_maps(look, folder)
        moving = animate(look, folder / f"{look.stem}.gif", frame_seconds=self.frame_seconds)
        maps = grid(look, folder / f"{look.stem}.png")
        first = next(iter(look.layers[0].fused))
        return [
            Picture(moving, f"{look.id}: attention, layer by layer", f"{look.id}: {first} of the heads"),
            Picture(maps, f"{look.id}: attention of every layer and head", GRID),
        ]


def _numbers(looks: Sequence[Look], folder: Path) -> list[Block]:
    images = f"mean of {len(looks)} images" if len(looks) > 1 else "one image"
    figure = by_layer(looks, folder / "by_layer.png")
    blocks: list[Block] = [
        Picture(figure, "Distance and entropy of each head by layer", f"A dot is a head, {images}."),
        Fold(
            "Distance and entropy of every head",
            [
                head_table(looks, "distance", caption=f"Mean attention distance in pixels, {images}"),
                head_table(looks, "entropy", caption=f"Entropy in nats, {images}"),
                head_table(looks, "entropy_share", caption=f"Entropy as a share of ln n, {images}"),
            ],
        ),
    ]
    inside = object_table(looks, caption="Share of the attention that falls in the object")
    if inside is not None:
        write_objects(looks, folder / "objects.csv")
        blocks.append(inside)
        blocks.append(Text("A map that knows nothing of the object scores the object's share.", "note"))
    return blocks


def _save_maps(look: Look, folder: Path) -> None:
    """Write the maps of layers of one shape, one after the other, as (layers, heads, h, w)."""
    runs = [list(run) for _, run in groupby(enumerate(look.layers), key=lambda k: tuple(k[1].heads.shape))]
    for run in runs:
        layers = "" if len(runs) == 1 else f"__layers_{run[0][0] + 1}-{run[-1][0] + 1}"
        np.save(folder / f"{look.stem}{layers}.npy", np.stack([layer.heads.numpy() for _, layer in run]))
