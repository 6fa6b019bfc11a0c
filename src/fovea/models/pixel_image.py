"""Provide an image as the parameter that is learned, in front of a frozen net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models._tapped import Tapped, depths
from fovea.models.adapt_input import AdaptInput, normalisation

NOISE = 0.05  # standard deviation of the start around mid-grey, in each level, of pixels in 0…1


class PixelImage(nn.Module):
    """Map images (B, C, H, W) to features by layer; an image, at first noise, is what trains.

    The image is the sum of `levels` parameters, each half as large as the one before and enlarged to its
    size. It can become whatever one array of pixels can, but a step moves large areas as easily as single
    pixels, which takes far fewer steps and leaves less noise (Kolkin et al. 2019, arXiv 1904.12785, optimise
    a pyramid too).

    Args:
        backbone: builds the net, given `pretrained` and `checkpoint`; it stays as it is.
        size: [H, W] of the image.
        mean, std: what the data, and so the image, are normalised with.
        content_layers: dotted paths of the layers whose features are compared; None: one of middle depth.
        style_layers: of those whose Gram matrices are compared; None: several depths.
        levels: 1 for one array of pixels.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        *,
        backbone: Callable[..., nn.Module],
        size: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        content_layers: Sequence[str] | None = None,
        style_layers: Sequence[str] | None = None,
        levels: int = 5,
        pretrained: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        net = backbone(pretrained=pretrained, checkpoint=checkpoint)
        self.adapt = AdaptInput(mean=mean, std=std, size=None, **normalisation(net))
        several = depths(net) if content_layers is None or style_layers is None else []
        self.content_layers = [several[len(several) // 2]] if content_layers is None else list(content_layers)
        self.style_layers = several if style_layers is None else list(style_layers)
        layers = list(dict.fromkeys([*self.content_layers, *self.style_layers]))
        height, width = int(size[0]), int(size[1])
        self.backbone = Tapped(net=net, layers=layers, size=(height, width))
        m, s = (torch.tensor(list(v)).float().view(1, -1, 1, 1) for v in (mean, std))
        self.register_buffer("low", -m / s, persistent=False)  # of black
        self.register_buffer("high", (1 - m) / s, persistent=False)  # of white
        if levels < 1:
            raise ValueError(f"model.net.levels={levels} must be at least 1")
        sides = [(-(-height // 2**k), -(-width // 2**k)) for k in range(levels)]
        noise = [NOISE * torch.randn(len(mean), *side) for side in sides]
        noise[-1] += 0.5
        # (C, h, w): L-BFGS takes gradients only in plain order, which four axes would not keep
        self.image = nn.ParameterList((self.high - self.low)[0] * level for level in noise)
        self.put(self.render() + self.low)

    def render(self) -> Tensor:
        """Return the image (1, C, H, W)."""
        first, *others = (level[None] for level in self.image)
        size = first.shape[2:]
        larger = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in others]
        return torch.stack([first, *larger]).sum(dim=0)

    @torch.no_grad()
    def put(self, image: Tensor) -> None:
        """Make it this image (1, C, H, W)."""
        self.image[0] += (image - self.render())[0]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features (B, D, N) of each layer."""
        return self.backbone(self.adapt(image))

    def clip(self) -> None:
        """Clip the image to the nearest one with valid colours."""
        image = self.render().detach()
        self.put(torch.minimum(torch.maximum(image, self.low), self.high))

    def shown(self, image: Tensor) -> Tensor:
        """Return an image (1, C, H, W) as a picture (H, W, C) uint8."""
        unit = ((image.detach() - self.low) / (self.high - self.low)).clamp(0, 1)
        return (unit[0].permute(1, 2, 0).float() * 255).round().to(torch.uint8)
