"""Put what models see on one page: images, methods, layers, models, and the studies of each model."""

from __future__ import annotations

import itertools
import logging
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import IO, Any

from fovea.explain.view.attribution import Explained
from fovea.explain.view.columns import Column, merge, placed, signs
from fovea.explain.view.figure import draw_figure
from fovea.explain.view.table import Part, bars, layout, lines, link, part
from fovea.files import replacing, unique_names
from fovea.page.blocks import Block, Facts, Text
from fovea.page.document import document

log = logging.getLogger(__name__)
BODY = "<!-- body -->"  # the blocks of a page escape what they are given, so no text can hold it
MOST_BYTES = 48_000_000  # of pictures: a browser opens a page of that size without trouble


class Marker(Block):
    """Keep the place of what is written piece by piece."""

    def html(self) -> str:
        """Render the mark."""
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
        self._parts, self._rest = self._spool(), self._spool()
        self._columns: list[Column] = []
        self._signs: set[bool] = set()
        self._count = self._shown = 0
        self._taken: set[str] = set()
        self._studies: dict[str, list[tuple[str, int, int]]] = {}  # title → (model, start, length) in _texts
        self._texts = self._spool()

    def add(self, shown: Sequence[Explained], *, name: str = "") -> Path:
        """Draw what all models see in one image; `name` is the figure's, without ending (else from the id).

        Raises:
            ValueError: records of no image or of several.
        """
        if len({record.id for record in shown}) != 1:
            raise ValueError(f"add takes the records of one image, got those of {[r.id for r in shown]}")
        file = self._name(f"{name}.png" if name else unique_names([shown[0].id])[0])
        path = draw_figure(self.out_dir / "figures" / file, shown)
        self._count += 1
        if self._shown < self.page_images and self._parts.tell() < MOST_BYTES:
            self._shown += 1
            self._columns = merge([self._columns, *(placed(record) for record in shown)])
            self._signs |= set(signs(shown))
            pickle.dump(part(shown, figure=f"figures/{file}"), self._parts)
        else:
            self._rest.write(f"<li>{link(f'figures/{file}', shown[0].id)}</li>\n".encode(errors="replace"))
        return path

    def study(self, title: str, model: str, blocks: Sequence[Block]) -> None:
        """Keep the part of a study about one model; models stand side by side under the study's heading."""
        start = self._texts.tell()
        for block in blocks:
            self._texts.write(_rendered(block).encode("utf-8", "backslashreplace") + b"\n")
        place = (model, start, self._texts.tell() - start)
        self._studies.setdefault(title, []).append(place)

    def finish(self) -> Path:
        """Write `explain.html`, whole or not at all, and return its path."""
        page = document(
            "Explanation",
            badge=("good", f"{_count(self._count, 'image')}, {_count(len(self.models), 'model')}"),
            about=", ".join(self.models),
            body=[Facts(self.facts), Marker()],
            footer=self.command,
            layout=layout(self._columns),
        )
        head, tail = page.split(BODY)
        path = self.out_dir / "explain.html"
        with replacing(path) as draft, draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for piece in itertools.chain([head], self._contents(), [tail]):
                file.write(piece)
        return path

    def _contents(self) -> Iterator[str]:
        titles = [*(["Images"] if self._count else []), *self._studies]
        if len(titles) > 1:
            anchors = (f'<a href="#part{i}">{escape(title)}</a>' for i, title in enumerate(titles))
            yield f"<nav>{''.join(anchors)}</nav>\n"
        if self._count:
            yield f'<section id="part0">\n<h2>Images</h2>\n{bars(sorted(self._signs))}\n'
            yield from (f"{line}\n" for line in lines(self._read(), self._columns))
            yield from self._others()
            yield "</section>\n"
        for i, (title, places) in enumerate(self._studies.items(), start=bool(self._count)):
            yield f'<section id="part{i}">\n<h2>{escape(title)}</h2>\n<div class="beside">\n'
            for model, start, length in places:
                self._texts.seek(start)
                yield f"<div>\n<h3>{escape(model)}</h3>\n"
                yield self._texts.read(length).decode("utf-8")
                yield "</div>\n"
            yield "</div>\n</section>\n"

    def _others(self) -> Iterator[str]:
        """Name the images that have no pictures on the page."""
        if self._count == self._shown:
            return
        said = f"{_count(self._count - self._shown, 'more image')}, whose figures lie beside this page"
        yield f'<details>\n<summary>{said}</summary>\n<ul class="links">\n'
        self._rest.seek(0)
        yield from (line.decode("utf-8") for line in self._rest)
        yield "</ul></details>\n"

    def _read(self) -> Iterator[Part]:
        self._parts.seek(0)
        for _ in range(self._shown):
            yield pickle.load(self._parts)

    def _name(self, wanted: str) -> str:
        """Return the name of a figure that no other image has, whatever its case."""
        stem, name, number = wanted.removesuffix(".png"), wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}_{number}.png"
        self._taken.add(name.casefold())
        return name

    def _spool(self) -> IO[bytes]:
        """Open a nameless file that is gone with the process."""
        return tempfile.TemporaryFile(dir=self.out_dir)


def _rendered(block: Any) -> str:
    """Render a block; one that fails says so in its place."""
    try:
        return str(block.html())
    except Exception as error:
        log.warning("the page goes without a part: %s", error, exc_info=True)
        return Text(f"This part could not be made: {type(error).__name__}: {error}", "error").html()


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
