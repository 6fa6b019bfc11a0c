"""Find images that occur more than once, inside a split and across splits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np

from fovea.inspect.findings import Finding
from fovea.inspect.hashes import FLAT, alike
from fovea.inspect.image import ImageRecord
from fovea.inspect.splits import SplitPart

BITS = 64
WINDOW = 64  # how many neighbours in one bucket are compared: what keeps a bucket of near-duplicates linear
DISTANCE = 4  # bits of the perceptual hash
COARSE = 32  # pixels of the shorter side below which near-duplicates mean nothing: letters, digits, icons


class DecodedImages:
    """The decoded images of all splits in one row, the training split first."""

    def __init__(self, parts: Sequence[SplitPart], records: Sequence[Sequence[ImageRecord]]) -> None:
        pairs = [(p, r) for p, found in enumerate(records) for r in found if r.size is not None]
        self.parts, self.records = parts, [record for _, record in pairs]
        self.part = np.array([p for p, _ in pairs], dtype=np.int64)  # (N,) which split

    def __len__(self) -> int:
        return len(self.records)

    def place(self, i: int) -> tuple[str, int]:
        """Return split and index of an image."""
        return self.parts[self.part[i]].split, self.records[i].index

    def name(self, i: int) -> str:
        """Name an image."""
        return self.parts[self.part[i]].name(self.records[i].index)

    def label(self, i: int) -> str | None:
        """Return the class name of an image, where it has one."""
        part, index = self.parts[self.part[i]], self.records[i].index
        labels = getattr(part.dataset, "labels", None)
        if labels is None or not 0 <= (label := int(labels[int(part.indices[index])])) < len(part.classes):
            return None
        return str(part.classes[label])

    def finding(self, kind: str, i: int, j: int, message: str) -> Finding:
        """Report image i, which has the partner j."""
        split, index = self.place(i)
        text = message.format(partner=f"{self.place(j)[0]}: {self.name(j)}")
        return Finding(kind, split, self.name(i), text, index, self.place(j))


def find_duplicates(images: DecodedImages) -> tuple[list[Finding], np.ndarray]:
    """Report equal images; return also one image of each set of equal ones (M,)."""
    groups: dict[bytes, list[int]] = {}
    for i, record in enumerate(images.records):
        groups.setdefault(record.digest, []).append(i)
    findings: list[Finding] = []
    for group in groups.values():
        for i in group[1:]:
            same = [j for j in group if j < i and images.part[j] == images.part[i]]
            kind, j = ("duplicate", same[0]) if same else ("leakage", group[0])
            findings.append(images.finding(kind, i, j, "the same pixels as {partner}"))
        findings += _conflicts(images, group)
    return findings, np.array([group[0] for group in groups.values()], dtype=np.int64)


def _conflicts(images: DecodedImages, group: Sequence[int]) -> list[Finding]:
    first = images.label(group[0]) if len(group) > 1 else None
    wrong = [i for i in group[1:] if first is not None and images.label(i) not in (None, first)]
    text = "labelled {}, but {} with the same pixels {}"
    return [
        images.finding(
            "label conflict", i, group[0], text.format(images.label(i), "{partner}", f"is {first}")
        )
        for i in wrong
    ]


def find_near(images: DecodedImages, chosen: np.ndarray) -> list[Finding]:
    """Report images among `chosen` (M,) that look like an earlier one: of their split, or of another."""
    if len(chosen) < 2:
        return []
    side = int(np.median([min(record.size) for record in images.records if record.size is not None]))
    if side < COARSE:
        text = f"the images are {side} pixels small: near-duplicates were not searched for, only equal ones"
        return [Finding("similar images", "all", "", text)]
    nearest: dict[tuple[int, bool], tuple[int, int]] = {}  # (image, across): (bits, partner)
    for i, j, bits in _confirmed(images, chosen):
        at = (j, bool(images.part[i] != images.part[j]))
        nearest[at] = min(nearest.get(at, (bits, i)), (bits, i))
    kinds = {True: "near leakage", False: "near duplicate"}
    return [
        images.finding(kinds[across], j, i, "looks like {partner}")
        for (j, across), (_, i) in sorted(nearest.items())
    ]


def _confirmed(images: DecodedImages, chosen: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (i, j, bits) of near pairs, i < j, whose thumbnails agree, also of grey and colour."""
    thumbs = np.stack([_three(images.records[i].thumbnail) for i in chosen])
    structured = thumbs.std(axis=(1, 2)).max(axis=1) >= FLAT  # flat images share hashes and are like no other
    chosen, thumbs = chosen[structured], thumbs[structured]
    hashes = np.array([images.records[i].hash for i in chosen], dtype=np.uint64)
    pairs, bits = near_pairs(hashes, distance=DISTANCE)
    keep = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), 4096):  # bounded memory, however many candidates
        block = pairs[start : start + 4096]
        keep[start : start + 4096] = alike(thumbs[block[:, 0]], thumbs[block[:, 1]])
    found = np.sort(chosen[pairs[keep]], axis=1)
    return [(int(i), int(j), int(b)) for (i, j), b in zip(found, bits[keep], strict=True)]


def _three(thumbnail: np.ndarray | None) -> np.ndarray:
    assert thumbnail is not None  # of an image with a size
    return thumbnail if thumbnail.shape[2] == 3 else np.repeat(thumbnail, 3, axis=2)


def near_pairs(hashes: np.ndarray, *, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (M, 2), i < j, of hashes (N,) uint64 up to `distance` bits apart, and how far.

    The bits are cut into distance + 2 bands; two hashes that differ in so few bits agree in two bands at
    least. Sorting by each pair of bands brings them together: N log N, and at most WINDOW comparisons a hash.
    """
    hashes = np.asarray(hashes, dtype=np.uint64)
    keys = np.zeros(0, dtype=np.int64)
    for mask in _masks(distance + 2):
        keys = np.sort(np.concatenate([keys, _in_buckets(hashes, mask, distance)]))
        keys = keys[
            np.diff(keys, prepend=-1) > 0
        ]  # np.unique hashes such numbers, which takes 50 times as long
    pairs = np.stack([keys // max(len(hashes), 1), keys % max(len(hashes), 1)], axis=1)
    return pairs, np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).astype(np.int64)


def _masks(bands: int) -> list[np.uint64]:
    edges = np.linspace(0, BITS, bands + 1).astype(int)
    parts = [((1 << int(b)) - 1) ^ ((1 << int(a)) - 1) for a, b in pairwise(edges)]
    return [np.uint64(parts[i] | parts[j]) for i, j in combinations(range(bands), 2)]


def _in_buckets(hashes: np.ndarray, mask: np.uint64, distance: int) -> np.ndarray:
    """Return the near pairs among hashes that agree under the mask, each as i · N + j."""
    order = np.lexsort((hashes, hashes & mask))
    keys, sorted_hashes = (hashes & mask)[order], hashes[order]
    at, found = np.arange(len(order)), []
    for step in range(1, WINDOW + 1):
        at = at[at + step < len(order)]
        at = at[keys[at] == keys[at + step]]  # a bucket that ends here ends for all longer steps too
        if not len(at):
            break
        near = at[np.bitwise_count(sorted_hashes[at] ^ sorted_hashes[at + step]) <= distance]
        pair = np.sort(np.stack([order[near], order[near + step]]), axis=0)
        found.append(pair[0] * len(hashes) + pair[1])
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
