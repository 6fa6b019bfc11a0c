"""The protocol of an attribution method, and helpers that run nets without changing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.targets import Target


class Method(Protocol):
    """Map normalised images (B, C, H, W) to attribution maps (B, H, W) of the target's score.

    A method in whose maps negative values speak against the target says so with `signed = True`; one in
    which the target plays no part, with `targeted = False`.
    """

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Explain the score of `target`; None is the logit of the predicted class."""
        ...


@contextmanager
def explaining(net: nn.Module) -> Iterator[None]:
    """Run `net` in evaluation mode with gradients on, and restore the mode of every module.

    Also within `torch.no_grad` and `torch.inference_mode`, where `watch` makes images that have gradients.
    What is compiled runs as it was written, so that hooks see it and nothing is compiled again.
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with as_written(net), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def first_tensor(output: Any) -> Tensor | None:
    """Return an output, or the first tensor of one that is a tuple, a list or a dict; None without one."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    several = isinstance(output, Mapping | tuple | list)
    return next((one for one in parts if isinstance(one, Tensor)), None) if several else None


def as_written(net: nn.Module) -> AbstractContextManager[object]:
    """Run what `torch.compile` wraps, or `Module.compile` replaced, as it was written."""
    compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in net.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def watch(image: Tensor) -> Tensor:
    """Copy images so that gradients reach the copy, whether or not the net's parameters are frozen."""
    return image.detach().clone().requires_grad_()


def score_gradient(score: Tensor, at: Tensor) -> Tensor:
    """Return the gradient of each image's score (B,) at `at` (B, …)."""
    if not score.requires_grad:
        raise ValueError("the score does not depend on the image: the net or the target detaches it")
    (gradient,) = torch.autograd.grad(score.sum(), at)
    return gradient


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, h, w) to (B, H, W), bilinearly."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def unit_range(maps: Tensor) -> Tensor:
    """Stretch each map (B, H, W) to 0…1; a constant one becomes 0."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
