"""Ask one model about images with every method, and go on where a method cannot answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fovea import errors
from fovea.errors import UsageError
from fovea.explain.core.method import explaining
from fovea.explain.run.methods import Way, possible, reason
from fovea.explain.view.attribution import Seen

if TYPE_CHECKING:
    from fovea.explain.core.class_choice import Asked
    from fovea.explain.core.model import Subject, Views

log = logging.getLogger(__name__)
UNKNOWN = "its true class is not known"


class Mapper:
    """Make the maps of one model.

    A method that fails on the first images that it is shown is not tried again; `problems` says why.
    """

    def __init__(self, subject: Subject, ways: Sequence[Way]) -> None:
        self.subject, self.ways = subject, list(ways)
        self.problems: dict[str, str] = {}
        self.worked: set[str] = set()
        self.silent: list[str] = []  # of the problems, those that `report` has not said
        self.first: Tensor | None = None

    def __call__(
        self, views: Views, advance: Callable[[int], object] = lambda done: None
    ) -> tuple[list[Asked], list[list[Seen]]]:
        """Return of each image the predicted class, and what every method says of it."""
        subject = self.subject
        image = views.image.to(subject.device, _dtype(subject.net))
        with explaining(subject.net), torch.no_grad():
            output = subject.net(image)
        asked = subject.questions.ask(output, views.label)
        found: list[list[Seen]] = [[] for _ in views.rows]
        for way in self.ways:
            for seen, more in zip(found, self._of(way, image, asked), strict=True):
                seen += more
            advance(len(image))
        return subject.questions.best(output), found

    def _of(self, way: Way, image: Tensor, asked: Sequence[Sequence[Asked]]) -> list[list[Seen]]:
        """Return the maps of one method: one for each class, or a single one where classes play no part."""
        targeted = getattr(way.call, "targeted", True)
        why = self.problems.get(way.key)
        if why is None:
            try:
                found = (
                    _of_classes(self.subject, way, image, asked)
                    if targeted
                    else _of_images(self.subject, way, image)
                )
                self.worked.add(way.key)
                return found
            except Exception as error:  # of one method on one architecture; the others go on
                why = self._refused(way, image, error)
        empty = (row or [None] if targeted else [None] for row in asked)  # type: ignore[list-item]
        return [[Seen(method=way.name, layer=way.layer, asked=a, problem=why) for a in row] for row in empty]

    def _refused(self, way: Way, image: Tensor, error: Exception) -> str:
        if errors.is_out_of_memory(error):
            raise UsageError(
                f"{self.subject.name}: {way.key} ran out of memory: try batch_size="
                f"{max(1, len(image) // 2)}, or smaller images"
            ) from error
        why = reason(error)
        log.debug("%s: %s", self.subject.name, way.key, exc_info=error)
        if way.key in self.worked:
            log.warning("%s: %s: %s", self.subject.name, way.key, why)
            return why
        self.problems[way.key], self.first = why, image[:1]
        self.silent.append(way.key)
        return why

    def report(self) -> list[str]:
        """Say, once, why methods give nothing here, and which do."""
        said = [f"{self.subject.name}: {key}: {self.problems[key]}" for key in self.silent]
        self.silent = []
        if said and self.first is not None:
            can = possible(self.subject.net, self.first, self._usual_target(self.first))
            said.append(f"{self.subject.name} gives {', '.join(can) or 'none of the methods'}")
        return said

    def _usual_target(self, image: Tensor) -> Any:
        with explaining(self.subject.net), torch.no_grad():
            output = self.subject.net(image)
        return self.subject.questions.target(self.subject.questions.best(output))


def _dtype(net: Any) -> torch.dtype:
    return next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)


def _of_images(subject: Subject, way: Way, image: Tensor) -> list[list[Seen]]:
    return [[_seen(way, one, None)] for one in _maps(subject, way, image, None)]


def _of_classes(
    subject: Subject, way: Way, image: Tensor, asked: Sequence[Sequence[Asked]]
) -> list[list[Seen]]:
    found: list[list[Seen]] = [[] for _ in asked]
    for rank in range(max(map(len, asked), default=0)):
        rows = [i for i, classes in enumerate(asked) if len(classes) > rank]
        target = subject.questions.target([asked[i][rank] for i in rows])
        some = image if len(rows) == len(image) else image[rows]
        for i, one in zip(rows, _maps(subject, way, some, target), strict=True):
            found[i].append(_seen(way, one, asked[i][rank]))
    return [seen or [Seen(method=way.name, layer=way.layer, problem=UNKNOWN)] for seen in found]


def _maps(subject: Subject, way: Way, image: Tensor, target: Any) -> np.ndarray:
    """Run a method, and return its maps (B, H, W) as float32."""
    maps = way.call(subject.net, image, target)
    if maps.shape != (len(image), *image.shape[2:]):
        raise ValueError(f"{way.key} gives {tuple(maps.shape)} of images {tuple(image.shape)}, not (B, H, W)")
    return maps.detach().float().cpu().numpy()


def _seen(way: Way, one: np.ndarray, asked: Asked | None) -> Seen:
    signed = bool(getattr(way.call, "signed", False))
    if not np.isfinite(one).all():
        problem = "the map has values that are not finite"
        return Seen(method=way.name, layer=way.layer, asked=asked, problem=problem)
    return Seen(method=way.name, layer=way.layer, asked=asked, map=one, signed=signed)
