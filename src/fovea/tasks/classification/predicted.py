"""Take the outputs of a classifier one by one and leave a folder of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.files import unique_names
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail
from fovea.predict.writer import (
    Prediction,
    bounded,
    prediction_table,
    remove_earlier,
    write_predictions,
)

SHEET = 40  # pictures on the contact sheet at most
TILE = 200  # pixels of each


class ClassPredictions:
    """Write `predictions.csv`, one annotated picture per image and a contact sheet; memory stays bounded."""

    def __init__(
        self,
        *,
        out_dir: Path,
        paths: Sequence[str],
        classes: Sequence[str],
        labelling: Mapping[str, Any] | None = None,  # what a sink is told of masks and captions
        top_k: int = 5,
        failures_only: bool = False,
        pictures: bool = True,
    ) -> None:
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be at least 1")
        self.out_dir, self.classes, self.top_k = Path(out_dir), list(classes), top_k
        self.failures_only, self.pictures = failures_only, pictures
        self._names = dict(zip(paths, unique_names(paths), strict=True))
        self._rows: list[Prediction] = []
        self._tiles: list[np.ndarray] = []
        self._seen = 0
        remove_earlier(self.out_dir, "annotated")

    def add(self, path: str, image: np.ndarray, output: np.ndarray, target: int | None) -> None:
        """Take one image uint8 (H, W, 3) with its logits (C,)."""
        self._seen += 1
        exp = np.exp(output - output.max())
        row = Prediction(path, exp / exp.sum(), target)
        if self.failures_only and row.correct is not False:
            return
        self._rows.append(row)
        if self.pictures:
            self._draw(row, image)

    def finish(self) -> str:
        """Write the table and the sheet; return what to print."""
        file = write_predictions(self.out_dir, self._rows, self.classes, top_k=self.top_k)
        if self._tiles:
            sheet(self.out_dir / "predictions.png", self._tiles)
        known = [row.correct for row in self._rows if row.correct is not None]
        lines = [prediction_table(self._rows, self.classes)] if self._rows else []
        if self.failures_only:
            lines.append(f"{len(self._rows)} of {self._seen} images are classified wrongly")
        elif known:
            share = sum(known) / len(known)
            lines.append(f"{sum(known)} of {len(known)} images with a known class are right ({share:.1%})")
        return "\n".join([*lines, str(file)])

    def _draw(self, row: Prediction, image: np.ndarray) -> None:
        from PIL import Image

        tile = annotate(bounded(image), row.lines(self.classes), ok=row.correct)
        folder = self.out_dir / "annotated"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(folder / self._names[row.path], compress_level=4)
        if len(self._tiles) < SHEET:
            small = thumbnail(image, side=TILE)
            self._tiles.append(annotate(small, row.lines(self.classes), ok=row.correct))
