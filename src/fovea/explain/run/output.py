"""Keep the folder of results: maps as arrays, a table of them, and nothing of an earlier call."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.files import unique_names, write_text

LIST = ".explain_files"  # what a call wrote, so that the next one removes just that
COLUMNS = (
    "image", "model", "method", "layer", "index", "class", "probability", "predicted",
    "predicted_probability", "true", "correct", "lowest", "highest", "peak_x", "peak_y", "map", "problem",
)  # fmt: skip
NAME = 80  # characters of a class in the name of a file


def written(folder: Path) -> set[Path]:
    """Return the files that an earlier call wrote into a folder, resolved."""
    file, top = folder / LIST, folder.resolve()
    if not file.is_file():
        return set()
    found = {(folder / line).resolve() for line in file.read_text(encoding="utf-8").splitlines() if line}
    return {path for path in found if top in path.parents}  # also where somebody edited the list


class Folder:
    """Hold the results of one call; what an earlier one wrote is removed.

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
        path.mkdir(parents=True, exist_ok=True)
        _remove(path)
        self.before = set(self._files())
        self._csv = (path / "explain.csv").open("w", newline="", encoding="utf-8")
        self._table = csv.DictWriter(self._csv, COLUMNS, restval="")
        self._table.writeheader()

    def add(self, shown: Any) -> None:
        """Write the maps of one image and model, and a row for each."""
        for seen in shown.seen:
            row = _row(shown, seen)
            if seen.map is not None:
                file = self._place(shown, seen)
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, seen.map)
                row["map"] = file.relative_to(self.path).as_posix()
            self._table.writerow(row)

    def close(self) -> None:
        """End the table, and note which files this call wrote."""
        self._csv.close()
        own = sorted(p.relative_to(self.path).as_posix() for p in set(self._files()) - self.before)
        write_text(self.path / LIST, "\n".join([*own, ""]))

    def _place(self, shown: Any, seen: Any) -> Path:
        parts = [self.names[shown.id], seen.method]
        parts += [] if seen.layer is None else [_safe(seen.layer)]
        parts += [_class_part(seen.asked)] if self.several and seen.asked else []
        return self.path / "maps" / shown.model / f"{'__'.join(parts)}.npy"

    def _files(self) -> Iterable[Path]:
        for name in ("explain.html", "explain.csv"):
            yield from (p for p in [self.path / name] if p.is_file())
        for part in ("figures", "maps", *self.parts):
            yield from (p for p in (self.path / part).rglob("*") if p.is_file())


def _remove(folder: Path) -> None:
    top = folder.resolve()
    old = written(folder)
    for path in old:
        path.unlink(missing_ok=True)
    above = {parent for path in old for parent in path.parents if top in parent.parents}
    for place in sorted(above, key=lambda p: len(p.parts), reverse=True):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    (folder / LIST).unlink(missing_ok=True)


def _class_part(asked: Any) -> str:
    """Name a class with its number: names may be long, and the same for two classes."""
    return f"{asked.label}_{_safe(asked.name.split(',')[0])}"


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)[:NAME].strip("_.")


def _row(shown: Any, seen: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image": shown.id, "model": shown.model, "method": seen.method, "layer": seen.layer or "",
        "predicted": shown.predicted.name, "predicted_probability": f"{shown.predicted.probability:.6f}",
        "true": shown.truth or "", "correct": "" if shown.correct is None else str(shown.correct).lower(),
        "problem": seen.problem or "",
    }  # fmt: skip
    if seen.asked is not None:
        asked = seen.asked
        row |= {"index": asked.label, "class": asked.name, "probability": f"{asked.probability:.6f}"}
    if seen.map is not None:
        y, x = np.unravel_index(np.abs(seen.map).argmax(), seen.map.shape)
        row |= {"lowest": f"{seen.map.min():.6g}", "highest": f"{seen.map.max():.6g}"}
        row |= {"peak_x": int(x), "peak_y": int(y)}
    return row
