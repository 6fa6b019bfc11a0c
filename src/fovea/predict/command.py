"""Predict images with a trained run."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.config import build
from fovea.config.values import count, require
from fovea.data.find_images import find_images, read_chunks, unreadable
from fovea.engine.log import configure
from fovea.engine.named import as_classifier
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run
from fovea.errors import Interrupted, UsageError
from fovea.files import results_folder
from fovea.predict.inputs import SPLITS, Inputs, Training, about_training, of_files, of_split
from fovea.predict.writer import PredictionWriter
from fovea.types import TaskView

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write `predictions.csv` and annotated images; list unreadable files at the end."""
    configure(None)
    require(config, "input")
    if (config.run is None) == (config.get("model") is None):
        raise UsageError("give run=DIR, or model=timm model.name=NAME model.checkpoint=FILE data.classes=[…]")
    drawn = _annotated(config)
    with stop_signals():
        out_dir = _output(config)
        paths = [] if _split(config) else find_images(str(config.input))
        trained = _opened(config)
        view = _view(trained, config)
        paths = _without_own(paths, out_dir, folders=("annotated", *(view.folder or ())[1:]))
        inputs = _inputs(config, trained, paths, enough=_enough(trained, view))
        if note := about_training(inputs):
            log.warning("%s", note)
        writer = PredictionWriter(
            view,
            out_dir=out_dir,
            paths=inputs.names,
            failures_only=bool(config.failures_only),
            pictures=drawn,
        )
        failed: list[str] = []
        try:
            _fill(writer, _outputs(trained, inputs, config, view), inputs, failed)
        except Interrupted as stop:
            name, seen = signal.Signals(stop.signum).name, writer.seen
            log.warning("stopped by %s; kept: the answers to %d of %d images", name, seen, len(inputs.names))
            log.info("\n%s", writer.finish())
            raise
        log.info("\n%s", writer.finish())
    if failed:
        listed = "\n".join(f"  {line}" for line in failed)
        log.warning("%d of %d files could not be read:\n%s", len(failed), len(inputs.names), listed)
    if len(failed) == len(inputs.names):
        raise UsageError("no image could be read")


def _annotated(config: DictConfig) -> int | None:
    """Return how many annotated images are written at most; None for all."""
    if config.annotate is True or config.annotate == "all":
        return None
    if config.annotate is False or config.annotate == 0:
        return 0
    if not isinstance(config.annotate, int) or config.annotate < 0:
        raise UsageError(f"annotate is {config.annotate!r}; allowed: a number of images, all, or false")
    return int(config.annotate)


def _split(config: DictConfig) -> str | None:
    """Return the split of the run's data that is asked for; None where `input` means files."""
    name = str(config.input)
    if name not in SPLITS or (config.run is None and Path(name).exists()):
        return None
    if config.run is None:
        raise UsageError(f"input={name} is a split of the data of a run: give run=DIR")
    if config.truth is not None:
        raise UsageError(f"truth= is for files; the true classes of input={name} are those of the data")
    return name


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
    if paths and not kept:
        raise UsageError(f"the images were written by predict into {out_dir}; choose another output=DIR")
    return kept


def _enough(trained: Trained, view: TaskView) -> int | None:
    """Return the shorter side at which a photo may be decoded; None where it is predicted at its own size."""
    from fovea.data.preprocess import Preprocess

    return Preprocess(trained.preprocessing).enough if view.infer is None else None


def _inputs(config: DictConfig, trained: Trained, paths: Sequence[Path], *, enough: int | None) -> Inputs:
    """Return the images, with their true classes where data, table or folders give them."""
    split, classes = _split(config), trained.classes
    if split is not None:
        inputs = of_split(trained.datamodule(data_root=config.data_root), split)
    else:
        known, table = trained.recorded_split("train"), config.truth
        training = Training(known, trained.config.data.get("root"))
        top = Path(str(config.input))
        inputs = of_files(paths, classes, top=top, table=table, training=training, enough=enough)
    if config.failures_only and not any(label is not None for label in inputs.truth):
        raise UsageError(
            "failures_only=true needs true classes: images in folders named like the classes, or truth=CSV "
            f"with columns path and label (classes: {', '.join(classes[:8])}{'…' * (len(classes) > 8)})"
        )
    return inputs


def _fill(
    writer: PredictionWriter, outputs: Iterator[tuple[int, Any]], inputs: Inputs, failed: list[str]
) -> None:
    """Write every prediction; add a line to `failed` for each file that could not be read."""
    for number, found in outputs:
        if isinstance(found, Exception):
            failed.append(unreadable(inputs.names[number], found))
        else:
            image, output = found
            writer.add(inputs.names[number], image, output, inputs.truth[number])


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
    trained: Trained, inputs: Inputs, config: DictConfig, view: TaskView
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each image with its image and output, or with the error that reading it gave.

    The net sees batches of its input size; where the view infers at the images' own, one after the other.
    """
    import torch

    from fovea.data.images import to_channels
    from fovea.data.preprocess import Preprocess
    from fovea.ops.tta import average

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    (net, context), views = trained.as_measured(place), trained.config.task.get("tta") or []
    size = count(config, "batch_size", trained.config.data.batch_size) if view.infer is None else 1
    fit = preprocess.to_array if view.infer is None else np.ascontiguousarray

    def read(number: int) -> dict[str, np.ndarray]:
        image = inputs.read(number)
        return {"image": image, "fitted": fit(to_channels(image, channels=preprocess.channels))}

    for chunk in read_chunks(range(len(inputs.names)), read, size=size):
        arrays = [x["fitted"] for _, x in chunk if not isinstance(x, Exception)]
        outputs: Iterator[np.ndarray] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(place)
            with torch.inference_mode(), context:
                if view.infer is not None:
                    found = view.infer(net, batch, preprocess)
                else:
                    given = preprocess.to_input(batch)
                    found = (average(net, given, views) if views else net(given)).float()
                outputs = iter(found.cpu().numpy())
        for number, x in chunk:
            yield number, x if isinstance(x, Exception) else (x["image"], next(outputs))
