"""Build a page out of blocks that escape everything they are given."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fovea.page.formats import is_number, metric
from fovea.page.plots import DPI


class Block(Protocol):
    """Anything that renders itself as HTML."""

    def html(self) -> str:
        """Render the block."""


@dataclass(frozen=True)
class Section:
    """One titled part of a report."""

    title: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Render the heading and the blocks."""
        body = "\n".join(block.html() for block in self.blocks)
        return f"<section>\n<h2>{escape(self.title)}</h2>\n{body}\n</section>"


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is `""`, `"note"` or `"error"`."""

    text: str
    kind: str = ""

    def html(self) -> str:
        """Render one paragraph."""
        return f'<p class="{escape(self.kind)}">{escape(self.text)}</p>'


@dataclass(frozen=True)
class Code:
    """Preformatted text; with `copy`, one click selects all of it."""

    text: str
    label: str = ""
    copy: bool = False

    def html(self) -> str:
        """Render the label above the text."""
        label = f'<p class="label">{escape(self.label)}</p>' if self.label else ""
        return f"{label}<pre{' class=copy' if self.copy else ''}><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them; print shows them."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Render a closed `details`."""
        body = "\n".join(block.html() for block in self.blocks)
        return f"<details>\n<summary>{escape(self.summary)}</summary>\n{body}\n</details>"


@dataclass(frozen=True)
class Facts:
    """Name and value pairs; `large` sets them as headline numbers."""

    pairs: Sequence[tuple[str, str, str]]  # (name, value, remark)
    large: bool = False

    def html(self) -> str:
        """Render a description list."""
        items = "\n".join(
            f"<div><dt>{escape(name)}</dt><dd{' class=long' if len(value) > 16 else ''}>{escape(value)}"
            + (f" <small>{escape(remark)}</small>" if remark else "")
            + "</dd></div>"
            for name, value, remark in self.pairs
        )
        return f'<dl class="{"headline" if self.large else "facts"}">\n{items}\n</dl>'


@dataclass(frozen=True)
class Table:
    """Rows under headers; `align` holds `l` or `r` per column, else columns of numbers go flush right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    align: str = ""

    def html(self) -> str:
        """Render the table; numbers go through `formats.metric` unless they are whole."""
        columns = range(len(self.headers))
        align = self.align or ["r" if _numeric_column(self.rows, column) else "l" for column in columns]
        lines = [_row("th", self.headers, align), *(_row("td", row, align) for row in self.rows)]
        head, body = lines[0], "\n".join(lines[1:])
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        table = f"<table>{caption}<thead>{head}</thead><tbody>\n{body}\n</tbody></table>"
        return f'<div class="scroll">{table}</div>'


@dataclass(frozen=True)
class Picture:
    """A PNG figure with its caption, carried inside the page."""

    path: Path
    alt: str
    caption: str = ""

    def html(self) -> str:
        """Render a figure at the size it was drawn for."""
        data = self.path.read_bytes()
        width = int.from_bytes(data[16:20], "big") * 96 // DPI  # the PNG header, in CSS pixels
        return _figure(_image(data, "image/png", self.alt, width), self.caption)


class Animation(Picture):
    """A GIF with its caption, carried inside the page; on paper it stands still."""

    def html(self) -> str:
        """Render a figure of the GIF's own size, which its header says."""
        data = self.path.read_bytes()
        return _figure(_image(data, "image/gif", self.alt, int.from_bytes(data[6:8], "little")), self.caption)


@dataclass(frozen=True)
class Gallery:
    """Small images side by side, each with a few words below: `(bytes, media type, lines, id)`."""

    items: Sequence[tuple[bytes, str, Sequence[str], str]]
    caption: str = ""

    def html(self) -> str:
        """Render the grid."""
        cells = "\n".join(
            f'<figure title="{escape(name)}">{_image(data, kind, ", ".join(lines))}'
            f"<figcaption>{'<br>'.join(escape(line) for line in lines)}</figcaption></figure>"
            for data, kind, lines, name in self.items
        )
        caption = f'<p class="label">{escape(self.caption)}</p>' if self.caption else ""
        return f'{caption}<div class="gallery">\n{cells}\n</div>'


@dataclass(frozen=True)
class Bars:
    """A small bar chart of one number per epoch."""

    values: Sequence[float]
    label: str
    height: int = field(default=48)

    def html(self) -> str:
        """Render inline SVG whose bars share the width."""
        top = max(self.values, default=0.0) or 1.0
        step = 100 / max(len(self.values), 24)
        bars = "".join(
            f'<rect x="{i * step:.3f}" y="{self.height * (1 - value / top):.2f}" width="{step * 0.8:.3f}"'
            f' height="{self.height * value / top:.2f}"/>'
            for i, value in enumerate(self.values)
        )
        size = f'viewBox="0 0 100 {self.height}" preserveAspectRatio="none"'
        return f'<svg class="bars" role="img" aria-label="{escape(self.label)}" {size}>{bars}</svg>'


def _figure(image: str, caption: str) -> str:
    return f"<figure>{image}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def _image(data: bytes, kind: str, alt: str, width: int | None = None) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    size = f' width="{width}"' if width else ""
    return f'<img alt="{escape(alt)}"{size} src="data:{kind};base64,{encoded}">'


def _row(tag: str, values: Sequence[Any], align: Sequence[str]) -> str:
    return "<tr>" + "".join(map(_cell, [tag] * len(values), values, align)) + "</tr>"


def _cell(tag: str, value: Any, align: str) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else metric(value)
    return f"<{tag}{' class=num' if align == 'r' else ''}>{escape(text)}</{tag}>"


def _numeric_column(rows: Sequence[Sequence[Any]], column: int) -> bool:
    values = [row[column] for row in rows if row[column] is not None]
    return bool(values) and all(is_number(value) for value in values)


def encode(image: np.ndarray) -> tuple[bytes, str]:
    """Return the image's bytes and media type: PNG, or JPEG where PNG would weigh on the page."""
    from PIL import Image

    for kind, options in (("png", {"compress_level": 4}), ("jpeg", {"quality": 90})):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, **options)
        if buffer.tell() < 16_384:
            break
    return buffer.getvalue(), f"image/{kind}"
