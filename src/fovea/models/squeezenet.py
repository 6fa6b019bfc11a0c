"""Build SqueezeNet 1.1 with torchvision's weights; timm does not have it."""

from __future__ import annotations

from typing import Any

from torch import nn

from fovea.models._hub import fetch
from fovea.models._weights import load_weights


def create(
    *,
    num_classes: int = 1000,
    pretrained: bool = False,
    checkpoint: str | None = None,
    drop_rate: float = 0.5,
) -> nn.Module:
    """Build the net of Iandola et al. (2016), https://arxiv.org/abs/1602.07360, in its version 1.1.

    Raises:
        FileNotFoundError: weights that are neither cached nor within reach.
    """
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    net: Any = squeezenet1_1(num_classes=num_classes, dropout=drop_rate)
    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    if pretrained and checkpoint is None:
        checkpoint = str(fetch("squeezenet1_1", weights.url))
    if checkpoint is not None:
        load_weights(net, checkpoint, head=["classifier.1"])
    transform = weights.transforms()
    net.pretrained_cfg = {"mean": transform.mean, "std": transform.std, "interpolation": "bilinear"}
    net.feature_info = [{"module": f"features.{i}"} for i in (1, 3, 4, 6, 7, 9)]
    return net
