"""Read the attention of one image: its maps, their statistics, their share in the object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.analyses.attention.statistics import (
    attention_distance,
    attention_entropy,
    share_inside,
)
from fovea.explain.analyses.base import file_stem
from fovea.explain.analyses.faithfulness.scores import boxes_to_region
from fovea.explain.core.attention import AttentionMaps, capture, precise
from fovea.explain.core.in_place import require_tokens_in_place
from fovea.explain.core.method import enlarge, explaining
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import to_uint8
from fovea.explain.core.targets import Target
from fovea.explain.methods.class_attention import Fuse, class_map, discard_heads, placed
from fovea.explain.methods.relevance import Relevance
from fovea.explain.methods.rollout import Rollout
from fovea.types import IGNORE

MASKED = 1e-20  # what is masked has exp(-100) of the weight of others


@dataclass(frozen=True, kw_only=True)
class AttentionLayer:
    """One layer of attention for one image.

    Attributes:
        path: of the module.
        heads: (heads, h, w), the attention of the tokens that the head of the net reads.
        fused: (h, w) by the name of the fusion.
        distance: (heads,) in pixels.
        entropy: (heads,) in nats.
        tokens: n, among which each token attends.
        even: the distance under uniform attention.
    """

    path: str
    heads: Tensor
    fused: dict[str, Tensor]
    distance: Tensor
    entropy: Tensor
    tokens: int
    even: float

    @property
    def grid(self) -> tuple[int, int]:
        """Return (h, w)."""
        return self.heads.shape[1], self.heads.shape[2]

    @property
    def entropy_share(self) -> Tensor:
        """Return the entropy (heads,) as a share of ln n, its largest value."""
        return self.entropy / math.log(self.tokens) if self.tokens > 1 else torch.zeros_like(self.entropy)


@dataclass(frozen=True, kw_only=True)
class AttentionSample:
    """The attention of a net in one image.

    Attributes:
        id: of the image.
        stem: names its files.
        picture: uint8 (H, W, 3).
        layers: the first layer first.
        area: share of the image that the object covers, None where no object is known.
        inside: share of a map that falls in the object: one per layer, then rollout and relevance.
    """

    id: str
    stem: str
    picture: np.ndarray
    layers: list[AttentionLayer]
    area: float | None = None
    inside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AttentionReader:
    """Reads attention with fusions by name, leaving out what the ratios say."""

    fuse: Mapping[str, Fuse]
    head_discard_ratio: float = 0.0
    discard_ratio: float = 0.0

    def read(self, model: ExplainedModel, batch: ImageBatch, row: int) -> AttentionSample:
        """Read the image at `row` of `batch`."""
        net, image = model.net, batch.image[row : row + 1].to(model.device)
        with explaining(net), torch.no_grad(), capture(net) as maps:
            output = net(image)
        size, paths = (image.shape[2], image.shape[3]), placed(net, maps)
        require_tokens_in_place(net, image, paths[0], maps.layouts[paths[0]])
        layers = [self._layer(net, maps, path, size) for path in paths]
        area, inside = None, {}
        found = find_object(model, batch, row)
        if found is not None:
            region, counted = found
            area = float(region.sum() / counted.sum())
            target = model.selector.target(model.selector.predicted(output))
            heats = self._heats(net, image, target, layers)
            inside = {name: float(share_inside(h.cpu() * counted, region)) for name, h in heats.items()}
        picture = to_uint8(model.pixels.decode(batch.image[row]))
        at = batch.rows[row]
        name = str(model.ids[at])
        return AttentionSample(
            id=name, stem=file_stem(model, at), picture=picture, layers=layers, area=area, inside=inside
        )

    def _layer(self, net: nn.Module, maps: AttentionMaps, path: str, size: tuple[int, int]) -> AttentionLayer:
        layout, weights = maps.layouts[path], precise(maps[path])
        kept = discard_heads(weights, self.head_discard_ratio)
        fused = {
            name: class_map(net, fuse(kept)[:, None], layout)[0, 0].cpu() for name, fuse in self.fuse.items()
        }
        patch = (size[0] / layout.grid[0], size[1] / layout.grid[1])
        allowed = (weights.amax(1, keepdim=True) > MASKED).float()  # (windows, 1, n, n), in shifted windows
        return AttentionLayer(
            path=path,
            heads=class_map(net, weights, layout)[0].cpu(),
            fused=fused,
            distance=attention_distance(weights, layout, patch_size=patch)[0].cpu(),
            entropy=attention_entropy(weights, layout)[0].cpu(),
            tokens=weights.shape[-1],
            even=float(attention_distance(allowed, layout, patch_size=patch)),
        )

    def _heats(
        self, net: nn.Module, image: Tensor, target: Target, layers: Sequence[AttentionLayer]
    ) -> dict[str, Tensor]:
        """Return the maps (1, H, W) whose share in the object is compared, by name."""
        first, size = next(iter(self.fuse)), (image.shape[2], image.shape[3])
        heats = {layer_name(k): enlarge(layer.fused[first][None], size) for k, layer in enumerate(layers)}
        fuse, heads = self.fuse[first], self.head_discard_ratio
        rollout = Rollout(fuse=fuse, discard_ratio=self.discard_ratio, head_discard_ratio=heads)
        return heats | {"rollout": rollout(net, image), "relevance": Relevance()(net, image, target)}


def layer_name(number: int) -> str:
    """Name a layer, counted from 0, as people count."""
    return f"layer {number + 1}"


def find_object(model: ExplainedModel, batch: ImageBatch, row: int) -> tuple[Tensor, Tensor] | None:
    """Return the object's pixels and those that count, both (1, H, W) of 0 and 1; None where none is known.

    It is what is marked as the image's class by boxes or else by the mask, or all that is marked where
    nothing is of that class; what the mask says is to be ignored is left out.
    """
    label, size = int(batch.label[row]), (batch.image.shape[2], batch.image.shape[3])
    counted = torch.ones(1, *size)
    if batch.boxes is not None and len(batch.boxes[row]):
        boxes = batch.boxes[row].float()
        labels = None if batch.box_labels is None else batch.box_labels[row]
        own = boxes[labels == label] if labels is not None else boxes
        region = boxes_to_region(own if len(own) else boxes, size)[None].float()
    elif batch.mask is not None:
        mask = batch.mask[row][None]
        counted = (mask != IGNORE).float()
        own = mask == label + model.mask_offset if label >= 0 else mask < 0
        region = (own if own.any() else mask > 0).float() * counted
    else:
        return None
    return (region, counted) if region.any() else None
