"""Report a segmentation net: every class by itself, what is taken for what, the best and worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.page import confusion
from fovea.page.annotations import colours
from fovea.page.blocks import Block, Picture, Section, Table, Text
from fovea.page.formats import MISSING
from fovea.runs.read import class_names, read_run
from fovea.tasks.segmentation import scores as mask_scores
from fovea.tasks.segmentation.figure import draw

SHORT = 20  # classes; of more the table shows the weakest first
TITLES = {"worst": "Worst images", "best": "Best images"}


def sections(run_dir: Path) -> list[Section]:
    """Build the segmentation part of a report; empty when the run made no test predictions."""
    run_dir = Path(run_dir)
    path = run_dir / "predictions" / "test.npz"
    if not path.is_file():
        return []
    try:
        arrays = mask_scores.read_counts(path)
    except ValueError as error:
        return [Section("Test predictions", [Text(str(error), "note")])]
    if not arrays["confusion"].sum():
        return [Section("Test predictions", [Text("No pixel of the test images counts.", "note")])]
    classes = class_names(read_run(run_dir).classes, arrays["right"].shape[1])
    found = [_classes(arrays, classes), _confusion(run_dir, arrays["confusion"], classes)]
    return [*found, *_pictures(run_dir, classes, colours(arrays["palette"]))]


def _classes(arrays: Mapping[str, np.ndarray], classes: Sequence[str]) -> Section:
    counts = mask_scores.summed(arrays)
    iou, dice, total = mask_scores.iou(counts), mask_scores.dice(counts), max(int(counts["truth"].sum()), 1)
    images = (arrays["truth"] > 0).sum(axis=0)
    rows = [
        (name, _three(iou[c]), _three(dice[c]), _percent(counts["truth"][c] / total),
         _percent(counts["found"][c] / total), int(images[c]))
        for c, name in enumerate(classes)
    ]  # fmt: skip
    each = mask_scores.mean(mask_scores.iou(arrays))
    per_image = each[~np.isnan(each)]
    right = float(np.trace(arrays["confusion"]) / arrays["confusion"].sum())
    low, middle, high = np.percentile(per_image, [5, 50, 95])
    text = (
        f"Mean IoU {mask_scores.mean(iou):.4f} and mean Dice {mask_scores.mean(dice):.4f} over the classes, "
        f"counted over the pixels of all {len(arrays['ids']):,} test images together; {100 * right:.1f} % of "
        f"the pixels are right. Image by image the mean IoU is {middle:.3f} in the middle and between "
        f"{low:.3f} and {high:.3f} for nine images in ten."
    )
    blocks: list[Block] = [Text(text)]
    if len(classes) > SHORT:
        rows = [rows[c] for c in np.argsort(iou, kind="stable")]
    headers = ("Class", "IoU", "Dice", "Pixels", "Predicted", "Images")
    blocks.append(Table(headers, rows, align="lrrrrr"))
    if absent := [name for name, value in zip(classes, iou, strict=True) if np.isnan(value)]:
        blocks.append(
            Text(
                f"In neither the truth nor any prediction, so left out of the means: {', '.join(absent)}.",
                "note",
            )
        )
    return Section("Every class", blocks)


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
    headers = ("True class", "Taken for", "Of the class", "Of all pixels")
    return Section(
        "Confusion",
        [
            Picture(path, "Confusion matrix", caption),
            Table(headers, rows, "Where the most pixels go wrong", "llrr")
            if rows
            else Text("No pixel is wrong."),
        ],
    )


def _pictures(run_dir: Path, classes: Sequence[str], table: np.ndarray) -> list[Section]:
    """Show image, truth, prediction and errors of the worst and of the best images."""
    path = run_dir / "predictions" / "masks.npz"
    if not path.is_file():
        return []
    keys = [f"{name}_{key}" for name in TITLES for key in ("image", "truth", "preds", "ids", "iou")]
    try:
        arrays = mask_scores.read(path, *keys)
    except ValueError as error:
        return [Section("Worst and best images", [Text(str(error), "note")])]
    found = []
    for name, title in TITLES.items():
        some = {key: arrays[f"{name}_{key}"] for key in ("image", "truth", "preds", "ids", "iou")}
        if not len(some["ids"]):
            continue
        figure = draw(some, classes, table, run_dir / "figures" / f"masks_{name}.png")
        caption = (
            "Image, truth, prediction, and the pixels that are wrong in red; white pixels do not count. "
            "Above: the mean IoU over the classes of that image."
        )
        found.append(Section(title, [Picture(figure, title, caption)]))
    return found


def _three(value: float) -> str:
    return f"{MISSING} absent" if np.isnan(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
