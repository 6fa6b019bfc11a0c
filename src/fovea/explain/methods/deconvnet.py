"""Project activations back to pixels with unpooling switches: Zeiler & Fergus (2014), arXiv:1311.2901."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from fovea.explain.core.method import explaining
from fovea.explain.methods.guided_backprop import GuidedBackprop

Back = Callable[[Tensor], Tensor]  # from the map above a layer to the map below it


class Deconvnet(GuidedBackprop):
    """Bring the score back through the whole net, dense layers included; the largest value over the colours.

    A deconvnet is a backward pass in which each ReLU rectifies the gradient (Simonyan et al. 2014,
    https://arxiv.org/abs/1312.6034, section 4), so any net with ReLUs has one.
    """

    @staticmethod
    def rule(gradient: Tensor, is_open: Tensor) -> Tensor:
        """Rectify what comes from above, whatever the activation was: section 2.1, "rectification"."""
        return gradient.relu()


def chain_layer(net: nn.Module, image: Tensor) -> str:
    """Return the last convolution of a net whose features a chain of convolutions makes.

    Raises:
        ValueError: a net with branches, with what can be shown instead.
    """
    convs = [path for path, module in _chain(net) if isinstance(module, nn.Conv2d)]
    if not convs or not _whole(net, image[:1]):
        begins = f", or layer={convs[-1]}, up to which it is one" if convs else ""
        raise ValueError(
            f"{type(net).__name__} is not a chain of convolutions, as AlexNet, ZFNet and VGG are: use "
            f"feature_maps, or the maps of deconvnet and guided_backprop{begins}"
        )
    return convs[-1]


def chain_output(net: nn.Module, image: Tensor, layer: str) -> Tensor:
    """Return what `layer` of the leading chain gives for images (B, C, H, W): (B, D, h, w)."""
    with explaining(net), torch.no_grad():
        for _, module in _until(net, layer):
            image, _ = _forward(module, image)
        return image


def _whole(net: nn.Module, image: Tensor) -> bool:
    """Return whether the chain computes all features that the head reads."""
    if not callable(getattr(net, "forward_features", None)):
        chained = sum(isinstance(module, nn.Conv2d) for _, module in _chain(net))
        return chained == sum(isinstance(module, nn.Conv2d) for module in net.modules())
    with explaining(net), torch.no_grad():
        features = net.forward_features(image)  # type: ignore[operator]
    return torch.equal(chain_output(net, image, list(_chain(net))[-1][0]), features)


def project(net: nn.Module, image: Tensor, *, layer: str, channel: int) -> tuple[Tensor, Tensor]:
    """Rebuild the pixels that excite `channel` of `layer` most: pictures (B, C, H, W) and activations (B,).

    All other activations of the layer are set to zero; then layer by layer maps are unpooled into the places
    that the maxima came from (the switches), rectified, and filtered with the transposed filters: section
    2.1. Biases are ignored. Where overlapping windows share a maximum, their projections are added.

    `layer` is a module among the leading convolutions, ReLUs, batch norms and poolings of an AlexNet-,
    ZFNet- or VGG-like net, such as `features.9`.

    Raises:
        ValueError: a layer that is not in that chain, or a channel that it has not.
    """
    with explaining(net), torch.no_grad():
        x, steps = image, []
        for path, module in _until(net, layer):
            x, back = _forward(module, x)
            steps.append((path, back))
        if not 0 <= channel < x.shape[1]:
            raise ValueError(f"channel={channel} of {layer}, which has {x.shape[1]}")
        strongest, place = x[:, channel].flatten(1).max(1)  # (B,)
        x = torch.zeros_like(x)
        rows = torch.arange(len(x), device=x.device)
        x[:, channel].flatten(1)[rows, place] = strongest
        for _, back in reversed(steps):
            x = back(x)
        return x, strongest


def _until(net: nn.Module, layer: str) -> list[tuple[str, nn.Module]]:
    """List the leading layers in order, up to the end of `layer`."""
    chain = list(_chain(net))
    inside = [i for i, (path, _) in enumerate(chain) if path == layer or path.startswith(f"{layer}.")]
    if not inside:
        raise ValueError(
            f"layer={layer!r} is not in the chain that {type(net).__name__} begins with: "
            f"{', '.join(path for path, _ in chain) or 'it has none'}"
        )
    return chain[: inside[-1] + 1]


def _chain(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Walk the layers that follow one another, as far as each can be turned round."""
    begun = False
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.ReLU | nn.MaxPool2d | nn.BatchNorm2d | nn.Dropout | nn.Identity):
            begun = begun or isinstance(module, nn.Conv2d)
            yield path, module
        elif not begun and isinstance(module, nn.AdaptiveAvgPool2d):
            continue  # a part of the head that is declared first
        elif path and type(module) is not nn.Sequential:
            return


def _forward(module: nn.Module, x: Tensor) -> tuple[Tensor, Back]:
    """Return the module's output and the step that turns it round."""
    if isinstance(module, nn.Conv2d):
        return module(x), _unfilter(module, x)
    if isinstance(module, nn.MaxPool2d):
        y, switches = F.max_pool2d(
            x, module.kernel_size, module.stride, module.padding, module.dilation,
            ceil_mode=module.ceil_mode, return_indices=True,
        )  # fmt: skip
        return y, _unpool(switches, x)
    if isinstance(module, nn.ReLU):
        return x.relu(), torch.relu
    if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
        return module(x), _unscale(module)
    if isinstance(module, nn.Dropout | nn.Identity):
        return x, lambda y: y
    raise ValueError(f"{module} has no deconvolution here: it norms by the statistics of the batch")


def _unfilter(conv: nn.Conv2d, x: Tensor) -> Back:
    if conv.padding_mode != "zeros":
        raise ValueError(f"padding_mode={conv.padding_mode!r}: a deconvnet here takes zeros")

    def back(y: Tensor) -> Tensor:
        return conv2d_input(
            x.shape,
            conv.weight,
            y,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )

    return back


def _unpool(switches: Tensor, x: Tensor) -> Back:
    def back(y: Tensor) -> Tensor:
        flat = torch.zeros_like(x).flatten(2)  # (B, C, H W)
        return flat.scatter_add(2, switches.flatten(2), y.flatten(2)).view_as(x)

    return back


def _unscale(norm: nn.BatchNorm2d) -> Back:
    scale = torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[arg-type, operator]
    if norm.weight is not None:
        scale = scale * norm.weight

    return lambda y: y * scale[:, None, None]
