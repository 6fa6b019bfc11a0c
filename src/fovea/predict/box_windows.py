"""Run a detector over an image of any size: all at once, or window by window."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fovea.data.preprocess import Preprocess
from fovea.ops.box_merge import InWindows, merge
from fovea.ops.placement import Placement, place
from fovea.ops.sliding import starts

Net = Callable[[Tensor], Tensor]  # (B, C, H, W) → (B, D, 6)
BATCH = 8  # windows that the net sees at once
MANY = 10_000  # windows of one image that may be a slip

log = logging.getLogger(__name__)


def in_whole(net: Net, image: Tensor, preprocess: Preprocess) -> np.ndarray:
    """Return the detections (D, 6) of an image uint8 (1, C, H, W) as in training, in its pixels."""
    pixels = _pixels(image)
    found = net(preprocess(pixels).to(image.device)).float()[0].cpu().numpy()
    return _back(found, preprocess.placement(pixels.shape[:2]))


def in_windows(
    net: Net,
    image: Tensor,
    preprocess: Preprocess,
    *,
    window: tuple[int, int],
    overlap: float,
    threshold: float,
    whole: bool = True,
    across: bool = False,
) -> np.ndarray:
    """Return the detections (n, 6) of an image uint8 (1, C, H, W), in its pixels, from windows over it.

    Each window is brought to the input size of the net. One that holds the image gives what the image does.

    Args:
        net: a detector.
        image: of any size.
        preprocess: that of the training.
        window: (h, w) in pixels of the image.
        overlap: the least part of a window's side that it shares with the next.
        threshold: less certain detections are dropped before any are merged.
        whole: look at the whole image, too, for what is larger than a window.
        across: boxes of different classes are merged, too.
    """
    height, width = image.shape[2:]
    first = (
        in_whole(net, image, preprocess) if whole or (height <= window[0] and width <= window[1]) else None
    )
    if height <= window[0] and width <= window[1] and first is not None:
        return first
    found = [] if first is None else [(first, (0, 0, width, height))]
    corners = itertools.product(
        starts(height, window[0], overlap, unit=1), starts(width, window[1], overlap, unit=1)
    )
    places = [(x, y, min(x + window[1], width), min(y + window[0], height)) for y, x in corners]
    if len(places) > MANY:
        log.warning(
            "%s windows in an image of %d × %d pixels: a larger window= or a smaller overlap= takes fewer",
            f"{len(places):,}", width, height,
        )  # fmt: skip
    found += _of_each(net, image, preprocess, places)
    kept = [(rows[rows[:, 4] >= max(threshold, 1e-9)], box) for rows, box in found]
    rows = np.concatenate([rows for rows, _ in kept])
    windows = np.concatenate([np.tile(np.array([box]), (len(rows), 1)) for rows, box in kept])
    return merge(InWindows(rows[:, :4], rows[:, 4], rows[:, 5], windows), size=(height, width), across=across)


def _of_each(
    net: Net, image: Tensor, preprocess: Preprocess, places: Sequence[tuple[int, int, int, int]]
) -> Iterator[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Yield the detections (D, 6) in each window x1 y1 x2 y2, in pixels of the image, and the window."""
    pixels = _pixels(image)
    fill = preprocess.fill(pixels.shape[2])
    how = "stretch" if preprocess.resize == "stretch" else "pad"  # nothing of a window is cut off
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        where = [place((y2 - y1, x2 - x1), size=preprocess.size, resize=how) for x1, y1, x2, y2 in some]
        inputs = np.stack([
            one.raster(
                np.ascontiguousarray(pixels[y1:y2, x1:x2]), interpolation=preprocess.interpolation, fill=fill
            )
            for one, (x1, y1, x2, y2) in zip(where, some, strict=True)
        ])  # fmt: skip
        batch = torch.from_numpy(inputs).permute(0, 3, 1, 2).to(image.device)
        for found, one, box in zip(
            net(preprocess.to_input(batch)).float().cpu().numpy(), where, some, strict=True
        ):
            rows = _back(found, one)
            rows[:, :4] += np.array([*box[:2], *box[:2]], dtype=np.float32) * (rows[:, 4:5] > 0)
            yield rows, box


def _pixels(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())


def _back(found: np.ndarray, where: Placement) -> np.ndarray:
    """Bring detections (D, 6) in pixels of the input back to those of the image."""
    corners = where.back(found[:, :4].reshape(-1, 2)).reshape(-1, 4)
    boxes = np.where(found[:, 4:5] > 0, corners.clip(0, np.tile(where.shape[::-1], 2)), 0.0)
    return np.concatenate([boxes, found[:, 4:]], axis=1).astype(np.float32)
