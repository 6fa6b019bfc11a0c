"""Rank methods by deletion, insertion and pointing game: whether their maps are faithful to the net."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fovea.explain.analyses.base import Analysis, first_selected
from fovea.explain.analyses.faithfulness.scores import (
    RandomMap,
    boxes_to_region,
    centre_map,
    deletion,
    insertion,
    pointing_game,
)
from fovea.explain.analyses.faithfulness.view import FaithfulnessScores, draw, ranking, table, write
from fovea.explain.core.method import Method
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.targets import Probability, Target
from fovea.page.blocks import Block, Picture, Text

ABOUT = (
    "Deletion sets pixels to the mean colour, those of the highest map first: the probability of the class "
    "should fall fast, so a small area under the curve is good. Insertion puts the pixels into a blurred "
    "image in the same order: a large area is good. Methods are ranked by insertion less deletion. The "
    "pointing game asks whether the maximum of the map lies on the object of the class, or within "
    "{tolerance} pixels of it. Random is coarse noise, centre a Gaussian in the middle of the image: neither "
    "depends on the net. ± and brackets are 95 % intervals over the images. Time is that of the maps, also "
    "in forward passes of the same images."
)


@dataclass(frozen=True)
class EvalBatch:
    """One batch with its targets and objects."""

    ids: list[str]
    image: Tensor  # (B, C, H, W)
    target: Target  # what the maps explain
    score: Target  # what the curves follow
    regions: Mapping[str, Tensor]  # (B, H, W), by what says where the object is
    forward: float  # seconds of a forward pass


class FaithfulnessAnalysis(Analysis):
    """Measure deletion, insertion, pointing game and time of methods, and of two that ignore the net.

    Args:
        limit: images at most.
        steps: changes between the whole image and none; each is a forward pass for each method and image.
        blur: standard deviation in pixels of the blur that insertion begins with; None: an eighth of the
            side, because behind 5 of 224, as in the paper, nets still know an object that fills the image.
        tolerance: pixels that the maximum of a map may lie off its object; None: 15 of 224, as in the paper.
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

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write faithfulness.csv, faithfulness_images.csv and curves.png; return the table and the curves."""
        scores = self.measure(model)
        ranked = ranking(scores)
        if not ranked:
            raise ValueError("faithfulness: no image has a selected class; see target=")
        write(ranked, folder)
        picture = Picture(draw(ranked, folder / "curves.png"), "mean curves of deletion and insertion")
        about = ABOUT.format(tolerance=self.reach(model.size))
        problems = [Text(f"{name}: {s.problem}", "note") for name, s in scores.items() if s.problem]
        return [Text(about, "note"), table(ranked), picture, *problems]

    def measure(self, model: ExplainedModel) -> dict[str, FaithfulnessScores]:
        """Score every method, batch by batch; one that has no maps of this net says why in `problem`."""
        if not model.methods:
            raise ValueError("faithfulness compares methods: name some, as in method=[grad_cam,faithfulness]")
        blind: dict[str, Method] = {"random": RandomMap(seed=self.seed), "centre": centre_map}
        methods = {**model.methods, **blind}
        scores = {name: FaithfulnessScores(uses_net=name not in blind) for name in methods}
        for batch in model.batches(self.limit):
            images = _eval_batch(model, batch)
            if images is None:
                continue
            for name, method in methods.items():
                if scores[name].problem is None:
                    self._measure(scores[name], method, model, images)
        return scores

    def _measure(
        self, score: FaithfulnessScores, method: Method, model: ExplainedModel, images: EvalBatch
    ) -> None:
        start = _clock(model.device)
        try:
            maps = method(model.net, images.image, images.target).float()
        except ValueError as error:
            score.problem = str(error)
            return
        score.seconds += _clock(model.device) - start
        score.forward += images.forward
        score.ids += images.ids
        common = (model.net, images.image, maps, images.score)
        for kind, curve in (
            ("deletion", deletion(*common, steps=self.steps)),
            ("insertion", insertion(*common, steps=self.steps, blur=self._blur(model.size))),
        ):
            score.curves[kind].append(curve.score.float().cpu())
            score.areas[kind] += curve.auc.tolist()
        for name, region in images.regions.items():
            found = pointing_game(maps.cpu(), region, tolerance=self.reach(model.size)).tolist()
            there = region.flatten(1).any(1).tolist()
            score.hits[name] += [hit if known else None for hit, known in zip(found, there, strict=True)]

    def _blur(self, size: tuple[int, int]) -> float:
        return min(size) / 8 if self.blur is None else self.blur

    def reach(self, size: tuple[int, int]) -> int:
        """Return the tolerance in pixels for images of this size."""
        return round(15 * min(size) / 224) if self.tolerance is None else self.tolerance


def _eval_batch(model: ExplainedModel, batch: ImageBatch) -> EvalBatch | None:
    """Select the first class of each image; None where no image has one."""
    image = batch.image.to(model.device)
    output = model.output(image)
    start = _clock(model.device)
    model.output(image)  # the first pass is slower
    seconds = _clock(model.device) - start
    rows, classes = first_selected(model, output, batch.label)
    if not rows:
        return None
    labels, target = [one.label for one in classes], model.selector.target(classes)
    return EvalBatch(
        ids=[model.ids[batch.rows[i]] for i in rows],
        image=image[rows],
        target=target,
        score=Probability(labels) if output.ndim == 2 else target,
        regions=_regions(batch, rows, labels, model),
        forward=seconds * len(rows) / len(image),
    )


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _regions(
    batch: ImageBatch, rows: Sequence[int], labels: Sequence[int], model: ExplainedModel
) -> dict[str, Tensor]:
    """Return where each image has its class, (B, H, W), by boxes and by masks as far as there are any."""
    found = {}
    if batch.boxes is not None and batch.box_labels is not None:
        size = (batch.image.shape[-2], batch.image.shape[-1])
        of_class = [batch.boxes[i][batch.box_labels[i] == k] for i, k in zip(rows, labels, strict=True)]
        found["box"] = torch.stack([boxes_to_region(boxes, size) for boxes in of_class])
    if batch.mask is not None:
        found["mask"] = batch.mask[rows] == torch.tensor(labels)[:, None, None] + model.mask_offset
    return found
