"""Write what `predict` found: a CSV file, a text table, annotated images and a contact sheet."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fovea.files import unique_names
from fovea.page.formats import MISSING, middle, shorten
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail, to_rgb
from fovea.page.text_table import text_table

__all__ = [
    "Prediction",
    "annotate",
    "bounded",
    "prediction_table",
    "write_annotated",
    "write_predictions",
]

log = logging.getLogger(__name__)

MAX_SIDE = 1280  # pixels of an annotated image
MAX_TILES = 60  # of the contact sheet


@dataclass(frozen=True)
class Prediction:
    """One classified image: probabilities (C,) and, where known, the true class."""

    path: str
    probs: np.ndarray
    target: int | None = None

    def top(self, k: int) -> list[tuple[int, float]]:
        """Return the k most probable classes, the first one first on ties."""
        order = np.argsort(-self.probs, kind="stable")[:k]
        return [(int(index), float(self.probs[index])) for index in order]

    @property
    def correct(self) -> bool | None:
        """Tell whether the first class is the true one; None where that is not known."""
        return None if self.target is None else self.top(1)[0][0] == self.target

    def lines(self, classes: Sequence[str]) -> list[str]:
        """Say the prediction in one line, and the true class in a second where it is another."""
        index, probability = self.top(1)[0]
        lines = [f"{classes[index]}  {probability:.3f}"]
        return (
            [*lines, f"true: {classes[self.target]}"]
            if self.target is not None and not self.correct
            else lines
        )


def write_predictions(
    out_dir: Path, rows: Sequence[Prediction], classes: Sequence[str], *, top_k: int = 5
) -> Path:
    r"""Write `predictions.csv`, UTF-8: path, predicted, probability, true, correct, then ranks 2 to `top_k`.

    Fields are quoted as needed, so a comma or a line break in a path survives; bytes of a file name that are
    not text are written as `\udc..` escapes.
    """
    path = Path(out_dir) / "predictions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    ranks = range(2, min(top_k, len(classes)) + 1)
    extra = [name for rank in ranks for name in (f"top{rank}", f"top{rank}_probability")]
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "predicted", "probability", "true", "correct", *extra])
        for row in rows:
            first, *rest = [(classes[index], f"{value:.6g}") for index, value in row.top(max(top_k, 1))]
            truth = ["", ""] if row.target is None else [classes[row.target], str(row.correct).lower()]
            writer.writerow([row.path, *first, *truth, *(cell for pair in rest for cell in pair)])
    return path


def prediction_table(rows: Sequence[Prediction], classes: Sequence[str], *, limit: int = 40) -> str:
    """Lay predictions out for a terminal; long paths lose their middle."""
    known = any(row.target is not None for row in rows)
    lines = []
    for row in rows[:limit]:
        index, probability = row.top(1)[0]
        truth = MISSING if row.target is None else shorten(classes[row.target], width=28)
        cells = (middle(row.path, width=56), shorten(classes[index], width=28), f"{probability:.3f}", truth)
        lines.append(cells if known else cells[:3])
    headers = ("image", "predicted", "probability", "true")
    table = text_table(lines, headers if known else headers[:3], align="llrl" if known else "llr")
    more = len(rows) - limit
    return f"{table}\n… and {more} more, all in predictions.csv" if more > 0 else table


def write_annotated(
    out_dir: Path, rows: Sequence[Prediction], images: Iterable[np.ndarray], classes: Sequence[str]
) -> list[Path]:
    """Write one annotated PNG per image and the contact sheet `predictions.png`; images uint8 (H, W, C)."""
    from PIL import Image

    out_dir = Path(out_dir)
    tiles: list[np.ndarray] = []
    paths: list[Path] = []
    (out_dir / "annotated").mkdir(parents=True, exist_ok=True)
    for row, image, name in zip(rows, images, unique_names([row.path for row in rows]), strict=True):
        drawn = annotate(bounded(image), row.lines(classes), ok=row.correct)
        paths.append(out_dir / "annotated" / name)
        Image.fromarray(drawn).save(paths[-1], compress_level=4)
        if len(tiles) < MAX_TILES:
            tiles.append(annotate(thumbnail(image, side=200), row.lines(classes), ok=row.correct))
    if len(rows) > len(tiles):
        log.info("predictions.png shows the first %d of %d images", len(tiles), len(rows))
    if tiles:
        sheet(out_dir / "predictions.png", tiles)
    return paths


def bounded(image: np.ndarray) -> np.ndarray:
    """Shrink an image to at most MAX_SIDE pixels."""
    from PIL import Image

    picture = Image.fromarray(to_rgb(image))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def remove_earlier(out_dir: Path, *folders: str) -> None:
    """Delete what an earlier call predicted, so that none of it seems to belong to this one."""
    if (out_dir / "predictions.csv").is_file():
        for pattern in (*(f"{folder}/*.png" for folder in folders), "predictions.*"):
            for old in out_dir.glob(pattern):
                old.unlink()
