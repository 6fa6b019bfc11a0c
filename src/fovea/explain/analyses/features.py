"""Features of images before the last layer of a net: their PCA, t-SNE and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.core.method import explaining
from fovea.explain.core.model import ExplainedModel

Metric = str | Callable[[np.ndarray, np.ndarray], float]  # of scikit-learn, or of two vectors


def head_input(net: nn.Module, image: Tensor) -> tuple[Tensor, Any]:
    """Return the input (B, D) of the last layer for normalised images (B, C, H, W), and the net's output."""
    if not callable(getattr(net, "forward_features", None)) or not callable(
        getattr(net, "forward_head", None)
    ):
        raise ValueError(f"{type(net).__name__} has no forward_features and forward_head: see models/cnn.py")
    with explaining(net), torch.no_grad():
        maps = net.forward_features(image)  # type: ignore[operator]
        features = net.forward_head(maps.clone(), pre_logits=True).flatten(1)  # type: ignore[operator]
        return features, net.forward_head(maps)  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Features:
    """N images as features, without their pixels.

    Attributes:
        rows: which of the model's images these are.
        features: (N, D).
        label: (N,), the true class where it is known, else the predicted one.
        known: (N,), whether it is the true one.
        predicted: (N,).
    """

    rows: list[int]
    features: Tensor
    label: Tensor
    known: Tensor
    predicted: Tensor

    @property
    def source(self) -> str:
        """Whether the classes are true or predicted ones."""
        known = int(self.known.sum())
        if known == len(self.known):
            return "true classes"
        if not known:
            return "predicted classes, as the true ones are not known"
        return f"true classes of {known} images, predicted ones of the others"


def collect(model: ExplainedModel, limit: int | None) -> Features:
    """Run the images, or the first `limit`, batch by batch."""
    rows: list[int] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in model.batches(limit):
        features, output = head_input(model.net, batch.image.to(model.device))
        predicted = torch.tensor([one.label for one in model.selector.predicted(output)])
        rows += batch.rows
        parts.append((features.float().cpu(), predicted, batch.label.cpu()))
    if not rows:
        raise ValueError("there are no images to take features of")
    features, predicted, label = (torch.cat(part) for part in zip(*parts, strict=True))
    known = label >= 0
    return Features(
        rows=rows,
        features=features,
        label=torch.where(known, label, predicted),
        known=known,
        predicted=predicted,
    )


def pca(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Project features (N, D) on their k axes of largest variance: (N, k), and the share of each (k,).

    In double precision; the largest entry of each axis is positive.
    """
    from sklearn.decomposition import PCA

    count, width = features.shape
    fit = PCA(k, svd_solver="covariance_eigh" if count > width else "full")  # neither draws random numbers
    with np.errstate(invalid="ignore"):  # rows that are all alike have no variance to share
        plane = fit.fit_transform(features.double().numpy())
    return torch.from_numpy(plane), torch.from_numpy(fit.explained_variance_ratio_).nan_to_num()


def tsne(features: Tensor, *, perplexity: float = 30.0, seed: int = 0, first: int = 50) -> Tensor:
    """Embed features (N, D) in the plane by t-SNE: (N, 2), started from the two principal components.

    van der Maaten & Hinton 2008, section 4.2: PCA to at most `first` dimensions comes before.
    """
    count, width = features.shape
    if not 0 < perplexity < count:
        raise ValueError(f"perplexity={perplexity} must be above 0 and below the number of points, {count}")
    from sklearn.manifold import TSNE

    if width > first and count > first:
        features, _ = pca(features, first)
    fit = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    return torch.from_numpy(fit.fit_transform(features.detach().float().cpu().numpy()))


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The k nearest of each row, the nearest first: `index` and `distance` (N, k)."""

    index: Tensor
    distance: Tensor


def neighbours(features: Tensor, *, k: int, metric: Metric = "cosine") -> Neighbours:
    """Find the k other rows nearest to each row of features (N, D).

    Of equal distances the lower row comes first, which `NearestNeighbors` of scikit-learn leaves open.
    """
    from sklearn.metrics import pairwise_distances_chunked

    if not 1 <= k < len(features):
        raise ValueError(f"k={k} neighbours among {len(features)} images: take 1 to {len(features) - 1}")

    def nearest(far: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        far[np.arange(len(far)), start + np.arange(len(far))] = np.inf  # no neighbour of itself
        index = far.argsort(axis=1, kind="stable")[:, :k]
        return index, np.take_along_axis(far, index, axis=1)

    pieces = pairwise_distances_chunked(features.double().numpy(), reduce_func=nearest, metric=metric)
    index, distance = (torch.from_numpy(np.concatenate(piece)) for piece in zip(*pieces, strict=True))
    return Neighbours(index=index, distance=distance)
