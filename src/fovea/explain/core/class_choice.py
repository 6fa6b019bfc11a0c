"""Select the classes that are explained: the predicted, the true, a named one, the most probable ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fovea.explain.core.targets import ClassScore, Target


@dataclass(frozen=True)
class SelectedClass:
    """A class that is explained for an image, with the probability that the net gives it.

    Attributes:
        layer: path of the module whose map decides it, where that is known; None: see `cam_layer`.
        box: of a detection, x1 y1 x2 y2 in pixels of the net's input.
        number: of a detection, from 1, the most certain first.
    """

    label: int
    name: str
    probability: float
    layer: str | None = None
    box: tuple[float, float, float, float] | None = None
    number: int = 0

    def __str__(self) -> str:
        """Name the class with its probability."""
        return f"{self.name} {self.probability:.3f}"


class ClassSelector(Protocol):
    """Select the classes of each image, and return the target that reads them off the output.

    Optional: `nothing`, why an image has none (else its true class is not known); `of_image`, False where
    what is selected is of a part, so that a true class of the image says nothing about it.
    """

    def select(self, output: Any, label: Tensor) -> list[list[SelectedClass]]:
        """Return the selected classes of each image (B lists); `label` (B,) is -1 where it is not known.

        Every image has as many, except that one whose true class is selected and not known has none.
        """
        ...

    def predicted(self, output: Any) -> list[SelectedClass]:
        """Return the predicted class of each image."""
        ...

    def target(self, selected: Sequence[SelectedClass]) -> Target:
        """Return the target of a batch with one class for each image."""
        ...


class LogitSelector:
    """Select among the classes of logits (B, num_classes).

    Args:
        classes: names in the order of the logits.
        target: `predicted`, `true`, `top-3` (the three most probable), a class's name, or its index.

    Raises:
        ValueError: a target that is none of these, with the nearest names.
    """

    def __init__(self, *, classes: Sequence[str], target: str | int = "predicted") -> None:
        self.classes = list(classes)
        self.count, self.index = read_target(target, self.classes)
        self.true = target == "true"

    def select(self, output: Tensor, label: Tensor) -> list[list[SelectedClass]]:
        """Return the selected classes of each image."""
        probs = self.probabilities(output)
        if self.index is not None:
            chosen = torch.full((len(probs), 1), self.index)
        elif self.true:
            chosen = label.cpu()[:, None]
        else:
            chosen = self.ranked(probs)[:, : self.count]  # (B, count)
        rows = zip(chosen.tolist(), probs, strict=True)
        return [[self._selected(k, row) for k in labels if k >= 0] for labels, row in rows]

    def predicted(self, output: Tensor) -> list[SelectedClass]:
        """Return the predicted class of each image."""
        probs = self.probabilities(output)
        return [
            self._selected(k, row) for k, row in zip(self.ranked(probs)[:, 0].tolist(), probs, strict=True)
        ]

    def target(self, selected: Sequence[SelectedClass]) -> Target:
        """Return the logits of these classes as the target."""
        return ClassScore([one.label for one in selected])

    def probabilities(self, output: Tensor) -> Tensor:
        """Return the probability (B, num_classes) of each class, on the CPU."""
        return output.detach().float().softmax(1).cpu()

    def ranked(self, probs: Tensor) -> Tensor:
        """Order the classes (B, num_classes), the most probable first."""
        return probs.argsort(dim=1, descending=True, stable=True)

    def _selected(self, label: int, probs: Tensor) -> SelectedClass:
        name = self.classes[label] if label < len(self.classes) else str(label)
        return SelectedClass(label, name, float(probs[label]) if label < len(probs) else 0.0)


def by_layer(selected: Sequence[SelectedClass]) -> list[list[int]]:
    """Return the positions of the classes that one layer decides together."""
    groups: dict[str | None, list[int]] = {}
    for i, one in enumerate(selected):
        groups.setdefault(one.layer, []).append(i)
    return list(groups.values())


def read_target(
    target: str | int, classes: list[str], *, others: str = "predicted, true, top-3"
) -> tuple[int, int | None]:
    """Return how many of the most probable classes are selected, and the one class where it is named.

    An error names `others` beside the nearest classes.
    """
    text = str(target).strip()
    if text in ("predicted", "true"):
        return 1, None
    if top := re.fullmatch(r"top-(\d+)", text):
        if int(top[1]) < 1:
            raise ValueError(f"target={text}: give top-1 or more")
        return int(top[1]), None
    if text in classes:
        return 1, _only([i for i, name in enumerate(classes) if name == text], text)
    if re.fullmatch(r"\d+", text):
        if int(text) >= len(classes):
            raise ValueError(f"target={text}: the classes are 0 to {len(classes) - 1}")
        return 1, int(text)
    lower = text.lower()
    synonyms = [[*re.split(r",\s*", name.lower()), name.lower()] for name in classes]  # "tabby, tabby cat"
    if same := [i for i, names in enumerate(synonyms) if lower in names]:
        return 1, _only(same, text)
    inside = [name for name in classes if lower in name.lower()]
    full = {synonym: name for name, names in zip(classes, synonyms, strict=True) for synonym in names[:-1]}
    alike = difflib.get_close_matches(lower, full, n=5, cutoff=0.0)
    near = inside[:5] or list(dict.fromkeys(full[synonym] for synonym in alike))
    raise ValueError(
        f"target={text} is not a class; nearest: {', '.join(map(repr, near))}; other targets: {others}, "
        "a class's index"
    )


def _only(found: list[int], text: str) -> int:
    if len(found) > 1:
        raise ValueError(
            f"target={text} is the name of {len(found)} classes: give target={found[0]} or {found[1]}"
        )
    return found[0]
