"""Split a data set into parts that never overlap and hold every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from fovea.ops import rng

# streams of random numbers, which keep these uses of one seed apart
_SPLIT, _PART, _FOLD = 101, 104, 105


def stratified_split(
    labels: np.ndarray,
    *,
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return sorted index arrays: one per named fraction, the rest as `train`.

    Every part takes the same share of every class, at least one image. The order of the fractions does not
    change which images a part gets first. Images of one group (N,), such as one person, stay together: then
    the shares are of groups. ValueError names a fraction outside (0, 1) or a class too small.
    """
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"data.{name}_fraction={fraction} must lie between 0 and 1")
    if sum(fractions.values()) >= 1:
        raise ValueError(f"the fractions {dict(fractions)} leave nothing to train on: lower them")
    if groups is not None:
        return _split_groups(labels, groups, fractions=fractions, seed=seed, classes=classes)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *fractions)}
    for members, name in zip(_shuffled(labels, len(classes), seed, _SPLIT), classes, strict=True):
        for part, chunk in _cut(members, fractions, name).items():
            parts[part].append(chunk)
    return {part: np.sort(np.concatenate(chunks)) for part, chunks in parts.items()}


def part_of(
    labels: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    fraction: float | None = None,
    limit_per_class: int | None = None,
) -> np.ndarray:
    """Return the sorted indices of a part: of each class the fraction, at least one image, and up to a limit.

    A smaller part lies inside every larger one of the same seed.
    """
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"data.train_fraction={fraction} must lie above 0 and be at most 1")
    if limit_per_class is not None and limit_per_class < 1:
        raise ValueError(f"data.limit_per_class={limit_per_class} must be at least 1")
    chosen = []
    for members in _shuffled(labels, num_classes, seed, _PART):
        count = (
            len(members) if fraction is None else min(len(members), max(1, round(fraction * len(members))))
        )
        chosen.append(members[: count if limit_per_class is None else min(count, limit_per_class)])
    return np.sort(np.concatenate(chosen))


def folds(
    labels: np.ndarray, *, num_classes: int, num_folds: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the fold (N,) of every image, 0…num_folds-1: equal shares of each class, groups together."""
    if num_folds < 2 or num_folds > len(labels):
        raise ValueError(f"data.num_folds={num_folds} must lie between 2 and the {len(labels)} images")
    if groups is not None:
        first, of = _groups(groups)
        return folds(labels[first], num_classes=num_classes, num_folds=num_folds, seed=seed)[of]
    out = np.zeros(len(labels), dtype=np.int64)
    start = 0  # going on where the last class stopped keeps the folds equally large
    for members in _shuffled(labels, num_classes, seed, _FOLD):
        out[members] = (start + np.arange(len(members))) % num_folds
        start += len(members)
    return out


def _shuffled(labels: np.ndarray, num_classes: int, seed: int, stream: int) -> list[np.ndarray]:
    """Return the indices of each class in an order that the seed fixes."""
    noise = rng.bits(seed, 0, np.arange(len(labels)), n=1, stream=stream)[:, 0]
    order = np.lexsort((noise, labels))
    edges = np.searchsorted(labels[order], np.arange(num_classes + 1))
    return [order[a:b] for a, b in pairwise(edges)]


def _groups(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first image of each group and the group number (N,) of each image."""
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    return first, of.reshape(-1)


def _split_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> dict[str, np.ndarray]:
    first, of = _groups(groups)
    parts = stratified_split(labels[first], fractions=fractions, seed=seed, classes=classes)
    return {part: np.flatnonzero(np.isin(of, chosen)) for part, chosen in parts.items()}


def _cut(members: np.ndarray, fractions: Mapping[str, float], name: str) -> dict[str, np.ndarray]:
    if len(members) < len(fractions) + 1:
        need = len(fractions) + 1
        raise ValueError(
            f"class {name!r} has {len(members)} images, too few for {need} parts (train, "
            f"{', '.join(fractions)}): add images, or split them yourself into folders train/, val/ and test/"
        )
    chunks, start = {}, 0
    for done, (part, fraction) in enumerate(fractions.items()):
        left = len(members) - start - (len(fractions) - done)  # one each for the later parts and for train
        size = min(max(1, round(fraction * len(members))), left + 1)
        chunks[part] = members[start : start + size]
        start += size
    return chunks | {"train": members[start:]}
