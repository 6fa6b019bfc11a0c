"""Split a data set into parts that never overlap and hold every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fovea.ops import rng

_STREAM = 101  # of the random numbers: separates splitting from every other use of a seed


def stratified_split(
    labels: np.ndarray, *, fractions: Mapping[str, float], seed: int, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return sorted index arrays: one per named fraction, the rest as `train`.

    Every part takes the same share of every class, at least one image. The order of the fractions does not
    change which images a part gets first. ValueError names a fraction outside (0, 1) or a class too small.
    """
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"data.{name}_fraction={fraction} must lie between 0 and 1")
    if sum(fractions.values()) >= 1:
        raise ValueError(f"the fractions {dict(fractions)} leave nothing to train on: lower them")
    noise = rng.bits(seed, 0, np.arange(len(labels)), n=1, stream=_STREAM)[:, 0]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *fractions)}
    for number, name in enumerate(classes):
        members = np.flatnonzero(labels == number)
        members = members[np.argsort(noise[members], kind="stable")]
        for part, chunk in _cut(members, fractions, name).items():
            parts[part].append(chunk)
    return {part: np.sort(np.concatenate(chunks)) for part, chunks in parts.items()}


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
