"""Lay results out as aligned text for a terminal or a log file."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fovea.page.formats import MISSING, duration, is_number, megabytes, metric, rate, short_count
from fovea.runs.read import STATUSES, UNFINISHED


def text_table(rows: Sequence[Sequence[Any]], headers: Sequence[str] = (), *, align: str = "") -> str:
    """Align columns two spaces apart, numbers to the right; `align` overrides with `l` or `r` per column.

    Raises:
        ValueError: rows of different lengths.
    """
    body = [[_plain(cell) for cell in row] for row in rows]
    lines = ([list(headers)] if headers else []) + body
    if len({len(line) for line in lines}) > 1:
        raise ValueError(f"rows have different lengths: {sorted({len(line) for line in lines})}")
    if not lines:
        return ""
    columns = range(len(lines[0]))
    align = align or "".join("r" if _numeric([row[column] for row in rows]) else "l" for column in columns)
    widths = [max(_width(line[column]) for line in lines) for column in columns]
    if headers:
        lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(_pad, line, widths, align)).rstrip() for line in lines)


def final_table(summary: Mapping[str, Any], run_dir: Path | str) -> str:
    """Sum a run up in a few lines: results first, then cost, then where everything is."""
    part = {key: summary.get(key) or {} for key in ("metrics", "best", "model", "timing")}
    best, model, timing = part["best"], part["model"], part["timing"]
    rows = [("status", summary.get("status") if summary.get("status") in STATUSES else UNFINISHED)]
    if best.get("monitor"):
        rows.append(
            (f"best {best['monitor']}", f"{metric(best.get('value'))} in epoch {_plain(best.get('epoch'))}")
        )
    rows += [(name, metric(value)) for name, value in part["metrics"].items() if name.startswith("test/")]
    rows.append(("parameters", parameters(model)))
    rows.append(("training time", f"{duration(timing.get('fit_s'))} in {_epochs(timing)}"))
    rows.append(("throughput", rate(timing.get("train_images_per_s"))))
    rows.append(("peak memory", megabytes(summary.get("peak_memory_mb"))))
    rows = [row for row in rows if not str(row[1]).startswith(MISSING)]
    return text_table([*rows, ("run directory", str(run_dir))], align="ll")


def sweep_table(rows: Sequence[Mapping[str, Any]], *, metric_name: str = "metric") -> str:
    """Lay the runs of a sweep out in the given order; keys: `overrides`, `status`, `metric`, `directory`."""
    lines = []
    for row in rows:
        overrides = row.get("overrides") or ""
        text = overrides if isinstance(overrides, str) else " ".join(map(str, overrides))
        lines.append(
            (
                text or MISSING,
                row.get("status") or UNFINISHED,
                metric(row.get("metric")),
                row.get("directory"),
            )
        )
    return text_table(lines, ("overrides", "status", metric_name, "directory"), align="llrl")


def parameters(model: Mapping[str, Any]) -> str:
    """`11.2 M`, and how many of them are trained where not all are."""
    total, trained = model.get("params"), model.get("trainable_params")
    some = is_number(trained) and trained != total
    return short_count(total) + (f", {short_count(trained)} trained" if some else "")


def _epochs(timing: Mapping[str, Any]) -> str:
    count = len(timing.get("epoch_s") or [])
    return f"{count} epoch{'' if count == 1 else 's'}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return metric(value)
    return MISSING if value is None else " ".join(str(value).split())


def _numeric(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(is_number(value) for value in known)


def _width(text: str) -> int:
    """Count terminal cells: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _pad(text: str, width: int, align: str) -> str:
    space = " " * (width - _width(text))
    return space + text if align == "r" else text + space
