"""Name the shapes of what flows between data, tasks and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Sample(TypedDict, total=False):
    """One item of a data set, before collation."""

    image: np.ndarray  # (H, W, C) uint8, C is 1 or 3
    label: int
    boxes: np.ndarray  # (N, 4) float32, xyxy pixels
    labels: np.ndarray  # (N,) int64
    mask: np.ndarray  # (H, W) int64, 255 = ignore
    caption: np.ndarray  # (T,) int64 token ids


class Batch(TypedDict, total=False):
    """One collated batch; `index` and `epoch` say which samples these are."""

    image: Tensor  # (B, C, H, W) uint8 from the loader, normalised float after the transfer
    label: Tensor  # (B,) int64, or (B, num_classes) float after mixup or cutmix
    boxes: list[Tensor]  # (N, 4) xyxy pixels
    labels: list[Tensor]  # (N,) int64
    mask: Tensor  # (B, H, W) int64, 255 = ignore
    caption: Tensor  # (B, T) int64
    index: Tensor  # (B,) int64 position in the data set
    epoch: int


class Output(TypedDict, total=False):
    """What `Task.step` returns; further `loss_*` entries are logged beside the loss."""

    loss: Tensor
    preds: Any
    target: Any


class Preprocessing(TypedDict):
    """How an image file becomes the input of a network; saved in every checkpoint."""

    image_size: list[int]  # [H, W]
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str
    crop_pct: float


@runtime_checkable
class ImageDataset(Protocol):
    """A map-style data set: `ids` are stable names (paths), `labels` is None where there are no classes."""

    classes: list[str]
    ids: Any
    labels: np.ndarray | None

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one image with its annotations."""
        ...


class OptimizerFactory(Protocol):
    """A `_partial_` optimizer from the config."""

    def __call__(self, params: Any) -> Optimizer:
        """Build it."""
        ...


class SchedulerFactory(Protocol):
    """A `_partial_` schedule from the config, stepped once per optimizer step unless it is a plateau."""

    def __call__(self, optimizer: Optimizer, *, total_steps: int, steps_per_epoch: int) -> LRScheduler:
        """Build it."""
        ...
