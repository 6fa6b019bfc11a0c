"""Predict any images that a person has with a trained run."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.engine import build, truth
from fovea.engine import log as logs
from fovea.engine.errors import UsageError
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, count, device, open_run, require

log = logging.getLogger(__name__)
MEMORY = 256 * 2**20  # bytes of decoded images held at a time
# beyond what a data set is made of: what cameras and browsers save
PHOTOS = {".avif", ".dib", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".tga"}


def main(config: DictConfig) -> None:
    """Write `predictions.csv` and annotated images; list unreadable files at the end."""
    logs.configure(None)
    require(config, "run", "input")
    with stop_signals():
        out_dir = _output(config)
        paths = _without_own(find_images(str(config.input)), out_dir)
        trained = open_run(config.run, config.checkpoint)
        known = _truth(config, paths, trained.classes)
        sink = build.make(trained.config.report.predict)(
            out_dir=out_dir,
            paths=[str(p) for p in paths],
            classes=trained.classes,
            top_k=count(config, "top_k"),
            failures_only=bool(config.failures_only),
            pictures=bool(config.annotate),
        )
        unreadable = _fill(sink, _outputs(trained, paths, config), known)
        log.info("\n%s", sink.finish())
    if unreadable:
        listed = "\n".join(f"  {line}" for line in unreadable)
        log.warning("%d of %d files could not be read:\n%s", len(unreadable), len(paths), listed)
    if len(unreadable) == len(paths):
        raise UsageError("no image could be read")


def find_images(pattern: str) -> list[Path]:
    """Return the files that a file name, a folder or a glob stands for, in a stable order.

    In a folder only visible files with an image's ending count; files named one by one are always tried.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _in_folder(path)
    found = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
    if not found:
        raise UsageError(
            f"input={pattern} is no file, no folder and matches no file (quote a glob: input='dir/*.png')"
        )
    return found


def _in_folder(folder: Path) -> list[Path]:
    from fovea.data.formats.listing import SUFFIXES

    files = [p for p in folder.rglob("*") if p.is_file()]
    files = [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    found = sorted(p for p in files if p.suffix.lower() in SUFFIXES | PHOTOS)
    if not found:
        raise UsageError(f"there is no image in the folder {folder}")
    if len(found) < len(files):
        log.info("%s: %d files without an image's ending are left out", folder, len(files) - len(found))
    return found


def _output(config: DictConfig) -> Path:
    """Return where the results go: for a checkpoint without its run, beside the file."""
    run, out_dir = Path(str(config.run)), Path(str(config.output))
    beside = run.is_file() and out_dir == run / "predict"
    return run.parent / "predict" if beside else out_dir


def _without_own(paths: list[Path], out_dir: Path) -> list[Path]:
    """Drop the pictures that an earlier call wrote below the images; this call replaces them."""
    own = out_dir.resolve()
    kept = []
    for path in paths:
        place = path.resolve()
        if place != own / "predictions.png" and place.parent != own / "annotated":
            kept.append(path)
    if not kept:
        raise UsageError(f"the images are what predict wrote into {out_dir}; choose another output=DIR")
    return kept


def _truth(config: DictConfig, paths: list[Path], classes: list[str]) -> dict[Path, int | None]:
    """Return the true class of each image where the table, or its folder's name, gives it."""
    if config.truth is not None:
        return truth.from_table(Path(config.truth), paths, classes)
    found = truth.from_folders(paths, classes, top=Path(str(config.input)))
    if config.failures_only and not any(label is not None for label in found.values()):
        raise UsageError(
            "failures_only=true needs true classes: images in folders named like the classes, or truth=CSV "
            f"with columns path and label (classes: {', '.join(classes[:8])}{'…' * (len(classes) > 8)})"
        )
    return found


def _fill(sink: Any, outputs: Iterator[tuple[Path, Any]], known: dict[Path, int | None]) -> list[str]:
    """Hand every output on; return what is to say about the files that could not be read."""
    unreadable = []
    for path, found in outputs:
        if isinstance(found, Exception):
            text = str(found)
            unreadable.append(text if str(path) in text else f"{path}: {text}")
        else:
            sink.add(str(path), *found, known[path])
    return unreadable


def _outputs(trained: Trained, paths: Sequence[Path], config: DictConfig) -> Iterator[tuple[Path, Any]]:
    """Yield each path with its image and output, or with the error that reading it gave, batch by batch."""
    import torch

    from fovea.data.preprocess import Preprocess
    from fovea.ops.tta import average

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    net, views = trained.net.to(place), trained.config.task.get("tta") or []
    size = count(config, "batch_size", trained.config.data.batch_size)
    for chunk in _chunks(paths, preprocess, size=size):
        arrays = [x[1] for _, x in chunk if not isinstance(x, Exception)]
        outputs: Iterator[np.ndarray] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(place)
            with torch.inference_mode():
                given = preprocess.to_input(batch)
                found = average(net, given, views) if views else net(given)
                outputs = iter(found.float().cpu().numpy())
        for path, x in chunk:
            yield path, x if isinstance(x, Exception) else (x[0], next(outputs))


def _chunks(paths: Sequence[Path], preprocess: Any, *, size: int) -> Iterator[list[tuple[Path, Any]]]:
    """Yield up to `size` paths, each with its image and the network's input array, or with an error.

    Large photos make a chunk end early, so that memory stays bounded.
    """
    from fovea.data.images import read_image, to_channels

    chunk: list[tuple[Path, Any]] = []
    held = 0
    for path in paths:
        try:
            image = read_image(path, channels=3)
            array = preprocess.to_array(to_channels(image, channels=preprocess.channels))  # as in training
            chunk.append((path, (image, array)))
            held += image.nbytes
        except Exception as error:  # decoders fail in many ways; none may stop the rest
            chunk.append((path, error))
        if len(chunk) == size or held > MEMORY:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
