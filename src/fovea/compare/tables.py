"""Write the tables of a comparison: for the terminal, for papers and for programs."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fovea.compare.types import Comparison, ModelGroup, PairedTest
from fovea.compare.verdicts import interval
from fovea.page.formats import MISSING, counted, is_number, no_formula, short_count, shorten
from fovea.page.formats import metric as number
from fovea.page.text_table import text_table
from fovea.runs.read import Run

RESULTS, COST = "results", "cost"
LINES = 40  # on the terminal
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "…": r"\ldots{}",
    "×": r"$\times$", "≤": r"$\le$", "µ": r"$\mu$", "\"": "''",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of the table of models: a line per group."""

    title: str
    names: tuple[str, ...]  # of its numbers in CSV and JSON
    numbers: Sequence[Sequence[Any]]  # in full
    texts: Sequence[str]
    part: str = RESULTS

    @property
    def known(self) -> bool:
        """Whether the column has any value."""
        return any(text != MISSING for text in self.texts)


def columns(comparison: Comparison) -> list[Column]:
    """Return the columns of the table of models."""
    groups, metric, paired = comparison.groups, comparison.metric, comparison.metric == comparison.measure
    names, intervals = [group.name for group in groups], [interval(g, metric, paired=paired) for g in groups]
    moments = [[g.mean(metric), g.std(metric), len(g.values(metric))] for g in groups]
    result = [
        Column("Model", ("model",), [[name] for name in names], names),
        Column("Runs", ("runs",), [[len(g.runs)] for g in groups], [str(len(g.runs)) for g in groups]),
        Column(metric, (metric, f"{metric} std", f"{metric} n"), moments,
               [mean_and_std(group, metric) for group in groups]),
        Column("95 % interval", ("low", "high", "interval over"), intervals,
               [MISSING if math.isnan(low) else f"{number(low)} – {number(high)} ({over})"
                for low, high, over in intervals]),
    ]  # fmt: skip
    loss = f"{metric.split('/', 1)[0]}/loss"
    if loss != metric:
        result.append(_single(loss, loss, [group.mean(loss) for group in groups], number))
    if comparison.tests:
        tests = {test.name: test for test in comparison.tests}
        result.append(_difference(comparison, [tests.get(name) for name in names]))
    dirs = [names_in(group) for group in groups]
    short = [shorten(text, width=32) for text in dirs]
    result.append(Column("Names", ("names",), [[text] for text in dirs], short))
    for title, name, fact, write in COSTS:
        values = [group.mean_of(fact) if fact else comparison.cost_of(group, name) for group in groups]
        result.append(_single(title, name, values, write, COST))
    return result


def names_in(group: ModelGroup) -> str:
    """Return the names of a group's runs: their directories, of a sweep's jobs with the sweep's."""
    return " ".join(
        f"{run.dir.parent.name}/{run.dir.name}" if run.dir.name.isdigit() else run.dir.name
        for run in group.runs
    )


def _single(
    title: str, name: str, values: Sequence[float], write: Callable[[float], str], part: str = RESULTS
) -> Column:
    texts = [MISSING if math.isnan(value) else write(value) for value in values]
    return Column(title, (name,), [[value] for value in values], texts, part)


def _difference(comparison: Comparison, tests: Sequence[PairedTest | None]) -> Column:
    base = shorten(comparison.base.name, width=40)
    paired = comparison.metric == comparison.measure
    title = f"Difference to {base}" if paired else f"Difference in {comparison.measure} to {base}"
    names = ("difference", "difference low", "difference high", "p", "p Holm", "test")
    numbers = [[t.difference, t.low, t.high, t.p, t.adjusted, t.method] if t else [""] * 6 for t in tests]
    texts = [f"{signed(t.difference)} ({t.p_text})" if t else MISSING for t in tests]
    return Column(title, names, numbers, texts)


def mean_and_std(group: ModelGroup, metric: str) -> str:
    """`0.9130 ± 0.0021` over several runs, the value alone of one."""
    values = group.values(metric)
    if len(values) < 2:
        return number(values[0]) if values else MISSING
    mean, std = number(group.mean(metric)), group.std(metric)
    digits = len(mean.partition(".")[2])
    return f"{mean} ± {f'{std:.{digits}f}' if digits and 'e' not in mean else number(std)}"


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return ("+" if value >= 0 else "−") + f"{abs(value):.{4 if abs(value) < 100 else 1}f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _epoch_s(run: Run) -> float | None:
    """Return the median time of an epoch."""
    known = run.section("timing").get("epoch_s")
    seconds = [s for s in known if is_number(s)] if isinstance(known, list) else []
    return statistics.median(seconds) if seconds else None


# Title, name, where runs recorded it (None: the comparison itself measured it), how it is written.
COSTS: Sequence[tuple[str, str, Callable[[Run], Any] | None, Callable[[float], str]]] = (
    ("Parameters", "parameters", lambda run: run.section("model").get("params"), short_count),
    ("FLOPs", "flops", None, short_count),
    ("Weights, MB", "weights_mb", None, _short),
    ("Epoch, s", "epoch_s", _epoch_s, _short),
    ("Training, images/s", "train_images_per_s",
     lambda run: run.section("timing").get("train_images_per_s"), _short),
    ("Batch 1 p50, ms", "latency_p50_ms", None, _short),
    ("Batch 1 p95, ms", "latency_p95_ms", None, _short),
    ("Batch 32, images/s", "images_per_s", None, _short),
    ("Training memory, MB", "train_memory_mb", lambda run: run.summary.get("peak_memory_mb"), _short),
    ("Inference memory, MB", "inference_memory_mb", None, _short),
)  # fmt: skip


