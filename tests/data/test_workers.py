"""A worker process is quiet about a training that stopped, and about nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from fovea.data.loading import start_worker; start_worker(0); raise {error}('seen')"
SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.parametrize(("error", "told"), [("BrokenPipeError", False), ("OSError", True)])
def test_what_a_worker_reports(error, told):
    command = [sys.executable, "-c", CODE.format(error=error)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and (f"{error}: seen" in done.stderr) == told, done.stderr
