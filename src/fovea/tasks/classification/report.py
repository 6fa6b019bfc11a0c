"""Report a classifier: accuracy, confusion, and every class by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fovea.metrics.significance import wilson
from fovea.page import confusion
from fovea.page.blocks import Block, Fold, Picture, Section, Table, Text
from fovea.page.formats import MISSING
from fovea.runs.answers import read_answers
from fovea.runs.read import read_run

SHORT = 20  # classes; a longer table is folded and its weakest rows shown


@dataclass(frozen=True)
class PerClass:
    """Scores of every class, (C,) each; NaN where a score is undefined."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    predicted: np.ndarray


def per_class(target: np.ndarray, preds: np.ndarray, num_classes: int) -> PerClass:
    """Compute precision, recall and F1 = 2TP / (2TP + FP + FN) of each class.

    Everything about a class without a test image is NaN, and so is the precision of one never predicted.
    """
    matrix = confusion.confusion_matrix(target, preds, num_classes)
    hits, predicted = np.diag(matrix).astype(float), matrix.sum(axis=0)
    support = np.bincount(target.astype(np.int64), minlength=num_classes)
    seen = support > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen, hits / predicted, np.nan)
        recall = np.where(seen, hits / support, np.nan)
        f1 = np.where(seen, 2 * hits / (predicted + support), np.nan)
    return PerClass(precision, recall, f1, support, predicted)


def sections(run_dir: Path) -> list[Section]:
    """Build the classification part of a report; empty when the run made no test predictions."""
    if (answers := read_answers(run_dir, read_run(run_dir).classes)) is None:
        return []
    target, preds, _, classes = answers
    if not len(target):
        return [Section("Test predictions", [Text("The test set has no images.", "note")])]
    matrix = confusion.confusion_matrix(target, preds, len(classes))
    return [
        _overview(target, preds, classes),
        _confusion(run_dir, matrix, classes),
        _per_class(target, preds, classes),
    ]


def _overview(target: np.ndarray, preds: np.ndarray, classes: Sequence[str]) -> Section:
    correct, total = int((target == preds).sum()), len(target)
    low, high = wilson(correct, total)
    counts = np.bincount(target, minlength=len(classes))
    equal = f"any one of the {len(classes)} classes, which are equally frequent,"
    most = f"“{classes[int(counts.argmax())]}”, the most frequent class,"
    common = equal if (counts == counts[0]).all() else most
    text = (
        f"{correct:,} of {total:,} test images are classified correctly: accuracy {correct / total:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f}. Always predicting {common} would give "
        f"{counts.max() / total:.4f}."
    )
    blocks: list[Block] = [Text(text)]
    if lost := int((preds < 0).sum()):
        blocks.append(Text(f"{lost:,} predictions are NaN; they count as wrong.", "error"))
    return Section("Test set", blocks)


def _confusion(run_dir: Path, matrix: np.ndarray, classes: Sequence[str]) -> Section:
    path = confusion.draw(matrix, classes, run_dir / "figures" / "confusion_matrix.png")
    counted = len(classes) <= confusion.MAX_COUNTED
    caption = "Rows are true classes, columns predictions. Shade: share of the true class" + (
        "; numbers: test images."
        if counted
        else ", on a square-root scale; classes in the order of the table below."
    )
    blocks: list[Block] = [Picture(path, "Confusion matrix", caption)]
    pairs = confusion.most_confused(matrix)
    rows = [(classes[t], classes[p], count, f"{100 * share:.1f} %") for t, p, count, share in pairs]
    headers = ("True class", "Predicted as", "Images", "Share of the class")
    blocks.append(
        Table(headers, rows, "The most frequent errors", "llrr")
        if rows
        else Text("All test images are classified correctly.")
    )
    return Section("Confusion matrix", blocks)


def _per_class(target: np.ndarray, preds: np.ndarray, classes: Sequence[str]) -> Section:
    scores = per_class(target, preds, len(classes))
    headers = ("Class", "Precision", "Recall", "F1", "Test images", "Predicted")
    columns = [[three(value) for value in column] for column in (scores.precision, scores.recall, scores.f1)]
    counts = (scores.support.tolist(), scores.predicted.tolist())
    rows = list(zip(classes, *columns, *counts, strict=True))
    counted = int((scores.support + scores.predicted > 0).sum())  # as metrics.macro_f1 does
    macro = three(np.nansum(scores.f1) / counted)
    mean = f"Mean F1 over the {counted} classes that are true or predicted: {macro}."
    if len(classes) <= SHORT:
        return Section("Scores per class", [Table(headers, rows, align="lrrrrr"), Text(mean, "note")])
    weakest = [rows[index] for index in np.argsort(scores.f1, kind="stable")[:10]]
    fold = Fold(f"All {len(classes)} classes", [Table(headers, rows, align="lrrrrr")])
    return Section(
        "Scores per class",
        [Table(headers, weakest, "The ten weakest by F1", "lrrrrr"), fold, Text(mean, "note")],
    )


def three(value: float) -> str:
    """Write a score with three decimals, NaN as missing."""
    return MISSING if np.isnan(value) else f"{value:.3f}"
