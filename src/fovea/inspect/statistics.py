"""Summarise each split: classes, sizes, colours, objects, masks, captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fovea.inspect.image import ImageRecord
from fovea.inspect.splits import SplitPart, UnlabelledImages
from fovea.types import IGNORE, Preprocessing

BINS, ENOUGH = 24, 50
Stats = dict[str, Any]  # plain values only: what stats.json holds


def summarise(part: SplitPart, records: Sequence[ImageRecord]) -> Stats:
    """Return the statistics of one split; a part that it lacks is left out."""
    seen = [record for record in records if record.size is not None]
    found: Stats = {"images": len(part), "readable": len(seen)}
    found |= {"classes": class_counts(part)} if part.labels is not None else {}
    if seen:
        found |= {"sizes": sizes(seen), **colours(seen)}
    for key, make in (("boxes", boxes), ("masks", masks), ("captions", captions)):
        values = make(part, seen)
        found |= {key: values} if values else {}
    return found


def summarise_all(parts: Sequence[SplitPart], records: Sequence[Sequence[ImageRecord]]) -> dict[str, Stats]:
    """Return the statistics of every split that has labels and annotations to count."""
    pairs = zip(parts, records, strict=True)
    return {
        part.split: summarise(part, r) for part, r in pairs if not isinstance(part.dataset, UnlabelledImages)
    }


def class_counts(part: SplitPart) -> dict[str, int]:
    """Count the images of each class."""
    labels, names = part.labels, part.classes
    assert labels is not None
    counts = np.bincount(labels[(labels >= 0) & (labels < len(names))], minlength=len(names))
    return dict(zip(map(str, names), counts.tolist(), strict=True))


def spread(values: Any) -> Stats:
    """Return minimum, median, mean and maximum, and a histogram: edges (K + 1) and counts (K)."""
    array = np.asarray(values, dtype=np.float64)
    found = {"min": array.min(), "median": np.median(array), "mean": array.mean(), "max": array.max()}
    counts, edges = np.histogram(array, bins=_edges(array))
    histogram = {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}
    return {**{name: round(float(value), 4) for name, value in found.items()}, "histogram": histogram}


def _edges(array: np.ndarray) -> np.ndarray:
    """Choose up to BINS bins; those of whole numbers are centred on them and as wide as each other."""
    low, high = float(array.min()), float(array.max())
    if (array == np.round(array)).all():
        step = max(1, int(np.ceil((high - low + 1) / BINS)))
        return np.arange(low - 0.5, high + step + 0.4, step)
    return np.linspace(low, high, BINS + 1)


def sizes(records: Sequence[ImageRecord]) -> Stats:
    """Spread of width, height and aspect (width / height), and the most frequent sizes."""
    array = np.array([record.size for record in records], dtype=np.float64)
    common = Counter(record.size for record in records if record.size is not None).most_common(5)
    return {
        "width": spread(array[:, 0]),
        "height": spread(array[:, 1]),
        "aspect": spread(array[:, 0] / array[:, 1]),
        "distinct": len({record.size for record in records}),
        "common": [{"width": w, "height": h, "images": n} for (w, h), n in common],
    }


def colours(records: Sequence[ImageRecord]) -> Stats:
    """Mean and standard deviation of each channel in 0…1, each image counting the same."""
    mean = np.mean([r.mean for r in records if r.mean is not None], axis=0)
    square = np.mean([r.square for r in records if r.square is not None], axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return {"mean": [round(float(m), 4) for m in mean], "std": [round(float(s), 4) for s in std]}


def boxes(part: SplitPart, records: Sequence[ImageRecord]) -> Stats:
    """Objects of each image and class, and the sizes of their boxes as the root of their area."""
    with_boxes = [record for record in records if record.box_sizes is not None]
    if not with_boxes:
        return {}
    names = part.classes
    labels = np.concatenate([r.box_labels for r in with_boxes if r.box_labels is not None])
    counts = np.bincount(labels[(labels >= 0) & (labels < len(names))], minlength=len(names))
    size = np.concatenate([record.box_sizes for record in with_boxes if record.box_sizes is not None])
    return {
        "objects": len(size),
        "per_image": spread([len(r.box_sizes) for r in with_boxes if r.box_sizes is not None]),
        "images_without": sum(r.box_sizes is not None and not len(r.box_sizes) for r in with_boxes),
        "per_class": dict(zip(map(str, names), counts.tolist(), strict=True)),
        "side": spread(np.sqrt(size.prod(axis=1))) if len(size) else {},
        "small_medium_large": coco_sizes(size),
    }


def coco_sizes(size: np.ndarray) -> list[int]:
    """Count boxes (N, 2) below 32², below 96² and above, as COCO divides them."""
    area = size.prod(axis=1)
    return [
        int((area < 32**2).sum()),
        int(((area >= 32**2) & (area < 96**2)).sum()),
        int((area >= 96**2).sum()),
    ]


def masks(part: SplitPart, records: Sequence[ImageRecord]) -> Stats:
    """Share of the pixels of each class, of those not ignored, and in how many images it occurs."""
    with_mask = [record.pixels for record in records if record.pixels is not None]
    if not with_mask:
        return {}
    table = np.stack(with_mask)  # (images, 256)
    names = list(map(str, part.mask_classes))[:IGNORE]
    total = table.sum(axis=0)
    labelled = max(int(total[:IGNORE].sum()), 1)
    return {
        "share": {name: round(int(total[k]) / labelled, 6) for k, name in enumerate(names)},
        "images": {name: int((table[:, k] > 0).sum()) for k, name in enumerate(names)},
        "ignored": round(int(total[IGNORE]) / max(int(total.sum()), 1), 6),
    }


def captions(part: SplitPart, records: Sequence[ImageRecord]) -> Stats:
    """Captions of each image, words of each caption, and the size of the vocabulary."""
    with_captions = [record for record in records if record.captions is not None]
    lengths = [length for record in with_captions for length in record.captions or []]
    if not lengths:
        return {}
    words: Counter[str] = Counter()
    for record in with_captions:
        words.update(record.words or {})
    return {
        "captions": len(lengths),
        "per_image": spread([len(record.captions or []) for record in with_captions]),
        "words": spread(lengths),
        "vocabulary": len(words),
        "seen_5_times": sum(count >= 5 for count in words.values()),
        "common": dict(words.most_common(20)),
    }


def compare_normalisation(train: Stats, preprocessing: Preprocessing) -> str | None:
    """Return a message when the config's mean or std differs from the training images' by more than 0.02.

    A handful of images says nothing about such small differences.
    """
    mean, std = preprocessing["mean"], preprocessing["std"]
    if train.get("readable", 0) < ENOUGH or len(train["mean"]) != len(mean):
        return None
    pairs = [*zip(train["mean"], mean, strict=True), *zip(train["std"], std, strict=True)]
    if max(abs(found - given) for found, given in pairs) <= 0.02:
        return None
    shown = ["[" + ", ".join(f"{value:.4g}" for value in values) + "]" for values in (mean, std)]
    found = ["[" + ", ".join(f"{value:.4g}" for value in train[key]) + "]" for key in ("mean", "std")]
    return (
        f"the config says data.mean={shown[0]} and data.std={shown[1]}, the training images have "
        f"mean {found[0]} and std {found[1]}: use these to train from scratch; "
        "pretrained networks bring their own"
    )
