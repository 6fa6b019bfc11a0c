"""Make learning-rate schedules; all but the plateau are stepped once per optimizer step."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

Factor = Callable[[int], float]


def constant(
    optimizer: Optimizer, *, total_steps: int, steps_per_epoch: int, warmup_epochs: float = 0.0
) -> LRScheduler:
    """Keep each group's learning rate."""
    return _scaled(optimizer, lambda i: 1.0, warmup_epochs * steps_per_epoch)


def step(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    every_epochs: float = 30.0,
    gamma: float = 0.1,
    warmup_epochs: float = 0.0,
) -> LRScheduler:
    """Multiply by gamma every so many epochs."""
    if every_epochs <= 0:
        raise ValueError(f"scheduler.every_epochs={every_epochs} is not positive: try 30")
    every = max(every_epochs * steps_per_epoch, 1.0)
    return _scaled(optimizer, lambda i: gamma ** int(i // every), warmup_epochs * steps_per_epoch)


def multistep(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    milestones: Sequence[float],
    gamma: float = 0.1,
    warmup_epochs: float = 0.0,
) -> LRScheduler:
    """Multiply by gamma at the start of each epoch in `milestones`, counted from 0."""
    edges = sorted(round(epoch * steps_per_epoch) for epoch in milestones)
    return _scaled(optimizer, lambda i: gamma ** bisect_right(edges, i), warmup_epochs * steps_per_epoch)


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    min_factor: float = 0.0,
) -> LRScheduler:
    """Warm up for w steps, then fall to min_factor: m + (1 - m) (1 + cos(pi (i - w) / (T - w))) / 2.

    Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983.
    """
    warmup = min(round(warmup_epochs * steps_per_epoch), total_steps)

    def factor(i: int) -> float:
        done = min(max(i - warmup, 0) / max(total_steps - warmup, 1), 1.0)
        return min_factor + (1 - min_factor) * (1 + cos(pi * done)) / 2

    return _scaled(optimizer, factor, warmup)


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    warmup_fraction: float = 0.3,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
    cycle_momentum: bool = True,
) -> LRScheduler:
    """Rise from start_factor to each group's own learning rate, fall to end_factor; momentum mirrors it.

    Smith & Topin (2018), https://arxiv.org/abs/1708.07120.
    """
    return ResumableOneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(total_steps, 2),  # one step alone would be taken at the end of the fall
        pct_start=warmup_fraction,
        div_factor=1 / start_factor,
        final_div_factor=start_factor / end_factor,
        cycle_momentum=cycle_momentum and any(k in optimizer.defaults for k in ("momentum", "betas")),
    )


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    mode: Literal["min", "max"] = "max",
    factor: float = 0.1,
    patience: int = 5,
    threshold: float = 1e-4,
    min_lr: float = 0.0,
) -> LRScheduler:
    """Multiply by `factor` when the monitored metric has not improved for `patience` epochs."""
    return ReduceLROnPlateau(
        optimizer, mode=mode, factor=factor, patience=patience, threshold=threshold, min_lr=min_lr
    )


class Resumable(LRScheduler):
    """Keep the position in a loaded state, but the curve this scheduler was made for.

    With the same number of steps the resumed run repeats the uninterrupted one to the bit; with another
    number it follows the new curve from the same step.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the position and set the learning rates of the curve there."""
        at = state_dict["last_epoch"]
        total = getattr(self, "total_steps", at)
        if at > total:
            raise ValueError(
                f"the checkpoint is at step {at}, the run ends at {total}: raise trainer.max_epochs"
            )
        shape = ("total_steps", "_schedule_phases")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in shape})
        with warnings.catch_warnings():
            # get_lr warns that step alone should call it; here it is a function of the step
            warnings.simplefilter("ignore")
            self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


class FactorLR(Resumable, LambdaLR):
    """Scale each group's learning rate by a function of the step."""


class ResumableOneCycleLR(Resumable, OneCycleLR):
    """Follow one cycle."""


def _scaled(optimizer: Optimizer, factor: Factor, warmup_steps: float) -> LRScheduler:
    """Scale by `factor` of the step i, and by (i + 1) / warmup_steps as long as that is below 1."""
    steps = round(warmup_steps)
    return FactorLR(optimizer, lambda i: factor(i) * min((i + 1) / steps, 1.0) if steps > 0 else factor(i))
