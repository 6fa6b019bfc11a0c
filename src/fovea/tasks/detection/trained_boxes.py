"""Keep how large the boxes of the training are, and how well the net's anchors fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from fovea.files import own_folder, replacing

ENOUGH = 2000  # boxes
FILE = Path("predictions") / "anchors.npz"


class TrainedBoxes:
    """Gather the first boxes that train a net, as it sees them: with augmentation, in pixels of its input."""

    def __init__(self) -> None:
        self._sides: list[Tensor] = []  # (N, 2) width and height
        self._overlap: list[Tensor] = []  # (N,) with the anchor that fits best
        self._anchors: Tensor | None = None  # (A, 4)
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether there are enough."""
        return self.count >= ENOUGH

    @torch.no_grad()
    def add(self, anchors: Tensor, boxes: list[Tensor]) -> None:
        """Add the boxes of a batch, a tensor (N, 4) for each image."""
        joined = torch.cat(boxes)[: ENOUGH - self.count].float()
        if len(joined):
            self._sides.append((joined[:, 2:] - joined[:, :2]).cpu())
            self._overlap.append(box_iou(joined, anchors).amax(dim=1).cpu())
            self._anchors, self.count = anchors, self.count + len(joined)

    def write(self, run_dir: Path) -> None:
        """Write `anchors.npz`: `sides` (N, 2) and `overlap` (N,) of boxes, `anchors` (S, 2), their sides."""
        if self._anchors is None:
            return
        sides = (self._anchors[:, 2:] - self._anchors[:, :2]).float().cpu().round(decimals=1)
        arrays: dict[str, Any] = {
            "sides": torch.cat(self._sides).numpy(),
            "overlap": torch.cat(self._overlap).numpy(),
            "anchors": np.unique(sides.numpy(), axis=0),
        }
        path = run_dir / FILE
        own_folder(path.parent)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez(file, **arrays)
