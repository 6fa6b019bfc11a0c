"""Let the processes of a distributed run agree on the one run directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fovea.errors import UsageError
from fovea.files import write_text

ERROR_NOTE = ".error_of_rank_"
VARIABLE = "FOVEA_RUN_DIR"
LEADER = "FOVEA_LEADER"  # the process that starts the others
INHERITED = (
    "LOCAL_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    VARIABLE,
    LEADER,
)
SLURM = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def rank() -> int:
    """Return 0 for the process that owns the run directory, before any process group exists."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"]) + int(os.environ.get("NODE_RANK", 0)) * 10**6
    if _in_slurm():
        return int(os.environ.get("SLURM_PROCID", 0))
    return 0


def publish(run_dir: Path) -> None:
    """Publish the run directory to the other processes, once its config is final."""
    os.environ[VARIABLE] = str(run_dir.resolve())
    os.environ[LEADER] = str(os.getpid())
    if _in_slurm():
        note = _note()
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, str(run_dir.resolve()))


def find(*, timeout: float = 1800.0) -> Path:
    """Return the run directory that rank 0 published; under Slurm all tasks start at once, so wait for it."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    end = time.monotonic() + timeout
    while not _note().is_file():
        if time.monotonic() > end:
            raise UsageError(f"rank {rank()} waited {timeout:.0f} s for rank 0 to set up the run ({_note()})")
        time.sleep(0.5)
    return Path(_note().read_text(encoding="utf-8"))


def error_note(rank: int) -> Path:
    """Return where a process of rank 1 or more leaves its error for the one of rank 0."""
    return find() / f"{ERROR_NOTE}{rank}"


def remove_error_notes(run_dir: Path) -> None:
    """Delete the notes of processes that failed, which would explain a later failure too."""
    for note in run_dir.glob(f"{ERROR_NOTE}*"):
        if note.is_symlink() or note.is_file():
            note.unlink(missing_ok=True)


def clean_environment() -> dict[str, str]:
    """Return the environment for a run of its own, without what a distributed or Slurm parent left in it."""
    return {k: v for k, v in os.environ.items() if k not in (*INHERITED, *SLURM)}


def _in_slurm() -> bool:
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    return tasks > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _note() -> Path:
    job, step = os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_STEP_ID", "0")
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return Path("logs") / f".slurm_{job}_{step}_{restart}"
