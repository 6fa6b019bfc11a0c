"""Read a learning-rate range test (Smith 2017): the rate at which the loss falls most steeply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BETA = 0.98  # of the running mean that Lightning's search records
FEWEST = 5  # losses from which a slope is read


def single_losses(means: Sequence[float], *, accumulated: int = 1) -> list[float]:
    """Return the loss of each step, of which a search recorded the running mean.

    Lightning's mean lags some 50 steps behind, and divides a loss by the number of accumulated batches.
    """
    steps = np.arange(1, len(means) + 1)
    sums = np.asarray(means, dtype=float) * (1 - BETA ** (steps + 1))
    before = np.concatenate([[0.0], sums[:-1]])
    return [float(loss) for loss in accumulated * (sums - BETA * before) / (1 - BETA)]


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the loss falls most per decade; None where it does not fall.

    The slope is taken over the logarithm of the rate: over the rate itself it would be largest, by its
    noise alone, where the rates are smallest. What comes after the smallest loss has begun to diverge.
    """
    known = np.isfinite(losses)
    decades, values = np.log10(np.asarray(rates, dtype=float)[known]), np.asarray(losses, dtype=float)[known]
    if len(values) < FEWEST:
        return None
    window = max(3, len(values) // 10) | 1
    padded = np.pad(values, window // 2, mode="edge")
    smooth = np.convolve(padded, np.full(window, 1 / window), mode="valid")
    end = int(smooth.argmin()) + 1
    if end < 3:
        return None
    slope = np.gradient(smooth[:end], decades[:end])
    return float(10 ** decades[slope.argmin()]) if slope.min() < 0 else None
