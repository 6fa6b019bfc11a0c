"""Number the layers of nets inside a net, as fine-tuning asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

Numbering = Callable[[str], float]


def matcher(parts: Mapping[str, nn.Module], *, coarse: bool) -> Numbering:
    """Return what timm's `group_parameters` takes: a parameter's name to the number of its layer.

    `parts` maps the prefix of each inner net to the net. Layers are counted back from the top of each, so
    that the last stages of a deep and of a shallow net stand on one level; whatever is in none of them is
    the head.
    """
    numbers: dict[str, float] = {}
    for prefix, net in parts.items():
        own = _layers(net, coarse=coarse)
        top = max(own.values(), default=0)
        numbers |= {f"{prefix}.{name}": float(layer - top) for name, layer in own.items()}
    return lambda name: numbers.get(name, float("inf"))


def _layers(net: nn.Module, *, coarse: bool) -> dict[str, int]:
    from timm.models import group_parameters

    group_matcher = getattr(net, "group_matcher", None)
    if not callable(group_matcher):
        return {name: 0 for name, _ in net.named_parameters()}
    return group_parameters(net, group_matcher(coarse=coarse), reverse=True)
