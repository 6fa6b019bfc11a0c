"""The report of a detector: average precision with its interval, by class and size, then the details."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fovea.metrics.ap_bootstrap import DRAWS, LEVEL, interval, resampled_precision, resamples
from fovea.metrics.average_precision import PROTOCOLS, Precision, average_precision
from fovea.metrics.judged_boxes import judge
from fovea.ops.box_pairs import Boxes, found_boxes, true_boxes
from fovea.page.blocks import Block, Section, Table, Text
from fovea.page.formats import MISSING, counted, is_number
from fovea.reading import Unreadable
from fovea.runs.read import MOST_CLASSES, Run, read_predictions, read_run
from fovea.tasks.detection import report_curves, report_errors
from fovea.tasks.detection.report_tables import figure, short_table
from fovea.tasks.detection.view import numbered

ARRAYS = ("found", "true")


class Tested(NamedTuple):
    """What was found in the test images: N of them, numbered from 0."""

    found: Boxes
    true: Boxes
    images: int
    classes: Sequence[str]


def sections(
    run_dir: Path, *, protocol: str = "coco", threshold: float = 0.5, iou: float = 0.5
) -> list[Section]:
    """Build the detection part of a report; empty when the run made no test predictions.

    Args:
        run_dir: of the run.
        protocol: of the average precision: coco, voc07 or voc12.
        threshold: of the score, for the confusion matrix.
        iou: least overlap of a detection that is right, there and in curves and causes.
    """
    if not (arrays := read_predictions(run_dir, *ARRAYS)):
        return []
    run, rule = read_run(run_dir), PROTOCOLS[protocol]
    tested = _tested(arrays, run.classes, run_dir)
    count = len(tested.classes)
    precision = average_precision(tested.found, tested.true, num_classes=count, protocol=rule)
    judged = judge(tested.found, tested.true, num_classes=count, protocol=rule, overlap=iou)
    return [
        _overall(precision, tested),
        _per_class(precision, tested.classes),
        report_curves.section(run_dir, judged, tested.classes),
        report_errors.confusion_section(
            run_dir, tested.found, tested.true, tested.classes, threshold=threshold, overlap=iou,
            inclusive=rule.inclusive,
        ),
        report_errors.causes_section(judged),
        *_speed(run),
    ]  # fmt: skip


def _tested(arrays: dict[str, np.ndarray], known: Sequence[str], run_dir: Path) -> Tested:
    """Read the rows of test.npz; classes that the run did not name are numbered."""
    found, true = numbered(arrays)
    labels = np.concatenate([found[:, 6], true[:, 5]])
    if len(labels) and not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        path = run_dir / "predictions" / "test.npz"
        raise Unreadable(f"{path} cannot be read (it holds labels that no run has)")
    count = max(len(known), int(labels.max(initial=-1)) + 1)
    names = [*known, *(f"class {k}" for k in range(len(known), count))]
    return Tested(found_boxes(found), true_boxes(true), len(arrays["found"]), names)


def _overall(found: Precision, tested: Tested) -> Section:
    objects, classes = int(found.objects[0].sum()), int((found.objects[0] > 0).sum())
    text = (
        f"{counted(objects, 'object')} of {counted(classes, 'class')} in "
        f"{counted(tested.images, 'test image')}. "
        f"{found.protocol.words}. Means are over the classes that have objects."
    )
    at = [t for t in (0.5, 0.75) if any(np.isclose(t, x) for x in found.protocol.thresholds)]
    at = at if len(found.protocol.thresholds) > 1 else []
    heads = ["Objects", "Number", "AP", *(f"AP{round(100 * t)}" for t in at), "Recall"]
    rows = []
    for area in found.protocol.areas:
        number = int(found.objects[found.protocol.areas.index(area)].sum())
        values = [
            found.mean(area=area),
            *(found.mean(at=t, area=area) for t in at),
            found.mean_recall(area=area),
        ]
        rows.append((area, f"{number:,}", *map(figure, values)))
    table = Table(heads, rows, align="l" + "r" * (len(heads) - 1))
    return Section("Average precision", [Text(text), table, *_intervals(found, tested)])


def _intervals(found: Precision, tested: Tested) -> list[Block]:
    """Say how far AP and AP50 depend on the choice of the test images."""
    if tested.images < 2 or not found.objects[0].any():
        return []
    drawn = resampled_precision(
        tested.found, tested.true, resamples(tested.images), num_classes=len(tested.classes),
        protocol=found.protocol,
    )  # fmt: skip
    figures = [("AP", found.mean(), drawn.mean(axis=0))]
    if len(found.protocol.thresholds) > 1:
        figures.append(("AP50", found.mean(at=0.5), drawn[0]))
    rows = []
    for name, value, values in figures:
        low, high = interval(values, value)
        rows.append((name, figure(value), f"{figure(low)} – {figure(high)}"))
    text = (
        f"{100 * LEVEL:.0f} % intervals by a bootstrap over the test images ({DRAWS:,} draws, seed 0, "
        "bias-corrected): they cover the choice of the images, not what another training would give."
    )
    heads = ("Figure", "Value", f"{100 * LEVEL:.0f} % interval")
    return [Table(heads, rows, align="lrr"), Text(text, "note")]


def _per_class(found: Precision, classes: Sequence[str]) -> Section:
    objects, coco = found.objects[0], len(found.protocol.thresholds) > 1
    columns = {"AP": found.per_class()}
    if coco:
        columns |= {"AP50": found.per_class(at=0.5), "AP75": found.per_class(at=0.75)}
    columns["Recall"] = found.recall_per_class()
    rows = [
        (name, f"{int(objects[k]):,}", *(figure(values[k]) for values in columns.values()))
        for k, name in enumerate(classes)
    ]
    return Section("Scores per class", short_table(("Class", "Objects", *columns), rows, columns["AP"], "AP"))


def _speed(run: Run) -> list[Section]:
    """Say what the test stage took for one image, with and without non-maximum suppression."""
    timing = run.section("timing")
    whole, bare = timing.get("detect_ms"), timing.get("detect_without_nms_ms")
    if not is_number(whole) or not is_number(bare):
        return []
    device = run.section("environment").get("device") or MISSING
    text = (
        f"One image at batch 1 on {device}, from the normalised image to its detections, reading not "
        "counted: medians of passes in turns after a warm-up, in the test stage. Without suppression all "
        "candidates stay, and as many of them are kept at the end."
    )
    rows = [
        ("with non-maximum suppression", f"{whole:.2f}", f"{1000 / whole:.1f}" if whole else MISSING),
        ("without", f"{bare:.2f}", f"{1000 / bare:.1f}" if bare else MISSING),
    ]
    table = Table(("Detection", "ms for an image", "Images/s"), rows, align="lrr")
    return [Section("Speed", [table, Text(text, "note")])]
