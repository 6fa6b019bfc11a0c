"""One run: build, fit, test, report."""

from __future__ import annotations

import logging
import time
import traceback
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.engine import distributed, processes, resume, rundir
from fovea.engine.imports import import_torchmetrics_fast
from fovea.engine.processes import ChildProcesses
from fovea.engine.sizes import check_sizes
from fovea.engine.start_weights import order_head
from fovea.engine.summary import Summary
from fovea.errors import UsageError
from fovea.page.formats import counted, parameters

if TYPE_CHECKING:
    import torch
    from lightning.pytorch import Callback
    from torch import nn

    from fovea.callbacks.checkpoint import BestAndLast
    from fovea.engine.initial import Initial
    from fovea.engine.resume import Start

log = logging.getLogger(__name__)


class Session:
    """The objects of one run and the order in which they act; `summary` is None in processes of rank > 0."""

    def __init__(self, begin: Start, summary: Summary | None, children: ChildProcesses) -> None:
        self.begin, self.summary, self.children = begin, summary, children
        self.config, self.ckpt_path = begin.config, begin.ckpt_path
        self.run_dir = Path(self.config.run_dir)

    @property
    def stepped(self) -> bool:
        """Whether this process has changed the weights."""
        return hasattr(self, "trainer") and self.trainer.global_step > self.begin.step

    def run(self) -> float | None:
        """Run all stages; return the best value of the monitored metric."""
        self.checkpointer: BestAndLast = build.make(self.config.checkpoint)
        try:
            self._build()
            self._fit()
            self._test()
        finally:
            best = self.checkpointer.best
            if self.summary is not None and best is not None:
                self.summary.set(best={"value": best["value"], "epoch": best["epoch"]})
        if self.summary is not None:
            self._conclude(self.summary)
        return None if best is None else best["value"]

    def _build(self) -> None:
        import_torchmetrics_fast()
        from fovea.callbacks.record import EpochRecord
        from fovea.callbacks.seeding import seed_all
        from fovea.engine import initial

        config = self.config
        seed_all(config.seed)
        weights = initial.read(config) if self.ckpt_path is None else None
        if weights is not None:
            weights.adopt(config)  # first: some nets undo the normalisation of the data
        net = self._network()
        preprocessing = build.preprocessing(config, net)
        if weights is not None:
            preprocessing = weights.adapt(preprocessing)
        elif self.ckpt_path is not None:
            preprocessing = resume.normalised(self.ckpt_path, preprocessing)
        self.datamodule = build.datamodule(config, preprocessing)
        if self.ckpt_path is not None:
            self.datamodule.recorded = resume.data_of(self.ckpt_path, config)
        if self.summary is not None:
            self._prepare(net, weights)
        self.datamodule.channels_last = bool(config.channels_last)
        self.task = build.task(config, net)
        self.datamodule.own_size = bool(getattr(self.task, "full_size", False))
        plain = OmegaConf.to_container(config, resolve=True)
        self.task.meta = {"version": 1, "config": plain, "preprocessing": preprocessing}
        if self.summary is not None:
            self.task.meta["classes"] = list(self.datamodule.classes)
            self.task.meta["splits"] = self.datamodule.record()
            self.task.meta |= self.datamodule.labelling()
        self.record = EpochRecord(
            path=self.run_dir / "metrics.csv", on_start=self._started, on_epoch=self._epoch_done
        )
        callbacks = build.callbacks(config, record=self.record, checkpointer=self.checkpointer)
        callbacks.append(processes.callback(self.children))
        if self.begin.ended:
            callbacks.append(_stop_at_once())
        self.trainer = build.trainer(config, callbacks=callbacks, loggers=build.loggers(config))
        if self.summary is not None:
            self.summary.set(**self._facts())
            self._announce(self.summary.facts)

    def _announce(self, facts: dict[str, Any]) -> None:
        """Say before the first epoch what is about to be trained on what, and where it goes."""
        data, limits = facts["data"], self.trainer
        images = ", ".join(f"{data[f'num_{name}']:,} {name}" for name in ("train", "val", "test"))
        epochs = -1 if limits.max_epochs is None else limits.max_epochs
        steps = f"up to {counted(limits.max_steps, 'step')}, " if (limits.max_steps or -1) > 0 else ""
        log.info(
            "%s (%s parameters) on %s (images: %s); %s%s on %s; %s",
            facts["model"]["name"], parameters(facts["model"]), data["name"], images, steps,
            counted(epochs, "epoch") if epochs != -1 else "no limit of epochs",
            facts["environment"]["device"], self.run_dir,
        )  # fmt: skip

    def _network(self) -> nn.Module:
        if self.ckpt_path is None:
            return build.network(self.config)
        from fovea.engine import checkpoint

        return checkpoint.network(checkpoint.load(self.ckpt_path), self.config, self.ckpt_path)

    def _prepare(self, net: nn.Module, initial: Initial | None) -> None:
        """Prepare the data and make every automatic choice before other processes start."""
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        check_sizes(net, self.datamodule)
        weights = self.config.model.get("checkpoint")
        if weights is not None and self.ckpt_path is None:
            order_head(net, str(weights), self.datamodule.classes)
        if initial is not None:
            skip = list(self.config.init.skip)
            initial.report(initial.load(net, classes=self.datamodule.classes, skip=skip), self.run_dir)
        self.config.data.batch_size = self.datamodule.batch_size  # lower where few images train
        if self.config.trainer.precision in ("auto", 16, "16", "16-mixed"):
            from fovea.engine import precision

            precision.settle(self.config, net, self.datamodule, self.ckpt_path)
        _unfuse_to_clip(self.config)
        rundir.write_config(self.run_dir, self.config)
        distributed.publish(self.run_dir)

    def _fit(self) -> None:
        path = None if self.ckpt_path is None else str(self.ckpt_path)
        try:
            self.trainer.fit(self.task, datamodule=self.datamodule, ckpt_path=path, weights_only=True)
        except Exception as error:
            if path is None or isinstance(error, UsageError) or not (_restoring(error) or self._odd(error)):
                raise
            raise UsageError(
                f"{path} does not continue this run{_detail(error)}: it is damaged or was edited; "
                "copy best.ckpt over it if that is intact, or start a new run"
            ) from error
        if self.record.began is None:  # the checkpoint was the last one
            self._started()

    def _odd(self, error: Exception) -> bool:
        """Whether the first step failed within the optimizer, on the state that the checkpoint holds."""
        frames = reversed(traceback.extract_tb(error.__traceback__))
        inside = [frame.filename for frame in takewhile(lambda frame: "/torch/" in frame.filename, frames)]
        return not self.stepped and any("/torch/optim/" in file for file in inside)

    def _started(self) -> None:
        """Record what finders chose, and a batch lowered to the share of a process, as what ran."""
        found: dict[str, Any] = {}
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            found |= getattr(callback, "found", {})
        used = {key: one["used"] for key, one in found.items()}
        used["data.batch_size"] = self.datamodule.batch_size
        changed = {key: value for key, value in used.items() if OmegaConf.select(self.config, key) != value}
        for key, value in changed.items():
            OmegaConf.update(self.config, key, value)
        self.task.meta["config"] = OmegaConf.to_container(self.config, resolve=True)
        if self.summary is not None and (found or changed):
            self.summary.set(config={"batch_size": self.config.data.batch_size})
            self.summary.set(**({"found": found} if found else {}))
            self.summary.write()  # first: what was given is what a run without a checkpoint starts from
            rundir.write_config(self.run_dir, self.config)

    def _test(self) -> None:
        self.metrics = _metrics(self.record.rows[-1]) if self.record.rows else {}
        if not self.config.test or not len(self.datamodule.test):
            return
        best = self.checkpointer.best_path
        path = str(best) if best.is_file() and not self.config.trainer.get("fast_dev_run") else None
        tested = self.trainer.test(
            self.task, datamodule=self.datamodule, ckpt_path=path, verbose=False, weights_only=True
        )
        self.metrics |= {k: float(v) for row in tested for k, v in row.items()}

    def _facts(self) -> dict[str, Any]:
        parameters = list(self.task.net.parameters())
        return {
            "data": self.datamodule.summary(),
            "model": {
                "params": sum(p.numel() for p in parameters),
                "trainable_params": sum(p.numel() for p in parameters if p.requires_grad),
            },
            "environment": {
                "device": _device_name(self.trainer.strategy.root_device),
                "processes": self.trainer.world_size,
            },
            "config": {"precision": str(self.trainer.precision), "batch_size": self.config.data.batch_size},
        }

    def _timing(self) -> dict[str, Any]:
        began = self.record.began or time.time()
        return {
            "startup_s": round(began - psutil.Process().create_time(), 3),
            "fit_s": round(self.record.fit_s, 3),
            "epoch_s": [round(s, 3) for s in self.record.epoch_s],
            "train_images_per_s": round(self.record.train_images_per_s, 1),
        }

    def _epoch_done(self) -> None:
        if self.summary is None:
            return
        last = self.record.rows[-1]
        metrics = _metrics(last)
        text = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        log.info("epoch %d  %s  (%.1f s)", last["epoch"], text, last["epoch_s"])
        self.summary.set(metrics=metrics, timing=self._timing(), model=self._facts()["model"])
        self.summary.set(measured=dict(self.task.measured))
        self.summary.write()

    def _conclude(self, summary: Summary) -> None:
        timing = self._timing() | self.task.timing
        summary.set(metrics=self.metrics, timing=timing, data=self.datamodule.summary())
        summary.set(measured=dict(self.task.measured))
        best = self.checkpointer.best
        for row in self.record.rows:
            if best is not None and row["epoch"] == best["epoch"]:
                summary.set(metrics=_metrics(row) | best["metrics"])  # other than the row's in mid-epoch
        summary.finish("finished")
        if not self.config.trainer.get("fast_dev_run"):
            write_report(self.run_dir, self.config)
        from fovea.runs.report import final_table

        log.info("\n%s", final_table(summary.facts, self.run_dir))


