"""Sweeps: every job is a run in a process and a directory of its own, and a failing one stops nothing."""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config.overrides import quote
from fovea.config.paths import ROOT
from fovea.engine import rundir
from fovea.engine.log import configure
from fovea.files import printable
from fovea.sweep import job_process, optuna, summary
from fovea.sweep.job_dir import STOPPED, JobDir, hold, jobs, open_job, release, settle, stop

log = logging.getLogger(__name__)
OWN = ("sweep", "sweep_dir", "sweep_name", "hydra")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
exit_code = 0
controller = False  # True in the process that the user started, False in those of a launcher


def main(config: DictConfig) -> float:
    """Run one job of a sweep in a fresh process; return its monitored value, NaN when it failed.

    A fresh process is what lets a job start distributed processes of its own: these repeat the command line
    of the job, which would be the whole sweep if the job shared the process of the sweep.
    """
    hydra = HydraConfig.get()
    if not controller:
        configure(None)
        if sys.platform == "linux":  # the end of this process ends the job; elsewhere Ctrl-C does
            signal.signal(signal.SIGINT, lambda *_: None)
    sweep_dir, overrides = Path(str(config.sweep_dir)), [o for o in hydra.overrides.task if not _own(o)]
    if (sweep_dir / STOPPED).exists():  # a launcher's process took it up after Ctrl-C
        return math.nan
    if hydra.job.num == 0:  # the first to start, once Hydra has taken the whole command line
        log.info("sweep directory: %s", sweep_dir)
    with open_job(sweep_dir, overrides, number=hydra.job.num) as job:
        if job.state == "finished":
            log.info("job %s is finished already: %s", job.name, shlex.join(overrides))
            return _value(rundir.read_summary(job.run_dir))
        error = optuna.wrong_direction(config, hydra)
        if error is not None:
            return _failed(job, rundir.read_summary(job.run_dir), error)
        verb = "starts" if job.state == "new" else "resumes"
        log.info("job %s %s: %s", job.name, verb, shlex.join(overrides))
        return _run(job, [*_sources(hydra), *_preset(hydra), *overrides])


def _run(job: JobDir, overrides: list[str]) -> float:
    """Run a job to its end and settle what its summary says."""
    start = time.monotonic()
    given = ["resume=true"] if job.state == "begun" else overrides  # the run directory holds the config
    command = [sys.executable, str(ROOT / "src" / "train.py"), *given, f"run_dir={quote(str(job.run_dir))}"]
    output = None if controller else job.run_dir / "output.log"
    end = job_process.call(command, output=output, error_file=job.run_dir / "error.txt", keep=job.lock)
    if end.stopped is not None:
        raise errors.Interrupted(end.stopped)
    facts = rundir.read_summary(job.run_dir)
    value, status = _value(facts), facts["status"]
    if end.code == 0 and status == "finished":
        result = "no value" if math.isnan(value) else f"{facts['best'].get('monitor')} {value:.4f}"
        log.info("job %s finished: %s (%.0f s)", job.name, result, time.monotonic() - start)
        return value
    if status == "interrupted" and end.code in (129, 130, 143):
        log.warning("job %s was stopped: %s", job.name, facts.get("error"))
        return math.nan
    own = facts.get("error") if status == "failed" else None
    return _failed(job, facts, own or end.error or f"exit code {end.code}")


def _failed(job: JobDir, facts: dict[str, Any], error: str) -> float:
    rundir.write_summary(job.run_dir, {"metrics": {}, **facts, "status": "failed", "error": error})
    log.warning("job %s failed: %s", job.name, error)
    return math.nan


def _value(facts: dict[str, Any]) -> float:
    value = (facts.get("best") or {}).get("value")
    return math.nan if value is None else float(value)


def _own(override: str) -> bool:
    return override.lstrip("+~").split("=")[0].split(".")[0].split("/")[0] in OWN


def _sources(hydra: HydraConf) -> list[str]:
    """Return where else the sweep found its configs, for its jobs to look there too."""
    found = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    paths = [o for o in hydra.overrides.hydra if o.startswith("hydra.searchpath=")]
    return [word for path in found for word in ("--config-dir", path)] + paths


def _preset(hydra: HydraConf) -> list[str]:
    """Return what composes a job with the preset of its sweep, but runs it alone."""
    name = hydra.runtime.choices.get("sweep")
    return [] if name is None else [f"sweep={name}", "hydra.mode=RUN"]


class SweepReport(Callback):
    """Prepare a sweep, and end it with a table, `sweep.csv` and an exit code."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set the sweep up; Hydra would only warn of an exception here, so a refusal ends the process."""
        global controller, exit_code
        controller, exit_code = True, 1
        configure(None)
        try:
            self._start(config)
        except Exception as error:
            text = errors.details(error) if errors.wants_traceback() else f"error: {errors.explain(error)}\n"
            sys.stderr.write(printable(text))
            raise SystemExit(2 if isinstance(error, errors.UsageError) else 1) from None

    def _start(self, config: DictConfig) -> None:
        if not str(config.sweep_dir or "").strip():
            raise errors.UsageError("sweep_dir= is empty: name a directory for the sweep")
        self.sweep_dir = Path(str(config.sweep_dir))
        hold(self.sweep_dir)
        (self.sweep_dir / STOPPED).unlink(missing_ok=True)
        # The processes of a launcher import the suite, which is a script's neighbour and not installed.
        path = [str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
        optuna.prepare(config)
        # Joblib would kill the jobs together with its own processes.
        self.kills = "joblib" in str(config.hydra.launcher._target_)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.kills:
            stop(self.sweep_dir, signum, seconds=20)
        raise errors.Interrupted(signum)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write `sweep.csv`, print the table, settle the exit code; also where an error ends the sweep."""
        global exit_code
        cause = sys.exception()
        if isinstance(cause, SystemExit):
            return
        stopped = isinstance(cause, errors.Interrupted | KeyboardInterrupt)
        if stopped:  # jobs in a launcher's processes end in their own time
            settle(self.sweep_dir, seconds=20)
        rows = [summary.row(run_dir) for run_dir in jobs(self.sweep_dir)]
        release(self.sweep_dir, empty=not rows)
        if rows:
            mode = OmegaConf.select(config, "metrics.mode", default="max")
            exit_code = summary.conclude(self.sweep_dir, rows, mode=mode, stopped=stopped)
            if isinstance(cause, ValueError) and "n_trials" in config.hydra.sweeper and exit_code:
                raise SystemExit(exit_code)  # Optuna, which has no best trial when none finished
