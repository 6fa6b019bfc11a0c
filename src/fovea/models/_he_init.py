"""Draw initial weights from He et al. (2015), https://arxiv.org/abs/1502.01852, by `net.apply(fan_in)`."""

from __future__ import annotations

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
