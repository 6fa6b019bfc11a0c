"""Provide fully convolutional nets, FCN-32s, 16s and 8s: Long et al. (2015), https://arxiv.org/abs/1411.4038."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._checks import check_images
from fovea.models._inner_nets import Numbering, matcher
from fovea.models._weights import load_weights
from fovea.models.vgg import STATISTICS, VGG, vgg16
from fovea.models.weights_file import State, holds
from fovea.ops.mirror import on_multiples

STRIDES = (32, 16, 8)


class FCN(nn.Module):
    """Score the classes on the backbone's maps of strides 32 … `stride`, from coarse to fine.

    Scores are enlarged twofold and summed with those of the next finer map; the last sum is enlarged to the
    image by bilinear interpolation that stays fixed, as in the paper. Layers of scores start at zero.

    The paper pads images by 100 zeros, so that its unpadded fc6 sees enough and the border of the scores can
    be cropped off. Here images are mirrored to multiples of 32, fc6 is padded, and scores go on beyond the
    border as the nearest one, so that logits lie exactly over the pixels.

    Args:
        backbone: builds a net that maps images to maps at strides 8, 16 and 32 with widths `channels`, given
            `in_channels`, `pretrained` and `checkpoint`.
        stride: 32, 16 or 8.
        checkpoint: of an FCN on this backbone of the same or a coarser stride, for the training in stages of
            the paper: what is new starts at zero. Or of the backbone alone.
    """

    def __init__(
        self,
        *,
        backbone: Callable[..., nn.Module],
        num_classes: int,
        in_channels: int = 3,
        stride: int = 8,
        pretrained: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        if stride not in STRIDES:
            raise ValueError(f"stride={stride}: an FCN ends at 32, 16 or 8")
        self.num_classes, self.in_channels, self.stride = num_classes, in_channels, stride
        trained = checkpoint is not None and holds(checkpoint, "head.score32")
        net: Any = backbone(
            in_channels=in_channels,
            pretrained=pretrained and not trained,
            checkpoint=None if trained else checkpoint,
        )
        self.backbone, self.pretrained_cfg = net, net.pretrained_cfg
        self.skips = [s for s in STRIDES[1:] if s >= stride]
        self.head = nn.ModuleDict({"score32": _score(net.channels[32], num_classes)})
        for s in self.skips:
            self.head[f"up{2 * s}"] = BilinearUp(channels=num_classes)
            self.head[f"score{s}"] = _score(net.channels[s], num_classes)
        if trained:
            names = [f"head.{name}" for name in self.head]
            load_weights(self, checkpoint, head=names, prepare=self._complete)  # type: ignore[arg-type]

    def _complete(self, state: State) -> State:
        """Add to a coarser net's weights what only this net has."""
        new = {k: v for k, v in self.state_dict().items() if k.startswith("head.")}
        return {k: v for k, v in new.items() if not k.startswith("head.score32.")} | state

    def get_classifier(self) -> nn.Module:
        """Return all layers of scores, with what enlarges them: everything that no backbone has."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the backbone does; the rest is the head."""
        return matcher({"backbone": self.backbone}, coarse=coarse)

    def scores(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W), of multiples of 32, to scores (B, num_classes, H / stride, W / stride)."""
        maps = dict(zip(STRIDES[::-1], self.backbone(x), strict=True))
        found = self.head["score32"](maps[32])
        for s in self.skips:
            found = self.head[f"up{2 * s}"](found) + self.head[f"score{s}"](maps[s])
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes, H, W)."""
        check_images(x, net="this FCN", channels=self.in_channels, smallest=1)
        return on_multiples(self._logits, x, multiple=32)

    def _logits(self, x: Tensor) -> Tensor:
        # the same as a transposed convolution with bilinear weights, and far cheaper at 8 to 32
        return F.interpolate(self.scores(x), scale_factor=self.stride, mode="bilinear", align_corners=False)


class BilinearUp(nn.Module):
    """Double a map by a transposed convolution that starts as bilinear interpolation and can be trained."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        slope = torch.tensor([0.25, 0.75, 0.75, 0.25])
        weight = torch.zeros(channels, channels, 4, 4)
        weight[range(channels), range(channels)] = slope[:, None] * slope
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, 2 h, 2 w); the border pixels go on beyond the border."""
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, self.weight, stride=2, padding=3)


class VGGMaps(nn.Module):
    """Provide the maps of a VGG at strides 8 and 16, and at 32 its dense layers at every position.

    The dense layers fc6 and fc7 become convolutions with the same weights, of 7x7 and 1x1 pixels in VGG16.
    """

    def __init__(self, net: VGG, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.features, self.layers = net.features, net.layers
        self.pools = [i for i, m in enumerate(net.features) if isinstance(m, nn.MaxPool2d)]
        dense = [m for m in net.classifier[:-1] if isinstance(m, nn.Linear)]
        side = net.avgpool.output_size
        if len(self.pools) != 5 or len(dense) != 2 or not isinstance(side, int) or side % 2 == 0:
            raise ValueError(
                f"a VGG of {len(self.pools)} stages and {len(dense)} dense layers below the head, on a grid "
                f"of {side}: an FCN needs 5, 2 and an odd grid"
            )
        self.fc6, self.fc7 = _as_conv(dense[0], side), _as_conv(dense[1], 1)
        self.drop = nn.Dropout(dropout)
        widths = [m.out_channels for m in net.features if isinstance(m, nn.Conv2d)]
        ends = [sum(stage <= last for stage, name in net.layers if "features" in name) for last in (2, 3)]
        self.channels = {8: widths[ends[0] - 1], 16: widths[ends[1] - 1], 32: self.fc7.out_channels}
        self.pretrained_cfg = STATISTICS

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stages and dense layers."""
        stages = enumerate(layer for layer in self.layers if "features" in layer[1])
        named = [(name, (stage,) if coarse else (stage, i)) for i, (stage, name) in stages]
        return {"features": named, "fc6": r"^fc6", "fc7": r"^fc7"}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return (B, channels[s], H / s, W / s) for s = 8, 16, 32."""
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.pools[2:4]:
                maps.append(x)
        x = self.drop(F.relu(self.fc6(x)))
        return [*maps, self.drop(F.relu(self.fc7(x)))]


def vgg16_maps(
    *, in_channels: int = 3, pretrained: bool = False, checkpoint: str | None = None, dropout: float = 0.5
) -> VGGMaps:
    """Build the backbone of the paper; `checkpoint` is a file of VGG16's weights."""
    net = vgg16(num_classes=1000, in_channels=in_channels, pretrained=pretrained, checkpoint=checkpoint)
    return VGGMaps(net, dropout=dropout)


def _as_conv(dense: nn.Linear, side: int) -> nn.Conv2d:
    """Return the convolution of side x side pixels that computes `dense` at each position."""
    with torch.device("meta"):  # its own values would only be thrown away
        conv = nn.Conv2d(dense.in_features // side**2, dense.out_features, side, padding=side // 2)
    conv.weight = nn.Parameter(dense.weight.detach().unflatten(1, (-1, side, side)))
    conv.bias = dense.bias
    return conv


def _score(channels: int, num_classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
