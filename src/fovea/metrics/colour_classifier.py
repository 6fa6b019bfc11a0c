"""Measure whether a classifier recognises coloured pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.metrics.exact import ExactMetric
from fovea.ops.placement import Size, place
from fovea.reading import read_json

Net = Callable[[Tensor], Tensor]
FILE = "model.onnx"  # data alone: other formats can hold code, and a folder may come from anybody


class ClassifierAccuracy(ExactMetric):
    """Return the share of predicted pictures that a classifier classifies correctly.

    `folder` is what `python src/export.py run=DIR format=onnx` has written; pictures are prepared the way its
    export.json says.
    """

    higher_is_better = True
    correct: Tensor
    images: Tensor

    def __init__(self, *, folder: str | Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder, self.about = Path(folder), _about(Path(folder))
        self.add_sums("correct", "images")

    def update(self, preds: Tensor, label: Tensor | None = None) -> None:
        """Add a batch of sRGB pictures (B, 3, H, W) in 0…1 with their classes (B,)."""
        classes = len(self.about["classes"])
        if label is None or label.ndim != 1:
            raise ValueError("metrics.values.classifier_acc.folder is for data with labels: set it to null")
        if label.device.type == "cpu" and len(label) and int(label.max()) >= classes:
            raise ValueError(
                f"{self.folder} knows {classes} classes, a label is {int(label.max())}: export a "
                "classifier of these data"
            )
        found = _open(str(self.folder / FILE))(prepare(preds, self.about["preprocessing"]))
        self.correct += (found.argmax(dim=1).to(label.device) == label).sum()
        self.images += len(label)

    def compute(self) -> Tensor:
        """Return the share of pictures."""
        return self.correct / self.images


def classifier_accuracy(*, folder: str | None = None) -> ClassifierAccuracy | None:
    """Return the metric where there is a classifier."""
    return None if folder is None else ClassifierAccuracy(folder=folder)


def prepare(rgb: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Turn pictures (B, 3, H, W) in 0…1 into the inputs of a net with this preprocessing."""
    x = (rgb.float() * 255).round() / 255
    if preprocessing["channels"] == 1:
        x = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    x = _fit(x, preprocessing)
    mean, std = (x.new_tensor(preprocessing[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std


def _fit(x: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Bring pictures to the net's size: cut the centre, pad with black, or stretch."""
    height, width = (int(side) for side in preprocessing["image_size"])
    at = place(
        (x.shape[2], x.shape[3]),
        size=(height, width),
        resize=preprocessing.get("resize", "crop"),
        crop_pct=preprocessing["crop_pct"],
    )
    x = _resized(x[:, :, at.top : at.top + at.height, at.left : at.left + at.width], at.inner)
    top, left = at.offset
    return F.pad(x, (left, width - at.inner[1] - left, top, height - at.inner[0] - top))


def _resized(x: Tensor, size: Size) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _about(folder: Path) -> dict[str, Any]:
    file = folder / "export.json"
    make = "python src/export.py run=DIR format=onnx"
    if not file.is_file() or not (folder / FILE).is_file():
        raise FileNotFoundError(
            f"there is no {file} with {FILE}: make the folder with {make}, or set folder to null"
        )
    about = read_json(file)
    if lacking := [key for key in ("classes", "preprocessing") if not about.get(key)]:
        raise ValueError(f"{file} does not say its {lacking[0]}: {make}")
    return about


@lru_cache(maxsize=2)
def _open(file: str) -> Net:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {entry: x.cpu().numpy()})[0])
