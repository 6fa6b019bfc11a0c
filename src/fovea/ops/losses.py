"""Weigh and smooth the cross-entropy of classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean over samples of -sum_c w_c q_c log p_c, with q the smoothed target.

    `target` is labels (B,) or probabilities (B, C). Unlike torch's own mean, a weighted one is divided by B,
    not by the weights of the samples: so the mean of two halves of a batch, or of two processes, is that of
    the whole. Smoothing mixes q with the uniform distribution, Szegedy et al. (2016),
    https://arxiv.org/abs/1512.00567, section 7.
    """
    total = F.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing, reduction="sum")
    return total / len(logits)


def balanced_weights(labels: Tensor, *, num_classes: int) -> Tensor:
    """Return N / (C n_c) for each class of the labels (N,): classes then count alike, samples 1 on average.

    Raises:
        ValueError: a class without a sample has no weight.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"task.class_weights=balanced: no training image of class {', '.join(map(str, empty))}; "
            "add some, or give a list of weights"
        )
    return len(labels) / (num_classes * counts.double())
