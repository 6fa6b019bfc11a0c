"""Render a self-contained page: one file that needs no other file, no network and no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fovea.files import printable
from fovea.page.blocks import Block, templates


def document(
    title: str, *, badge: tuple[str, str], about: str, body: Sequence[Block], footer: str, layout: str = ""
) -> str:
    """Return a whole page.

    Args:
        title: its heading.
        badge: (kind, text), its kind good, mixed or bad.
        about: a line beside the badge.
        body: what stands below.
        footer: the last line, mostly the command that made the page.
        layout: "" for a column of text, "wide" for tables, "full" for what takes the whole window.
    """
    page = templates().get_template("document.html").render(
        title=title, badge=badge, about=about, body=body, footer=footer, layout=layout,
        style=Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
    )  # fmt: skip
    return printable(page)  # names of files need not be text
