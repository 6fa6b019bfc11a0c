"""Lay overlays out as a table of a page: models below each other, methods side by side, image after image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from fovea.explain.view.attribution import Attribution, ImageAttributions, MapColumn, true_class
from fovea.page.blocks import data_uri, encode
from fovea.page.heatmap import colour_bar, meaning, outlined, overlay
from fovea.page.label import MARKS, SIDE, thumbnail

FITTING = 6  # columns that an upright sheet of paper and a narrow window take
ROOMY = 3  # columns whose pictures may be larger


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


def layout(columns: Sequence[MapColumn]) -> str:
    """Return the layout of a page with so many columns."""
    return "full" if len(columns) > FITTING else "wide roomy" if len(columns) <= ROOMY else "wide"


def bars(signs: Iterable[bool]) -> str:
    """Render the colour bars and what their ends mean."""
    return "\n".join(
        f'<p class="bar note">{"−1" if signed else "0"} '
        f'<img alt="colour bar" src="{data_uri(*encode(colour_bar(signed=signed, width=160, height=14)))}"> 1'
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
    drawn = outlined(drawn, None if one.selected is None else one.selected.box)
    rest = f"{'<br>' * bool(words)}<small>{escape(note)}</small>" if note else ""
    return f"<td>{_picture(drawn, f'{one.method} of {record.model}')}{words}{rest}</td>"


def _picture(pixels: np.ndarray, alt: str) -> str:
    """Embed a thumbnail; a small picture keeps its pixels, and the page enlarges them."""
    tiny = max(pixels.shape[:2]) <= SIDE // 2
    source = data_uri(*encode(pixels if tiny else thumbnail(pixels, side=2 * SIDE)))
    return f'<img alt="{escape(alt)}"{" class=pixels" if tiny else ""} src="{source}">'
