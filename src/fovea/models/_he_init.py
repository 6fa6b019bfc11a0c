"""Draw initial weights from He et al. (2015), https://arxiv.org/abs/1502.01852, by `net.apply(fan_in)`."""

from __future__ import annotations

import torch
from torch import nn


def fan_in(module: nn.Module) -> None:
    """Draw convolutions and dense layers so that activations keep their variance; biases are 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fan_out(module: nn.Module) -> None:
    """Draw convolutions so that gradients keep their variance; biases, of dense layers too, are 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def calm(head: nn.Linear) -> None:
    """Scale down what a wide head of n inputs was drawn with to the order of 1 / n, by 4 / sqrt(n).

    Logits need not keep the variance of the features: the first loss is then about ln num_classes, where of
    4096 units it could be ten nats above.
    """
    with torch.no_grad():
        head.weight *= min(1.0, 4 / head.in_features**0.5)
