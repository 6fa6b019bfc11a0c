"""Show the weights that touch the pixels as pictures: first filters and templates."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

SILENT = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity, nn.Flatten, nn.Sequential)


def filter_layer(net: nn.Module) -> str:
    """Return the dotted path of the first convolution, in the order in which the net declares its parts."""
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return path
    raise ValueError(
        f"{type(net).__name__} has no 2D convolution: its first weights are shown by hidden_templates"
    )


def first_filters(net: nn.Module, path: str | None = None) -> Tensor:
    """Return the first filters as pictures (K, C, h, w) in 0…1, a weight of zero being mid-grey.

    Krizhevsky et al. 2012, figure 3. Each filter has its own scale. A `path` names another convolution.
    """
    layer = net.get_submodule(filter_layer(net) if path is None else path)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"{path} is a {type(layer).__name__}, not a 2D convolution")
    return as_pictures(layer.weight)


def hidden_templates(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return what each unit of the first linear layer looks for, as pictures (units, C, H, W) in 0…1.

    For softmax regression the units are the classes; for a two-layer net they are the hidden units. `shape`
    is C, H, W of the images.
    """
    return as_pictures(_layers(net, shape)[0].weight.detach().reshape(-1, *shape))


def class_weights(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the weight of every input in every logit (num_classes, C, H, W), as if each unit were active.

    The product of the layers' matrices: exactly the weights of softmax regression; for deeper perceptrons the
    linear part, without the nonlinearities.
    """
    total = None
    for layer in _layers(net, shape):
        weight = layer.weight.detach()
        total = weight if total is None else weight @ total  # (out, C H W)
    assert total is not None
    return total.reshape(-1, *shape)


def class_templates(net: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return the template of each class of a linear or multilayer net: (num_classes, C, H, W) in 0…1."""
    return as_pictures(class_weights(net, shape))


def as_pictures(weight: Tensor) -> Tensor:
    """Map each of (K, C, h, w) to 0…1 about mid-grey by its own largest size, colours kept in proportion."""
    weight = weight.detach().float()
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return 0.5 + 0.5 * weight / largest


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
            f"{type(net).__name__} has {', '.join(other) or sizes}: use first_filters or visualise_class"
        )
    return layers
