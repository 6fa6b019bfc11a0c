"""Find objects by linear classifiers on histograms of gradients: Dalal & Triggs (2005)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.models.classic._windows import WindowSearch, with_box
from fovea.ops.box_losses import iou
from fovea.ops.hog import hog, hog_shape


class HogSVM(WindowSearch):
    """Give the margin of the best window for the linear SVM of each class, and that window.

    A window is described by its histograms of oriented gradients (https://doi.org/10.1109/CVPR.2005.177). The
    SVM of a class, scikit-learn's, tells its boxes from those of the others and from the background: windows
    at random in the first epoch, in later ones also those that the classifiers of the epoch before take for
    an object though they do not lie on it.

    Args:
        cell: pixels of a histogram.
        negatives: windows at random from each image.
        background: IoU with the box below which a window is background.
        penalty: C of the SVM.
    """

    weights: Tensor  # (K, D, n, n): D numbers of each of n × n blocks
    biases: Tensor  # (K,)

    def __init__(
        self,
        *,
        num_classes: int,
        side: int = 64,
        cell: int = 8,
        negatives: int = 4,
        background: float = 0.6,
        penalty: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, side=side, **kwargs)
        if side % cell or side < 2 * cell:
            raise ValueError(f"side={side} must be a multiple of cell={cell}, twice as large or more")
        if negatives < 0 or not 0 < background <= 1 or not penalty > 0:
            raise ValueError(
                f"negatives={negatives} must be at least 0, background={background} an IoU above 0, "
                f"penalty={penalty} above 0"
            )
        self.step = self.cell = cell
        self.negatives, self.background, self.penalty = negatives, background, penalty
        shape = hog_shape(side, cell=cell)
        self.register_buffer("weights", torch.zeros(num_classes, *shape))
        self.register_buffer("biases", torch.zeros(num_classes))

    def score(self, level: Tensor, label: int) -> Tensor:
        """Return the margins (B, h, w) of a class."""
        weight, bias = self.weights[label : label + 1], self.biases[label : label + 1]
        return F.conv2d(hog(level, cell=self.cell), weight, bias)[:, 0]

    def note(self, x: Tensor, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Return label and box (n, 5), and of boxes and background histograms (m, D n n) and class (m,).

        Background are windows at random and, once there are classifiers, their wrong boxes; its class is K.
        """
        images = with_box(target)
        grey, target, found = self.grey(x)[images], target[images], preds[images, -4:]
        labels, boxes = target[:, 0].long(), target[:, 1:]
        windows = [*_at_random(boxes, self.negatives).unbind(1)]
        windows += [found] if bool(self.observed.any()) else []
        features, classes = [self._describe(grey, boxes)], [labels]
        for one in windows:
            missed = (iou(one, boxes) < self.background).nonzero()[:, 0]
            features.append(self._describe(grey[missed], one[missed]))
            classes.append(torch.full_like(missed, self.num_classes))
        return target, torch.cat(features), torch.cat(classes)

    def _describe(self, grey: Tensor, boxes: Tensor) -> Tensor:
        """Return the histograms (n, D n n) of one window (n, 4) of each image."""
        windows = self.crop(grey, torch.arange(len(grey), device=grey.device), boxes)
        return hog(windows, cell=self.cell).flatten(1)

    def fit(self, *notes: Tensor) -> None:
        """Fit the classifiers."""
        target, features, classes = notes
        self.take_sizes(target[:, 0].long(), target[:, 1:])
        numbers, classes = features.cpu().numpy(), classes.cpu()
        for label in target[:, 0].long().unique().tolist():
            weight, bias = fit_svm(numbers, (classes == label).numpy(), penalty=self.penalty)
            self.weights[label] = torch.from_numpy(weight).view_as(self.weights[label])
            self.biases[label] = bias


def fit_svm(features: np.ndarray, positive: np.ndarray, *, penalty: float) -> tuple[np.ndarray, float]:
    """Return the weights (D,) and the bias of a linear SVM between features (N, D)."""
    from sklearn.svm import LinearSVC

    if positive.all():
        return np.zeros(features.shape[1], np.float32), 0.0
    fitted = LinearSVC(C=penalty, dual="auto", random_state=0).fit(features, positive)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])


def _at_random(boxes: Tensor, number: int) -> Tensor:
    """Return windows (n, number, 4) within the image, of half to the whole size of boxes (n, 4)."""
    shape = (len(boxes), number, 1)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None] * (0.5 + 0.5 * torch.rand(shape, device=boxes.device))
    corner = torch.rand(len(boxes), number, 2, device=boxes.device) * (1 - sides)
    return torch.cat([corner, corner + sides], dim=2)
