"""Predict images, or a video, with a trained run."""

from __future__ import annotations

import inspect
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.values import count, listed, require
from fovea.data.find_images import find_images, unreadable
from fovea.engine.log import configure
from fovea.engine.named import as_classifier
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run
from fovea.errors import Interrupted, UsageError
from fovea.files import results_folder
from fovea.page.progress import progress
from fovea.predict import answer_files
from fovea.predict.inputs import SPLITS, Inputs, Training, about_training, of_files, of_split
from fovea.predict.video import Video, is_video
from fovea.predict.video_writer import VideoWriter
from fovea.predict.writer import PredictionWriter
from fovea.types import TaskView

log = logging.getLogger(__name__)
OPTIONS = {  # of the view, and the runs whose view has them
    "threshold": "find any number of boxes",
    "window": "predict masks or any number of boxes",
    "overlap": "predict masks or any number of boxes",
    "whole": "find any number of boxes",
    "across_classes": "find any number of boxes",
}


def main(config: DictConfig) -> None:
    """Write the answers and annotated images, or an annotated video; list unreadable files at the end."""
    configure(None)
    require(config, "input")
    if (config.run is None) == (config.get("model") is None):
        raise UsageError("give run=DIR, or model=timm model.name=NAME model.checkpoint=FILE data.classes=[…]")
    _most_drawn(config)
    lonely = [key for key in ("overlap", "whole", "across_classes") if config[key] is not None]
    if lonely and config.window is None:
        raise UsageError(f"{lonely[0]}= says how a window slides: add window=640, or another side in pixels")
    with stop_signals():
        if _split(config) is None and is_video(Path(str(config.input))):
            _video(config, Path(str(config.input)))
        else:
            if config.every != 1:
                raise UsageError(f"every={config.every} is for a video; input={config.input} is none")
            _images(config)


def _images(config: DictConfig) -> None:
    out_dir = _output(config)
    paths = [] if _split(config) else find_images(str(config.input))
    trained = _opened(config)
    view = _view(trained, config)
    files = answer_files.choose(listed(config, "format"), view)
    paths = _without_own(paths, out_dir, folders=("annotated", *(view.folder or ())[1:]))
    inputs = _inputs(config, trained, paths, enough=_enough(trained, view))
    if note := about_training(inputs):
        log.warning("%s", note)
    writer = PredictionWriter(
        view,
        out_dir=out_dir,
        paths=inputs.names,
        failures_only=bool(config.failures_only),
        pictures=_most_drawn(config),
        files=files,
        classes=_classes(trained),
        places=inputs.places,
        numbers=inputs.ids,
    )
    found = _outputs(trained, view, config, numbers=range(len(inputs.names)), read_image=inputs.read)
    failed: list[str] = []
    try:
        _fill(writer, found, inputs, failed)
    except Interrupted as stop:
        name, seen = signal.Signals(stop.signum).name, writer.seen
        log.warning("stopped by %s; kept: the answers to %d of %d images", name, seen, len(inputs.names))
        log.info("\n%s", writer.finish())
        raise
    log.info("\n%s", writer.finish())
    if failed:
        lines = "\n".join(f"  {line}" for line in failed)
        log.warning("%d of %d files could not be read:\n%s", len(failed), len(inputs.names), lines)
    if len(failed) == len(inputs.names):
        raise UsageError("no image could be read")


def _video(config: DictConfig, path: Path) -> None:
    """Predict the frames of a video; what a stop leaves is whole, up to the frame at hand."""
    if config.truth is not None or config.failures_only:
        raise UsageError("truth= and failures_only= are for images, and input= is a video")
    trained, video = _opened(config), Video(path, every=config.every)
    view = _view(trained, config)
    writer = VideoWriter(
        view,
        out_dir=_output(config),
        video=video,
        files=answer_files.choose(listed(config, "format"), view),
        classes=_classes(trained),
        drawn=_most_drawn(config) != 0,
    )
    times: dict[int, float] = {}

    def numbers() -> Iterator[int]:
        for number in video.numbers():
            times[number] = video.seconds(number)
            yield number

    try:
        with progress(len(video), "frames") as advance:
            for number, found in _outputs(trained, view, config, numbers=numbers(), read_image=video.read):
                if isinstance(found, Exception):
                    log.warning("%s", found)
                else:
                    writer.add(number, times.pop(number), *found)
                advance(1)
    except Interrupted as stop:
        name = signal.Signals(stop.signum).name
        log.warning("stopped by %s; kept: %d frames of about %d", name, writer.seen, len(video))
        log.info("\n%s", writer.finish())
        raise
    finally:
        writer.close()
    log.info("\n%s", writer.finish())


def _classes(trained: Trained) -> tuple[list[str], list[int]]:
    """Return names and ids of the classes."""
    return trained.classes, answer_files.category_ids(trained.labelling, len(trained.classes))


def _most_drawn(config: DictConfig) -> int | None:
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
    writer: PredictionWriter, found: Iterator[tuple[int, Any]], inputs: Inputs, failed: list[str]
) -> None:
    """Write every prediction; add a line to `failed` for each file that could not be read."""
    with progress(len(inputs.names), "images") as advance:
        for number, one in found:
            if isinstance(one, Exception):
                failed.append(unreadable(inputs.names[number], one))
            else:
                image, output = one
                writer.add(inputs.names[number], image, output, inputs.truth[number])
            advance(1)


def _view(trained: Trained, config: DictConfig) -> TaskView:
    """Build the view of the run's task, with the options of this call; UsageError where it lacks one."""
    make: Any = build.view(trained.config)
    if make is None:
        raise UsageError(f"a run of {trained.config.experiment} predicts nothing of an image")
    takes = inspect.signature(make.func).parameters
    given: dict[str, Any] = {"top_k": count(config, "top_k")} if "top_k" in takes else {}
    for key, kind in OPTIONS.items():
        value = config[key]
        if value is None:
            continue
        if key not in takes:
            raise UsageError(f"{key}={value} is for runs that {kind}")
        given[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return make(classes=trained.classes, labelling=trained.labelling, **given)


def _outputs(
    trained: Trained, view: TaskView, config: DictConfig, **images: Any
) -> Iterator[tuple[int, Any]]:
    """Run the net of a run over images as it is measured."""
    from fovea.data.preprocess import Preprocess
    from fovea.predict.outputs import Running, outputs

    place = device(str(config.accelerator))
    net, context = trained.as_measured(place)
    size = count(config, "batch_size", trained.config.data.batch_size)
    views = trained.config.task.get("tta") or []
    return outputs(
        Running(net, context, Preprocess(trained.preprocessing), place, views, size), view, **images
    )
