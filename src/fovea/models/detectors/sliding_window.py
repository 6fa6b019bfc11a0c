"""Provide a detector that slides a classifier over images: Viola & Jones (2001), Sermanet et al. (2013)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image

from fovea.models._checks import height_width
from fovea.models._weights import State, load_weights
from fovea.models.detectors._base import Candidates, Detector, Objects
from fovea.models.detectors._samples import classify, jittered, sample

CANDIDATES = 1000  # of an image, before non-maximum suppression
JITTERED = 16  # copies of each true box among the windows that train
JITTER = 0.15  # how far their sides move, as a share of the box


class SlidingWindow(Detector):
    """Classify a window of one size at every place of an image pyramid, and keep the most certain ones.

    Before each class stands no proposal: all windows go through the classifier. The classifier learns from
    windows of the training images, with one class more for the background; or it was trained on whole images
    and has none: then the largest probability is the score, and the threshold alone keeps windows out.

    OverFeat (https://arxiv.org/abs/1312.6229) computes what windows share once; here every window is
    resampled on its own, so that any classifier will do.

    Args:
        classifier: builds a classifier, given `num_classes`.
        background: whether it has a class for what is no object, the last of its outputs.
        checkpoint: a file of the classifier's weights, such as best.ckpt of a classification; the weights of
            its classes are kept where it knows no background.
        window: side, or [H, W], of what the classifier sees.
        smallest: side in pixels of the smallest window in the image.
        scale_step: how much larger the windows of the next scale are.
        stride: between windows, as a share of their sides.
        aspects: width by height of the windows.
        samples: windows of an image that train.
        negative_ratio: windows of the background for each one with an object, at most.
        positive: least overlap with an object of a window that shows it.
        negative: overlap with every object below which a window is background.
        average: place each detection at the mean of the windows that it stands for, weighted by their scores.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    backbone_name = "classifier"

    def __init__(
        self,
        *,
        classifier: Callable[..., nn.Module],
        num_classes: int,
        background: bool = True,
        checkpoint: str | None = None,
        window: int | Sequence[int] = 32,
        smallest: float = 32.0,
        scale_step: float = 1.25,
        stride: float = 0.25,
        aspects: Sequence[float] = (1.0,),
        samples: int = 32,
        negative_ratio: float = 3.0,
        positive: float = 0.6,
        negative: float = 0.4,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        average: bool = True,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        _check(smallest=smallest, scale_step=scale_step, stride=stride, aspects=aspects, samples=samples,
               positive=positive, negative=negative)  # fmt: skip
        if num_classes == 1 and not background:
            raise ValueError(
                "model.net.background=false with one class: every window would be of it; train with true"
            )
        self.classifier = classifier(num_classes=num_classes + background)
        self.background, self.window = background, height_width(window)
        self.grid: dict[str, Any] = {
            "smallest": smallest, "scale_step": scale_step, "stride": stride, "aspects": tuple(aspects),
        }  # fmt: skip
        self.sampling: dict[str, Any] = {
            "number": samples, "ratio": negative_ratio, "positive": positive, "negative": negative,
            "background": num_classes if background else None,
        }  # fmt: skip
        self.average = average
        self.pretrained_cfg = getattr(self.classifier, "pretrained_cfg", None)
        if checkpoint is not None:
            self._load(checkpoint)

    def get_classifier(self) -> Any:
        """Return the last layer, which other classes need anew."""
        get = getattr(self.classifier, "get_classifier", None)
        return get() if callable(get) else list(self.classifier.children())[-1]

    def raw(self, x: Tensor) -> Tensor:
        """Return the images: which windows are classified depends on what is asked."""
        return x

    def losses(self, raw: Tensor, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the cross-entropy of windows drawn around and beside the objects."""
        places = windows(raw.shape[2:], **self.grid).to(raw.device)
        boxes = [
            torch.cat([places, jittered(one["boxes"].float(), times=JITTERED, share=JITTER)])
            for one in objects
        ]
        drawn = sample(boxes, objects, **self.sampling)
        if not len(drawn.labels):  # without a background, of images without an object
            return {"class": raw.sum() * 0.0}
        logits = classify(self.classifier, raw, drawn.boxes, size=self.window).float()
        return {"class": F.cross_entropy(logits, drawn.labels)}

    def split(self, raw: Tensor) -> list[Tensor]:
        """Return each image on its own."""
        return list(raw.split(1))

    @torch.no_grad()
    def candidates(self, raw: Tensor) -> Candidates:
        """Classify all windows, and return the most certain."""
        places = windows(raw.shape[2:], **self.grid).to(raw.device)
        logits = classify(self.classifier, raw, [places] * len(raw), size=self.window).float()
        shares = logits.softmax(dim=1)[:, : self.num_classes].unflatten(0, (len(raw), -1))  # (B, N, K)
        score, label = shares.max(dim=2)
        top, order = score.topk(min(CANDIDATES, score.shape[1]), dim=1)
        return Candidates(places[order], top, label.gather(1, order))

    def keep(self, found: Candidates, *, duplicates: bool = False) -> Tensor:
        """Keep the most certain of the windows that overlap, perhaps at the mean place of those."""
        kept = super().keep(found, duplicates=duplicates)
        if duplicates or not self.average:
            return kept
        scores = torch.where(found.scores > self.score_threshold, found.scores, 0.0)
        near = torch.stack([box_iou(*pair) for pair in zip(kept[..., :4], found.boxes, strict=True)])
        alike = kept[..., 5:] == found.labels[:, None]  # (B, D, N)
        weight = (near > self.nms_threshold) * alike * scores[:, None]
        placed = weight @ found.boxes / weight.sum(dim=2, keepdim=True)
        there = kept[..., 4:5] > 0
        return torch.cat([torch.where(there, placed, 0.0), kept[..., 4:]], dim=2)

    def _load(self, checkpoint: str) -> None:
        head = self.get_classifier()
        names = [name for name, module in self.classifier.named_modules() if module is head]
        own = self.classifier.state_dict()

        def with_background(state: State) -> State:
            """Give the head of a classifier that knows no background an output for it that says 0."""
            for key in own.keys() & state.keys():
                lacking = len(own[key]) - len(state[key]) if own[key].ndim and state[key].ndim else 0
                if self.background and lacking == 1 and any(key.startswith(f"{name}.") for name in names):
                    state = {**state, key: torch.cat([state[key], torch.zeros_like(state[key][:1])])}
            return state

        load_weights(self.classifier, checkpoint, head=names, prepare=with_background)


def windows(
    size: Sequence[int], *, smallest: float, scale_step: float, stride: float, aspects: Sequence[float]
) -> Tensor:
    """Return all windows (N, 4) in an image [H, W]: rows of equal size, the last at the far border.

    The largest window of each aspect is the largest of the image; none is larger than the image.
    """
    height, width = size
    sides: dict[tuple[float, float], None] = {}
    for aspect in aspects:
        side = smallest
        while not sides or next(reversed(sides)) != (width, height):
            sides[min(side * aspect**0.5, width), min(side / aspect**0.5, height)] = None
            side *= scale_step
        sides.pop((float(width), float(height)))
    sides[float(width), float(height)] = None
    found = []
    for w, h in sides:
        x, y = _steps(width, w, stride), _steps(height, h, stride)
        left, top = (value.flatten() for value in torch.meshgrid(x, y, indexing="xy"))
        found.append(torch.stack([left, top, left + w, top + h], dim=1))
    return clip_boxes_to_image(torch.cat(found), (height, width))


def _steps(length: int, side: float, stride: float) -> Tensor:
    """Return the beginnings of windows along one side of the image, evenly from end to end."""
    rest = length - side
    return torch.linspace(0, rest, math.ceil(rest / (stride * side) - 1e-6) + 1)


def _check(*, aspects: Sequence[float], positive: float, negative: float, **options: float) -> None:
    if wrong := [f"{k}={v}" for k, v in options.items() if not v > (1 if k == "scale_step" else 0)]:
        raise ValueError(f"model.net.{wrong[0]}: give a larger number (scale_step above 1, others above 0)")
    if not aspects or min(aspects) <= 0:
        raise ValueError(f"model.net.aspects={list(aspects)}: give width by height, such as [0.5,1,2]")
    if not 0 < negative <= positive <= 1:
        raise ValueError(
            f"model.net.positive={positive} and negative={negative}: overlaps in 0…1, negative the smaller"
        )
