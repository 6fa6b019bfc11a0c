"""Write predictions: a CSV file, a text table, annotated images and a contact sheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.files import append, own_folder, printable, remove_written, replacing, unique_names, write_text
from fovea.page.formats import counted, middle, no_formula
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail, to_rgb
from fovea.page.text_table import text_table
from fovea.types import TaskView

LIST = ".predict_files"  # what a call wrote, so that the next one removes just that
MAX_SIDE = 1280  # pixels of an annotated image
QUALITY = 90  # of its JPEG
SHEET = 40  # images on the contact sheet at most
TILE = 200  # pixels of each
LISTED = 40  # images in the printed table


class PredictionWriter:
    """Take the outputs for images one by one and leave a folder of predictions.

    predictions.csv has the lines of each image, written at once; `annotated/` some images with their answers,
    spread over all; predictions.png the first of these; and the view's folder what is a picture itself.
    Memory holds one image, the small pictures of the sheet and the lines of the printed table.

    Args:
        pictures: how many annotated images are written at most; None for all.

    Raises:
        ValueError: `failures_only`, of a task whose answers are not right or wrong.
    """

    def __init__(
        self,
        view: TaskView,
        *,
        out_dir: Path,
        paths: Sequence[str],
        failures_only: bool = False,
        pictures: int | None = None,
    ) -> None:
        self.judged = "correct" in view.columns
        if failures_only and not self.judged:
            raise ValueError("failures_only=true is for one class per image: no answer is wrong here")
        self.view, self.out_dir = view, Path(out_dir)
        self.failures_only, self.file = failures_only, self.out_dir / "predictions.csv"
        self._most = len(paths) if pictures is None else pictures
        self._every = 1 if failures_only else math.ceil(len(paths) / max(self._most, 1))
        self._names = dict(zip(paths, unique_names(paths, suffix=""), strict=True))
        self._listed: list[tuple[str, str]] = []
        self._tiles: list[np.ndarray] = []
        self._seen = self._written = self._known = self._right = self._drawn = 0
        self._replace_earlier()
        write_text(self.file, _line(["path", *([view.folder[0]] if view.folder else []), *view.columns]))

    def add(self, path: str, image: np.ndarray, output: np.ndarray, label: int | None) -> None:
        """Add one image uint8 (H, W, 3) with the output of the net or of the view's `infer`."""
        answer, truth = self.view.decode(output, image), label if self.judged else None
        rows = self.view.rows(answer, truth)
        correct = None if rows[0].get("correct") is None else bool(rows[0]["correct"])
        self._seen += 1
        self._known += correct is not None
        self._right += correct is True
        if self.failures_only and correct is not False:
            return
        lines = self.view.lines(answer, truth)
        if self.view.folder:
            picture = self.view.picture(answer)
            with replacing(self._own(f"{self.view.folder[1]}/{self._names[path]}.png")) as draft:
                picture.save(draft, "png", compress_level=4)
        self._list(path, rows, lines)
        if (self._seen - 1) % self._every == 0 and self._drawn < self._most:
            self._draw(path, image, answer, lines, correct)

    @property
    def seen(self) -> int:
        """How many images were added."""
        return self._seen

    def finish(self) -> str:
        """Draw the sheet; return what to print."""
        if self._tiles:
            wide = self._tiles[0].shape[1] > 1.5 * TILE
            sheet(self.out_dir / "predictions.png", self._tiles, columns=3 if wide else 5)
        lines = [text_table(self._listed, ["image", "prediction"], align="ll")] if self._listed else []
        if self._written > LISTED:
            lines.append(f"… and {self._written - LISTED} more, all in predictions.csv")
        if self.failures_only:
            lines.append(f"{self._written} of {self._seen} images are classified wrongly")
        elif self._known:
            share = 100 * self._right / self._known
            right = f"{self._right} of {self._known} images with a known class"
            lines.append(f"{right} are classified correctly ({share:.1f} %)")
        if 0 < self._drawn < self._written:
            drawn = counted(self._drawn, "image")
            lines.append(f"{drawn} drawn in {self.out_dir / 'annotated'}; annotate=all draws all")
        return "\n".join([*lines, str(self.file)])

    def _list(self, path: str, rows: Sequence[dict[str, object]], lines: Sequence[str]) -> None:
        own = [f"{self.view.folder[1]}/{self._names[path]}.png"] if self.view.folder else []
        cells = [[path, *own, *(_cell(row.get(name)) for name in self.view.columns)] for row in rows]
        append(self.file, printable("".join(map(_line, cells))))
        self._written += 1
        if len(self._listed) < LISTED:
            self._listed.append((middle(path, width=56), ", ".join(lines)))

    def _draw(
        self, path: str, image: np.ndarray, answer: np.ndarray, lines: Sequence[str], correct: bool | None
    ) -> None:
        from PIL import Image

        drawn = annotate(self.view.draw(_bounded(image), answer), lines, ok=correct)
        self._drawn += 1
        with replacing(self._own(f"annotated/{self._names[path]}.jpg")) as draft:
            Image.fromarray(drawn).save(draft, "jpeg", quality=QUALITY)
        if len(self._tiles) < SHEET:
            small = self.view.draw(thumbnail(image, side=TILE), answer)
            self._tiles.append(annotate(small, [*lines, Path(path).name], ok=correct))

    def _own(self, name: str) -> Path:
        """List a file that is about to be written, in a folder of this writer."""
        path = self.out_dir / name
        own_folder(path.parent)
        append(self.out_dir / LIST, f"{name}\n")
        return path

    def _replace_earlier(self) -> None:
        """Delete the predictions of an earlier call, and begin a list of the files that this one writes."""
        folders = ["annotated", *([self.view.folder[1]] if self.view.folder else [])]
        own_folder(self.out_dir)
        for folder in folders:  # a link is found before anything is deleted
            if (self.out_dir / folder).is_symlink():
                own_folder(self.out_dir / folder)
        remove_written(self.out_dir, LIST)
        write_text(self.out_dir / LIST, "predictions.csv\npredictions.png\n")


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(map(no_formula, cells))
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bounded(image: np.ndarray) -> np.ndarray:
    """Shrink an image to at most MAX_SIDE pixels."""
    from PIL import Image

    picture = Image.fromarray(to_rgb(image))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)
