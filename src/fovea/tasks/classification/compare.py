"""The part of a comparison that classifiers have: every class by itself, and where two models disagree."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.compare.types import ModelGroup, PerImageScores, Pictures, TaskTable
from fovea.files import unique_names
from fovea.page.blocks import Block, Gallery, Heading, Section, Text, encode
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail
from fovea.runs.read import Run, class_names
from fovea.tasks.classification.report import top

ORDER = (
    "Of models with several runs, an image counts as right or wrong by most of them. First comes what the "
    "two differ in most, by the mean probability of the true class."
)


class ClassComparison:
    """Compare classifiers of one label per image by accuracy."""

    metric = "acc"

    def __init__(self, *, shown: int = 8, pairs: int = 6) -> None:
        self.shown, self.pairs = shown, pairs

    def read(self, run: Run) -> PerImageScores | None:
        """Read `predictions/test.npz`; ValueError where it is damaged."""
        path = run.dir / "predictions" / "test.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                ids, target, probs = (archive[key] for key in ("ids", "target", "probs"))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read ({error})") from error
        if target.ndim != 1 or probs.ndim != 2 or not len(ids) == len(target) == len(probs):
            raise ValueError(f"{path} does not hold one label and one row of probabilities per image")
        order = np.argsort(ids, kind="stable")
        ids, target, probs = ids[order], target[order].astype(np.int64), probs[order].astype(np.float32)
        preds, row = top(probs), np.arange(len(probs))
        extra = {"preds": preds, "prob": probs.max(axis=1), "true": probs[row, target], "num": probs.shape[1]}
        return PerImageScores(ids, target, (preds == target).astype(float), extra)

    def table(self, groups: Sequence[ModelGroup]) -> TaskTable | None:
        """Return the accuracy of every class, the mean over the runs of each group."""
        known = [row for row in groups if row.scores]
        if not known or len({row.scores[0].extra["num"] for row in known}) > 1:
            return None
        first = known[0].scores[0]
        names = _names(known[0])
        counts = np.bincount(first.target, minlength=len(names))
        means = [np.mean([t.values for t in row.scores], axis=0) for row in known]
        sums = [np.bincount(first.target, weights=mean, minlength=len(names)) for mean in means]
        lines = [
            [name, int(counts[c]), *(float(s[c] / counts[c]) if counts[c] else None for s in sums)]
            for c, name in enumerate(names)
        ]
        return "Accuracy of every class", ["Class", "Images", *(row.name for row in known)], lines

    def sections(
        self, groups: Sequence[ModelGroup], base: ModelGroup, pictures: Pictures, folder: Path
    ) -> list[Section]:
        """Show test images that the baseline gets right and another model wrong, and the reverse."""
        others = [row for row in groups if row is not base and row.scores] if base.scores else []
        if not others:
            return []
        found = [(row, *disagreements(base, row)) for row in others[: self.pairs]]
        ids = base.scores[0].ids
        wanted = {str(ids[i]) for _, *both in found for part in both for i in part[: self.shown]}
        images, notes = read_pictures(pictures, sorted(wanted))
        blocks: list[Block] = [Text(line, "note") for line in (ORDER, *notes)]
        for row, right, wrong in found:
            blocks += self._pair(base, row, right, images, folder)
            blocks += self._pair(row, base, wrong, images, folder)
        if len(others) > self.pairs:
            blocks.append(Text(f"{len(others) - self.pairs} more models are not shown here.", "note"))
        return [Section("Where they disagree", blocks)]

    def _pair(
        self,
        good: ModelGroup,
        bad: ModelGroup,
        which: np.ndarray,
        images: dict[str, np.ndarray],
        folder: Path,
    ) -> list[Block]:
        share = f"{len(which):,} of {len(good.scores[0].ids):,} test images"
        title = f"{good.name} right, {bad.name} wrong: {share}"
        if not len(which):
            return [Text(f"{good.name} right, {bad.name} wrong: no image.", "note")]
        lines = {int(i): _lines(good, bad, int(i)) for i in which[: self.shown]}
        return [Heading(title), *gallery(good, bad, lines, images=images, folder=folder, ok=False)]


def gallery(
    good: ModelGroup,
    bad: ModelGroup,
    lines: Mapping[int, list[str]],
    *,
    images: Mapping[str, np.ndarray],
    folder: Path,
    ok: bool | None = None,
) -> list[Block]:
    """Show images of a test set, by their places in it, with a few lines below each; also as a sheet."""
    items, tiles = [], []
    for i, said in lines.items():
        name = str(good.scores[0].ids[i])
        if name in images:
            small = thumbnail(images[name])
            items.append((*encode(small), said, name))
            tiles.append(annotate(small, said, ok=ok))
    if not items:
        return []
    (file,) = unique_names([f"{good.name} right {bad.name} wrong.png"])
    sheet(folder / file.replace(" ", "_").replace(",", ""), tiles, columns=len(lines))
    return [Gallery(items)]


def read_pictures(pictures: Pictures, ids: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the pictures that there are; say why others are missing."""
    try:
        images = pictures(ids) if ids else {}
    except Exception as error:  # data that are elsewhere, or that cannot be read
        said = " ".join(str(error).split())
        return {}, [f"The pictures cannot be shown, since the data cannot be read: {said}"]
    if len(images) < len(ids):
        return images, [f"{len(ids) - len(images)} pictures are not in the data set any more."]
    return images, []


def disagreements(base: ModelGroup, other: ModelGroup) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that only `base` gets right and those that only `other` does, the clearest first."""
    share = [np.mean([t.values for t in row.scores], axis=0) for row in (base, other)]
    sure = [np.mean([t.extra["true"] for t in row.scores], axis=0) for row in (base, other)]
    gap = np.nan_to_num(sure[0] - sure[1])
    halves = [(share[i] > 0.5) & (share[1 - i] < 0.5) for i in (0, 1)]
    only = [np.flatnonzero(half) for half in halves]
    return only[0][np.argsort(-gap[only[0]], kind="stable")], only[1][np.argsort(gap[only[1]], kind="stable")]


def _lines(good: ModelGroup, bad: ModelGroup, i: int) -> list[str]:
    """Say what was answered instead of what."""
    names = _names(good)
    guesses = [t.extra for t in bad.scores if t.values[i] == 0]
    guess = int(guesses[0]["preds"][i])
    said = names[guess] if 0 <= guess < len(names) else "nothing"
    return [
        f"true: {names[good.scores[0].target[i]]}",
        f"taken for {said}, {float(guesses[0]['prob'][i]):.2f}",
    ]


def _names(row: ModelGroup) -> list[str]:
    return class_names(row.runs[0].classes, row.scores[0].extra["num"])
