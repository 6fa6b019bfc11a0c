"""Report how well a classifier is calibrated: whether it is right as often as it is confident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.metrics.significance import wilson
from fovea.page.blocks import Block, Fold, Picture, Section, Table, Text
from fovea.page.formats import MISSING
from fovea.page.plots import HELD_OUT, INK, new_figure, panel, save
from fovea.runs.answers import read_answers
from fovea.runs.read import read_run
from fovea.tasks.classification.report import SHORT, three

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 15
FEW = 10  # images; what fewer say is drawn faintly
OVER, UNDER, PALE_OVER, PALE_UNDER = "#b5500f", "#2c7a5a", "#f0b98f", "#9ed3bb"
SIDE, STRIP, LEFT, BELOW, GAP, TITLE = 3.9, 0.9, 0.62, 0.5, 0.42, 0.34  # inches
CAPTION = (
    "Points: the accuracy of the test images in each bin of confidence (the probability of the predicted "
    f"class), with its 95 % interval; faint where there are fewer than {FEW} images. Coloured: the gap to "
    "their mean confidence. On the dashed line a classifier is perfectly calibrated. Below: how many "
    "images have this confidence."
)


@dataclass(frozen=True)
class Reliability:
    """Confidence and correctness in bins of equal width, (n,) each; NaN where a bin has no image."""

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error (Guo et al. 2017)."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gaps * self.images).sum() / max(self.images.sum(), 1))

    @property
    def mean(self) -> tuple[float, float]:
        """The accuracy and the mean confidence of all images."""
        share = self.images / max(self.images.sum(), 1)
        accuracy, confidence = (np.nansum(share * x) for x in (self.accuracy, self.confidence))
        return float(accuracy), float(confidence)


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Count (N,) confidences and hits in the bins (0, 1/n], (1/n, 2/n], … of `CalibrationError`."""
    place = np.clip(np.ceil(confidence.astype(np.float32) * np.float32(bins)).astype(int), 1, bins) - 1
    images = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, x.astype(np.float64), bins) / images for x in (confidence, correct)]
    return Reliability(images, *means)


def sections(run_dir: Path) -> list[Section]:
    """Build the part on calibration; empty when the run made no test predictions."""
    if (answers := read_answers(run_dir, read_run(run_dir).classes)) is None:
        return []
    known = answers.predicted >= 0
    if not known.any():
        return []
    target, confidence = answers.target[known], answers.confidence[known]
    correct = answers.predicted[known] == target
    found = reliability(confidence, correct)
    intervals = [
        wilson(round(a * n), n) if n else (0.0, 0.0)
        for a, n in zip(np.nan_to_num(found.accuracy).tolist(), found.images.tolist(), strict=True)
    ]
    path = draw(found, run_dir / "figures" / "reliability.png", intervals=intervals)
    table = _table(target, correct, confidence, answers.classes)
    blocks: list[Block] = [Text(_summary(found)), Picture(path, "Reliability diagram", CAPTION), table]
    return [Section("Calibration", blocks)]


def _summary(reliability: Reliability) -> str:
    accuracy, confidence = reliability.mean
    gap = confidence - accuracy
    lean = "overconfident" if gap > 0 else "underconfident"
    return (
        f"Expected calibration error {reliability.ece:.4f}, over {len(reliability.images)} bins of "
        f"confidence. The mean confidence is {confidence:.4f}, the accuracy {accuracy:.4f}: on average, the "
        f"classifier is {lean}, by {100 * abs(gap):.1f} percentage points."
    )


def _table(target: np.ndarray, correct: np.ndarray, confidence: np.ndarray, classes: Sequence[str]) -> Block:
    """Compare accuracy and mean confidence of the images of each class."""
    images = np.bincount(target, minlength=len(classes))
    with np.errstate(invalid="ignore"):
        hits, sure = (
            np.bincount(target, x.astype(float), len(classes)) / images for x in (correct, confidence)
        )
    rows = [
        (name, *map(three, (a, c)), _signed(c - a), int(n))
        for name, a, c, n in zip(classes, hits, sure, images, strict=True)
    ]
    caption = "Calibration per true class"
    table = Table(("Class", "Accuracy", "Confidence", "Gap", "Test images"), rows, caption, "lrrrr")
    return table if len(classes) <= SHORT else Fold(f"All {len(classes)} classes", [table])


