"""Decode run lengths, the way COCO stores the masks of crowds.

A mask is read column by column; its runs of equal pixels alternate, the first of zeros (it may be empty).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decode_rle(counts: str | Sequence[int], *, height: int, width: int) -> np.ndarray:
    """Return the mask (H, W) of run lengths, or of their text form; ValueError where they do not fit."""
    runs = np.asarray(decode_counts(counts) if isinstance(counts, str) else counts, dtype=np.int64).reshape(
        -1
    )
    if runs.size and runs.min() < 0:
        raise ValueError("it has a negative run length")
    if runs.sum() != height * width:
        raise ValueError(
            f"its runs cover {runs.sum()} pixels, the {width}×{height} image has {height * width}"
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T  # stored column by column


def decode_counts(text: str) -> list[int]:
    """Return the run lengths of COCO's text form.

    Each character, less 48, holds 5 bits, lowest first, and 32 where more follow; the highest bit of the last
    is the sign. From the fourth on, a number is the difference to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its run lengths hold the character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut off")
    return runs
