"""A worker process is quiet about a training that stopped, and about nothing else."""

import subprocess
import sys

import pytest

CODE = "from fovea.data.loading import start_worker; start_worker(0); raise {error}('seen')"


@pytest.mark.parametrize(
    ("error", "told"), [("EOFError", False), ("BrokenPipeError", False), ("OSError", True)]
)
def test_what_a_worker_reports(error, told):
    done = subprocess.run([sys.executable, "-c", CODE.format(error=error)], capture_output=True, text=True)
    assert done.returncode == 1 and ("Traceback" in done.stderr) == told, done.stderr
