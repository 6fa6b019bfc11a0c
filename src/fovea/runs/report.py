"""Write the report of a run: one file that needs no other file, no network and no script."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from fovea.files import write_text
from fovea.page.blocks import Block, Fold, Picture, Section, Text
from fovea.page.data_page import POLICY
from fovea.page.formats import MISSING, date, duration, megabytes, metric, parameters, rate
from fovea.page.style import CSS
from fovea.page.text_table import text_table
from fovea.runs import commands, curves, examples
from fovea.runs import sections as parts
from fovea.runs.read import STATUSES, UNFINISHED, Run, read_run
from fovea.types import ViewFactory

log = logging.getLogger(__name__)
SHEET = re.compile(r"epoch_(\d+)\.png")  # what the explain callback draws


def write_report(
    run_dir: Path, *sections: Callable[[Path], list[Section]], view: ViewFactory | None = None
) -> Path:
    """Write `report.html` from whatever the run directory holds; `sections` and `view` are the task's.

    Raises:
        ValueError: `run_dir` is not a directory.
    """
    run = read_run(run_dir)
    body = [
        *parts.trouble(run),
        *_guarded("Learning curves", lambda: curves.sections(run)),
        *parts.results(run),
        *(found for part in sections for found in _guarded("Task", partial(part, run.dir))),
        *(_guarded("Test images", lambda: examples.sections(run, view)) if view else []),
        *_guarded("Explanations", lambda: explanations(run.dir)),
        *parts.data(run),
        *parts.timing(run),
        *commands.sections(run, None if view is None else view(classes=run.classes)),
        *parts.setup(run),
    ]
    path = run.dir / "report.html"
    write_text(path, render(run, body))
    return path


def render(run: Run, body: list[Section]) -> str:
    """Return the whole page."""
    title, status = escape(run.experiment), run.status
    kind = status if status in STATUSES else "unfinished"
    headline = "\n".join(block.html() for block in parts.headline(run))
    content = "\n".join(section.html() for section in body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>{title}</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="meta"><span class="badge {kind}">{escape(status)}</span>{escape(_subtitle(run))}</p>
</header>
{headline}
{content}
<footer>{escape(str(commands.shown(run.dir)))}</footer>
</body></html>
"""


def _subtitle(run: Run) -> str:
    names = [run.section("model").get("name"), run.section("data").get("name")]
    described = " on ".join(str(name) for name in names if name)
    return " · ".join(filter(None, [date(run.started), described, str(run.summary.get("task") or "")]))


def explanations(run_dir: Path) -> list[Section]:
    """Show the last sheet of a run, and the first one behind a line; nothing where there are none."""
    found = sorted((int(m[1]), p) for p in run_dir.glob("explain/*.png") if (m := SHEET.fullmatch(p.name)))
    if not found:
        return []
    (first, early), (last, late) = found[0], found[-1]
    said = "What the net saw in the same validation images; the sheets of all epochs are in explain/."
    blocks: list[Block] = [Picture(late, f"Explanations after epoch {last}", f"Epoch {last}. {said}")]
    if first != last:
        picture = Picture(early, f"Explanations after epoch {first}", f"Epoch {first}.")
        blocks.append(Fold(f"The same images after epoch {first}", [picture]))
    return [Section("Explanations", blocks)]


def _guarded(title: str, build: Callable[[], list[Section]]) -> list[Section]:
    """Keep the rest of the page when one part of it fails, and say on the page that it did."""
    try:
        return build()
    except Exception as error:
        log.warning("the report goes without its part %r: %s", title, error, exc_info=True)
        said = f"This part could not be made: {type(error).__name__}: {error}"
        return [Section(title, [Text(said, "error")])]


def final_table(summary: Mapping[str, Any], run_dir: Path | str) -> str:
    """Sum a run up in a few lines: results first, then cost, then where everything is."""
    part = {key: summary.get(key) or {} for key in ("metrics", "best", "model", "timing")}
    best, model, timing = part["best"], part["model"], part["timing"]
    rows = [("status", summary.get("status") if summary.get("status") in STATUSES else UNFINISHED)]
    if best.get("monitor"):
        rows.append((f"best {best['monitor']}", f"{metric(best.get('value'))} in epoch {best.get('epoch')}"))
    rows += [(name, metric(value)) for name, value in part["metrics"].items() if name.startswith("test/")]
    rows.append(("parameters", parameters(model)))
    rows.append(("training time", f"{duration(timing.get('fit_s'))} in {_epochs(timing)}"))
    rows.append(("throughput", rate(timing.get("train_images_per_s"))))
    rows.append(("peak memory", megabytes(summary.get("peak_memory_mb"))))
    rows = [row for row in rows if not str(row[1]).startswith(MISSING)]
    return text_table([*rows, ("run directory", str(run_dir))], align="ll")


def _epochs(timing: Mapping[str, Any]) -> str:
    count = len(timing.get("epoch_s") or [])
    return f"{count} epoch{'' if count == 1 else 's'}"
