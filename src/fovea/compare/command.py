"""Compare trained runs: one table, one page."""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.compare import opening
from fovea.config import build
from fovea.config.paths import CONF
from fovea.config.values import count, listed
from fovea.engine import rundir
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import device
from fovea.errors import UsageError
from fovea.files import finite, write_text

log = logging.getLogger(__name__)
TRAINING = (
    "What training took is the mean over the runs: the median epoch with validation, images/s without it, "
    "and the peak memory of the process (of the GPU where there was one)."
)


def main(config: DictConfig) -> None:
    """Read the runs, measure their networks, write the tables and the page, print the table."""
    configure(None)
    if OmegaConf.is_missing(config, "runs"):
        raise UsageError("runs= is missing: say runs=DIR, runs='GLOB' or runs=[DIR,DIR] on the command line")
    with stop_signals():
        found = compare(config)
        write(found)
    from fovea.compare.text import summary

    log.info("\n%s\n%s", summary(found), found.folder / "compare.html")


def compare_sweep(sweep_dir: Path) -> Path:
    """Compare the jobs of a sweep, without measuring the networks; return the page."""
    words = [f"runs={sweep_dir}"]
    given = {
        "runs": str(sweep_dir), "output": str(sweep_dir / "comparison"), "words": words,
        "timing": False, "images": False,
    }  # fmt: skip
    config: Any = OmegaConf.load(CONF / "compare.yaml")
    del config["defaults"], config["hydra"]
    config.merge_with(given)
    found, task = gathered(config)
    if task is not None:
        found.table = task.table(found.rows)
    write(found)
    return found.folder / "compare.html"


def compare(config: DictConfig) -> Any:
    """Return the whole comparison; nothing is written yet but figures of the task's own sections."""
    rounds, seconds = count(config, "rounds"), count(config, "seconds")
    found, task = gathered(config)
    _clear(found.folder)
    if config.timing:
        from fovea.compare.timing import measure

        place = device(str(config.accelerator))
        method, notes = measure(found.rows, place=place, rounds=rounds, seconds=seconds)
        found.method += method
        found.notes += notes
    if task is not None:
        found.table = task.table(found.rows)
        if config.images:
            pictures = _pictures(found.base, config)
            found.sections = task.sections(found.rows, found.base, pictures, found.folder / "figures")
    return found


def _clear(folder: Path) -> None:
    """Delete the figures of an earlier comparison in the same place, which need not have these names."""
    for pattern in ("effect_*.png", "*_right_*_wrong.png", "curves.png", "cost.png"):
        for old in (folder / "figures").glob(pattern) if (folder / "compare.html").is_file() else ():
            old.unlink()


def gathered(config: DictConfig) -> tuple[Any, Any]:
    """Read the runs, make them rows, test their differences; return also the task's own part."""
    from fovea.compare.types import Comparison
    from fovea.compare.verdicts import verdicts

    runs, left_out = opening.read(opening.find(listed(config, "runs")), listed(config, "include"))
    metric, mode = opening.choose_metric(runs, config.metric, config.mode)
    task = opening.task_comparison(runs)
    tested, notes = opening.read_tested(runs, task)
    unlike = _unlike(runs, tested, allowed=bool(config.allow_different_tests))
    rows, again = _rows(runs, [None] * len(runs) if unlike else tested, listed(config, "group_by"))
    rows = _ordered(rows, metric, mode)
    base = _baseline(config, rows, metric)
    found = Comparison(
        metric=metric, rows=rows, base=base, verdicts=verdicts(rows, base), folder=Path(str(config.output)),
        method=[TRAINING], measure="" if task is None or unlike else f"test/{task.metric}",
        command=shlex.join(["python", "src/compare.py", *(config.get("words") or sys.argv[1:])]),
        left_out=[*left_out, *again],
        notes=[*notes, *unlike, *_missing(rows, metric), *_other_metric(task, metric)],
    )  # fmt: skip
    return found, task


