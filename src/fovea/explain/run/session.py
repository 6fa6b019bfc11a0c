"""Go through the images batch by batch, then through the studies; hand on what is found at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fovea.errors import UsageError
from fovea.explain.core.model import Subject
from fovea.explain.run.images import Images, chunks
from fovea.explain.run.mapper import Mapper
from fovea.explain.run.methods import Way
from fovea.explain.run.output import Folder
from fovea.explain.run.reader import Reader
from fovea.explain.studies.base import Study
from fovea.explain.view.attribution import Explained
from fovea.explain.view.page import ExplainPage
from fovea.page.blocks import Text
from fovea.page.progress import progress
from fovea.types import Sample

log = logging.getLogger(__name__)


class Session:
    """Explain images with all models and methods of one call; memory holds one batch."""

    def __init__(
        self,
        *,
        images: Images,
        readers: Sequence[Reader],
        subjects: Sequence[Subject],
        ways: Sequence[Way],
        studies: Mapping[str, Study],
    ) -> None:
        self.images, self.readers, self.studies = images, list(readers), studies
        self.mappers = [Mapper(subject, ways) for subject in subjects]
        self.steps = len(images.ids) * len(ways) * len(subjects)
        self.failed: list[str] = []  # images that cannot be read
        self.problems: list[str] = []  # studies that cannot be made
        self.shown = 0

    def run(self, folder: Folder, page: ExplainPage) -> None:
        """Make the maps, then the studies; what there is when it ends early is shown, too."""
        try:
            if self.steps:
                self._maps(folder, page)
            self._studies(folder, page)
        finally:
            if self.shown:
                log.info("%s", page.finish())
            folder.close()
            self._say_failed()
        self._require_something()

    def _maps(self, folder: Folder, page: ExplainPage) -> None:
        size = self.mappers[0].subject.batch_size
        with progress(self.steps, "explain") as advance:
            for chunk in chunks(self.images, size=size, failed=self.failed):
                pairs = zip(self.readers, self.mappers, strict=True)
                records = [self._records(reader, mapper, chunk, advance) for reader, mapper in pairs]
                if not self.studies and not any(mapper.worked for mapper in self.mappers):
                    return  # what refused these images is not tried on more
                for line in (line for mapper in self.mappers for line in mapper.report()):
                    log.warning("%s", line)
                for shown in zip(*records, strict=True):
                    self._show(shown, folder, page)

    def _show(self, shown: Sequence[Explained], folder: Folder, page: ExplainPage) -> None:
        for one in shown:
            folder.add(one)
        page.add(shown, name=folder.names[shown[0].id])
        self.shown += 1

    def _records(
        self, reader: Reader, mapper: Mapper, chunk: Mapping[int, Sample], advance: Any
    ) -> list[Explained]:
        """Return what one model says of some images."""
        views, pictures = reader.views(chunk)
        predicted, found = mapper(views, advance)
        columns = zip(views.rows, pictures, predicted, views.label.tolist(), found, strict=True)
        return [
            Explained(
                model=mapper.subject.name,
                id=self.images.ids[row],
                picture=picture,
                predicted=best,
                truth=self.images.truth[row] or (mapper.subject.classes[label] if label >= 0 else None),
                correct=None if label < 0 else best.label == label,
                seen=seen,
            )
            for row, picture, best, label, seen in columns
        ]

    def _studies(self, folder: Folder, page: ExplainPage) -> None:
        """Make every study of every model; one that cannot be made says why in its place."""
        for name, study in self.studies.items():
            for subject in (mapper.subject for mapper in self.mappers):
                place = folder.path / name / subject.name
                place.mkdir(parents=True, exist_ok=True)
                log.info("%s of %s", name, subject.name)
                try:
                    blocks = study(subject, place)
                    self.shown += 1
                except (ValueError, KeyError) as error:  # the latter names a layer that there is not
                    said = str(error.args[0] if error.args else error)
                    blocks = [Text(said, "note")]
                    self.problems.append(f"{subject.name}: {name}: {said}")
                    log.warning("%s", self.problems[-1])
                page.study(study.title, subject.name, blocks)

    def _say_failed(self) -> None:
        if self.failed:
            listed = "\n".join(f"  {line}" for line in self.failed)
            count = len(self.images.ids)
            log.warning("%d of %d images could not be read:\n%s", len(self.failed), count, listed)

    def _require_something(self) -> None:
        """Refuse a call of which nothing came out."""
        if self.shown:
            return
        if len(self.failed) == len(self.images.ids):
            raise UsageError("no image could be read")
        said = [line for mapper in self.mappers for line in mapper.report()]
        raise UsageError("no method gives anything here:\n  " + "\n  ".join([*said, *self.problems]))
