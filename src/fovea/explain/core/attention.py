"""Read the attention maps that a transformer computes, also where a fused kernel hides them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fovea.explain.core.method import as_written
from fovea.explain.core.windows import Layout, find_layout

SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)


class AttentionMaps(dict[str, Tensor]):
    """The attention maps of the last forward pass by dotted path of the module, in order.

    A map is (B, heads, N, N), of windowed attention (B windows, heads, n, n); rows sum to 1. `layouts` says
    where in the image the tokens lie; it lacks modules whose tokens are cut in an unknown way. `single` says
    of modules in which one token alone attends to how many tokens it does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layouts: dict[str, Layout] = {}
        self.single: dict[str, int] = {}


def precise(weights: Tensor) -> Tensor:
    """Convert half precision to float32: in sums over layers and tokens, patches would become equal."""
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


class _Explicit(TorchFunctionMode):
    """Compute what attention asks for with a softmax that can be seen; acts in this thread alone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self.single: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        out = func(*args, **kwargs)
        return self._keep(out) if func in SOFTMAX else out

    def _keep(self, weights: Tensor) -> Tensor:
        if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2]:
            if torch.is_grad_enabled() and not weights.requires_grad:
                weights.requires_grad_()  # a frozen net has gradients with respect to its maps, too
            self.found.append(weights)
        elif weights.ndim == 4 and weights.shape[-2] == 1:
            self.single.append(weights.shape[-1])
        return weights

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        if enable_gqa:
            k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
        scores = (q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)) @ k.transpose(-2, -1)
        if is_causal:
            attn_mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return F.dropout(self._keep(scores.softmax(dim=-1)), dropout_p) @ v


def attention_modules(net: nn.Module) -> dict[str, nn.Module]:
    """Find the attention modules: with heads and projections of their own, and no such module inside."""
    heads = {n: m for n, m in net.named_modules() if _attends(m)}
    return {n: m for n, m in heads.items() if not any(o != n and o.startswith(f"{n}.") for o in heads)}


def _attends(module: nn.Module) -> bool:
    own = any(_projects(m) for m in module.children())  # a position bias has none
    return own and isinstance(getattr(module, "num_heads", None), int)


def _projects(module: nn.Module) -> bool:
    """Return whether a module is a linear layer or a 1x1 convolution, with or without its batch norm."""
    inner = list(module.children())
    if any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in inner):
        module = inner[0]
    return isinstance(module, nn.Linear | nn.Conv2d)


@contextmanager
def capture(net: nn.Module) -> Iterator[AttentionMaps]:
    """Yield the attention maps of every layer and head, filled by a forward pass within the block.

    For the time of the block each attention module computes its softmax in the open: the output agrees with
    that of the fused kernel but for rounding, and the maps are part of the graph, so gradients with respect
    to them can be taken. A later forward pass replaces the maps. The net is restored also after an error,
    and outside the block nothing is slower.

    Raises:
        ValueError: a net without attention.
    """
    modules = attention_modules(net)
    if not modules:
        raise ValueError(f"{type(net).__name__} has no attention: use a CAM or a gradient method")
    maps = AttentionMaps()
    with ExitStack() as stack:
        _open(net, modules, maps, stack)
        yield maps


def _open(net: nn.Module, modules: dict[str, nn.Module], maps: AttentionMaps, stack: ExitStack) -> None:
    stack.enter_context(as_written(net))
    image_grid = _watch_patches(net, stack)
    for path, module in modules.items():
        block = net.get_submodule(path.rpartition(".")[0])
        shapes: list[tuple[int, ...]] = []
        if block is not module:
            stack.callback(block.register_forward_pre_hook(_keep_shape(shapes)).remove)
        _replace(module, _opened(module.forward, path, maps, block, shapes, image_grid), stack)


def _replace(module: nn.Module, forward: Callable[..., Any], stack: ExitStack) -> None:
    own = module.__dict__.get("forward")  # another tool may have put one there
    module.forward = forward
    stack.callback(module.__dict__.pop if own is None else module.__dict__.__setitem__, "forward", own)


def _keep_shape(shapes: list[tuple[int, ...]]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        shapes[:] = [tuple(args[0].shape)] if args else []

    return hook


def _opened(
    forward: Callable[..., Any],
    path: str,
    maps: AttentionMaps,
    block: nn.Module,
    shapes: list[tuple[int, ...]],
    image_grid: Callable[[], tuple[int, int] | None],
) -> Callable[..., Any]:
    def opened(*args: Any, **kwargs: Any) -> Any:
        x = next(iter([*args, *kwargs.values()]))
        with _Explicit() as mode:
            out = forward(*args, **kwargs)
        counts = {x.shape[1:-1].numel(), x.shape[2:].numel()} if x.ndim == 4 else {x.shape[1]}
        found = [w for w in mode.found if w.shape[-1] in counts]  # XCiT's maps are over channels
        maps.single.pop(path, None)
        if single := [n for n in mode.single if n in counts]:
            maps.single[path] = single[0]
        if found:
            maps.pop(path, None)  # in the order of the last pass
            maps[path] = found[0]
            layout = find_layout(block, shapes, tuple(x.shape), tuple(found[0].shape), image_grid())
            maps.layouts.pop(path, None)
            if layout is not None:
                maps.layouts[path] = layout
        return out

    return opened


def _watch_patches(net: nn.Module, stack: ExitStack) -> Callable[[], tuple[int, int] | None]:
    """Follow the size of the images, so that the grid is right for nets that take any size."""
    owner: Any = next((m for m in net.modules() if "patch_embed" in dict(m.named_children())), None)
    if owner is None:
        return lambda: None
    shapes: list[tuple[int, ...]] = []
    stack.callback(owner.patch_embed.register_forward_pre_hook(_keep_shape(shapes)).remove)

    def grid() -> tuple[int, int] | None:
        size = getattr(owner.patch_embed, "dynamic_feat_size", None)
        if size is not None and shapes and len(shapes[0]) == 4:
            height, width = size(shapes[0][-2:])
            return int(height), int(width)
        found = getattr(owner.patch_embed, "grid_size", None) or getattr(owner, "grid_size", None)
        return found and (int(found[0]), int(found[1]))

    return grid
