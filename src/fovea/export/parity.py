"""Compare an exported network with the original on the same images, and time both."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fovea import errors
from fovea.engine.trained import Trained
from fovea.export.formats import ExportError, leaves, reason
from fovea.export.predict_example import Model

log = logging.getLogger(__name__)
BATCHES, WARM_UP = (1, 7), 5
ADVICE = (
    "; does the network take the number of images for a constant? A trace does, of len(x): say x.shape[0]"
)
ROUNDING = 1e-5  # of the largest value: what float32 sums in another order may differ by


@dataclass
class Agreement:
    """How far two versions of one output are apart, over all batches."""

    difference: float = 0.0
    largest: float = 0.0
    same: int = 0
    decided: int = 0

    def add(self, own: np.ndarray, other: np.ndarray) -> None:
        """Take one batch in: `own` is the original's; NaN and unequal infinities make the difference NaN."""
        if own.size == 0:
            return
        a, b = own.astype(np.float64), other.astype(np.float64)
        with np.errstate(invalid="ignore"):
            gap = np.where(a == b, 0.0, np.abs(a - b))
        self.difference = float(np.maximum(self.difference, np.where(np.isinf(gap), np.nan, gap).max()))
        finite = np.abs(a[np.isfinite(a)])
        self.largest = max(self.largest, float(finite.max()) if finite.size else 0.0)
        if own.dtype.kind == "f" and own.ndim > 1 and own.shape[1] > 1:
            choice = own.argmax(axis=1) == other.argmax(axis=1)
            self.same, self.decided = self.same + int(choice.sum()), self.decided + choice.size

    def facts(self) -> dict[str, Any]:
        """Return the largest difference, also relative to the largest value, and how often argmax agrees."""
        relative = self.difference / self.largest if self.largest else self.difference
        agree = self.same / self.decided if self.decided else None
        return {
            "max_abs_difference": self.difference, "max_rel_difference": relative,
            "max_abs_value": self.largest, "same_argmax": agree,
        }  # fmt: skip


def compare(net: nn.Module, model: Model, images: Tensor) -> dict[str, dict[str, Any]]:
    """Return for every output how well the two agree on images (N, C, H, W), N at least 8.

    Raises:
        ExportError: the exported network fails on a batch, or gives other shapes or types.
    """
    found: dict[str, Agreement] = {}
    for batch in batches(images, sizes=BATCHES):
        for name, (own, other) in both(net, model, batch).items():
            found.setdefault(name, Agreement()).add(own, other)
    return {name: agreement.facts() for name, agreement in found.items()}


def both(net: nn.Module, model: Model, batch: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return every output of the network and of the exported one for a batch (B, C, H, W).

    Raises:
        ExportError: the exported network fails, or gives another shape or type.
    """
    with torch.no_grad():
        own = {name: value.numpy() for name, value in leaves(net(batch)).items()}
    try:
        other = model(batch.numpy())
    except Exception as error:  # runtimes fail in their own ways
        raise ExportError(f"it fails on a batch of {len(batch)}: {reason(error)}{ADVICE}") from error
    for name, value in own.items():
        if (value.shape, value.dtype) != (other[name].shape, other[name].dtype):
            raise ExportError(
                f"for a batch of {len(batch)} its {name} is {other[name].dtype} {other[name].shape}, the "
                f"network's {value.dtype} {value.shape}{ADVICE}"
            )
    return {name: (value, other[name]) for name, value in own.items()}


def batches(images: Tensor, *, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Yield the images in batches of these sizes in turns."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(images):
            return
        yield images[start : start + size].contiguous()
        start += size


def images(trained: Trained, *, number: int, data_root: str | None) -> tuple[Tensor, str]:
    """Return inputs (number, C, H, W) and what they are: the run's test images, else seeded noise.

    A `data_root` that was given must hold the data.
    """
    try:
        return _test_images(trained, number, data_root), "test images"
    except Exception as error:  # reading data fails in many ways, and none is about the export
        if data_root is not None:
            raise
        why = errors.explain(error).splitlines()[0]
        log.warning("the run's data cannot be read, so noise is compared (data_root=DIR helps): %s", why)
    options = trained.preprocessing
    shape = (number, int(options["channels"]), *map(int, options["image_size"]))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), "seeded noise"


def _test_images(trained: Trained, number: int, data_root: str | None) -> Tensor:
    """Return test images from all over the split; fewer than `number` are repeated."""
    from fovea.data.preprocess import Preprocess

    module = trained.datamodule(data_root=data_root)
    view, preprocess = module.test, Preprocess(trained.preprocessing)
    if not len(view):
        raise ValueError("there is no test split")
    rows = np.linspace(0, len(view) - 1, min(number, len(view))).astype(int)
    found = torch.cat([preprocess(view.load(int(i))["image"]) for i in rows])
    return found[torch.arange(number) % len(found)]


def latency(net: nn.Module, model: Model, image: Tensor, *, rounds: int) -> dict[str, Any]:
    """Time one image (1, C, H, W) through both in turns, after a warm-up; milliseconds."""
    array = image.numpy()
    calls: list[Callable[[], Any]] = [lambda: net(image), lambda: model(array)]
    spent: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for turn in range(WARM_UP + rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                calls[which]()
                spent[which].append(time.perf_counter() - start)
    own, other = (float(np.median(seconds[WARM_UP:])) * 1e3 for seconds in spent)
    return {
        "torch_p50_ms": own, "exported_p50_ms": other, "batch": 1, "rounds": rounds, "device": "cpu",
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def gate(outputs: dict[str, dict[str, Any]], *, tolerance: float) -> dict[str, Any]:
    """Return the worst of all outputs; ExportError where that is above the tolerance, or not a number."""
    for name, found in outputs.items():
        gap, relative, same = (found[k] for k in ("max_abs_difference", "max_rel_difference", "same_argmax"))
        if not gap <= tolerance:  # also NaN
            alike = "" if same is None else f"; argmax is the same in {100 * same:.1f} %"
            raise ExportError(
                f"its {name} differs from the network's by up to {gap:.3g}, more than tolerance={tolerance:g}"
                f" ({relative:.2g} of the largest value, {found['max_abs_value']:.3g}{alike})"
                + (f". float32 is no finer there: tolerance={2 * gap:.1g}" if relative < ROUNDING else "")
            )
    shares = [found["same_argmax"] for found in outputs.values() if found["same_argmax"] is not None]
    worst = {
        k: max(found[k] for found in outputs.values()) for k in ("max_abs_difference", "max_rel_difference")
    }
    return {"tolerance": tolerance, **worst, "same_argmax": min(shares, default=None), "outputs": outputs}
