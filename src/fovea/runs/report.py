"""Write the report of a run: one file that needs no other file, no network and no script."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from html import escape
from pathlib import Path

from fovea.explain.view import sheet as explain_sheet
from fovea.page.blocks import Section, Text
from fovea.page.formats import date
from fovea.page.style import CSS
from fovea.runs import commands, curves
from fovea.runs import sections as parts
from fovea.runs.read import STATUSES, Run, read_run

log = logging.getLogger(__name__)

# Even a mistake in a block cannot load or run anything: only inline styles and embedded images are allowed.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(run_dir: Path, sections: Callable[[Path], list[Section]] | None = None) -> Path:
    """Write `report.html` from whatever the run directory holds; `sections` adds the task's own part.

    Raises:
        ValueError: `run_dir` is not a directory.
    """
    run = read_run(run_dir)
    body = [
        *parts.trouble(run),
        *_guarded("Learning curves", lambda: curves.sections(run)),
        *parts.results(run),
        *(_guarded("Task", lambda: sections(run.dir)) if sections else []),
        *_guarded("Explanations", lambda: explain_sheet.sections(run.dir)),
        *parts.data(run),
        *parts.timing(run),
        *commands.sections(run),
        *parts.setup(run),
    ]
    path = run.dir / "report.html"
    draft = path.with_name(".report.html.part")
    draft.write_text(render(run, body), encoding="utf-8", errors="backslashreplace")
    os.replace(draft, path)
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


def _guarded(title: str, build: Callable[[], list[Section]]) -> list[Section]:
    """Keep the rest of the page when one part of it fails, and say on the page that it did."""
    try:
        return build()
    except Exception as error:
        log.warning("the report goes without its part %r: %s", title, error, exc_info=True)
        said = f"This part could not be made: {type(error).__name__}: {error}"
        return [Section(title, [Text(said, "error")])]
