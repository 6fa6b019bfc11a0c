"""Provide U-Net: Ronneberger, Fischer & Brox (2015), https://arxiv.org/abs/1505.04597."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import check_images
from fovea.ops.mirror import mirror


class UNet(nn.Module):
    """Halve the map `depth` times and double its channels, then enlarge it with skip connections.

    Without padding, as published, a map loses two pixels at each border in every step, and logits would
    be smaller than images (388 of 572 pixels). The images are therefore extended by their mirror images, the
    paper's overlap-tile strategy, and logits always have the images' size. At one channel and two classes
    that net has 31,030,658 parameters.

    Args:
        width: channels of the first level; the next ones have 2, 4, 8 … times as many.
        depth: how often the side is halved.
        padding: pad each convolution with zeros, which costs far less on small images.
        batch_norm: batch norm after each 3x3 convolution, which then has no bias.
        bilinear: enlarge by a 1x1 convolution and interpolation, not by 2x2 transposed convolutions.
        dropout: rate after the two lowest levels on the way down.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        depth: int = 4,
        padding: bool = False,
        batch_norm: bool = False,
        bilinear: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width < 1 or depth < 0:
            raise ValueError(f"width={width}, depth={depth}: give at least 1 channel, and 0 halvings or more")
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, width
        self.depth, self.padding = depth, padding
        widths = [width * 2**level for level in range(depth + 1)]
        options: dict[str, Any] = {"padding": padding, "batch_norm": batch_norm}
        self.down = nn.ModuleList(
            _convs(i, o, rate=dropout if level >= depth - 1 else 0.0, **options)
            for level, (i, o) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True))
        )
        self.up = nn.ModuleList(
            Up(width=w, bilinear=bilinear, convs=_convs(2 * w, w, **options)) for w in widths[-2::-1]
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.apply(_init)

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the levels on the way down and up; the rest is the head."""
        return {"down": r"^down\.(\d+)", "up": r"^up\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to what the last layer sees, (B, width, H, W)."""
        check_images(x, net="this U-Net", channels=self.in_channels, smallest=1)
        (height, top, bottom, y), (width, left, right, x0) = (self._fit(side) for side in x.shape[2:])
        found = self.run(mirror(x, top=top, bottom=bottom, left=left, right=right))
        return found[:, :, y : y + height, x0 : x0 + width]

    def run(self, x: Tensor) -> Tensor:
        """Map images of sides that fit to the last map, without padding a smaller one: 572 pixels to 388."""
        kept: list[Tensor] = []
        for level, convs in enumerate(self.down):
            x = convs(self.pool(x) if level else x)  # (B, width 2^level, H / 2^level, W / 2^level)
            kept.append(x)
        for up, skip in zip(self.up, kept[-2::-1], strict=True):
            x = up(x, skip)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes, H, W)."""
        return self.head(self.forward_features(x))

    def _fit(self, side: int) -> tuple[int, int, int, int]:
        """Return the side, the pixels to add before and after it, and where the side begins in the output.

        From n pixels at the lowest level come 2^d n + 4 (2^d - 1) in the image and 2^d n - 8 2^d + 4 in the
        output when nothing is padded.
        """
        scale = 2**self.depth
        lost = 0 if self.padding else 12 * scale - 8  # of the image, in the output
        spare = -side % scale if self.padding else (4 - side) % scale
        start = spare // 2
        return side, lost // 2 + start, lost // 2 + spare - start, start


class Up(nn.Module):
    """Enlarge a map twofold, concatenate it to the middle of its skip connection, and convolve."""

    def __init__(self, *, width: int, bilinear: bool, convs: nn.Module) -> None:
        super().__init__()
        self.enlarge: nn.Module = nn.ConvTranspose2d(2 * width, width, 2, 2)
        if bilinear:  # both are linear, and the convolution is cheaper on the smaller map
            resize = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            self.enlarge = nn.Sequential(nn.Conv2d(2 * width, width, 1), resize)
        self.convs = convs

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, 2 width, h, w) and (B, width, H, W) to (B, width, 2h, 2w), less four without padding."""
        x = self.enlarge(x)
        top, left = ((large - small) // 2 for large, small in zip(skip.shape[2:], x.shape[2:], strict=True))
        middle = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        return self.convs(torch.cat([middle, x], 1))


def _convs(i: int, o: int, *, padding: bool, batch_norm: bool, rate: float = 0.0) -> nn.Sequential:
    layers = nn.Sequential()
    for before in (i, o):
        layers.append(nn.Conv2d(before, o, 3, padding=int(padding), bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(o))
        layers.append(nn.ReLU())
    if rate:
        layers.append(nn.Dropout(rate))
    return layers


def _init(module: nn.Module) -> None:
    """Draw weights with standard deviation sqrt(2 / N), N the inputs of a neuron, as in the paper."""
    _he_init.fan_in(module)
    if isinstance(module, nn.ConvTranspose2d):  # each output pixel has one tap of the kernel
        nn.init.normal_(module.weight, std=(2 / module.in_channels) ** 0.5)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
