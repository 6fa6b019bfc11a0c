"""Tell tokens that are places of the image from those that are not, such as hidden states and queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.core.grid import known_grids, prefix_counts
from fovea.explain.core.method import explaining, first_tensor

Shapes = dict[str, torch.Size]  # of the outputs of modules by their paths


def latent_layers(net: nn.Module, image: Tensor) -> set[str]:
    """Return the paths of the modules that give (B, N, D) tokens which are no places of `image` (B, C, H, W).

    Places become more with the image, so the net is run on an image of another height, too. Where it takes
    images of one size alone, or brings them to one, tokens are places if there are as many as in its grid of
    patches, in a map (B, D, h, w) of its own, or in one of these halved again and again.
    """
    shapes = _shapes(net, image[:1])
    tokens = {path: shape[1] for path, shape in shapes.items() if len(shape) == 3}
    if not tokens:
        return set()
    other = _at_another_height(net, image[:1]) or shapes
    same = {path: count for path, count in tokens.items() if other.get(path, shapes[path])[1] == count}
    seen = [path for path in shapes if isinstance(net.get_submodule(path), nn.Conv2d)]
    if any(other.get(path) != shapes[path] for path in seen):
        return set(same)
    places, prefixes = set(_places(net, shapes, image)), prefix_counts(net)
    return {path for path, count in same.items() if places.isdisjoint(count - p for p in prefixes)}


def require_places(net: nn.Module, image: Tensor, layer: str) -> None:
    """Raise ValueError where what `layer` gives are tokens that are no places of the image."""
    if layer in latent_layers(net, image):
        raise ValueError(
            f"layer={layer} of {type(net).__name__} gives as many tokens of any image: they are no places of "
            "it; name another layer, or leave it out"
        )


def _at_another_height(net: nn.Module, image: Tensor) -> Shapes | None:
    """Return the shapes for an image of twice or half the height; None where the net takes neither."""
    for scale in (2.0, 0.5):
        resized = nn.functional.interpolate(image.float(), scale_factor=(scale, 1.0)).to(image)
        try:
            return _shapes(net, resized)
        except Exception:  # each architecture has an error of its own for a size that it does not take
            continue
    return None


def _places(net: nn.Module, shapes: Shapes, image: Tensor) -> Iterator[int]:
    grids = [(s[2], s[3]) for s in shapes.values() if len(s) == 4]
    height, width = image.shape[2:]
    if not grids:  # patches are cut without a convolution
        grids = [(height // p, width // p) for p in range(2, height) if not (height % p or width % p)]
    for height, width in {*grids, *known_grids(net)}:
        while height * width > 1:
            yield height * width
            height, width = -(-height // 2), -(-width // 2)


def _shapes(net: nn.Module, image: Tensor) -> Shapes:
    found: Shapes = {}
    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_hook(partial(_note, found, path)).remove)
        stack.enter_context(explaining(net))
        stack.enter_context(torch.no_grad())
        net(image)
    return found


def _note(found: Shapes, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
    first = first_tensor(output)
    if first is not None:
        found[path] = first.shape
