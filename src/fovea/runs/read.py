"""Read a run directory, however much of it is there."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.reading import Unreadable, read_npz, read_text, read_yaml
from fovea.runs.summary_file import read_summary_file

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

STATUSES = ("finished", "failed", "interrupted")
MOST_CLASSES = 10**6
NODES = ("task", "model", "data", "metrics", "report", "optimizer", "trainer")  # of a config, with keys below
UNFINISHED = "killed or still running"
Columns = dict[str, list[float | None]]  # one entry per epoch; None is a blank cell


@dataclass(frozen=True)
class Run:
    """The contents of a run directory; missing files read as empty."""

    dir: Path
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    config_text: str
    metrics: Columns
    problem: str = ""  # why the config cannot be read

    def section(self, key: str) -> Mapping[str, Any]:
        """Return a nested object of the summary, empty where it is absent or null."""
        value = self.summary.get(key)
        return value if isinstance(value, Mapping) else {}

    @property
    def status(self) -> str:
        """Return the recorded status; without one the process never got to write it."""
        status = self.summary.get("status")
        return status if status in STATUSES else UNFINISHED

    @property
    def experiment(self) -> str:
        """Return the experiment's name, from the summary, else the config, else the directory."""
        name = self.summary.get("experiment") or self.config.get("experiment")
        return str(name or self.dir.resolve().parent.name)

    @property
    def name(self) -> str:
        """Return the name that the user gave the run; without one that is its experiment's."""
        return str(self.summary.get("name") or self.config.get("name") or self.experiment)

    @property
    def given_name(self) -> str | None:
        """Return the name that the user gave the run; None where it follows from the experiment."""
        follows = self.name == self.experiment or self.name.startswith(f"{self.experiment} ")
        return None if follows else self.name

    @property
    def tags(self) -> list[str]:
        """Return the words that the user gave the run to be found by."""
        tags = self.summary.get("tags") or self.config.get("tags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    @property
    def monitor(self) -> str | None:
        """Return the monitored metric's name."""
        return self.best.get("monitor")

    @property
    def best(self) -> Mapping[str, Any]:
        """Return the recorded best epoch, or find it in `metrics.csv` for a run that never recorded it."""
        known, configured = self.section("best"), self.config.get("metrics")
        if known.get("monitor") or not isinstance(configured, Mapping):
            return known
        monitor, mode = configured.get("monitor"), configured.get("mode")
        values = finite(self.metrics.get(str(monitor), []))
        ranked = [(value, epoch) for value, epoch in zip(values, self.epochs, strict=False) if value == value]
        if not ranked or mode not in ("min", "max"):
            return {"monitor": monitor}
        sign = 1 if mode == "max" else -1
        value, epoch = max(ranked, key=lambda pair: (sign * pair[0], -pair[1]))
        return {"monitor": monitor, "value": value, "epoch": epoch}

    @property
    def classes(self) -> list[str]:
        """Return the class names; empty when the run did not record them."""
        names = self.section("data").get("classes")
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def epochs(self) -> list[int]:
        """Return the epoch of every row of `metrics`."""
        return [int(epoch) for epoch in self.metrics.get("epoch", []) if epoch is not None]

    @property
    def started(self) -> datetime:
        """Return when the run began: the config is the first file that it writes."""
        paths = [path for path in (self.dir / "config.yaml", self.dir) if path.exists()]
        return datetime.fromtimestamp(paths[0].stat().st_mtime)


def read_run(run_dir: Path) -> Run:
    """Read everything textual in a run directory.

    Raises:
        ValueError: `run_dir` is not a directory.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise ValueError(f"no run directory at {run_dir}: give the directory that training printed")
    config, problem = _config(run_dir / "config.yaml")
    return Run(
        dir=run_dir,
        summary=_summary(run_dir / "summary.json"),
        config=config,
        config_text=_text(run_dir / "config.yaml"),
        metrics=read_metrics(run_dir / "metrics.csv"),
        problem=problem,
    )


def read_metrics(path: Path) -> Columns:
    """Read `metrics.csv` into columns, one row per epoch; a later row of the same epoch wins.

    A last line without its newline was cut off while it was written, so its last number cannot be trusted
    and the line is left out.
    """
    lines = _text(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    rows: dict[int, dict[str, float | None]] = {}
    try:
        reader = csv.DictReader(lines)
        names, table = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        log.warning("%s is not readable as CSV (%s); the report does without it", path, error)
        return {}
    for row in table:
        values = {name: _number(cell) for name, cell in row.items() if name}
        epoch = values.get("epoch")
        if epoch is not None and math.isfinite(epoch):
            merged = rows.setdefault(int(epoch), {})
            merged.update({name: value for name, value in values.items() if value is not None})
    ordered = [rows[epoch] for epoch in sorted(rows)]
    return {name: [row.get(name) for row in ordered] for name in names}


def finite(values: list[float | None]) -> list[float]:
    """Replace blanks and infinities by NaN, which plots as a gap."""
    return [value if value is not None and math.isfinite(value) else math.nan for value in values]


def class_names(known: Sequence[str], count: int) -> list[str]:
    """Return the recorded names, or the class numbers where they are not recorded for every class."""
    return list(known) if len(known) == count else [str(index) for index in range(count)]


def read_predictions(run_dir: Path, *names: str) -> dict[str, np.ndarray]:
    """Read `predictions/test.npz` or arrays of it; nothing where the run made no test predictions."""
    path = run_dir / "predictions" / "test.npz"
    if not path.is_file():
        return {}
    if not (found := read_npz(path, *names)):
        raise Unreadable(f"{path} cannot be read (it holds no array)")
    target = found.get("target")
    counted = target is not None and target.ndim == 1 and target.size > 0 and target.dtype.kind in "iu"
    if counted and not 0 <= target.min() <= target.max() < MOST_CLASSES:  # type: ignore[union-attr]
        raise Unreadable(f"{path} cannot be read (it holds labels that no run has)")
    return found


def log_tail(run_dir: Path, *, lines: int = 20) -> str:
    """Return the last lines of `train.log`."""
    path = run_dir / "train.log"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def _text(path: Path) -> str:
    try:
        return read_text(path) if path.is_file() else ""
    except ValueError as error:
        log.warning("%s; it is left out", error)
        return ""


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _summary(path: Path) -> Mapping[str, Any]:
    try:
        return read_summary_file(path) if path.is_file() and path.stat().st_size else {}
    except ValueError as error:
        log.warning("%s; the report does without it", error)
        return {}


def _config(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return the config, or why there is none."""
    try:
        value = read_yaml(path) if path.is_file() else {}
    except ValueError as error:
        log.warning("%s; the report shows it as text only", error)
        return {}, str(error)
    if not isinstance(value, Mapping):
        return {}, "its config.yaml is empty"
    odd = [key for key in NODES if not isinstance(value.get(key), Mapping | None)]
    return ({}, f"{path} is no config of a run: {odd[0]} has no keys") if odd else (value, "")
