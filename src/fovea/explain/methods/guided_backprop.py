"""Let only positive evidence back through ReLUs: guided backpropagation and guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fovea.explain.core.method import explaining, score_gradient, watch
from fovea.explain.core.targets import ClassScore, Target
from fovea.explain.methods.grad_cam import GradCAM

Rule = Callable[[Tensor, Tensor], Tensor]  # gradient from above, where the ReLU is open (0 or 1)
RELU = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
RELU6 = (F.relu6, F.hardtanh, F.hardtanh_)


def guided(gradient: Tensor, is_open: Tensor) -> Tensor:
    """Let a gradient through where it and the activation are positive.

    Springenberg et al. (2015), https://arxiv.org/abs/1412.6806, section 3.4.
    """
    return gradient.relu() * is_open


class ReluRule(TorchFunctionMode):
    """Change what ReLUs do to gradients while the block runs, and nothing in the net.

    Works on functional and in-place ReLUs and on modules that are used several times, where hooks on
    modules do not.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule, self.count = rule, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace calls of ReLU and ReLU6."""
        kwargs = kwargs or {}
        if func in RELU:
            limit = float("inf")
        elif func in RELU6:
            limits = (*args[1:3], *(kwargs[k] for k in ("min_val", "max_val") if k in kwargs))
            if func is not F.relu6 and tuple(limits[:2]) != (0.0, 6.0):
                return func(*args, **kwargs)
            limit = 6.0
        else:
            return func(*args, **kwargs)
        self.count += 1
        return _Relu.apply(args[0] if args else kwargs["input"], limit, self.rule)


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float, rule: Rule) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < limit))
        ctx.rule = rule
        return x.clamp(0.0, limit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (is_open,) = ctx.saved_tensors
        return ctx.rule(gradient, is_open.to(gradient)), None, None


def ruled_gradient(net: nn.Module, image: Tensor, target: Target | None, *, rule: Rule) -> Tensor:
    """Return the gradient (B, C, H, W) of the score at the image with another rule at ReLUs.

    Raises:
        ValueError: a net without ReLUs, of which this would be the plain gradient under another name.
    """
    with explaining(net):
        image = watch(image)
        with ReluRule(rule) as rules:
            output = net(image)
        if not rules.count:
            raise ValueError(f"{type(net).__name__} has no ReLU for the rule to act on: use Saliency")
        return score_gradient((target or ClassScore())(output), image)


def guided_gradient(net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
    """Return the guided gradient (B, C, H, W), a picture with the colours of the image."""
    return ruled_gradient(net, image, target, rule=guided)


class GuidedBackprop:
    """Take the largest absolute guided gradient over the colours."""

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), not negative."""
        return guided_gradient(net, image, target).float().abs().amax(1)


def guided_grad_cam(
    net: nn.Module, image: Tensor, target: Target | None = None, *, layer: str | None = None
) -> Tensor:
    """Multiply the guided gradient (B, C, H, W) by the Grad-CAM map of `layer`.

    Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391, section 3.2.
    """
    return guided_gradient(net, image, target) * GradCAM(layer=layer)(net, image, target)[:, None]


class GuidedGradCAM:
    """Take the largest absolute value of `guided_grad_cam` over the colours."""

    def __init__(self, *, layer: str | None = None) -> None:
        self.layer = layer

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), not negative."""
        return guided_grad_cam(net, image, target, layer=self.layer).float().abs().amax(1)
