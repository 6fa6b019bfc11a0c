"""One run: build it, fit it, test it, write what it found."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import psutil
from omegaconf import DictConfig

from fovea.config import build
from fovea.engine import distributed as rendezvous
from fovea.engine import imports, processes, rundir
from fovea.engine.processes import Family
from fovea.engine.summary import Summary, to_plain
from fovea.page.formats import counted

log = logging.getLogger(__name__)


class Session:
    """The objects of one run and the order in which they act; `summary` is None in processes of rank > 0."""

    def __init__(
        self, config: DictConfig, ckpt_path: Path | None, summary: Summary | None, family: Family
    ) -> None:
        self.config, self.ckpt_path, self.summary, self.family = config, ckpt_path, summary, family
        self.keeper: Any = None
        self.run_dir = Path(config.run_dir)

    def run(self) -> float | None:
        """Run all stages; return the best value of the monitored metric."""
        try:
            self._build()
            self._fit()
            self._test()
        finally:
            self._note_best()
        if self.summary is not None:
            self._conclude(self.summary)
        return None if self.best is None else self.best["value"]

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch so far."""
        return None if self.keeper is None else self.keeper.best

    def _note_best(self) -> None:
        if self.summary is not None and self.best is not None:
            self.summary.set(best={"value": self.best["value"], "epoch": self.best["epoch"]})

    def _build(self) -> None:
        imports.quick()
        from fovea.callbacks.record import EpochRecord
        from fovea.callbacks.seeding import seed_all

        config = self.config
        seed_all(config.seed)
        net = build.network(config)
        preprocessing = build.preprocessing(config, net)
        self.datamodule = build.datamodule(config, preprocessing)
        if self.summary is not None:
            self._prepare(net)
        self.datamodule.channels_last = bool(config.channels_last)
        self.task = build.task(config, net)
        self.task.meta = {"version": 1, "config": to_plain(config), "preprocessing": preprocessing}
        if self.summary is not None:
            self.task.meta["classes"] = list(self.datamodule.classes)
            self.task.meta |= self.datamodule.labelling()
        self.record = EpochRecord(path=self.run_dir / "metrics.csv", on_epoch=self._epoch_done)
        self.keeper = build.make(config.checkpoint)
        callbacks = build.callbacks(config, record=self.record, keeper=self.keeper)
        callbacks.append(processes.callback(self.family))
        if self._stopped_early():
            callbacks.append(_stop_at_once())
        self.trainer = build.trainer(
            config, callbacks=callbacks, loggers=build.loggers(config), run_dir=self.run_dir
        )
        if self.summary is not None:
            self.summary.set(**self._facts())

    def _prepare(self, net: Any) -> None:
        """Have data and every automatic choice settled before other processes start."""
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        if self.config.trainer.precision == "auto":
            from fovea.engine import precision

            precision.settle(self.config, net, self.datamodule, self.ckpt_path)
        rundir.write_config(self.run_dir, self.config)
        rendezvous.publish(self.run_dir)

    def _fit(self) -> None:
        path = None if self.ckpt_path is None else str(self.ckpt_path)
        self.trainer.fit(self.task, datamodule=self.datamodule, ckpt_path=path, weights_only=True)

    def _test(self) -> None:
        self.metrics = {k: v for row in self.record.rows[-1:] for k, v in row.items() if "/" in k}
        if not self.config.test or not len(self.datamodule.test):
            return
        best = self.keeper.best_path
        use_best = best.is_file() and not self.trainer.fast_dev_run
        tested = self.trainer.test(
            self.task,
            datamodule=self.datamodule,
            ckpt_path=str(best) if use_best else None,
            verbose=False,
            weights_only=True,
        )
        self.metrics |= {k: float(v) for row in tested for k, v in row.items()}

    def _facts(self) -> dict[str, Any]:
        parameters = list(self.task.net.parameters())
        device = self.trainer.strategy.root_device
        name = _device_name(device)
        return {
            "data": self.datamodule.summary(),
            "model": {
                "params": sum(p.numel() for p in parameters),
                "trainable_params": sum(p.numel() for p in parameters if p.requires_grad),
            },
            "environment": {"device": name, "processes": self.trainer.world_size},
            "config": {"precision": str(self.config.trainer.precision)},
        }

    def _timing(self) -> dict[str, Any]:
        began = self.record.began or time.time()
        return {
            "startup_s": round(began - psutil.Process().create_time(), 3),
            "fit_s": round(sum(self.record.epoch_s), 3),
            "epoch_s": [round(s, 3) for s in self.record.epoch_s],
            "train_images_per_s": round(self.record.train_images_per_s, 1),
        }

    def _epoch_done(self) -> None:
        if self.summary is None:
            return
        last = self.record.rows[-1]
        metrics = {k: v for k, v in last.items() if "/" in k}
        text = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        log.info("epoch %d  %s  (%.1f s)", last["epoch"], text, last["epoch_s"])
        self.summary.set(metrics=metrics, timing=self._timing(), model=self._facts()["model"])
        self.summary.write()

    def _conclude(self, summary: Summary) -> None:
        summary.set(metrics=self.metrics, timing=self._timing(), data=self.datamodule.summary())
        if self.best is not None and self.best["epoch"] is not None:
            best_row = [r for r in self.record.rows if r["epoch"] == self.best["epoch"]]
            summary.set(metrics={k: v for r in best_row for k, v in r.items() if "/" in k})
        summary.finish("finished")
        if not self.trainer.fast_dev_run:
            write_report(self.run_dir, self.config)
        from fovea.runs.report import final_table

        log.info("\n%s", final_table(summary.facts, self.run_dir))

    def _stopped_early(self) -> bool:
        """Whether the checkpoint to resume was the last one of a run that had stopped early."""
        if self.ckpt_path is None:
            return False
        from fovea.engine.checkpoint import load

        saved = load(self.ckpt_path)
        if int(saved["fovea"]["config"]["trainer"]["max_epochs"]) != int(self.config.trainer.max_epochs):
            return False
        return bool(saved["callbacks"][self.keeper.state_key]["stopped"])


def write_report(run_dir: Path, config: DictConfig) -> None:
    """Write `report.html` with the sections of the run's task."""
    from fovea.runs import report as page

    parts = [build.make(node) for node in config.report.get("sections") or []]
    page.write_report(run_dir, *parts, view=build.view(config))


def _stop_at_once() -> Any:
    import lightning.pytorch as L

    class StopAtOnce(L.Callback):
        """Skip the fit of a run that had already ended by early stopping."""

        def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            trainer.should_stop = True

    return StopAtOnce()


def _device_name(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = f" ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else ""
    return f"{device.type}{threads}"
