"""Decide what is in a scene: a pure function of (seed, split, index), vectorised over scenes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fovea.data.scenes import colours
from fovea.data.scenes.draws import Draws, labels_of
from fovea.data.scenes.places import CANDIDATES, areas, count_objects, places
from fovea.data.scenes.shapes import CLUTTER, SHAPES, TURN, tables
from fovea.data.scenes.textures import BACKDROPS, LEAST, PERIOD, TEXTURES

MAX_CLUTTER = 9


class ScenePlan(NamedTuple):
    """B scenes with S slots in painting order: clutter, other objects, last the one that gives the label.

    Lengths are pixels.
    """

    present: np.ndarray  # (B, S) bool
    shape: np.ndarray  # (B, S) int64, SHAPES then CLUTTER
    texture: np.ndarray  # (B, S) int64
    colour: np.ndarray  # (B, S) int64, COLOURS
    x: np.ndarray  # (B, S) centres
    y: np.ndarray
    scale: np.ndarray  # (B, S) pixels for length 1 of the outline
    angle: np.ndarray  # (B, S) int64 in 1/1024 turn
    area: np.ndarray  # (B, S) share of the square over the shorter side, before anything hides it
    rgb: np.ndarray  # (B, S, 2, 3) both colours of the texture
    period: np.ndarray  # (B, S)
    phase: np.ndarray  # (B, S, 2) in periods
    backdrop: np.ndarray  # (B,) int64
    backdrop_rgb: np.ndarray  # (B, 3)
    light: np.ndarray  # (B,) int64, where the light comes from, in 1/1024 turn
    extra: np.ndarray  # (B, 10) uniform draws for `paint`
    clutter: int  # how many slots are clutter


def make_plan(
    index: np.ndarray, *, seed: int, split: str, size: tuple[int, int], difficulty: float, max_objects: int
) -> ScenePlan:
    """Plan the scenes `index` (B,) for pictures of `size` (height, width)."""
    clutter, unit = round(MAX_CLUTTER * difficulty), float(min(size))
    slots = clutter + max_objects
    draw = Draws(seed, split, index, n=24 + slots * (23 + 2 * CANDIDATES))
    present = count_objects(draw, clutter=clutter, objects=max_objects, difficulty=difficulty)
    label = labels_of(seed, split, index)
    shape, texture, colour = _kinds(draw, label, clutter=clutter, slots=slots, difficulty=difficulty)
    area = areas(draw, clutter=clutter, slots=slots, difficulty=difficulty)
    scale = np.minimum(np.sqrt(area / tables().area[shape]), 0.47 / tables().reach[shape])
    reach = scale * tables().reach[shape]
    x, y = places(draw, present, reach, area, size=size, difficulty=difficulty, clutter=clutter)
    spread = 0.1 + 0.9 * difficulty  # easy scenes stand nearly upright
    angle = np.rint((draw(slots) - 0.5) * spread * TURN).astype(np.int64) % TURN
    backdrop, backdrop_rgb = _backdrop(draw, difficulty=difficulty)
    period = np.maximum(PERIOD[texture] * (0.85 + 0.4 * draw(slots)) * scale * unit, LEAST[texture])
    # A shaded object runs through its ramp exactly once
    phase = np.where((texture == TEXTURES.index("shaded"))[..., None], 0.5, draw(slots, 2))
    rgb = _paints(draw, colour, backdrop_rgb, clutter=clutter)
    light = (draw(1)[:, 0] * TURN).astype(np.int64)
    return ScenePlan(
        present, shape, texture, colour, x * unit, y * unit, scale * unit, angle, area, rgb, period, phase,
        backdrop, backdrop_rgb, light, draw(10), clutter,
    )  # fmt: skip


def _kinds(
    draw: Draws, label: np.ndarray, *, clutter: int, slots: int, difficulty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shape, texture and colour (B, S); some objects resemble the one that gives the label."""
    shape = (draw(slots) * len(SHAPES)).astype(np.int64)
    shape[:, :clutter] = len(SHAPES) + (draw(clutter) * len(CLUTTER)).astype(np.int64)
    shape[:, -1] = label
    textured = draw(slots) < min(1.7 * difficulty, 0.88)
    texture = np.where(textured, 1 + (draw(slots) * (len(TEXTURES) - 1)).astype(np.int64), 0)
    texture[:, :clutter] = 0
    twin = draw(slots, 2)
    same = twin[..., 0] < 0.25
    same[:, :clutter] = False
    shape = np.where(same, label[:, None], shape)
    texture = np.where(same & (twin[..., 1] < 0.6), texture[:, -1:], texture)
    colour = colours.choose(shape, texture, np.moveaxis(draw(slots, 2), -1, 0))
    colour = np.where(same & (twin[..., 1] < 0.4), colour[:, -1:], colour)
    colour[:, :clutter] = (draw(clutter) * len(colours.COLOURS)).astype(np.int64)
    return shape, texture, colour


def _paints(draw: Draws, colour: np.ndarray, backdrop_rgb: np.ndarray, *, clutter: int) -> np.ndarray:
    """Return both colours of each object's texture (B, S, 2, 3); clutter is half the backdrop's colour."""
    slots = colour.shape[1]
    rgb = colours.vary(colours.RGB[colour], draw(slots, 4))
    rgb[:, :clutter] = 0.5 * rgb[:, :clutter] + 0.5 * backdrop_rgb[:, None]
    return np.stack([rgb, colours.second(rgb, draw(slots))], axis=2)


def _backdrop(draw: Draws, *, difficulty: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pattern (B,) and the mean colour (B, 3), usually that of the pattern; light where easy."""
    kind = (draw(1)[:, 0] * len(BACKDROPS)).astype(np.int64)
    other = (draw(1)[:, 0] * len(BACKDROPS)).astype(np.int64)
    colour = np.where(draw(1)[:, 0] < colours.HABIT, kind, other)
    bright = 1.05 - draw(1) * 0.62 * difficulty
    return kind, np.clip(colours.BACKDROP_RGB[colour] * bright, 0, 245)
