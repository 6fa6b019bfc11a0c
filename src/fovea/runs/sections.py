"""Build the sections that every report has, whatever the task."""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections.abc import Mapping
from typing import Any

from fovea.page.blocks import Bars, Block, Code, Facts, Fold, Picture, Section, Table, Text
from fovea.page.formats import (
    MISSING,
    counted,
    duration,
    integer,
    is_number,
    megabytes,
    metric,
    parameters,
    rate,
)
from fovea.runs.measured import images
from fovea.runs.read import UNFINISHED, Run, log_tail

SOURCES = {
    "embedded": "embedded: real images from an installed package",
    "real": "real: the data set's own files",
    "generated": "generated: drawn by a program; results do not carry over to photographs",
}


def headline(run: Run) -> list[Block]:
    """Return the numbers to read first; what is not known is left out."""
    best, timing, metrics = run.best, run.section("timing"), run.section("metrics")
    pairs = []
    if best.get("value") is not None:
        epoch = f"in epoch {best['epoch']}" if best.get("epoch") is not None else ""
        on = images(run.summary, str(best.get("monitor")).partition("/")[0])
        pairs.append((f"Best {best.get('monitor')}", metric(best.get("value")), _joined(epoch, on)))
    ranked = f"test/{str(best.get('monitor')).partition('/')[2]}"  # what the run is about comes first
    names = [ranked, *(name for name in metrics if name.startswith("test/") and name != ranked)]
    # the terms of the loss stand in the table of results
    shown = [name for name in names if name in metrics and not name.startswith("test/loss_")]
    pairs += [(name, metric(metrics[name]), images(run.summary, "test")) for name in shown[:4]]
    total, _, trained = parameters(run.section("model")).partition(", ")
    name = str(run.section("model").get("name") or "")
    pairs.append(("Parameters", total, ", ".join(filter(None, [name, trained]))))
    pairs.append(("Training time", duration(timing.get("fit_s")), counted(len(run.epochs), "epoch")))
    pairs.append(("Throughput", rate(timing.get("train_images_per_s")), "in training"))
    pairs.append(("Device", str(run.section("environment").get("device") or MISSING), ""))
    known = [pair for pair in pairs if pair[1] != MISSING]
    return [Facts(known, large=True)] if known else []


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def trouble(run: Run) -> list[Section]:
    """Return the error and the end of the log; nothing for a run that finished."""
    if run.status == "finished":
        return []
    error = str(run.summary.get("error") or "").strip()
    blocks: list[Block] = [Text(message(error), "error")] if error else []
    if "\n" in error:
        blocks.append(Fold("The full traceback", [Code(error)]))
    if run.status == UNFINISHED:
        cause = "The run directory holds no final summary: the process was killed or is still running."
        blocks.append(Text(f"{cause} This page shows what had been written by then."))
    elif run.status == "interrupted":
        blocks.append(Text("The run was interrupted; everything below describes it up to that moment."))
    if tail := log_tail(run.dir):
        blocks.append(Fold("The last lines of train.log", [Code(tail)]))
    return [Section("What went wrong" if run.status == "failed" else "Why this report is incomplete", blocks)]


def message(error: str) -> str:
    """Return the part of a traceback that names the error, with all lines of its message."""
    last = error.rsplit("Traceback (most recent call last):", 1)
    if len(last) == 1:
        return error
    start = re.search(r"^(?!\s|\+)\S.*", last[1].lstrip("\n"), flags=re.MULTILINE)
    return last[1].lstrip("\n")[start.start() :].strip() if start else error


def results(run: Run) -> list[Section]:
    """Tabulate the final metrics, one row per metric and one column per stage."""
    values = run.section("metrics")
    if not values:
        return []
    split = [
        (*name.split("/", 1), value) if "/" in name else ("", name, value) for name, value in values.items()
    ]
    stages = [stage for stage in ("train", "val", "test") if any(s == stage for s, _, _ in split)]
    stages += sorted({stage for stage, _, _ in split} - set(stages))
    cells = {(stage, base): value for stage, base, value in split}
    rows = [
        (base, *(metric(cells.get((stage, base))) for stage in stages))
        for base in dict.fromkeys(base for _, base, _ in split)
    ]
    headers = (
        "Metric",
        *(_joined(stage.capitalize() or "Value", images(run.summary, stage)) for stage in stages),
    )
    return [Section("Results", [Table(headers, rows, align="l" + "r" * len(stages))])]


