"""Find out by trial whether maps lie where they are drawn: tokens may come in an order of a net's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.method import explaining
from fovea.explain.core.windows import Layout

FAINT = 1e-4  # of a change: what counts as none
FAR = 3.0  # in powers of e: noise is below 2, a change that shows elsewhere above 5

_known: WeakKeyDictionary[nn.Module, set[tuple[torch.Size, str]]] = WeakKeyDictionary()


def require_in_place(net: nn.Module, image: Tensor, layer: str, read: Callable[[Tensor], Tensor]) -> None:
    """Raise ValueError where a change of an image shows at other places of a layer's map.

    Noise is added to one place after the other, the corners among them, and each must show most at its own
    place or next to it; what all of them change does not count. A net is tried once for each layer and size.

    Args:
        net: the net that is tried.
        image: (B, C, H, W), of which the first is changed.
        layer: names the map.
        read: the map (1, D, h, w) of an image (1, C, H, W).
    """
    known, key = _known.setdefault(net, set()), (image.shape[1:], layer)
    if key in known:
        return
    with explaining(net), torch.no_grad():
        before = read(image[:1])
        grid = (before.shape[2], before.shape[3])
        places = list(_places(*grid))
        changes = [read(_noisy(image[:1], place, grid)) - before for place in places]
    if _astray(torch.cat(changes).double().square().sum(1), places) > 1:
        raise ValueError(
            f"the maps of {layer} of {type(net).__name__} change elsewhere than the image does: tokens in "
            "another order than rows, a class token that is not the first, or an image that the net turns; "
            "use a CAM at one of its convolutions with layer=, or a method that reads the image alone, such "
            "as saliency or occlusion"
        )
    known.add(key)


def require_tokens_in_place(net: nn.Module, image: Tensor, path: str, layout: Layout) -> None:
    """Raise ValueError where the tokens that an attention module takes do not lie as its layout says."""

    def read(one: Tensor) -> Tensor:
        taken: list[Tensor] = []

        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            taken[:] = [next(iter([*args, *kwargs.values()]))]

        hook = net.get_submodule(path).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            net(one)
        finally:
            hook.remove()
        return _placed(taken[0], layout)

    require_in_place(net, image, path, read)


def _placed(tokens: Tensor, layout: Layout) -> Tensor:
    """Put the tokens of one image, (windows, n, D), (windows, h, w, D) or (windows, D, h, w), on its grid."""
    index = layout.index.to(tokens.device)
    if tokens.ndim == 4:
        last = tokens.shape[1] * tokens.shape[2] == index.shape[1]
        tokens = tokens.flatten(1, 2) if last else tokens.flatten(2).transpose(1, 2)
    found = tokens.new_zeros(layout.tokens + 1, tokens.shape[-1])  # the last takes the padding
    found[index.flatten()] = tokens.flatten(0, 1)
    return found[: layout.patches].T.unflatten(1, layout.grid)[None]


def _astray(changes: Tensor, places: list[tuple[int, int]]) -> int:
    """Count the places of which the change, one of (K, h, w), shows most far from the place."""
    total = changes.sum((1, 2), keepdim=True)
    shares = (changes / total.clamp_min(torch.finfo(total.dtype).tiny) + FAINT).log()
    shares = shares - shares.mean(0)
    around = F.max_pool2d(shares[:, None], 3, stride=1, padding=1)[:, 0]
    own = torch.stack([one[place] for one, place in zip(around, places, strict=True)])
    return int((shares.amax((1, 2)) - own > FAR).sum())


def _places(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield first, middle and last row with first, middle and last column."""
    rows, columns = (dict.fromkeys((0, side // 2, side - 1)) for side in (height, width))
    return product(rows, columns)


def _noisy(image: Tensor, place: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return a copy of an image with noise in what one place of a grid covers."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    inside = torch.zeros(grid)
    inside[place] = 1
    return image + noise * F.interpolate(inside[None, None], image.shape[2:], mode="nearest").to(image)
