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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (is_open,) = ctx.saved_tensors
        return ctx.rule(gradient, is_open.to(gradient)), None, None


class GuidedBackprop:
    """Take the largest absolute guided gradient over the colours."""

    @staticmethod
    def rule(gradient: Tensor, is_open: Tensor) -> Tensor:
        """Let a gradient through where it and the activation are positive.

        Springenberg et al. (2015), https://arxiv.org/abs/1412.6806, section 3.4.
        """
        return gradient.relu() * is_open

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), not negative."""
        return self.gradient(net, image, target).float().abs().amax(1)

    def gradient(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return the gradient (B, C, H, W) of the score at the image, with the rule at ReLUs.

        Raises:
            ValueError: a net without ReLUs, of which this would be the plain gradient under another name.
        """
        with explaining(net):
            image = watch(image)
            with ReluRule(self.rule) as rules:
                output = net(image)
            if not rules.count:
                raise ValueError(f"{type(net).__name__} has no ReLU for the rule to act on: use Saliency")
            return score_gradient((target or ClassScore())(output), image)


class GuidedGradCAM(GuidedBackprop):
    """Multiply the guided gradient by the Grad-CAM map of `layer`.

    Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391, section 3.2.
    """

    def __init__(self, *, layer: str | None = None) -> None:
        self.layer = layer

    def gradient(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return the product (B, C, H, W)."""
        return super().gradient(net, image, target) * GradCAM(layer=self.layer)(net, image, target)[:, None]
