"""The part of a comparison that colourisation has: how far off, how vivid, and where two nets differ most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.compare.types import ModelGroup, PerImageScores, Pictures, TaskTable
from fovea.page.blocks import Block, Section, Table, Text
from fovea.runs.read import Run
from fovea.tasks.colorization.report import load

MEANT = (
    "The paired tests are about image_psnr: the PSNR of each picture, averaged over pictures. test/psnr "
    "takes the pixels of all pictures together, so that the two differ."
)
SCORES = {
    "ab_error": "error in a and b",
    "psnr": "PSNR, mean over pictures",
    "colourfulness": "colourfulness",
}


class ColourComparison:
    """Compare colourisations by the PSNR of each test picture."""

    metric = "image_psnr"

    def __init__(self, *, shown: int = 5) -> None:
        self.shown = shown

    def read(self, run: Run) -> PerImageScores | None:
        """Read `predictions/test.npz`; ValueError where it is damaged."""
        path = run.dir / "predictions" / "test.npz"
        if not path.is_file():
            return None
        found = load(path)
        needed = {"ids", "true_colourfulness", "grey_error", "pixels", *SCORES}
        if needed - set(found):
            raise ValueError(f"{path} lacks {', '.join(sorted(needed - set(found)))}: it is of another task")
        order = np.argsort(found["ids"], kind="stable")
        found = {key: values[order] for key, values in found.items()}
        return PerImageScores(found["ids"], found["pixels"], found["psnr"], found)

    def table(self, groups: Sequence[ModelGroup]) -> TaskTable | None:
        """Return the mean scores, those of grey pictures and of the truth beside them."""
        known = [row for row in groups if row.scores]
        if not known:
            return None
        first = known[0].scores[0].extra
        grey = {"ab_error": float(first["grey_error"].mean()), "colourfulness": 0.0}
        truth = {"ab_error": 0.0, "colourfulness": float(first["true_colourfulness"].mean())}
        lines = [
            [name, grey.get(key), truth.get(key), *(_mean(row, key) for row in known)]
            for key, name in SCORES.items()
        ]
        return "Colours", ["Score", "Grey", "Truth", *(row.name for row in known)], lines

    def sections(
        self, groups: Sequence[ModelGroup], base: ModelGroup, pictures: Pictures, folder: Path
    ) -> list[Section]:
        """Name the pictures on which the baseline and another model differ most."""
        others = [row for row in groups if row is not base and row.scores] if base.scores else []
        blocks: list[Block] = [Text(MEANT, "note")] if others else []
        for row in others:
            gap = _errors(row) - _errors(base)
            order = np.argsort(-np.abs(gap), kind="stable")[: self.shown]
            ids, ours, theirs = base.scores[0].ids, _errors(base), _errors(row)
            lines = [(str(ids[i]), float(ours[i]), float(theirs[i])) for i in order]
            title = "Error in a and b of the pictures on which the two differ most"
            blocks.append(Table(("Picture", base.name, row.name), lines, title, "lrr"))
        return [Section("Where they differ", blocks)] if blocks else []


def _errors(row: ModelGroup) -> np.ndarray:
    return np.mean([tested.extra["ab_error"] for tested in row.scores], axis=0)


def _mean(row: ModelGroup, key: str) -> float:
    return float(np.mean([tested.extra[key].mean() for tested in row.scores]))