def _signed(value: float) -> str:
    return MISSING if np.isnan(value) else f"{value:+.3f}".replace("-", "−")


def draw(reliability: Reliability, path: Path, *, intervals: Sequence[tuple[float, float]]) -> Path:
    """Write the diagram, and below it where the images are; `intervals` are those of the accuracies."""
    raised = BELOW + STRIP + GAP
    figure = new_figure(width=LEFT + SIDE + 0.2, height=raised + SIDE + TITLE)
    lower = panel(figure, left=LEFT, bottom=BELOW, width=SIDE, height=STRIP)
    upper = panel(figure, left=LEFT, bottom=raised, width=SIDE, height=SIDE)
    _reliability(upper, reliability, intervals)
    _histogram(lower, reliability)
    accuracy, confidence = reliability.mean
    _line(
        upper, [(f"ECE {reliability.ece:.3f}", INK), ("■ overconfident", OVER), ("■ underconfident", UNDER)]
    )
    _line(lower, [(f"│ accuracy {accuracy:.3f}", HELD_OUT), (f"│ mean confidence {confidence:.3f}", OVER)])
    return save(figure, path)


def _reliability(axes: Axes, reliability: Reliability, intervals: Sequence[tuple[float, float]]) -> None:
    edges = np.linspace(0, 1, len(reliability.images) + 1)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    for i in np.flatnonzero(reliability.images).tolist():
        confidence, accuracy, few = (
            reliability.confidence[i],
            reliability.accuracy[i],
            reliability.images[i] < FEW,
        )
        style: dict[str, Any] = {"width": edges[1] * 0.92, "align": "edge", "alpha": 0.45 if few else 1.0}
        low, high = sorted((confidence, accuracy))
        axes.bar(edges[i], low, color="#c3d8ed", zorder=1, **style)
        pale = PALE_OVER if confidence > accuracy else PALE_UNDER
        axes.bar(edges[i], high - low, bottom=low, color=pale, zorder=2, **style)
        ink: dict[str, Any] = {"color": HELD_OUT, "alpha": style["alpha"], "clip_on": False}
        middle = edges[i] + edges[1] * 0.46
        axes.plot([middle, middle], intervals[i], linewidth=1.1, zorder=4, **ink)
        axes.plot(middle, accuracy, "o", markersize=4.2, zorder=5, **ink)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=np.arange(0, 1.01, 0.2), yticks=np.arange(0, 1.01, 0.2))
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    axes.tick_params(labelbottom=False)
    axes.grid(color="#e3e6e9", linewidth=0.6)
    axes.set_axisbelow(True)


def _histogram(axes: Axes, reliability: Reliability) -> None:
    edges = np.linspace(0, 1, len(reliability.images) + 1)
    share = 100 * reliability.images / max(reliability.images.sum(), 1)
    axes.bar(edges[:-1], share, edges[1] * 0.92, align="edge", color="#c4cad1", zorder=1)
    for value, color in zip(reliability.mean, (HELD_OUT, OVER), strict=True):
        axes.axvline(value, color=color, linewidth=1.3, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, None), xticks=np.arange(0, 1.01, 0.2))
    axes.locator_params(axis="y", nbins=3)
    axes.set_xlabel("confidence", fontsize=9, color=INK)
    axes.set_ylabel("% of images", fontsize=9, color=INK)


def _line(axes: Axes, words: Sequence[tuple[str, str]]) -> None:
    """Write a legend over the axes, where no bar can be: one from the left, the others from the right."""
    style: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "fontsize": 8.5}
    text, color = words[0]
    weight = "bold" if color == INK else "normal"
    axes.annotate(text, (0, 1), (0, 7), "axes fraction", color=color, weight=weight, **style)
    end = 0.0
    for text, color in reversed(words[1:]):
        axes.annotate(text, (1, 1), (-end, 7), "axes fraction", color=color, ha="right", **style)
        end += 4.9 * len(text) + 8
