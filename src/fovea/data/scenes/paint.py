"""Render planned scenes to pixels: backdrop, shadows, textures, light and noise.

Everything works on whole batches in planes of one colour channel, and on the chained pixels of all objects.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fovea.data.scenes.cover import COS, SIN, Windows
from fovea.data.scenes.plan import ScenePlan
from fovea.data.scenes.shapes import TURN
from fovea.data.scenes.textures import LEVELS, SIDE, atlas, backdrops, grain


class RenderStyle(NamedTuple):
    """How hard the light makes it to see; every value grows or falls with the difficulty."""

    shadow: float  # darkness of the shadows of objects
    volume: float  # how much the light side of an object differs from the dark one
    light: float  # how much the light changes across the picture
    contrast: np.ndarray  # (B,)
    backdrop: float  # amplitude of the backdrop's pattern
    noise: np.ndarray  # (B,) deviation in levels of 0…255


def border(size: tuple[int, int]) -> int:
    """Return by how many pixels a shadow may leave the picture."""
    return 1 + round(0.04 * min(size))


def softness(size: tuple[int, int]) -> float:
    """Return how far, in pixels, a shadow reaches beyond its object."""
    return 0.8 + 0.02 * min(size)


def render_style(plan: ScenePlan, *, difficulty: float) -> RenderStyle:
    """Return the render style of each scene."""
    return RenderStyle(
        shadow=0.25 + 0.25 * difficulty,
        volume=0.08 + 0.14 * difficulty,
        light=0.4 * difficulty,
        contrast=1 - difficulty * (0.12 + 0.36 * plan.extra[:, 0]),
        backdrop=3 + 17 * difficulty,
        noise=difficulty * (5 + 10 * plan.extra[:, 1]) * min(1.0, 2 * difficulty),
    )


def paint(plan: ScenePlan, win: Windows, *, size: tuple[int, int], difficulty: float) -> np.ndarray:
    """Return the pictures (B, H, W, 3) uint8."""
    pad, style = border(size), render_style(plan, difficulty=difficulty)
    canvas = _backdrop(plan, size=size, pad=pad, amplitude=style.backdrop)
    _objects(canvas.reshape(3, -1), plan, win, size=size, pad=pad, style=style)
    inside = canvas[:, :, pad : pad + size[0], pad : pad + size[1]]
    return _develop(inside, plan, style=style)


def _corner(draw: np.ndarray, count: int) -> np.ndarray:
    return (draw * count).astype(np.int64)


def _backdrop(plan: ScenePlan, *, size: tuple[int, int], pad: int, amplitude: float) -> np.ndarray:
    """Return the empty pictures with a border: (3, B, H + 2 pad, W + 2 pad) float32."""
    height, width = size
    tiles = np.lib.stride_tricks.sliding_window_view(backdrops(height, width), size, axis=(1, 2))
    top, left = _corner(plan.extra[:, 2], height + 1), _corner(plan.extra[:, 3], width + 1)
    pattern = tiles[plan.backdrop, top, left]  # (B, H, W)
    canvas = np.zeros((3, len(top), height + 2 * pad, width + 2 * pad), dtype=np.float32)
    for channel, tint in enumerate((1.0, 0.95, 0.8)):
        mean = plan.backdrop_rgb[:, channel].astype(np.float32)[:, None, None]
        layer = canvas[channel, :, pad : pad + height, pad : pad + width]
        np.multiply(pattern, np.float32(amplitude * tint), out=layer)
        layer += mean
    return canvas


def _objects(
    canvas: np.ndarray, plan: ScenePlan, win: Windows, *, size: tuple[int, int], pad: int, style: RenderStyle
) -> None:
    """Paint all objects into the planes (3, B·H·W), from back to front, each on its shadow."""
    level, shade = _surface(plan, win, volume=style.volume)
    level += win.owner * LEVELS
    ramp = _ramps(plan, win)
    alpha = np.clip(win.depth + np.float32(0.5), 0, 1)
    shadow_at, dark = _shadows(plan, win, size=size, pad=pad, strength=style.shadow)
    edges = win.start[np.searchsorted(win.slot, np.arange(plan.present.shape[1] + 1))]
    for start, stop in pairwise(edges):
        here = slice(start, stop)
        for channel in range(3):
            plane = canvas[channel]
            plane[shadow_at[here]] = plane.take(shadow_at[here]) * dark[here]
            colour = ramp[channel].take(level[here])
            colour *= shade[here]
            under = plane.take(win.at[here])
            colour -= under
            colour *= alpha[here]
            colour += under
            plane[win.at[here]] = colour


def _shadows(
    plan: ScenePlan, win: Windows, *, size: tuple[int, int], pad: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the place and the factor of the shadow that each pixel (P,) casts, away from the light."""
    dark = win.depth * np.float32(0.5 / softness(size))
    dark += np.float32(0.5)
    np.clip(dark, 0, 1, out=dark)
    dark *= np.float32(-strength)
    dark += np.float32(1)
    reach = max(pad - 1, 1) * (0.6 + 0.4 * plan.extra[:, 4])
    down, right = np.rint(-SIN[plan.light] * reach), np.rint(-COS[plan.light] * reach)
    shift = (down * (size[1] + 2 * pad) + right).astype(np.int64)[win.scene]
    return win.at + shift[win.owner], dark


