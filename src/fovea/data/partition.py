"""Decide which images of a data set train, validate and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fovea.data.splits import folds, part_of, stratified_split
from fovea.data.subset import Joined, View
from fovea.types import ImageDataset


class Choice(NamedTuple):
    """Which images train: a part of them, or all but one of several folds."""

    fraction: float | None = None
    limit_per_class: int | None = None
    fold: int | None = None
    num_folds: int | None = None


def build_views(
    factory: Callable[..., ImageDataset],
    *,
    fractions: Mapping[str, float],
    seed: int,
    choice: Choice | None = None,
) -> dict[str, View]:
    """Load every official split and take the lacking ones of `fractions` from the training images."""
    choice = choice or Choice()
    views = _official(factory)
    if choice.num_folds is not None or choice.fold is not None:
        fractions = {name: value for name, value in fractions.items() if name != "val"}
    lacking = {name: value for name, value in fractions.items() if name not in views}
    base = views.pop("all") if "all" in views else views["train"]
    views = {"train": base, **views}
    if lacking:
        labels, names = _strata(base)
        groups = _groups(base)
        parts = stratified_split(labels, fractions=lacking, seed=seed, classes=names, groups=groups)
        views |= {name: base.take(indices) for name, indices in parts.items()}
    if choice.num_folds is not None or choice.fold is not None:
        views |= _fold(views, choice, seed)
    if choice.fraction is not None or choice.limit_per_class is not None:
        labels, names = _strata(views["train"])
        fraction, limit = choice.fraction, choice.limit_per_class
        indices = part_of(labels, num_classes=len(names), seed=seed, fraction=fraction, limit_per_class=limit)
        views["train"] = views["train"].take(indices)
    return views


def _official(factory: Callable[..., ImageDataset]) -> dict[str, View]:
    owner: Any = getattr(factory, "func", factory)
    options = dict(getattr(factory, "keywords", {}))
    splits = owner.find_splits(**options) if hasattr(owner, "find_splits") else owner.splits
    if "download" in options:  # prepare_data has done that
        factory = partial(factory, download=False)
    whole = {name: factory(split=name) for name in splits}
    return {name: View(data, np.arange(len(data))) for name, data in whole.items()}


def _strata(view: View) -> tuple[np.ndarray, Sequence[str]]:
    """Return what to stratify by: the labels, or one stratum of all images."""
    if view.labels is None:
        return np.zeros(len(view), dtype=np.int64), ["image"]
    return view.labels, view.classes


def _groups(view: View) -> np.ndarray | None:
    """Return what must stay together (N,), such as the person in a photo, where the data set says so."""
    groups = getattr(view.dataset, "groups", None)
    return None if groups is None else groups[view.indices]


def _fold(views: Mapping[str, View], choice: Choice, seed: int) -> dict[str, View]:
    """Share the training and validation images out anew: one fold validates, the others train."""
    fold, count = choice.fold, choice.num_folds
    if fold is None or count is None or not 0 <= fold < count:
        raise ValueError(f"data.fold={fold} must be a number from 0 below data.num_folds={count}: set both")
    if "val" in views:
        joined = Joined([views["train"], views["val"]])
        pool = View(joined, np.arange(len(joined)))
    else:
        pool = views["train"]
    labels, names = _strata(pool)
    groups = _groups(pool)
    of = folds(labels, num_classes=len(names), num_folds=count, seed=seed, groups=groups)
    return {"train": pool.take(np.flatnonzero(of != fold)), "val": pool.take(np.flatnonzero(of == fold))}


def check_classes(train: View, *, num_classes: int | None, name: str) -> None:
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


def want(views: Mapping[str, View], targets: Sequence[str] | None, *, name: str) -> None:
    """Have the views give these targets only; ValueError where the data set lacks one.

    boxes bring their labels and what to ignore along.
    """
    if targets is None:
        return
    wanted = {targets} if isinstance(targets, str) else set(targets)
    have = views["train"].targets
    lacking = wanted - set(have)
    if lacking:
        raise ValueError(f"data.targets: {name} has no {', '.join(sorted(lacking))}, only {', '.join(have)}")
    if "boxes" in wanted:
        wanted |= {"labels", "ignore"} & set(have)
    for view in views.values():
        view.wanted = tuple(wanted)


def check_batch_size(train: View, *, batch_size: int, name: str) -> None:
    """Raise ValueError where the training images do not fill one batch."""
    size = len(train)
    if not size:
        raise ValueError(f"{name} has no training image")
    if batch_size > size:
        raise ValueError(
            f"data.batch_size={batch_size} is more than the {size} training images of {name}: "
            f"set data.batch_size={1 << (size.bit_length() - 1)} or lower"
        )
