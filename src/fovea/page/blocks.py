"""The blocks that a page is built of; the templates that render them escape everything they are given."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.formats import cell, numeric
from fovea.page.plots import DPI, png

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


class Block:
    """A part of a page, rendered by the macro of its name in `templates/blocks.html`."""

    def html(self) -> str:
        """Render the block."""
        macros = templates().get_template("blocks.html").module
        return str(getattr(macros, type(self).__name__.lower())(self)).strip()


@dataclass(frozen=True)
class Section(Block):
    """One titled part of a page."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Heading(Block):
    """A small heading inside a section."""

    text: str


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; `kind` is `""`, `"note"` or `"error"`."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Code(Block):
    """Preformatted text; with `copy`, one click selects all of it."""

    text: str
    label: str = ""
    copy: bool = False


@dataclass(frozen=True)
class Fold(Block):
    """Blocks folded behind a line that opens them; print shows them."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Beside(Block):
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]


@dataclass(frozen=True)
class Facts(Block):
    """Name and value pairs; `large` sets them as headline numbers."""

    pairs: Sequence[tuple[str, str, str]]  # (name, value, remark)
    large: bool = False


@dataclass(frozen=True)
class Table(Block):
    """Rows under headers; `align` holds `l` or `r` per column, else columns of numbers go flush right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    align: str = ""

    @property
    def aligned(self) -> str:
        """Return the alignment of every column."""
        columns = range(len(self.headers))
        return self.align or "".join("lr"[numeric([row[i] for row in self.rows])] for i in columns)


@dataclass(frozen=True)
class Picture(Block):
    """A PNG or GIF, or a figure that is in no file, carried inside the page at the size it was drawn for."""

    source: Path | Figure
    alt: str
    caption: str = ""

    def image(self) -> tuple[str, int]:
        """Return the data URI and the width in CSS pixels, which the header of the file says."""
        data = self.source.read_bytes() if isinstance(self.source, Path) else png(self.source)
        if data.startswith(b"GIF8"):
            return data_uri(data, "image/gif"), int.from_bytes(data[6:8], "little")
        return data_uri(data, "image/png"), int.from_bytes(data[16:20], "big") * 96 // DPI


@dataclass(frozen=True)
class Gallery(Block):
    """Small images in rows, each with its lines and its name below: `(bytes, media type, lines, name)`.

    `columns` fixes how many stand side by side; else as many as fit, each at least `least` wide.
    """

    items: Sequence[tuple[bytes, str, Sequence[str], str]]
    caption: str = ""
    columns: int = 0
    least: str = "6.75rem"


@dataclass(frozen=True)
class Bars(Block):
    """A small bar chart of one number per epoch."""

    values: Sequence[float]
    label: str

    def bars(self) -> list[tuple[float, float, float]]:
        """Return left, width and height of each bar in percent of the chart."""
        top, step = max(self.values, default=0.0) or 1.0, 100 / max(len(self.values), 24)
        return [(i * step, 0.8 * step, 100 * value / top) for i, value in enumerate(self.values)]


def encode(image: np.ndarray) -> tuple[bytes, str]:
    """Return the image's bytes and media type: PNG, or JPEG where PNG would weigh on the page."""
    from PIL import Image

    for kind, options in (("png", {"compress_level": 4}), ("jpeg", {"quality": 90})):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, **options)
        if buffer.tell() < 16_384:
            break
    return buffer.getvalue(), f"image/{kind}"


def data_uri(data: bytes, kind: str) -> str:
    """Return the address that carries an image inside a page."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


@cache
def templates() -> Environment:
    """Return the templates; Jinja is not imported before the first page is written."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"cell": cell, "data_uri": data_uri}
    return found
