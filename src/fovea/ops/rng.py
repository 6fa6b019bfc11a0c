"""Draw random numbers that depend on (seed, epoch, sample) and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND, _MASK = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1


def _mix(x: int) -> int:
    """Scramble a 64-bit integer with the finaliser of splitmix64 (Steele et al. 2014)."""
    x = (x ^ (x >> 30)) * _FIRST & _MASK
    x = (x ^ (x >> 27)) * _SECOND & _MASK
    return x ^ (x >> 31)


def _mix_array(x: np.ndarray) -> np.ndarray:
    """Do the same to every element of a uint64 array, in place."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x


def bits(seed: int, epoch: int, index: np.ndarray, *, n: int, stream: int = 0) -> np.ndarray:
    """Return (len(index), n) uint64, a pure function of every argument.

    `stream` separates independent uses (crop, flip, mixup, …) of the same sample.
    """
    key = _mix((int(seed) + _GOLDEN) & _MASK)
    for part in (epoch, stream):
        key = _mix(key ^ ((int(part) + _GOLDEN) & _MASK))
    golden = np.uint64(_GOLDEN)
    rows = np.asarray(index, dtype=np.int64).astype(np.uint64) * golden + golden
    rows = _mix_array(rows ^ np.uint64(key))
    columns = np.arange(1, n + 1, dtype=np.uint64) * golden
    return _mix_array(rows[:, None] + columns)


def uniform(seed: int, epoch: int, index: np.ndarray, *, n: int, stream: int = 0) -> np.ndarray:
    """Return (len(index), n) float64 in [0, 1)."""
    return (bits(seed, epoch, index, n=n, stream=stream) >> np.uint64(11)) * 2.0**-53


def seed_for(seed: int, epoch: int, index: int = 0, *, stream: int = 0) -> int:
    """Return one 63-bit seed for a generator of another library."""
    return int(bits(seed, epoch, np.array([index]), n=1, stream=stream)[0, 0] >> np.uint64(1))


@contextmanager
def restored(device: torch.device) -> Iterator[None]:
    """Put the global generators of Python, numpy and torch back at the end, also after an error."""
    import torch

    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
