"""Take the colours of pictures one by one and leave a folder of coloured pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.files import unique_names
from fovea.page.formats import middle
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail
from fovea.page.text_table import text_table
from fovea.predict.writer import remove_earlier
from fovea.tasks.colorization.report import without_colour

SHEET = 40  # pictures on the contact sheet at most
TILE = 200  # pixels of each half
LISTED = 40  # pictures in the printed table
BAND = 1_000_000  # pixels that are coloured at a time


class ColourPredictions:
    """Write every picture coloured at its own size, their colourfulness and a contact sheet.

    `coloured/<name>.png` keeps the lightness of the picture to the pixel. Memory holds one picture and the
    contact sheet.
    """

    def __init__(
        self,
        *,
        out_dir: Path,
        paths: Sequence[str],
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        top_k: int = 5,
        failures_only: bool = False,
        pictures: bool = True,
    ) -> None:
        if failures_only:
            raise ValueError("failures_only=true is for one class per image; colours are not right or wrong")
        self.out_dir, self.pictures = Path(out_dir), pictures
        self._names = dict(zip(paths, unique_names(paths), strict=True))
        self._rows: list[tuple[str, float]] = []
        self._tiles: list[np.ndarray] = []
        remove_earlier(self.out_dir, "coloured")

    def add(self, path: str, image: np.ndarray, output: np.ndarray, target: int | None) -> None:
        """Take one picture uint8 (H, W, 3) with its a and b (2, h, w), of any size."""
        import torch
        from PIL import Image

        from fovea.metrics.colour import colourfulness

        coloured = colour(image, output)
        vivid = colourfulness(torch.from_numpy(coloured).permute(2, 0, 1)[None] / 255)
        self._rows.append((path, float(vivid)))
        (self.out_dir / "coloured").mkdir(parents=True, exist_ok=True)
        Image.fromarray(coloured).save(self.out_dir / "coloured" / self._names[path], compress_level=4)
        if self.pictures and len(self._tiles) < SHEET:
            small = thumbnail(coloured, side=TILE)
            both = np.concatenate([without_colour(small), small], axis=1)
            self._tiles.append(annotate(both, [Path(path).name]))

    def finish(self) -> str:
        """Write the table and the sheet; return what to print."""
        file = self.out_dir / "predictions.csv"
        self.out_dir.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["path", "picture", "colourfulness"])
            for path, vivid in self._rows:
                writer.writerow([path, f"coloured/{self._names[path]}", f"{vivid:.6g}"])
        if self._tiles:
            sheet(self.out_dir / "predictions.png", self._tiles, columns=3)
        rows = [(middle(path, width=56), f"{vivid:.1f}") for path, vivid in self._rows]
        lines = [text_table(rows[:LISTED], ["image", "colourfulness"], align="lr")] if rows else []
        if len(rows) > LISTED:
            lines.append(f"… and {len(rows) - LISTED} more, all in predictions.csv")
        return "\n".join([*lines, str(file)])


def colour(image: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Give a picture (H, W, 3) uint8 the colours ab (2, h, w), which are enlarged to its size."""
    import torch

    from fovea.ops.lab import lab_to_rgb, lightness

    if ab.ndim != 3 or ab.shape[0] != 2:
        raise ValueError(f"expected a and b (2, h, w), got {ab.shape}: set report.infer as the task does")
    colours = torch.from_numpy(np.ascontiguousarray(ab))[None].float()
    if tuple(ab.shape[1:]) != image.shape[:2]:
        colours = torch.nn.functional.interpolate(colours, image.shape[:2], mode="bilinear", antialias=True)
    rows, out = max(1, BAND // image.shape[1]), np.empty_like(image)
    for top in range(0, len(image), rows):
        x = torch.from_numpy(image[top : top + rows].copy()).permute(2, 0, 1)[None].float() / 255
        lab = torch.cat([lightness(x), colours[:, :, top : top + rows]], dim=1)
        out[top : top + rows] = (lab_to_rgb(lab)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    return out
