"""Keep which images of each split could not be read, over all processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from fovea.data.subset import Subset

log = logging.getLogger(__name__)


class LeftOut:
    """The images that were left out, each said once."""

    def __init__(self) -> None:
        self.rows: dict[str, set[int]] = {"train": set(), "val": set(), "test": set()}

    def add(self, split: str, index: int, *, subset: Subset) -> None:
        """Note an image that cannot be read, and say so once."""
        if index not in self.rows[split]:
            self.rows[split].add(index)
            log.warning("left out, since it cannot be read: %s", subset.name(index))

    def gather(self) -> None:
        """Learn what the other processes left out."""
        if dist.is_available() and dist.is_initialized():
            everywhere: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(everywhere, self.rows)
            for found in everywhere:
                for split, indices in found.items():
                    self.rows[split] |= indices

    def summary(self, splits: Mapping[str, Subset]) -> dict[str, Any]:
        """Describe what was left out for summary.json: images, and lines of a table."""
        skipped = {name: sorted(splits[name].name(i) for i in rows) for name, rows in self.rows.items()}
        lines = {line for subset in splits.values() for line in getattr(subset.dataset, "left_out", ())}
        found: dict[str, Any] = {"left_out": sorted(lines)} if lines else {}
        return found | {"num_skipped": sum(map(len, skipped.values())), "skipped": skipped}
