"""Write the folder of results: maps as arrays and a table of them; results of an earlier call are removed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.view.attribution import Attribution, ImageAttributions
from fovea.files import own_folder, remove_written, replacing_text, unique_names, write_npy, write_text
from fovea.page.formats import no_formula

LIST = ".explain_files"  # what a call wrote, so that the next one removes just that
COLUMNS = (
    "image", "model", "method", "layer", "index", "class", "probability", "box", "predicted",
    "predicted_probability", "true", "correct", "lowest", "highest", "peak_x", "peak_y", "map", "problem",
)  # fmt: skip
NAME = 80  # characters of a class in the name of a file


class ResultFolder:
    """The results of one call; what an earlier one wrote is removed.

    Args:
        path: the folder, which may hold other files; those stay.
        parts: the folders in it that this call writes into.
        ids: of the images.
        several: whether an image can have maps of several classes.
    """

    def __init__(self, path: Path, *, parts: Sequence[str], ids: Sequence[str], several: bool) -> None:
        self.path, self.parts, self.several = path, parts, several
        names = (name.removesuffix(".png") for name in unique_names(ids))
        self.names = dict(zip(ids, names, strict=True))
        own_folder(path)
        own_folder(path)
        for part in ("figures", "maps", *parts):  # a link is found before anything is deleted
            if (path / part).is_symlink():
                own_folder(path / part)
        remove_written(path, LIST)
        self.before = set(self._files())
        self._stack = ExitStack()
        self._csv = self._stack.enter_context(replacing_text(path / "explain.csv"))
        self._table = csv.DictWriter(self._csv, COLUMNS, restval="")
        self._table.writeheader()

    def add(self, record: ImageAttributions) -> None:
        """Write the maps of one image and model, and a row for each."""
        for one in record.attributions:
            row = _row(record, one)
            if one.map is not None:
                file = self._file(record, one)
                own_folder(file.parent, below=self.path)
                write_npy(file, one.map)
                row["map"] = file.relative_to(self.path).as_posix()
            self._table.writerow({name: no_formula(cell) for name, cell in row.items()})

    def close(self) -> None:
        """End the table, and note which files this call wrote; without room for that none of them stays."""
        try:
            self._stack.close()
        finally:
            own = sorted(set(self._files()) - self.before)
            try:
                write_text(
                    self.path / LIST, "\n".join([*(p.relative_to(self.path).as_posix() for p in own), ""])
                )
            except OSError:
                for path in own:
                    path.unlink(missing_ok=True)
                raise

    def _file(self, record: ImageAttributions, one: Attribution) -> Path:
        parts = [self.names[record.id], one.method]
        parts += [] if one.layer is None else [_safe(one.layer)]
        parts += [_class_part(one.selected)] if self.several and one.selected else []
        return self.path / "maps" / record.model / f"{'__'.join(parts)}.npy"

    def _files(self) -> Iterable[Path]:
        for name in ("explain.html", "explain.csv"):
            yield from (p for p in [self.path / name] if p.is_file())
        for part in ("figures", "maps", *self.parts):
            yield from (p for p in (self.path / part).rglob("*") if p.is_file())


def _class_part(selected: SelectedClass) -> str:
    """Name a class with its number: names may be long, and the same for two classes."""
    number = f"box{selected.number}_" if selected.number else ""
    return f"{number}{selected.label}_{_safe(selected.name.split(',')[0])}"


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)[:NAME].strip("_.")


def _row(record: ImageAttributions, one: Attribution) -> dict[str, Any]:
    predicted, selected = record.predicted, one.selected
    row: dict[str, Any] = {
        "image": record.id, "model": record.model, "method": one.method, "layer": one.layer or "",
        "predicted": predicted.name, "predicted_probability": f"{predicted.probability:.6f}",
        "true": record.truth or "", "correct": "" if record.correct is None else str(record.correct).lower(),
        "problem": one.problem or "",
    }  # fmt: skip
    if selected is not None:
        row |= {"index": selected.label, "class": selected.name, "probability": f"{selected.probability:.6f}"}
        if selected.box is not None:
            row["box"] = " ".join(f"{corner:.1f}" for corner in selected.box)
    if one.map is not None:
        row |= {"lowest": f"{one.map.min():.6g}", "highest": f"{one.map.max():.6g}"}
        if one.map.min() < one.map.max():  # a map that is the same everywhere has no peak
            y, x = np.unravel_index(np.abs(one.map).argmax(), one.map.shape)
            row |= {"peak_x": int(x), "peak_y": int(y)}
    return row
