"""Train: compose, build, fit, test, report; whatever happens, the run directory says how it ended."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.arguments import check_model
from fovea.config.overrides import for_shell
from fovea.config.validate import validate
from fovea.engine import distributed, resume, rundir
from fovea.engine.cautions import caution
from fovea.engine.fit import Session, write_report
from fovea.engine.log import configure
from fovea.engine.processes import ChildProcesses, follow_parent, stop_signals
from fovea.engine.resume import Start
from fovea.engine.summary import Summary
from fovea.files import append, remove_drafts, write_text

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float | None:
    """Train one run."""
    given = list(HydraConfig.get().overrides.task)
    config = plain(config)
    # a distributed run starts its other processes with this very command line, not with Hydra's job
    HydraConfig.instance().cfg = None
    return run(config, given=given)


def plain(config: DictConfig) -> DictConfig:
    """Return the config of one run: every value resolved, without Hydra's part and the sweep's."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for group in ("augment", "callbacks", "logger"):  # taken away, or chosen as []
        config[group] = config.get(group) or ({"sample": None, "batch": None} if group == "augment" else {})
    if config.data.get("num_classes", 0) is None:
        build.count_classes(config)
    if config.data.get("keep_aspect") and isinstance(config.data.image_size, int):
        build.follow_aspect(config)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return OmegaConf.create({k: v for k, v in resolved.items() if k not in ("sweep_name", "sweep_dir")})


def run(config: DictConfig, *, given: list[str]) -> float | None:
    """Run one training from its resolved config; return the best monitored value."""
    begin = resume.start(config, given)
    validate(begin.config)
    if begin.ckpt_path is None:
        check_model(begin.config)
    if distributed.rank() > 0:
        return _other_process(begin)
    if not begin.claimed:
        fixed = any(g.startswith("run_dir=") for g in given)
        keep = fixed and Path(begin.config.run_dir).is_dir()
        run_dir = rundir.claim(begin.config.run_dir, fixed=fixed)
        begin = dataclasses.replace(begin, config=rundir.move(begin.config, run_dir), keep=keep)
    with rundir.hold(Path(begin.config.run_dir)):
        return _train(begin)


def _train(begin: Start) -> float | None:
    """Train in a directory that is held; say there how it ended, or leave it as it was."""
    config, run_dir = begin.config, Path(begin.config.run_dir)
    for name in ("", "predictions", "figures", "images") if begin.claimed else ():
        remove_drafts(run_dir / name)
    distributed.remove_error_notes(run_dir)  # of processes that outlived a leader that was killed
    before = rundir.saved_state(run_dir) if begin.claimed else {}
    configure(run_dir)
    if begin.ckpt_path is None:
        caution(config)
    summary = Summary(run_dir, config)
    children = ChildProcesses(on_failure=lambda error: _failed(summary, error, config))
    session = Session(begin, summary, children)
    try:
        with stop_signals():
            value = session.run()
            children.join()
        return value
    except BaseException as caught:
        error = children.attribute_failure(caught)
        children.end()
        distributed.remove_error_notes(run_dir)  # of processes that failed beside this one
        if isinstance(error, errors.Interrupted):
            _interrupted(summary, error)
            _report(run_dir, config)
        elif session.stepped or errors.FILE in os.environ:  # a sweep keeps what it has to say of each job
            _failed(summary, error, config)
            _report(run_dir, config)
        else:
            _never_began(begin, before, error)
        if error is caught:
            raise
        raise error from None


def _other_process(begin: Start) -> float | None:
    """Join a run as a process of rank 1 or more: same config, and nothing written but an error."""
    config = rundir.read_config(distributed.find())
    configure(None)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.ERROR)  # the process of rank 0 has said the same
    follow_parent()
    with stop_signals():
        try:
            return Session(dataclasses.replace(begin, config=config), None, ChildProcesses()).run()
        except errors.Interrupted as stop:
            sys.exit(128 + stop.signum)
        except Exception as error:  # one process speaks for all: that of rank 0
            rank = distributed.rank()
            write_text(distributed.error_note(rank), errors.explain(error, config=config))
            append(distributed.find() / "train.log", f"rank {rank}: {errors.details(error)}")
            sys.exit(1)


def _interrupted(summary: Summary, stop: errors.Interrupted) -> None:
    name = signal.Signals(stop.signum).name
    summary.finish("interrupted", error=f"stopped by {name}")
    again = f"python src/train.py {for_shell('run_dir', str(summary.run_dir))} resume=true"
    log.warning("stopped by %s; continue with: %s", name, again)


def _failed(summary: Summary, error: BaseException, config: DictConfig) -> None:
    message = errors.explain(error, config=config)
    summary.finish("failed", error=message)
    error.fovea_code = 1  # type: ignore[attr-defined]  # not what was asked for is wrong, but the work
    file = logging.getLogger("traceback")  # reaches train.log, not the terminal
    file.info("%s", errors.details(error))
    if not errors.wants_traceback():
        log.error("error: %s\n  (traceback: %s)", message, summary.run_dir / "train.log")
        error.fovea_reported = True  # type: ignore[attr-defined]


def _never_began(begin: Start, before: dict[str, bytes], error: BaseException) -> None:
    """Nothing was trained: leave nothing in the way of the next try."""
    run_dir, message = Path(begin.config.run_dir), errors.explain(error, config=begin.config)
    logging.getLogger("traceback").info("%s", errors.details(error))
    configure(None)  # closes train.log
    try:
        place = rundir.give_back(run_dir, before, keep=begin.keep)
    except OSError as problem:
        place = f"{run_dir} could not be cleared: {problem}"
    if not errors.wants_traceback():
        log.error("error: %s\n  (nothing was trained; %s; FOVEA_TRACEBACK=1 shows where)", message, place)
        error.fovea_reported = True  # type: ignore[attr-defined]


def _report(run_dir: Path, config: DictConfig) -> None:
    """Draw what an unfinished run has measured; nothing here may hide how it ended."""
    if not (run_dir / "metrics.csv").is_file():
        return
    try:
        write_report(run_dir, config)
    except Exception as error:
        log.warning("the report could not be written: %s", errors.explain(error))
