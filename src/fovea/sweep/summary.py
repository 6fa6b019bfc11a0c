"""The summary of a sweep: a table on the terminal, `sweep.csv`, the command to continue."""

from __future__ import annotations

import csv
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fovea.config.overrides import for_shell
from fovea.engine import rundir
from fovea.files import replacing_text
from fovea.page.formats import MISSING, metric, no_formula
from fovea.page.text_table import text_table
from fovea.sweep.job_dir import job_overrides

log = logging.getLogger(__name__)
Row = dict[str, Any]


def row(run_dir: Path) -> Row:
    """Return the row of one job."""
    summary = rundir.read_summary(run_dir)
    best = summary.get("best") or {}
    facts = {
        "job": run_dir.name,
        "overrides": job_overrides(run_dir),
        "status": summary["status"],
        "monitor": best.get("monitor"),
        "value": best.get("value"),
        "directory": str(run_dir),
        "error": summary.get("error"),
    }
    metrics = summary.get("metrics") or {}
    return facts | {name: value for name, value in metrics.items() if name not in facts}


def conclude(sweep_dir: Path, rows: Sequence[Row], *, mode: str, stopped: bool) -> int:
    """Write and print the results of a sweep's jobs; return the exit code."""
    file = sweep_dir / "sweep.csv"
    write_csv(file, rows)
    log.info("\n%s\n%s", table(rows), file)
    best = best_row(rows, mode=mode)
    if best is not None and len(rows) > 1:
        log.info("best: job %s, %s %.4f, %s", best["job"], best["monitor"], best["value"], best["directory"])
    if sum(r["status"] == "finished" for r in rows) > 1:
        _compare(sweep_dir)
    for failed in [r for r in rows if r["status"] == "failed"]:
        log.warning("job %s failed: %s", failed["job"], " ".join(str(failed["error"]).split()))
    unfinished = sum(r["status"] != "finished" for r in rows)
    again = continue_command(sys.argv[1:], sweep_dir)
    if stopped:
        log.warning("the sweep was stopped; continue it with:\n  %s", again)
    elif unfinished:
        log.warning(
            "%d of %d jobs did not finish; repeat only those with:\n  %s", unfinished, len(rows), again
        )
    return 1 if unfinished else 0


def _compare(sweep_dir: Path) -> None:
    """Write the page that compares the jobs; a failure is only a warning."""
    from fovea.compare.command import compare_sweep

    again = f"python src/compare.py {for_shell('runs', str(sweep_dir))}"
    try:
        log.info("%s\n  with the speed of each network: %s", compare_sweep(sweep_dir), again)
    except Exception as error:  # whatever it is, the jobs are done
        log.warning("the jobs could not be compared (%s); try: %s", error, again)
        log.debug("", exc_info=True)


def table(rows: Sequence[Row]) -> str:
    """Lay the jobs out with the overrides in which they differ."""
    name = next((str(r["monitor"]) for r in rows if r["monitor"]), "metric")
    shown = differing([r["overrides"] for r in rows])
    lines = [
        (" ".join(overrides) or MISSING, r["status"], metric(r["value"]), r["directory"])
        for r, overrides in zip(rows, shown, strict=True)
    ]
    return text_table(lines, ("overrides", "status", name, "directory"), align="llrl")


def differing(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Leave out the overrides that all jobs share; a job alone keeps its own."""
    common = set.intersection(*(set(job) for job in jobs)) if len(jobs) > 1 else set()
    return [[o for o in job if o not in common] for job in jobs]


def best_row(rows: Sequence[Row], *, mode: str) -> Row | None:
    """Return the finished job with the best value; None where values are missing or of several metrics."""
    done = [r for r in rows if r["status"] == "finished" and r["value"] is not None]
    if len({r["monitor"] for r in done}) != 1:
        return None
    return (max if mode == "max" else min)(done, key=lambda r: r["value"])


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """Write every job with every override and metric."""
    names = list(dict.fromkeys(k for r in rows for k in r))
    with replacing_text(file) as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        lines = ({**r, "overrides": shlex.join(r["overrides"])} for r in rows)
        writer.writerows({name: no_formula(cell) for name, cell in line.items()} for line in lines)


def continue_command(argv: Sequence[str], sweep_dir: Path) -> str:
    """Return the command that repeats what did not finish."""
    words = [a for a in argv if not a.startswith("sweep_dir=")]
    return f"{shlex.join(['python', 'src/train.py', *words])} {for_shell('sweep_dir', str(sweep_dir))}"
