"""Say of each anchor of each cell of one map whether an object is there and where: the grid of YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from fovea.models._inner_nets import drop_unused
from fovea.models.detectors._base import Detector, Objects

ANCHORS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (2, 3), (3, 2), (3, 5), (5, 3))  # width, height in cells
PRIOR = -4.0  # logit of the confidence before training


class Grid(NamedTuple):
    """What the head says of each cell; A anchors, K classes, h × w cells."""

    confidence: Tensor  # (B, A, h, w) logits
    offset: Tensor  # (B, A, h, w, 4) shift of the centre in cells, -0.5 to 0.5, and log of the sides
    logits: Tensor  # (B, h, w, K) of the classes, one set a cell; K may be 0
    stride: tuple[float, float]  # pixels of a cell, x and y
    size: tuple[int, int]  # of the images


class Assigned(NamedTuple):
    """Which anchors have an object; P of them."""

    at: tuple[Tensor, Tensor, Tensor, Tensor]  # image, anchor, row and column (P,)
    offset: Tensor  # (P, 4) what they should say
    label: Tensor  # (P,)
    negative: Tensor  # (B, A, h, w) bool: those that overlap no object


class GridDetector(Detector):
    """The base of detectors whose first or only stage reads one map: Redmon et al. (2016).

    The head is conv – dropout – leaky ReLU – conv. An object belongs to the cell of its centre, and there to
    the anchor that it overlaps most.

    Args:
        backbone: maps images to maps at strides 8, 16 and 32, such as `strided_maps.StridedMaps`.
        classes: of which the head tells each cell's; 0 for none.
        stride: 8, 16 or 32: the map that is read.
        hidden: channels of the head.
        drop_rate: of the dropout in the head.
        anchors: widths and heights in cells.
        negative_below: an anchor whose overlap with every object is below it should have confidence 0.
        negative_weight: of those in the loss of the confidence.
        detector: what `Detector` takes.
    """

    anchors: Tensor  # (A, 2)
    map: _Map
    backbone_name = "map.maps"

    def __init__(
        self,
        *,
        backbone: nn.Module,
        classes: int,
        in_channels: int,
        stride: int,
        hidden: int,
        drop_rate: float,
        anchors: Sequence[Sequence[float]],
        negative_below: float,
        negative_weight: float,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        channels: dict[int, int] = backbone.channels  # type: ignore[assignment]
        if stride not in channels:
            raise ValueError(f"stride={stride}: the backbone has maps at {', '.join(map(str, channels))}")
        self.map = _Map(backbone, list(channels).index(stride))
        size = getattr(backbone, "size", None) or (64, 64)
        drop_unused(self.map, size=size, in_channels=in_channels)  # the layers beyond the map
        self.classes, self.map_channels, self.stride = classes, channels[stride], stride
        self.negative_below, self.negative_weight = negative_below, negative_weight
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        self.head = nn.Sequential(
            nn.Conv2d(channels[stride], hidden, 1),
            nn.Dropout(drop_rate),
            nn.LeakyReLU(),
            nn.Conv2d(hidden, 5 * len(anchors) + classes, 1),
        )
        with torch.no_grad():  # hardly any anchor has an object
            self.head[-1].bias[: 5 * len(anchors) : 5] = PRIOR  # type: ignore[operator]
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    def grid(self, features: Tensor, size: Sequence[int]) -> Grid:
        """Run the head on the map (B, C, h, w) of images [H, W]."""
        out = self.head(features).float()  # (B, 5 A + K, h, w)
        boxes, logits = out.split([5 * len(self.anchors), self.classes], dim=1)
        boxes = boxes.unflatten(1, (-1, 5)).permute(0, 1, 3, 4, 2)  # (B, A, h, w, 5)
        shift, sides = boxes[..., 1:3].sigmoid() - 0.5, boxes[..., 3:5]
        height, width = size
        return Grid(
            boxes[..., 0], torch.cat([shift, sides], dim=-1), logits.permute(0, 2, 3, 1),
            (width / out.shape[3], height / out.shape[2]), (height, width),
        )  # fmt: skip

    def place_losses(self, raw: Grid, found: Assigned) -> dict[str, Tensor]:
        """Return the losses of confidence and offsets, summed over an image and averaged over images.

        Squared errors of the offsets; cross-entropy of the confidence, which the paper trains by squared
        errors, too: through a sigmoid those hardly move what is sure and wrong.
        """
        positive = F.softplus(-raw.confidence[found.at]).sum()
        negative = (F.softplus(raw.confidence) * found.negative).sum() * self.negative_weight
        offset = (raw.offset[found.at] - found.offset).square().sum()
        images = len(raw.confidence)
        return {"confidence": (positive + negative) / images, "offset": offset / images}

    def split_grid(self, raw: Grid) -> list[Grid]:
        """Return what the head says of each image on its own."""
        parts = zip(raw.confidence.split(1), raw.offset.split(1), raw.logits.split(1), strict=True)
        return [Grid(*part, raw.stride, raw.size) for part in parts]

    @torch.no_grad()
    def assign(self, raw: Grid, objects: Sequence[Objects]) -> Assigned:
        """Give each object to an anchor; of two at one place the larger has it."""
        boxes = torch.cat([one["boxes"].float() for one in objects])  # (M, 4)
        labels = torch.cat([one["labels"] for one in objects])
        image = torch.repeat_interleave(
            torch.arange(len(objects), device=boxes.device),
            torch.tensor([len(one["boxes"]) for one in objects], device=boxes.device),
        )
        cell = boxes.new_tensor(raw.stride)
        centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2 / cell, (boxes[:, 2:] - boxes[:, :2]) / cell
        _, A, h, w = raw.confidence.shape
        column, row = centre[:, 0].long().clamp(0, w - 1), centre[:, 1].long().clamp(0, h - 1)
        shared = torch.minimum(sides[:, None], self.anchors).prod(dim=2)  # (M, A) as if centred alike
        overlap = shared / (sides.prod(dim=1)[:, None] + self.anchors.prod(dim=1) - shared)
        anchor = overlap.argmax(dim=1)
        first = _first_of_equal(((image * A + anchor) * h + row) * w + column, -sides.prod(dim=1))
        image, anchor, row, column = (value[first] for value in (image, anchor, row, column))
        shift = centre[first] - torch.stack([column, row], dim=1) - 0.5
        offset = torch.cat([shift, (sides[first] / self.anchors[anchor]).log()], dim=1)
        places = self.places(raw)
        negative = torch.stack([
            box_iou(places, one["boxes"].float()).amax(dim=1) < self.negative_below
            if len(one["boxes"]) else torch.ones(len(places), dtype=torch.bool, device=places.device)
            for one in objects
        ]).view(raw.confidence.shape)  # fmt: skip
        negative[image, anchor, row, column] = False
        return Assigned((image, anchor, row, column), offset, labels[first], negative)

    def places(self, raw: Grid) -> Tensor:
        """Return the anchors as boxes (A h w, 4)."""
        none = torch.zeros(1, *raw.offset.shape[1:], device=raw.offset.device)
        return self.decode(none, raw, clip=False).flatten(0, 3)

    def decode(self, offset: Tensor, raw: Grid, *, clip: bool = True) -> Tensor:
        """Return boxes (B, A, h, w, 4) in pixels."""
        _, _, h, w, _ = offset.shape
        x, y = (torch.arange(n, device=offset.device) + 0.5 for n in (w, h))
        middle = torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1)  # (h, w, 2)
        centre = middle + offset[..., :2]
        half = self.anchors[:, None, None] * offset[..., 2:].clamp(max=4).exp() / 2
        cell = torch.tensor(raw.stride * 2, device=offset.device)
        boxes = torch.cat([centre - half, centre + half], dim=-1) * cell
        if not clip:
            return boxes
        height, width = raw.size
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


class _Map(nn.Module):
    """One of the maps of a backbone."""

    maps: nn.Module

    def __init__(self, maps: nn.Module, level: int) -> None:
        super().__init__()
        self.maps, self.level = maps, level

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (B, C, h, w)."""
        return self.maps(x)[self.level]


def _first_of_equal(keys: Tensor, order: Tensor) -> Tensor:
    """Return for each key (M,) the position of its first member in the order of `order` (M,)."""
    rank = order.argsort(stable=True)
    by_key = rank[keys[rank].argsort(stable=True)]
    ordered = keys[by_key]
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return by_key[new]
