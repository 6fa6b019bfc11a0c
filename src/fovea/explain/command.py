"""Show what models look at: maps of images by any methods, and studies of the models."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fovea.config.values import count, listed
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import device
from fovea.errors import UsageError
from fovea.explain import open as explain_models
from fovea.explain.open import Opened
from fovea.explain.run import images as explain_images
from fovea.explain.run import methods as explain_methods
from fovea.explain.run.output import Folder, written

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write `explain.html`, a figure for each image, every map, and what the studies find."""
    configure(None)
    with stop_signals():
        _explain(config, output(config))


def _explain(config: DictConfig, out_dir: Path) -> None:
    from fovea.explain.run.reader import Reader
    from fovea.explain.run.session import Session
    from fovea.explain.view.page import ExplainPage

    ways, studies = explain_methods.make(config)
    place, size = device(str(config.accelerator)), count(config, "batch_size")
    models = explain_models.open_models(config)
    explain_methods.check_layers(ways, [model.net for model in models])
    asked = [questions(model, config.target) for model in models]
    images = explain_images.find(config, models, without=written(out_dir))
    readers = [
        Reader(images, model, getattr(its, "label_of", None))
        for model, its in zip(models, asked, strict=True)
    ]
    common = {"device": place, "ids": images.ids, "batch_size": size}
    common["methods"] = {way.key: way.call for way in ways}
    subjects = [
        _subject(model, reader, questions=its, **common)
        for model, reader, its in zip(models, readers, asked, strict=True)
    ]
    several = str(config.target).startswith("top-")
    folder = Folder(out_dir, parts=list(studies), ids=images.ids, several=several)
    page = ExplainPage(
        out_dir=out_dir,
        models=[model.name for model in models],
        command=shlex.join(["python", "src/explain.py", *sys.argv[1:]]),
        facts=_facts(config, images, models, place),
    )
    session = Session(images=images, readers=readers, subjects=subjects, ways=ways, studies=studies)
    session.run(folder, page)


def _subject(model: Opened, reader: Any, **known: Any) -> Any:
    from fovea.explain.core.model import Subject
    from fovea.explain.core.pixels import Pixels

    return Subject(
        name=model.name,
        net=model.net.to(known["device"]),
        classes=model.classes,
        pixels=Pixels(mean=model.preprocessing["mean"], std=model.preprocessing["std"]),
        size=reader.preprocess.size,
        load=reader.load,
        **known,
    )


def _facts(
    config: DictConfig, images: explain_images.Images, models: list[Opened], place: Any
) -> list[tuple[str, str, str]]:
    return [
        ("Images", f"{len(images.ids):,}", images.about),
        ("Models", f"{len(models)}", ", ".join(f"{model.name}: {model.source}" for model in models)),
        ("Methods", ", ".join(map(str, config.method)), ""),
        ("Target", str(config.target).lower() if isinstance(config.target, bool) else str(config.target), ""),
        ("Device", str(place), ""),
    ]


def output(config: DictConfig) -> Path:
    """Return where the results go: into the run, or where there is not just one, a folder of their own."""
    if config.output is not None:
        return Path(str(config.output))
    runs = listed(config, "run")
    if len(runs) == 1 and config.get("model") is None:
        run = Path(runs[0])
        return (run.parent if run.is_file() else run) / "explain"
    return Path(str(config.paths.logs)) / "explain" / time.strftime("%Y-%m-%d_%H-%M-%S")


def questions(model: Opened, target: Any) -> Any:
    """Build what is asked of a model, as its task's view says."""
    wanted = str(target).lower() if isinstance(target, bool) else target  # Hydra reads true as a truth value
    try:
        return model.selector(target=wanted)
    except ValueError as error:
        raise UsageError(f"{model.name}: {error}") from None
