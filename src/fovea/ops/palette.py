"""Colours of classes."""

from __future__ import annotations

import numpy as np


def voc_palette(count: int) -> np.ndarray:
    """Return the colours (count, 3) uint8 of PASCAL VOC: the bits of the class, dealt out to the channels."""
    number = np.arange(count)
    colours = np.zeros((count, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= ((number >> (3 * level + channel) & 1) << (7 - level)).astype(np.uint8)
    return colours
