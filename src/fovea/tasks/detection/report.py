"""The report of a detector: average precision by class, overlap and size, and precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.metrics.average_precision import Precision
from fovea.metrics.detection import measure
from fovea.page.blocks import Section, Table, Text
from fovea.page.formats import MISSING, counted
from fovea.runs.read import read_predictions, read_run
from fovea.tasks.detection.view import numbered

ARRAYS = ("found", "true")


def sections(run_dir: Path, *, protocol: str = "coco") -> list[Section]:
    """Build the detection part of a report; empty when the run made no test predictions."""
    if not (arrays := read_predictions(run_dir, *ARRAYS)):
        return []
    classes = read_run(run_dir).classes
    found, true = numbered(arrays)
    precision = measure(found, true, num_classes=len(classes), protocol=protocol)
    return [_overall(precision, len(arrays["found"])), _per_class(precision, classes)]


def _overall(found: Precision, images: int) -> Section:
    objects, classes = int(found.objects[0].sum()), int((found.objects[0] > 0).sum())
    text = (
        f"{counted(objects, 'object')} of {counted(classes, 'class')} in {counted(images, 'test image')}. "
        f"{found.protocol.words}. Means are over the classes that have objects."
    )
    at = [t for t in (0.5, 0.75) if any(np.isclose(t, x) for x in found.protocol.thresholds)]
    heads = ["Objects", "Number", "AP", *(f"AP{round(100 * t)}" for t in at), "Recall"]
    rows = []
    for area in found.protocol.areas:
        number = int(found.objects[found.protocol.areas.index(area)].sum())
        values = [
            found.mean(area=area),
            *(found.mean(at=t, area=area) for t in at),
            found.mean_recall(area=area),
        ]
        rows.append((area, f"{number:,}", *map(_number, values)))
    return Section("Average precision", [Text(text), Table(heads, rows, align="l" + "r" * (len(heads) - 1))])


def _per_class(found: Precision, classes: Sequence[str]) -> Section:
    objects, coco = found.objects[0], len(found.protocol.thresholds) > 1
    columns = {"AP": found.per_class()}
    if coco:
        columns |= {"AP50": found.per_class(at=0.5), "AP75": found.per_class(at=0.75)}
    columns["Recall"] = found.recall_per_class()
    rows = [
        (name, f"{int(objects[k]):,}", *(_number(values[k]) for values in columns.values()))
        for k, name in enumerate(classes)
    ]
    heads = ("Class", "Objects", *columns)
    return Section("Scores per class", [Table(heads, rows, align="l" + "r" * (len(heads) - 1))])


def _number(value: float) -> str:
    return MISSING if np.isnan(value) else f"{value:.3f}"
