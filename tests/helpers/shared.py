"""Real data that lie beside the repository, for the tests that have them."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return a folder of `../shared/data`, or skip the test where it is not there."""
    if not (FOLDER / name).is_dir():
        pytest.skip(f"real data are not here: no folder {name} in ../shared/data")
    return FOLDER / name
