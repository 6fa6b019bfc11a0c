"""Report whether a classifier is right as often as it says."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.metrics.significance import wilson
from fovea.page.blocks import Block, Fold, Picture, Section, Table, Text
from fovea.page.formats import MISSING
from fovea.runs.read import class_names, read_run
from fovea.tasks.classification.reliability import FEW, Reliability, draw, reliability

CAPTION = (
    "Points: the accuracy of the test images in each range of confidence (the probability of the likeliest "
    f"class), with its 95 % interval; faint where there are fewer than {FEW} images. Coloured: the gap to "
    "their mean confidence. On the dashed line a classifier is right as often as it says. Below: how many "
    "images have this confidence."
)
SHORT = 20  # classes; a longer table is folded


def sections(run_dir: Path) -> list[Section]:
    """Build the part on calibration; empty without test predictions that can be read."""
    run_dir = Path(run_dir)
    try:
        with np.load(run_dir / "predictions" / "test.npz", allow_pickle=False) as archive:
            target, probs = archive["target"], archive["probs"].astype(np.float32)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return []  # the part before this one says so
    known = ~np.isnan(probs).any(axis=1)
    target, probs = target[known], probs[known]
    if not len(probs):
        return []
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == target
    found = reliability(confidence, correct)
    intervals = [wilson(round(a * n), int(n)) if n else (0.0, 0.0) for a, n in _hits(found)]
    path = draw(found, run_dir / "figures" / "reliability.png", intervals=intervals)
    classes = class_names(read_run(run_dir).classes, probs.shape[1])
    table = _table(target, correct, confidence, classes)
    blocks: list[Block] = [Text(_summary(found)), Picture(path, "Reliability diagram", CAPTION), table]
    return [Section("Calibration", blocks)]


def _hits(found: Reliability) -> list[tuple[float, int]]:
    return list(zip(np.nan_to_num(found.accuracy).tolist(), found.images.tolist(), strict=True))


def _summary(found: Reliability) -> str:
    accuracy, confidence = found.mean
    gap = confidence - accuracy
    lean = "surer than it is right" if gap > 0 else "less sure than it is right"
    return (
        f"Expected calibration error {found.ece:.4f}, over {len(found.images)} ranges of confidence. The "
        f"mean confidence is {confidence:.4f}, the accuracy {accuracy:.4f}: on the whole the classifier is "
        f"{lean}, by {100 * abs(gap):.1f} points."
    )


def _table(target: np.ndarray, correct: np.ndarray, confidence: np.ndarray, classes: Sequence[str]) -> Block:
    """Compare accuracy and mean confidence of the images of each class."""
    images = np.bincount(target, minlength=len(classes))
    with np.errstate(invalid="ignore"):
        hits, sure = (
            np.bincount(target, x.astype(float), len(classes)) / images for x in (correct, confidence)
        )
    rows = [
        (name, *map(_three, (a, c)), _signed(c - a), int(n))
        for name, a, c, n in zip(classes, hits, sure, images, strict=True)
    ]
    caption = "Test images by their true class"
    table = Table(("Class", "Accuracy", "Confidence", "Gap", "Test images"), rows, caption, "lrrrr")
    return table if len(classes) <= SHORT else Fold(f"All {len(classes)} classes", [table])


def _three(value: float) -> str:
    return MISSING if np.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return MISSING if np.isnan(value) else f"{value:+.3f}".replace("-", "−")
