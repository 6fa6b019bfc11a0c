"""Collect all findings about a data set."""

from __future__ import annotations

from collections.abc import Sequence

from fovea.inspect import balance
from fovea.inspect.duplicates import DecodedImages, find_duplicates, find_near
from fovea.inspect.findings import Finding, ordered
from fovea.inspect.image import ImageRecord
from fovea.inspect.splits import SplitPart
from fovea.inspect.statistics import compare_normalisation, summarise
from fovea.types import Preprocessing


def collect_findings(
    parts: Sequence[SplitPart],
    records: Sequence[Sequence[ImageRecord]],
    *,
    preprocessing: Preprocessing,
    complete: bool = True,
    counted: bool = True,
) -> list[Finding]:
    """Return what is wrong with single files, with the splits and between them, the worst first.

    `complete`: no image was left out on purpose, so small numbers mean something; `counted`: there should be
    as many images as officially.
    """
    findings = [finding for found in records for record in found for finding in record.findings]
    for part, found in zip(parts, records, strict=True):
        findings += balance.check_sizes(part, found, image_size=preprocessing["image_size"])
        if part.split == "train":
            findings += balance.check_classes(part) if complete else []
            findings += balance.check_mask_classes(part, found) if complete else []
            text = compare_normalisation(summarise(part, found), preprocessing)
            findings += [Finding("normalisation", "train", "", text)] if text else []
    findings += balance.check_names(parts) + extra_files(parts)
    findings += balance.check_counts(parts) if complete and counted else []
    return ordered(findings + copies(parts, records))


def copies(parts: Sequence[SplitPart], records: Sequence[Sequence[ImageRecord]]) -> list[Finding]:
    """Find images that occur again, equal or nearly so."""
    images = DecodedImages(parts, records)
    same, single = find_duplicates(images)
    return same + find_near(images, single)


def extra_files(parts: Sequence[SplitPart]) -> list[Finding]:
    """List the files that belong to no image, once for all splits."""
    found: dict[str, Finding] = {}
    for part in parts:
        search = getattr(part.dataset, "extra_files", None)
        try:
            paths = [] if search is None else search()
        except Exception as error:
            text = f"the search for files of no image failed: {error}"
            return [Finding("bad annotation", part.split, "", text)]
        for path in paths:
            found.setdefault(str(path), Finding("extra file", part.split, str(path), "belongs to no image"))
    return list(found.values())
