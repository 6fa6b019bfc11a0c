"""Show the weights that touch the pixels as pictures: first filters and templates."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from fovea.explain.core.hooks import find

SILENT = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity, nn.Flatten, nn.Sequential)


def filter_layer(net: nn.Module) -> str:
    """Return the dotted path of the first convolution, in the order in which the net declares its parts."""
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return path
    raise ValueError(
        f"{type(net).__name__} has no 2D convolution: its first weights are shown by hidden_weights"
    )


def filter_weights(net: nn.Module, path: str | None = None) -> Tensor:
    """Return a copy of the first convolution's filters (K, C, h, w), or of those of the one at `path`."""
    path = filter_layer(net) if path is None else path
    layer = find(net, path)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"{path} is a {type(layer).__name__}, not a 2D convolution")
    return _copy(layer.weight)


def first_filters(net: nn.Module, path: str | None = None) -> Tensor:
    """Return the first filters as pictures (K, C, h, w) in 0…1, a weight of zero being mid-grey."""
    return as_pictures(filter_weights(net, path))


def hidden_weights(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return what each unit of the first linear layer adds up: (units, C, H, W).

    For softmax regression the units are the classes; for a two-layer net they are the hidden units. `shape`
    is C, H, W of the images.
    """
    return _copy(_layers(net, shape)[0].weight).reshape(-1, *shape)


def class_weights(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the weight of every input in every logit (num_classes, C, H, W), as if each unit were active.

    The product of the layers' matrices: exactly the weights of softmax regression; for deeper perceptrons the
    linear part, without the nonlinearities.
    """
    first, *others = (_copy(layer.weight) for layer in _layers(net, shape))
    for weight in others:
        first = weight @ first  # (out, C H W)
    return first.reshape(-1, *shape)


def as_pictures(weight: Tensor) -> Tensor:
    """Map each of (K, C, h, w) to 0…1 about mid-grey by its own largest size, colours kept in proportion.

    Krizhevsky et al. 2012, figure 3.
    """
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return 0.5 + 0.5 * weight / largest


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu().clone()


def _layers(net: nn.Module, shape: Sequence[int]) -> list[nn.Linear]:
    """Return the linear layers of a net that has nothing else that weighs its inputs."""
    leaves = [m for m in net.modules() if not any(True for _ in m.children())]
    layers = [m for m in leaves if isinstance(m, nn.Linear)]
    other = sorted({type(m).__name__ for m in leaves if not isinstance(m, (nn.Linear, *SILENT))})
    sizes = [(m.in_features, m.out_features) for m in layers]
    widths = [prod(shape), *(size for _, size in sizes)]
    if other or not layers or [size for size, _ in sizes] != widths[:-1]:
        raise ValueError(
            f"templates need a chain of linear layers from {prod(shape)} = {tuple(shape)} inputs; "
            f"{type(net).__name__} has {', '.join(other) or sizes}: use the filters or class_visualisation"
        )
    return layers
