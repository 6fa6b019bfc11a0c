"""Run a net that gives maps over images of any size, and give its output at their own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fovea.data.preprocess import Preprocess
from fovea.ops.placement import place
from fovea.ops.segmentation import class_map
from fovea.ops.sliding import sliding

BAND = 2**22  # values of an output that are enlarged at a time
Net = Callable[[Tensor], Tensor]  # (B, C, H, W) → (B, K, H, W)
Window = int | Sequence[int] | None


def class_maps(
    net: Net, image: Tensor, preprocess: Preprocess, *, window: Window = None, overlap: float = 0.25
) -> Tensor:
    """Return the class of each pixel, uint8 (1, H, W); logits at full size are never held all at once."""
    output = over_image(net, image, preprocess, window=window, overlap=overlap)
    return enlarged(output, (image.shape[2], image.shape[3]))


def enlarged(output: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the class of each pixel, uint8 (B, *size), of logits (B, K, h, w) brought to that size."""
    return torch.cat([class_map(part).to(torch.uint8) for part in bands(output, size)], 1)


def over_image(
    net: Net, image: Tensor, preprocess: Preprocess, *, window: Window = None, overlap: float = 0.25
) -> Tensor:
    """Return the output (1, K, h, w) over an image uint8 (1, C, H, W), at the scale at which the net saw it.

    Without `window` the whole image is brought to the input size, keeping its aspect unless training did
    not; nothing is cut off. With it a window slides over the image at its own scale, for objects that are
    small in large images.
    """
    sides = sides_of(window, overlap)
    if sides is None:
        return _fitted(net, image, preprocess)
    return sliding(net, preprocess.to_input(image), window=sides, overlap=overlap)


def sides_of(window: Window, overlap: float) -> tuple[int, int] | None:
    """Return height and width of a window, given as a side or as both; ValueError where it makes no sense."""
    sides = [window] * 2 if isinstance(window, int) else window
    if sides is not None and (len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides)):
        raise ValueError(f"window={window}: give a side or [height,width] in pixels, such as [256,256]")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap={overlap} must lie in 0…1, below 1: try 0.25")
    return None if sides is None else (int(sides[0]), int(sides[1]))


def bands(output: Tensor, size: tuple[int, int], *, most: int = BAND) -> Iterator[Tensor]:
    """Yield an output (B, K, h, w) bilinearly brought to `size`, a few rows (B, K, n, W) after the other."""
    height, width = size
    have = output.shape[2]
    rows = max(1, most // (output.shape[0] * output.shape[1] * width))
    at = (torch.arange(height, device=output.device) + 0.5) * (have / height) - 0.5
    at = at.clamp(0, have - 1)
    low = at.long()
    share = at - low
    for start in range(0, height, rows):
        some = low[start : start + rows]
        upper, lower = output[:, :, some].float(), output[:, :, (some + 1).clamp(max=have - 1)].float()
        part = torch.lerp(upper, lower, share[start : start + rows, None])  # (B, K, n, w)
        if part.shape[3] != width:
            part = F.interpolate(part, size=(len(some), width), mode="bilinear", align_corners=False)
        yield part


def _fitted(net: Net, image: Tensor, preprocess: Preprocess) -> Tensor:
    """Run the net on the whole image, resized as in training; borders are added where it had them."""
    how = "stretch" if preprocess.resize == "stretch" else "pad"
    where = place((image.shape[2], image.shape[3]), size=preprocess.size, resize=how)
    if preprocess.resize != "pad":
        where = where._replace(size=where.scaled, corner=(0, 0))
    rows, columns = where.inside
    pixels = where.raster(
        np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy()),
        interpolation=preprocess.interpolation,
        fill=preprocess.fill(image.shape[1]),
    )
    given = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].to(image.device)
    output = net(preprocess.to_input(given))
    return output[:, :, rows, columns]
