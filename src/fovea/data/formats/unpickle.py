"""Read pickled arrays without running code that a pickle names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from fovea.reading import readable


def read_pickle(path: Path) -> Any:
    """Unpickle arrays and containers; ValueError names a file that is damaged or asks for anything else."""
    with readable(path, "pickle of plain arrays and containers"), path.open("rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


class _ArrayUnpickler(pickle.Unpickler):
    """Admit numpy arrays and plain containers; anything else in the file is refused unrun."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"{module}.{name} is refused")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, the way protocol 2 stores bytes; other codecs are refused."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"codec {encoding!r} is refused")
    return text.encode("latin1")
