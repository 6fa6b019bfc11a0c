"""Predict images with a trained run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.config import build
from fovea.config.values import count, require
from fovea.data import ground_truth as truth
from fovea.data.find_images import find_images, read_chunks, unreadable
from fovea.engine.log import configure
from fovea.engine.named import as_classifier
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run
from fovea.errors import UsageError
from fovea.files import results_folder
from fovea.predict.writer import PredictionWriter
from fovea.types import TaskView

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write `predictions.csv` and annotated images; list unreadable files at the end."""
    configure(None)
    require(config, "input")
    if (config.run is None) == (config.get("model") is None):
        raise UsageError("give run=DIR, or model=timm model.name=NAME model.checkpoint=FILE data.classes=[…]")
    with stop_signals():
        out_dir = _output(config)
        paths = find_images(str(config.input))
        trained = _opened(config)
        view = _view(trained, config)
        paths = _without_own(paths, out_dir, folders=("annotated", *(view.folder or ())[1:]))
        known = _truth(config, paths, trained.classes)
        writer = PredictionWriter(
            view,
            out_dir=out_dir,
            paths=[str(p) for p in paths],
            failures_only=bool(config.failures_only),
            pictures=bool(config.annotate),
        )
        failed = _fill(writer, _outputs(trained, paths, config, view), known)
        log.info("\n%s", writer.finish())
    if failed:
        listed = "\n".join(f"  {line}" for line in failed)
        log.warning("%d of %d files could not be read:\n%s", len(failed), len(paths), listed)
    if len(failed) == len(paths):
        raise UsageError("no image could be read")


def _output(config: DictConfig) -> Path:
    """Return where the results go: into the run, beside a checkpoint without one, or to the logs."""
    if config.output is not None:
        return results_folder(Path(str(config.output)))
    if config.run is None:
        return Path(str(config.paths.logs)) / "predict" / time.strftime("%Y-%m-%d_%H-%M-%S")
    run = Path(str(config.run))
    home = run.parent if run.is_file() else run
    return results_folder(home / "predict", run=home)


def _opened(config: DictConfig) -> Trained:
    if config.run is not None:
        return open_run(config.run, config.checkpoint)
    return as_classifier(str(config.model.name), config)


def _without_own(paths: list[Path], out_dir: Path, *, folders: Sequence[str]) -> list[Path]:
    """Drop the pictures that an earlier call wrote below the images; this call replaces them."""
    own = out_dir.resolve()
    kept = []
    for path in paths:
        place = path.resolve()
        if place != own / "predictions.png" and place.parent not in [own / folder for folder in folders]:
            kept.append(path)
    if not kept:
        raise UsageError(f"the images were written by predict into {out_dir}; choose another output=DIR")
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


def _fill(
    writer: PredictionWriter, outputs: Iterator[tuple[Path, Any]], known: dict[Path, int | None]
) -> list[str]:
    """Write every prediction; return a line for each file that could not be read."""
    failed = []
    for path, found in outputs:
        if isinstance(found, Exception):
            failed.append(unreadable(path, found))
        else:
            image, output = found
            writer.add(str(path), image, output, known[path])
    return failed


def _view(trained: Trained, config: DictConfig) -> TaskView:
    """Build the view of the run's task, with the options of this call that it has."""
    node, options = trained.config.report.get("view") or {}, {"top_k": count(config, "top_k")}
    if config.window is not None:
        if "window" not in node:
            raise UsageError(f"window={config.window} is for runs that predict masks")
        options["window"] = config.window
    view = build.view(trained.config, **{key: value for key, value in options.items() if key in node})
    if view is None:
        raise UsageError(f"a run of {trained.config.experiment} predicts nothing of an image")
    return view(classes=trained.classes, labelling=trained.labelling)


def _outputs(
    trained: Trained, paths: Sequence[Path], config: DictConfig, view: TaskView
) -> Iterator[tuple[Path, Any]]:
    """Yield each path with its image and output, or with the error that reading it gave.

    The net sees batches of its input size; where the view infers at the images' own, one after the other.
    """
    import torch

    from fovea.data.images import read_image, to_channels
    from fovea.data.preprocess import Preprocess
    from fovea.ops.tta import average

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    net, views = trained.net.to(place), trained.config.task.get("tta") or []
    size = count(config, "batch_size", trained.config.data.batch_size) if view.infer is None else 1
    fit = preprocess.to_array if view.infer is None else np.ascontiguousarray

    enough = preprocess.enough if view.infer is None else None

    def read(path: Path) -> dict[str, np.ndarray]:
        image = read_image(path, channels=3, enough=enough)
        return {"image": image, "fitted": fit(to_channels(image, channels=preprocess.channels))}

    for chunk in read_chunks(paths, read, size=size):
        arrays = [x["fitted"] for _, x in chunk if not isinstance(x, Exception)]
        outputs: Iterator[np.ndarray] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(place)
            with torch.inference_mode():
                if view.infer is not None:
                    found = view.infer(net, batch, preprocess)
                else:
                    given = preprocess.to_input(batch)
                    found = (average(net, given, views) if views else net(given)).float()
                outputs = iter(found.cpu().numpy())
        for path, x in chunk:
            yield path, x if isinstance(x, Exception) else (x["image"], next(outputs))
