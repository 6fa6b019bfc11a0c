"""Look at images where the classifier sees them: features, their PCA and t-SNE, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.method import explaining

Metric = Callable[[Tensor, Tensor], Tensor]


def head_input(net: nn.Module, image: Tensor) -> tuple[Tensor, Any]:
    """Return what the last layer of the net sees of normalised images (B, D), and the net's output."""
    if not callable(getattr(net, "forward_features", None)) or not callable(
        getattr(net, "forward_head", None)
    ):
        raise ValueError(f"{type(net).__name__} has no forward_features and forward_head: see models/cnn.py")
    with explaining(net), torch.no_grad():
        given = net.forward_features(image)  # type: ignore[operator]
        seen = net.forward_head(given.clone(), pre_logits=True).flatten(1)  # type: ignore[operator]
        return seen, net.forward_head(given)  # type: ignore[operator]


def features(net: nn.Module, images: Tensor | Iterable[Any], *, batch_size: int = 256) -> Tensor:
    """Return what the last layer of the net sees (N, D), on the CPU.

    `images` are normalised, (N, C, H, W), of which `batch_size` pass at a time, or a loader of such batches,
    of (images, …) or of {"image": images}.
    """
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    found = [head_input(net, batch.to(device))[0].cpu() for batch in _batches(images, batch_size)]
    if not found:
        raise ValueError("there are no images to take features of")
    return torch.cat(found)  # (N, D)


def _batches(images: Tensor | Iterable[Any], batch_size: int) -> Iterator[Tensor]:
    for batch in images.split(batch_size) if isinstance(images, Tensor) else images:
        if isinstance(batch, Mapping):
            batch = batch["image"]
        elif not isinstance(batch, Tensor):
            batch = batch[0]
        if not batch.is_floating_point():
            raise ValueError(f"images of type {batch.dtype} are not normalised: give the net's float input")
        yield batch


@dataclass(frozen=True, kw_only=True)
class PCA:
    """Hold the directions of largest variance of features.

    Attributes:
        mean: (D,).
        axes: (k, D), orthonormal, by falling variance; the largest entry of each is positive.
        variance: (k,), with N - 1 in the denominator.
        share: (k,), of the variance of all D dimensions.
    """

    mean: Tensor
    axes: Tensor
    variance: Tensor
    share: Tensor

    def project(self, features: Tensor) -> Tensor:
        """Map features (N, D) to coordinates (N, k)."""
        return (features.to(self.mean) - self.mean) @ self.axes.T


def pca(features: Tensor, k: int = 2) -> PCA:
    """Find the k principal axes of features (N, D), from the smaller of the D×D and the N×N matrix."""
    count, width = features.shape
    if not 1 <= k <= min(count - 1, width):
        raise ValueError(f"k={k} axes of features {(count, width)}: 1 to {min(count - 1, width)} exist")
    kept = features.detach().double()  # the products square the condition number
    mean = kept.mean(dim=0)
    kept = kept - mean
    few = count < width
    values, vectors = torch.linalg.eigh(kept @ kept.T if few else kept.T @ kept)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)[:, :k]
    axes = F.normalize(kept.T @ vectors, dim=0).T if few else vectors.T  # (k, D)
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    total = values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return PCA(mean=mean, axes=axes, variance=values[:k] / (count - 1), share=values[:k] / total)


def tsne(features: Tensor, *, perplexity: float = 30.0, seed: int = 0, first: int = 50) -> Tensor:
    """Embed features (N, D) in the plane by t-SNE: (N, 2), started from the two principal components.

    van der Maaten & Hinton 2008, section 4.2: PCA to at most `first` dimensions comes before.
    """
    count, width = features.shape
    if not 0 < perplexity < count:
        raise ValueError(f"perplexity={perplexity} must be above 0 and below the number of points, {count}")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("t-SNE needs scikit-learn: pip install scikit-learn, or use pca") from error
    if width > first and count > first:
        features = pca(features, first).project(features)
    fit = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    return torch.from_numpy(fit.fit_transform(features.detach().float().cpu().numpy()))


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Hold, per query, the nearest first: `index` (Q, k) into the bank and `distance` (Q, k)."""

    index: Tensor
    distance: Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return one less the cosine of the angles between rows (Q, D) and (N, D): (Q, N)."""
    return 1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances between rows (Q, D) and (N, D): (Q, N)."""
    return torch.cdist(a, b)


def neighbours(
    query: Tensor,
    bank: Tensor,
    *,
    k: int = 5,
    metric: Metric = cosine,
    skip_self: bool = False,
    block: int = 2048,
) -> Neighbours:
    """Find the k rows of a bank (N, D) nearest to each query (Q, D), in block×block pieces at most.

    `metric` is `cosine`, `euclidean`, or any (q, D), (n, D) → (q, n) that is small for what is near. With
    `skip_self` query i is row i of the bank, and no neighbour of itself.
    """
    if not 1 <= k <= len(bank) - skip_self or query.shape[1:] != bank.shape[1:]:
        raise ValueError(
            f"k={k} neighbours of queries {tuple(query.shape)} in a bank {tuple(bank.shape)}: "
            "k must be 1 or more and leave enough rows, and both must be as wide"
        )
    rows = [
        _nearest(part.double(), bank, k, metric, block, start if skip_self else None)
        for start, part in zip(range(0, len(query), block), query.split(block), strict=True)
    ]
    return Neighbours(index=torch.cat([i for i, _ in rows]), distance=torch.cat([d for _, d in rows]))


def _nearest(
    query: Tensor, bank: Tensor, k: int, metric: Metric, block: int, own: int | None
) -> tuple[Tensor, Tensor]:
    """Merge the best of each block of the bank; `own` is the row of the bank that is the first query."""
    best = query.new_full((len(query), 0), 0.0)
    index = torch.zeros(len(query), 0, dtype=torch.long, device=query.device)
    for start in range(0, len(bank), block):
        far = metric(query, bank[start : start + block].to(query))  # (q, n)
        at = torch.arange(start, start + far.shape[1], device=query.device).expand_as(far)
        if own is not None:
            mine = own + torch.arange(len(query), device=query.device)
            far = far.masked_fill(at == mine[:, None], torch.inf)
        best, index = torch.cat([best, far], dim=1), torch.cat([index, at], dim=1)
        order = best.argsort(dim=1, stable=True)[:, :k]  # ties go to the lower row of the bank
        best, index = best.gather(1, order), index.gather(1, order)
    return index, best
