"""Predict any images that a person has with a trained run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.config import build
from fovea.config.values import count, require
from fovea.data import ground_truth as truth
from fovea.data.find_images import MEMORY, find_images, unreadable
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run
from fovea.errors import UsageError

log = logging.getLogger(__name__)
OWN = ("annotated", "masks", "coloured")  # folders of pictures that predict writes


def main(config: DictConfig) -> None:
    """Write `predictions.csv` and annotated images; list unreadable files at the end."""
    configure(None)
    require(config, "run", "input")
    with stop_signals():
        out_dir = _output(config)
        paths = _without_own(find_images(str(config.input)), out_dir)
        trained = open_run(config.run, config.checkpoint)
        if trained.config.report.get("predict") is None:
            raise UsageError(f"a run of {trained.config.experiment} predicts nothing of an image")
        infer = _infer(trained, config)
        known = _truth(config, paths, trained.classes)
        sink = build.make(trained.config.report.predict)(
            out_dir=out_dir,
            paths=[str(p) for p in paths],
            classes=trained.classes,
            labelling=trained.labelling,
            top_k=count(config, "top_k"),
            failures_only=bool(config.failures_only),
            pictures=bool(config.annotate),
        )
        outputs = _outputs(trained, paths, config) if infer is None else _whole(trained, paths, config, infer)
        failed = _fill(sink, outputs, known)
        log.info("\n%s", sink.finish())
    if failed:
        listed = "\n".join(f"  {line}" for line in failed)
        log.warning("%d of %d files could not be read:\n%s", len(failed), len(paths), listed)
    if len(failed) == len(paths):
        raise UsageError("no image could be read")


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
        if place != own / "predictions.png" and place.parent not in [own / part for part in OWN]:
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
    failed = []
    for path, found in outputs:
        if isinstance(found, Exception):
            failed.append(unreadable(path, found))
        else:
            sink.add(str(path), *found, known[path])
    return failed


def _infer(trained: Trained, config: DictConfig) -> Any:
    """Build what predicts an image at its own size; None where the task predicts from the input size."""
    node, options = trained.config.report.get("infer"), {}
    if config.window is not None:
        if node is None or "window" not in node:
            raise UsageError(f"window={config.window} is for runs that predict masks")
        options["window"] = config.window
    return None if node is None else build.make(node, **options)


def _whole(
    trained: Trained, paths: Sequence[Path], config: DictConfig, infer: Any
) -> Iterator[tuple[Path, Any]]:
    """Yield each path with its image and the output at its size, or with the error that reading it gave."""
    import torch

    from fovea.data.images import read_image, to_channels
    from fovea.data.preprocess import Preprocess

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    net = trained.net.to(place)
    for path in paths:
        try:
            image = read_image(path, channels=3)
            array = np.ascontiguousarray(to_channels(image, channels=preprocess.channels))
        except (OSError, ValueError) as error:  # as in _chunks
            yield path, error
            continue
        with torch.inference_mode():
            given = torch.from_numpy(array).permute(2, 0, 1)[None].to(place)
            output = infer(net, given, preprocess)[0].cpu().numpy()
        yield path, (image, output)


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
        except (OSError, ValueError) as error:  # what a damaged or missing file raises
            chunk.append((path, error))
        if len(chunk) == size or held > MEMORY:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
