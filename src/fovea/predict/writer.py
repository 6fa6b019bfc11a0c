"""Write predictions of images: files of answers, a text table, annotated images and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fovea.errors import UsageError
from fovea.files import replacing, unique_names
from fovea.page.formats import counted, middle
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail, to_rgb
from fovea.page.text_table import text_table
from fovea.predict.answer_files import About, AnswerFile, Named, Table
from fovea.predict.results import Results
from fovea.types import TaskView

MAX_SIDE = 1280  # pixels of an annotated image
QUALITY = 90  # of its JPEG
SHEET = 40  # images on the contact sheet at most
TILE = 200  # pixels of each
LISTED = 40  # images in the printed table


class PredictionWriter:
    """Take the outputs for images one by one and leave a folder of predictions.

    The files have the answer to each image; `annotated/` some images with their answers, spread over all;
    predictions.png the first of these; and the view's folder what is a picture itself. Memory holds one
    image, the small pictures of the sheet and the lines of the printed table.

    Args:
        pictures: how many annotated images are written at most; None for all.
        files: makes each file of answers.
        classes: names and ids of the classes, for the files that have them.
        places, numbers: paths and ids of the images for those files; `paths` and 1, 2, … by default.

    Raises:
        UsageError: `failures_only`, of a task whose answers are not right or wrong.
    """

    def __init__(
        self,
        view: TaskView,
        *,
        out_dir: Path,
        paths: Sequence[str],
        failures_only: bool = False,
        pictures: int | None = None,
        files: Sequence[Callable[[About], AnswerFile]] = (Table,),
        classes: tuple[Sequence[str], Sequence[int]] = ((), ()),
        places: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.judged = "correct" in view.columns
        if failures_only and not self.judged:
            raise UsageError("failures_only=true is for one class per image: no answer is wrong here")
        self.view, self.failures_only = view, failures_only
        self._most = len(paths) if pictures is None else pictures
        self._every = 1 if failures_only else math.ceil(len(paths) / max(self._most, 1))
        self._names = dict(zip(paths, unique_names(paths, suffix=""), strict=True))
        self._places = dict(zip(paths, places or paths, strict=True))
        self._numbers = dict(zip(paths, numbers or range(1, len(paths) + 1), strict=True))
        self._listed: list[tuple[str, str]] = []
        self._tiles: list[np.ndarray] = []
        self._seen = self._written = self._known = self._right = self._drawn = 0
        own = [view.folder[0]] if view.folder else []
        folders = ["annotated", *([view.folder[1]] if view.folder else []), "labels"]
        self.results = Results(Path(out_dir), folders=folders)
        about = About(self.results, view, ["path", *own], *classes)
        self._files = [make(about) for make in files]

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
            with replacing(self.results.own(f"{self.view.folder[1]}/{self._names[path]}.png")) as draft:
                picture.save(draft, "png", compress_level=4)
        self._list(path, image, answer, truth, lines)
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
            sheet(self.results.own("predictions.png"), self._tiles, columns=3 if wide else 5)
        files = [file.finish() for file in self._files]
        lines = [text_table(self._listed, ["image", "prediction"], align="ll")] if self._listed else []
        if self._written > LISTED:
            lines.append(f"… and {self._written - LISTED} more, all in {files[0].name}")
        if self.failures_only:
            lines.append(f"{self._written} of {self._seen} images are classified wrongly")
        elif self._known:
            share = 100 * self._right / self._known
            right = f"{self._right} of {self._known} images with a known class"
            lines.append(f"{right} are classified correctly ({share:.1f} %)")
        if 0 < self._drawn < self._written:
            drawn = counted(self._drawn, "image")
            lines.append(f"{drawn} drawn in {self.results.folder / 'annotated'}; annotate=all draws all")
        return "\n".join([*lines, *map(str, files)])

    def _list(
        self, path: str, image: np.ndarray, answer: np.ndarray, truth: int | None, lines: Sequence[str]
    ) -> None:
        own = [f"{self.view.folder[1]}/{self._names[path]}.png"] if self.view.folder else []
        size = (image.shape[1], image.shape[0])
        named = Named([path, *own], self._places[path], self._numbers[path], size)
        for file in self._files:
            file.add(named, answer, truth)
        self._written += 1
        if len(self._listed) < LISTED:
            self._listed.append((middle(path, width=56), ", ".join(lines)))

    def _draw(
        self, path: str, image: np.ndarray, answer: np.ndarray, lines: Sequence[str], correct: bool | None
    ) -> None:
        from PIL import Image

        drawn = annotate(self.view.draw(_bounded(image), answer), lines, ok=correct)
        self._drawn += 1
        with replacing(self.results.own(f"annotated/{self._names[path]}.jpg")) as draft:
            Image.fromarray(drawn).save(draft, "jpeg", quality=QUALITY)
        if len(self._tiles) < SHEET:
            small = self.view.draw(thumbnail(image, side=TILE), answer)
            self._tiles.append(annotate(small, [*lines, Path(path).name], ok=correct))


def _bounded(image: np.ndarray) -> np.ndarray:
    """Shrink an image to at most MAX_SIDE pixels."""
    from PIL import Image

    picture = Image.fromarray(to_rgb(image))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)
