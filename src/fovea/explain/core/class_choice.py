"""Settle what is asked about each image: the predicted class, the true one, a named one, the likeliest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fovea.explain.core.targets import ClassScore, Target


@dataclass(frozen=True)
class Asked:
    """Name one class that an image is asked about."""

    label: int
    name: str
    probability: float


class Questions(Protocol):
    """Choose the classes of each image, and what of the output they stand for."""

    def ask(self, output: Any, label: Tensor) -> list[list[Asked]]:
        """Return the classes asked about each image (B lists); `label` (B,) is -1 where it is not known.

        Every image has as many, except that one whose true class is asked for and not known has none.
        """
        ...

    def best(self, output: Any) -> list[Asked]:
        """Return the predicted class of each image."""
        ...

    def target(self, asked: Sequence[Asked]) -> Target:
        """Return the target of a batch with one class for each image."""
        ...


class ClassQuestions:
    """Ask about classes of logits (B, num_classes).

    Args:
        classes: names in the order of the logits.
        target: `predicted`, `true`, `top-3` (the likeliest three), a class's name, or its index.

    Raises:
        ValueError: a target that is none of these, with the nearest names.
    """

    def __init__(self, *, classes: Sequence[str], target: str | int = "predicted") -> None:
        self.classes = list(classes)
        self.count, self.index = _read(target, self.classes)
        self.true = target == "true"

    def ask(self, output: Tensor, label: Tensor) -> list[list[Asked]]:
        """Return the classes asked about each image."""
        probs = output.detach().float().softmax(1).cpu()  # (B, num_classes)
        if self.index is not None:
            chosen = torch.full((len(probs), 1), self.index)
        elif self.true:
            chosen = label.cpu()[:, None]
        else:
            chosen = probs.topk(min(self.count, probs.shape[1]), dim=1).indices  # (B, count)
        return [
            [self._asked(k, row) for k in ks if k >= 0]
            for ks, row in zip(chosen.tolist(), probs, strict=True)
        ]

    def best(self, output: Tensor) -> list[Asked]:
        """Return the predicted class of each image."""
        probs = output.detach().float().softmax(1).cpu()
        return [self._asked(int(row.argmax()), row) for row in probs]

    def target(self, asked: Sequence[Asked]) -> Target:
        """Return the logits of these classes as the target."""
        return ClassScore([a.label for a in asked])

    def _asked(self, label: int, probs: Tensor) -> Asked:
        name = self.classes[label] if label < len(self.classes) else str(label)
        return Asked(label, name, float(probs[label]))


def _read(target: str | int, classes: list[str]) -> tuple[int, int | None]:
    """Return how many of the likeliest classes are asked about, and the one class where it is named."""
    import difflib

    text = str(target).strip()
    if text in ("predicted", "true"):
        return 1, None
    if top := re.fullmatch(r"top-(\d+)", text):
        if int(top[1]) < 1:
            raise ValueError(f"target={text}: say top-1 or more")
        return int(top[1]), None
    if text in classes:
        return 1, _only([i for i, name in enumerate(classes) if name == text], text)
    if re.fullmatch(r"\d+", text):
        if int(text) >= len(classes):
            raise ValueError(f"target={text}: the classes are 0 to {len(classes) - 1}")
        return 1, int(text)
    lower = [name.lower() for name in classes]
    same = [
        i for i, name in enumerate(lower) if text.lower() in re.split(r",\s*", name) or text.lower() == name
    ]
    if same:
        return 1, _only(same, text)
    inside = [classes[i] for i, name in enumerate(lower) if text.lower() in name]
    parts = {part: name for name in classes for part in re.split(r",\s*", name.lower())}  # "tabby, tabby cat"
    alike = difflib.get_close_matches(text.lower(), parts, n=5, cutoff=0.0)
    near = inside[:5] or list(dict.fromkeys(parts[part] for part in alike))
    raise ValueError(
        f"target={text} is no class; near it are {', '.join(map(repr, near))}; other targets: predicted, "
        "true, top-3, a class's index"
    )


def _only(found: list[int], text: str) -> int:
    if len(found) > 1:
        raise ValueError(
            f"target={text} is the name of {len(found)} classes: say target={found[0]} or {found[1]}"
        )
    return found[0]
