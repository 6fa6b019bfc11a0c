"""Write a comparison down for the terminal, for papers and for programs."""

from __future__ import annotations

from typing import Any

from fovea.compare.tables import (
    COST,
    RESULTS,
    cell,
    filled,
    texts,
    to_csv,
    to_latex,
    to_markdown,
)
from fovea.compare.types import Comparison
from fovea.page.formats import shorten
from fovea.page.text_table import text_table

LINES = 40  # rows on the terminal


def summary(found: Comparison) -> str:
    """Return the tables as text, what the differences mean, and what is missing."""
    parts = []
    rows = found.rows[:LINES]
    for part in (RESULTS, COST):
        chosen = filled([c for c in found.columns if c.part == part], rows)
        if part == COST:
            chosen = [found.columns[0], *chosen]
        heads, cells = texts(chosen, rows)
        lines = [[shorten(line[0], width=48), *line[1:]] for line in cells]
        if len(chosen) > 1:
            parts.append(text_table(lines, heads, align="l" + "r" * (len(heads) - 1)))
    if len(found.rows) > LINES:
        parts.append(f"… and {len(found.rows) - LINES} more rows, all in compare.csv")
    said = [f"  {v.name}: {v.words()}" for v in found.verdicts[:LINES]]
    parts.append("\n".join([f"against {found.base.name}:", *said]) if said else "")
    parts.append("\n".join(found.notes))
    if found.left_out:
        lines_out = [f"  {path}: {why}" for path, why in found.left_out[:LINES]]
        parts.append("\n".join([f"{len(found.left_out)} left out:", *lines_out]))
    return "\n\n".join(part for part in parts if part)


def facts(found: Comparison) -> dict[str, Any]:
    """Return everything but the pictures as plain containers."""
    chosen = found.columns
    rows = []
    for row in found.rows:
        pairs = {n: v for c in chosen for n, v in zip(c.names, c.numbers(row), strict=True) if v != ""}
        runs = [
            {"directory": str(run.dir), "seed": run.summary.get("seed"), **run.section("metrics")}
            for run in row.runs
        ]
        rows.append({**pairs, "of": runs})
    table = None
    if found.table:
        title, heads, lines = found.table
        table = {"title": title, "columns": heads, "rows": lines}
    return {
        "command": found.command, "metric": found.metric, "baseline": found.base.name, "rows": rows,
        "tests": [vars(v) | {"words": v.words(found.base.name)} for v in found.verdicts],
        "table": table, "left_out": found.left_out, "notes": found.notes, "method": found.method,
    }  # fmt: skip


def markdown(found: Comparison) -> str:
    """Return the tables and the verdicts as Markdown."""
    heads, cells = texts(filled(found.columns, found.rows), found.rows)
    lines = [f"# Comparison by {found.metric}\n", to_markdown(heads, cells)]
    if found.verdicts:
        lines.append("".join(f"- {v.name}: {v.words(found.base.name)}, {v.method}\n" for v in found.verdicts))
    lines += [f"{text}\n" for text in [*found.notes, " ".join(found.method)] if text]
    if found.table:
        title, heads, cells = found.table
        lines += [f"## {title}\n", to_markdown(heads, [[cell(v) for v in line] for line in cells])]
    return "\n".join(lines)


def tables_latex(found: Comparison) -> str:
    """Return the tables for LaTeX."""
    heads, cells = texts(filled(found.columns, found.rows), found.rows)
    parts = [
        "% needs \\usepackage{booktabs}\n",
        to_latex(heads, cells, caption=f"Comparison by {found.metric}."),
    ]
    if found.table:
        title, heads, lines = found.table
        parts.append(to_latex(heads, [[cell(v) for v in line] for line in lines], caption=f"{title}."))
    return "\n".join(parts)


def table_csv(found: Comparison) -> str:
    """Return every number in full, the task's own scores as further columns."""
    extra: dict[str, list[Any]] = {}
    if found.table:
        _, heads, lines = found.table
        at = {name: i for i, name in enumerate(heads)}
        for line in lines:
            extra[f"{found.metric} of {line[0]}"] = [
                line[at[r.name]] if r.name in at else "" for r in found.rows
            ]
    return to_csv(found.columns, found.rows, extra)
