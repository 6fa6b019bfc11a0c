"""Time a detector on one image, with and without non-maximum suppression."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

ROUNDS, SECONDS = 20, 2.0  # at most, of all passes


def detection_times(net: Any, image: Tensor) -> dict[str, float]:
    """Return the median milliseconds for an image (1, C, H, W), as `timing` of a run holds them.

    Args:
        net: a `Detector`; what a two-stage net suppresses between its stages is timed in both.
        image: as the net takes it.
    """
    times: dict[bool, list[float]] = {False: [], True: []}
    end = time.perf_counter() + SECONDS
    with torch.no_grad():
        for i in range(ROUNDS + 1):
            for duplicates, seconds in times.items():
                took = _timed(net, image, duplicates=duplicates)
                if i:  # the first pass warms up
                    seconds.append(took)
            if i and time.perf_counter() > end:
                break
    whole, bare = (round(1000 * statistics.median(times[duplicates]), 3) for duplicates in (False, True))
    return {"detect_ms": whole, "detect_without_nms_ms": bare}


def _timed(net: Any, image: Tensor, *, duplicates: bool) -> float:
    _wait(image)
    start = time.perf_counter()
    net.detect(net.raw(image), duplicates=duplicates)
    _wait(image)
    return time.perf_counter() - start


def _wait(image: Tensor) -> None:
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
