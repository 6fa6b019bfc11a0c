"""Find the boxes that are wrong before anything trains, name them all, and say what is done with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from fovea.data.formats.objects import bad_rows, shown
from fovea.page.formats import counted

log = logging.getLogger(__name__)
SHOWN = 10  # bad boxes in a message


def find_bad(
    boxes: np.ndarray,
    *,
    photo: Path,
    name: str,
    stated: tuple[int, int] | None = None,
    shares: bool = False,
) -> list[tuple[int, str]]:
    """Return which boxes (N, 4) of a photo are bad, by the size that it has, and what to say of each.

    It comes from the header, with EXIF's orientation; a size that the annotation states is but mentioned.
    With `shares` boxes are shares of the sides, otherwise pixels.
    """
    # shares inside of the unit square lie inside of any photo: its header need not be read
    if not len(boxes) or (shares and not bad_rows(boxes, width=1, height=1, slack=0).any()):
        return []
    size = _size(photo)
    width, height = size or (np.inf, np.inf)
    pixels = boxes * np.array([width, height] * 2, dtype=np.float32) if shares and size else boxes
    rows = np.flatnonzero(bad_rows(pixels, width=width, height=height))
    return [(int(k), f"{name}{_said(size, stated)} has the box {shown(pixels[k])}") for k in rows]


def report_bad(lines: Sequence[str], *, root: Path, policy: str) -> None:
    """Raise ValueError that lists the bad boxes where the policy is error, else say once what is done."""
    if not lines:
        return
    listed = "\n".join(f"  {line}" for line in lines[:SHOWN])
    more = f"\n  … and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    text = f"{counted(len(lines), 'box')} without area or out of the image:\n{listed}{more}"
    if policy == "error":
        raise ValueError(
            f"{root} has {text}\ncorrect them, or set data.bad_boxes=drop to leave them out, "
            "data.bad_boxes=clip to keep what lies inside"
        )
    _say(root, policy, text)


@cache
def _say(root: Path, policy: str, text: str) -> None:
    done = "left out" if policy == "drop" else "cut to the image, or left out where nothing is inside,"
    log.warning("%s: data.bad_boxes=%s has %s %s", root, policy, done, text)


def _size(photo: Path) -> tuple[int, int] | None:
    """Return the width and height of a photo, None where decoding will say that it cannot be read."""
    from fovea.data.images import read_size

    try:
        return read_size(photo)
    except (OSError, ValueError):
        return None


def _said(size: tuple[int, int] | None, stated: tuple[int, int] | None) -> str:
    """Write the size of a photo, and the one that its annotation states where that is another."""
    if size is None:
        return ""
    other = f" (the file says {stated[0]}×{stated[1]})" if stated and stated != size else ""
    return f" of {size[0]}×{size[1]}{other}"
