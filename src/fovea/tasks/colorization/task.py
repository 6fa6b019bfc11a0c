"""Colourisation: from the lightness of a picture to its colours."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from fovea.ops.lab import lab_to_rgb, rgb_to_lab
from fovea.tasks.base import Task, collection
from fovea.types import Batch, Output

PIXELS = 32  # rows and columns of a training image that the encoding is fitted to


class Encoding(Protocol):
    """How a net encodes colours: `ops.ab_regression.Regression`, `ops.ab_bins.Bins`."""

    channels: int  # of the net's output

    def fit(self, ab: Tensor) -> None:
        """Learn from colours (N, 2) of the training images."""

    def loss(self, output: Tensor, ab: Tensor) -> Tensor:
        """Compare the net's output (B, channels, H, W) with true ab (B, 2, H, W)."""

    def decode(self, output: Tensor) -> Tensor:
        """Return ab (B, 2, H, W)."""

    def to(self, device: torch.device) -> Encoding:
        """Move the fitted state to a device."""


class Colorization(Task):
    """Minimise the loss of `encoding` between the net's output and the true a and b of CIE Lab.

    Images are sRGB in 0…1 (data.mean=[0,0,0], data.std=[1,1,1]), of which the net is to use only L.

    Args:
        metrics: as for every task; each takes by name what it needs of `preds_ab`, `target_ab` (B, 2, H, W),
            `preds`, `target` (B, 3, H, W) sRGB and, where there are labels, `label` (B,).
        baselines: metrics that are also measured, in the test, for a grey picture (`_grey`) and for the mean
            colour of the training images everywhere (`_mean`).
        train_metrics: metrics that are followed on the training images, where most take too long.
        fit_images: training images, evenly spaced, from which the mean and the encoding's weights come.
    """

    mean_ab: Tensor

    def __init__(
        self,
        *,
        net: nn.Module,
        encoding: Encoding,
        metrics: Mapping[str, Metric | None] | None = None,
        baselines: Sequence[str] = ("ab_error", "psnr"),
        train_metrics: Sequence[str] = ("ab_error",),
        fit_images: int = 512,
        **kwargs: Any,
    ) -> None:
        wanted = {name: metric for name, metric in (metrics or {}).items() if metric is not None}
        super().__init__(net=net, metrics=wanted, **kwargs)
        if fit_images < 1:
            raise ValueError(f"task.fit_images={fit_images} must be at least 1")
        self.encoding, self.fit_images = encoding, fit_images
        self.train_metrics = _some(wanted, train_metrics, prefix="train/")
        self.grey_metrics = _some(wanted, baselines, prefix="test/", postfix="_grey")
        self.mean_metrics = _some(wanted, baselines, prefix="test/", postfix="_mean")
        self.register_buffer("mean_ab", torch.zeros(2))
        self._looked = False

    def setup(self, stage: str) -> None:
        """Fit the encoding to the colours of the training images, where a checkpoint has not restored it."""
        if stage != "fit" and self._looked:
            return
        self._looked = True
        ab = self._colours(self.trainer.datamodule).to(self.device)  # type: ignore[attr-defined]
        self.mean_ab.copy_(ab.mean(dim=0))
        self.encoding.fit(ab)

    def step(self, batch: Batch) -> Output:
        """Return the loss, the predicted ab and the true one."""
        _check_range(batch["image"])
        target = rgb_to_lab(batch["image"])[:, 1:]
        output = self(batch["image"])
        if output.ndim != 4 or output.shape[1] != self.encoding.channels:
            raise ValueError(
                f"the net's output has shape {list(output.shape)}: it must be (B, {self.encoding.channels}, "
                "H, W); choose model=colorizer, colorizer_fusion or colorizer_unet"
            )
        loss = self.encoding.loss(output, target)
        return {"loss": loss, "preds": self.encoding.decode(output.detach()), "target": target}

    def _record(self, stage: str, batch: Batch, output: Output) -> None:
        """Update every metric with the arguments that it names."""
        losses = {k: v for k, v in output.items() if k not in ("preds", "target")}
        super()._record(stage, batch, losses)  # type: ignore[arg-type]
        image, extra = batch["image"], {k: batch[k] for k in ("label",) if k in batch}
        target: Tensor = output["target"]
        shown = {"": output["preds"]}
        if stage == "test":
            mean = self.mean_ab.view(1, 2, 1, 1).expand_as(target)
            shown |= {"_grey": torch.zeros_like(target), "_mean": mean}
        with torch.autocast(image.device.type, enabled=False):  # variances would be lost in half precision
            for name, ab in shown.items():
                metrics = self._baseline(name) if name else self._metrics(stage)
                given = {"preds_ab": ab, "target_ab": target, **extra}
                if _wants_pictures(metrics):
                    given |= {"preds": recoloured(image, ab), "target": image.float().expand(-1, 3, -1, -1)}
                metrics.update(**given)

    def _baseline(self, name: str) -> MetricCollection:
        return {"_grey": self.grey_metrics, "_mean": self.mean_metrics}[name]

    def _log_epoch(self, stage: str) -> None:
        super()._log_epoch(stage)
        for metrics in (self.grey_metrics, self.mean_metrics) if stage == "test" else ():
            if len(metrics):
                self.log_dict(metrics.compute(), batch_size=1)
                metrics.reset()

    def _colours(self, data: Any) -> Tensor:
        """Return colours (N, 2) of training images."""
        rows = np.unique(np.linspace(0, len(data.train) - 1, self.fit_images).astype(int))
        return torch.cat([_sampled(data.preprocess(data.train.load(int(i))["image"])) for i in rows])


def recoloured(image: Tensor, ab: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) with the lightness of `image` (B, 1 or 3, H, W) and the colours `ab`."""
    return lab_to_rgb(torch.cat([rgb_to_lab(image)[:, :1], ab.float()], dim=1))


def _sampled(image: Tensor) -> Tensor:
    """Return the colours of an even grid of pixels."""
    _check_range(image)
    rows, columns = (max(1, -(-side // PIXELS)) for side in image.shape[2:])
    return rgb_to_lab(image[:, :, ::rows, ::columns])[:, 1:].movedim(1, -1).reshape(-1, 2)


def _check_range(image: Tensor) -> None:
    if image.device.type == "cpu" and (image.min() < -0.01 or image.max() > 1.01):
        raise ValueError(
            f"an image has values in {image.min():.2f}…{image.max():.2f}, but colours are those of 0…1: set "
            "data.mean=[0,0,0] data.std=[1,1,1]"
        )


def _some(wanted: Mapping[str, Metric], names: Sequence[str], **options: str) -> MetricCollection:
    chosen = {name: wanted[name].clone() for name in names if name in wanted}
    return collection(chosen, **options)


def _wants_pictures(metrics: MetricCollection) -> bool:
    return any("preds" in inspect.signature(metric.update).parameters for metric in metrics.values())
