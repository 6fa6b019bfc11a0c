"""Reduce the output of a net to one score per image, which an explanation then explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Target(Protocol):
    """Map an output (B, …) to scores (B,). Any function will do.

    A target that depends on the output (the predicted class) or on the image also has `pin(output)`, which
    settles it, and `take(rows)`, which gives the target of a batch made of these rows.
    """

    def __call__(self, output: Any) -> Tensor:
        """Return scores (B,)."""
        ...


class ClassScore:
    """Take the logit of a class: one for all images, one for each (B,), or the predicted one."""

    def __init__(self, index: int | Sequence[int] | Tensor | None = None) -> None:
        self.index = index if index is None or isinstance(index, int) else torch.as_tensor(index)

    def __call__(self, output: Tensor) -> Tensor:
        """Map logits (B, num_classes) to scores (B,)."""
        self._require_logits(output)
        return self.scores(output).gather(1, self._classes(output)[:, None])[:, 0]

    def scores(self, output: Tensor) -> Tensor:
        """Map logits (B, num_classes) to the values of which one is the score."""
        return output

    def pin(self, output: Tensor) -> ClassScore:
        """Fix the class, so that it stays the same for a changed image."""
        self._require_logits(output)
        return self if self.index is not None else type(self)(output.detach().argmax(1))

    def take(self, rows: Tensor) -> ClassScore:
        """Return the target of the images at `rows`."""
        if not isinstance(self.index, Tensor) or not self.index.ndim:
            return self
        return type(self)(self.index.to(rows.device)[rows])

    def _require_logits(self, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 2:
            shape = getattr(output, "shape", None)  # what is no tensor may say itself why it has none
            got = f"a {type(output).__name__}" if shape is None else tuple(shape)
            raise ValueError(
                f"{type(self).__name__} takes logits (B, num_classes), and the net gives {got}: give a "
                "target of your own, a function that makes one score an image of it"
            )

    def _classes(self, output: Tensor) -> Tensor:
        if self.index is None:
            return output.detach().argmax(1)
        index = torch.as_tensor(self.index, device=output.device)
        if index.ndim and len(index) != len(output):
            raise ValueError(f"{len(index)} classes for {len(output)} images: give one, or one for each")
        if not 0 <= int(index.min()) <= int(index.max()) < output.shape[1]:
            raise ValueError(f"class {self.index} of a net with {output.shape[1]}: they count from 0")
        return index.expand(len(output))


class Probability(ClassScore):
    """Take the probability of a class, given as in `ClassScore`; softmax(logits)_c."""

    def scores(self, output: Tensor) -> Tensor:
        """Map logits to probabilities."""
        return output.softmax(1)


def pin(target: Target | None, output: Tensor) -> Target:
    """Fix the class of `target` from the output of unchanged images; None: the predicted class."""
    settle = getattr(target or ClassScore(), "pin", None)
    return settle(output) if settle else target  # type: ignore[return-value]


def take(target: Target, rows: Tensor) -> Target:
    """Return the target of a batch made of the images at `rows`."""
    choose = getattr(target, "take", None)
    return choose(rows) if choose else target


def tile(target: Target, *, batch: int, length: int, device: torch.device | None = None) -> Target:
    """Return the target of a batch of `length` in which the `batch` images come again and again in order."""
    return take(target, torch.arange(batch, device=device).repeat(length // batch))
