"""Show precision over recall, and F1 over the threshold of the score, of every class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.metrics.box_curves import AtThresholds, PrecisionRecall, at_thresholds, precision_recall
from fovea.metrics.judged_boxes import Judged
from fovea.page.blocks import Picture, Section, Text
from fovea.page.formats import MISSING
from fovea.page.plots import (
    INK,
    SOFT,
    dress,
    legend_beside,
    new_figure,
    panel,
    plot_text,
    save,
    style,
)
from fovea.tasks.detection.report_tables import figure, short_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 12  # classes that have colours and names of their own
POINTS = 500  # of a drawn curve


def section(run_dir: Path, judged: Judged, classes: Sequence[str]) -> Section:
    """Draw both curves of each class, and list the threshold with the best F1."""
    curves, at = precision_recall(judged), at_thresholds(judged)
    title = "Precision, recall and thresholds"
    if not any(curves):
        return Section(title, [Text("There is no object in the test images.", "note")])
    path = _draw(run_dir / "figures" / "precision_recall.png", curves, at, classes)
    caption = (
        f"A detection is right from an overlap of {judged.overlap:g}. Left: as the threshold falls, recall "
        "grows and precision changes. Right: F1 = 2TP / (2TP + FP + FN) of what a threshold keeps; black: "
        "the mean over the classes."
    )
    note = (
        "The threshold at which F1 is highest, the lowest of equal ones, in steps of 0.001; “all classes” is "
        "that of the highest mean F1. They were found on these test images: for figures that you report, "
        "choose a threshold on validation images."
    )
    heads = ("Class", "Best threshold", "F1", "Precision", "Recall")
    best = [at.best(f1) for f1 in at.f1]
    scores = np.array([np.nan if i is None else at.f1[k, i] for k, i in enumerate(best)])
    rows = [_row(name, at, k, best[k]) for k, name in enumerate(classes)]
    table = short_table(heads, [_mean_row(at), *rows], scores, "F1", first=1)
    return Section(title, [Picture(path, "Precision over recall and F1 over the threshold", caption), *table,
                           Text(note, "note")])  # fmt: skip


def _row(name: str, at: AtThresholds, k: int, i: int | None) -> tuple[str, ...]:
    if i is None:
        nothing = MISSING if np.isnan(at.f1[k, 0]) else figure(0.0)
        return name, MISSING, nothing, MISSING, nothing
    return name, f"{at.thresholds[i]:.3f}", *(figure(v[k, i]) for v in (at.f1, at.precision, at.recall))


def _mean_row(at: AtThresholds) -> tuple[str, ...]:
    mean = at.mean_f1
    if (i := at.best(mean)) is None:
        return "all classes", MISSING, figure(0.0), MISSING, figure(0.0)
    means = (float(np.nanmean(values[:, i])) for values in (at.precision, at.recall))
    return "all classes", f"{at.thresholds[i]:.3f}", figure(mean[i]), *map(figure, means)


def _draw(
    path: Path, curves: Sequence[PrecisionRecall | None], at: AtThresholds, classes: Sequence[str]
) -> Path:
    drawing = new_figure(width=8.6, height=3.1)
    left, right = (panel(drawing, left=x, bottom=0.5, width=2.75, height=2.2) for x in (0.55, 3.95))
    known = [(k, curve) for k, curve in enumerate(curves) if curve is not None]
    for place, (k, curve) in enumerate(known):
        many = len(known) > NAMED
        colour, dashes = (SOFT, "-") if many else style(place)
        options: dict[str, Any] = {
            "color": colour,
            "ls": dashes,
            "lw": 0.5 if many else 1.2,
            "alpha": 0.5 if many else 1.0,
        }
        recall, precision = _thinned(curve)
        left.plot(recall, precision, **options)
        name = plot_text(classes[k], width=18)
        right.plot(at.thresholds, at.f1[k], **options, label="" if many else f" {name}")
    right.plot(at.thresholds, at.mean_f1, color=INK, lw=2.0, label=" all classes")
    _axes(left, "Precision over recall", "recall", "precision")
    _axes(right, "F1 over the threshold", "threshold of the score", "F1")
    legend_beside(right)
    return save(drawing, path)


def _thinned(curve: PrecisionRecall) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve with few points, from recall 0 on; what falls at the end falls to precision 0."""
    if not len(curve.recall):
        return np.zeros(2), np.array([1.0, 0.0])
    chosen = np.unique(np.linspace(0, len(curve.recall) - 1, POINTS).astype(int))
    recall, precision = curve.recall[chosen], curve.precision[chosen]
    return np.r_[0.0, recall, recall[-1]], np.r_[precision[0], precision, 0.0]


def _axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x, fontsize=8, color=SOFT)
    axes.set_ylabel(y, fontsize=8, color=SOFT)
    dress(axes, title, grid="both")
