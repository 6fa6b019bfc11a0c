"""Check by name what a data set has to be, before anything relies on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fovea.types import Sample

NEEDED = ("classes", "ids", "labels", "load", "__len__")
PAGE = "docs/extending.md shows a whole data set"
KINDS: dict[str, tuple[str, Callable[[np.ndarray], bool]]] = {
    "image": ("uint8 (H, W, 1 or 3)", lambda a: a.dtype == np.uint8 and a.ndim == 3 and a.shape[2] in (1, 3)),
    "boxes": ("float32 (N, 4)", lambda a: a.dtype.kind == "f" and a.ndim == 2 and a.shape[1] == 4),
    "labels": ("whole numbers (N,)", lambda a: a.dtype.kind in "iu" and a.ndim == 1),
    "mask": ("uint8 (H, W)", lambda a: a.dtype == np.uint8 and a.ndim == 2),
    "instances": ("uint8 (H, W)", lambda a: a.dtype == np.uint8 and a.ndim == 2),
    "keypoints": ("float32 (K, 2)", lambda a: a.dtype.kind == "f" and a.ndim == 2 and a.shape[1] == 2),
}


def check_owner(owner: Any) -> None:
    """Raise ValueError where a class does not say which splits it has."""
    if not hasattr(owner, "splits") and not hasattr(owner, "find_splits"):
        raise ValueError(
            f"the data set {_name(owner)} lacks splits: write "
            f'splits = ("train", "test"), or ("all",) to have it split. {PAGE}'
        )


def check_contract(dataset: Any) -> None:
    """Raise ValueError that lists what a data set lacks, or has in another form than expected."""
    found = list(_problems(dataset))
    if found:
        raise ValueError(f"the data set {_name(type(dataset))} {'; it '.join(found)}. {PAGE}")


def _problems(dataset: Any) -> Iterator[str]:
    lacking = [name for name in NEEDED if not hasattr(dataset, name)]
    if lacking:
        yield f"lacks {', '.join(lacking)}"
        return
    count = len(dataset)
    if isinstance(dataset.classes, str) or not all(isinstance(name, str) for name in dataset.classes):
        yield f"has classes={_shown(dataset.classes)}, expected a list of names"
        return
    if not hasattr(dataset.ids, "__getitem__") or len(dataset.ids) != count:
        yield f"has {_shown(dataset.ids)} as ids, expected a list of {count} names, one an image"
    yield from _labels(dataset.labels, count, len(dataset.classes))
    images = getattr(dataset, "images", None)
    if images is not None and not _all_in_memory(images, count):
        yield (
            f"has {_shown(images)} as images, which is for all images in memory, uint8 ({count}, H, W, 1 or "
            "3): give it another name, such as paths"
        )
    yield from _optional(dataset, count)


def _optional(dataset: Any, count: int) -> Iterator[str]:
    groups = getattr(dataset, "groups", None)
    if groups is not None and np.shape(groups) != (count,):
        yield f"has {_shown(groups)} as groups, expected one number an image ({count},)"
    for name in ("load", "load_many", "files", "sentences"):
        if not callable(getattr(dataset, name, len)):
            yield f"has {_shown(getattr(dataset, name))} as {name}, expected a method"
    targets = getattr(dataset, "targets", ())
    unknown = [name for name in targets if name not in Sample.__annotations__]
    if isinstance(targets, str) or unknown:
        yield f"has targets={_shown(targets)}, expected some of {', '.join(Sample.__annotations__)}"
        return
    if count and callable(dataset.load):
        yield from _sample(dataset)


def _all_in_memory(images: Any, count: int) -> bool:
    shape = np.shape(images) if isinstance(images, np.ndarray) and images.dtype == np.uint8 else ()
    return len(shape) == 4 and shape[0] == count and shape[3] in (1, 3)


def _labels(labels: Any, count: int, classes: int) -> Iterator[str]:
    if labels is None:
        return
    if not isinstance(labels, np.ndarray) or labels.shape != (count,) or labels.dtype.kind not in "iu":
        yield f"has {_shown(labels)} as labels, expected an array of whole numbers ({count},), or None"
    elif count and not 0 <= labels.min() <= labels.max() < classes:
        yield f"has labels {labels.min()} to {labels.max()}, but {classes} classes: 0 to {classes - 1}"


def _sample(dataset: Any) -> Iterator[str]:
    """Look at the first sample; that it cannot be read is for whoever needs it to say."""
    try:
        sample = dataset.load(0)
    except (OSError, ValueError):
        return
    targets = tuple(getattr(dataset, "targets", ("label",)))
    if not isinstance(sample, dict) or "image" not in sample:
        yield f"gives {_shown(sample)} by load(0), expected a dict with image and {', '.join(targets)}"
        return
    lacking = [name for name in targets if name not in sample and name != "ignore"]
    if lacking and not (lacking == ["label"] and dataset.labels is None):
        yield f"lacks {', '.join(lacking)} in load(0), though its targets name it"
    for name, (form, fits) in KINDS.items():
        value = sample.get(name)
        if value is not None and not (isinstance(value, np.ndarray) and fits(value)):
            yield f"gives {_shown(value)} as {name} by load(0), expected {form}"


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value):
        return f"a {type(value).__name__} of {len(value)} {type(value[0]).__name__}"
    text = repr(value)
    return text if len(text) < 60 else f"a {type(value).__name__}"


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))
