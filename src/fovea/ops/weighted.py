"""Losses that are added up, each with a weight of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

Loss = TypeVar("Loss", bound=Callable)


def in_use(losses: Mapping[str, Loss | None], *, key: str) -> dict[str, tuple[Loss, float]]:
    """Return the losses whose `weight` is not 0, with their weights; None stands for one that is left out.

    Raises:
        ValueError: a weight is negative or no number, or none is left; `key` is their place in the config.
    """
    weighted = {name: (loss, float(getattr(loss, "weight", 1.0))) for name, loss in losses.items() if loss}
    wrong = {name: weight for name, (_, weight) in weighted.items() if not 0 <= weight < float("inf")}
    if wrong:
        name, weight = next(iter(wrong.items()))
        raise ValueError(f"{key}.{name}.weight={weight} must be a number of at least 0")
    used = {name: pair for name, pair in weighted.items() if pair[1] > 0}
    if not used:
        first = next(iter(losses), "NAME")
        raise ValueError(f"{key}: every weight is 0; give one, such as {key}.{first}.weight=1")
    return used
