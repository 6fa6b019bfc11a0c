"""Decide which images of a data set train, validate and test: parts that never overlap, with every class."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fovea.data.contract import check_contract, check_owner
from fovea.data.subset import Joined, Subset
from fovea.ops import rng
from fovea.page.formats import counted
from fovea.types import ImageDataset

log = logging.getLogger(__name__)
# streams of random numbers, which keep these uses of one seed apart
_SPLIT, _PART, _FOLD = 101, 104, 105


def build_splits(
    factory: Callable[..., ImageDataset],
    *,
    fractions: Mapping[str, float],
    seed: int,
    train_fraction: float | None = None,
    limit_per_class: int | None = None,
    fold: int | None = None,
    num_folds: int | None = None,
) -> dict[str, Subset]:
    """Load every official split and take the lacking ones of `fractions` from the training images.

    With `fold` the training and validation images are redistributed: one of `num_folds` parts validates.
    `train_fraction` and `limit_per_class` then say how many of each class train.
    """
    whole = {name: open_split() for name, open_split in official_splits(factory).items()}
    for data in whole.values():
        check_contract(data)
    splits = {name: Subset(data, np.arange(len(data))) for name, data in whole.items()}
    refold = fold is not None or num_folds is not None
    if refold:
        fractions = {name: value for name, value in fractions.items() if name != "val"}
    lacking = {name: value for name, value in fractions.items() if name not in splits}
    base = splits.pop("all") if "all" in splits else splits["train"]
    splits = {"train": base, **splits}
    if lacking:
        labels, names = _strata(base)
        parts = stratified_split(labels, fractions=lacking, seed=seed, classes=names, groups=_groups(base))
        splits |= {name: base.take(indices) for name, indices in parts.items()}
    if refold:
        splits |= _fold(splits, fold, num_folds, seed)
    if train_fraction is not None or limit_per_class is not None:
        labels, names = _strata(splits["train"])
        indices = part_of(
            labels,
            num_classes=len(names),
            seed=seed,
            fraction=train_fraction,
            limit_per_class=limit_per_class,
        )
        splits["train"] = splits["train"].take(indices)
    return splits


def official_splits(factory: Callable[..., ImageDataset]) -> dict[str, Callable[[], ImageDataset]]:
    """Return what opens each official split; it downloads nothing, as that is done by `prepare`."""
    owner: Any = getattr(factory, "func", factory)
    check_owner(owner)
    options = dict(getattr(factory, "keywords", {}))
    names = owner.find_splits(**options) if hasattr(owner, "find_splits") else owner.splits
    quiet = {"download": False} if "download" in options else {}
    return {name: partial(factory, split=name, **quiet) for name in names}


def _strata(subset: Subset) -> tuple[np.ndarray, Sequence[str]]:
    """Return what to stratify by: the labels, or one stratum of all images."""
    if subset.labels is None:
        return np.zeros(len(subset), dtype=np.int64), ["image"]
    return subset.labels, subset.classes


def _groups(subset: Subset) -> np.ndarray | None:
    """Return what must stay together (N,), such as the person in a photo, where the data set says so."""
    groups = getattr(subset.dataset, "groups", None)
    return None if groups is None else groups[subset.indices]


def _fold(splits: Mapping[str, Subset], fold: int | None, count: int | None, seed: int) -> dict[str, Subset]:
    """Redistribute the training and validation images: one fold validates, the others train."""
    if fold is None or count is None or not 0 <= fold < count:
        raise ValueError(f"data.fold={fold} must be a number from 0 below data.num_folds={count}: set both")
    if "val" in splits:
        joined = Joined([splits["train"], splits["val"]])
        pool = Subset(joined, np.arange(len(joined)))
    else:
        pool = splits["train"]
    labels, names = _strata(pool)
    groups = _groups(pool)
    of = folds(labels, num_classes=len(names), num_folds=count, seed=seed, groups=groups)
    return {"train": pool.take(np.flatnonzero(of != fold)), "val": pool.take(np.flatnonzero(of == fold))}


def check_classes(train: Subset, *, num_classes: int | None, name: str) -> None:
    """Raise ValueError where the config counts other classes, or the training images lack one."""
    have = len(train.classes)
    if not have:
        return
    if num_classes != have:
        raise ValueError(
            f"data.num_classes={num_classes} but {name} has {have} classes: set data.num_classes={have}"
        )
    if train.labels is None:
        return
    counts = np.bincount(train.labels, minlength=have)
    if not counts.all():
        empty = [train.classes[i] for i in np.flatnonzero(counts == 0)]
        raise ValueError(f"no training image of class {', '.join(empty)}: add some or remove the class")


def warn_of_near_names(classes: Sequence[str], *, name: str) -> None:
    """Warn of class names that differ in case, blanks, - and _ alone: most often one class."""
    forms: dict[str, list[str]] = {}
    for label in map(str, classes):
        forms.setdefault(re.sub(r"[\s_-]+", " ", label.casefold()).strip(), []).append(label)
    for near in (found for found in forms.values() if len(found) > 1):
        log.warning(
            "%s: the classes %s differ in case or blanks alone: join them if they are one class",
            name, " and ".join(map(repr, near)),
        )  # fmt: skip


def check_images(splits: Mapping[str, Subset], *, name: str) -> None:
    """Raise ValueError where a split is there without an image; warn where one lacks a class."""
    for split in ("val", "test"):
        subset = splits.get(split)
        if subset is not None and len(subset.dataset) == 0:
            raise ValueError(
                f"the {split} split of {name} is there but holds no image: put some into it, or remove it to "
                f"have the split drawn from the training images by data.{split}_fraction"
            )
        if subset is None or subset.labels is None or "label" not in subset.targets or not len(subset):
            continue
        counts = np.bincount(subset.labels, minlength=len(subset.classes))
        empty = [subset.classes[i] for i in np.flatnonzero(counts == 0)]
        if empty:
            shown = ", ".join(empty[:8]) + (f", … ({len(empty)})" if len(empty) > 8 else "")
            log.warning(
                "%s: %s has no image of %s: its metrics are those of the other classes", name, split, shown
            )


def select_targets(splits: Mapping[str, Subset], targets: Sequence[str] | None, *, name: str) -> None:
    """Have the splits give these targets only; ValueError where the data set lacks one.

    boxes bring their labels and what to ignore along.
    """
    if targets is None:
        return
    wanted = {targets} if isinstance(targets, str) else set(targets)
    have = splits["train"].targets
    lacking = wanted - set(have)
    if lacking:
        raise ValueError(f"data.targets: {name} has no {', '.join(sorted(lacking))}, only {', '.join(have)}")
    if "boxes" in wanted:
        wanted |= {"labels", "ignore"} & set(have)
    for subset in splits.values():
        subset.wanted = tuple(wanted)


def stratified_split(
    labels: np.ndarray,
    *,
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return sorted index arrays: one per named fraction, the rest as `train`.

    Every part takes the same share of every class, at least one image; a share of 0 is an empty part. The
    order of the fractions does not change which images a part gets first. Images of one group (N,), such as
    one person, stay together: then the shares are of groups. ValueError names a fraction outside [0, 1) or a
    class too small.
    """
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"data.{name}_fraction={fraction} must be 0 or more, and less than 1")
    if sum(fractions.values()) >= 1:
        raise ValueError(f"the fractions {dict(fractions)} leave nothing to train on: lower them")
    empty = {name: np.empty(0, dtype=np.int64) for name, fraction in fractions.items() if not fraction}
    fractions = {name: fraction for name, fraction in fractions.items() if fraction}
    if groups is not None:
        return _split_groups(labels, groups, fractions=fractions, seed=seed, classes=classes) | empty
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *fractions)}
    for members, name in zip(_shuffled(labels, len(classes), seed, _SPLIT), classes, strict=True):
        for part, chunk in _cut(members, fractions, name).items():
            parts[part].append(chunk)
    return {part: np.sort(np.concatenate(chunks)) for part, chunks in parts.items()} | empty


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
        first, of = _first_of_each(groups)
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


def _first_of_each(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    first, of = _first_of_each(groups)
    parts = stratified_split(labels[first], fractions=fractions, seed=seed, classes=classes)
    return {part: np.flatnonzero(np.isin(of, chosen)) for part, chosen in parts.items()}


def _cut(members: np.ndarray, fractions: Mapping[str, float], name: str) -> dict[str, np.ndarray]:
    if len(members) < len(fractions) + 1:
        need = len(fractions) + 1
        raise ValueError(
            f"class {name!r} has {counted(len(members), 'image')}, too few for {need} parts (train, "
            f"{', '.join(fractions)}): add images, or split them yourself: folders train/, val/ and "
            "test/, or the column split of a table"
        )
    chunks, start = {}, 0
    for done, (part, fraction) in enumerate(fractions.items()):
        left = len(members) - start - (len(fractions) - done)  # one each for the later parts and for train
        size = min(max(1, round(fraction * len(members))), left + 1)
        chunks[part] = members[start : start + size]
        start += size
    return chunks | {"train": members[start:]}
