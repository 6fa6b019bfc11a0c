"""Find the pixels of every object: windows, signed distances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fovea.data.scenes.plan import ScenePlan
from fovea.data.scenes.shapes import STEPS, TURN, tables

_SIN = np.sin(np.arange(TURN + TURN // 4) * (2 * np.pi / TURN))
COS, SIN = _SIN[TURN // 4 :], _SIN[:TURN]


class Windows(NamedTuple):
    """N objects in painting order, and the P pixels of their windows, chained."""

    scene: np.ndarray  # (N,) int64
    slot: np.ndarray  # (N,) int64
    start: np.ndarray  # (N + 1,) int64, where the pixels of each object begin
    at: np.ndarray  # (P,) int64, position in (B, H, W)
    owner: np.ndarray  # (P,) int64 in 0…N-1
    x: np.ndarray  # (P,) int64 column
    rows: np.ndarray  # (N + 1,) int64, where the rows of each object begin
    u: np.ndarray  # (P,) float32, coordinates along the object's own axes, in its scale
    v: np.ndarray
    depth: np.ndarray  # (P,) float32, pixels to the outline, positive inside


def windows(plan: ScenePlan, *, size: tuple[int, int], pad: int, soft: float) -> Windows:
    """Chain the pixels around all objects, `soft` pixels beyond their outlines, cut to the picture.

    Positions refer to pictures with a border of `pad` pixels.
    """
    slot, scene = np.nonzero(plan.present.T)  # painting order: slot by slot
    low, high = _extents(plan, scene, slot, size=size, soft=soft)
    width, height = (high - low).T
    rows = _starts(height)
    owner_row = np.repeat(np.arange(len(scene)), height)
    y = np.arange(rows[-1]) - (rows[:-1] - low[:, 1])[owner_row]
    row_width = width[owner_row]
    begin = _starts(row_width)  # where the pixels of each row begin
    count = np.arange(begin[-1])
    x = count - np.repeat(begin[:-1] - low[owner_row, 0], row_width)
    line = (scene[owner_row] * (size[0] + 2 * pad) + y + pad) * (size[1] + 2 * pad) + pad
    at = x + np.repeat(line, row_width)
    owner = np.repeat(owner_row, row_width)
    u, v, depth = _depth(plan, scene, slot, x=x, y=y, owner=owner, owner_row=owner_row, row_width=row_width)
    return Windows(scene, slot, begin[rows], at, owner, x, rows, u, v, depth)


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _extents(
    plan: ScenePlan, scene: np.ndarray, slot: np.ndarray, *, size: tuple[int, int], soft: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last + 1 pixel (N, 2), x and y, of each object's window."""
    angle, scale = plan.angle[scene, slot, None], plan.scale[scene, slot, None]
    towards = np.array([0, TURN // 4, TURN // 2, 3 * TURN // 4]) - angle  # right, down, left, up
    reach = tables().support[plan.shape[scene, slot, None], towards % TURN] * scale + soft
    centre = np.stack([plan.x[scene, slot], plan.y[scene, slot]], axis=1)
    limit = np.array([size[1], size[0]])
    low = np.clip(np.floor(centre - reach[:, 2:]), 0, limit - 1).astype(np.int64)
    return low, np.clip(np.ceil(centre + reach[:, :2]).astype(np.int64), low + 1, limit)


def _depth(
    plan: ScenePlan, scene: np.ndarray, slot: np.ndarray, *,
    x: np.ndarray, y: np.ndarray, owner: np.ndarray, owner_row: np.ndarray, row_width: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return the objects' own coordinates and the signed distance to their outlines at each pixel."""
    scale, angle = plan.scale[scene, slot], plan.angle[scene, slot]
    cos, sin = COS[angle] / scale, SIN[angle] / scale
    dx, dy = 0.5 - plan.x[scene, slot][owner_row], y + 0.5 - plan.y[scene, slot][owner_row]
    # All but the step along a row is the same for the whole row
    first_u = (dx * cos[owner_row] + dy * sin[owner_row]).astype(np.float32)
    first_v = (dy * cos[owner_row] - dx * sin[owner_row]).astype(np.float32)
    column = x.astype(np.float32)
    u = column * cos.astype(np.float32)[owner]
    u += np.repeat(first_u, row_width)
    v = column * (-sin).astype(np.float32)[owner]
    v += np.repeat(first_v, row_width)
    info = tables()
    direction = _diamond(u, v)
    direction += (plan.shape[scene, slot] * (STEPS + 1))[owner]
    rho = np.sqrt(u * u + v * v)
    depth = info.outer.take(direction)
    depth -= rho
    depth *= info.outer_slope.take(direction)
    rho -= info.inner.take(direction)
    rho *= info.inner_slope.take(direction)
    np.minimum(depth, rho, out=depth)
    depth *= scale.astype(np.float32)[owner]
    return u, v, depth


def _diamond(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the direction of each point (P,) as a column of the tables."""
    total = np.abs(u)
    total += np.abs(v)
    total += np.float32(1e-12)
    turn = v / total
    np.subtract(np.float32(1), turn, out=turn)
    np.copysign(turn, u, out=turn)  # positive on the right
    np.subtract(np.float32(2), turn, out=turn)  # 0 up, 1 right, 2 down, 3 left, 4 up again
    turn *= np.float32(STEPS / 4)
    turn += np.float32(0.5)
    return turn.astype(np.int64)
