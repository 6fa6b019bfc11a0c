"""Look at every image of a split, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2

from fovea.inspect.image import Record, look
from fovea.inspect.splits import Part

BLOCK = 128  # images handed out at a time: what is finished after Ctrl-C


def walk(
    part: Part, *, channels: int, side: int, advance: Callable[[int], object] = lambda count: None
) -> list[Record]:
    """Return a record of every image, in order; decoders let other threads run meanwhile.

    `advance` hears how many images were done since it was last called.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # our threads are enough
    records: list[Record] = []
    try:
        with ThreadPoolExecutor(_cores()) as pool:
            for start in range(0, len(part), BLOCK):
                block = range(start, min(start + BLOCK, len(part)))
                records += pool.map(lambda index: look(part, index, channels=channels, side=side), block)
                advance(len(block))
    finally:
        cv2.setNumThreads(threads)
    return records


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
