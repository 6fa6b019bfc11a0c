"""Show what a detector takes for what, and what each cause of errors costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.metrics.box_confusion import box_confusion
from fovea.metrics.box_errors import BACKGROUND, CAUSES, box_errors
from fovea.metrics.judged_boxes import Judged
from fovea.ops.box_pairs import Boxes
from fovea.page import confusion
from fovea.page.blocks import Block, Picture, Section, Table, Text
from fovea.tasks.detection.report_tables import figure

MEANING = {
    "classification": "well placed on an object of another class",
    "localisation": "on an object of its class, but too far off",
    "both": "on an object of another class, and too far off",
    "duplicate": "on an object of its class that a more certain detection found",
    "background": "on no object",
    "missed": "objects that no detection found, nor would if its class or place were mended",
    "false positive": "all wrong detections together",
    "false negative": "all objects that were not found",
}


def confusion_section(
    run_dir: Path, found: Boxes, true: Boxes, classes: Sequence[str], *, threshold: float, overlap: float,
    inclusive: bool,
) -> Section:  # fmt: skip
    """Draw the confusion matrix with the background, and list the most frequent errors."""
    matrix = box_confusion(
        found, true, num_classes=len(classes), threshold=max(threshold, 1e-9), overlap=overlap,
        inclusive=inclusive,
    )  # fmt: skip
    background = "background" if "background" not in classes else "no object"
    names = [*classes, background]
    title = "Confusion matrix"
    if not matrix.any():
        return Section(title, [Text("There is no object, and none was found.", "note")])
    path = confusion.draw(matrix, names, run_dir / "figures" / "confusion_matrix.png")
    scale = "; numbers: boxes." if len(names) <= confusion.MAX_COUNTED else ", on a square-root scale."
    caption = (
        f"Rows are true classes, columns predictions, of detections with a score of {threshold:g} or more. "
        f"One detection stands for one object, of whatever class, that it overlaps by {overlap:g} or more, "
        f"those that overlap most first. Last column: objects that were missed; last row: detections of the "
        f"{background}. Shade: share of the row{scale}"
    )
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [
        (names[t], names[p], n, f"{100 * shares[t, p]:.1f} %")
        for t, p, n, _ in confusion.most_confused(matrix)
    ]
    table: Block = Text("All objects are found, and nothing else.")
    if rows:
        heads = ("True class", "Predicted as", "Boxes", "Share of the row")
        table = Table(heads, rows, "The most frequent errors", "llrr")
    return Section(title, [Picture(path, title, caption), table])


def causes_section(judged: Judged) -> Section:
    """List the causes of errors with the average precision that each costs."""
    errors = box_errors(judged)
    rows = [
        (name, MEANING[name], f"{errors.number[name]:,}", figure(errors.cost(name)))
        for name in (*CAUSES, "missed", "false positive", "false negative")
    ]
    text = (
        f"The average precision at an overlap of {judged.overlap:g} is {figure(errors.ap)}. A line says "
        "how much higher it were if that kind of error alone were mended, all else as it is: the costs do "
        "not add up. A detection has one cause, at any score; too far off means an overlap of "
        f"{BACKGROUND:g} up to {judged.overlap:g}. After TIDE (Bolya et al. 2020)."
    )
    table = Table(("Error", "What it is", "Number", "Costs in AP"), rows, align="llrr")
    return Section("Causes of errors", [table, Text(text, "note")])
