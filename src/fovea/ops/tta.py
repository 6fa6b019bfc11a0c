"""Test-time augmentation: average the predictions for several views of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.precision import at_least_single

Net = Callable[[Tensor], Tensor]
STEPS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def flip(image: Tensor) -> Iterator[Tensor]:
    """Yield the image and its mirror."""
    yield image
    yield image.flip(-1)


def shift(image: Tensor) -> Iterator[Tensor]:
    """Yield the image, and it moved up, down, left and right by 1/32 of its side, edges repeated."""
    height, width = image.shape[-2:]
    down, across = max(1, round(height / 32)), max(1, round(width / 32))
    framed = F.pad(image, (across, across, down, down), mode="replicate")
    for y, x in STEPS:
        top, left = down * (1 + y), across * (1 + x)
        yield framed[..., top : top + height, left : left + width]


VIEWS: dict[str, Callable[[Tensor], Iterator[Tensor]]] = {"flip": flip, "shift": shift}


def check_views(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of known views, once each; ValueError names an unknown one."""
    unknown = [name for name in names if name not in VIEWS]
    if unknown or isinstance(names, str):
        raise ValueError(f"task.tta={names!r} is unknown: give a list of {', '.join(VIEWS)}, such as [flip]")
    return tuple(dict.fromkeys(names))


def average(net: Net, image: Tensor, names: Sequence[str]) -> Tensor:
    """Return the logarithm of the mean probabilities (B, C) over every combination of the named views.

    The softmax of the result is that mean, so it takes the place of logits everywhere. One view is computed
    at a time: memory stays that of a single pass.
    """
    total, count = None, 0
    for view in _combined(image, names):
        found = at_least_single(net(view)).log_softmax(dim=1)
        total = found if total is None else torch.logaddexp(total, found)
        count += 1
    assert total is not None
    return total - torch.tensor(float(count), dtype=total.dtype, device=total.device).log()


def _combined(image: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
    if not names:
        yield image
        return
    for view in VIEWS[names[0]](image):
        yield from _combined(view, names[1:])