def grid(comparison: Comparison, part: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the lines of the columns that something is known of, of one part or of both."""
    chosen = [c for c in columns(comparison) if c.known and (part in (None, c.part) or c.title == "Model")]
    return [c.title for c in chosen], [list(line) for line in zip(*(c.texts for c in chosen), strict=True)]


def task_cells(lines: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Write scores with three decimals, anything else as it is."""

    def write(value: Any) -> str:
        return MISSING if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    return [[write(value) for value in line] for line in lines]


def summary(comparison: Comparison) -> str:
    """Return the tables as text, what the differences mean, and what is missing."""
    parts = []
    for part in (RESULTS, COST):
        heads, cells = grid(comparison, part)
        lines = [[shorten(line[0], width=48), *line[1:]] for line in cells[:LINES]]
        if len(heads) > 1:
            parts.append(text_table(lines, heads, align="l" + "r" * (len(heads) - 1)))
    if len(comparison.groups) > LINES:
        parts.append(f"… and {len(comparison.groups) - LINES} more models, all in compare.csv")
    if comparison.tests:
        lines_of = [f"  {test.name}: {test.words()}, {test.scope}" for test in comparison.tests[:LINES]]
        parts.append("\n".join([f"against {comparison.base.name}:", *lines_of]))
    parts.append("\n".join(comparison.notes))
    if comparison.left_out:
        lines_of = [f"  {path}: {why}" for path, why in comparison.left_out[:LINES]]
        parts.append("\n".join([f"{counted(len(comparison.left_out), 'run')} left out:", *lines_of]))
    return "\n\n".join(part for part in parts if part)


def facts(comparison: Comparison) -> dict[str, Any]:
    """Return everything but the pictures as plain containers."""
    rows, table = [], columns(comparison)
    for i, group in enumerate(comparison.groups):
        pairs = {n: v for c in table for n, v in zip(c.names, c.numbers[i], strict=True) if v != ""}
        runs = [
            {"directory": str(run.dir), "seed": run.summary.get("seed"), **run.section("metrics")}
            for run in group.runs
        ]
        rows.append({**pairs, "of": runs})
    return {
        "command": comparison.command, "metric": comparison.metric, "baseline": comparison.base.name,
        "rows": rows,
        "tests": [vars(test) | {"words": test.words(comparison.base.name)} for test in comparison.tests],
        "table": comparison.table and dict(zip(("title", "columns", "rows"), comparison.table, strict=True)),
        "left_out": comparison.left_out, "notes": comparison.notes, "method": comparison.method,
    }  # fmt: skip


def to_csv(comparison: Comparison) -> str:
    """Write every number in full, blank where unknown; the task's own scores are further columns."""
    table = [(column.names, column.numbers) for column in columns(comparison)]
    if comparison.table:
        _, heads, lines = comparison.table
        at = {name: i for i, name in enumerate(heads)}
        for line in lines:
            scores = [[line[at[g.name]] if g.name in at else ""] for g in comparison.groups]
            table.append(((f"{comparison.metric} of {line[0]}",), scores))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(name for names, _ in table for name in names), "directories"])
    for i, group in enumerate(comparison.groups):
        cells = [value for _, numbers in table for value in numbers[i]]
        blank = ["" if isinstance(v, float) and not math.isfinite(v) else v for v in cells]
        cells = [*blank, " ".join(str(run.dir) for run in group.runs)]
        writer.writerow(map(no_formula, cells))
    return file.getvalue()


def to_markdown(comparison: Comparison) -> str:
    """Write the tables and the paired tests as Markdown."""
    parts = [f"# Comparison by {comparison.metric}\n", markdown_table(*grid(comparison))]
    words = [
        f"- {test.name}: {test.words(comparison.base.name)}, {test.method}, {test.scope}\n"
        for test in comparison.tests
    ]
    parts += [
        "".join(words),
        *(f"{text}\n" for text in [*comparison.notes, " ".join(comparison.method)] if text),
    ]
    if comparison.table:
        title, heads, lines = comparison.table
        parts += [f"## {title}\n", markdown_table(heads, task_cells(lines))]
    return "\n".join(part for part in parts if part)


def markdown_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Write a pipe table, the first column flush left, others right."""
    heads = [head.replace("|", r"\|") for head in heads]
    body = [[re.sub(r"([\\|<>*_`\[\]])", r"\\\1", " ".join(cell.split())) for cell in line] for line in cells]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, rule, *body])


def to_latex(comparison: Comparison) -> str:
    """Write the tables for LaTeX."""
    table = latex_table(*grid(comparison), caption=f"Comparison by {comparison.metric}.")
    parts = ["% needs \\usepackage{booktabs}\n", table]
    if comparison.table:
        title, heads, lines = comparison.table
        parts.append(latex_table(heads, task_cells(lines), caption=f"{title}."))
    return "\n".join(parts)


def latex_table(heads: Sequence[str], cells: Sequence[Sequence[str]], *, caption: str) -> str:
    """Write a table for the package booktabs."""
    head, *body = [" & ".join(map(latex, line)) + r" \\" for line in [heads, *cells]]
    inner = "\n".join(["\\toprule", head, "\\midrule", *body, "\\bottomrule"])
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{latex(caption)}}}\n\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n"
        f"{inner}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def latex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))
