"""Choose layers spread over the depth of a net."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.core.attention import attention_modules
from fovea.explain.core.grid import to_grid
from fovea.explain.core.latents import latent_layers
from fovea.explain.core.method import explaining

Run = tuple[str, int, int]  # path, side of its map, axes of its output


def spread_layers(net: nn.Module, image: Tensor, count: int = 4, *, vectors: bool = False) -> list[str]:
    """Return the paths of at most `count` layers in the order of computation, evenly over the depth.

    In a net whose maps become coarser these are the last layers at each size (`layer1` … `layer4`), in one
    of a single size its blocks (`blocks.2` …). `image` (B, C, H, W) is normalised; its first row runs through
    the net. With `vectors` a net without maps gives its layers, too.

    Raises:
        ValueError: a net without maps.
    """
    sides = _sides(net, image[:1])
    maps = {path: side for path, side in sides.items() if side > 1}
    if not maps and not vectors:
        raise ValueError(
            f"{type(net).__name__} makes no maps, only vectors: there are no feature maps to show"
        )
    sides = maps or sides
    last = {side: path for path, side in sides.items() if _belongs(net, path, sides)}  # the later one stays
    ends = [path for path in sides if path in last.values()]
    blocks = [path for path in sides if _is_block(path, sides)]
    chosen = ends if len(ends) >= min(count, 3) or not blocks else blocks
    return [chosen[i] for i in _evenly(len(chosen), count)]


def _sides(net: nn.Module, image: Tensor) -> dict[str, int]:
    """Return the shorter side of the map that each module gives, in order; 1 of a vector.

    Where tokens run through a net its maps are those of the tokens, not of what cuts the image into them.
    """
    runs: list[Run] = []
    with ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                hook = module.register_forward_hook(partial(_note, net, image, path, runs))
                stack.callback(hook.remove)
        stack.enter_context(explaining(net))
        stack.enter_context(torch.no_grad())
        net(image)
    times = Counter(path for path, _, _ in runs)
    hidden = latent_layers(net, image)
    inside = tuple(f"{path}." for path in attention_modules(net))
    once = [  # no act that layers share, and nothing inside attention
        run for run in runs if run[1] and times[run[0]] == 1 and not run[0].startswith(inside)
    ]
    once = [run for run in once if run[0] not in hidden]
    of_tokens = any(_number(path) and axes == 3 for path, side, axes in once if side > 1)
    return {path: side for path, side, axes in once if axes == 3 or not of_tokens}


def _note(
    net: nn.Module, image: Tensor, path: str, runs: list[Run], module: nn.Module, inputs: Any, output: Any
) -> None:
    side = 0 if _only_passes(module) else _side(net, image, output)
    runs.append((path, side, output.ndim if side else 0))


def _side(net: nn.Module, image: Tensor, output: Any) -> int:
    if not isinstance(output, Tensor) or not 2 <= output.ndim <= 4 or len(output) != len(image):
        return 0  # of windows there are more than images
    if output.ndim == 2:
        return 1
    try:
        return min(to_grid(net, output, image.shape[2:]).shape[2:])
    except ValueError:  # tokens that are no map: windows, pooled ones
        return 0


def _only_passes(module: nn.Module) -> bool:
    return "Pool" in type(module).__name__ or isinstance(
        module, nn.Dropout | nn.Identity | nn.Flatten | nn.Unfold
    )


def _belongs(net: nn.Module, path: str, sides: dict[str, int]) -> bool:
    """Return whether no enclosing block ends at another size: else the module is inside a downsampling."""
    parts = path.split(".")
    around = [".".join(parts[:i]) for i in range(1, len(parts))]
    blocks = [p for p in around if type(net.get_submodule(p)) is not nn.Sequential]
    return all(sides.get(block, sides[path]) == sides[path] for block in blocks)


def _is_block(path: str, sides: dict[str, int]) -> bool:
    """Return whether a module is one of a numbered list, and inside no other such module."""
    parts = path.split(".")
    around = [".".join(parts[:i]) for i in range(1, len(parts))]
    return _number(path) and not any(_number(parent) and parent in sides for parent in around)


def _number(path: str) -> bool:
    return path.rpartition(".")[2].isdigit()


def _evenly(length: int, count: int) -> list[int]:
    """Return `count` of the indices 0…length - 1, the last among them."""
    count = min(count, length)
    return [round((i + 1) * length / count) - 1 for i in range(count)]