def _surface(plan: ScenePlan, win: Windows, *, volume: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the level of the texture's ramp and the brightness of each pixel (P,)."""
    scene, slot, owner = win.scene, win.slot, win.owner
    scale = plan.scale[scene, slot]
    turns = (SIDE * scale / plan.period[scene, slot]).astype(np.float32)[owner]
    phase = (SIDE * (plan.phase[scene, slot] + 64)).astype(np.float32)  # far from 0, where casts turn around
    across = (win.u * turns + phase[:, 0][owner]).astype(np.int64)
    along = (win.v * turns + phase[:, 1][owner]).astype(np.int64)
    tile = (plan.texture[scene, slot] * (SIDE * SIDE))[owner]
    across &= SIDE - 1
    along &= SIDE - 1
    along *= SIDE
    across += along
    across += tile
    towards = (plan.light[scene] - plan.angle[scene, slot]) % TURN
    shade = win.u * (volume * COS[towards]).astype(np.float32)[owner]
    shade += win.v * (volume * SIN[towards]).astype(np.float32)[owner]
    rim = win.depth * (6.0 / scale).astype(np.float32)[owner]
    np.clip(rim, 0, 1, out=rim)
    rim *= np.float32(0.26)
    shade += rim
    shade += np.float32(0.78)
    return atlas().take(across), shade


def _ramps(plan: ScenePlan, win: Windows) -> np.ndarray:
    """Return the colours between the two of each object: (3, N · LEVELS) float32."""
    both = plan.rgb[win.scene, win.slot]  # (N, 2, 3)
    step = np.arange(LEVELS) / (LEVELS - 1)
    ramp = both[:, 0, :, None] + (both[:, 1] - both[:, 0])[..., None] * step  # (N, 3, LEVELS)
    return np.ascontiguousarray(ramp.transpose(1, 0, 2)).astype(np.float32).reshape(3, -1)


def _develop(canvas: np.ndarray, plan: ScenePlan, *, style: RenderStyle) -> np.ndarray:
    """Light the planes (3, B, H, W), reduce the contrast, add noise and round to (B, H, W, 3) uint8."""
    _, batch, height, width = canvas.shape
    contrast = style.contrast[:, None, None]
    light = _light(plan, height=height, width=width, strength=style.light) * contrast.astype(np.float32)
    grey = (128 * (1 - contrast) + 0.5).astype(np.float32)
    sigma = style.noise.astype(np.float32)[:, None, None]
    noise = np.lib.stride_tricks.sliding_window_view(grain(height * width), height * width)
    image = np.empty((batch, height, width, 3), dtype=np.uint8)
    for channel in range(3):
        plane = canvas[channel] * light
        plane += grey
        if style.noise.any():
            start = _corner(plan.extra[:, 6 + channel], 65_536)
            plane += noise[start].reshape(batch, height, width) * sigma
        image[..., channel] = np.clip(plane, 0, 255, out=plane)
    return image


def _light(plan: ScenePlan, *, height: int, width: int, strength: float) -> np.ndarray:
    """Return the brightness (B, H, W) float32: a gradient towards the light."""
    x, y = ((np.arange(side) + 0.5) / side - 0.5 for side in (width, height))
    amount = (strength * plan.extra[:, 5])[:, None, None]
    across, down = COS[plan.light][:, None, None] * x, SIN[plan.light][:, None, None] * y[:, None]
    return (amount * across).astype(np.float32) + (1 + amount * down).astype(np.float32)
