"""Put four images of a batch together into one, with their boxes and masks."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops import rng
from fovea.ops.annotations import VISIBLE, keep_boxes
from fovea.ops.augment import draw, replaced
from fovea.types import Batch

log = logging.getLogger(__name__)

CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))  # x, y of each quarter


class Mosaic:
    """Show in the quarters around a point a part each of an image and of three others of its batch.

    Bochkovskiy et al. (2020), https://arxiv.org/abs/2004.10934, section 3.3. All are made smaller by one
    factor, uniform in `scale`, each lies with one of its corners at the point, and the point is drawn so that
    they fill the image. Boxes are cut to their quarter, and dropped where less than a quarter of them stays.

    Args:
        p: probability that an image is replaced.
        scale: least and largest factor of size, from 0.5 to 1.
        close: epochs at the end that train on whole images, so that the net ends with what it will see
            (Ge et al. 2021, https://arxiv.org/abs/2107.08430).
        epochs: of the whole training; None or -1 where nobody knows, and then it never closes.
    """

    def __init__(
        self,
        *,
        p: float = 1.0,
        scale: tuple[float, float] = (0.5, 1.0),
        close: int = 0,
        epochs: int | None = None,
        stream: int = 8,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Mosaic: p={p} must lie between 0 and 1")
        if not 0.5 <= scale[0] <= scale[1] <= 1:
            raise ValueError(f"Mosaic: scale={list(scale)} must rise within 0.5…1: smaller images leave gaps")
        if close < 0:
            raise ValueError(f"Mosaic: close={close} is negative: it counts the last epochs")
        if epochs is not None and 0 < epochs <= close and p > 0:
            log.warning(
                "Mosaic: close=%d leaves none of the epochs (trainer.max_epochs=%d) with mosaics: set "
                "augment.batch.mosaic.close lower",
                close, epochs,
            )  # fmt: skip
        self.p, self.scale, self.close, self.epochs, self.stream = p, scale, close, epochs, stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Replace the chosen images; labels of a whole image and instances have no meaning in a mosaic."""
        if lost := [key for key in ("label", "instances", "keypoints") if key in batch]:
            raise ValueError(
                f"Mosaic mixes four images, of which {', '.join(lost)} cannot be kept: set data.targets to "
                "[boxes,labels] or [mask], or choose another augment"
            )
        if self.epochs is not None and 0 <= self.epochs <= batch["epoch"] + self.close:
            return batch
        chosen = draw(batch, seed=seed, n=1, stream=self.stream)[:, 0] < self.p
        sources, factor, point = self._draw(batch, seed)
        out = replaced(batch, image=_paste(batch["image"].float(), sources, factor, point, chosen))
        if "mask" in batch:
            mask = _paste(batch["mask"][:, None].float(), sources, factor, point, chosen, mode="nearest")
            out = replaced(out, mask=mask[:, 0].to(batch["mask"].dtype))
        return _boxes(out, sources, factor, point, chosen) if "boxes" in batch else out

    def _draw(self, batch: Batch, seed: int) -> tuple[Tensor, float, Tensor]:
        """Return the source of each quarter (4, B), the factor of size, and the points (B, 2) in pixels."""
        image, first = batch["image"], int(batch["index"][0])
        generator = np.random.default_rng(rng.seed_for(seed, batch["epoch"], first, stream=self.stream))
        own = np.arange(len(image))
        sources = np.stack([own, *(generator.permutation(len(image)) for _ in range(3))])
        factor = float(generator.uniform(self.scale[0], self.scale[1]))
        height, width = image.shape[-2:]
        h, w = _scaled(height, width, factor)
        low, high = np.array([width - w, height - h]), np.array([w, h])
        place = draw(batch, seed=seed, n=2, stream=self.stream + 1000).cpu().numpy()
        point = np.floor(low + place * (high - low + 1)).clip(low, high)
        return torch.from_numpy(sources), factor, torch.from_numpy(point).long()


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    """Return the sides of the smaller images, at least half of the whole, so that four of them fill it."""
    h, w = (max(round(factor * side), -(-side // 2)) for side in (height, width))
    return h, w


def _paste(
    images: Tensor, sources: Tensor, factor: float, point: Tensor, chosen: Tensor, *, mode: str = "bilinear"
) -> Tensor:
    """Return mosaics (B, C, H, W) in place of the chosen images."""
    height, width = images.shape[-2:]
    h, w = _scaled(height, width, factor)
    smooth = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
    small = F.interpolate(images, size=(h, w), mode=mode, **smooth)
    out = images.clone()
    for b in chosen.nonzero()[:, 0].tolist():
        x, y = point[b].tolist()
        for quarter, (right, below) in enumerate(CORNERS):
            one = small[sources[quarter, b]]
            columns = (slice(x, width), slice(0, width - x)) if right else (slice(0, x), slice(w - x, w))
            rows = (slice(y, height), slice(0, height - y)) if below else (slice(0, y), slice(h - y, h))
            out[b, :, rows[0], columns[0]] = one[:, rows[1], columns[1]]
    return out


def _boxes(batch: Batch, sources: Tensor, factor: float, point: Tensor, chosen: Tensor) -> Batch:
    """Move the boxes of every source into its quarter; those of images that are not chosen stay."""
    given: Any = batch
    boxes, at = given["boxes"], given["batch_index"]
    height, width = given["image"].shape[-2:]
    h, w = _scaled(height, width, factor)
    shrink, sides = boxes.new_tensor([w / width, h / height] * 2), boxes.new_tensor([width, height])
    point = point.to(boxes)
    rows, corners, images = [torch.arange(len(boxes), device=boxes.device)], [boxes], [at]
    keeps = [~chosen[at]]
    for quarter, corner in enumerate(CORNERS):
        target = sources[quarter].argsort().to(at.device)[at]  # the mosaic that shows the image of each box
        away = boxes.new_tensor(corner)
        low, high = point[target] * away, torch.where(away > 0, sides, point[target])
        shift = point[target] - (1 - away) * boxes.new_tensor([w, h])
        moved = boxes * shrink + shift.repeat(1, 2)
        cut = torch.cat([moved[:, :2].maximum(low), moved[:, 2:].minimum(high)], dim=1)
        seen, whole = (cut[:, 2:] - cut[:, :2]).clamp(min=0), moved[:, 2:] - moved[:, :2]
        keeps.append(chosen[target] & (seen > 0).all(1) & (seen.prod(1) >= VISIBLE * whole.prod(1)))
        rows.append(rows[0])
        corners.append(cut)
        images.append(target)
    image, row = torch.cat(images), torch.cat(rows)
    more = {key: given[key][row] for key in ("labels", "ignore") if key in given}
    every = replaced(batch, boxes=torch.cat(corners), batch_index=image, **more)
    kept: Any = keep_boxes(every, torch.cat(keeps))
    order = kept["batch_index"].argsort(stable=True)  # the boxes of an image lie together
    return replaced(kept, **{k: kept[k][order] for k in ("boxes", "batch_index", *more)})
