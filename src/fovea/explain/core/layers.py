"""Find the layer that a class activation map reads, and put its output on a grid."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fovea.explain.core.method import explaining
from fovea.models.adapt_input import AdaptInput


def cam_layer(net: nn.Module, image: Tensor | None = None) -> str:
    """Return the dotted path of the layer that class activation maps read.

    In a net that ends in attention it is the norm before the last attention (`blocks.11.norm1`): above it the
    class token alone, or no position, reaches the score. In a convolutional net it is the last layer with a
    map of more than one pixel that pooling did not make (`layer4`, `features.29`); where the net's output is
    a map itself, the last layer at the coarsest resolution. It is found by running shapes through the net,
    those of `image` where given.

    Raises:
        ValueError: a net whose layers cannot be found so; name the layer then.
    """
    norms = [f"{path}.norm1".lstrip(".") for path, module in net.named_modules() if _is_attention(module)]
    if norms:
        return norms[-1]
    shape = _image_shape(net) if image is None else (1, *image.shape[1:])
    try:
        sides, whole = _candidates(net, shape)
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"cannot follow the shapes of {type(net).__name__} ({error}): name the layer with layer="
        ) from error
    if whole and sides:
        coarsest = min(sides.values())
        sides = {path: side for path, side in sides.items() if side == coarsest}
    if not sides:
        raise ValueError(f"no layer of {type(net).__name__} gives a map at {shape}: name it with layer=")
    return list(sides)[-1]


def to_grid(net: nn.Module, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Return features as (B, D, h, w), from (B, N, D) tokens, (B, h, w, D) or (B, D, h, w).

    Tokens before the patches (class, distillation, registers) are dropped. `size`, the images' (H, W), is
    needed where a net takes images of any size and theirs are not square.

    Raises:
        ValueError: tokens that no grid of the net explains.
    """
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if _channels_last(net, features) else features
    if features.ndim != 3:
        raise ValueError(f"features of shape {tuple(features.shape)} have no positions: name another layer")
    prefix, grid = _placed(net, features.shape[1], size)
    return features[:, prefix:].transpose(1, 2).unflatten(2, grid)  # of (B, prefix + h w, D)


def _is_attention(module: nn.Module) -> bool:
    children = dict(module.named_children())
    return "attn" in children and isinstance(children.get("norm1"), nn.LayerNorm)


class _Call(nn.Module):
    """Run one method of a net as a module does, so that its weights can be replaced by shapes."""

    def __init__(self, net: nn.Module, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, x: Tensor) -> Any:
        return getattr(self.net, self.method)(x)


def _candidates(net: nn.Module, shape: Sequence[int]) -> tuple[dict[str, int], bool]:
    """Return the side of each layer's map in the order of computation, and whether the output is a map."""
    runs, output = _trace(net, "__call__", shape)
    times = Counter(path for path, _ in runs)
    maps = {path: side for path, side in runs if side and times[path] == 1}  # no act that layers share
    if callable(getattr(net, "forward_features", None)):  # what a head computes is no feature
        below = {path for path, _ in _trace(net, "forward_features", shape)[0]}
        maps = {path: side for path, side in maps.items() if path in below} or maps
    return maps, isinstance(output, Tensor) and output.ndim == 4


def _trace(net: nn.Module, method: str, shape: Sequence[int]) -> tuple[list[tuple[str, int]], Any]:
    """List the modules in the order in which they end, each with the side of its map, 0 if it makes none."""
    runs: list[tuple[str, int]] = []
    pooled: list[Tensor] = []

    def note(path: str, module: nn.Module, output: Any) -> None:
        side = min(output.shape[2:]) if isinstance(output, Tensor) and output.ndim == 4 else 0
        if "Pool" in type(module).__name__ or isinstance(module, nn.Dropout):
            pooled.append(output)
        runs.append((path, 0 if side == 1 or any(output is p for p in pooled) else side))

    with contextlib.ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                hook = module.register_forward_hook(lambda m, _, out, path=path: note(path, m, out))
                stack.callback(hook.remove)
        stack.enter_context(explaining(net))
        stack.enter_context(torch.no_grad())
        tensors = (*net.named_parameters(), *net.named_buffers())
        state = {f"net.{k}": v.detach().to("meta") for k, v in tensors}
        output = functional_call(_Call(net, method), state, (torch.empty(*shape, device="meta"),))
    return runs, output


def _image_shape(net: nn.Module) -> tuple[int, ...]:
    known = _first(net, "pretrained_cfg", default=None) or {}
    modules = list(net.modules())
    takes = [
        m.channels for m in modules if isinstance(m, AdaptInput)
    ]  # comes first, whatever is listed first
    takes += [m.in_channels for m in modules if isinstance(m, nn.Conv2d)]
    channels = takes[0] if takes else 3
    size = getattr(net, "image_size", None) or tuple(known.get("input_size", (3, 224, 224)))[1:]
    return (1, channels, *((size, size) if isinstance(size, int) else size))


def _first(net: nn.Module, name: str, *, default: Any) -> Any:
    """Return the attribute of the net, or of the first net inside it that has the attribute."""
    return next((getattr(m, name) for m in net.modules() if hasattr(m, name)), default)


def _grids(net: nn.Module, size: Sequence[int] | None) -> Iterator[tuple[int, int]]:
    embed = _first(net, "patch_embed", default=None)
    if size is not None and hasattr(embed, "dynamic_feat_size"):
        yield tuple(embed.dynamic_feat_size(tuple(size)))
    for holder in (embed, net, *net.modules()):
        grid = getattr(holder, "grid_size", None)
        if isinstance(grid, tuple | list) and len(grid) == 2:
            yield int(grid[0]), int(grid[1])


def _placed(net: nn.Module, count: int, size: Sequence[int] | None) -> tuple[int, tuple[int, int]]:
    """Return how many of the tokens come before the patches, and the grid of the patches.

    Below the layer that adds the class token, as in `patch_embed`, there are patches alone.
    """
    prefix = _first(net, "num_prefix_tokens", default=0)
    leading = dict.fromkeys((prefix, 0))
    for grid_of in (partial(_known_grid, net, size=size), _square):
        for first in leading:
            if grid := grid_of(count - first):
                return first, grid
    raise ValueError(
        f"{count - prefix} tokens do not form a square, and {type(net).__name__} has no grid of so many: "
        "give size=(H, W) of the images, or a function of your own with grid="
    )


def _known_grid(net: nn.Module, count: int, *, size: Sequence[int] | None) -> tuple[int, int] | None:
    for h, w in _grids(net, size):
        shrink = isqrt(h * w // count) if count > 0 else 0  # a hierarchical net halves the sides
        if shrink and (h // shrink) * (w // shrink) == count and not (h % shrink or w % shrink):
            return h // shrink, w // shrink
    return None


def _square(count: int) -> tuple[int, int] | None:
    side = isqrt(max(count, 0))
    return (side, side) if side and side * side == count else None


def _channels_last(net: nn.Module, features: Tensor) -> bool:
    """Return whether layer norms of the net run over the last axis of (B, ?, ?, ?)."""
    widths = {m.normalized_shape[-1] for m in net.modules() if isinstance(m, nn.LayerNorm)}
    first, last = features.shape[1] in widths, features.shape[3] in widths
    if not (first and last):
        return last
    if len(set(features.shape[1:])) > 1:  # maps are square more often than not
        return features.shape[1] == features.shape[2]
    return str(_first(net, "output_fmt", default="")).endswith("NHWC")  # timm's name for it
