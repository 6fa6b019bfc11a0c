"""Run the real commands in processes of their own and send them signals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from helpers import runs

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def launch(*overrides: str, run_dir: Path, script: Path | None = None) -> subprocess.Popen[str]:
    """Start a training command in a process group of its own, as a shell would."""
    command = [
        sys.executable,
        str(script or runs.ROOT / "src" / "train.py"),
        *overrides,
        f"run_dir={run_dir}",
    ]
    return subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=run_dir.parent,
    )


def wait_for_epoch(process: subprocess.Popen[str], run_dir: Path) -> None:
    """Wait until the first epoch has its row in `metrics.csv` and, after it, its checkpoint."""
    end = time.monotonic() + 120
    while not (run_dir / "checkpoints" / "best.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < end, "it ended, or never began"
        time.sleep(0.02)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return all processes that a command has started."""
    return psutil.Process(process.pid).children(recursive=True)


def left(processes: list[psutil.Process], *, seconds: float = 3.0) -> list[Any]:
    """Return which of them still run after some seconds."""
    psutil.wait_procs(processes, timeout=seconds)
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
