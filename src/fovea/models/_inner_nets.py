"""Treat nets inside a net: number their layers for fine-tuning, and drop what no output depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

Numbering = Callable[[str], float]


def matcher(parts: Mapping[str, nn.Module], *, coarse: bool) -> Numbering:
    """Return what timm's `group_parameters` takes: a parameter's name to the number of its layer.

    `parts` maps the prefix of each inner net to the net. Layers are counted back from the top of each, so
    that the last stages of a deep and of a shallow net stand on one level; whatever is in none of them is
    the head.
    """
    numbers: dict[str, float] = {}
    for prefix, net in parts.items():
        own = layer_numbers(net, coarse=coarse)
        top = max(own.values(), default=0)
        numbers |= {f"{prefix}.{name}": float(layer - top) for name, layer in own.items()}
    return lambda name: numbers.get(name, float("inf"))


def layer_numbers(net: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Number the layers (`coarse`: stages) from the input by parameter; all 0 where a net does not say."""
    from timm.models import group_parameters

    group_matcher = getattr(net, "group_matcher", None)
    if not callable(group_matcher):
        return {name: 0 for name, _ in net.named_parameters()}
    return group_parameters(net, group_matcher(coarse=coarse), reverse=True)


def drop_unused(net: nn.Module, *, size: tuple[int, int], in_channels: int = 3) -> None:
    """Replace the modules whose parameters no output reaches by the identity, found without computing values.

    `net` maps images (1, in_channels, *size) to a tensor or a dict of tensors. It takes part in no batch
    statistics.
    """
    parts = [(f"{n}." if n else "", m) for n, m in net.named_modules()]  # a shared module once
    parameters = {start + n: v for start, m in parts for n, v in m.named_parameters(recurse=False)}
    known = parameters | {start + n: v for start, m in parts for n, v in m.named_buffers(recurse=False)}
    copies = {id(v): v.detach().to("meta") for v in known.values()}
    meta, names = {n: copies[id(v)] for n, v in known.items()}, list(parameters)
    for name in names:
        meta[name].requires_grad_()
    training, image = net.training, torch.empty(1, in_channels, *size, device="meta")
    found: Any = functional_call(net.eval(), meta, (image,), tie_weights=False)
    net.train(training)
    outputs = found.values() if isinstance(found, dict) else [found]
    total = torch.stack([output.sum() for output in outputs]).sum()
    grads = torch.autograd.grad(total, [meta[n] for n in names], allow_unused=True)
    used = {n for n, g in zip(names, grads, strict=True) if g is not None}
    unused = [
        n for n, m in net.named_modules()
        if n and any(True for _ in m.parameters()) and not any(u.startswith(f"{n}.") for u in used)
    ]  # fmt: skip
    for module in unused:
        if not any(module.startswith(f"{other}.") for other in unused):
            net.set_submodule(module, nn.Identity())
