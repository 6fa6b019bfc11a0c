"""Find the layer that a class activation map reads."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.core.attention import attention_modules
from fovea.explain.core.grid import find_grid, first_attribute, has_shape
from fovea.explain.core.latents import latent_layers
from fovea.explain.core.method import explaining, first_tensor
from fovea.models.adapt_input import AdaptInput

INSTEAD = "name it with layer=, or use a method that reads the image alone, such as saliency or occlusion"


@dataclass(frozen=True)
class _Step:
    """A module that ended: its output's grid (h, w), None where it has none, and the tokens before it."""

    path: str
    module: nn.Module
    grid: tuple[int, int] | None
    prefix: int


@dataclass(frozen=True)
class _Trace:
    """The modules in the order in which they ended, and how many had ended when each attention began.

    `shrinks` has the grids that modules took whose own maps are of another; `keeps` those, coarser than the
    image, that modules took and gave; `fed` what the modules right around attention took.
    """

    steps: list[_Step]
    begun: dict[str, int]
    shrinks: dict[str, tuple[int, int]]
    keeps: dict[str, tuple[int, int]]
    fed: dict[str, Any]
    output: Any


def cam_layer(net: nn.Module, image: Tensor | None = None) -> str:
    """Return the dotted path of the layer that class activation maps read.

    It is the last layer whose output has one grid of more than one pixel an image, which pooling did not
    make (`layer4`, `features.29`, an MLP mixer's `norm`). In a net that ends in attention it is what the last
    attention reads, where that carries a class token or is the norm of a plain transformer block
    (`blocks.11.norm1`): above it the class token alone may reach the score. Where the net's output is a map
    itself, it is the last layer at the coarsest resolution. It is found by running the first of the images
    (B, C, H, W) through the net.

    Raises:
        ValueError: a net whose layers cannot be found so; name the layer then.
    """
    name = type(net).__name__
    if image is None:
        image = torch.zeros(_image_shape(net), device=next((p.device for p in net.parameters()), None))
    pair = image[:1].detach().expand(2, -1, -1, -1)  # two: what is not one an image has another first axis
    try:
        trace, whole = _trace_of_features(net, pair)
        latent = latent_layers(net, pair)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"{name} does not run on images of {tuple(pair.shape[1:])}: {error}") from error
    steps = [step for step in _once(trace) if step.grid is not None and step.path not in latent]
    steps = [step for step in steps if not _starts_shrinking(step, trace)] or steps
    if not steps:
        raise ValueError(f"no layer of {name} gives one map an image at {tuple(pair.shape[1:])}: {INSTEAD}")
    if whole:
        steps = [step for step in steps if not _beside(step, trace)] or steps
        coarsest = min(min(step.grid) for step in steps if step.grid)
        return [step for step in steps if step.grid and min(step.grid) == coarsest][-1].path
    if found := _before_attention(net, trace, steps):
        return found.path
    found = steps[-1]
    if shared := _shared_after(found, trace):
        raise ValueError(
            f"the last maps of {name} come out of {shared}, which runs several times: layer={shared} reads "
            f"its last run, which may be of another image; {INSTEAD}"
        )
    return found.path


def _before_attention(net: nn.Module, trace: _Trace, steps: Sequence[_Step]) -> _Step | None:
    """Return what the last attention reads, where only norms and its own block come after it."""
    if not trace.begun:
        return None
    block, begin = _last_block(trace)
    early = {step.path for step in trace.steps[:begin]}
    before = [step for step in steps if step.path in early]
    after = [step for step in steps if step.path not in early and not f"{block}.".startswith(f"{step.path}.")]
    mixes = (nn.Linear, nn.Conv2d)
    if any(isinstance(m, mixes) for s in after if not _within(s.path, block) for m in s.module.modules()):
        return None
    if not before:
        return None
    found = before[-1]
    convolves = any(isinstance(m, nn.Conv2d) for m in net.get_submodule(block).modules())
    normed = hasattr(found.module, "normalized_shape") and _within(found.path, block) and not convolves
    return found if found.prefix or normed else None


def _last_block(trace: _Trace) -> tuple[str, int]:
    """Return the block of the last attention, and how many modules ended before its input.

    Branches side by side that take the same tokens belong to one block: none of them passes all of the score.
    """
    last = max(trace.begun, key=lambda path: trace.begun[path])
    branch = _around(last)
    block = _around(_around(branch))  # the list of branches lies between
    tokens = trace.fed.get(branch)
    beside = [p for p, fed in trace.fed.items() if fed is tokens and _around(p) == _around(branch)]
    if len(beside) < 2 or not block:
        return branch, trace.begun[last]
    return block, min(i for i, step in enumerate(trace.steps) if _within(step.path, block))


def _around(path: str) -> str:
    return path.rpartition(".")[0]


