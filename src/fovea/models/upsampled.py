"""Feed small or grey images to a pretrained backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fovea.models._classifier import Classifier
from fovea.models._inner_nets import Numbering, matcher
from fovea.models.adapt_input import AdaptInput, check_channels, normalisation


class Upsampled(Classifier):
    """Enlarge images on the device, in colour and in the backbone's own normalisation, before the backbone.

    Args:
        backbone: builds a net, given `num_classes`, `pretrained` and `checkpoint`.
        mean, std: what the data are normalised with.
        size: the side of the images that the backbone sees, or [H, W].
    """

    def __init__(
        self,
        *,
        backbone: Callable[..., nn.Module],
        num_classes: int,
        in_channels: int = 3,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | Sequence[int] = 224,
        pretrained: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, mean)
        net: Any = backbone(num_classes=num_classes, pretrained=pretrained, checkpoint=checkpoint)
        self.net = net
        self.adapt = AdaptInput(mean=mean, std=std, size=size, **normalisation(net))
        self.num_classes, self.num_features = num_classes, int(net.num_features)

    def get_classifier(self) -> nn.Module:
        """Return the layer of the backbone that maps features to logits."""
        return self.net.get_classifier()

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the backbone does."""
        return matcher({"net": self.net}, coarse=coarse)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the backbone's last feature map."""
        return self.net.forward_features(self.adapt(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features to logits (B, num_classes), or to what the last layer sees."""
        return self.net.forward_head(x, pre_logits=pre_logits)