def write_report(run_dir: Path, config: DictConfig) -> None:
    """Write `report.html` with the sections of the run's task."""
    from fovea.runs import report

    parts = [build.make(node) for node in config.report.get("sections") or []]
    report.write_report(run_dir, *parts, view=build.view(config))


def _unfuse_to_clip(config: DictConfig) -> None:
    """Take the plain optimizer where mixed precision clips gradients: Lightning refuses a fused one there."""
    mixed = str(config.trainer.precision) in ("16", "16-mixed", "bf16", "bf16-mixed")
    if mixed and config.trainer.gradient_clip_val and config.optimizer.get("fused"):
        log.info("optimizer.fused=false, since gradients are clipped in mixed precision")
        config.optimizer.fused = False


def _metrics(row: dict[str, float]) -> dict[str, float]:
    """Return the metrics of an epoch, sorted: what is named `split/metric` in its row, new or read again."""
    return {k: v for k, v in sorted(row.items()) if "/" in k}


def _detail(error: Exception) -> str:
    """Quote what is said to people; a missing key or a wrong type is told in the words of the program."""
    speaks = isinstance(error, ValueError | RuntimeError)
    return f" ({' '.join(str(error).split())[:200]})" if speaks else ""


def _restoring(error: Exception) -> bool:
    """Whether an error came up while Lightning put back the state of a checkpoint."""
    frames = traceback.extract_tb(error.__traceback__)
    return any("restore" in frame.name and "checkpoint_connector" in frame.filename for frame in frames)


def _stop_at_once() -> Callback:
    import lightning.pytorch as L

    class StopAtOnce(L.Callback):
        """Skip the fit of a run that had already ended by early stopping."""

        def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            trainer.should_stop = True

    return StopAtOnce()


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = f" ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else ""
    return f"{device.type}{threads}"
