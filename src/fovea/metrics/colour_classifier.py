"""Measure whether a classifier recognises coloured pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fovea.metrics.exact import ExactMetric
from fovea.ops.placement import place
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
    pixels = (rgb.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    if preprocessing["channels"] == 1:
        pixels = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] for image in pixels])
    fitted = torch.from_numpy(np.stack([_fit(image, preprocessing) for image in pixels]))
    x = fitted.permute(0, 3, 1, 2).to(rgb.device).float() / 255
    mean, std = (x.new_tensor(preprocessing[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std


def _fit(image: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Bring a picture uint8 (H, W, C) to the net's size, as `data.preprocess` does."""
    resize = preprocessing.get("resize", "crop")
    where = place(
        image.shape[:2],
        size=tuple(preprocessing["image_size"]),
        resize=resize,
        crop_pct=preprocessing["crop_pct"],
    )
    fill = [round(255 * m) if resize == "pad" else 0 for m in preprocessing["mean"]]
    return where.raster(image, interpolation=preprocessing["interpolation"], fill=fill)


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
