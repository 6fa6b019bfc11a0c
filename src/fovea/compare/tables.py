"""Lay the rows of a comparison out in columns: numbers for CSV, text for all else."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fovea.compare.grouping import Row
from fovea.compare.verdicts import Verdict, interval, signed
from fovea.page.formats import MISSING, is_number, short_count
from fovea.page.formats import metric as number
from fovea.runs.read import Run

RESULTS, COST = "results", "cost"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "…": r"\ldots{}",
    "×": r"$\times$", "≤": r"$\le$", "µ": r"$\mu$", "\"": "''",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column: its head, its numbers for CSV under `names`, its text."""

    title: str
    names: tuple[str, ...]
    numbers: Callable[[Row], Sequence[Any]]
    text: Callable[[Row], str]
    part: str = RESULTS


def columns(metric: str, *, paired: bool, verdicts: Sequence[Verdict], title: str) -> list[Column]:
    """Return the columns of a comparison by `metric`."""
    by_name = {verdict.name: verdict for verdict in verdicts}
    loss = f"{metric.split('/', 1)[0]}/loss"
    found = [
        Column("Model", ("model",), lambda row: [row.name], lambda row: row.name),
        Column("Runs", ("runs",), lambda row: [len(row.runs)], lambda row: str(len(row.runs))),
        Column(
            metric, (metric, f"{metric} std", f"{metric} n"),
            lambda row: [row.mean(metric), row.std(metric), len(row.values(metric))],
            lambda row: spread(row, metric),
        ),
        Column(
            "95 % interval", ("low", "high", "interval over"),
            lambda row: interval(row, metric, paired=paired), lambda row: _interval(row, metric, paired),
        ),
    ]  # fmt: skip
    if loss != metric:
        found.append(Column(loss, (loss,), lambda row: [row.mean(loss)], lambda row: _known(row.mean(loss))))
    if verdicts:
        names = ("difference", "difference low", "difference high", "p", "p Holm", "test")
        found.append(Column(title, names, lambda row: _tested(by_name, row), lambda row: _gap(by_name, row)))
    return found + _cost()


def _cost() -> list[Column]:
    def fact(title: str, name: str, of: Callable[[Run], Any], write: Callable[[float], str]) -> Column:
        return Column(title, (name,), lambda row: [row.fact(of)], lambda row: write(row.fact(of)), COST)

    def cost(title: str, name: str, write: Callable[[float], str]) -> Column:
        def of(row: Row) -> float:
            return float(row.cost.get(name, math.nan))

        return Column(title, (name,), lambda row: [of(row)], lambda row: write(of(row)), COST)

    return [
        fact("Parameters", "parameters", lambda run: run.section("model").get("params"), short_count),
        cost("FLOPs", "flops", short_count),
        cost("Weights, MB", "weights_mb", _short),
        fact("Epoch, s", "epoch_s", epoch_s, _short),
        fact("Training, images/s", "train_images_per_s",
             lambda run: run.section("timing").get("train_images_per_s"), _short),
        cost("Batch 1 p50, ms", "latency_p50_ms", _short),
        cost("Batch 1 p95, ms", "latency_p95_ms", _short),
        cost("Batch 32, images/s", "images_per_s", _short),
        fact("Training memory, MB", "train_memory_mb", lambda run: run.summary.get("peak_memory_mb"), _short),
        cost("Inference memory, MB", "inference_memory_mb", _short),
    ]  # fmt: skip


def epoch_s(run: Run) -> float | None:
    """Return the median time of an epoch."""
    import statistics

    seconds = [s for s in run.section("timing").get("epoch_s") or [] if is_number(s)]
    return statistics.median(seconds) if seconds else None


def spread(row: Row, metric: str) -> str:
    """`0.9130 ± 0.0021` over several runs, the value alone of one."""
    values = row.values(metric)
    if not values:
        return MISSING
    mean = number(row.mean(metric))
    if len(values) < 2:
        return mean
    plain = "e" not in mean and "." in mean
    spread = f"{row.std(metric):.{len(mean.partition('.')[2])}f}" if plain else number(row.std(metric))
    return f"{mean} ± {spread}"


def _interval(row: Row, metric: str, paired: bool) -> str:
    low, high, over = interval(row, metric, paired=paired)
    return MISSING if math.isnan(low) else f"{number(low)} – {number(high)} ({over})"


def _tested(verdicts: dict[str, Verdict], row: Row) -> Sequence[Any]:
    one = verdicts.get(row.name)
    if one is None:
        return [""] * 6
    return [one.difference, one.low, one.high, one.p, one.adjusted, one.method]


def _gap(verdicts: dict[str, Verdict], row: Row) -> str:
    one = verdicts.get(row.name)
    return MISSING if one is None else f"{signed(one.difference)} (p {one.chance})"


def _known(value: float) -> str:
    return MISSING if math.isnan(value) else number(value)


def _short(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def filled(found: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave out the columns that nothing is known of."""
    return [column for column in found if any(column.text(row) != MISSING for row in rows)]


def texts(found: Sequence[Column], rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells."""
    return [c.title for c in found], [[c.text(row) for c in found] for row in rows]


def to_csv(
    found: Sequence[Column], rows: Sequence[Row], extra: Mapping[str, Sequence[Any]] | None = None
) -> str:
    """Write every number in full, blank where unknown; `extra` are further columns by name."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(name for c in found for name in c.names), *(extra or {}), "directories"])
    for i, row in enumerate(rows):
        cells = [value for c in found for value in c.numbers(row)] + [v[i] for v in (extra or {}).values()]
        blank = ["" if isinstance(v, float) and not math.isfinite(v) else v for v in cells]
        writer.writerow([*blank, " ".join(str(run.dir) for run in row.runs)])
    return file.getvalue()


def to_markdown(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Write a pipe table, the first column flush left, others right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *cells]
    escaped = ([re.sub(r"([\\|<>*_`\[\]])", r"\\\1", str(c)) for c in line] for line in cells)
    body = ["| " + " | ".join(" ".join(c.split()) for c in line) + " |" for line in escaped]
    return "\n".join(["| " + " | ".join(h.replace("|", r"\|") for h in lines[0]) + " |",
                      "| " + " | ".join(lines[1]) + " |", *body]) + "\n"  # fmt: skip


def to_latex(heads: Sequence[str], cells: Sequence[Sequence[str]], *, caption: str) -> str:
    """Write a table for the package booktabs."""
    lines = [" & ".join(map(latex, line)) + r" \\" for line in [heads, *cells]]
    inner = "\n".join(["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"])
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{latex(caption)}}}\n\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n"
        f"{inner}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def latex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return "".join(LATEX.get(char, char) for char in " ".join(str(text).split()))


def cell(value: Any) -> str:
    """Write a score with three decimals, anything else as it is."""
    if value is None:
        return MISSING
    return f"{value:.3f}" if isinstance(value, float) else str(value)
