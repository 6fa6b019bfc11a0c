"""Put all findings about a data set together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fovea.inspect import balance
from fovea.inspect.duplicates import Images, find_duplicates, find_near
from fovea.inspect.findings import Finding, ordered
from fovea.inspect.image import Record
from fovea.inspect.splits import LooseFiles, Part
from fovea.inspect.statistics import compare_normalisation, summarise


def judge(
    parts: Sequence[Part],
    records: Sequence[Sequence[Record]],
    *,
    image_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    complete: bool = True,
    counted: bool = True,
) -> list[Finding]:
    """Return what is wrong with single files, with the splits and between them, the worst first.

    `complete`: no image was left out on purpose, so small numbers mean something; `counted`: there should be
    as many images as officially.
    """
    findings = [finding for found in records for record in found for finding in record.findings]
    for part, found in zip(parts, records, strict=True):
        findings += balance.check_sizes(part, found, image_size=image_size)
        if part.split == "train":
            findings += balance.check_classes(part) if complete else []
            text = compare_normalisation(summarise(part, found), mean=mean, std=std)
            findings += [Finding("normalisation", "train", "", text)] if text else []
    findings += balance.check_names(parts) + extra_files(parts)
    findings += balance.check_counts(parts) if complete and counted else []
    return ordered(findings + copies(parts, records))


def copies(parts: Sequence[Part], records: Sequence[Sequence[Record]]) -> list[Finding]:
    """Find images that occur again, equal or nearly so."""
    images = Images(parts, records)
    same, single = find_duplicates(images)
    return same + find_near(images, single)


def extra_files(parts: Sequence[Part]) -> list[Finding]:
    """List the files that belong to no image, once for all splits."""
    found: dict[str, Finding] = {}
    for part in parts:
        look = getattr(part.dataset, "extra_files", None)
        try:
            paths = [] if look is None else look()
        except Exception as error:
            text = f"the search for files of no image failed: {error}"
            return [Finding("bad annotation", part.split, "", text)]
        for path in paths:
            found.setdefault(str(path), Finding("extra file", part.split, str(path), "belongs to no image"))
    return list(found.values())


def summaries(parts: Sequence[Part], records: Sequence[Sequence[Record]]) -> Mapping[str, dict]:
    """Return the statistics of every split that has labels and annotations to count."""
    pairs = zip(parts, records, strict=True)
    return {part.split: summarise(part, r) for part, r in pairs if not isinstance(part.dataset, LooseFiles)}
