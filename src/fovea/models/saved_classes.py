"""Tell for how many classes the weights in a file are."""

from __future__ import annotations

from collections.abc import Iterable

from fovea.models._weights import read_state


def saved_classes(path: str, heads: Iterable[str]) -> set[int]:
    """Return how many outputs the modules `heads` have in a file, whatever its names begin with."""
    ends = tuple(f".{head}.{kind}" for head in heads for kind in ("weight", "bias"))
    return {len(v) for k, v in read_state(path).items() if f".{k}".endswith(ends) and v.ndim}
