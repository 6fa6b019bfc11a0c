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


FULL = """
import torch
from torch.utils.data import DataLoader, Dataset
from fovea import errors
from fovea.data.loading import start_worker

class Batch:
    def __reduce__(self):
        raise RuntimeError({error!r})

class Set(Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return Batch()

try:
    list(DataLoader(Set(), batch_size=None, num_workers=2, worker_init_fn=start_worker))
except RuntimeError as error:
    print(errors.explain(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left",
            "data.num_workers=0",
        ),
        ("it cannot be pickled", "DataLoader worker"),
    ],
)
def test_a_batch_that_cannot_be_handed_over_ends_the_wait(error, said):
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(error=error)], capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert said in done.stdout, done.stderr
