"""Keep an exponential moving average of the weights, and measure and save that."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

CURRENT = "current_model_state"


class EMA(Callback):
    """Average weights and statistics after each optimizer step: a <- d a + (1 - d) w.

    Validation, the test after training and a checkpoint's `state_dict` use the average; the weights being
    trained are under `current_model_state` beside it, so that a run resumes exactly. Integer buffers are
    copied. (Lightning's EMAWeightAveraging, when a trainer that has fitted tests a checkpoint, loads the
    weights that were not averaged; and it averages on the CPU what trains on a GPU.)

    Args:
        decay: d, reached by way of (1 + t) / (10 + t) at the update t, lest the first weights weigh long.
    """

    def __init__(self, *, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} is not in [0, 1): try 0.999")
        self.decay = decay
        self._average: dict[str, Tensor] | None = None  # while swapped: the weights being trained
        self._swapped = False
        self._updates = 0
        self._step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse strategies under which a process does not hold the whole net."""
        if stage == "fit" and not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ValueError(
                f"{type(trainer.strategy).__name__} splits the weights, which cannot be averaged: "
                "set trainer.strategy=ddp, or take the ema callback out"
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the average at the weights, unless a checkpoint or an earlier fit left one."""
        state = pl_module.state_dict()
        if self._average is None:
            self._average = {k: v.clone() for k, v in state.items()}
            self._updates, self._step = 0, trainer.global_step
        self._average = {k: v.to(state[k].device) for k, v in self._average.items()}
        self._show(pl_module, averaged=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update once per optimizer step, however many batches it took."""
        if trainer.global_step > self._step and self._average is not None:
            self._step = trainer.global_step
            self._updates += 1
            decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
            update(self._average, pl_module.state_dict(), decay=decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate the average."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._show(pl_module, averaged=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Return to the weights in training."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._show(pl_module, averaged=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in the net."""
        self._show(pl_module, averaged=True)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Put the weights back if a validation was cut short."""
        self._show(pl_module, averaged=False)

    def state_dict(self) -> dict[str, Any]:
        """Return how often and when the average was last updated."""
        return {"updates": self._updates, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counters."""
        self._updates, self._step = state_dict["updates"], state_dict["step"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as `state_dict`, and the weights beside it."""
        if self._average is not None:
            both = [checkpoint["state_dict"], dict(self._average)]
            checkpoint["state_dict"], checkpoint[CURRENT] = both if self._swapped else reversed(both)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore both to resume; to test or validate, the net already holds the average."""
        self._swapped = False
        self._average = None
        if trainer.state.fn == TrainerFn.FITTING and CURRENT in checkpoint:
            self._average = {k: v.clone() for k, v in checkpoint["state_dict"].items()}
            pl_module.load_state_dict(checkpoint[CURRENT])

    @torch.no_grad()
    def _show(self, pl_module: L.LightningModule, *, averaged: bool) -> None:
        """Swap the net's tensors with the stored ones, unless the net already holds the wanted ones."""
        if self._average is None or averaged == self._swapped:
            return
        for name, tensor in pl_module.state_dict().items():
            stored = self._average[name]
            self._average[name] = tensor.clone()
            tensor.copy_(stored)
        self._swapped = averaged


@torch.no_grad()
def update(average: dict[str, Tensor], current: dict[str, Tensor], *, decay: float) -> None:
    """Move `average` towards `current` in place: a + (1 - decay) (w - a); integers are copied."""
    floats = [name for name, tensor in average.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floats], [current[n] for n in floats], 1 - decay)
    for name in average.keys() - set(floats):
        average[name].copy_(current[name])
