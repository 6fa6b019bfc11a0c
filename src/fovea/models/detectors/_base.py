"""Give every detector one interface: what the heads say, the losses of it, and the detections in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, box_iou, clip_boxes_to_image

from fovea.models._inner_nets import Numbering, matcher
from fovea.ops.box_suppress import rows, suppressed


class Objects(TypedDict):
    """The true objects of one image."""

    boxes: Tensor  # (N, 4) x1 y1 x2 y2 in pixels
    labels: Tensor  # (N,) int64


class Candidates(NamedTuple):
    """Boxes before the suppression of duplicates; N of each image."""

    boxes: Tensor  # (B, N, 4) x1 y1 x2 y2 in pixels, inside of the image
    scores: Tensor  # (B, N)
    labels: Tensor  # (B, N) int64


class Detector(nn.Module):
    """The base of all detectors.

    A net gives (B, D, 6): for each image its D most certain detections, x1 y1 x2 y2 in pixels of the input,
    score and class; where there are fewer the score is 0. `raw` runs the net; `losses` and `detect` both read
    what it gave, so that validation has both from one forward.

    Args:
        num_classes: of the labels, without a background.
        score_threshold: less certain detections are dropped.
        nms_threshold: of two boxes of one class that overlap more, the less certain is dropped.
        max_detections: of an image.
    """

    task = "detection"  # what it is for
    backbone_name: str  # the path of the net that was trained elsewhere

    def __init__(
        self, *, num_classes: int, score_threshold: float, nms_threshold: float, max_detections: int
    ) -> None:
        super().__init__()
        self.num_classes, self.max_detections = num_classes, max_detections
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold

    @property
    def backbone(self) -> nn.Module:
        """The net that was trained elsewhere."""
        return self.get_submodule(self.backbone_name)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to detections (B, D, 6)."""
        return self.detect(self.raw(x))

    def raw(self, x: Tensor) -> Any:
        """Return what the heads say of images (B, C, H, W)."""
        raise NotImplementedError

    def losses(self, raw: Any, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses by name, scalars; their sum is minimised."""
        raise NotImplementedError

    def candidates(self, raw: Any) -> Candidates:
        """Return all boxes that may be detections, as many for every image."""
        raise NotImplementedError

    @torch.no_grad()
    def detect(self, raw: Any, *, duplicates: bool = False) -> Tensor:
        """Return the detections (B, D, 6) that are certain enough, without duplicates unless asked for."""
        return self.keep(self.candidates(raw), duplicates=duplicates)

    def keep(self, found: Candidates, *, duplicates: bool = False) -> Tensor:
        """Return the candidates (B, D, 6) that `detect` does."""
        boxes, scores, labels = found
        scores = torch.where(scores > self.score_threshold, scores, 0.0)
        most = self.max_detections
        if duplicates:
            top, order = scores.topk(min(most, scores.shape[1]), dim=1)
        else:
            top, order = suppressed(boxes, scores, labels, iou=self.nms_threshold, most=most)
        whole = torch.cat([boxes, scores[..., None], labels[..., None].to(boxes.dtype)], dim=2)
        return torch.where(top[..., None] > 0, rows(whole, order), 0.0)

    def split(self, raw: Any) -> list[Any]:
        """Return what the heads say of each image on its own."""
        raise NotImplementedError

    def anchor_boxes(self, raw: Any) -> Tensor | None:
        """Return the boxes (A, 4) that one image's are measured from; None for a net without anchors."""
        return None

    def place(self, raw: Any, box: Tensor, label: Tensor) -> Tensor:
        """Return where the heads say that there is a box (B, 4) of a class (B,) in each image: (B, …)."""
        raise ValueError(
            f"a {type(self).__name__} does not say where its boxes come from, so none can be explained: take "
            "a run of model=yolo_v1, retinanet, fcos, ssdlite or faster_rcnn"
        )

    def logit(self, raw: Any, place: Tensor, label: Tensor) -> Tensor:
        """Return how certain the heads are of a class (B,) at a place of each image (B,), before any sigmoid.

        Gradients reach the image. Where the score is a product it is the sum of the logits of its factors.
        """
        raise NotImplementedError

    def layers(self, raw: Any, place: Tensor) -> list[str]:
        """Return the path of the module whose map each place is read from, with a grid fit to look at."""
        raise NotImplementedError

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the backbone does; the rest is the head."""
        return matcher({self.backbone_name: self.backbone}, coarse=coarse)


class Pyramid(nn.Module):
    """A feature pyramid on the maps of a backbone: Lin et al. (2017), https://arxiv.org/abs/1612.03144.

    Args:
        maps: maps images to maps at strides 8, 16 and 32 with widths `channels`.
        channels: of every level of the pyramid.
        extra: adds coarser levels.
    """

    def __init__(self, *, maps: nn.Module, channels: int, extra: Any = None) -> None:
        super().__init__()
        self.maps, self.out_channels = maps, channels
        widths = list(maps.channels.values())  # type: ignore[operator]
        self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=extra)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the levels (B, channels, h, w), from fine to coarse."""
        return self.fpn(OrderedDict((str(i), m) for i, m in enumerate(self.maps(x))))


class Heads(NamedTuple):
    """What a detector with anchors gave."""

    outputs: dict[str, Tensor]  # (B, anchors of all levels, …)
    anchors: Tensor  # (anchors, 4), the same for all images
    levels: list[int]  # anchors of each level
    size: tuple[int, int]  # of the images


class Anchored(Detector):
    """A single-stage detector of torchvision, without its resizing and normalising: data decide those.

    `net` is torchvision's; its labels begin at `first_label`.
    """

    net: Any
    first_label = 0
    backbone_name = "net.backbone.maps"

    def raw(self, x: Tensor) -> Heads:
        """Run backbone and heads; the anchors follow from the sizes."""
        features = list(self.net.backbone(x).values())
        outputs = {name: value.float() for name, value in self.net.head(features).items()}
        (anchors,) = self.net.anchor_generator(image_list(x[:1]), features)
        places = sum(f.shape[2] * f.shape[3] for f in features)
        each = len(anchors) // places
        levels = [f.shape[2] * f.shape[3] * each for f in features]
        return Heads(outputs, anchors, levels, (x.shape[2], x.shape[3]))

    def losses(self, raw: Heads, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return torchvision's losses."""
        return dict(self._losses(raw, shifted(objects, self.first_label), [raw.anchors] * len(objects)))

    def _losses(
        self, raw: Heads, objects: Sequence[Mapping[str, Tensor]], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        return self.net.compute_loss(objects, raw.outputs, anchors)

    def anchor_boxes(self, raw: Heads) -> Tensor | None:
        """Return the anchors of one image (A, 4)."""
        return raw.anchors

    def place(self, raw: Heads, box: Tensor, label: Tensor) -> Tensor:
        """Return the anchor (B,) whose own box is most like each one, and the more certain."""
        certain = self._certainty(raw, label).exp()  # (B, A)
        overlap = [box_iou(one[None], own)[0] for one, own in zip(box, self._boxes(raw), strict=True)]
        return most_alike(torch.stack(overlap), certain)

    def logit(self, raw: Heads, place: Tensor, label: Tensor) -> Tensor:
        """Return the logit of a class at an anchor of each image (B,)."""
        return self._logits(raw, label).gather(1, place[:, None])[:, 0]

    def layers(self, raw: Heads, place: Tensor) -> list[str]:
        """Return the level of the pyramid that each anchor lies on, the coarsest of the backbone at most."""
        ends = torch.tensor(raw.levels, device=place.device).cumsum(0)
        level = torch.searchsorted(ends, place, right=True)
        return [self._layer(int(one)) for one in level]

    def _layer(self, level: int) -> str:
        """Name the module that gives a level; those beyond the backbone's come from its last one."""
        return f"net.backbone.fpn.layer_blocks.{min(level, 2)}"

    def _logits(self, raw: Heads, label: Tensor) -> Tensor:
        """Return the logit of a class for each anchor (B, A)."""
        return of_label(raw.outputs["cls_logits"], label)

    def _certainty(self, raw: Heads, label: Tensor) -> Tensor:
        """Return the logarithm of the score of a class for each anchor (B, A)."""
        return F.logsigmoid(self._logits(raw, label))

    def _boxes(self, raw: Heads) -> list[Tensor]:
        """Return the box of each anchor of each image (A, 4), within the image."""
        codes = raw.outputs["bbox_regression"]
        return [clip_boxes_to_image(self.decode(one, raw.anchors), raw.size) for one in codes]

    def split(self, raw: Heads) -> list[Heads]:
        """Return what the heads say of each image on its own."""
        parts = zip(*(value.split(1) for value in raw.outputs.values()), strict=True)
        return [raw._replace(outputs=dict(zip(raw.outputs, part, strict=True))) for part in parts]

    def scores(self, outputs: dict[str, Tensor]) -> Tensor:
        """Return the score of each class at each anchor (B, anchors, K): here each on its own."""
        return outputs["cls_logits"].sigmoid()

    def decode(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """Return the boxes (n, 4) that the head says of anchors (n, 4), which it shifts and scales."""
        return self.net.box_coder.decode_single(codes, anchors)

    @torch.no_grad()
    def candidates(self, raw: Heads) -> Candidates:
        """Return the most certain pairs of anchor and class of each level."""
        scores = self.scores(raw.outputs)  # (B, A, K)
        classes, first, found = scores.shape[2], 0, []
        for size in raw.levels:
            level = scores[:, first : first + size].flatten(1)
            top, order = level.topk(min(self.net.topk_candidates, level.shape[1]), dim=1)
            found.append((top, order + first * classes))
            first += size
        top, order = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        anchor = order // classes  # (B, N)
        codes = rows(raw.outputs["bbox_regression"], anchor)
        boxes = self.decode(codes.flatten(0, 1), raw.anchors[anchor.flatten()]).view_as(codes)
        return Candidates(clip_boxes_to_image(boxes, raw.size), top, order % classes)


def most_alike(overlap: Tensor, certain: Tensor) -> Tensor:
    """Return where the overlap (B, A) is largest, of equal ones where the net is more certain (B,)."""
    overlap = overlap.nan_to_num()  # of two boxes without area
    equal = overlap > overlap.amax(dim=1, keepdim=True) - 1e-4
    return torch.where(equal, certain, -1.0).argmax(dim=1)


def of_label(logits: Tensor, label: Tensor) -> Tensor:
    """Return those of one class for each image: (B, A, K), (B,) → (B, A)."""
    return logits.gather(2, label[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]


def image_list(x: Tensor) -> ImageList:
    """Wrap images (B, C, H, W) of one size for torchvision."""
    return ImageList(x, [(x.shape[2], x.shape[3])] * len(x))


def shifted(objects: Sequence[Objects], first: int) -> list[dict[str, Tensor]]:
    """Number the labels of objects from `first`, which torchvision's nets with a background have at 1."""
    return [{"boxes": one["boxes"].float(), "labels": one["labels"] + first} for one in objects]
