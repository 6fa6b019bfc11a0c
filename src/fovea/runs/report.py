"""Write the report of a run, whatever the run directory holds, and its summary table."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fovea.files import write_text
from fovea.page.blocks import Block, Fold, Picture, Section, Text
from fovea.page.document import document
from fovea.page.formats import MISSING, counted, date, duration, megabytes, metric, parameters, rate
from fovea.page.text_table import text_table
from fovea.reading import Unreadable
from fovea.runs import commands, curves, examples, found, measured, sections
from fovea.runs.read import STATUSES, UNFINISHED, Run, read_run
from fovea.types import ViewFactory

log = logging.getLogger(__name__)
SHEET = re.compile(r"epoch_(\d+)\.png")  # what the explain callback draws
BADGES = {"finished": "good", "failed": "bad"}  # others: mixed
Sections = Callable[[Path], list[Section]]  # what a task adds to the report of a run directory


def write_report(run_dir: Path, *task_sections: Sections, view: ViewFactory | None = None) -> Path:
    """Write `report.html`; `task_sections` and `view` are its task's.

    Raises:
        ValueError: `run_dir` is not a directory.
    """
    run, own = read_run(run_dir), []
    for make in task_sections:  # of several that lack the same file, one says so
        own += [part for part in _guarded("Test predictions", partial(make, run.dir)) if part not in own]
    body = [
        *sections.headline(run),
        *sections.trouble(run),
        *_guarded("Found before training", lambda: found.sections(run)),
        *_guarded("Learning curves", lambda: curves.sections(run)),
        *sections.results(run),
        *own,
        *(_guarded("Test images", lambda: examples.sections(run, view)) if view else []),
        *_guarded("Explanations", lambda: explanations(run.dir)),
        *_guarded("Layers", lambda: sections.layers(run)),
        *sections.data(run),
        *sections.timing(run),
        *_guarded(
            "Commands", lambda: commands.sections(run, None if view is None else view(classes=run.classes))
        ),
        *sections.setup(run),
    ]
    tone = "mixed" if run.summary.get("debug") else BADGES.get(run.status, "mixed")
    badge = (tone, measured.status(run.summary, run.status))
    footer = commands.relative(run.dir)
    page = document(run.experiment, badge=badge, about=_subtitle(run), body=body, footer=footer)
    path = run.dir / "report.html"
    write_text(path, page)
    return path


def _subtitle(run: Run) -> str:
    names = [run.section("model").get("name"), run.section("data").get("name")]
    described = " on ".join(str(name) for name in names if name)
    own = [run.name if run.name != run.experiment else "", ", ".join(run.tags)]
    return " · ".join(filter(None, [*own, date(run.started), described, str(run.summary.get("task") or "")]))


def explanations(run_dir: Path) -> list[Section]:
    """Show the last explanation sheet of a run, and the first one folded; nothing where there are none."""
    found = sorted((int(m[1]), p) for p in run_dir.glob("explain/*.png") if (m := SHEET.fullmatch(p.name)))
    if not found:
        return []
    (first, early), (last, late) = found[0], found[-1]
    text = f"Epoch {last}. Attribution maps of the same validation images; explain/ holds all epochs."
    blocks: list[Block] = [Picture(late, f"Explanations after epoch {last}", text)]
    if first != last:
        picture = Picture(early, f"Explanations after epoch {first}", f"Epoch {first}.")
        blocks.append(Fold(f"The same images after epoch {first}", [picture]))
    return [Section("Explanations", blocks)]


def _guarded(title: str, build: Callable[[], list[Section]]) -> list[Section]:
    """Build sections; a failure becomes a note on the page and leaves the rest intact."""
    try:
        return build()
    except Unreadable as error:
        log.warning("the report lacks its section %r: %s", title, error, exc_info=True)
        return [Section(title, [Text(str(error), "note")])]
    except Exception as error:
        log.warning("the report lacks its section %r: %s", title, error, exc_info=True)
        text = f"This section could not be made: {type(error).__name__}: {error}"
        return [Section(title, [Text(text, "error")])]


def _on(value: str, summary: Mapping[str, Any], name: str) -> str:
    """Add the number of images that a figure was measured on."""
    images = measured.images(summary, name.partition("/")[0])
    return f"{value} ({images})" if images and value != MISSING else value


def final_table(summary: Mapping[str, Any], run_dir: Path | str) -> str:
    """Sum a run up in a few lines: results first, then cost, then where everything is."""
    best, timing = summary.get("best") or {}, summary.get("timing") or {}
    status = summary.get("status")
    rows = [("name", summary["name"])] if summary.get("name") not in (None, summary.get("experiment")) else []
    rows += [("tags", ", ".join(summary["tags"]))] if summary.get("tags") else []
    rows += [("status", measured.status(summary, status if status in STATUSES else UNFINISHED))]
    rows += [("found", sentence) for sentence in found.sentences(summary)]
    if best.get("monitor"):
        value = _on(metric(best.get("value")), summary, str(best["monitor"]))
        rows.append((f"best {best['monitor']}", f"{value} in epoch {best.get('epoch')}"))
    metrics = (summary.get("metrics") or {}).items()
    epochs = counted(len(timing.get("epoch_s") or []), "epoch")
    rows += [(name, _on(metric(value), summary, name)) for name, value in metrics if name.startswith("test/")]
    rows += [
        ("parameters", parameters(summary.get("model") or {})),
        ("training time", f"{duration(timing.get('fit_s'))} in {epochs}"),
        ("throughput", rate(timing.get("train_images_per_s"))),
        ("peak memory", megabytes(summary.get("peak_memory_mb"))),
    ]
    rows = [row for row in rows if not str(row[1]).startswith(MISSING)]
    return text_table([*rows, ("run directory", str(run_dir))], align="ll")
