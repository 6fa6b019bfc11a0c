"""Write the page of an explanation: images, methods, layers, models, and the analyses of each model."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from fovea.explain.view.attribution import ImageAttributions, MapColumn, merge, signs
from fovea.explain.view.figure import draw_figure
from fovea.explain.view.table import bars, layout, link, table_body, table_head
from fovea.files import replacing_text
from fovea.page.blocks import Block, Facts, Text
from fovea.page.document import document
from fovea.page.formats import counted

log = logging.getLogger(__name__)
BODY = "<!-- body -->"  # the blocks of a page escape what they are given, so no text can hold it
MOST_BYTES = 48_000_000  # of pictures: a browser opens a page of that size without trouble


class Marker(Block):
    """A placeholder for the part of the page that is written piece by piece."""

    def html(self) -> str:
        """Render the marker."""
        return BODY


class ExplainPage:
    """Draw the figure of each image, and write `explain.html`; pictures wait on disk, not in memory.

    Args:
        out_dir: where `explain.html` and `figures/` go; it is made.
        models: names, in the order of their rows.
        command: shown at the foot.
        facts: (name, value, remark) to show at the top.
        page_images: how many images get pictures on the page; those after them are named, with a link.
    """

    def __init__(
        self,
        *,
        out_dir: Path,
        models: Sequence[str],
        command: str,
        facts: Sequence[tuple[str, str, str]],
        page_images: int = 200,
    ) -> None:
        self.out_dir, self.models, self.command = Path(out_dir), list(models), command
        self.facts, self.page_images = list(facts), page_images
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self._body = tempfile.TemporaryFile(  # noqa: SIM115 - it is nameless, and gone with the process
            "w+", dir=out_dir, encoding="utf-8", errors="backslashreplace"
        )
        self._bytes = 0  # written of the images
        self._columns: list[MapColumn] = []
        self._signs: set[bool] = set()
        self._shown = 0  # images with pictures
        self._links: list[str] = []  # of the others
        self._titles: list[str] = []  # of the analyses

    def add(self, records: Sequence[ImageAttributions], *, name: str) -> Path:
        """Draw the maps of one image by all models; `name` is the figure's, without ending.

        The first image settles the columns: every image has as many classes.

        Raises:
            ValueError: records of no image or of several, or after the analyses.
        """
        if len({record.id for record in records}) != 1 or self._titles:
            raise ValueError(f"add takes one image, before analyses, got {[r.id for r in records]}")
        figure = f"figures/{name}.png"
        path = draw_figure(self.out_dir / figure, records)
        if self._shown < self.page_images and self._bytes < MOST_BYTES:
            self._shown += 1
            self._columns = self._columns or merge(record.by_column() for record in records)
            self._signs |= set(signs(records))
            html = table_body(records, self._columns, number=self._shown, figure=figure)
            self._bytes += self._body.write(html)
        else:
            self._links.append(link(figure, records[0].id))
        return path

    def analysis(self, title: str, model: str, blocks: Sequence[Block]) -> None:
        """Add an analysis of one model; those of the same title, one after the other, stand side by side."""
        if title not in self._titles:
            self._body.write("".join(self._end()))
            self._titles.append(title)
            heading = f'<section id="part{len(self._titles)}">\n<h2>{escape(title)}</h2>\n'
            self._body.write(f'{heading}<div class="beside">\n')
        self._body.write(f"<div>\n<h3>{escape(model)}</h3>\n")
        self._body.writelines(f"{_rendered(block)}\n" for block in blocks)
        self._body.write("</div>\n")

    def finish(self) -> Path:
        """Write `explain.html`, whole or not at all, and return its path."""
        count = self._shown + len(self._links)
        page = document(
            "Explanation",
            badge=("good", f"{counted(count, 'image')}, {counted(len(self.models), 'model')}"),
            about=", ".join(self.models),
            body=[Facts(self.facts), Marker()],
            footer=self.command,
            layout=layout(self._columns),
        )
        head, tail = page.split(BODY)
        path = self.out_dir / "explain.html"
        self._body.write("".join(self._end()))
        self._body.seek(0)
        with replacing_text(path) as file:
            file.writelines([head, *self._begin()])
            shutil.copyfileobj(self._body, file)
            file.write(tail)
        return path

    def _begin(self) -> Iterator[str]:
        """Render what stands above the images."""
        titles = [*(["Images"] if self._shown else []), *self._titles]
        if len(titles) > 1:
            parts = enumerate(titles, start=0 if self._shown else 1)
            anchors = (f'<a href="#part{i}">{escape(title)}</a>' for i, title in parts)
            yield f"<nav>{''.join(anchors)}</nav>\n"
        if self._shown:
            yield f'<section id="part0">\n<h2>Images</h2>\n{bars(sorted(self._signs))}\n'
            yield table_head(self._columns)

    def _end(self) -> Iterator[str]:
        """Render what ends the section that was written last; images without pictures are named."""
        if self._titles:
            yield "</div>\n</section>\n"
        elif self._shown:
            yield "</table>\n"
            if self._links:
                more = f"{counted(len(self._links), 'more image')}, whose figures lie beside this page"
                yield f'<details>\n<summary>{more}</summary>\n<ul class="links">\n'
                yield from (f"<li>{line}</li>\n" for line in self._links)
                yield "</ul></details>\n"
            yield "</section>\n"


def _rendered(block: Block) -> str:
    """Render a block; one that fails says so in its place."""
    try:
        return block.html()
    except Exception as error:
        log.warning("the page goes without a part: %s", error, exc_info=True)
        return Text(f"This part could not be made: {type(error).__name__}: {error}", "error").html()
