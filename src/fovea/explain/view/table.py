"""Lay overlays out as a table of a page: models below each other, methods side by side, image after image."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from fovea.explain.view.attribution import Attribution, ImageAttributions, MapColumn, true_class
from fovea.page.heatmap import colour_bar, meaning, overlay
from fovea.page.label import MARKS, SIDE, thumbnail

FITTING = 6  # columns that an upright sheet of paper and a narrow window take
CSS = """
body { max-width: 74rem; }
nav { margin-top: 1.5rem; } nav a { margin-right: 1.2rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
.maps { border-collapse: separate; border-spacing: 0; border: 0; font-size: .8rem; line-height: 1.35; }
.maps th, .maps td { padding: .3rem .8rem .5rem 0; border: 0; white-space: normal; }
.maps { --tile: 9rem; margin-left: -.8rem; }
.maps td { min-width: calc(var(--tile) + .8rem); max-width: calc(var(--tile) + .8rem); }
.maps thead th { position: sticky; top: 0; z-index: 2; background: var(--paper); vertical-align: bottom; }
.maps thead th { border-bottom: 1px solid var(--ink); overflow-wrap: anywhere; }
.maps .who, .maps .image th { padding-left: .8rem; }
.maps small { font-size: inherit; }
.maps thead small { display: block; font-weight: 400; }
.maps .who { position: sticky; left: 0; z-index: 1; background: var(--paper); min-width: 10.3rem; }
.maps .who { max-width: 10.3rem; font-weight: 400; }
.maps .who b { display: block; font-weight: 600; }
.maps tbody { scroll-margin-top: 3rem; }
.maps thead .who { z-index: 3; }
.maps .image th { padding-top: 1rem; font-size: .9rem; } .maps tbody + tbody .image th {
  border-top: 1px solid var(--line); }
.maps .image span { position: sticky; left: .8rem; display: inline-block; max-width: min(60rem, 92vw); }
.maps .image small { font-weight: 400; margin-left: .6em; }
.maps img { width: var(--tile); height: auto; display: block; margin-bottom: .3rem; border-radius: 2px; }
.maps .pixels { image-rendering: pixelated; }
.maps .why { display: block; width: var(--tile); min-height: var(--tile); padding: .5rem; }
.maps .why { border: 1px solid var(--line); color: var(--soft); font-size: .75rem; background: var(--wash); }
.good { color: var(--good); } .bad { color: var(--bad); }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .1rem .5rem; margin: .35rem 0; }
.bar img { border-radius: 2px; }
.links { columns: 18rem; font-size: .875rem; padding-left: 1.2rem; }
.beside { display: grid; gap: 0 2rem; }
.beside { grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.beside > div { min-width: 0; }
@media print {
  .maps thead th, .maps .who, .maps .image span { position: static; }
  .maps { table-layout: fixed; width: 100%; font-size: 7pt; }
  .maps td, .maps .who { min-width: 0; max-width: none; padding-right: .3rem; }
  .maps img, .maps .why { width: 100%; max-width: 6cm; min-height: 0; }
  .maps .why { font-size: 5pt; padding: .2rem; }
  .maps tr { break-inside: avoid; } .maps .image { break-after: avoid; } h3 { break-after: avoid; }
}
"""
NARROW = ".maps { --tile: 14rem; }"  # of up to ROOMY columns the pictures may be larger
ROOMY = 3
WIDE = "body { max-width: none; } @media print { @page { size: landscape; margin: 10mm; } }"


def table_head(columns: Sequence[MapColumn]) -> str:
    """Render the begin of the table: its headings."""
    heads = "".join(_head(column) for column in columns)
    return f'<table class="maps"><thead><tr><th class="who">model</th><th>input</th>{heads}</tr></thead>\n'


def table_body(
    records: Sequence[ImageAttributions], columns: Sequence[MapColumn], *, number: int, figure: str
) -> str:
    """Render one image, a row for each model; `figure` is the path of its figure from the page."""
    truth = true_class(records)
    small = "" if truth is None else f"<small>true class: {escape(truth)}</small>"
    title = f'<th colspan="{len(columns) + 2}"><span>{link(figure, records[0].id)}{small}</span></th>'
    rows = "\n".join(_table_row(record, columns) for record in records)
    return f'<tbody id="image{number}"><tr class="image">{title}</tr>\n{rows}\n</tbody>\n'


def _table_row(record: ImageAttributions, columns: Sequence[MapColumn]) -> str:
    kind = {True: "good", False: "bad", None: ""}[record.correct]
    text = escape(f"{MARKS[record.correct][1]}{record.predicted}")
    who = f'<th class="who"><b>{escape(record.model)}</b><span class="{kind}">{text}</span></th>'
    maps = record.by_column()
    every = dict.fromkeys([*columns, *maps])  # a map without a heading is shown all the same
    cells = [_cell(record, maps[column]) if column in maps else "<td></td>" for column in every]
    return f"<tr>{who}<td>{_picture(record.picture, 'input')}</td>{''.join(cells)}</tr>"


def style(columns: Sequence[MapColumn]) -> str:
    """Return the style sheet of a page with so many columns."""
    return CSS + (WIDE if len(columns) > FITTING else NARROW if len(columns) <= ROOMY else "")


def bars(signs: Iterable[bool]) -> str:
    """Render the colour bars and what their ends mean."""
    return "\n".join(
        f'<p class="bar note">{"−1" if signed else "0"} '
        f'<img alt="colour bar" src="{_source(colour_bar(signed=signed, width=160, height=14), "png")}"> 1'
        f"<span>{escape(meaning(signed=signed))}</span></p>"
        for signed in signs
    )


def link(path: str, text: str) -> str:
    """Render a link to a file beside the page."""
    return f'<a href="{escape(quote(path, errors="surrogatepass"))}">{escape(text)}</a>'


def _head(column: MapColumn) -> str:
    first, *rest = column.lines
    return f"<th>{escape(first)}{''.join(f'<small>{escape(line)}</small>' for line in rest)}</th>"


def _cell(record: ImageAttributions, one: Attribution) -> str:
    words = escape(str(one.selected)) if one.selected else ""
    if one.map is None:
        return f'<td><span class="why">{escape(one.problem or "no map")}</span>{words}</td>'
    drawn, note = overlay(record.picture, one.map, signed=one.signed)
    rest = f"{'<br>' * bool(words)}<small>{escape(note)}</small>" if note else ""
    return f"<td>{_picture(drawn, f'{one.method} of {record.model}')}{words}{rest}</td>"


def _picture(pixels: np.ndarray, alt: str) -> str:
    """Embed a thumbnail; a small picture keeps its pixels, and the page enlarges them."""
    tiny = max(pixels.shape[:2]) <= SIDE // 2
    source = _source(pixels, "png") if tiny else _source(thumbnail(pixels, side=2 * SIDE), "jpeg")
    return f'<img alt="{escape(alt)}"{" class=pixels" if tiny else ""} src="{source}">'


def _source(pixels: np.ndarray, kind: str) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": 82, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
