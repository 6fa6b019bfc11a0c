"""Read MATLAB files, which hold data and no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fovea.reading import readable


def read_matlab(path: Path, key: str) -> np.ndarray:
    """Return one variable (1 dimension or more); ValueError names a file that is damaged or lacks it."""
    from scipy.io import loadmat

    with readable(path, "MATLAB file"):
        content: dict[str, Any] = loadmat(path, squeeze_me=True, variable_names=[key])
    if key not in content:
        raise ValueError(f"{path} has no variable {key!r}: delete it and get it again")
    return np.atleast_1d(content[key])
