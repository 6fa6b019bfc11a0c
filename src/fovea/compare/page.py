"""Put a comparison on one page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fovea.compare.figures import against_cost, curves, effect_plots
from fovea.compare.grouping import Row
from fovea.compare.tables import COST, RESULTS, cell, filled, spread, texts
from fovea.compare.types import Comparison, parameters
from fovea.compare.verdicts import ALPHA, DRAWS, chance, signed
from fovea.page.blocks import Block, Facts, Fold, Section, Table, Text
from fovea.page.document import document
from fovea.page.formats import MISSING, short_count
from fovea.page.formats import metric as number

SHORT = 20  # lines; a longer table is folded, and what differs most is shown
OVER_SEEDS = (
    "± is the standard deviation over the runs of a row; its 95 % interval (seeds) is Student's t over them."
)
OVER_IMAGES = (
    "The interval of a single run (images) is over this test set, Wilson's where the metric is a share of "
    "it; it says nothing about other seeds."
)


def _of(key: str) -> Callable[[Row], float]:
    return lambda row: float(row.cost.get(key, math.nan))


LEADERS: Sequence[tuple[str, int, Callable[[Row], float], Callable[[float], str]]] = (
    ("Fastest at batch 1", 1, _of("latency_p50_ms"), lambda value: f"{value:.3g} ms"),
    ("Most images/s", -1, _of("images_per_s"), lambda value: f"{value:,.0f}"),
    ("Fewest parameters", 1, parameters, short_count),
)


def page(found: Comparison) -> str:
    """Return the whole page; figures are written beside it and carried inside it."""
    runs = sum(len(row.runs) for row in found.rows)
    data = sorted({str(run.section("data").get("name") or MISSING) for row in found.rows for run in row.runs})
    body: list[Block] = [
        _headline(found), *(Text(note, "note") for note in found.notes), *_results(found), *_tests(found),
        *_cost(found), *curves(found), *effect_plots(found), *_task_table(found), *found.sections,
        *_runs(found),
    ]  # fmt: skip
    count = f"{_count(len(found.rows), 'model')}, {_count(runs, 'run')}"
    about = f"by {found.metric} on {', '.join(data)}"
    return document(
        "Comparison", badge=("good", count), about=about, body=body, footer=found.command, layout="wide"
    )


def _headline(found: Comparison) -> Facts:
    best, pairs = found.best, []
    if best is not None:
        runs = _count(len(best.values(found.metric)), "run")
        pairs.append((f"Best {found.metric}", spread(best, found.metric), f"{best.name}, {runs}"))
    if found.verdicts:
        clear = f"{sum(v.adjusted < ALPHA for v in found.verdicts)} of {len(found.verdicts)}"
        pairs.append(("Clear differences", clear, f"from the baseline {found.base.name}"))
    for title, sign, of, write in LEADERS:
        known = [row for row in found.rows if not math.isnan(of(row))]
        if len({of(row) for row in known}) > 1:
            leader = min(known, key=lambda row: sign * of(row))
            equal = sum(of(row) == of(leader) for row in known) - 1
            said = f"{leader.name} and {equal} more" if equal else leader.name
            pairs.append((title, write(of(leader)), said))
    return Facts(pairs, large=True)


def _results(found: Comparison) -> list[Section]:
    part = filled([c for c in found.columns if c.part == RESULTS], found.rows)
    heads, cells = texts(part, found.rows)
    several = any(len(row.values(found.metric)) > 1 for row in found.rows)
    said = [OVER_SEEDS] if several else []
    said += [OVER_IMAGES] if any(len(row.values(found.metric)) == 1 for row in found.rows) else []
    note = " ".join(said)
    return [Section("Results", [Table(heads, cells, align="l" + "r" * (len(part) - 1)), Text(note, "note")])]


def _tests(found: Comparison) -> list[Section]:
    if not found.verdicts:
        return []
    base = found.base.name
    rows = [
        (v.name, v.words(), signed(v.difference), f"{signed(v.low)} to {signed(v.high)}",
         chance(v.p, bound=v.bound).lstrip("= "), f"{v.method}: {v.detail}")
        for v in found.verdicts
    ]  # fmt: skip
    heads = ("Model", f"Against {base}", "Difference", "95 % interval", "p, uncorrected", "Test")
    said = (
        f"Each model against the baseline by {found.measure} on the same test images. The interval resamples "
        f"the images ({DRAWS:,} paired bootstrap draws); it holds for the networks as trained, not for other "
        f"seeds. “Clear” means p < {ALPHA} after Holm's correction for {_count(len(rows), 'comparison')}."
    )
    table = Table(heads, rows, align="llrrrl")
    shown = table if len(rows) <= SHORT else Fold(f"All {len(rows)} comparisons", [table])
    return [Section("Is the difference real?", [shown, Text(said, "note")])]


def _cost(found: Comparison) -> list[Section]:
    part = filled([c for c in found.columns if c.part == COST], found.rows)
    heads, cells = texts(part, found.rows)
    named = [[row.name, *line] for row, line in zip(found.rows, cells, strict=True)]
    table = Table(["Model", *heads], named, align="l" + "r" * len(heads))
    return [Section("Cost", [table, Text(" ".join(found.method), "note"), *against_cost(found)])]


def _task_table(found: Comparison) -> list[Section]:
    if found.table is None:
        return []
    title, heads, lines = found.table
    align = "l" + "r" * (len(heads) - 1)
    cells = [[cell(value) for value in line] for line in lines]
    if len(lines) <= SHORT:
        return [Section(title, [Table(heads, cells, align=align)])]
    order = sorted(range(len(lines)), key=lambda i: -_range(lines[i]))
    shown = Table(heads, [cells[i] for i in order[:10]], "The ten in which the models differ most", align)
    return [Section(title, [shown, Fold(f"All {len(lines)}", [Table(heads, cells, align=align)])])]


def _runs(found: Comparison) -> list[Section]:
    rows = [
        (row.name, run.summary.get("seed", MISSING), number(run.section("metrics").get(found.metric)),
         run.section("best").get("epoch", MISSING), str(run.section("environment").get("device") or MISSING),
         str(run.dir))
        for row in found.rows for run in row.runs
    ]  # fmt: skip
    heads = ("Model", "Seed", found.metric, "Best epoch", "Device", "Directory")
    table = Table(heads, [tuple(str(c) for c in row) for row in rows], align="lrrrll")
    blocks: list[Block] = [table if len(rows) <= SHORT else Fold(f"All {len(rows)} runs", [table])]
    if found.left_out:
        blocks.append(Table(("Left out", "Why"), found.left_out, align="ll"))
    return [Section("Runs", blocks)]


def _range(line: Sequence[Any]) -> float:
    values = [value for value in line[2:] if value is not None]
    return max(values) - min(values) if values else 0.0


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
