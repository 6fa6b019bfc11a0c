"""Count and draw the confusion matrix of two classes or of hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.formats import shorten
from fovea.page.label import drawable
from fovea.page.plots import INK, SOFT, new_figure, panel, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAX_COUNTED = 15  # beyond it the counts do not fit their cells
MAX_NAMED = 40


def confusion_matrix(target: np.ndarray, preds: np.ndarray, num_classes: int) -> np.ndarray:
    """Count (true, predicted) pairs, (C, C) int64; a prediction outside the classes counts nowhere."""
    keep = (preds >= 0) & (preds < num_classes)
    pairs = target[keep].astype(np.int64) * num_classes + preds[keep].astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(matrix: np.ndarray, *, limit: int = 10) -> list[tuple[int, int, int, float]]:
    """List the most frequent confusions as (true, predicted, count, share of the true class)."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(matrix)) for cell in order]
    support = matrix.sum(axis=1)
    return [(t, p, int(wrong[t, p]), float(wrong[t, p] / support[t])) for t, p in pairs if wrong[t, p] > 0]


def draw(matrix: np.ndarray, classes: Sequence[str], path: Path) -> Path:
    """Write the matrix, each row shaded by its share of the true class; with counts when they fit."""
    count = len(matrix)
    names = [shorten(drawable(name), width=18) for name in classes]
    size = min(max(0.55 * count, 1.6), 5.0) if count <= MAX_COUNTED else 5.6
    named = count <= MAX_NAMED
    letters = 0.0072 * _size(names) * max(map(len, names)) if named else 0.2
    left, bottom = 0.5 + letters, 0.5 + (0.12 if _flat(names) else letters)
    figure = new_figure(
        width=left + size + (0.15 if count <= MAX_COUNTED else 0.9), height=bottom + size + 0.1
    )
    axes = panel(figure, left=left, bottom=bottom, width=size, height=size)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = _shade(axes, shares, gamma=1.0 if count <= MAX_COUNTED else 0.5)
    if count <= MAX_COUNTED:
        _write_counts(axes, matrix, shares)
    else:
        _scale(figure, image, left=left + size + 0.2, bottom=bottom, height=size)
    if named:
        _name(axes, names)
    axes.set_xlabel("predicted", fontsize=9, color=INK)
    axes.set_ylabel("true", fontsize=9, color=INK)
    axes.xaxis.set_label_coords(0.5, -(bottom - 0.25) / size)
    axes.yaxis.set_label_coords(-(left - 0.2) / size, 0.5)
    return save(figure, path)


def _shade(axes: Axes, shares: np.ndarray, *, gamma: float) -> AxesImage:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    blues = LinearSegmentedColormap.from_list("fovea", ["#ffffff", "#a9c6e3", "#0b5394", "#062b4d"])
    axes.spines[["top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set_color("#b8bec4")
    return axes.imshow(
        shares, cmap=blues, norm=PowerNorm(gamma, 0.0, 1.0), interpolation="nearest", aspect="auto"
    )


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = 9 if len(matrix) <= 10 else 7.5
    for row, column in np.argwhere(matrix):
        color = "white" if shares[row, column] > 0.45 else INK
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=size, color=color)


def _scale(figure: Figure, image: AxesImage, *, left: float, bottom: float, height: float) -> None:
    axes = panel(figure, left=left, bottom=bottom, width=0.14, height=height)
    bar = figure.colorbar(image, cax=axes, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=SOFT, length=0)


def _name(axes: Axes, names: Sequence[str]) -> None:
    places = range(len(names))
    style: dict[str, Any] = {"fontsize": _size(names), "color": SOFT, "parse_math": False}
    axes.set_xticks(places, names, rotation=0 if _flat(names) else 90, **style)
    axes.set_yticks(places, names, **style)


def _size(names: Sequence[str]) -> float:
    return 8.5 if len(names) <= MAX_COUNTED else 6.5


def _flat(names: Sequence[str]) -> bool:
    return len(names) <= MAX_COUNTED and max(map(len, names)) <= 5
