"""Resolve occlusion between objects: instance and class maps, boxes, visible shares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fovea.data.scenes.cover import Windows
from fovea.data.scenes.plan import ScenePlan
from fovea.types import IGNORE

HIDDEN = 0.75  # an object of which more is hidden is to be ignored
TRACE = (3, 0.04)  # fewer pixels, or a smaller share of its own, and an object is not listed


class Found(NamedTuple):
    """What is visible of M listed objects, by scene and from front to back."""

    instances: np.ndarray  # (B, H, W) uint8: 0, then 1, 2, … in each scene; 255 a trace of one unlisted
    mask: np.ndarray  # (B, H, W) uint8: 0, then 1 + shape
    scene: np.ndarray  # (M,)
    slot: np.ndarray  # (M,)
    boxes: np.ndarray  # (M, 4) float32
    visible: np.ndarray  # (M,) pixels
    whole: np.ndarray  # (M,) pixels if nothing were in front
    shown: np.ndarray  # (B, K, K) pixels of one object, by slot after the clutter, that show another

    @property
    def ignore(self) -> np.ndarray:
        """Whether an object is hidden too much to be asked for (M,)."""
        return self.visible < (1 - HIDDEN) * self.whole


def find(plan: ScenePlan, win: Windows, *, size: tuple[int, int], pad: int) -> Found:
    """List the visible objects of every scene."""
    batch, objects = len(plan.x), plan.present.shape[1] - plan.clutter
    padded = (size[0] + 2 * pad, size[1] + 2 * pad)
    edges = np.searchsorted(win.slot, np.arange(plan.clutter, plan.present.shape[1] + 1))
    inside = np.flatnonzero(win.depth[win.start[edges[0]] :] >= 0) + win.start[edges[0]]
    at, owner = win.at[inside], win.owner[inside]
    layers = np.searchsorted(owner, edges)
    top = np.zeros(batch * padded[0] * padded[1], dtype=np.uint8)
    for k in range(objects):
        top[at[layers[k] : layers[k + 1]]] = k + 1
    row = win.scene * objects + win.slot - plan.clutter  # of each object, (N,)
    front = top[at]
    key = (row * (objects + 1))[owner] + front
    shown = np.bincount(key, minlength=batch * objects * (objects + 1))
    shown = shown.reshape(batch, objects, objects + 1)[..., 1:]
    own = front == (win.slot - plan.clutter + 1)[owner]
    boxes = _boxes(win, inside[own], pad=pad, padded=padded)
    inner = top.reshape(batch, *padded)[:, pad : pad + size[0], pad : pad + size[1]]
    return _listed(plan, shown, boxes, inner)


def _boxes(win: Windows, seen: np.ndarray, *, pad: int, padded: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the extents of the visible pixels `seen`, for each object that has some."""
    owner, x = win.owner[seen], win.x[seen]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    last = np.append(first[1:], len(owner)) - 1
    # Pixels come row by row: the first and the last one tell the rows
    y1, y2 = (win.at[seen[i]] // padded[1] % padded[0] - pad for i in (first, last))
    edges = [np.minimum.reduceat(x, first), y1, np.maximum.reduceat(x, first) + 1, y2 + 1]
    boxes, who = np.stack(edges, axis=1).astype(np.float32), owner[first]
    return {"boxes": boxes, "scene": win.scene[who], "slot": win.slot[who]}


def _listed(plan: ScenePlan, shown: np.ndarray, found: dict[str, np.ndarray], top: np.ndarray) -> Found:
    """Number what is visible enough from front to back, and translate the map of slots (B, H, W)."""
    visible, whole = np.diagonal(shown, axis1=1, axis2=2), shown.sum(axis=2)  # (B, K)
    listed = (visible >= TRACE[0]) & (visible >= TRACE[1] * whole)
    number = np.cumsum(listed[:, ::-1], axis=1)[:, ::-1]
    names = np.zeros((2, len(shown), shown.shape[1] + 1), dtype=np.uint8)
    names[0, :, 1:] = np.where(listed, number, IGNORE)
    names[1, :, 1:] = plan.shape[:, plan.clutter :] + 1
    lookup = top + np.arange(len(shown), dtype=np.int64)[:, None, None] * names.shape[2]
    scene, slot = found["scene"], found["slot"] - plan.clutter
    keep = np.flatnonzero(listed[scene, slot])
    keep = keep[np.lexsort((number[scene[keep], slot[keep]], scene[keep]))]
    scene, slot = scene[keep], slot[keep]
    return Found(
        instances=names[0].take(lookup), mask=names[1].take(lookup), scene=scene, slot=slot + plan.clutter,
        boxes=found["boxes"][keep], visible=visible[scene, slot], whole=whole[scene, slot], shown=shown,
    )  # fmt: skip
