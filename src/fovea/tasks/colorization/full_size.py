"""Colour one picture of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor


class WholeColour:
    """Show a net the whole picture with as many pixels as in training, and enlarge the colours it says.

    The sharp edges of a coloured picture are those of its own lightness; colours may be coarse.

    Args:
        encoding: decodes what the net gives, as in the task.
    """

    def __init__(self, *, encoding: Any) -> None:
        self.encoding = encoding

    def __call__(self, net: Callable[[Tensor], Tensor], image: Tensor, preprocess: Any) -> Tensor:
        """Map a picture (1, C, H, W) uint8 to its a and b (1, 2, H, W)."""
        height, width = image.shape[2:]
        scale = (preprocess.size[0] * preprocess.size[1] / (height * width)) ** 0.5
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = _resized(image.float(), size).round()
        ab = self.encoding.to(image.device).decode(net(preprocess.to_input(small)))
        return _resized(ab, (height, width))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
