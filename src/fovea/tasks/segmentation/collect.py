"""Keep what a segmentation net gets right on the test split, for the report and for comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.callbacks.collector import Collector
from fovea.ops.segmentation import confusion, iou_per_class

SHOWN = 8  # of the best and of the worst images
Lowest = tuple[Tensor, Tensor, Tensor]  # score (n,), index (n,), maps (n, 2, H, W): truth and prediction


class MaskPredictions(Collector):
    """Write `test.npz` and `masks.npz` for a net that gives class maps.

    `test.npz` holds for every image (N) and class (K): ids, and the pixels that are `right`, `found` and
    `truth` (N, K); over all images the `confusion` (K, K), row = truth; the palette. `masks.npz` holds the
    best and the worst images by mean IoU over the classes in them: image, truth, preds, ids, iou. Until the
    end only counts and those few maps are kept, on the device.
    """

    def __init__(self, *, dirpath: Path | str | None = None, shown: int = SHOWN) -> None:
        if shown < 0:
            raise ValueError(f"report.collect.shown={shown} must be at least 0")
        super().__init__(dirpath=dirpath)
        self.shown = shown

    def clear(self) -> None:
        """Start with nothing."""
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._total: Tensor | None = None
        self._kept: dict[str, Lowest] = {}

    def take(self, outputs: Any, batch: Any, data: Any) -> None:
        """Count the batch on the device."""
        preds, target = outputs["preds"], outputs["target"]
        counts = confusion(preds, target, int(data.num_classes))
        total = counts.sum(0)
        self._total = total if self._total is None else self._total + total
        right, truth, found = counts.diagonal(dim1=1, dim2=2), counts.sum(2), counts.sum(1)
        self._parts.append((batch["index"], right.int(), found.int(), truth.int()))  # (B, K)
        if self.shown:
            score = iou_per_class(counts).nanmean(1)  # (B,)
            index = batch["index"].to(score.device)
            maps = torch.stack([target, preds], 1).to(torch.uint8)
            for name, sign in (("worst", 1), ("best", -1)):
                before = [self._kept[name]] if name in self._kept else []
                new = ((sign * score).nan_to_num(torch.inf), index, maps)  # NaN: nothing in it counts
                self._kept[name] = lowest([*before, new], self.shown)

    def collected(self) -> Any:
        """Return the counts, the kept maps and the matrix."""
        parts = [tuple(t.cpu() for t in part) for part in self._parts]
        kept = {name: tuple(t.cpu() for t in found) for name, found in self._kept.items()}
        return None if self._total is None else (parts, kept, self._total.cpu())

    def write(self, everywhere: list[Any], data: Any) -> None:
        """Write both files."""
        self._write_counts(data, [part for one in everywhere for part in one[0]], [o[2] for o in everywhere])
        self._write_pictures(data, [one[1] for one in everywhere])

    def _write_counts(self, data: Any, parts: list[Any], totals: list[Tensor]) -> None:
        index, right, found, truth = (torch.cat(x).numpy() for x in zip(*parts, strict=True))
        order = np.argsort(index, kind="stable")
        np.savez(
            self.dirpath / "test.npz",
            ids=_ids(data, index[order]),
            right=right[order],
            found=found[order],
            truth=truth[order],
            confusion=torch.stack(totals).sum(0).numpy(),
            palette=np.array(data.labelling().get("palette", []), dtype=np.uint8).reshape(-1, 3),
        )

    def _write_pictures(self, data: Any, kept: list[dict[str, Lowest]]) -> None:
        """Write what is lowest over all processes, each image as the net saw it."""
        arrays: dict[str, Any] = {}
        for name, sign in (("worst", 1), ("best", -1)):
            score, index, maps = lowest([one[name] for one in kept if name in one], self.shown)
            counted = score.isfinite()
            score, index, maps = score[counted], index[counted], maps[counted]
            images = [data.preprocess.to_array(data.test.load(int(i))["image"]) for i in index]
            channels = data.preprocess.channels
            arrays |= {
                f"{name}_image": np.stack(images) if images else np.zeros((0, 1, 1, channels), np.uint8),
                f"{name}_truth": maps[:, 0].numpy(),
                f"{name}_preds": maps[:, 1].numpy(),
                f"{name}_ids": _ids(data, index.numpy()),
                f"{name}_iou": (sign * score).numpy(),
            }
        np.savez(self.dirpath / "masks.npz", **arrays)


def lowest(parts: list[Lowest], count: int) -> Lowest:
    """Return the `count` lowest scores of all parts in whatever order; of equal ones the first."""
    if not parts:
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 1, 1, dtype=torch.uint8)
    score, index, maps = (torch.cat(x) for x in zip(*parts, strict=True))
    by_index = index.argsort()
    rows = by_index[score[by_index].argsort(stable=True)][:count]
    return score[rows], index[rows], maps[rows]


def _ids(data: Any, index: np.ndarray) -> np.ndarray:
    return np.asarray([data.test.name(int(i)) for i in index], dtype=str)
