"""Provide R-CNN: Girshick et al. (2014), Rich feature hierarchies, https://arxiv.org/abs/1311.2524."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image

from fovea.models.adapt_input import AdaptInput, check_channels, normalisation
from fovea.models.detectors._base import Candidates, Detector, Objects, shifted
from fovea.models.detectors._proposals import Proposals
from fovea.models.detectors._samples import classify
from fovea.ops.selective_search import selective_search

SMALLEST = 0.01  # pixels of a box


class Proposed(NamedTuple):
    """Images, and where objects may be in each."""

    images: Tensor  # (B, 3, H, W) as the backbone expects them
    boxes: list[Tensor]  # of each image (N, 4)


class RCNN(Detector):
    """Cut the proposals of selective search out of the image, and give each to a classifier of its own.

    A crop is warped to a square with some of what surrounds it. The features of the backbone go to the
    classes with the background, trained by cross-entropy rather than by the paper's support vector machines,
    and to the shifts of the box for each class. Every crop goes through the whole backbone: what Fast and
    Faster R-CNN do once for an image is done here hundreds of times.

    Args:
        backbone: a net of timm without its head.
        mean, std: what the data are normalised with.
        crop: side of what the backbone sees.
        context: share of that side, at each border, that shows what surrounds the proposal; 16 of 227 in the
            paper.
        colours, scales, smallest: see `ops.selective_search`.
        proposals: of an image at most.
        regions: of an image that train, a quarter of them with an object.
        remembered: images whose proposals are kept rather than searched anew.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    backbone_name = "net.box_head.backbone"

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        in_channels: int = 3,
        mean: Sequence[float],
        std: Sequence[float],
        crop: int = 64,
        context: float = 0.07,
        colours: Sequence[str] = ("hsv", "lab"),
        scales: Sequence[float] = (50.0, 100.0),
        smallest: int = 20,
        proposals: int = 300,
        regions: int = 32,
        remembered: int = 20_000,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        check_channels(in_channels, mean)
        if not 0 <= context < 0.5 or crop < 1:
            raise ValueError(
                f"model.net.context={context}, crop={crop}: give a share from 0 to below 0.5, a side"
            )
        search = partial(selective_search, colours=colours, scales=scales, smallest=smallest, most=proposals)
        self.proposals = Proposals(search, mean=mean, std=std, remembered=remembered)
        self.adapt = AdaptInput(mean=mean, std=std, size=None, **normalisation(backbone))
        features = _Features(backbone, crop)
        self.net: Any = RoIHeads(
            _Around(context), features, FastRCNNPredictor(features.width(), num_classes + 1),
            fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=regions, positive_fraction=0.25,
            bbox_reg_weights=None, score_thresh=score_threshold, nms_thresh=nms_threshold,
            detections_per_img=max_detections,
        )  # fmt: skip

    def get_classifier(self) -> nn.Module:
        """Return the layers of classes and boxes: what other classes need anew."""
        return self.net.box_predictor

    def raw(self, x: Tensor) -> Proposed:
        """Search the proposals of images."""
        return Proposed(self.adapt(x), self.proposals(x))

    def losses(self, raw: Proposed, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses of classes and boxes; which proposals are sampled depends on the random state."""
        with _sampling(self.net):
            _, found = self.net(*_given(raw), shifted(objects, 1))
        return dict(found)

    def split(self, raw: Proposed) -> list[Proposed]:
        """Return each image with its proposals."""
        return [Proposed(image, [boxes]) for image, boxes in zip(raw.images.split(1), raw.boxes, strict=True)]

    @torch.no_grad()
    def candidates(self, raw: Proposed) -> Candidates:
        """Classify and shift all proposals: one box of each for each class."""
        images, boxes, sizes = _given(raw)
        heads, counts = self.net, [len(one) for one in boxes]
        logits, codes = heads.box_predictor(heads.box_head(heads.box_roi_pool(images, boxes, sizes)))
        placed = heads.box_coder.decode(codes, boxes).view(-1, self.num_classes + 1, 4)[:, 1:]
        placed = clip_boxes_to_image(placed, sizes[0])  # (N, K, 4)
        shares = logits.softmax(dim=1)[:, 1:]
        shares = torch.where((placed[..., 2:] - placed[..., :2]).amin(dim=2) >= SMALLEST, shares, 0.0)
        label = torch.arange(self.num_classes, device=shares.device).expand_as(shares)
        parts = [
            pad_sequence([one.flatten(0, 1) for one in part.split(counts)], batch_first=True)
            for part in (placed, shares, label)
        ]
        return Candidates(*parts)


class _Around(nn.Module):
    """Add to boxes what surrounds them; what is cut out of images is up to the next layer."""

    def __init__(self, context: float) -> None:
        super().__init__()
        self.grown = 1 / (1 - 2 * context)

    def forward(
        self, images: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the images, and the boxes (N, 4) of each with their context."""
        around = []
        for box in boxes:
            middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2 * self.grown
            around.append(torch.cat([middle - half, middle + half], dim=1))
        return images["pixels"], around


class _Features(nn.Module):
    """Cut boxes out of images, warp them to squares and compute their features; outside an image is grey."""

    def __init__(self, backbone: nn.Module, side: int) -> None:
        super().__init__()
        self.backbone, self.size = backbone, (side, side)

    def width(self) -> int:
        """Return the number of features."""
        training = self.backbone.training
        with torch.no_grad():
            found = self.backbone.eval()(torch.zeros(1, 3, *self.size))
        self.backbone.train(training)
        return found.shape[1]

    def forward(self, given: tuple[Tensor, list[Tensor]]) -> Tensor:
        """Return the features of the boxes of all images (N, F)."""
        images, boxes = given
        return classify(self.backbone, images, boxes, size=self.size).float()


def _given(raw: Proposed) -> tuple[OrderedDict[str, Tensor], list[Tensor], list[tuple[int, int]]]:
    size = (raw.images.shape[2], raw.images.shape[3])
    return OrderedDict(pixels=raw.images), list(raw.boxes), [size] * len(raw.images)


@contextmanager
def _sampling(heads: nn.Module) -> Iterator[None]:
    """Have the heads sample proposals, as in training, whatever mode their layers are in."""
    before = heads.training
    heads.training = True
    try:
        yield
    finally:
        heads.training = before
