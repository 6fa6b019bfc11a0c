"""Find the runs to compare, read them, and settle by what they are compared."""

from __future__ import annotations

import glob
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fovea.compare.verdicts import Tested
from fovea.config import build
from fovea.config.overrides import nearest
from fovea.config.paths import CONF
from fovea.errors import UsageError
from fovea.runs.read import STATUSES, Run, read_run

log = logging.getLogger(__name__)
UNFINISHED = "unfinished"
LeftOut = list[tuple[str, str]]


def find(patterns: Sequence[str]) -> list[Path]:
    """Return the run directories that paths and globs stand for, each once, in a stable order."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        places = [Path(pattern)] if Path(pattern).is_dir() else [Path(p) for p in sorted(glob.glob(pattern))]
        runs = [run for place in places if place.is_dir() for run in _below(place)]
        if not runs:
            what = "holds no run" if places else "is no directory and matches none"
            raise UsageError(f"runs={pattern} {what}; a run directory has a config.yaml (quote a glob)")
        found |= {os.path.realpath(run): run for run in runs if os.path.realpath(run) not in found}
    return list(found.values())


def _below(place: Path) -> Iterator[Path]:
    """Yield the run directories at and below a place; what lies inside a run is no other run."""
    for folder, children, files in os.walk(place):
        if "config.yaml" in files:
            children.clear()
            yield Path(folder)
        children[:] = sorted((c for c in children if not c.startswith(".")), key=_numbers_first)


def _numbers_first(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdigit() else (1, 0, name)


def read(dirs: Sequence[Path], include: Sequence[str]) -> tuple[list[Run], LeftOut]:
    """Read the runs that ended as wanted; say of the others why they are left out."""
    allowed = (*STATUSES, UNFINISHED)
    if unknown := [word for word in include if word not in allowed]:
        raise UsageError(f"include={unknown[0]} is unknown; allowed: {', '.join(allowed)}")
    runs, left_out = [], []
    for path in dirs:
        run = with_eval(read_run(path))
        status = run.status if run.status in STATUSES else UNFINISHED
        if not run.config or status not in include:
            why = run.status if run.config else "its config.yaml is empty"
            left_out.append((str(path), why))
        else:
            runs.append(run)
    if not runs:
        said = "\n".join(f"  {path}: {why}" for path, why in left_out)
        raise UsageError(f"there is no run to compare; include=[…] takes others in:\n{said}")
    return runs, left_out


def with_eval(run: Run) -> Run:
    """Add what `eval` measured on the test images with the best checkpoint, where the run did not itself."""
    metrics, file = run.section("metrics"), run.dir / "eval_test.json"
    if any(name.startswith("test/") for name in metrics) or not file.is_file():
        return run
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        best = Path(facts["checkpoint"]).name == "best.ckpt"
        return (
            replace(run, summary={**run.summary, "metrics": {**metrics, **facts["metrics"]}}) if best else run
        )
    except (OSError, ValueError, KeyError, TypeError):
        return run


def choose_metric(runs: Sequence[Run], metric: str | None, mode: str | None) -> tuple[str, str]:
    """Return the metric that ranks and whether more of it is better."""
    if mode not in (None, "max", "min"):
        raise UsageError(f"mode={mode} is unknown; allowed: max, min")
    own = {(str(run.monitor), str(_mode(run))) for run in runs if run.monitor}
    monitors = {monitor.split("/", 1)[-1]: better for monitor, better in own}
    if metric is None:
        if len(monitors) != 1:
            said = ", ".join(sorted(monitor for monitor, _ in own)) or "nothing"
            raise UsageError(
                f"the runs do not monitor the same metric ({said}): say metric=, such as test/loss"
            )
        metric = f"test/{next(iter(monitors))}"
    _require(runs, metric)
    base = metric.split("/", 1)[-1]
    guess = monitors.get(base) or ("min" if "loss" in base or "error" in base else "max")
    return metric, mode or guess


def _mode(run: Run) -> Any:
    known = run.config.get("metrics")
    return run.section("best").get("mode") or (known or {}).get("mode")


def _require(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that no run has."""
    known = sorted({name for run in runs for name in run.section("metrics")})
    if metric in known:
        return
    if metric.startswith("test/") and not any(name.startswith("test/") for name in known):
        raise UsageError(
            f"none of the {len(runs)} runs has a test stage, so there is no {metric} to compare: measure "
            f"each with python src/eval.py run={runs[0].dir} split=test, or compare by "
            f"metric=val/{metric[5:]}"
        )
    near = nearest(metric, known)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UsageError(f"no run has metric={metric}{hint}; there are: {', '.join(known) or 'none'}")


def task_comparison(runs: Sequence[Run]) -> Any:
    """Return the task's own part of the comparison; None where it has none, or there are several tasks."""
    nodes = [_compare_node(run) for run in runs]
    if nodes[0] is None or any(node != nodes[0] for node in nodes):
        return None
    return build.make(nodes[0])


def _compare_node(run: Run) -> dict[str, Any] | None:
    """Return `report.compare`; a run from before there was one is read as those that collect the same are."""
    report = run.config.get("report") or {}
    if "compare" in report:
        return report["compare"]
    for file in sorted((CONF / "report").glob("*.yaml")):
        known = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if isinstance(known, dict) and report.get("collect") and known.get("collect") == report["collect"]:
            return known.get("compare")
    return None


def read_tested(runs: Sequence[Run], task: Any) -> tuple[list[Tested | None], list[str]]:
    """Read the predictions of every run; say of which there are none."""
    found: list[Tested | None] = []
    notes = []
    for run in runs:
        try:
            found.append(None if task is None else task.read(run))
        except ValueError as error:
            found.append(None)
            notes.append(str(error))
    return found, notes
