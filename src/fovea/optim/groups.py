"""Split a net's parameters into optimizer groups by weight decay and learning rate."""

from __future__ import annotations

from typing import Any

from torch import nn

from fovea.optim.finetune import Finetune


def param_groups(
    net: nn.Module, *, lr: float, weight_decay: float, plan: Finetune | None
) -> list[dict[str, Any]]:
    """Return groups with `params`, `lr`, `weight_decay` and `name`; each parameter is in exactly one.

    Vectors and scalars (biases, norms) and what `net.no_weight_decay()` names are not decayed. Frozen
    parameters are included: without a gradient an optimizer passes over them, and unfreezing them leaves
    groups and state as they were. Groups stand in the order of `net.named_parameters()`.
    """
    named = dict(net.named_parameters())
    parts = plan.lr_scales(net) if plan is not None else dict.fromkeys(named, ("", 1.0))
    exempt = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()  # type: ignore[operator]
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in named.items():
        label, scale = parts[name]
        decayed = parameter.ndim > 1 and name not in exempt
        key = "/".join(filter(None, (label, "decay" if decayed else "no_decay")))
        decay = weight_decay if decayed else 0.0
        group = groups.setdefault(key, {"params": [], "lr": lr * scale, "weight_decay": decay, "name": key})
        group["params"].append(parameter)
    return list(groups.values())
