"""Put the output of a layer on the grid of the image: tokens, channels first or channels last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import isqrt, sqrt
from typing import Any

from torch import Tensor, nn

Size = tuple[int, int]  # height and width
NEAR = 0.95  # of a row or a column: padding and rounding move a grid's side by less than one


def to_grid(net: nn.Module, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Return features as (B, D, h, w), from (B, N, D) tokens, (B, h, w, D) or (B, D, h, w).

    Tokens before the patches (class, distillation, registers) are dropped. `size`, the images' (H, W), is
    needed where a net takes images of any size and theirs are not square.

    Raises:
        ValueError: several maps instead of one, or tokens that no grid of the net explains.
    """
    if not isinstance(features, Tensor):
        raise ValueError(
            f"{type(net).__name__} gives a {type(features).__name__} of maps, not one map: name a layer "
            "with one by layer=, or use Grad-CAM, which reads the one that was decisive"
        )
    sizes = [] if size is None else [(int(size[0]), int(size[1]))]
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if _channels_last(net, features, sizes) else features
    if features.ndim != 3:
        raise ValueError(f"features of shape {tuple(features.shape)} have no positions: name another layer")
    placed = _placed(net, features.shape[1], sizes)
    if placed is None:
        count = features.shape[1] - first_attribute(net, "num_prefix_tokens", default=0)
        raise ValueError(
            f"{count} tokens do not form a square, and {type(net).__name__} has no grid of so many in rows: "
            "name another layer, give size=(H, W) of the images, or a function of your own with grid="
        )
    prefix, grid = placed
    return features[:, prefix:].transpose(1, 2).unflatten(2, grid)  # of (B, prefix + h w, D)


def find_grid(
    net: nn.Module, output: Tensor, *, module: nn.Module, sizes: Sequence[Size]
) -> tuple[int, Size] | None:
    """Return how many tokens come before the grid in what `module` gave, and the grid; None without one.

    Four axes are a grid where they have the shape of the image in one of its `sizes`, or are square and come
    out of a convolution, which may have been resized so; windows or heads by tokens are none.
    """
    if output.ndim == 3:
        return _placed(net, output.shape[1], sizes)
    if output.ndim != 4 or output.shape[1] == 1:  # one channel is a gate, no features
        return None
    last = _channels_last(net, output, sizes)
    grid = (output.shape[1], output.shape[2]) if last else (output.shape[2], output.shape[3])
    convolved = grid[0] == grid[1] and any(isinstance(m, nn.Conv2d) for m in module.modules())
    return (0, grid) if convolved or any(_misfit(grid, size) < NEAR for size in sizes) else None


def first_attribute(net: nn.Module, name: str, *, default: Any) -> Any:
    """Return the attribute of the net, or of the first net inside it that has the attribute."""
    return next((getattr(m, name) for m in net.modules() if hasattr(m, name)), default)


def prefix_counts(net: nn.Module) -> tuple[int, ...]:
    """Return how many tokens may come before the patches, what the net says of itself first."""
    return tuple(dict.fromkeys((int(first_attribute(net, "num_prefix_tokens", default=0)), 0, 1, 2)))


def has_shape(grid: Sequence[int] | None, sizes: Sequence[Size]) -> bool:
    """Return whether a grid has the shape of one of the sizes, but for what padding and rounding move."""
    return grid is not None and min(grid) > 1 and any(_misfit((grid[0], grid[1]), s) < NEAR for s in sizes)


def _misfit(grid: Size, size: Size) -> float:
    """Return by how many rows or columns a grid misses the shape of the image."""
    stride = sqrt(size[0] * size[1] / (grid[0] * grid[1]))
    return max(abs(grid[0] - size[0] / stride), abs(grid[1] - size[1] / stride))


def _placed(net: nn.Module, count: int, sizes: Sequence[Size]) -> tuple[int, Size] | None:
    """Return how many of the tokens come before the patches, and the grid of the patches.

    Below the layer that adds the class token, as in `patch_embed`, there are patches alone; nets that add it
    late don't say how many there are.
    """
    units = first_attribute(net, "mask_spatial_shape", default=None)
    if units is not None:  # Hiera's tokens are in the order of its mask units, and in rows when each is one
        return (0, (units[0], units[1])) if count == units[0] * units[1] else None
    leading = prefix_counts(net)
    shaped = [(*_shaped(count - first, sizes), first) for first in leading if count > first]
    if shaped and (best := min(shaped, key=lambda found: found[0]))[0] < NEAR:
        return best[2], best[1]
    for grid_of in (partial(_known_grid, net, sizes=sizes), _square):
        for first in leading[:2] if grid_of is _square else leading:
            if grid := grid_of(count - first):
                return first, grid
    return None


def _shaped(count: int, sizes: Sequence[Size]) -> tuple[float, Size]:
    """Return the grid of so many patches that is nearest to the image's shape, and by how much it misses."""
    found: list[tuple[float, Size]] = [(1.0, (1, count))]
    for size in sizes:
        rows = round(sqrt(count * size[0] / size[1]))
        grids = [(h, count // h) for h in (rows - 1, rows, rows + 1) if h > 0 and count % h == 0]
        found += [(_misfit(grid, size), grid) for grid in grids]
    return min(found, key=lambda one: one[0])


def known_grids(net: nn.Module, sizes: Sequence[Size] = ()) -> Iterator[Size]:
    """Yield the grids of patches that the net names."""
    embed = first_attribute(net, "patch_embed", default=None)
    if sizes and hasattr(embed, "dynamic_feat_size"):
        yield tuple(embed.dynamic_feat_size(sizes[0]))
    for holder in (embed, net, *net.modules()):
        grid = getattr(holder, "grid_size", None)
        if isinstance(grid, tuple | list) and len(grid) == 2:
            yield int(grid[0]), int(grid[1])


def _known_grid(net: nn.Module, count: int, *, sizes: Sequence[Size]) -> Size | None:
    for h, w in known_grids(net, sizes):
        shrink = isqrt(h * w // count) if count > 0 else 0  # a hierarchical net halves the sides
        if shrink and (h // shrink) * (w // shrink) == count and not (h % shrink or w % shrink):
            return h // shrink, w // shrink
    return None


def _square(count: int) -> Size | None:
    side = isqrt(max(count, 0))
    return (side, side) if side and side * side == count else None


def _channels_last(net: nn.Module, features: Tensor, sizes: Sequence[Size]) -> bool:
    """Return whether (B, ?, ?, ?) is (B, h, w, D), by the image's shape, or by what norms run over."""
    a, b, c = features.shape[1:]
    last, first = (any(_misfit(grid, size) < NEAR for size in sizes) for grid in ((a, b), (b, c)))
    if last != first:
        return last
    widths = {m.normalized_shape[-1] for m in net.modules() if isinstance(m, nn.LayerNorm)}
    first, last = a in widths, c in widths
    if not (first and last):
        return last
    if len({a, b, c}) > 1:  # maps are square more often than not
        return a == b
    return str(first_attribute(net, "output_fmt", default="")).endswith("NHWC")  # timm's name for it
