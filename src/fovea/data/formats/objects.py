"""Hold what an annotation file says of the objects of one image, and deal with boxes that are wrong."""

from __future__ import annotations

import reprlib
from typing import NamedTuple

import numpy as np

from fovea.page.formats import counted

POLICIES = ("error", "drop", "clip")
LARGEST = 2**31 - 1  # pixels of a side, in any format
SLACK = 1.0  # pixels that a box may reach beyond its image, as rounding makes it


class Objects(NamedTuple):
    """The objects of one image, uncut."""

    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2, right and bottom edge exclusive
    labels: np.ndarray  # (N,) int64
    ignore: np.ndarray  # (N,) bool: difficult ones, crowds

    @classmethod
    def of(cls, boxes: object, labels: object, ignore: object = None) -> Objects:
        """Build from anything array-like, also from empty lists."""
        with np.errstate(over="ignore"):  # beyond float32 is out of any image, as infinity is
            box = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).astype(np.float32)
        none = np.zeros(len(box), dtype=bool)
        flags = none if ignore is None else np.asarray(ignore, dtype=bool).reshape(-1)
        return cls(box, np.asarray(labels, dtype=np.int64).reshape(-1), flags)

    def take(self, rows: np.ndarray) -> Objects:
        """Return some of the objects."""
        return Objects(self.boxes[rows], self.labels[rows], self.ignore[rows])


def stated(width: object, height: object, *, where: object) -> tuple[int, int] | None:
    """Return the size that an annotation states, None where it states none: some tools write 0 × 0.

    ValueError names a side that no photo has.
    """
    sides = [side for side in (width, height) if isinstance(side, int) and not isinstance(side, bool)]
    for side in sides:
        if abs(side) > LARGEST:
            raise ValueError(
                f"{where} states a width or height of {reprlib.repr(side)}, which no photo has: correct or "
                "remove width and height"
            )
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None


def flag(value: object, *, key: str, where: object) -> bool:
    """Return whether a flag is set: 0 or 1, false or true, also as text; nothing means no."""
    word = str(value).strip().lower() if isinstance(value, str | int | float) else value
    if word in (None, "", "0", "false", "no", "0.0", "unspecified"):
        return False
    if word in ("1", "true", "yes", "1.0"):
        return True
    raise ValueError(f"{where} has an object with {key} {reprlib.repr(value)}, expected 0 or 1: correct it")


def check_policy(bad_boxes: str) -> str:
    """Return what to do with bad boxes, or raise ValueError that names the choices."""
    if bad_boxes not in POLICIES:
        raise ValueError(f"data.bad_boxes={bad_boxes!r} is unknown: choose one of {', '.join(POLICIES)}")
    return bad_boxes


def bad_rows(boxes: np.ndarray, *, width: float, height: float, slack: float = SLACK) -> np.ndarray:
    """Return which boxes (N, 4) are not finite, have no area, or reach out of their image (N,) bool."""
    inside = cut(boxes, width=width, height=height)
    with np.errstate(invalid="ignore"):
        outside = np.abs(boxes - inside).max(axis=1, initial=0) > slack
    return outside | ~_usable(inside) | ~np.isfinite(boxes).all(axis=1)


def cut(boxes: np.ndarray, *, width: float, height: float) -> np.ndarray:
    """Return the boxes (N, 4) cut to their image."""
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)


def settle(objects: Objects, *, width: int, height: int, bad_boxes: str, where: object) -> Objects:
    """Return the objects cut to their image, without those that have no area there.

    `bad_boxes` says what happens to boxes that are not finite, have no area, or reach more than a pixel out
    of the image: error raises ValueError that names the file, drop leaves them out, clip
    keeps what is inside.
    """
    inside = cut(objects.boxes, width=width, height=height)
    bad = bad_rows(objects.boxes, width=width, height=height)
    if bad.any() and bad_boxes == "error":
        more = f" (and {counted(int(bad.sum()) - 1, 'other')})" if bad.sum() > 1 else ""
        raise ValueError(
            f"{where} has the box {shown(objects.boxes[bad][0])} in an image of {width}×{height}{more}: "
            "correct or remove it, or set data.bad_boxes=drop, or clip to keep what lies inside"
        )
    kept = ~bad if bad_boxes == "drop" else _usable(inside) & np.isfinite(objects.boxes).all(axis=1)
    return objects._replace(boxes=inside).take(kept)


def shown(box: np.ndarray) -> str:
    """Write a box as x1, y1, x2, y2."""
    return ", ".join(f"{value:g}" for value in box)


def _usable(boxes: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
