"""Explain images batch by batch, then run the analyses; results are written at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from fovea.data.find_images import read_chunks, unreadable
from fovea.errors import UsageError
from fovea.explain.analyses.base import Analysis
from fovea.explain.run.images import ExplainedImages, ImageReader
from fovea.explain.run.mapper import Mapper
from fovea.explain.run.output import ResultFolder
from fovea.explain.view.attribution import ImageAttributions
from fovea.explain.view.page import ExplainPage
from fovea.files import own_folder
from fovea.page.blocks import Text
from fovea.page.progress import progress
from fovea.types import Sample

log = logging.getLogger(__name__)


class ExplainSession:
    """Explain images with all models and methods of one call; memory holds one batch."""

    def __init__(
        self,
        *,
        images: ExplainedImages,
        readers: Sequence[ImageReader],
        mappers: Sequence[Mapper],
        analyses: Mapping[str, Analysis],
    ) -> None:
        self.images, self.readers, self.mappers, self.analyses = images, readers, mappers, analyses
        self.steps = len(images.ids) * sum(len(mapper.methods) for mapper in mappers)
        self.failed: list[str] = []  # images that cannot be read
        self.problems: list[str] = []  # analyses that cannot be made
        self.blank: Counter[str] = Counter()  # images that have nothing to explain, by the reason
        self.shown = 0

    def run(self, folder: ResultFolder, page: ExplainPage) -> None:
        """Compute the maps, then the analyses; results so far are shown also where it ends early."""
        try:
            if self.steps:
                self._maps(folder, page)
            self._analyses(folder, page)
        finally:
            try:
                if self.shown:
                    log.info("%s", page.finish())
            finally:
                folder.close()
            self._say_failed()
        self._require_something()

    def _maps(self, folder: ResultFolder, page: ExplainPage) -> None:
        size = self.mappers[0].model.batch_size
        with progress(self.steps, "explain") as advance:
            for found in read_chunks(range(len(self.images.ids)), self.images.sample, size=size):
                chunk = {row: one for row, one in found if not isinstance(one, Exception)}
                bad = [(self.images.ids[row], one) for row, one in found if isinstance(one, Exception)]
                self.failed += [unreadable(name, error) for name, error in bad]
                if not chunk:
                    continue
                pairs = zip(self.readers, self.mappers, strict=True)
                records = [self._records(reader, mapper, chunk, advance) for reader, mapper in pairs]
                if not self.analyses and not any(mapper.worked for mapper in self.mappers):
                    return  # what refused these images is not tried on more
                for line in (line for mapper in self.mappers for line in mapper.report()):
                    log.warning("%s", line)
                for of_image in zip(*records, strict=True):
                    for record, mapper in zip(of_image, self.mappers, strict=True):
                        folder.add(record)
                        self._note_blank(record, mapper)
                    page.add(of_image, name=folder.names[of_image[0].id])
                    self.shown += 1

    def _records(
        self,
        reader: ImageReader,
        mapper: Mapper,
        chunk: Mapping[int, Sample],
        advance: Callable[[int], object],
    ) -> list[ImageAttributions]:
        """Return the maps of some images by one model."""
        batch, pictures = reader.batch(chunk)
        predicted, found = mapper(batch, advance)
        whole = getattr(mapper.model.selector, "of_image", True)
        labels = batch.label.tolist() if whole else [-1] * len(batch.rows)
        columns = zip(batch.rows, pictures, predicted, labels, found, strict=True)
        return [
            ImageAttributions(
                model=mapper.model.name,
                id=self.images.ids[row],
                picture=picture,
                predicted=first,
                truth=(whole and self.images.truth[row])
                or (mapper.model.classes[label] if label >= 0 else None),
                correct=None if label < 0 else first.label == label,
                attributions=attributions,
            )
            for row, picture, first, label, attributions in columns
        ]

    def _analyses(self, folder: ResultFolder, page: ExplainPage) -> None:
        """Run every analysis of every model; one that fails says why in its place."""
        for name, analysis in self.analyses.items():
            for model in (mapper.model for mapper in self.mappers):
                own = folder.path / name / model.name
                own_folder(own, below=folder.path)
                log.info("%s of %s", name, model.name)
                try:
                    blocks = analysis(model, own)
                    self.shown += 1
                except ValueError as error:
                    blocks = [Text(str(error), "note")]
                    self.problems.append(f"{model.name}: {name}: {error}")
                    log.warning("%s", self.problems[-1])
                page.analysis(analysis.title, model.name, blocks)

    def _note_blank(self, record: ImageAttributions, mapper: Mapper) -> None:
        why = mapper.nothing
        if any(one.problem == why for one in record.attributions):
            self.blank[f"{record.model}: {why}"] += 1

    def _say_failed(self) -> None:
        for why, count in self.blank.items():
            log.warning("%s for %d of %d images", why, count, self.shown)
        if self.failed:
            lines = "\n".join(f"  {line}" for line in self.failed)
            count = len(self.images.ids)
            log.warning("%d of %d images could not be read:\n%s", len(self.failed), count, lines)

    def _require_something(self) -> None:
        """Raise where a call had no result."""
        if self.shown:
            return
        if len(self.failed) == len(self.images.ids):
            raise UsageError("no image could be read")
        lines = [line for mapper in self.mappers for line in mapper.report()]
        raise UsageError("no method gives a map of these images:\n  " + "\n  ".join([*lines, *self.problems]))
