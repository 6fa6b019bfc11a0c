"""Check that maps change when the weights of the net are drawn anew."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.core.method import Method, explaining
from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import moments
from fovea.explain.core.targets import Target
from fovea.explain.studies.base import Study
from fovea.explain.studies.randomisation_figures import curves, examples
from fovea.explain.studies.randomised_weights import cascade, rank_correlation
from fovea.metrics.significance import t_interval
from fovea.page.blocks import Block, Picture, Table, Text

ABOUT = (
    "The layers are drawn anew from the top down to the named one, and the maps are compared "
    "with those of the trained net: Spearman's rank correlation of absolute values, 1 for a map that is "
    "ranked alike. A map that tells what the net has learnt must change; one that does not change shows the "
    "image, like an edge detector."
)


@dataclass
class Course:
    """Hold what becomes of one method's maps as the layers are drawn anew.

    Attributes:
        before: batches of maps (B, H, W) of the trained net.
        alike: rank correlations of the images, by layer from the top down.
        shown: maps (H, W) of one image: of the trained net, then by layer.
        problem: why the method has no maps of this net.
    """

    before: list[Tensor] = field(default_factory=list)
    alike: dict[str, list[float]] = field(default_factory=dict)
    shown: list[Tensor] = field(default_factory=list)
    problem: str | None = None

    @property
    def means(self) -> list[float]:
        """Return the mean correlation of each layer."""
        return [float(np.mean(values)) for values in self.alike.values()]


class RandomisationStudy(Study):
    """Follow the maps of the call's methods while the net loses its weights; see `explain.randomisation`.

    Args:
        limit: images at most.
        points: layers at which maps are made, evenly among all, the last always one of them.
        same: mean correlation over these layers from which a method counts as not changing.
        seed: of the weights.
    """

    title = "Randomised weights"

    def __init__(self, *, limit: int = 8, points: int = 6, same: float = 0.6, seed: int = 0) -> None:
        if limit < 1 or points < 1:
            raise ValueError(f"limit={limit}, points={points}: take one or more")
        self.limit, self.points, self.same, self.seed = limit, points, same, seed

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write randomisation.csv, curves.png and examples.png; return the table and both figures."""
        picture, found = self.measure(subject)
        known = {name: course for name, course in found.items() if course.problem is None}
        problems = [Text(f"{name}: {c.problem}", "note") for name, c in found.items() if c.problem]
        if not known:
            return problems
        _write(known, folder / "randomisation.csv")
        lines = {name: course.means for name, course in known.items()}
        layers = list(next(iter(known.values())).alike)
        shown = {name: course.shown for name, course in known.items()}
        return [
            Text(ABOUT, "note"),
            self._table(known, layers),
            Text(self._verdict(known)),
            Picture(curves(lines, layers, folder / "curves.png"), "rank correlation of maps by layer"),
            Picture(examples(picture, shown, layers, folder / "examples.png"), "maps along the cascade"),
            *problems,
        ]

    def measure(self, subject: Subject) -> tuple[Tensor, dict[str, Course]]:
        """Return the first image as a picture (C, H, W), and the course of every method."""
        if not subject.methods:
            raise ValueError("randomisation compares maps: name some, as in method=[saliency,randomisation]")
        batches = list(_asked(subject, self.limit))
        if not batches:
            raise ValueError("randomisation: of no image is the class known that is asked about; see target=")
        found = {name: Course() for name in subject.methods}
        for name, method in subject.methods.items():
            try:
                found[name].before = [_maps(method, subject.net, *batch) for batch in batches]
                found[name].shown = [found[name].before[0][0]]
            except ValueError as error:
                found[name].problem = str(error)
        courses = [(subject.methods[name], c) for name, c in found.items() if c.problem is None]
        for layer, net in self._nets(subject.net) if courses else ():
            for method, course in courses:
                after = [_maps(method, net, *batch) for batch in batches]
                pairs = zip(course.before, after, strict=True)
                course.alike[layer] = [v for a, b in pairs for v in rank_correlation(a, b).tolist()]
                course.shown.append(after[0][0])
        return subject.pixels.decode(batches[0][0][0]).cpu().clamp(0, 1), found

    def _nets(self, net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Choose layers evenly; yield each with the net that is random down to it."""
        layers = sum(1 for m in net.modules() if any(True for _ in m.parameters(recurse=False)))
        chosen = set(moments(layers, self.points + 1)[1:])
        for i, (path, changed) in enumerate(cascade(net, seed=self.seed), start=1):
            if i in chosen:
                yield path, changed

    def _table(self, known: Mapping[str, Course], layers: Sequence[str]) -> Table:
        ends = sorted(known, key=lambda name: float(np.mean(known[name].means)))
        rows = [
            [name, *(f"{v:.2f}" for v in known[name].means), "no" if self._stays(known[name]) else "yes"]
            for name in ends
        ]
        images = len(next(iter(known[ends[0]].alike.values())))
        return Table(
            ["method", *(f"to {layer}" for layer in layers), "changes"],
            rows,
            caption=f"mean rank correlation with the maps of the trained net, {images} images",
            align="l" + "r" * len(layers) + "l",
        )

    def _stays(self, course: Course) -> bool:
        return float(np.mean(course.means)) >= self.same

    def _verdict(self, known: Mapping[str, Course]) -> str:
        stay = [name for name, course in known.items() if self._stays(course)]
        rule = f"(a mean correlation of {self.same:g} or more along the way)"
        if not stay:
            return f"The maps of every method change; none keeps its maps {rule}."
        return f"These do not change enough to speak for what was learnt {rule}: {', '.join(stay)}."


def _asked(subject: Subject, limit: int) -> Iterator[tuple[Tensor, Target]]:
    """Yield the images that a class is asked about, with the first class of each."""
    for views in subject.batches(limit):
        image = views.image.to(subject.device)
        with explaining(subject.net), torch.no_grad():
            found = subject.questions.ask(subject.net(image), views.label)
        rows = [i for i, classes in enumerate(found) if classes]
        if rows:
            yield image[rows], subject.questions.target([found[i][0] for i in rows])


def _maps(method: Method, net: nn.Module, image: Tensor, target: Target) -> Tensor:
    return method(net, image, target).float().abs().cpu()


def _write(known: Mapping[str, Course], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "layer", "images", "correlation", "low", "high"])
        for name, course in known.items():
            for layer, values in course.alike.items():
                writer.writerow([name, layer, len(values), float(np.mean(values)), *t_interval(values)])
