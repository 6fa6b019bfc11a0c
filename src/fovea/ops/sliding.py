"""Run a net over an image larger than what it was made for, window by window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from fovea.ops.mirror import mirror

STEP = 32  # a net that halves its input five times sees other pixels together elsewhere
SIGMA = 1 / 8  # of the window's side; a weight in its corner is e^-16 of the middle's, and never 0


def sliding(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    window: tuple[int, int],
    overlap: float = 0.25,
    batch: int = 4,
) -> Tensor:
    """Average what `run` gives for overlapping windows of (B, C, H, W), the middle of a window counting most.

    The weights are Gaussian, as in nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), so that no
    seams show. Windows are spread evenly and begin at multiples of 32, where they are large enough for that;
    the image is extended by its mirror image until the last fits. One sum in float32 is all that is kept.

    Args:
        image: (B, C, H, W).
        run: maps (n, C, h, w) to (n, K, h, w).
        window: (h, w).
        overlap: the least part of a window's side that it shares with the next, in [0, 1).
        batch: how many windows `run` sees at once.
    """
    _check(window, overlap, batch)
    height, width = image.shape[2:]
    rows, columns = (starts(n, w, overlap) for n, w in zip((height, width), window, strict=True))
    image = mirror(image, bottom=rows[-1] + window[0] - height, right=columns[-1] + window[1] - width)
    weight = _weight(window, image.device)
    total: Tensor | None = None
    norm = image.new_zeros(image.shape[2:], dtype=torch.float32)
    for places in _batches(itertools.product(range(len(image)), rows, columns), window, batch):
        found = run(torch.stack([image[i, :, y, x] for i, y, x in places]))
        _check_output(found, len(places), window)
        if total is None:
            total = torch.zeros(len(image), found.shape[1], *image.shape[2:], device=found.device)
        for (i, y, x), one in zip(places, found, strict=True):
            total[i, :, y, x] += one * weight
            if i == 0:
                norm[y, x] += weight
    if total is None:
        raise ValueError(f"images of shape {tuple(image.shape)}: give at least one")
    return total.div_(norm)[:, :, :height, :width]


def starts(side: int, window: int, overlap: float, *, unit: int = STEP) -> list[int]:
    """Return where windows begin: the first at 0, the last so as to cover the end, the others between.

    All are multiples of `unit` where the windows are large enough; of 1 the last ends with the side.
    """
    reach = max(math.floor(window * (1 - overlap)), 1)
    unit = unit if reach >= unit else 1
    room = math.ceil(max(side - window, 0) / unit)
    steps = math.ceil(room / (reach // unit))
    return [unit * round(room * i / steps) for i in range(steps + 1)] if steps else [0]


def _batches(
    corners: Iterable[tuple[int, int, int]], window: tuple[int, int], batch: int
) -> Iterator[list[tuple[int, slice, slice]]]:
    places = ((i, slice(y, y + window[0]), slice(x, x + window[1])) for i, y, x in corners)
    while some := list(itertools.islice(places, batch)):
        yield some


def _weight(window: tuple[int, int], device: torch.device) -> Tensor:
    down, across = (
        torch.exp(-0.5 * ((torch.arange(n, device=device) - (n - 1) / 2) / (SIGMA * n)) ** 2) for n in window
    )
    return down[:, None] * across  # (h, w)


def _check(window: tuple[int, int], overlap: float, batch: int) -> None:
    if len(window) != 2 or min(window) < 1:
        raise ValueError(f"window={window}: give (height, width) of at least 1, such as (256, 256)")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap={overlap} is not in [0, 1): try 0.25")
    if batch < 1:
        raise ValueError(f"batch={batch}: give at least one window at a time")


def _check_output(found: Tensor, count: int, window: tuple[int, int]) -> None:
    if found.ndim != 4 or len(found) != count or tuple(found.shape[2:]) != tuple(window):
        raise ValueError(
            f"sliding windows of {list(window)} gave {tuple(found.shape)}: give a net whose output is "
            f"({count}, K, {window[0]}, {window[1]}), at the size of its input"
        )
