"""Say what attacks did to the images of a model: before and after, row by row and in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fovea.explain.core.method import explaining
from fovea.explain.core.model import Subject
from fovea.explain.studies.adversarial.attack import Attack
from fovea.explain.studies.names import class_name
from fovea.page.blocks import Table

COLUMNS = (
    *("image", "class", "class_is", "attack", "aim", "before", "p_before", "after", "p_after"),
    *("attacked", "success", "l2", "linf"),
)
HEADS = ("attack", "aim", "bound L∞", "images", "attacked", "success", "mean L2", "mean L∞", "largest L∞")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Hold some images with their classes: the true ones where `known` (B,), else the predicted ones."""

    rows: list[int]
    picture: Tensor
    label: Tensor
    known: Tensor
    second: Tensor


def ask(subject: Subject, image: Tensor, label: Tensor, rows: list[int]) -> Asking:
    """Settle the classes of images (B, C, H, W), normalised; `label` (B,) is -1 where it is not known."""
    image, label = image.to(subject.device), label.to(subject.device)
    with explaining(subject.net), torch.no_grad():
        logits = subject.net(image)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError("attacks need a classifier with logits (B, num_classes) of two classes or more")
    first, second = logits.topk(2, dim=1).indices.unbind(1)
    known = label >= 0
    picture = subject.pixels.decode(image).clamp(0, 1)
    return Asking(
        rows=rows, picture=picture, label=torch.where(known, label, first), known=known, second=second
    )


def sureness(subject: Subject, attack: Attack) -> tuple[Tensor, Tensor]:
    """Return the probabilities (B,) of the classes named before and after."""
    with explaining(subject.net), torch.no_grad():
        before, after = (
            subject.net(subject.pixels.encode(p)).softmax(1).gather(1, named[:, None])[:, 0]
            for p, named in ((attack.original, attack.before), (attack.picture, attack.after))
        )
    return before, after


def line(
    subject: Subject, asked: Asking, attack: Attack, sure: tuple[Tensor, Tensor], i: int
) -> dict[str, Any]:
    """Return what an attack did to the i-th image."""
    name = [class_name(subject.classes, int(x[i])) for x in (asked.label, attack.before, attack.after)]
    aim = class_name(subject.classes, int(attack.label[i])) if attack.targeted else None
    attacked = bool(attack.attacked[i])
    values = (
        subject.ids[asked.rows[i]], name[0], "true" if asked.known[i] else "predicted", attack.name, aim,
        name[1], float(sure[0][i]), name[2], float(sure[1][i]), int(attacked),
        int(attack.success[i]) if attacked else None, float(attack.l2[i]), float(attack.linf[i]),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def summary(lines: Sequence[dict[str, Any]], eps: float) -> Table:
    """Tabulate success rates and norms of the attacks in the rows of `line`."""
    rows = []
    for name in dict.fromkeys(line["attack"] for line in lines):
        own = [line for line in lines if line["attack"] == name]
        tried = [line for line in own if line["attacked"]]
        aims = {line["aim"] for line in own}
        aim = next(iter(aims)) or "any mistake" if len(aims) == 1 else "second-likeliest"
        means = [_mean([line[key] for line in tried]) for key in ("success", "l2", "linf")]
        largest = max((line["linf"] for line in tried), default=None)
        bound = None if name == "ascent" else eps
        rows.append([name, aim, bound, len(own), len(tried), *means, largest])
    return Table(
        HEADS, rows, "Success: share of the attacked images; norms: of their changes, pixels in 0…1."
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def explain(known: int, count: int) -> str:
    """Say what the classes are, and what is counted."""
    classes = "the true ones" if known == count else "the predicted ones, as the true ones are not known"
    if 0 < known < count:
        classes = f"the true ones of {known} images and, where these are not known, the predicted ones"
    return (
        f"The classes are {classes}. Images that are wrong already (aimed: that are taken for the target "
        "already) are not attacked, and count neither for the rates nor for the norms."
    )
