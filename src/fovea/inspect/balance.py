"""Check the number of images, of each class and of each size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fovea.inspect.findings import Finding
from fovea.inspect.image import ImageRecord
from fovea.inspect.splits import SplitPart
from fovea.page.formats import counted

RARE, RATIO, LONG = 10, 10.0, 4.0


def check_counts(parts: Sequence[SplitPart]) -> list[Finding]:
    """Compare the number of images of each official split with what its data set says it should be."""
    whole: dict[str, tuple[int, int]] = {}
    for part in parts:
        split = str(getattr(part.dataset, "split", part.split))
        official = getattr(part.dataset, "official", {}).get(split)
        if official is not None:
            whole.setdefault(split, (len(part.dataset), official))
    return [
        Finding("file count", split, "", f"{counted(found, 'image')}, officially {official:,}")
        for split, (found, official) in whole.items()
        if found != official
    ]


def check_names(parts: Sequence[SplitPart]) -> list[Finding]:
    """Find images that a split lists twice."""
    findings = []
    for part in parts:
        seen: dict[str, int] = {}
        for index in range(len(part)):
            first = seen.setdefault(part.name(index), index)
            if first != index:
                text, name = f"listed as image {first} and as image {index}", part.name(index)
                findings.append(Finding("duplicate name", part.split, name, text, index, (part.split, first)))
    return findings


def check_classes(train: SplitPart) -> list[Finding]:
    """Find training classes that are empty, rare or much smaller than others."""
    labels, classes = train.labels, train.classes
    if labels is None or not len(classes):
        return []
    counts = np.bincount(labels[(labels >= 0) & (labels < len(classes))], minlength=len(classes))
    findings = []
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count == 0:
            findings.append(Finding("class without images", train.split, str(name), "0 images"))
        elif count < RARE:
            findings.append(Finding("rare class", train.split, str(name), counted(count, "image")))
    low, high = int(np.where(counts > 0, counts, counts.max() + 1).argmin()), int(counts.argmax())
    if counts[high] > RATIO * counts[low]:  # of the classes that have images
        text = f"{classes[high]} has {counted(counts[high], 'image')}, {classes[low]} {counts[low]:,}"
        findings.append(Finding("imbalance", train.split, "", text))
    return findings


def check_mask_classes(train: SplitPart, records: Sequence[ImageRecord]) -> list[Finding]:
    """Find classes that no training mask holds."""
    held = [record.pixels for record in records if record.pixels is not None]
    counts = np.sum(held, axis=0)[: len(train.mask_classes)].tolist() if held else []
    return [
        Finding("class without pixels", train.split, str(name), f"0 pixels in {counted(len(held), 'mask')}")
        for name, count in zip(train.mask_classes, counts, strict=False)
        if count == 0
    ]


def check_sizes(
    part: SplitPart, records: Sequence[ImageRecord], *, image_size: Sequence[int]
) -> list[Finding]:
    """Count the images that have to be enlarged, and those that are much longer than wide."""
    sizes = np.array([record.size for record in records if record.size is not None]).reshape(-1, 2)
    places = [record.index for record in records if record.size is not None]
    small = (sizes < np.array(image_size)[::-1]).any(axis=1)
    long = sizes.max(axis=1) > LONG * sizes.min(axis=1) if len(sizes) else small
    findings = []
    for kind, chosen, text in (
        ("small images", small, f"are smaller than data.image_size={'×'.join(map(str, image_size))}"),
        ("long images", long, "are more than 4 times as long as wide"),
    ):
        if chosen.any():
            first = places[int(chosen.argmax())]
            message = (
                f"{int(chosen.sum()):,} of {len(sizes):,} images {text}, the first is {part.name(first)}"
            )
            findings.append(Finding(kind, part.split, "", message, first))
    return findings
