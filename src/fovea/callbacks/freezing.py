"""Freeze and unfreeze the parts of a net as its fine-tuning plan says."""

from __future__ import annotations

import logging
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fovea.optim.finetune import Finetune
from fovea.types import Observer

log = logging.getLogger(__name__)


class Freezing(Callback):
    """Apply `pl_module.finetune` to `pl_module.net` at the start of every training epoch.

    Frozen parameters need no gradient and frozen modules are in eval mode, so their statistics and dropout
    stand still. What trains is a function of the epoch alone, so nothing is saved with a checkpoint.
    """

    def __init__(self) -> None:
        self._trainable: set[str] | None = None
        self._still: list[nn.Module] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Freeze before the net is wrapped for several processes, so that most runs wrap it once."""
        if stage == "fit":
            self._trainable, self._still = None, []
            self._require_grad(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Apply the plan also where a resumed epoch is past its start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Apply the plan of this epoch."""
        if self._require_grad(trainer, pl_module):
            _wrap_again(trainer)
        net, plan = _net_and_plan(pl_module)
        if plan is not None:
            self._set_modes(plan.frozen_modules(net, trainer.current_epoch))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put frozen modules back to eval mode after a validation in mid-epoch has set all to train mode."""
        for module in self._still:
            if module.training:
                module.eval()

    def _set_modes(self, still: list[nn.Module]) -> None:
        kept = {id(module) for module in still}
        for module in self._still:
            if id(module) not in kept:
                module.train()
        for module in still:
            module.eval()
        self._still = still

    def _require_grad(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Set requires_grad and return whether anything changed."""
        net, plan = _net_and_plan(pl_module)
        if plan is None:
            return False
        epoch = trainer.current_epoch
        trainable = plan.trainable(net, epoch)
        if not trainable and not isinstance(net, Observer):
            raise ValueError(
                f"nothing in {type(net).__name__} trains in epoch {epoch}: it has no parameters in its head; "
                "name the head with finetune.head=[prefix], or set finetune=none"
            )
        changed = False
        for name, parameter in net.named_parameters():
            if parameter.requires_grad != (name in trainable):
                parameter.requires_grad_(name in trainable)
                parameter.grad = None
                changed = True
        if trainable != self._trainable:
            _tell(net, epoch, trainable, self._trainable)
        self._trainable = trainable
        return changed


def _net_and_plan(pl_module: L.LightningModule) -> tuple[nn.Module, Finetune | None]:
    return cast(nn.Module, pl_module.net), cast("Finetune | None", pl_module.finetune)


def _wrap_again(trainer: L.Trainer) -> None:
    """Re-wrap the net: DistributedDataParallel averages only what needed a gradient when it was made."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        strategy.model._remove_autograd_hooks()
        strategy.model = strategy.model.module
        strategy.configure_ddp()
    elif trainer.world_size > 1:
        raise ValueError(
            f"{type(strategy).__name__} cannot freeze or unfreeze during training: set trainer.strategy=ddp"
        )


def _tell(net: nn.Module, epoch: int, trainable: set[str], before: set[str] | None) -> None:
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    share = f"{sum(sizes[n] for n in trainable):,} of {sum(sizes.values()):,} parameters train"
    if before is None and len(trainable) < len(sizes):
        log.info("Epoch %d: all but %s is frozen; %s.", epoch, _modules(trainable), share)
    elif before is not None and trainable - before:
        log.info("Epoch %d: unfreezing %s; %s.", epoch, _modules(trainable - before), share)
    elif before is not None:
        log.info("Epoch %d: freezing %s; %s.", epoch, _modules(before - trainable), share)


def _modules(names: set[str]) -> str:
    """Shorten parameter names to at most six modules."""
    short = sorted({".".join(name.split(".")[: 2 if name.count(".") > 1 else 1]) for name in names})
    return ", ".join(short[:6]) + (f" and {len(short) - 6} more" if len(short) > 6 else "")
