import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reports.toy_runs import HEADER, rows, write_arrays

METRICS = HEADER + rows(3)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run directory; None leaves a file out."""

    def make(*, name="run", record=None, metrics=METRICS, config="experiment: toy\nseed: 3\n", test=True):
        run = tmp_path / "logs" / "toy" / name
        (run / "predictions").mkdir(parents=True)
        (run / "checkpoints").mkdir()
        if record is not None:
            (run / "summary.json").write_text(json.dumps(record))
        if metrics is not None:
            (run / "metrics.csv").write_text(metrics)
        if config is not None:
            (run / "config.yaml").write_text(config)
        if test:
            write_arrays(run)
        return run

    return make
