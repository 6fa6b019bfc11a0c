"""Find a face by a cascade of Haar-like features: Viola & Jones (2001), https://doi.org/10.1109/CVPR.2001.990517."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fovea.models.classic._cascade import Cascade
from fovea.models.classic._fitted import Fitted
from fovea.models.classic._grey import Grey
from fovea.ops.box_losses import iou

EPS = 0.2  # share of the side by which windows of one face may differ, as OpenCV groups them
ON_OBJECT = 0.3  # IoU from which a face that was found is on the object


class HaarFaces(Fitted):
    """Give the logits of an image and the box of the face in it, by a cascade that was trained elsewhere.

    What the training images tell is how often each class has a face, which are the logits (log of the share,
    each count one higher), and how far the annotator's box lies beside the cascade's, which frames eyes to
    mouth. Where no face is found the box is empty: 0 0 0 0.

    Args:
        scale_factor: how much larger each size of the window is than the one before.
        smallest: side in pixels of the smallest face.
        min_neighbors: windows that must agree on a face.
        mean, std: by which the images were normalised.
    """

    counts: Tensor  # (2, K) images without and with a face
    offset: Tensor  # (4,) of the annotated box, in sides of the window

    def __init__(
        self,
        *,
        num_classes: int,
        scale_factor: float = 1.1,
        smallest: int = 20,
        min_neighbors: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if min_neighbors < 1:
            raise ValueError(f"min_neighbors={min_neighbors}: at least 1 window must find a face")
        self.min_neighbors = min_neighbors
        self.grey = Grey(mean=mean, std=std)
        self.cascade = Cascade(scale_factor=scale_factor, smallest=smallest)
        self.register_buffer("counts", torch.zeros(2, num_classes))
        self.register_buffer("offset", torch.zeros(4))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits and box (B, K + 4)."""
        windows = self._find(x)
        found = windows.isfinite().all(dim=1)
        shares = (self.counts + 1) / (self.counts + 1).sum(dim=1, keepdim=True)
        sides = windows[:, 2:3] - windows[:, :1]
        boxes = (windows + self.offset * sides) / _sides(x)
        boxes = torch.where(found[:, None], boxes.clamp(0, 1), 0.0)
        return torch.cat([shares.log()[found.long()], boxes], dim=1)

    def note(self, x: Tensor, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Return class and whether a face was found (B,), and of those on the object the offsets (n, 4)."""
        windows, true = self._find(x), target[:, 1:] * _sides(x)
        found = windows.isfinite().all(dim=1)
        on_object = iou(windows.nan_to_num(), true.nan_to_num()) >= ON_OBJECT
        offsets = (true - windows) / (windows[:, 2:3] - windows[:, :1])
        return target[:, 0].long(), found.long(), offsets[on_object]

    def fit(self, *notes: Tensor) -> None:
        """Count the classes with and without a face, and average the offsets."""
        labels, found, offsets = notes
        numbers = found * self.counts.shape[1] + labels
        self.counts.copy_(numbers.bincount(minlength=self.counts.numel()).view_as(self.counts))
        self.offset.copy_(offsets.mean(dim=0) if len(offsets) else torch.zeros(4))

    def _find(self, x: Tensor) -> Tensor:
        """Return the window (B, 4) in pixels with a face, NaN where there is none."""
        found = self.cascade(255 * self.grey(x))
        return torch.stack([most_agreed(hits, least=self.min_neighbors) for hits in found])


def most_agreed(hits: Tensor, *, least: int) -> Tensor:
    """Return the mean (4,) of the hits near the one with most near it, NaN where these are below `least`."""
    if not len(hits):
        return hits.new_full((4,), float("nan"))
    sides = hits[:, 2:] - hits[:, :2]
    smaller = torch.minimum(sides[:, None], sides[None])  # (n, n, 2)
    apart = (hits[:, None] - hits[None]).abs().amax(dim=2)  # (n, n)
    near = apart <= EPS * smaller.mean(dim=2)
    best = near.sum(dim=1).argmax()
    group = hits[near[best]]
    return group.mean(dim=0) if len(group) >= least else hits.new_full((4,), float("nan"))


def _sides(x: Tensor) -> Tensor:
    return x.new_tensor([x.shape[3], x.shape[2]] * 2, dtype=torch.float32)
