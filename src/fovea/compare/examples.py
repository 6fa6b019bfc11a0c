"""Compare the answers of models to the same test images: score by score, and where two differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea import errors
from fovea.compare.figures import own_figure
from fovea.compare.types import ModelGroup, PerImageScores, Pictures, TaskTable
from fovea.files import unique_names
from fovea.metrics.ap_bootstrap import resamples
from fovea.page.blocks import Block, Gallery, Heading, Section, Text, encode
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail
from fovea.runs.read import Run, read_predictions
from fovea.types import Resampled, TaskView


class PairedExamples:
    """Compares the answers of runs to their test images, scored by the task's view.

    Args:
        view: of the task.
        metric: that ranks the models; the paired tests compare it where the view can resample it.
        shown: images for each pair of models, in each direction.
        pairs: models that are shown beside the baseline.
    """

    def __init__(self, view: TaskView, *, metric: str = "", shown: int = 8, pairs: int = 6) -> None:
        self.view, self.shown, self.pairs = view, shown, pairs
        self.whole = metric if metric in view.wholes else None
        self.metric = view.score if self.whole is None else self.whole

    def read(self, run: Run) -> PerImageScores | None:
        """Read `predictions/test.npz`, without images that have no score; None where there is none.

        Raises:
            ValueError: the file is damaged, does not hold a score for each image, or none is a number.
        """
        if not (found := read_predictions(run.dir)):
            return None
        path = run.dir / "predictions" / "test.npz"
        counts = {values.shape[:1] for key, values in found.items() if not key.startswith("total_")}
        if {"ids", "score", "target"} - found.keys() or len(counts) != 1 or () in counts:
            raise ValueError(f"{path} does not hold one score and one target for each image")
        if found["score"].ndim != 1 or found["ids"].ndim != 1 or found["score"].dtype.kind != "f":
            raise ValueError(f"{path} does not hold one number as the score of each image")
        order = np.argsort(found["ids"], kind="stable")
        order = order[~np.isnan(found["score"][order])]
        if not len(order):
            raise ValueError(f"{path} holds no image with a score")
        arrays = {k: values if k.startswith("total_") else values[order] for k, values in found.items()}
        try:
            self.view.table(arrays)
            whole = None if self.whole is None else self._resampled(self.whole, arrays)
        except (TypeError, ValueError, IndexError, KeyError) as error:  # of arrays of other types or shapes
            raise ValueError(f"{path} does not hold what a run of this task keeps ({error})") from None
        return PerImageScores(arrays["ids"], arrays["target"], arrays["score"].astype(float), arrays, whole)

    def _resampled(self, metric: str, arrays: Mapping[str, np.ndarray]) -> Resampled:
        """Return a metric of all images together in the same resamples for every run."""
        return self.view.resample(metric, arrays, resamples(len(arrays["ids"])))

    def table(self, groups: Sequence[ModelGroup]) -> TaskTable | None:
        """Return (title, names of the columns, lines) of the task's own scores, means over the runs."""
        known = [group for group in groups if group.scores]
        found = [[self.view.table(one.extra) for one in group.scores] for group in known]
        tables = [table for some in found for table in some if table is not None]
        if not tables or len({len(table.lines) for table in tables}) > 1:
            return None
        scores = [np.mean([table.scores for table in some if table is not None], axis=0) for some in found]
        first = tables[0]
        lines = [
            [*line, *(None if np.isnan(score[i]) else float(score[i]) for score in scores)]
            for i, line in enumerate(first.lines)
        ]
        return first.title, [*first.heads, *(group.name for group in known)], lines

    def sections(
        self, groups: Sequence[ModelGroup], base: ModelGroup, pictures: Pictures, folder: Path
    ) -> list[Section]:
        """Show the test images on which the baseline does better than another model, and the reverse."""
        others = [group for group in groups if group is not base and group.scores] if base.scores else []
        if not others:
            return []
        pairs = [pair for group in others[: self.pairs] for pair in ((base, group), (group, base))]
        found = [(good, bad, clearest(good, bad, margin=self.view.margin)) for good, bad in pairs]
        ids = base.scores[0].ids
        images, notes = _read(
            pictures, sorted({str(ids[i]) for *_, which in found for i in which[: self.shown]})
        )
        blocks: list[Block] = [Text(line, "note") for line in (self.view.about, *notes) if line]
        for good, bad, which in found:
            blocks += self._pair(good, bad, which, images, folder)
        if len(others) > self.pairs:
            blocks.append(Text(f"{len(others) - self.pairs} more models are not shown here.", "note"))
        return [Section("Largest disagreements", blocks)]

    def _pair(
        self,
        good: ModelGroup,
        bad: ModelGroup,
        which: np.ndarray,
        images: Mapping[str, np.ndarray],
        folder: Path,
    ) -> list[Block]:
        title = self.view.contrast.format(good=good.name, bad=bad.name, margin=self.view.margin)
        if not len(which):
            return [Text(f"{title}: no image.", "note")]
        items, tiles = [], []
        for i in which[: self.shown].tolist():
            name = str(good.scores[0].ids[i])
            if name in images:
                small, lines = thumbnail(images[name]), self.view.differ(_typical(good, i), _typical(bad, i))
                items.append((*encode(small), lines, name))
                tiles.append(annotate(small, lines))
        heading = Heading(f"{title}: {len(which):,} of {len(good.scores[0].ids):,} test images")
        if not items:
            return [heading]
        (file,) = unique_names([f"{good.name} right {bad.name} wrong.png"])
        path = own_figure(folder, file.replace(" ", "_").replace(",", ""))
        sheet(path, tiles, columns=len(tiles))
        return [heading, Gallery(items)]


def clearest(good: ModelGroup, bad: ModelGroup, *, margin: float) -> np.ndarray:
    """Return the images that `good` answers better, in the median over runs; the clearest come first."""
    gap = _median(good) - _median(bad)
    finer = [
        np.mean([t.extra.get("tie_break", t.values) for t in group.scores], axis=0) for group in (good, bad)
    ]
    which = np.flatnonzero(gap >= margin)
    return which[np.lexsort((-np.nan_to_num(finer[0] - finer[1])[which], -gap[which]))]


def _median(group: ModelGroup) -> np.ndarray:
    return np.median([one.values for one in group.scores], axis=0)


def _typical(group: ModelGroup, i: int) -> dict[str, Any]:
    """Return the rows of an image from the run with its most usual score."""
    middle = _median(group)[i]
    one = min(group.scores, key=lambda t: abs(t.values[i] - middle))
    return {key: values[i] for key, values in one.extra.items() if not key.startswith("total_")}


def _read(pictures: Pictures, ids: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the pictures that there are; say why others are missing."""
    try:
        images = pictures(ids) if ids else {}
    except Exception as error:  # data that are elsewhere, or that cannot be read
        reason = " ".join(errors.explain(error).split())
        return {}, [f"The pictures cannot be shown, since the data cannot be read: {reason}"]
    missing = len(ids) - len(images)
    return images, [f"{missing} pictures are not in the data set any more."] if missing else []
