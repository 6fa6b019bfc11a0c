"""Show the test images that a run kept with its answers: the best, the worst, the most confident errors."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from fovea.page.blocks import Gallery, Section, encode
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail
from fovea.reading import read_npz
from fovea.runs.read import Run
from fovea.types import TaskView, ViewFactory

COLUMNS = {True: 2, False: 6}  # of a figure, of wide pictures and of others


def sections(run: Run, view: ViewFactory) -> list[Section]:
    """Write a figure for each gallery of a task's view, and show it; empty without kept images."""
    path = run.dir / "predictions" / "examples.npz"
    if not path.is_file():
        return []
    arrays = read_npz(path)
    own = view(classes=run.classes, labelling=json.loads(str(arrays["labelling"])))
    return list(_galleries(run, own, arrays))


def _galleries(run: Run, view: TaskView, arrays: dict[str, np.ndarray]) -> Iterator[Section]:
    for name, title in view.galleries:
        tiles, items = [], []
        kept = (arrays[f"{name}_{key}"] for key in ("ids", "score", "image", "answer", "truth"))
        for sample, score, image, answer, truth in zip(*kept, strict=True):
            picture = view.draw(thumbnail(image), answer, truth)
            wide = picture.shape[1] > 2 * picture.shape[0]  # and has room for the name
            said = view.scored(float(score)) or view.lines(answer, truth)
            lines = [*said, *[str(sample)] * wide]
            tiles.append(annotate(picture, lines, ok=_correct(view, answer, truth)))
            items.append((*encode(picture), lines, str(sample)))
        if tiles:
            sheet(run.dir / "figures" / f"{name}.png", tiles, columns=COLUMNS[wide])
            block = Gallery(items, view.caption, columns=2 if wide else 0)
            yield Section(title, [block])


def _correct(view: TaskView, answer: np.ndarray, truth: np.ndarray) -> bool | None:
    found = view.row(answer, truth).get("correct")
    return None if found is None else bool(found)
