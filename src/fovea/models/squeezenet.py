"""Build SqueezeNet 1.1 with torchvision's weights; timm does not have it."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models import SqueezeNet as Published
from torchvision.models import SqueezeNet1_1_Weights

from fovea.models._hub import fetch
from fovea.models._weights import adapt_first_conv, load_weights


class SqueezeNet(Published):
    """Torchvision's net in version 1.1, of which the head, the features and the blocks have timm's names."""

    def __init__(self, *, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__("1_1", num_classes, dropout)
        if in_channels != 3:
            self.features[0] = nn.Conv2d(in_channels, 64, 3, 2)
            nn.init.kaiming_uniform_(self.features[0].weight)
            nn.init.zeros_(self.features[0].bias)
        self.num_features = 512
        self.feature_info = [{"module": f"features.{i}"} for i in (1, 3, 4, 6, 7, 9)]

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits: a 1x1 convolution."""
        return self.classifier[1]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stem and the fire modules, as timm's nets do; the rest is the head."""
        return {"stem": r"^features\.0\.", "blocks": r"^features\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, 512, h, w): 13 x 13 of 224 pixels."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last map to logits (B, num_classes), means over places, or to its own mean."""
        return x.mean((2, 3)) if pre_logits else self.classifier(x).flatten(1)


def create(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    pretrained: bool = False,
    checkpoint: str | None = None,
    drop_rate: float = 0.5,
) -> SqueezeNet:
    """Build the net of Iandola et al. (2016), https://arxiv.org/abs/1602.07360, in its version 1.1.

    Raises:
        ValueError: a checkpoint that does not fit.
        FileNotFoundError: weights that are neither cached nor within reach.
    """
    net: Any = SqueezeNet(num_classes=num_classes, in_channels=in_channels, dropout=drop_rate)
    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    if pretrained and checkpoint is None:
        checkpoint = str(fetch("squeezenet1_1", weights.url))
    if checkpoint is not None:
        prepare = partial(adapt_first_conv, layer="features.0", in_channels=in_channels)
        load_weights(net, checkpoint, head=["classifier.1"], prepare=prepare)
    transform = weights.transforms()
    net.pretrained_cfg = {"mean": transform.mean, "std": transform.std, "interpolation": "bilinear"}
    return net