def timing(run: Run) -> list[Section]:
    """Return time and memory, and the seconds of each epoch."""
    known = run.section("timing")
    recorded = known.get("epoch_s") or run.metrics.get("epoch_s") or []
    seconds = [value for value in recorded if is_number(value) and math.isfinite(value)]
    pairs = [
        ("Startup", duration(known.get("startup_s")), "before the first training step"),
        ("Training", duration(known.get("fit_s")), counted(len(run.epochs), "epoch")),
        ("Throughput", rate(known.get("train_images_per_s")), ""),
        ("Peak memory", megabytes(run.summary.get("peak_memory_mb")), ""),
    ]
    if seconds:
        pairs.append(("Epoch, median", duration(statistics.median(seconds)), _spread(seconds)))
    blocks: list[Block] = [Facts([pair for pair in pairs if pair[1] != MISSING])]
    if len(seconds) > 1:
        label = "Seconds per epoch, from the first to the last"
        blocks += [
            Bars(seconds, label),
            Text(f"{label}; the tallest bar is {duration(max(seconds))}.", "note"),
        ]
    return [Section("Time and memory", blocks)] if any(pair[1] != MISSING for pair in pairs) else []


def data(run: Run) -> list[Section]:
    """Describe the data: name, source, number of images, classes."""
    known = run.section("data")
    if not known:
        return []
    source = str(known.get("source") or MISSING)
    sizes = [
        (stage, integer(known.get(f"num_{key}")))
        for stage, key in (("Training", "train"), ("Validation", "val"), ("Test", "test"))
    ]
    pairs = [("Data set", str(known.get("name") or MISSING), ""), ("Source", SOURCES.get(source, source), "")]
    pairs += [(f"{stage} images", size, "") for stage, size in sizes if size != MISSING]
    count = known.get("num_classes")
    pairs += [("Classes", integer(count), "")] if count else []
    blocks: list[Block] = [Facts(pairs)]
    names = ", ".join(run.classes)
    if names:
        blocks.append(Text(names, "note") if len(names) <= 200 else Fold("Class names", [Text(names)]))
    if (picture := run.dir / "figures" / "first_batch.png").is_file():
        caption = "Images of the first training batch, augmented, with their annotations."
        blocks.append(Fold("The first training batch", [Picture(picture, "First training batch", caption)]))
    return [Section("Data", blocks)]


def layers(run: Run) -> list[Section]:
    """Show the layers with their output shapes and parameters, where a run listed them."""
    file = run.dir / "layers.csv"
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        (*heads,), *rows = list(csv.reader(lines)) or [[]]
    rows = [[*row[:3], integer(int(row[3]))] for row in rows]
    total = integer(sum(int(row[3].replace(",", "")) for row in rows))
    table = Table([head.capitalize() for head in heads], rows, align="lllr")
    title = f"{counted(len(rows), 'layer')}, {total} parameters"
    text = Text(
        "The output is that for one image; a layer that is called again has its parameters once.", "note"
    )
    return [Section("Layers", [Fold(title, [table]), text])]


def setup(run: Run) -> list[Section]:
    """Show the software, and the whole config as it was resolved."""
    environment = [(str(key), _inline(value), "") for key, value in run.section("environment").items()]
    extra = (("seed", run.summary.get("seed")), ("git commit", run.summary.get("git_commit")))
    pairs = environment + [(key, str(value), "") for key, value in extra if value is not None]
    blocks: list[Block] = [Facts(pairs)] if pairs else []
    if run.config_text:
        blocks.append(Fold("The full configuration (config.yaml)", [Code(run.config_text.strip())]))
    return [Section("Environment and configuration", blocks)] if blocks else []


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return MISSING if value is None else str(value)


def _spread(seconds: list[float]) -> str:
    return f"from {duration(min(seconds))} to {duration(max(seconds))}" if len(seconds) > 1 else ""