def _unlike(runs: Sequence[Any], tested: Sequence[Any], *, allowed: bool) -> list[str]:
    """Refuse different test sets, or say what mixing them costs."""
    from fovea.compare.verdicts import different_tests

    said = different_tests(list(zip(runs, tested, strict=True)))
    if said and not allowed:
        raise UsageError(
            f"{said}\n  choose runs of one test set, or give allow_different_tests=true for tables without "
            "tests of significance"
        )
    return [f"Nothing is tested for significance, and the ranks mean little: {said}."] if said else []


def _rows(
    runs: Sequence[Any], tested: Sequence[Any], by: Sequence[str]
) -> tuple[list[Any], list[tuple[str, str]]]:
    from fovea.compare.grouping import gather

    rows, again = gather(runs, by=by)
    known = {run.dir: one for run, one in zip(runs, tested, strict=True) if one is not None}
    for row in rows:
        row.tested = [known[run.dir] for run in row.runs if run.dir in known]
    return rows, [(str(run.dir), why) for run, why in again]


def _ordered(rows: Sequence[Any], metric: str, mode: str) -> list[Any]:
    """Return the best row first, those without the metric last."""
    sign = -1 if mode == "max" else 1
    return sorted(rows, key=lambda r: (math.isnan(r.mean(metric)), sign * r.mean(metric), r.name))


def _baseline(config: DictConfig, rows: Sequence[Any], metric: str) -> Any:
    from fovea.compare.grouping import choose

    if config.baseline is None:
        return rows[0]
    base = choose(rows, str(config.baseline))
    if math.isnan(base.mean(metric)):
        raise UsageError(
            f"baseline={config.baseline} ({base.name}) has no {metric}: it cannot be compared with"
        )
    return base


def _missing(rows: Sequence[Any], metric: str) -> list[str]:
    """Say which runs lack the metric or their predictions."""
    notes = []
    for row in rows:
        bare = [str(run.dir) for run in row.runs if run.section("metrics").get(metric) is None]
        if bare:
            notes.append(f"{row.name}: without {metric} (no test stage?): {', '.join(bare)}.")
    kept = [row.name for row in rows if 0 < len(row.tested) < len(row.runs)]
    none = [row.name for row in rows if not row.tested]
    if kept:
        notes.append(
            f"Some runs kept no test predictions and are missing from the paired tests: {'; '.join(kept)}."
        )
    if none and len(none) < len(rows):
        notes.append(f"Without test predictions, so not tested for significance: {'; '.join(none)}.")
    return notes


def _other_metric(task: Any, metric: str) -> list[str]:
    if task is None or metric == f"test/{task.metric}":
        return []
    return [f"The paired tests and the classes are about test/{task.metric}, whatever ranks the rows."]


def _pictures(base: Any, config: DictConfig) -> Any:
    """Return a function that reads test images by name, the way the baseline's run read them."""

    def read(ids: list[str]) -> dict[str, Any]:
        from fovea.engine.trained import moved
        from fovea.inspect.opening import preprocessing

        run = rundir.read_config(base.runs[0].dir)
        here = moved(run, data_root=config.data_root, num_workers=0)
        here.data.download, here.augment = False, {"sample": {}, "batch": {}}
        module = build.datamodule(here, preprocessing(here))
        module.setup("test")
        at = {name: i for i, name in enumerate(map(str, module.test.ids))}
        return {name: module.test.load(at[name])["image"] for name in ids if name in at}

    return read


def write(found: Any) -> None:
    """Write compare.md, .csv, .tex, .json and .html, each whole or not at all."""
    from fovea.compare import text as tables
    from fovea.compare.page import page

    found.folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "md": tables.markdown(found), "csv": tables.table_csv(found), "tex": tables.tables_latex(found),
        "json": json.dumps(finite(tables.facts(found)), indent=1, ensure_ascii=False) + "\n",
        "html": page(found),
    }  # fmt: skip
    for ending, text in texts.items():
        write_text(found.folder / f"compare.{ending}", text)
