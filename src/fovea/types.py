"""Name the shapes of what flows between data, tasks and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

IGNORE = 255  # what a mask says about pixels that do not count


class Sample(TypedDict, total=False):
    """One item of a data set, before collation. Pixel coordinates count from the left upper corner."""

    image: np.ndarray  # (H, W, C) uint8, C is 1 or 3
    label: int
    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2 in pixels, 0 <= x1 < x2 <= W
    labels: np.ndarray  # (N,) int64, the class of each box
    ignore: np.ndarray  # (N,) bool, boxes that count neither as found nor as missed: difficult, crowds
    mask: np.ndarray  # (H, W) uint8, the class of each pixel, 255 = ignore
    instances: np.ndarray  # (H, W) uint8, 0 = none, i + 1 = the i-th object (and box), 255 = ignore
    keypoints: np.ndarray  # (K, 2) float32, x y in pixels, NaN where not visible
    captions: list[str]  # reference sentences


class Batch(TypedDict, total=False):
    """One collated batch; `index` and `epoch` say which samples these are.

    Between loader and network the boxes of all images are flattened: `boxes` (M, 4), `labels` and `ignore`
    (M,), and `batch_index` (M,) says which image of the batch each belongs to.
    """

    image: Tensor  # (B, C, H, W) uint8 from the loader, normalised float after the transfer
    grey: Tensor  # (B, 1, H, W) float in 0…1: the luma of the image
    label: Tensor  # (B,) int64, or (B, num_classes) float after mixup or cutmix
    boxes: list[Tensor]  # (N, 4) xyxy pixels
    labels: list[Tensor]  # (N,) int64
    ignore: list[Tensor]  # (N,) bool
    batch_index: Tensor
    mask: Tensor  # (B, H, W) int64, 255 = ignore
    instances: Tensor  # (B, H, W) int64, 0 = none, i + 1 = the i-th box
    keypoints: Tensor  # (B, K, 2) float, NaN where not visible
    caption: Tensor  # (B, T) int64, one reference as token ids, 0 after its end
    captions: list[list[str]]  # all references
    index: Tensor  # (B,) int64 position in the data set
    epoch: int
    skipped: list[int]  # positions in the data set that could not be read


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
    resize: NotRequired[str]  # crop | pad | stretch; crop where it is not given


@runtime_checkable
class ImageDataset(Protocol):
    """A map-style data set: `ids` are stable names (paths), `labels` is None where there are no classes.

    Optional: `targets`, what `load` gives beside the image (default: label); `images` (N, H, W, C) held in
    memory; `load_many(indices)`, whole batches at once; `groups` (N,), what a split must keep together;
    `endless`, whether indices beyond the length give further samples; `sentences(index)`, the captions
    without the image; `files(index)`, the files of a sample.
    """

    classes: list[str]
    ids: Sequence[str]
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
