"""Plan which part of a net trains when and how fast, and group its parameters for the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fovea.optim.finetune_parts import backbone_stages, frozen_modules, head_parameters, layer_ids, matching


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Plan fine-tuning as a pure function of the epoch; the defaults train the whole net alike.

    Attributes:
        unfreeze_epoch: first epoch (from 0) in which the backbone trains; None is never. Before it only the
            head does.
        stage_epochs: from then on one more stage trains every so many epochs, from the head down
            (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146); 0 is all stages at once.
        backbone_lr_scale: factor on the learning rate of all but the head.
        layer_decay: the layer d below the head learns at layer_decay^d
            (BEiT, Bao et al. 2021, https://arxiv.org/abs/2106.08254).
        head: prefixes of the parameters of the head; empty asks the net.
        trainable_names: patterns of names, such as `net.head.*`: what matches none never trains; empty: all.
    """

    unfreeze_epoch: int | None = 0
    stage_epochs: int = 0
    backbone_lr_scale: float = 1.0
    layer_decay: float = 1.0
    head: Sequence[str] = ()
    trainable_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("unfreeze_epoch", "stage_epochs"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"finetune.{name}={getattr(self, name)} is negative: count epochs from 0")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"finetune.layer_decay={self.layer_decay} is not in (0, 1]: try 0.75")
        if not self.backbone_lr_scale > 0:
            raise ValueError(
                f"finetune.backbone_lr_scale={self.backbone_lr_scale} is not positive: "
                "to train the head alone set finetune.unfreeze_epoch=null"
            )

    def trainable(self, net: nn.Module, epoch: int) -> set[str]:
        """Return the names of the parameters that train in `epoch`."""
        return self._scheduled(net, epoch) & matching(net, self.trainable_names)

    def _scheduled(self, net: nn.Module, epoch: int) -> set[str]:
        if self.unfreeze_epoch == 0 and not self.stage_epochs:
            return {name for name, _ in net.named_parameters()}
        head = head_parameters(net, self.head)
        if self.unfreeze_epoch is None or epoch < self.unfreeze_epoch:
            return head
        stages = backbone_stages(net, head)
        count = 1 + (epoch - self.unfreeze_epoch) // self.stage_epochs if self.stage_epochs else len(stages)
        return head.union(*stages[max(len(stages) - count, 0) :])

    def frozen_modules(self, net: nn.Module, epoch: int) -> list[nn.Module]:
        """Return the modules to hold in eval mode in `epoch`, so that statistics and dropout stand still."""
        return frozen_modules(net, self.trainable(net, epoch))

    def lr_scales(self, net: nn.Module) -> dict[str, tuple[str, float]]:
        """Map each parameter's name to (label of its part, factor on the learning rate)."""
        names = [name for name, _ in net.named_parameters()]
        if self.layer_decay == 1 == self.backbone_lr_scale:
            return dict.fromkeys(names, ("", 1.0))
        head = head_parameters(net, self.head)
        if self.layer_decay == 1:
            return {n: ("head", 1.0) if n in head else ("backbone", self.backbone_lr_scale) for n in names}
        ids = layer_ids(net, coarse=False)
        top = max(ids.values())
        return {n: self._layer_scale(ids[n], top, in_head=n in head) for n in names}

    def _layer_scale(self, layer: int, top: int, *, in_head: bool) -> tuple[str, float]:
        if in_head:
            return "head", 1.0
        return f"layer_{layer:02d}", self.backbone_lr_scale * self.layer_decay ** (top - layer)


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
