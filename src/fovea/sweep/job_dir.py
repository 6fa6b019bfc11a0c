"""The directories of a sweep: one for each job, claimed once, also by jobs that run at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from omegaconf import OmegaConf

from fovea.engine import rundir
from fovea.engine.rundir import try_lock
from fovea.errors import UsageError
from fovea.files import append, remove_drafts, write_text
from fovea.reading import read_yaml

log = logging.getLogger(__name__)
STOPPED = ".stopped"  # says that the sweep was told to end; the next start removes it
CLAIMS, RECIPE = ".claims", "overrides.yaml"
OUTPUT = ("output.log", "error.txt")  # what the process of a job prints
_held: list[int] = []  # open for as long as this process lives


@dataclass(frozen=True)
class JobDir:
    """The directory of a job, held under a lock; `state` is new, begun (to be resumed) or finished."""

    run_dir: Path
    state: str
    lock: IO[str]

    @property
    def name(self) -> str:
        """The job's number."""
        return self.run_dir.name


@contextlib.contextmanager
def open_job(sweep_dir: Path, overrides: list[str], *, number: int) -> Iterator[JobDir]:
    """Lock the directory of a job: the one that it has already, or a new one with the first free number.

    A job is known by its overrides, so a sweep that is started again, or grows, finds its own jobs. The lock
    is shared with the job's process: one that outlived its sweep is waited for, never joined by a second.
    """
    run_dir = claim(sweep_dir, overrides, number=number)
    with (run_dir / RECIPE).open("r+", encoding="utf-8") as lock:
        if not try_lock(lock.fileno()):
            log.info("job %s runs already; waiting for it to end", run_dir.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield JobDir(run_dir, _state(run_dir), lock)


def claim(sweep_dir: Path, overrides: list[str], *, number: int) -> Path:
    """Return the directory of the job with these overrides; make it where there is none."""
    sweep_dir.mkdir(parents=True, exist_ok=True)
    append(sweep_dir / CLAIMS, "")
    with (sweep_dir / CLAIMS).open("r+") as claims:
        fcntl.flock(claims, fcntl.LOCK_EX)
        for known in jobs(sweep_dir):
            if sorted(job_overrides(known)) == sorted(overrides):
                return known
        while os.path.lexists(sweep_dir / str(number)):
            number += 1
        run_dir = sweep_dir / str(number)
        run_dir.mkdir()
        write_text(run_dir / RECIPE, OmegaConf.to_yaml(OmegaConf.create(overrides)))
        return run_dir


def jobs(sweep_dir: Path) -> list[Path]:
    """Return the directories of the jobs so far, by number."""
    found = [
        p for p in sweep_dir.glob("*") if p.name.isdecimal() and not p.is_symlink() and (p / RECIPE).is_file()
    ]
    return sorted(found, key=lambda p: int(p.name))


def job_overrides(run_dir: Path) -> list[str]:
    """Return the overrides of a job."""
    try:
        words = read_yaml(run_dir / RECIPE)
    except ValueError as error:
        raise UsageError(f"{error}: the job cannot be told; delete {run_dir}") from None
    return [str(word) for word in words] if isinstance(words, list) else []


def hold(sweep_dir: Path) -> None:
    """Make the sweep's directory; refuse it while another sweep works in it, or where it leads elsewhere."""
    sweep_dir.mkdir(parents=True, exist_ok=True)
    for name in ("multirun.yaml", "study.db", CLAIMS, STOPPED, "sweep.csv", "comparison"):
        if (sweep_dir / name).is_symlink():
            raise UsageError(
                f"{sweep_dir / name} is a link, and results are never written through links: delete it"
            )
    directory = os.open(sweep_dir, os.O_RDONLY)
    if not try_lock(directory):
        raise UsageError(f"a sweep is running in {sweep_dir}; wait for it, or choose another sweep_dir")
    _held.append(directory)


def stop(sweep_dir: Path, signum: int, *, seconds: float) -> None:
    """Let no further job start, send a signal to those that run here, and wait until they have ended."""
    write_text(sweep_dir / STOPPED, "")
    for run_dir in jobs(sweep_dir):
        summary = rundir.read_summary(run_dir)
        process = summary.get("process") or {}
        if summary["status"] == "running" and process.get("host") == os.uname().nodename:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process["pid"]), signum)
    settle(sweep_dir, seconds=seconds)


def settle(sweep_dir: Path, *, seconds: float) -> None:
    """Wait until no job is running in its directory, but not for longer than `seconds`."""
    end = time.monotonic() + seconds
    for run_dir in jobs(sweep_dir):
        with (run_dir / RECIPE).open("r+", encoding="utf-8") as lock:
            while not try_lock(lock.fileno()) and time.monotonic() < end:
                time.sleep(0.1)


def release(sweep_dir: Path, *, empty: bool) -> None:
    """Remove what only a running sweep needs; and the directory of a sweep that never had a job."""
    (sweep_dir / CLAIMS).unlink(missing_ok=True)
    (sweep_dir / "multirun.yaml").unlink(missing_ok=True)
    if empty:
        with contextlib.suppress(OSError):
            sweep_dir.rmdir()


def _state(run_dir: Path) -> str:
    status, saved = rundir.read_summary(run_dir)["status"], (run_dir / "checkpoints" / "last.ckpt").is_file()
    if status == "finished" and ((run_dir / "report.html").is_file() or not saved):
        return "finished"
    if status != "failed" and saved:  # of one that was killed before its report, only that is made
        return "begun"
    _clear(run_dir)
    return "new"


def _clear(run_dir: Path) -> None:
    """Free a job's directory for another try; the log of the last one stays."""
    remove_drafts(run_dir)
    with contextlib.suppress(FileNotFoundError):
        os.replace(run_dir / "train.log", run_dir / "train.failed.log")
    for name in (*rundir.FILES, *OUTPUT):
        (run_dir / name).unlink(missing_ok=True)
    for name in rundir.FOLDERS:
        if (run_dir / name).is_symlink():
            (run_dir / name).unlink()
        elif (run_dir / name).is_dir():
            shutil.rmtree(run_dir / name)
