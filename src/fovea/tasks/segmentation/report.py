"""Report a segmentation net: scores of every class and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.page import confusion
from fovea.page.blocks import Block, Picture, Section, Table, Text
from fovea.page.formats import MISSING
from fovea.runs.read import class_names, read_predictions, read_run
from fovea.tasks.segmentation import scores as mask_scores

ARRAYS = ("ids", "score", "right", "found", "target", "total_confusion")
SHORT = 20  # classes; of more the table shows the weakest first


def sections(run_dir: Path) -> list[Section]:
    """Build the segmentation part of a report; empty when the run made no test predictions."""
    if not (arrays := read_predictions(run_dir, *ARRAYS)):
        return []
    matrix = arrays["total_confusion"]
    if not matrix.sum():
        return [Section("Test predictions", [Text("Every pixel of the test images is ignored.", "note")])]
    classes = class_names(read_run(run_dir).classes, arrays["right"].shape[1])
    return [_classes(arrays, classes), _confusion(run_dir, matrix, classes)]


def _classes(arrays: Mapping[str, np.ndarray], classes: Sequence[str]) -> Section:
    counts = mask_scores.summed(arrays)
    iou, dice, total = mask_scores.iou(counts), mask_scores.dice(counts), max(int(counts["target"].sum()), 1)
    images = (arrays["target"] > 0).sum(axis=0)
    rows = [
        (name, _three(iou[c]), _three(dice[c]), _percent(counts["target"][c] / total),
         _percent(counts["found"][c] / total), int(images[c]))
        for c, name in enumerate(classes)
    ]  # fmt: skip
    low, middle, high = np.nanpercentile(arrays["score"], [5, 50, 95])
    right = counts["right"].sum() / total
    text = (
        f"Mean IoU {mask_scores.mean(iou):.4f} and mean Dice {mask_scores.mean(dice):.4f} over the classes, "
        f"counted over the pixels of all {len(arrays['ids']):,} test images together; {100 * right:.1f} % of "
        f"the pixels are correct. Per image, the median of the mean IoU is {middle:.3f}; it lies between "
        f"{low:.3f} and {high:.3f} for nine images in ten."
    )
    blocks: list[Block] = [Text(text)]
    if len(classes) > SHORT:
        rows = [rows[c] for c in np.argsort(iou, kind="stable")]
    headers = ("Class", "IoU", "Dice", "Pixels", "Predicted", "Images")
    blocks.append(Table(headers, rows, align="lrrrrr"))
    if absent := [name for name, value in zip(classes, iou, strict=True) if np.isnan(value)]:
        note = "In neither the ground truth nor any prediction, so left out of the means"
        blocks.append(Text(f"{note}: {', '.join(absent)}.", "note"))
    return Section("Scores per class", blocks)


def _confusion(run_dir: Path, matrix: np.ndarray, classes: Sequence[str]) -> Section:
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    path = run_dir / "figures" / "confusion_matrix.png"
    confusion.draw(np.rint(shares).astype(np.int64), classes, path)
    counted = len(classes) <= confusion.MAX_COUNTED
    scale = "; numbers: percent." if counted else ", on a square-root scale."
    caption = f"Rows are true classes, columns predictions. Shade: share of the true class's pixels{scale}"
    total = matrix.sum()
    rows = [
        (classes[t], classes[p], f"{100 * share:.1f} %", f"{100 * count / total:.2f} %")
        for t, p, count, share in confusion.most_confused(matrix)
    ]
    headers = ("True class", "Predicted as", "Share of the class", "Share of all pixels")
    return Section(
        "Confusion",
        [
            Picture(path, "Confusion matrix", caption),
            Table(headers, rows, "The most frequent errors", "llrr")
            if rows
            else Text("All pixels are correct."),
        ],
    )


def _three(value: float) -> str:
    return f"{MISSING} absent" if np.isnan(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
