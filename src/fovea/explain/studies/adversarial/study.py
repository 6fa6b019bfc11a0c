"""Attack images of a model: how little makes it wrong, or makes it name a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.adversarial.attack import Attack
from fovea.explain.studies.adversarial.attacked import COLUMNS, Asking, ask, explain, line, summary, sureness
from fovea.explain.studies.adversarial.attacks import fgsm, pgd, targeted_ascent
from fovea.explain.studies.base import Study
from fovea.explain.studies.names import class_index, class_name, file_stem, write_table
from fovea.page.blocks import Block, Picture, Text
from fovea.page.image_grid import Tile, grid


class AdversarialStudy(Study):
    """Attack by targeted gradient ascent, FGSM and PGD, and show the changes magnified.

    Args:
        target: a class's name or index that all attacks aim at; null: FGSM and PGD aim at any mistake, ascent
            at the second-likeliest class.
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

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png) and `adversarial.csv`, a row per image and attack."""
        aim = None if self.target is None else class_index(subject.classes, self.target)
        lines: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        known = 0
        for views in subject.batches(self.limit):
            asked = ask(subject, views.image, views.label, views.rows)
            known += int(asked.known.sum())
            attacks = self._attack(subject, asked, aim)
            sure = [sureness(subject, attack) for attack in attacks]
            for i in range(len(views.rows)):
                lines += [line(subject, asked, a, s, i) for a, s in zip(attacks, sure, strict=True)]
                if len(pictures) < self.pictured:
                    pictures.append(self._sheet(subject, folder, asked, attacks, sure, i))
        if not lines:
            raise ValueError("there are no images to attack")
        write_table(folder / "adversarial.csv", lines, columns=COLUMNS)
        return [Text(explain(known, len(lines) // 3)), summary(lines, self.eps), *pictures]

    def _attack(self, subject: Subject, asked: Asking, aim: int | None) -> list[Attack]:
        net, pixels, picture = subject.net, subject.pixels, asked.picture
        target = asked.second if aim is None else torch.full_like(asked.label, aim)
        label, targeted = (asked.label, False) if aim is None else (target, True)
        return [
            targeted_ascent(
                net, picture, target, pixels=pixels, steps=self.ascent_steps, lr=self.ascent_lr
            ),
            fgsm(net, picture, label, pixels=pixels, eps=self.eps, targeted=targeted),
            pgd(
                net, picture, label, pixels=pixels, eps=self.eps, steps=self.steps, targeted=targeted,
                seed=self.seed + asked.rows[0],
            ),
        ]  # fmt: skip

    def _sheet(
        self,
        subject: Subject,
        folder: Path,
        asked: Asking,
        attacks: Sequence[Attack],
        sure: Sequence[tuple[Tensor, Tensor]],
        i: int,
    ) -> Picture:
        said = _said(subject, attacks[0].before[i], sure[0][0][i])
        truth = [f"true: {class_name(subject.classes, int(asked.label[i]))}"] if asked.known[i] else []
        cells = [Tile(picture=to_uint8(asked.picture[i]), lines=["original", said, *truth])]
        for attack, (_, after) in zip(attacks, sure, strict=True):
            cells += self._pair(subject, attack, after, i)
        path = grid(folder / f"{file_stem(subject, asked.rows[i])}.png", [cells])
        return Picture(path, f"attacks on {subject.name}", str(subject.ids[asked.rows[i]]))

    def _pair(self, subject: Subject, attack: Attack, after: Tensor, i: int) -> list[Tile]:
        """Return the attacked picture and its change, magnified."""
        aim = f"to {class_name(subject.classes, int(attack.label[i]))}" if attack.targeted else "any mistake"
        words = [attack.name.replace("inf", "∞"), _said(subject, attack.after[i], after[i]), aim]
        largest = float(attack.linf[i])
        factor = self.factor or 0.5 / max(largest, 1e-12)
        times = f"change × {factor:.3g}" if largest > 0 else "no change"
        change = to_uint8(attack.magnified(self.factor)[i])
        return [
            Tile(picture=to_uint8(attack.picture[i]), lines=words),
            Tile(picture=change, lines=[times, f"L2 {float(attack.l2[i]):.3g}"]),
        ]


def _said(subject: Subject, label: Tensor, probability: Tensor) -> str:
    return f"{class_name(subject.classes, int(label))} {float(probability):.2f}"
