"""The report of a localisation: how right labels and boxes are together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.metrics.significance import wilson
from fovea.page.blocks import Section, Table, Text
from fovea.page.formats import MISSING
from fovea.runs.read import read_predictions, read_run

ARRAYS = ("ids", "score", "target", "predicted", "confidence", "true_box", "box")
BANDS = (0.0, 0.25, 0.5, 0.75)  # of the IoU; the last goes to 1


def sections(run_dir: Path) -> list[Section]:
    """Build the localisation part of a report; empty when the run made no test predictions."""
    if not (arrays := read_predictions(run_dir, *ARRAYS)):
        return []
    classes = read_run(run_dir).classes
    right, score, target = arrays["predicted"] == arrays["target"], arrays["score"], arrays["target"]
    known = ~np.isnan(score)
    return [_errors(right[known], score[known]), _per_class(right, score, target, classes)]


def _errors(right: np.ndarray, score: np.ndarray) -> Section:
    band = np.searchsorted(BANDS, score, side="right") - 1
    rows = []
    for name, chosen in (("label right", right), ("label wrong", ~right), ("together", right | ~right)):
        counts = np.bincount(band[chosen], minlength=len(BANDS))
        shares = [f"{n:,} ({100 * n / max(len(score), 1):.1f} %)" for n in counts.tolist()]
        rows.append((name, *shares, f"{int(chosen.sum()):,}"))
    ends = (*BANDS[1:], 1.0)
    heads = [f"IoU {low:g} to {high:g}" for low, high in zip(BANDS, ends, strict=True)]
    both, images = int((right & (score >= 0.5)).sum()), len(score)
    text = "No test image has a box."
    if images:
        low, high = wilson(both, images)
        text = (
            f"Of {images:,} test images with a box, {both:,} have the right label and a box with an IoU of "
            f"0.5 or more: {both / images:.4f}, 95 % interval {low:.4f} to {high:.4f}. The mean IoU is "
            f"{score.mean():.4f}."
        )
    return Section("Label and box", [Text(text), Table(("", *heads, "Images"), rows, align="lrrrrr")])


def _per_class(right: np.ndarray, score: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> Section:
    rows = []
    for number, name in enumerate(classes):
        mine = target == number
        boxes = score[mine][~np.isnan(score[mine])]
        values = (right[mine].mean(), boxes.mean(), (boxes >= 0.5).mean()) if len(boxes) else ()
        shown = [f"{value:.3f}" for value in values] or [MISSING] * 3
        rows.append((name, *shown, f"{int(mine.sum()):,}"))
    heads = ("Class", "Label accuracy", "Mean IoU", "IoU of 0.5 or more", "Test images")
    return Section("Scores per class", [Table(heads, rows, align="lrrrr")])
