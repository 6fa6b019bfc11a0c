"""Find the images that are to be explained, and read them a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from fovea.config.values import count
from fovea.data import ground_truth as truth
from fovea.data.choose import choose
from fovea.data.find_images import MEMORY, find_images, unreadable
from fovea.engine.trained import Trained
from fovea.errors import UsageError
from fovea.explain.open import Opened
from fovea.types import Sample

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Name images, their true classes where known, and what reads one: any model can be shown them.

    Attributes:
        about: where they come from.
        names: what the numbers of labels and boxes mean.
        masked: whether there are masks, which tell true classes too.
    """

    ids: list[str]
    truth: list[str | None]
    sample: Callable[[int], Sample]
    about: str
    names: list[str]
    masked: bool = False

    def take(self, rows: Sequence[int]) -> Images:
        """Return some of them."""
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            truth=[self.truth[i] for i in rows],
            sample=lambda row: self.sample(rows[row]),
        )


def find(config: DictConfig, models: Sequence[Opened], *, without: set[Path]) -> Images:
    """Return the images that `input=` names, at most `number` of them, those of all classes in turn.

    `without` are files that an earlier call wrote.
    """
    run = next((m.trained for m in models if m.trained is not None), None)
    wanted = config.input if config.input is not None else "test" if run is not None else None
    if wanted is None:
        raise UsageError("input= is missing: say input=PATH on the command line")
    if run is not None and wanted in SPLITS:
        found = _of_split(run, str(wanted), config)
    elif wanted in SPLITS and not Path(str(wanted)).exists():
        raise UsageError(f"input={wanted} is a split of the data of a run: say run=DIR")
    else:
        found = _of_files(str(wanted), config, models, without)
    if _asks_true(config) and not any(found.truth) and not found.masked:
        raise UsageError(
            "target=true needs true classes: images in folders named like the classes, or truth=CSV with "
            "columns path and label"
        )
    return _some(found, None if config.number is None else count(config, "number"))


def _asks_true(config: DictConfig) -> bool:
    return str(config.target).lower() == "true"


def _some(images: Images, number: int | None) -> Images:
    size = len(images.ids)
    if number is None or number >= size:
        return images
    log.info("%d of %d images; number=null takes all", number, size)
    names = {name: i for i, name in enumerate(dict.fromkeys(images.truth))}
    labels = np.array([names[name] for name in images.truth]) if any(images.truth) else None
    rows = range(number) if labels is None else sorted(choose(labels, size=size, count=number, seed=0))
    return images.take(list(rows))


def _of_files(pattern: str, config: DictConfig, models: Sequence[Opened], without: set[Path]) -> Images:
    from fovea.data.images import read_image

    paths = [p for p in find_images(pattern) if p.resolve() not in without]
    if not paths:
        raise UsageError("the images are what explain wrote; choose another input=PATH or output=DIR")
    names = list(dict.fromkeys(name for model in models for name in model.classes))
    if config.truth is not None:
        known = truth.from_table(Path(config.truth), paths, names)
    else:
        known = truth.from_folders(paths, names, top=Path(pattern))
    labels = [known[path] for path in paths]
    return Images(
        ids=[str(path) for path in paths],
        truth=[None if label is None else names[label] for label in labels],
        sample=lambda row: {"image": read_image(paths[row], channels=3)},
        about=pattern,
        names=names,
    )


def _of_split(trained: Trained, split: str, config: DictConfig) -> Images:
    """Return a split of a run's data with everything that its data set knows of the images."""
    if config.truth is not None:
        raise UsageError(f"truth= is for files; the true classes of input={split} are those of the data")
    module = trained.datamodule(data_root=config.data_root, all_targets=True)
    view = module.splits[split]
    if not len(view):
        raise UsageError(f"the run's data has no {split} split")
    names = list(view.classes)
    labels = None if view.labels is None or np.ndim(view.labels) != 1 else view.labels.tolist()
    return Images(
        ids=list(view.ids),
        truth=[None] * len(view) if labels is None else [names[label] for label in labels],
        sample=view.load,
        about=f"{split} split of {trained.config.data.name}",
        names=names,
        masked="mask" in view.targets,
    )


def chunks(images: Images, *, size: int, failed: list[str]) -> Iterator[dict[int, Sample]]:
    """Read up to `size` images at a time; say in `failed` why some could not be read.

    Large photos make a chunk end early, so that memory stays bounded.
    """
    chunk: dict[int, Sample] = {}
    held = 0
    for row, name in enumerate(images.ids):
        try:
            chunk[row] = images.sample(row)
            held += chunk[row]["image"].nbytes
        except (OSError, ValueError) as error:  # what a damaged or missing file raises
            failed.append(unreadable(name, error))
        if len(chunk) == size or held > MEMORY:
            yield chunk
            chunk, held = {}, 0
    if chunk:
        yield chunk
