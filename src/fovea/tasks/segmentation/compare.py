"""The part of a comparison that segmentation has: every class by itself, and where two models differ most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.compare.types import ModelGroup, PerImageScores, Pictures, TaskTable
from fovea.page.blocks import Block, Heading, Section, Text
from fovea.runs.read import Run, class_names
from fovea.tasks.classification.compare import gallery, read_pictures
from fovea.tasks.segmentation import scores as mask_scores

MUCH = 0.1  # of mean IoU, from which on a picture is worth a look
MEANT = (
    "The paired tests are about image_iou: the mean IoU over the classes of one image, averaged over images. "
    "test/iou counts the pixels of all images together, so that the two differ. Below a picture: the IoU of "
    "the better and of the worse model, over its classes and of the class that makes most of the "
    "difference; false: a class that is not there."
)


class MaskComparison:
    """Compare segmentation nets by the mean IoU of each image."""

    metric = "image_iou"

    def __init__(self, *, shown: int = 8, pairs: int = 6) -> None:
        self.shown, self.pairs = shown, pairs

    def read(self, run: Run) -> PerImageScores | None:
        """Read `predictions/test.npz`; images of which no pixel counts are left out."""
        path = run.dir / "predictions" / "test.npz"
        if not path.is_file():
            return None
        arrays = mask_scores.read_counts(path)
        order = np.argsort(arrays["ids"], kind="stable")
        arrays = {key: arrays[key][order] for key in ("ids", "right", "found", "truth")}
        each = mask_scores.iou(arrays)  # (N, K)
        values = mask_scores.mean(each)
        kept = ~np.isnan(values)
        extra = {"iou": each[kept], "counts": mask_scores.summed(arrays)}
        return PerImageScores(arrays["ids"][kept], arrays["truth"][kept], values[kept], extra)

    def table(self, groups: Sequence[ModelGroup]) -> TaskTable | None:
        """Return the IoU of every class over the pixels of all images, the mean over each group's runs."""
        known = [row for row in groups if row.scores]
        if not known or len({row.scores[0].target.shape[1] for row in known}) > 1:
            return None
        truth = known[0].scores[0].extra["counts"]["truth"]
        scores = [np.mean([mask_scores.iou(t.extra["counts"]) for t in row.scores], axis=0) for row in known]
        shares = [f"{100 * share:.2f} %" for share in truth / max(truth.sum(), 1)]
        lines = [
            [name, shares[c], *(None if np.isnan(score[c]) else float(score[c]) for score in scores)]
            for c, name in enumerate(_names(known[0]))
        ]
        return "IoU of every class", ["Class", "Pixels", *(row.name for row in known)], lines

    def sections(
        self, groups: Sequence[ModelGroup], base: ModelGroup, pictures: Pictures, folder: Path
    ) -> list[Section]:
        """Show the test images where the baseline is much better than another model, and the reverse."""
        others = [row for row in groups if row is not base and row.scores] if base.scores else []
        if not others:
            return []
        pairs = [pair for row in others[: self.pairs] for pair in ((base, row), (row, base))]
        found = [(good, bad, _clearest(good, bad)) for good, bad in pairs]
        ids = base.scores[0].ids
        wanted = {str(ids[i]) for *_, which in found for i in which[: self.shown]}
        images, notes = read_pictures(pictures, sorted(wanted))
        blocks: list[Block] = [Text(line, "note") for line in (MEANT, *notes)]
        for good, bad, which in found:
            blocks += self._pair(good, bad, which, images, folder)
        if len(others) > self.pairs:
            blocks.append(Text(f"{len(others) - self.pairs} more models are not shown here.", "note"))
        return [Section("Where they differ most", blocks)]

    def _pair(
        self,
        good: ModelGroup,
        bad: ModelGroup,
        which: np.ndarray,
        images: dict[str, np.ndarray],
        folder: Path,
    ) -> list[Block]:
        ids, title = good.scores[0].ids, f"{good.name} better than {bad.name} by {MUCH:g} or more"
        if not len(which):
            return [Text(f"{title}: no image.", "note")]
        heading = Heading(f"{title}: {len(which):,} of {len(ids):,} test images")
        lines = {int(i): _lines(good, bad, int(i)) for i in which[: self.shown]}
        return [heading, *gallery(good, bad, lines, images=images, folder=folder)]


def _clearest(good: ModelGroup, bad: ModelGroup) -> np.ndarray:
    """Return the images in which `good` is much better, the clearest first."""
    share = [np.mean([t.values for t in row.scores], axis=0) for row in (good, bad)]
    gaps = share[0] - share[1]
    which = np.flatnonzero(gaps >= MUCH)
    return which[np.argsort(-gaps[which], kind="stable")]


def _lines(good: ModelGroup, bad: ModelGroup, i: int) -> list[str]:
    """Say both scores of an image, and those of the class that the worse model loses most by."""
    scores = [np.mean([t.values[i] for t in row.scores]) for row in (good, bad)]
    each = [
        np.mean([np.nan_to_num(t.extra["iou"][i], nan=1.0) for t in row.scores], axis=0)
        for row in (good, bad)
    ]
    lost = int(np.argmax(each[0] - each[1]))
    name, there = _names(good)[lost], good.scores[0].target[i, lost] > 0
    found = f"{name} {each[0][lost]:.2f} / {each[1][lost]:.2f}" if there else f"false: {name}"
    return [f"IoU {scores[0]:.2f} / {scores[1]:.2f}", found]


def _names(row: ModelGroup) -> list[str]:
    return class_names(row.runs[0].classes, row.scores[0].target.shape[1])
