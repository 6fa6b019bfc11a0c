"""Predict any images that a person has with a trained run."""

from __future__ import annotations

import csv
import glob
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.engine import build
from fovea.engine import log as logs
from fovea.engine.errors import UsageError
from fovea.engine.trained import Trained, device, open_run, require

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write `predictions.csv` and annotated images; list unreadable files at the end."""
    logs.configure(None)
    require(config, "run", "input")
    paths = find_images(str(config.input))
    trained = open_run(config.run, config.checkpoint)
    truth = _truth(config.truth, paths, trained.classes)
    if config.failures_only and not any(t is not None for t in truth.values()):
        raise UsageError(
            "failures_only=true needs true classes: images in folders named like the classes, or truth=CSV "
            f"with columns path and label (classes: {', '.join(trained.classes[:8])}…)"
        )
    sink = build.make(trained.config.report.predict)(
        out_dir=Path(config.output),
        paths=[str(p) for p in paths],
        classes=trained.classes,
        top_k=int(config.top_k),
        failures_only=bool(config.failures_only),
        pictures=bool(config.annotate),
    )
    unreadable = []
    for path, found in _outputs(trained, paths, config):
        if isinstance(found, ValueError | OSError):
            unreadable.append(f"  {found}")
        else:
            image, output = found
            sink.add(str(path), image, output, truth[path])
    log.info("\n%s", sink.finish())
    if unreadable:
        log.warning(
            "%d of %d files could not be read:\n%s", len(unreadable), len(paths), "\n".join(unreadable)
        )
    if len(unreadable) == len(paths):
        raise UsageError("no image could be read")


def find_images(pattern: str) -> list[Path]:
    """Return the files that a file name, a folder or a glob stands for, in a stable order.

    In a folder only files with an image's ending count; files named one by one are always tried.
    """
    from fovea.data.datasets.folder import SUFFIXES

    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"there is no image in the folder {path}")
        return found
    found = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
    if not found:
        raise UsageError(
            f"input={pattern} is no file, no folder and matches no file (quote a glob: input='dir/*.png')"
        )
    return found


def _outputs(trained: Trained, paths: list[Path], config: DictConfig) -> Iterator[tuple[Path, Any]]:
    """Yield each path with its image and output, or with the error that reading it gave, batch by batch."""
    import torch

    from fovea.data.images import read_image
    from fovea.data.preprocess import Preprocess

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    net = trained.net.to(place)
    size = int(config.batch_size or trained.config.data.batch_size)
    for start in range(0, len(paths), size):
        chunk: list[tuple[Path, Any]] = []
        for path in paths[start : start + size]:
            try:
                chunk.append((path, read_image(path, channels=3)))
            except (ValueError, OSError) as error:
                chunk.append((path, error))
        arrays = [preprocess.to_array(x) for _, x in chunk if isinstance(x, np.ndarray)]
        outputs: Iterator[Any] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(place)
            with torch.inference_mode():
                outputs = iter(net(preprocess.to_input(batch)).float().cpu().numpy())
        for path, x in chunk:
            yield (path, (x, next(outputs))) if isinstance(x, np.ndarray) else (path, x)


def _truth(table: str | None, paths: list[Path], classes: list[str]) -> dict[Path, int | None]:
    """Return the true class of each image where the table, or the name of its folder, gives it."""
    number = {name: i for i, name in enumerate(classes)}
    if table is None:
        return {p: number.get(p.resolve().parent.name) for p in paths}
    given = _read_table(Path(table), number)
    return {p: given.get(str(p.resolve()), given.get(p.name)) for p in paths}


def _read_table(table: Path, number: dict[str, int]) -> dict[str, int]:
    if not table.is_file():
        raise UsageError(f"there is no truth={table}")
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "label"} <= set(rows[0]):
        raise UsageError(f"{table} needs a header with the columns path and label")
    found = {}
    for line, row in enumerate(rows, start=2):
        if row["label"] not in number:
            raise UsageError(
                f"{table}, line {line}: {row['label']!r} is no class of this run ({', '.join(number)})"
            )
        found[str((table.parent / row["path"]).resolve())] = number[row["label"]]
        found.setdefault(Path(row["path"]).name, number[row["label"]])
    return found
