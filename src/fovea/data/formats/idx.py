"""Read IDX files, the array format of MNIST and the sets that follow it."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np

from fovea.reading import read_bytes

LARGEST = 2**30  # bytes of an array unfolded


def read_idx(path: Path, *, ndim: int) -> np.ndarray:
    """Read a uint8 IDX array of `ndim` dimensions, gzipped or not; ValueError names a damaged file.

    The format is big-endian: 0, 0, type (8 = uint8), number of dimensions, each size as uint32, the data.
    """
    data = read_bytes(path)
    if path.suffix == ".gz":
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and get it again") from error
    start = 4 + 4 * ndim
    if len(data) < start or data[:4] != bytes([0, 0, 8, ndim]):
        raise ValueError(
            f"{path} is not a uint8 IDX file with {ndim} dimensions: it starts with {data[:4]!r}"
        )
    if len(data) > LARGEST:
        raise ValueError(f"{path} unfolds to more than {LARGEST:,} bytes: delete it and get it again")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    size = 1
    for length in shape:
        size *= length  # in Python: sizes that a damaged header holds may not fit 64 bits
    if len(data) - start != size:
        raise ValueError(f"{path} is damaged: {len(data) - start} bytes for shape {shape}")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
