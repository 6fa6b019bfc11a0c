"""The types that data, tasks and reports exchange, with their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Protocol, TypedDict, Union, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
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
    counted: Tensor  # how many samples the losses are a mean of; absent: all of the batch


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
    without the image; `files(index)`, the files of a sample; `reduce(side)`, which has large photos
    decoded no larger than that.
    """

    classes: list[str]
    ids: Sequence[str]
    labels: np.ndarray | None

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one image with its annotations."""
        ...


@runtime_checkable
class Observer(Protocol):
    """A net that is fitted by looking, without gradients: once through the training images is an epoch.

    It is told to forget as an epoch begins, is handed each training batch after the step, and concludes
    before what it learnt is measured or saved. All that it learnt lies in its buffers then.
    """

    def forget(self) -> None:
        """Begin an epoch."""
        ...

    def observe(self, x: Tensor, preds: Any, target: Any) -> None:
        """Look at a batch: normalised images (B, C, H, W), and `preds` and `target` of `Task.step`."""
        ...

    def conclude(self) -> None:
        """Fit to what was observed since the epoch began; where nothing is new, do nothing."""
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


@dataclass(frozen=True)
class Measured:
    """The scores and answers of a batch of test images: tensors (B, …) still on their device.

    Attributes:
        rows: of every image: `score` (B,), NaN where nothing can be scored; `target`, what is true of it, by
            which a comparison knows the test set; what the task's own sections need; perhaps `tie_break`
            (B,), which orders images of one score. Small: those of the whole test split are held.
        answer, truth: what `TaskView.draw` takes, held of the images that the report shows.
        ranks: (B,) for each of the view's galleries, which shows the images with the highest; NaN: never.
        sums: added up over all images, of any shape.
    """

    rows: dict[str, Tensor]
    answer: Tensor
    truth: Tensor
    ranks: dict[str, Tensor]
    sums: dict[str, Tensor] = field(default_factory=dict)


class ScoreTable(NamedTuple):
    """Scores of one run, one a line, such as those of every class."""

    title: str
    heads: Sequence[str]  # of the columns that are the same for every run
    lines: Sequence[Sequence[Any]]  # those columns
    scores: np.ndarray  # (lines,) float, NaN where there is none


class Resampled(NamedTuple):
    """A metric of all images together, and of resamples of them."""

    value: float  # NaN where there is none
    draws: np.ndarray  # (draws,) float


Truth = Union["np.ndarray", int]  # what is true of an image: a class, a map, a picture


class TaskView(Protocol):
    """The view of a task: its answer for one image, on which all tables, pictures and comparisons are built.

    An answer is plain numpy: probabilities (C,), a class map (H, W), a picture (H, W, 3), …. `view:` in
    `conf/report/<task>.yaml` makes the view, called with `classes` (their names) and `labelling` (what other
    numbers mean: the palette of masks). Subclasses inherit what is None or empty here: what a task lacks.
    """

    score: str  # the metric that the scores of single images average to; more of it is better
    margin: float  # two models differ on an image when their scores are this far apart
    contrast: str = "{good} better than {bad} by {margin:g} or more"  # heads the images that differ so
    about: str = ""  # what a reader of a comparison must know of the score
    galleries: Sequence[tuple[str, str]]  # of test images: name of the figure, title in the report
    caption: str  # what a gallery shows
    shown: int = 8  # images in a gallery
    columns: Sequence[str]  # of `row`; with "correct" where an answer is right or wrong
    folder: tuple[str, str] | None = None  # column and folder of the pictures that `picture` gives
    infer: Callable[[Any, Tensor, Any], Tensor] | None = None
    """Map (net, image uint8 (1, C, H, W) of any size, preprocessing) to the output for that size; None: the
    net sees batches at its input size, and what it gives is the output."""
    boxes: Callable[[np.ndarray], np.ndarray] | None = None
    """Return the boxes of an answer (n, 6): x1 y1 x2 y2 in pixels, score, class; None: it has none."""
    wholes: Sequence[str] = ()
    """The metrics that `resample` gives: of all images together, not means over them."""
    explained: Callable[[Any], Any] | None = None
    """Map the net to the one whose output `selector` reads; None: the net itself."""
    selector: Callable[..., Any] | None = None
    """Build from `target` what is explained of an image, as `fovea.explain` has it; None: nothing."""

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Score what `Task.step` gave for a test batch, without waiting for the device."""
        ...

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the answer for one image uint8 (H, W, 3) whose output the net or `infer` gave."""
        ...

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Show the answer, beside the truth where that is given: uint8 (H', W', 3)."""
        ...

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Describe the answer, or how good it is, in a few words."""
        ...

    def scored(self, score: float) -> list[str] | None:
        """Name the measured score of a test image; None: `lines` finds the same in what is shown."""
        return None

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the line of predictions.csv, by column."""
        ...

    def rows(self, answer: np.ndarray, truth: Truth | None = None) -> list[dict[str, object]]:
        """Return the lines of predictions.csv: one an image, where an answer is one."""
        return [self.row(answer, truth)]

    def picture(self, answer: np.ndarray) -> Image:
        """Return the answer as the file that goes into `folder`."""
        raise NotImplementedError(f"{type(self).__name__} has a folder, but no picture()")

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable | None:
        """Return more scores of a run, from the rows and sums of all its images."""
        return None

    def per_class(self, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return a line for each class, from the rows and sums of all images; empty without classes.

        `class` is its name; `score`, NaN where there is none, perhaps with `correct` of `images` behind it.
        """
        return []

    def resample(self, metric: str, arrays: Mapping[str, np.ndarray], counts: np.ndarray) -> Resampled:
        """Return one of `wholes` from the rows of all images, and of draws in which an image counts so often.

        `counts` is (images, draws) float32.
        """
        raise NotImplementedError(f"{type(self).__name__} has wholes, but no resample()")

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Describe how the answers of a better and a worse model to one image differ."""
        return [f"{self.score} {good['score']:.3f} / {bad['score']:.3f}"]


class ViewFactory(Protocol):
    """A `_partial_` view from the config."""

    def __call__(
        self, *, classes: Sequence[str] = (), labelling: Mapping[str, Any] | None = None
    ) -> TaskView:
        """Build it."""
        ...
