"""Lay overlays out as a table of a page: models below each other, methods side by side, image after image."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

import numpy as np

from fovea.explain.view.attribution import Explained, Seen
from fovea.explain.view.columns import Column, placed, said
from fovea.page.heatmap import colour_bar, meaning, overlay
from fovea.page.label import MARKS, SIDE, thumbnail

FITTING = 6  # columns that an upright sheet of paper and a narrow window take
ROOMY = 3  # columns whose pictures may be larger


@dataclass
class Part:
    """Hold the HTML of one image: its heading, and per model the first two cells and those of the maps."""

    heading: str
    rows: list[tuple[str, dict[Column, str]]] = field(default_factory=list)


def part(shown: Sequence[Explained], *, figure: str) -> Part:
    """Render the pictures of one image; `figure` is the path of its figure from the page."""
    truth = next((record.truth for record in shown if record.truth is not None), None)
    small = "" if truth is None else f"<small>true class: {escape(truth)}</small>"
    found = Part(f"<span>{link(figure, shown[0].id)}{small}</span>")
    for record in shown:
        cells = {column: _cell(record, seen) for column, seen in placed(record).items()}
        found.rows.append((_who(record) + f"<td>{_picture(record.picture, 'input')}</td>", cells))
    return found


def lines(parts: Iterable[Part], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of the table."""
    heads = "".join(_head(column) for column in columns)
    yield f'<table class="maps"><thead><tr><th class="who">model</th><th>input</th>{heads}</tr></thead>'
    for number, one in enumerate(parts, start=1):
        heading = f'<th colspan="{len(columns) + 2}">{one.heading}</th>'
        yield f'<tbody id="image{number}"><tr class="image">{heading}</tr>'
        for first, cells in one.rows:
            yield f"<tr>{first}{''.join(cells.get(column, '<td></td>') for column in columns)}</tr>"
        yield "</tbody>"
    yield "</table>"


def layout(columns: Sequence[Column]) -> str:
    """Return the layout of a page with so many columns."""
    return "full" if len(columns) > FITTING else "wide roomy" if len(columns) <= ROOMY else "wide"


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


def _head(column: Column) -> str:
    first, *rest = column.lines
    return f"<th>{escape(first)}{''.join(f'<small>{escape(line)}</small>' for line in rest)}</th>"


def _who(record: Explained) -> str:
    kind = {True: "good", False: "bad", None: ""}[record.correct]
    text = MARKS[record.correct][1] + said(record.predicted)
    return f'<th class="who"><b>{escape(record.model)}</b><span class="{kind}">{escape(text)}</span></th>'


def _cell(record: Explained, seen: Seen) -> str:
    words = escape(said(seen.asked)) if seen.asked else ""
    if seen.map is None:
        return f'<td><span class="why">{escape(seen.problem or "no map")}</span>{words}</td>'
    drawn, note = overlay(record.picture, seen.map, signed=seen.signed)
    rest = f"{'<br>' * bool(words)}<small>{escape(note)}</small>" if note else ""
    return f"<td>{_picture(drawn, f'{seen.method} of {record.model}')}{words}{rest}</td>"


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
