"""Take class maps one by one and leave a folder of masks."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.files import unique_names
from fovea.page.formats import middle
from fovea.page.label import annotate, sheet, thumbnail
from fovea.page.palette import colours, has_background, legend, overlay, stretched
from fovea.page.text_table import text_table
from fovea.predict.writer import bounded, remove_earlier
from fovea.types import IGNORE

SHEET = 40  # pictures on the contact sheet at most
TILE = 200  # pixels of each
NAMED = 3  # classes below a picture
LISTED = 40  # images in the printed table


class MaskPredictions:
    """Write a mask for every image, an overlay, the share of each class and a contact sheet.

    `masks/<name>.png` has the image's own size: a palette image whose indices are the classes. Memory holds
    one image and the contact sheet.
    """

    def __init__(
        self,
        *,
        out_dir: Path,
        paths: Sequence[str],
        classes: Sequence[str],
        labelling: Mapping[str, Any] | None = None,
        top_k: int = 5,
        failures_only: bool = False,
        pictures: bool = True,
    ) -> None:
        if failures_only:
            raise ValueError("failures_only=true is for one class per image; masks have a class per pixel")
        self.out_dir, self.classes, self.pictures = Path(out_dir), list(classes), pictures
        self.table = colours((labelling or {}).get("palette"))
        self.background = has_background(self.classes)
        self._names = dict(zip(paths, unique_names(paths), strict=True))
        self._rows: list[tuple[str, np.ndarray]] = []
        self._tiles: list[np.ndarray] = []
        remove_earlier(self.out_dir, "annotated", "masks")

    def add(self, path: str, image: np.ndarray, output: np.ndarray, target: int | None) -> None:
        """Take one image uint8 (H, W, 3) with the class of each pixel uint8 (H, W)."""
        from PIL import Image

        if output.shape != image.shape[:2]:
            raise ValueError(f"{path}: the mask is {output.shape}, the image {image.shape[:2]}")
        counts = np.bincount(output.ravel(), minlength=len(self.classes))
        self._rows.append((path, counts / output.size))
        mask = Image.fromarray(output.astype(np.uint8))
        mask.putpalette(self.table.ravel().tolist())
        _folder(self.out_dir / "masks")
        mask.save(self.out_dir / "masks" / self._names[path])
        if self.pictures:
            self._draw(path, image, output)

    def finish(self) -> str:
        """Write the table and the sheet; return what to print."""
        file = self.out_dir / "predictions.csv"
        _folder(self.out_dir)
        with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["path", "mask", *self.classes])
            for path, shares in self._rows:
                writer.writerow([path, f"masks/{self._names[path]}", *(f"{s:.6g}" for s in shares)])
        if self._tiles:
            sheet(self.out_dir / "predictions.png", self._tiles)
        rows = [(middle(path, width=56), ", ".join(self._lines(shares))) for path, shares in self._rows]
        lines = [text_table(rows[:LISTED], ["image", "share of the pixels"], align="ll")] if rows else []
        if len(rows) > LISTED:
            lines.append(f"… and {len(rows) - LISTED} more, all in predictions.csv")
        return "\n".join([*lines, str(file)])

    def _lines(self, shares: np.ndarray) -> list[str]:
        """Name the largest classes with their shares; background only where nothing else is found."""
        order = [c for c in np.argsort(-shares, kind="stable").tolist() if shares[c] > 0]
        if self.background and len(order) > 1:
            order = [c for c in order if c]
        return [f"{self.classes[c]} {100 * shares[c]:.1f} %" for c in order[:NAMED]]

    def _draw(self, path: str, image: np.ndarray, mask: np.ndarray) -> None:
        from PIL import Image

        _folder(self.out_dir / "annotated")
        drawn = self._overlay(bounded(image), mask)
        present = [c for c in np.unique(mask).tolist() if c < IGNORE]
        names = legend(present, self.classes, self.table, width=max(drawn.shape[1], TILE))
        canvas = Image.new("RGB", (names.shape[1], drawn.shape[0] + names.shape[0]), "white")
        canvas.paste(Image.fromarray(drawn), ((names.shape[1] - drawn.shape[1]) // 2, 0))
        canvas.paste(Image.fromarray(names), (0, drawn.shape[0]))
        canvas.save(self.out_dir / "annotated" / self._names[path], compress_level=4)
        if len(self._tiles) < SHEET:
            self._tiles.append(
                annotate(self._overlay(thumbnail(image, side=TILE), mask), self._lines(self._rows[-1][1]))
            )

    def _overlay(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return overlay(image, stretched(mask, image.shape), self.table, background=self.background)


def _folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
