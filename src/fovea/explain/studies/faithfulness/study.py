"""Rank methods by how far their maps say what the net looks at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fovea.explain.core.method import Method, explaining
from fovea.explain.core.model import Subject, Views
from fovea.explain.core.targets import Probability, Target
from fovea.explain.studies.base import Study
from fovea.explain.studies.faithfulness.curves import draw
from fovea.explain.studies.faithfulness.scores import (
    RandomMap,
    boxes_to_region,
    centre_map,
    deletion,
    insertion,
    pointing_game,
)
from fovea.explain.studies.faithfulness.view import Score, ranking, table, write
from fovea.page.blocks import Block, Picture, Text

ABOUT = (
    "Deletion sets pixels to the mean colour, those of the highest map first: the probability of the class "
    "should fall fast, so a small area under the curve is good. Insertion puts the pixels into a blurred "
    "image in the same order: a large area is good. Methods are ranked by insertion less deletion. The "
    "pointing game asks whether the peak of the map lies on the object of the class, or within {tolerance} "
    "pixels of it. Random is coarse noise, centre a Gaussian in the middle of the image: neither looks at "
    "anything. ± and brackets are 95 % intervals over the images. Time is that of the maps, also in forward "
    "passes of the same images."
)


@dataclass(frozen=True)
class Round:
    """Hold one batch and what is asked about it."""

    ids: list[str]
    image: Tensor  # (B, C, H, W)
    target: Target  # what the maps explain
    score: Target  # what the curves follow
    regions: Mapping[str, Tensor]  # (B, H, W), by what says where the object is
    forward: float  # seconds of a forward pass


class FaithfulnessStudy(Study):
    """Measure deletion, insertion, pointing game and time of the call's methods, and of two that do not look.

    Args:
        limit: images at most.
        steps: changes between the whole image and none; each is a forward pass for each method and image.
        blur: standard deviation in pixels of the blur that insertion begins with; None: an eighth of the
            side, because behind 5 of 224, as in the paper, nets still know an object that fills the image.
        tolerance: pixels that a peak may lie off its object; None: 15 of 224, as in the paper.
        seed: of the random maps.
    """

    title = "Faithfulness"

    def __init__(
        self,
        *,
        limit: int | None = 64,
        steps: int = 20,
        blur: float | None = None,
        tolerance: int | None = None,
        seed: int = 0,
    ) -> None:
        if steps < 1 or (limit is not None and limit < 1):
            raise ValueError(f"steps={steps}, limit={limit}: take one or more")
        self.limit, self.steps, self.blur, self.tolerance, self.seed = limit, steps, blur, tolerance, seed

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write faithfulness.csv, faithfulness_images.csv and curves.png; return the table and the curves."""
        scores = self.measure(subject)
        ranked = ranking(scores)
        if not ranked:
            raise ValueError("faithfulness: of no image is the class known that is asked about; see target=")
        write(ranked, folder)
        picture = Picture(draw(ranked, folder / "curves.png"), "mean curves of deletion and insertion")
        about = ABOUT.format(tolerance=self._reach(subject.size))
        problems = [Text(f"{name}: {s.problem}", "note") for name, s in scores.items() if s.problem]
        return [Text(about, "note"), table(ranked), picture, *problems]

    def measure(self, subject: Subject) -> dict[str, Score]:
        """Score every method, batch by batch; one that has no maps of this net says why in `problem`."""
        if not subject.methods:
            raise ValueError("faithfulness compares methods: name some, as in method=[grad_cam,faithfulness]")
        blind: dict[str, Method] = {"random": RandomMap(seed=self.seed), "centre": centre_map}
        methods = {**subject.methods, **blind}
        scores = {name: Score(looks=name not in blind) for name in methods}
        for views in subject.batches(self.limit):
            asked = _ask(subject, views)
            if asked is None:
                continue
            for name, method in methods.items():
                if scores[name].problem is None:
                    self._measure(scores[name], method, subject, asked)
        return scores

    def _measure(self, score: Score, method: Method, subject: Subject, asked: Round) -> None:
        start = _clock(subject.device)
        try:
            maps = method(subject.net, asked.image, asked.target).float()
        except ValueError as error:
            score.problem = str(error)
            return
        score.seconds += _clock(subject.device) - start
        score.forward += asked.forward
        score.ids += asked.ids
        given = (subject.net, asked.image, maps, asked.score)
        for kind, curve in (
            ("deletion", deletion(*given, steps=self.steps)),
            ("insertion", insertion(*given, steps=self.steps, blur=self._blur(subject.size))),
        ):
            score.curves[kind].append(curve.score.float().cpu())
            score.areas[kind] += curve.auc.tolist()
        for name, region in asked.regions.items():
            found = pointing_game(maps.cpu(), region, tolerance=self._reach(subject.size)).tolist()
            there = region.flatten(1).any(1).tolist()
            score.hits[name] += [hit if known else None for hit, known in zip(found, there, strict=True)]

    def _blur(self, size: tuple[int, int]) -> float:
        return min(size) / 8 if self.blur is None else self.blur

    def _reach(self, size: tuple[int, int]) -> int:
        return round(15 * min(size) / 224) if self.tolerance is None else self.tolerance


def _ask(subject: Subject, views: Views) -> Round | None:
    """Ask about the first class of each image that there is one of; None where there is none of any."""
    image = views.image.to(subject.device)
    with explaining(subject.net), torch.no_grad():
        output = subject.net(image)
        start = _clock(subject.device)
        subject.net(image)
        seconds = _clock(subject.device) - start
    found = subject.questions.ask(output, views.label)
    rows = [i for i, classes in enumerate(found) if classes]
    if not rows:
        return None
    asked = [found[i][0] for i in rows]
    target = subject.questions.target(asked)
    return Round(
        ids=[subject.ids[views.rows[i]] for i in rows],
        image=image[rows],
        target=target,
        score=Probability([a.label for a in asked]) if output.ndim == 2 else target,
        regions=_regions(views, rows, [a.label for a in asked], subject),
        forward=seconds * len(rows) / len(image),
    )


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _regions(views: Views, rows: Sequence[int], labels: Sequence[int], subject: Subject) -> dict[str, Tensor]:
    """Return where each image has its class, (B, H, W), by boxes and by masks as far as there are any."""
    found = {}
    if views.boxes is not None and views.box_labels is not None:
        size = (views.image.shape[-2], views.image.shape[-1])
        of_class = [views.boxes[i][views.box_labels[i] == k] for i, k in zip(rows, labels, strict=True)]
        found["box"] = torch.stack([boxes_to_region(boxes, size) for boxes in of_class])
    if views.mask is not None:
        first = 0 if subject.classes[0] == "background" else 1  # which comes first in masks
        found["mask"] = views.mask[rows] == torch.tensor(labels)[:, None, None] + first
    return found