def _shared_after(found: _Step, trace: _Trace) -> str | None:
    """Return a layer with weights that runs several times and gives a map after a step; None without one."""
    times = Counter(step.path for step in trace.steps)
    after = trace.steps[trace.steps.index(found) + 1 :]
    shared = [step for step in after if times[step.path] > 1 and step.grid and list(step.module.parameters())]
    outside = [step.path for step in shared if not any(_within(step.path, path) for path in trace.begun)]
    return outside[-1] if outside else None


def _starts_shrinking(step: _Step, trace: _Trace) -> bool:
    """Return whether a step is inside a block that goes on to a coarser map, beside which others may pass."""
    return any(_within(step.path, block) and grid == step.grid for block, grid in trace.shrinks.items())


def _beside(step: _Step, trace: _Trace) -> bool:
    """Return whether a step has another grid than a block around it keeps, as pooling in a pyramid has."""
    return any(_within(step.path, block) and grid != step.grid for block, grid in trace.keeps.items())


def _within(path: str, block: str) -> bool:
    return bool(block) and f"{path}.".startswith(f"{block}.")


def _once(trace: _Trace) -> Iterator[_Step]:
    """Leave out what runs several times, as an activation that layers share, and what lies in attention.

    Attention itself counts: where it shares its block with the MLP it is the block.
    """
    times = Counter(step.path for step in trace.steps)
    for step in trace.steps:
        if times[step.path] == 1 and not any(_within(_around(step.path), path) for path in trace.begun):
            yield step


def _trace_of_features(net: nn.Module, image: Tensor) -> tuple[_Trace, bool]:
    """Trace the net below its head, where it says which part that is; tell whether its output is a map."""
    trace = _trace(net, net, image)
    first = first_tensor(trace.output)
    whole = first is not None and first.ndim == 4
    features = getattr(net, "forward_features", None)
    if callable(features):
        below = _trace(net, features, image)
        if any(step.grid for step in below.steps):
            trace = below
    return trace, whole


def _trace(net: nn.Module, run: Callable[[Tensor], Any], image: Tensor) -> _Trace:
    found = _Trace(steps=[], begun={}, shrinks={}, keeps={}, fed={}, output=None)
    took: dict[str, tuple[int, int]] = {}
    pooled: list[Tensor] = []
    sizes = [(image.shape[2], image.shape[3])]  # of the image, and as the first convolution sees it
    convolved: list[tuple[int, int]] = []  # what convolutions made of them, perhaps without a border

    def begin(path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d) and len(sizes) == 1 and args and args[0].ndim == 4:
            sizes.append((args[0].shape[2], args[0].shape[3]))
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            took[path] = (args[0].shape[2], args[0].shape[3])
        if path in attention:
            found.begun[path] = len(found.steps)
        if path in around and args:
            found.fed[path] = args[0]

    def end(path: str, module: nn.Module, output: Any) -> None:
        if "Pool" in type(module).__name__ or isinstance(module, nn.Dropout):
            pooled.append(output)
        known = isinstance(output, Tensor) and len(output) == 2 and not any(output is p for p in pooled)
        if known and isinstance(module, nn.Conv2d) and has_shape(took.get(path), [*sizes, *convolved]):
            convolved.append((output.shape[2], output.shape[3]))
        shapes = [*sizes, *convolved] if known and output.ndim == 4 else sizes
        prefix, grid = (find_grid(net, output, module=module, sizes=shapes) if known else None) or (0, None)
        if grid and path in took:
            if took[path] != grid:
                found.shrinks[path] = took[path]
            elif grid != sizes[0]:
                found.keeps[path] = grid
        found.steps.append(_Step(path, module, grid if grid and min(grid) > 1 else None, prefix))

    attention = attention_modules(net)
    around = {_around(path) for path in attention}
    with contextlib.ExitStack() as stack:
        for path, module in net.named_modules():
            if path:
                stack.callback(module.register_forward_pre_hook(lambda m, a, p=path: begin(p, m, a)).remove)
                stack.callback(module.register_forward_hook(lambda m, _, out, p=path: end(p, m, out)).remove)
        stack.enter_context(explaining(net))
        stack.enter_context(torch.no_grad())
        return replace(found, output=run(image))


def _image_shape(net: nn.Module) -> tuple[int, ...]:
    known = first_attribute(net, "pretrained_cfg", default=None) or {}
    modules = list(net.modules())
    takes = [
        m.channels for m in modules if isinstance(m, AdaptInput)
    ]  # comes first, whatever is listed first
    takes += [m.in_channels for m in modules if isinstance(m, nn.Conv2d)]
    channels = takes[0] if takes else 3
    size = getattr(net, "image_size", None) or tuple(known.get("input_size", (3, 224, 224)))[1:]
    return (1, channels, *((size, size) if isinstance(size, int) else size))
