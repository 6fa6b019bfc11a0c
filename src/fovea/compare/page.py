"""Render the page of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fovea.compare.plots import against_cost, curves, effect_plots
from fovea.compare.tables import COST, RESULTS, columns, grid, mean_and_std, signed, task_cells
from fovea.compare.types import ALPHA, Comparison, format_p
from fovea.compare.verdicts import CUT, DRAWS, interval
from fovea.page.blocks import Beside, Block, Facts, Fold, Section, Table, Text
from fovea.page.document import document
from fovea.page.formats import MISSING, counted
from fovea.page.formats import metric as number

SHORT = 20  # lines; a longer table is folded, and what differs most is shown
COVERS = {
    "seeds": "± is the standard deviation over the runs of a model. An interval marked “seeds” is of their "
    "mean (Student's t): it covers the variation from one training run to the next, such as with another "
    "seed, but not the choice of the test images.",
    "runs": "An interval marked “runs” is of the mean over runs that differ in more than the seed, or repeat "
    "one (Student's t): it covers these differences too, so it is no interval over seeds.",
    "images": "An interval marked “images” is of a single run (Wilson's where each image is right or wrong, "
    "else Student's t, a bootstrap over images where the figure is of all of them together): it covers the "
    "choice of the test images, but not the variation between seeds.",
}
# What the headline names: title, sign of what is better, name of the number, its unit.
LEADERS = (
    ("Fastest at batch 1", 1, "latency_p50_ms", " ms"),
    ("Most images/s", -1, "images_per_s", ""),
    ("Fewest parameters", 1, "parameters", ""),
)


def page(comparison: Comparison) -> str:
    """Return the whole page; figures are written beside it and carried inside it."""
    runs = [run for group in comparison.groups for run in group.runs]
    data = sorted({str(run.section("data").get("name") or MISSING) for run in runs})
    effects = effect_plots(comparison)
    body: list[Block] = [
        _headline(comparison),
        *(Text(note, "note") for note in comparison.notes),
        _results(comparison),
        *_tests(comparison),
        _cost(comparison),
        *(Section("Curves", [picture]) for picture in curves(comparison)),
        *([Section("Effects of settings", [Beside(effects)])] if effects else []),
        *_task_table(comparison),
        *comparison.sections,
        _runs(comparison),
    ]
    counts = f"{counted(len(comparison.groups), 'model')}, {counted(len(runs), 'run')}"
    about = f"by {comparison.metric} on {', '.join(data)}"
    return document(
        "Comparison", badge=("good", counts), about=about, body=body, footer=comparison.command, layout="wide"
    )


def _headline(comparison: Comparison) -> Facts:
    pairs, best = [], comparison.groups[0]  # groups come in the order of the metric
    if runs := len(best.values(comparison.metric)):
        mean, _, std = mean_and_std(best, comparison.metric).partition(" ± ")
        equal = [g.mean(comparison.metric) for g in comparison.groups].count(best.mean(comparison.metric)) - 1
        others = f" and {equal} more" if equal else ""
        remark = f"{best.name}{others}, {counted(runs, 'run')}{std and f', ± {std}'}"
        pairs.append((f"Best {comparison.metric}", mean, remark))
    if comparison.tests:
        significant = sum(test.adjusted < ALPHA for test in comparison.tests)
        count = f"{significant} of {len(comparison.tests)}"
        pairs.append(("Significant differences", count, f"from the baseline {comparison.base.name}"))
    table = {column.names[0]: column for column in columns(comparison)}
    for title, sign, name, unit in LEADERS:
        known = {i: value for i, (value,) in enumerate(table[name].numbers) if not math.isnan(value)}
        if len(set(known.values())) > 1:
            leader = min(known, key=lambda i: sign * known[i])
            equal = sum(value == known[leader] for value in known.values()) - 1
            remark = comparison.groups[leader].name + (f" and {equal} more" if equal else "")
            pairs.append((title, f"{table[name].texts[leader]}{unit}", remark))
    return Facts(pairs, large=True)


def _results(comparison: Comparison) -> Section:
    heads, cells = grid(comparison, RESULTS)
    paired = comparison.metric == comparison.measure
    covered = {interval(group, comparison.metric, paired=paired)[2] for group in comparison.groups}
    said = [text for word, text in COVERS.items() if word in {over.removesuffix(CUT) for over in covered}]
    if any(over.endswith(CUT) for over in covered):
        said.append(
            "Student's interval is symmetric about the mean: where it would reach below 0 or above 1, it is "
            "cut there. So wide a one says that there are too few runs."
        )
    note = " ".join(said)
    return Section("Results", [_table(heads, cells), *([Text(note, "note")] if note else [])])


def _tests(comparison: Comparison) -> list[Section]:
    if not comparison.tests:
        return []
    rows = [
        (test.name, test.words(), signed(test.difference), f"{signed(test.low)} to {signed(test.high)}",
         format_p(test.p, bound=test.bound).removeprefix("p ").lstrip("= "),
         f"{test.method}: {test.detail}", test.scope)
        for test in comparison.tests
    ]  # fmt: skip
    heads = (
        "Model",
        f"Against {comparison.base.name}",
        "Difference",
        "95 % interval",
        "p, uncorrected",
        "Test",
        "Covers",
    )
    draws = max(test.draws for test in comparison.tests) or DRAWS
    note = (
        f"Each model is compared with the baseline by {comparison.measure} on the same test images. The "
        "interval and the test cover the choice of the test images and, where both models have several "
        "runs, the variation between these (Student's t over both). Of single runs they cover the images "
        f"alone ({draws:,} paired bootstrap draws). “Better” and “worse” mean p < {ALPHA} after Holm's "
        f"correction for {counted(len(rows), 'comparison')}."
    )
    table = Table(heads, rows, align="llrrrll")
    shown = table if len(rows) <= SHORT else Fold(f"All {len(rows)} comparisons", [table])
    return [Section("Which differences are significant?", [shown, Text(note, "note")])]


def _cost(comparison: Comparison) -> Section:
    table = _table(*grid(comparison, COST))
    return Section("Cost", [table, Text(" ".join(comparison.method), "note"), *against_cost(comparison)])


def _task_table(comparison: Comparison) -> list[Section]:
    if comparison.table is None:
        return []
    title, heads, lines = comparison.table
    cells = task_cells(lines)
    if len(lines) <= SHORT:
        return [Section(title, [_table(heads, cells)])]
    order = sorted(range(len(lines)), key=lambda i: -_range(lines[i]))
    shown = _table(heads, [cells[i] for i in order[:10]], "The ten in which the models differ most")
    return [Section(title, [shown, Fold(f"All {len(lines)}", [_table(heads, cells)])])]


def _runs(comparison: Comparison) -> Section:
    rows = [
        (group.name, run.given_name or MISSING, ", ".join(run.tags) or MISSING,
         str(run.summary.get("seed", MISSING)),
         number(run.section("metrics").get(comparison.metric)),
         str(run.section("best").get("epoch", MISSING)),
         str(run.section("environment").get("device") or MISSING), str(run.dir))
        for group in comparison.groups for run in group.runs
    ]  # fmt: skip
    heads = ("Model", "Name", "Tags", "Seed", comparison.metric, "Best epoch", "Device", "Directory")
    table = Table(heads, rows, align="lllrrrll")
    blocks: list[Block] = [table if len(rows) <= SHORT else Fold(f"All {len(rows)} runs", [table])]
    if comparison.left_out:
        blocks.append(Table(("Left out", "Why"), comparison.left_out, align="ll"))
    return Section("Runs", blocks)


def _table(heads: Sequence[str], cells: Sequence[Sequence[str]], caption: str = "") -> Table:
    """Set the first column flush left and the others right."""
    return Table(heads, cells, caption, "l" + "r" * (len(heads) - 1))


def _range(line: Sequence[Any]) -> float:
    values = [value for value in line[2:] if value is not None]
    return max(values) - min(values) if values else 0.0
