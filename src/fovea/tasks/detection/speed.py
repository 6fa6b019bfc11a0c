"""Time a detector on one image, with and without non-maximum suppression."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

ROUNDS, SECONDS = 20, 2.0  # at most, of all passes


def detection_times(net: nn.Module, image: Tensor) -> dict[str, float]:
    """Return the median milliseconds for an image (1, C, H, W), as `timing` of a run holds them."""
    whole, bare = [], []
    end = time.perf_counter() + SECONDS
    with torch.no_grad():
        for i in range(ROUNDS + 1):
            with_nms = _timed(net, image)
            with without_suppression():
                without = _timed(net, image)
            if i:  # the first pass warms up
                whole.append(with_nms)
                bare.append(without)
                if time.perf_counter() > end:
                    break
    return {
        "detect_ms": round(1000 * statistics.median(whole), 3),
        "detect_without_nms_ms": round(1000 * statistics.median(bare), 3),
    }


@contextmanager
def without_suppression() -> Iterator[None]:
    """Have torchvision keep every box, in order of the scores, for every net that asks it to suppress."""

    def keep_all(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        return scores.argsort(descending=True)

    with patch("torchvision.ops.boxes.nms", keep_all):
        yield


def _timed(net: nn.Module, image: Tensor) -> float:
    _wait(image)
    start = time.perf_counter()
    net(image)
    _wait(image)
    return time.perf_counter() - start


def _wait(image: Tensor) -> None:
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
