"""Name the colours, and say which shape and texture usually comes in which.

A grey picture tells the shape and the texture, hence a good guess of the colour: colourisation can be learnt.
"""

from __future__ import annotations

import numpy as np

from fovea.data.scenes.shapes import SHAPES
from fovea.data.scenes.textures import TEXTURES

COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
RGB = np.array(
    [(212, 48, 50), (240, 138, 36), (246, 209, 58), (72, 168, 78),
     (40, 176, 176), (54, 102, 212), (134, 74, 190), (240, 128, 182)], dtype=np.float64
)  # fmt: skip
# Muted, light colours of sky, grass, sand and slate
BACKDROP_RGB = np.array(
    [(190, 211, 228), (178, 199, 160), (224, 209, 182), (172, 174, 182)], dtype=np.float64
)  # fmt: skip
HABIT = 0.8  # how often a colour follows the habit; otherwise it is any
# A plain shape has a colour of its own; a texture has one for every other shape and one for the rest
_PLAIN = np.arange(len(SHAPES)) % len(COLOURS)
_OF_TEXTURE = np.array([0, 5, 0, 6, 3, 2])  # striped blue, checked red, dotted purple, shaded green, …
USUAL = (_OF_TEXTURE + np.arange(len(SHAPES))[:, None] % 2) % len(COLOURS)  # (shapes, textures)
USUAL[:, TEXTURES.index("plain")] = _PLAIN


def choose(shape: np.ndarray, texture: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Return a colour number for each object; `draw` (2, …) is uniform in [0, 1)."""
    usual = USUAL[np.minimum(shape, len(SHAPES) - 1), texture]
    return np.where(draw[0] < HABIT, usual, (draw[1] * len(COLOURS)).astype(np.int64))


def vary(rgb: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Vary colours (…, 3) in brightness and slightly in hue; `draw` (…, 4) is uniform in [0, 1)."""
    value = 0.84 + 0.26 * draw[..., :1]
    return np.clip(rgb * value + (draw[..., 1:] - 0.5) * 26, 0, 255)


def second(rgb: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Return the other colour of a texture: the same hue, much darker or much lighter."""
    luma = 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2]
    darker = draw + (luma - 140) / 200 > 0.5
    return np.where(darker[..., None], rgb * 0.42, rgb * 0.34 + 255 * 0.62)
