"""Provide nets that colour images: from the lightness L of CIE Lab they predict a and b."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models.timm import create
from fovea.ops.lab import grey, lightness
from fovea.ops.mirror import on_multiples


class Colorizer(nn.Module):
    """Predict colours from the lightness of images (B, 1 or 3, H, W) in 0…1, given to a net in -1…1.

    Args:
        net: maps that to (B, K, H, W).
        limit: what a and b are kept within, by tanh; None leaves the net's output as it is, such as logits.
    """

    def __init__(self, *, net: nn.Module, limit: float | None = 128.0) -> None:
        super().__init__()
        if limit is not None and not limit > 0:
            raise ValueError(f"limit={limit} must be above 0, or null for logits")
        self.net, self.limit = net, limit

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 1 or 3, H, W) to ab (B, 2, H, W), or to logits (B, K, H, W)."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"a colorizer takes pictures (B, 1 or 3, H, W) in 0…1, got {tuple(x.shape)}")
        found = self.net((lightness(x) / 50 - 1).to(x.dtype))
        return found if self.limit is None else self.limit * torch.tanh(found.float())


class FusionColorizer(Colorizer):
    """Colour with `Fusion`; `embedder` names a net of timm, None leaves the embedding out.

    Args:
        pretrained, checkpoint: of the embedder, as for `fovea.models.timm.create`.
        embedder_size: what it sees; None: what it was trained on.
    """

    def __init__(
        self,
        *,
        channels: int = 2,
        width: int = 64,
        batch_norm: bool = False,
        limit: float | None = 128.0,
        embedder: str | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        embedder_size: int | Sequence[int] | None = None,
    ) -> None:
        embedder_net = None
        if embedder is not None:
            embedder_net = Embedder(
                name=embedder, pretrained=pretrained, checkpoint=checkpoint, image_size=embedder_size
            )
        net = Fusion(channels=channels, width=width, batch_norm=batch_norm, embedder=embedder_net)
        super().__init__(net=net, limit=limit)


class Fusion(nn.Module):
    """Encode locally, fuse every position with one embedding of the whole picture, decode.

    Baldassarre, González Morín & Rodés-Guirao 2017, "Deep Koalarization: image colorization using CNNs and
    Inception-ResNet-v2", https://arxiv.org/abs/1712.03400, table 1. There the embedding is what Inception
    answers before its softmax; here it is what the backbone sees before its last layer. Pictures of any size
    are mirrored to multiples of 8.

    Args:
        channels: of the output.
        width: of the first layer; the deepest has 8 times as many.
        batch_norm: normalise after every convolution but the last, unlike the paper; it learns faster.
        embedder: gives (B, features); None: the same net without the embedding.
    """

    def __init__(
        self,
        *,
        channels: int = 2,
        width: int = 64,
        batch_norm: bool = False,
        embedder: Embedder | None = None,
    ) -> None:
        super().__init__()
        if channels < 1 or width < 2:
            raise ValueError(f"channels={channels}, width={width}: give at least 1 channel and a width of 2")
        self.embedder = embedder
        w, extra = width, 0 if embedder is None else embedder.features
        steps = [(1, w, 2), (w, 2 * w, 1), (2 * w, 2 * w, 2), (2 * w, 4 * w, 1), (4 * w, 4 * w, 2)]
        steps += [(4 * w, 8 * w, 1), (8 * w, 8 * w, 1), (8 * w, 4 * w, 1)]
        conv = partial(_conv, batch_norm=batch_norm)
        self.encoder = nn.Sequential(*(conv(i, o, stride=stride) for i, o, stride in steps))
        self.fusion = conv(4 * w + extra, 4 * w, kernel=1)
        self.decoder = nn.Sequential(
            conv(4 * w, 2 * w), nn.Upsample(scale_factor=2), conv(2 * w, w), conv(w, w),
            nn.Upsample(scale_factor=2), conv(w, w // 2),
        )  # fmt: skip
        self.head = nn.Conv2d(w // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map lightness (B, 1, H, W) in -1…1 to (B, channels, H, W)."""
        embedding = None if self.embedder is None else self.embedder(x)

        def run(x: Tensor) -> Tensor:
            local = self.encoder(x)  # (B, 4 width, H / 8, W / 8)
            if embedding is not None:
                everywhere = embedding[:, :, None, None].expand(-1, -1, *local.shape[2:])
                local = torch.cat([local, everywhere.to(local.dtype)], dim=1)
            half = self.head(self.decoder(self.fusion(local)))
            return F.interpolate(half, scale_factor=2.0)

        return on_multiples(run, x, multiple=8)


class Embedder(nn.Module):
    """Describe a grey picture by what a pretrained net of timm sees before its last layer.

    It never trains: its weights are buffers, so no optimizer or fine-tuning plan finds them, and they are in
    the checkpoint but not among the parameters.

    Args:
        name, pretrained, checkpoint: as for `fovea.models.timm.create`.
        image_size: what pictures are resized to; None: what the net was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        net = create(
            name=name, num_classes=0, pretrained=pretrained, checkpoint=checkpoint, image_size=image_size
        )
        known: dict = net.pretrained_cfg  # type: ignore[assignment]
        self.size = height_width(known["input_size"][1:] if image_size is None else image_size)
        self.features = int(net.head_hidden_size)  # type: ignore[arg-type]
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(known[key]).view(1, 3, 1, 1), persistent=False)
        self.net = _still(net).eval()

    def train(self, mode: bool = True) -> Embedder:
        """Stay in eval mode: running statistics and dropout never change."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map lightness (B, 1, H, W) in -1…1 to (B, features)."""
        with torch.no_grad():
            picture = F.interpolate(grey(50 * (x + 1)), self.size, mode="bilinear", align_corners=False)
            return self.net(((picture - self.mean) / self.std).to(x.dtype))


def _still(net: nn.Module) -> nn.Module:
    """Turn all parameters into buffers of the same names."""
    for module in net.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, value.detach())
    return net


def _conv(i: int, o: int, *, batch_norm: bool, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=not batch_norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, *([nn.BatchNorm2d(o)] if batch_norm else []), nn.ReLU(inplace=True))
