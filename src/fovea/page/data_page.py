"""Lay out the pages about a data set: one file each, without scripts, that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from fovea.page.blocks import Block
from fovea.page.style import CSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Even a mistake in a block cannot load or run anything: only inline styles and embedded images are allowed.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BADGES = {"good": "finished", "bad": "failed", "mixed": "interrupted"}  # classes of the style sheet


def document(title: str, *, badge: tuple[str, str], about: str, body: Sequence[Block], command: str) -> str:
    """Return a whole page; the badge is (kind, text), its kind one of BADGES."""
    kind, text = badge
    content = "\n".join(block.html() for block in body)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="meta"><span class="badge {BADGES[kind]}">{escape(text)}</span>{escape(about)}</p>
</header>
{content}
<footer>{escape(command)}</footer>
</body></html>
"""
    return page.encode("utf-8", "backslashreplace").decode()  # names of files need not be text


@dataclass(frozen=True)
class Pictures:
    """Images in rows, each with lines below: `(bytes, media type, lines, title)`."""

    items: Sequence[tuple[bytes, str, Sequence[str], str]]
    columns: int = 0  # 0: as many as fit
    least: str = "11rem"  # how narrow a column may get
    caption: str = ""

    def html(self) -> str:
        """Render a grid whose pictures keep their shape."""
        across = self.columns or "auto-fill"
        least = "0" if self.columns else self.least
        style = f"grid-template-columns:repeat({across},minmax({least},1fr));align-items:start"
        cells = "\n".join(_figure(*item) for item in self.items)
        caption = f'<p class="label">{escape(self.caption)}</p>' if self.caption else ""
        return f'{caption}<div class="gallery" style="{style}">\n{cells}\n</div>'


def _figure(data: bytes, kind: str, lines: Sequence[str], title: str) -> str:
    text = "<br>".join(escape(line) for line in lines)
    alt = escape(", ".join(lines) or title)
    source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    image = f'<img style="aspect-ratio:auto" alt="{alt}" src="{source}">'
    return f'<figure title="{escape(title)}">{image}<figcaption>{text}</figcaption></figure>'


@dataclass(frozen=True)
class Plot:
    """A drawn figure, carried inside the page."""

    figure: Figure
    alt: str
    caption: str = ""

    def html(self) -> str:
        """Render the figure at the size it was drawn for."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
        width = round(self.figure.get_size_inches()[0] * 96)
        source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure><img alt="{escape(self.alt)}" width="{width}" src="{source}">{caption}</figure>'


@dataclass(frozen=True)
class Heading:
    """A small heading inside a section."""

    text: str

    def html(self) -> str:
        """Render the heading."""
        return f"<h3>{escape(self.text)}</h3>"
