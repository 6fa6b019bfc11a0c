"""Take what `eval` measured of a run without a test stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fovea.reading import read_json
from fovea.runs.read import Run


def with_eval(run: Run) -> Run:
    """Add what `eval` measured on the test images with the best checkpoint, where the run did not itself."""
    metrics, file = run.section("metrics"), run.dir / "eval_test.json"
    if any(name.startswith("test/") for name in metrics) or not file.is_file():
        return run
    try:
        facts = read_json(file)
        best, metrics = Path(facts["checkpoint"]).name == "best.ckpt", {**metrics, **facts["metrics"]}
        # a training that went on since has another best, data that changed since are another test
        best = best and file.stat().st_mtime >= (run.dir / "checkpoints" / "best.ckpt").stat().st_mtime
        best = best and facts["data"]["num_images"] == run.section("data").get("num_test")
    except (OSError, ValueError, KeyError, TypeError):
        return run
    return replace(run, summary={**run.summary, "metrics": metrics}) if best else run
