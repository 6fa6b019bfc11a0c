"""Report the findings of a check: a table, JSON and a page with example pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fovea.inspect.findings import KINDS, Finding, by_kind, count, subjects
from fovea.inspect.statistics import Stats
from fovea.inspect.stats import sections as statistics
from fovea.page.annotations import Drawing, draw
from fovea.page.blocks import Block, Facts, Fold, Gallery, Section, Table, Text, encode
from fovea.page.document import document
from fovea.page.formats import counted, integer, middle
from fovea.page.image_grid import beside
from fovea.page.text_table import text_table

LISTED = 20  # findings of a kind, in the terminal
ON_PAGE = 100
EXAMPLES = 8  # pictures of a kind
Show = Callable[[str, int], Mapping[str, Any]]  # (split, index) → what can be drawn of that sample


def verdict(findings: Sequence[Finding]) -> str:
    """Sum a check up in one line."""
    found = count(findings)
    if not findings:
        return "no problem found"
    parts = [counted(n, severity) for severity, n in found.items() if n]
    return ", ".join(parts) + ("" if found["error"] else "; training is possible")


def check_table(findings: Sequence[Finding]) -> str:
    """List the first of each kind, then count all kinds."""
    lines = []
    for kind, found in by_kind(findings).items():
        lines.append(f"{found[0].severity}: {kind}")
        for finding in found[:LISTED]:
            name = middle(finding.file, width=56)
            where = f"{finding.split}: {name}" if name else finding.split
            lines.append(f"  {where}: {finding.message}")
        more = len(found) - LISTED
        lines += [f"  … and {more:,} more, all in check.json"] if more > 0 else []
    rows, headers = counts(findings)
    table = text_table(rows, headers, align="ll" + "r" * (len(headers) - 2)) if rows else ""
    return "\n".join([*lines, "", table]) if rows else ""


def counts(findings: Sequence[Finding]) -> tuple[list[list[Any]], list[str]]:
    """Return rows and headers: the number of images with findings of each kind in each split."""
    splits = list(dict.fromkeys(finding.split for finding in findings))
    splits.sort(key=lambda s: (["train", "val", "test", s].index(s), s))
    rows: list[list[Any]] = []
    for kind, found in by_kind(findings).items():
        where = Counter(finding.split for finding in subjects(found))
        rows.append([found[0].severity, kind, *(where[split] or "" for split in splits)])
    return rows, ["severity", "kind", *splits]


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings as plain values."""
    return [
        {
            "kind": f.kind, "severity": f.severity, "split": f.split, "file": f.file, "message": f.message,
            "index": f.index, "partner": None if f.partner is None else list(f.partner),
        }
        for f in findings
    ]  # fmt: skip


def check_page(
    name: str,
    findings: Sequence[Finding],
    stats: Mapping[str, Stats],
    *,
    show: Show,
    drawing: Drawing,
    sizes: Mapping[str, int],
    command: str,
) -> str:
    """Return the page of `action=check`."""
    found = count(findings)
    kind = "bad" if found["error"] else "mixed" if found["warning"] else "good"
    badge = "errors" if found["error"] else "warnings" if found["warning"] else "clean"
    head = [(split.capitalize(), integer(size), "images") for split, size in sizes.items()]
    head += [(f"{severity.capitalize()}s", integer(n), "") for severity, n in found.items()]
    body: list[Block] = [Facts(head, large=True), _summary(findings)]
    for name_of, group in by_kind(findings).items():
        body.append(_kind(name_of, group, show, drawing))
    about = f"{counted(sum(sizes.values()), 'image')} checked"
    return document(
        f"{name}: check", badge=(kind, badge), about=about, body=[*body, *statistics(stats)], footer=command
    )


def _summary(findings: Sequence[Finding]) -> Section:
    if not findings:
        return Section("Findings", [Text("No problem was found.")])
    rows, headers = counts(findings)
    table = Table(headers, rows, align="ll" + "r" * (len(headers) - 2))
    text = "Errors break training or its results; warnings deserve a look; notes are for information."
    return Section("Findings", [Text(text, "note"), table])


def _kind(kind: str, findings: Sequence[Finding], show: Show, drawing: Drawing) -> Section:
    severity, meaning = KINDS[kind]
    blocks: list[Block] = [Text(meaning)]
    pictures = _pictures(findings, show, drawing)
    blocks += [Gallery(pictures, least="18rem" if findings[0].partner else "9rem")] if pictures else []
    rows = [[f.split, middle(f.file, width=70), f.message] for f in findings[:ON_PAGE]]
    table = Table(["split", "file", "message"], rows, align="lll")
    blocks += [table] if len(rows) <= EXAMPLES and not pictures else [Fold(_first(findings), [table])]
    return Section(f"{kind[:1].upper()}{kind[1:]}: {counted(len(subjects(findings)), severity)}", blocks)


def _first(findings: Sequence[Finding]) -> str:
    return (
        f"The first {ON_PAGE} of {len(findings):,}" if len(findings) > ON_PAGE else f"All {len(findings):,}"
    )


def _pictures(
    findings: Sequence[Finding], show: Show, drawing: Drawing
) -> list[tuple[bytes, str, Sequence[str], str]]:
    """Draw the first examples; an image that looks like another is shown side by side with it."""
    items: list[tuple[bytes, str, Sequence[str], str]] = []
    seen: set[tuple[str, int]] = set()
    for finding in findings:
        if len(items) == EXAMPLES:
            break
        if finding.index is None or (finding.split, finding.index) in seen:
            continue
        seen.add((finding.split, finding.index))
        places = [(finding.split, finding.index)] + ([finding.partner] if finding.partner else [])
        samples = [show(*place) for place in places]
        tiles = [draw(sample, drawing) for sample in samples if sample]
        if tiles:
            name = middle(finding.file.rsplit("/", 1)[-1], width=40)
            lines = [f"{finding.split}: {name}" if name else finding.split, middle(finding.message, width=90)]
            items.append((*encode(beside(tiles, gap=6)), lines, finding.file))
    return items
