"""Attack images of a model: small changes that make it predict a wrong or a chosen class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fovea.explain.analyses.adversarial.attacks import Attack, fgsm, pgd, targeted_ascent
from fovea.explain.analyses.base import Analysis, class_index, class_name, file_stem, write_table
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import to_uint8
from fovea.page.blocks import Block, Picture, Table, Text
from fovea.page.image_grid import Tile, grid

COLUMNS = (
    *("image", "class", "class_is", "attack", "aim", "before", "p_before", "after", "p_after"),
    *("attacked", "success", "l2", "linf"),
)
HEADS = ("attack", "aim", "bound L∞", "images", "attacked", "success", "mean L2", "mean L∞", "largest L∞")


@dataclass(frozen=True, kw_only=True)
class AttackInput:
    """Some images with their classes: the true ones where `known` (B,), else the predicted ones."""

    rows: list[int]
    picture: Tensor
    label: Tensor
    known: Tensor
    second: Tensor


class AdversarialAnalysis(Analysis):
    """Attack by targeted gradient ascent, FGSM and PGD, and show the changes magnified.

    Args:
        target: a class's name or index that all attacks aim at; null: FGSM and PGD are untargeted, ascent
            aims at the second most probable class.
        eps: the largest change of FGSM and PGD, in steps of 1/255.
        steps: of PGD.
        ascent_steps, ascent_lr: of gradient ascent; a step's Euclidean length, of pixels in 0…1.
        factor: by which changes are magnified; null: each fills the range.
        limit: how many images are attacked; null: all.
        pictured: how many of them are shown.
    """

    title = "Adversarial images"

    def __init__(
        self,
        *,
        target: str | int | None = None,
        eps: float = 4.0,
        steps: int = 10,
        ascent_steps: int = 100,
        ascent_lr: float = 0.2,
        factor: float | None = None,
        limit: int | None = 32,
        pictured: int = 6,
        seed: int = 0,
    ) -> None:
        self.target, self.eps, self.steps = target, eps / 255, steps
        self.ascent_steps, self.ascent_lr, self.factor = ascent_steps, ascent_lr, factor
        self.limit, self.pictured, self.seed = limit, pictured, seed

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png) and `adversarial.csv`, a row per image and attack."""
        aim = None if self.target is None else class_index(model.classes, self.target)
        rows: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        known = 0
        for batch in model.batches(self.limit):
            images = _input(model, batch)
            known += int(images.known.sum())
            attacks = self._attack(model, images, aim)
            for i in range(len(batch.rows)):
                rows += [_row(model, images, attack, i) for attack in attacks]
                if len(pictures) < self.pictured:
                    pictures.append(self._sheet(model, folder, images, attacks, i))
        if not rows:
            raise ValueError("there are no images to attack")
        write_table(folder / "adversarial.csv", rows, columns=COLUMNS)
        return [Text(_about(known, len(rows) // 3)), _summary(rows, self.eps), *pictures]

    def _attack(self, model: ExplainedModel, images: AttackInput, aim: int | None) -> list[Attack]:
        net, pixels, picture = model.net, model.pixels, images.picture
        target = images.second if aim is None else torch.full_like(images.label, aim)
        label, targeted = (images.label, False) if aim is None else (target, True)
        return [
            targeted_ascent(
                net, picture, target, pixels=pixels, steps=self.ascent_steps, lr=self.ascent_lr
            ),
            fgsm(net, picture, label, pixels=pixels, eps=self.eps, targeted=targeted),
            pgd(
                net, picture, label, pixels=pixels, eps=self.eps, steps=self.steps, targeted=targeted,
                seed=self.seed + images.rows[0],
            ),
        ]  # fmt: skip

    def _sheet(
        self, model: ExplainedModel, folder: Path, images: AttackInput, attacks: Sequence[Attack], i: int
    ) -> Picture:
        predicted = _predicted(model, attacks[0].before[i], attacks[0].p_before[i])
        truth = [f"true: {class_name(model.classes, int(images.label[i]))}"] if images.known[i] else []
        cells = [Tile(picture=to_uint8(images.picture[i]), lines=["original", predicted, *truth])]
        for attack in attacks:
            cells += self._pair(model, attack, i)
        path = grid(folder / f"{file_stem(model, images.rows[i])}.png", [cells])
        return Picture(path, f"attacks on {model.name}", str(model.ids[images.rows[i]]))

    def _pair(self, model: ExplainedModel, attack: Attack, i: int) -> list[Tile]:
        """Return the attacked picture and its change, magnified."""
        aim = f"to {class_name(model.classes, int(attack.label[i]))}" if attack.targeted else "untargeted"
        words = [attack.name.replace("inf", "∞"), _predicted(model, attack.after[i], attack.p_after[i]), aim]
        largest = float(attack.linf[i])
        factor = self.factor or 0.5 / max(largest, 1e-12)
        times = f"change × {factor:.3g}" if largest > 0 else "no change"
        change = to_uint8(attack.magnified(self.factor)[i])
        return [
            Tile(picture=to_uint8(attack.picture[i]), lines=words),
            Tile(picture=change, lines=[times, f"L2 {float(attack.l2[i]):.3g}"]),
        ]


def _input(model: ExplainedModel, batch: ImageBatch) -> AttackInput:
    """Return the images of a batch with their classes."""
    logits, label = model.output(batch.image), batch.label.to(model.device)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError("attacks need a classifier with logits (B, num_classes) of two classes or more")
    first, second = logits.topk(2, dim=1).indices.unbind(1)
    known = label >= 0
    picture = model.pixels.decode(batch.image.to(model.device)).clamp(0, 1)
    label = torch.where(known, label, first)
    return AttackInput(rows=batch.rows, picture=picture, label=label, known=known, second=second)


def _predicted(model: ExplainedModel, label: Tensor, probability: Tensor) -> str:
    return f"{class_name(model.classes, int(label))} {float(probability):.2f}"


def _row(model: ExplainedModel, images: AttackInput, attack: Attack, i: int) -> dict[str, Any]:
    """Return the row of the i-th image under one attack."""
    name = [class_name(model.classes, int(x[i])) for x in (images.label, attack.before, attack.after)]
    aim = class_name(model.classes, int(attack.label[i])) if attack.targeted else None
    attacked = bool(attack.attacked[i])
    values = (
        model.ids[images.rows[i]], name[0], "true" if images.known[i] else "predicted", attack.name, aim,
        name[1], float(attack.p_before[i]), name[2], float(attack.p_after[i]), int(attacked),
        int(attack.success[i]) if attacked else None, float(attack.l2[i]), float(attack.linf[i]),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _summary(rows: Sequence[dict[str, Any]], eps: float) -> Table:
    """Tabulate success rates and norms of the attacks."""
    table = []
    for name in dict.fromkeys(row["attack"] for row in rows):
        own = [row for row in rows if row["attack"] == name]
        tried = [row for row in own if row["attacked"]]
        aims = {row["aim"] for row in own}
        aim = next(iter(aims)) or "untargeted" if len(aims) == 1 else "second most probable"
        means = [_mean([row[key] for row in tried]) for key in ("success", "l2", "linf")]
        largest = max((row["linf"] for row in tried), default=None)
        bound = None if name == "ascent" else eps
        table.append([name, aim, bound, len(own), len(tried), *means, largest])
    caption = "Success: share of the attacked images; norms: of their changes, pixels in 0…1."
    return Table(HEADS, table, caption)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _about(known: int, count: int) -> str:
    """Describe the classes used, and which images are attacked."""
    classes = "the true ones" if known == count else "the predicted ones, as the true ones are not known"
    if 0 < known < count:
        classes = f"the true ones of {known} images and, where these are not known, the predicted ones"
    return (
        f"The classes are {classes}. Images that are wrong already (aimed: that are predicted as the target "
        "already) are not attacked, and are ignored in rates and norms."
    )
