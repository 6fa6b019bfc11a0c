"""Find the images that are to be explained, and read them a few at a time, as a model takes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fovea.data import ground_truth
from fovea.data.choose import choose
from fovea.data.find_images import find_images
from fovea.data.images import read_image, to_channels
from fovea.data.module import DataModule
from fovea.data.preprocess import Preprocess
from fovea.errors import UsageError
from fovea.explain.core.model import ImageBatch, OpenedModel
from fovea.types import Sample

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class ExplainedImages:
    """The ids of images, their true classes where known, and what reads one for any model.

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

    def take(self, rows: Sequence[int]) -> ExplainedImages:
        """Return some of them."""
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            truth=[self.truth[i] for i in rows],
            sample=lambda row: self.sample(rows[row]),
        )


def find(
    wanted: str | None,
    models: Sequence[OpenedModel],
    *,
    truth: str | None,
    data_root: str | None,
    without: set[Path],
) -> ExplainedImages:
    """Return the images of a file, folder or glob, or of a split of the data of the first run.

    Args:
        wanted: `input=` of the command; None: the test split of a run.
        models: name the classes; the first that has data gives its splits.
        truth: a CSV of true classes.
        data_root: where the data of the run lie.
        without: files that an earlier call wrote.
    """
    data = next((model.data for model in models if model.data is not None), None)
    wanted = "test" if wanted is None and data is not None else wanted
    if wanted is None:
        raise UsageError("input= is missing: give input=PATH on the command line")
    if data is not None and wanted in SPLITS:
        if truth is not None:
            raise UsageError(f"truth= is for files; the true classes of input={wanted} are those of the data")
        return _of_split(data(data_root=data_root, all_targets=True), wanted)
    if wanted in SPLITS and not Path(wanted).exists():
        raise UsageError(f"input={wanted} is a split of the data of a run: give run=DIR")
    names = list(dict.fromkeys(name for model in models for name in model.classes))
    sides = [Preprocess(model.preprocessing).enough for model in models]  # type: ignore[arg-type]
    enough = None if None in sides else max(side for side in sides if side is not None)
    return _of_files(wanted, names, truth, without, enough=enough)


def require_truth(images: ExplainedImages) -> None:
    """Raise where target=true meets images without a true class."""
    if not any(images.truth) and not images.masked:
        raise UsageError(
            "target=true needs true classes: images in folders named like the classes, or truth=CSV with "
            "columns path and label"
        )


def at_most(images: ExplainedImages, number: int | None) -> ExplainedImages:
    """Return `number` of the images, those of all classes in turn."""
    size = len(images.ids)
    if number is None or number >= size:
        return images
    log.info("%d of %d images; number=null takes all", number, size)
    names = {name: i for i, name in enumerate(dict.fromkeys(images.truth))}
    labels = np.array([names[name] for name in images.truth]) if any(images.truth) else None
    rows = range(number) if labels is None else sorted(choose(labels, size=size, count=number, seed=0))
    return images.take(list(rows))


def _of_files(
    pattern: str, names: list[str], truth: str | None, without: set[Path], *, enough: int | None
) -> ExplainedImages:
    paths = [p for p in find_images(pattern) if p.resolve() not in without]
    if not paths:
        raise UsageError("the images were written by explain; choose another input=PATH or output=DIR")
    if truth is not None:
        known = ground_truth.from_table(Path(truth), paths, names)
    else:
        known = ground_truth.from_folders(paths, names, top=Path(pattern))
    labels = [known[path] for path in paths]
    return ExplainedImages(
        ids=[str(path) for path in paths],
        truth=[None if label is None else names[label] for label in labels],
        sample=lambda row: {"image": read_image(paths[row], channels=3, enough=enough)},
        about=pattern,
        names=names,
    )


def _of_split(module: DataModule, split: str) -> ExplainedImages:
    """Return a split of a run's data with everything that its data set knows of the images."""
    view = module.splits[split]
    if not len(view):
        raise UsageError(f"the run's data has no {split} split")
    names = list(view.classes)
    labels = None if view.labels is None or np.ndim(view.labels) != 1 else view.labels.tolist()
    return ExplainedImages(
        ids=list(view.ids),
        truth=[None] * len(view) if labels is None else [names[label] for label in labels],
        sample=view.load,
        about=f"{split} split of {module.name}",
        names=names,
        masked="mask" in view.targets,
    )


class ImageReader:
    """Turn samples into what one model takes; `label_of` tells the classes (B,) of masks (B, H, W)."""

    def __init__(
        self, images: ExplainedImages, model: OpenedModel, label_of: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.label_of = label_of
        self.images, self.preprocess = images, Preprocess(model.preprocessing)  # type: ignore[arg-type]
        number = {name: i for i, name in enumerate(model.classes)}
        self.label = [-1 if name is None else number.get(name, -1) for name in images.truth]
        self.numbers = np.array([number.get(name, -1) for name in images.names], dtype=np.int64)

    def load(self, rows: Sequence[int]) -> ImageBatch:
        """Read images; leave out those that cannot be read."""
        found: dict[int, Sample] = {}
        for row in rows:
            try:
                found[row] = self.images.sample(row)
            except (OSError, ValueError) as error:  # said once, when the maps are made
                log.debug("%s: %s", self.images.ids[row], error)
        return self.batch(found)[0]

    def batch(self, samples: Mapping[int, Sample]) -> tuple[ImageBatch, np.ndarray]:
        """Return the images as an `ImageBatch`, and as pictures uint8 (B, H, W, 3)."""
        height, width = self.preprocess.size
        fitted = [self._fitted(sample) for sample in samples.values()]
        arrays = [sample["image"] for sample in fitted]
        stacked = np.stack(arrays) if arrays else np.zeros((0, height, width, 3), np.uint8)
        boxed, masked = (bool(fitted) and all(key in s for s in fitted) for key in ("boxes", "mask"))
        mask = torch.from_numpy(np.stack([s["mask"] for s in fitted])).long() if masked else None
        label = torch.tensor([self.label[row] for row in samples], dtype=torch.int64)
        if mask is not None and self.label_of is not None:
            label = self.label_of(mask)
        found = ImageBatch(
            image=self.preprocess.to_input(torch.from_numpy(stacked).permute(0, 3, 1, 2)),
            rows=list(samples),
            label=label,
            boxes=[torch.from_numpy(s["boxes"]) for s in fitted] if boxed else None,
            box_labels=[torch.from_numpy(self.numbers[s["labels"]]) for s in fitted] if boxed else None,
            mask=mask,
        )
        return found, np.stack([to_channels(a, channels=3) for a in stacked]) if arrays else stacked

    def _fitted(self, sample: Sample) -> Sample:
        """Bring a sample to the model's size and channels, as in training without augmentation."""
        fit = self.preprocess
        image = to_channels(sample["image"], channels=fit.channels)
        fitted = fit.fit({**sample, "image": image})
        return {**fitted, "image": np.ascontiguousarray(fitted["image"].reshape(*fit.size, -1))}
