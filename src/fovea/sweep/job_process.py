"""Run the process of one job, which ends with the sweep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fovea import errors
from fovea.engine.distributed import clean_environment
from fovea.errors import Interrupted


@dataclass(frozen=True)
class End:
    """How a process ended: its exit code, the signal that stopped the sweep meanwhile, what went wrong."""

    code: int
    stopped: int | None
    error: str | None


def call(command: list[str], *, output: Path | None, error_file: Path, keep: IO[str]) -> End:
    """Run a command to its end; the file `keep` stays open, and locked, for as long as it runs.

    The process has a process group of its own, so that Ctrl-C reaches it once: through the sweep.
    `output` takes what it prints; None: the terminal.
    """
    env = clean_environment() | {errors.FILE: str(error_file.resolve())}
    with contextlib.ExitStack() as stack:
        stream = None if output is None else stack.enter_context(_appending(output))
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream and subprocess.STDOUT,
            process_group=0, pass_fds=(keep.fileno(),), preexec_fn=_tie_to_parent(),
        )  # fmt: skip
        stopped = _wait(process)
    if process.returncode:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what a killed job left running
    return End(process.returncode, stopped, _error(process.returncode, error_file))


def _appending(path: Path) -> IO[bytes]:
    """Open a file that is no link, to add to it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "ab")


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for a process; hand a signal on to it, and return the last one."""
    stopped = None
    while True:
        try:
            process.wait()
            return stopped
        except (KeyboardInterrupt, Interrupted) as stop:
            stopped = getattr(stop, "signum", signal.SIGINT)
            if process.poll() is None:
                process.send_signal(signal.SIGINT if stopped == signal.SIGINT else signal.SIGTERM)


def _error(code: int, error_file: Path) -> str | None:
    """Return why a process ended, where its signal or exit code shows it."""
    text = error_file.read_text(encoding="utf-8").strip() if error_file.is_file() else None
    error_file.unlink(missing_ok=True)
    if code >= 0:
        return text
    name = signal.Signals(-code).name
    if name == "SIGKILL":
        remedy = "try a smaller data.batch_size or data.num_workers"
        return f"killed by SIGKILL, as happens when memory runs out: {remedy}"
    return f"killed by {name}"


def _tie_to_parent() -> Callable[[], None] | None:
    """Return the child's setup: SIGTERM when its parent dies; SIGUSR2 is left to the launcher."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's warning before the time limit

    return tie
