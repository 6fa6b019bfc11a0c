"""Test whether models differ: confidence intervals, paired tests, correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def t_interval(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of a mean, (NaN, NaN) for fewer than two values."""
    from scipy.special import stdtrit

    known = np.asarray(values, dtype=float)
    if len(known) < 2:
        return math.nan, math.nan
    half = float(stdtrit(len(known) - 1, 0.5 + level / 2)) * known.std(ddof=1) / math.sqrt(len(known))
    return float(known.mean() - half), float(known.mean() + half)


def wilson(correct: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927)."""
    from scipy.special import ndtri

    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} of {total} is not a proportion")
    z = float(ndtri(0.5 + level / 2))
    share, spread = correct / total, z * z / total
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p of McNemar's test (1947) on the images that only one model gets right.

    Under the null hypothesis each of them falls to either model with probability 1/2.
    """
    from scipy.special import bdtr

    few, total = min(only_first, only_second), only_first + only_second
    if few < 0:
        raise ValueError(f"counts must not be negative: {only_first}, {only_second}")
    if total == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(few, total, 0.5)))


def paired_bootstrap(
    differences: np.ndarray, *, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Resample images with their paired differences (N,): return low, high and two-sided p of the mean.

    Percentile interval and p = 2 min(P(mean* <= 0), P(mean* >= 0)), Efron & Tibshirani 1993, ch. 13 and 15;
    p is never below 2 / (draws + 1), nor below 2 / 2ᵏ for k differences other than 0: as likely are k signs
    that agree by chance, while resamples of a few images all agree with them.
    """
    values, counts = np.unique(np.asarray(differences, dtype=float), return_counts=True)
    total = int(counts.sum())
    if not total:
        raise ValueError("there is no image to resample")
    rng, means = np.random.default_rng(seed), []
    step = max(1, 4_000_000 // len(values))
    for start in range(0, draws, step):  # counts of equal differences are all that a resample is
        drawn = rng.multinomial(total, counts / total, size=min(step, draws - start))
        means.append(drawn @ values / total)
    return of_draws(np.concatenate(means), signs=int(counts[values != 0].sum()), level=level)


def of_draws(
    differences: np.ndarray, *, signs: int, level: float = 0.95, tolerance: float = 1e-12
) -> tuple[float, float, float]:
    """Return low, high and two-sided p of a difference from its bootstrap draws, as `paired_bootstrap`.

    Args:
        differences: one a draw; a draw without one, NaN, is left out.
        signs: of images: p is not below the chance that so many agree.
        level: of the interval.
        tolerance: of a difference that is none but for rounding.

    Raises:
        ValueError: no draw has a difference.
    """
    found = differences[~np.isnan(differences)]
    if not len(found):
        raise ValueError("no resample has a difference")
    below, above = (found <= tolerance).sum(), (found >= -tolerance).sum()
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2])
    drawn_p = 2 * (min(int(below), int(above)) + 1) / (len(found) + 1)
    return float(low), float(high), min(1.0, max(drawn_p, 2.0 ** (1 - signs)))


def over_images_and_seeds(
    ours: np.ndarray, theirs: np.ndarray, of_images: float, *, images: int, same_seeds: bool,
    level: float = 0.95,
) -> tuple[float, float, float]:  # fmt: skip
    """Compare figures (seeds,) of two models: return low, high and two-sided p of the mean difference.

    Its variance is that over images, `of_images`, plus that over seeds, paired where both models have the
    same seeds; the degrees of freedom are Satterthwaite's (1946), so that two seeds count as few.
    """
    from scipy.special import stdtr, stdtrit

    parts = [(of_images, images - 1)] if images > 1 else []
    for means in [ours - theirs] if same_seeds else [ours, theirs]:
        parts.append((means.var(ddof=1) / len(means), len(means) - 1))
    mean, variance = float(ours.mean() - theirs.mean()), sum(part for part, _ in parts)
    if variance == 0:
        return mean, mean, 1.0 if mean == 0 else 2.0 ** (1 - images)  # as likely as equal signs
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance)
    return mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / math.sqrt(variance)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of several tests so that the chance of any false alarm stays bounded (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
