"""The spine that every objective shares: metrics by stage, optimizers, logging, what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from fovea.optim.finetune import Finetune, param_groups
from fovea.types import Batch, Observer, OptimizerFactory, Output, SchedulerFactory

STAGES = ("train", "val", "test")


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""


class Task(L.LightningModule):
    """A network, what to minimise and what to measure; a subclass writes `step`.

    Every `loss` and `loss_*` entry of `step` is averaged over samples and logged as `<stage>/<name>`.

    Args:
        metrics: by name, updated with the `preds` and `target` of `step` and logged beside the losses; None
            stands for one that these data do not need.
        eval_only: metrics that are not followed on the training images, since they take long.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        metrics: Mapping[str, Metric | None] | None = None,
        eval_only: Sequence[str] = (),
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        finetune: Finetune | None = None,
        monitor: str = "val/loss",
    ) -> None:
        super().__init__()
        self.net = net
        self.finetune = finetune or Finetune()
        self.monitor = monitor
        self.meta: dict[str, Any] = {}
        self._optimizer, self._scheduler = optimizer, scheduler
        self._options: dict[str, Any] = dict(getattr(optimizer, "keywords", {}))
        self._plateau: ReduceLROnPlateau | None = None
        self._saved_plateau: dict[str, Any] | None = None
        self._bad_step: Tensor | None = None
        self._validated = False
        self.measured: dict[str, int] = {}  # images that each stage last went through
        self.timing: dict[str, float] = {}  # what a task itself timed, for `timing` of summary.json
        self._means = {stage: Means() for stage in STAGES}
        for stage in STAGES:
            skipped = eval_only if stage == "train" else ()
            chosen = {k: m.clone() for k, m in (metrics or {}).items() if m is not None and k not in skipped}
            self.add_module(f"{stage}_metrics", collection(chosen, prefix=f"{stage}/"))

    def step(self, batch: Batch) -> Output:
        """Return the loss and what the metrics need, for one batch of any stage."""
        raise NotImplementedError(f"{type(self).__name__} must implement step(batch)")

    def forward(self, image: Tensor) -> Any:
        """Run the network on normalised images (B, C, H, W)."""
        return self.net(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Minimise the loss of `step`."""
        output = self.step(batch)
        self._record("train", batch, output)
        if isinstance(self.net, Observer):
            self.net.observe(batch["image"], output.get("preds"), output.get("target"))
        loss = output.get("loss")
        if loss is None or not loss.requires_grad:
            return None
        self._watch(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure `step` on the validation split."""
        self._record("val", batch, self.step(batch))

    def test_step(self, batch: Batch, batch_idx: int) -> Output:
        """Measure `step` on the test split and hand its output to the callbacks."""
        output = self.step(batch)
        self._record("test", batch, output)
        return output

    def on_train_epoch_start(self) -> None:
        """Reset metrics that a search before the training, or part of an epoch, has updated."""
        self._validated = False
        self._means["train"] = Means()
        self._metrics("train").reset()

    def on_train_epoch_end(self) -> None:
        """Log the epoch; the schedule that follows a metric moves here, before the checkpoint is written."""
        self._check_finite()
        self._log_epoch("train")
        if self._plateau is not None and (self._validated or not self.monitor.startswith("val/")):
            self._plateau.step(self._monitored())

    def _monitored(self) -> float:
        metrics = self.trainer.callback_metrics
        if self.monitor not in metrics:
            raise ValueError(
                f"scheduler=plateau follows metrics.monitor={self.monitor}, which is not measured: "
                f"choose one of {', '.join(sorted(metrics))}, or another scheduler"
            )
        return float(metrics[self.monitor])

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._validated = True
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_epoch("test")

    @property
    def lr(self) -> float:
        """The base learning rate of the optimizer; the learning-rate finder reads and sets it."""
        return float(self._options["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self._options["lr"] = float(value)

    def configure_optimizers(self) -> Any:
        """Build the optimizer over named parameter groups and its schedule, stepped once per update."""
        groups = [] if self._optimizer is None else self._groups()
        if self._optimizer is None or not groups:
            return None
        if len(groups) > 1 and issubclass(getattr(self._optimizer, "func", object), torch.optim.LBFGS):
            raise ValueError(
                "optimizer=lbfgs takes all parameters alike, and this task has groups of them; "
                "it is for experiment=style_transfer and its kind: choose another, such as optimizer=adamw"
            )
        optimizer = self._optimizer(groups)
        if self._scheduler is None:
            return optimizer
        total = max(1, int(self.trainer.estimated_stepping_batches))
        per_epoch = self._steps_per_epoch(total)
        scheduler = self._scheduler(optimizer, total_steps=total, steps_per_epoch=per_epoch)
        if isinstance(scheduler, ReduceLROnPlateau):
            self._plateau = scheduler
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps_per_epoch(self, total: int) -> int:
        if self.trainer.max_steps > 0:  # they may end anywhere in an epoch
            self.trainer.fit_loop.setup_data()  # not done yet where max_epochs is -1
            batches = self.trainer.num_training_batches
            return max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        return max(1, total // max(1, self.trainer.max_epochs or 1))

    def _groups(self) -> list[dict[str, Any]]:
        decay = float(self._options.get("weight_decay", 0.0))
        return param_groups(self.net, lr=self.lr, weight_decay=decay, plan=self.finetune)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance the schedule by one optimizer step."""
        scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model with no other file: config, class names and preprocessing."""
        checkpoint["fovea"] = self.meta
        checkpoint["fovea_measured"] = dict(self.measured)
        if self._plateau is not None:
            checkpoint["fovea_plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what was measured, and hold the state of the plateau schedule until that is built."""
        self.measured = {**checkpoint.get("fovea_measured", {}), **self.measured}
        self._saved_plateau = checkpoint.get("fovea_plateau")

    def on_train_start(self) -> None:
        """Restore the plateau schedule."""
        if self._plateau is not None and self._saved_plateau is not None:
            self._plateau.load_state_dict(self._saved_plateau)

    def _record(self, stage: str, batch: Batch, output: Output) -> None:
        losses = {k: v.detach() for k, v in output.items() if k.startswith("loss") and isinstance(v, Tensor)}
        images = len(batch["image"])
        self._means[stage].update(losses, weight=output.get("counted", images), images=images)
        if "preds" in output:
            self._metrics(stage).update(output["preds"], output["target"])

    def _metrics(self, stage: str) -> MetricCollection:
        return getattr(self, f"{stage}_metrics")

    def _log_epoch(self, stage: str) -> None:
        metrics = self._metrics(stage)
        values = {f"{stage}/{k}": v for k, v in self._means[stage].compute(self.device).items()}
        self.measured[stage] = self._means[stage].count
        if len(metrics) and any(m.update_called for m in metrics.values()):
            values.update({k: v for k, v in metrics.compute().items() if v.numel() == 1})
        metrics.reset()
        self.log_dict(values, prog_bar=True, batch_size=1)

    def _watch(self, loss: Tensor) -> None:
        """Record the first step with a non-finite loss on the device; read it back only now and then."""
        if self._bad_step is None or self._bad_step.device != loss.device:
            self._bad_step = torch.full((), float("inf"), device=loss.device)
        step = self.global_step
        self._bad_step = torch.where(
            torch.isfinite(loss.detach()), self._bad_step, self._bad_step.clamp(max=step)
        )
        every = max(1, getattr(self.trainer, "log_every_n_steps", 50))
        if loss.device.type == "cpu" or step % every == 0:
            self._check_finite()
        if step % every == 0:
            self.log(
                "train/loss_step", loss.detach(), on_step=True, on_epoch=False, prog_bar=True, batch_size=1
            )

    def _check_finite(self) -> None:
        if self._bad_step is None or not bool(torch.isfinite(self._bad_step)):
            return
        step, self._bad_step = int(self._bad_step), None
        raise NonFiniteLoss(step)


def collection(metrics: Mapping[str, Metric], **names: str) -> MetricCollection:
    """Collect metrics under a `prefix` and `postfix`; those of equal `shared_state` are updated once.

    Left to itself, torchmetrics lets metrics share whose numbers are equal after the first batch, as those of
    two thresholds may be.
    """
    groups: dict[Hashable, list[str]] = {}
    for name, metric in metrics.items():
        groups.setdefault(getattr(metric, "shared_state", name), []).append(name)
    return MetricCollection(dict(metrics), compute_groups=list(groups.values()), **names)


class Means:
    """Weighted running means kept on the device, so that a step never waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int | Tensor] = {}
        self._images = 0
        self.count = 0  # of the samples that were gone through for the means that were last computed

    def update(self, values: dict[str, Tensor], *, weight: int | Tensor, images: int) -> None:
        """Add scalar `values`, each the mean of those `weight` of `images` samples that count."""
        self._images += images
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.double() * weight
            self._weights[name] = self._weights.get(name, 0) + weight

    def compute(self, device: torch.device) -> dict[str, Tensor]:
        """Return the means over all processes, and reset."""
        names = sorted(self._sums)
        if not names:
            self._images = self.count = 0
            return {}
        dtype = torch.float32 if device.type == "mps" else torch.float64
        total = torch.stack([self._sums[n].to(device, dtype) for n in names])
        weights = [float(self._weights[n]) for n in names]
        weight = torch.tensor([*weights, self._images], device=device, dtype=dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
            torch.distributed.all_reduce(weight)
        self._sums, self._weights, self._images, self.count = {}, {}, 0, int(weight[-1])
        return dict(zip(names, (total / weight[:-1]).float(), strict=True))
