"""Tell a net that is fitted without gradients when an epoch begins and when it is to be measured."""

from __future__ import annotations

import warnings

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, LearningRateFinder

from fovea.errors import UsageError
from fovea.types import Observer

# what Lightning warns of where a net has no parameters, as it means to
MEANT = (".*`LightningModule.configure_optimizers` returned `None`", ".*`training_step` returned `None`")


class Looking(Callback):
    """Have `pl_module.net`, where it is an `Observer`, forget and conclude; `Task` shows it the batches."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what such a net has no use for."""
        net = pl_module.net
        if stage != "fit" or not isinstance(net, Observer):
            return
        name, processes = type(net).__name__, trainer.world_size
        if processes > 1:
            raise UsageError(
                f"{name} is fitted by one process that sees all images, not by {processes} that share them: "
                "set trainer.devices=1 trainer.num_nodes=1"
            )
        if any(isinstance(one, LearningRateFinder) for one in trainer.callbacks):  # type: ignore[attr-defined]
            raise UsageError(f"{name} has no gradients, so no learning rate: leave callbacks=lr_finder out")
        for message in MEANT:
            warnings.filterwarnings("ignore", message=message)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin an epoch."""
        if isinstance(pl_module.net, Observer):
            pl_module.net.forget()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fit before what was learnt is measured."""
        if isinstance(pl_module.net, Observer):
            pl_module.net.conclude()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fit before what was learnt is saved."""
        self.on_validation_epoch_start(trainer, pl_module)
