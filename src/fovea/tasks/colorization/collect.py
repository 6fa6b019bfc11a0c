"""Keep how well the test pictures were coloured, and the best and the worst of them."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import torch

from fovea.callbacks.collector import Collector
from fovea.metrics.colour import ab_error, colourfulness, image_psnr
from fovea.tasks.colorization.task import recoloured

KEPT = 8  # pictures: the best, the worst, and the first whatever they are
SIDE = 192  # pixels of a kept picture at most
COLUMNS = ("ab_error", "grey_error", "psnr", "colourfulness", "true_colourfulness", "pixels")


class ColourPredictions(Collector):
    """Write `test.npz` (one row for each picture) and `colours.npz` (some pictures).

    test.npz: ids; ab_error, that of a grey picture, psnr, colourfulness, and that of the truth;
    pixels, the sum of the truth's values 0…255.
    colours.npz: group (best, worst or first), row in test.npz, truth and pred (H, W, 3), error (H, W) in ab.
    """

    def clear(self) -> None:
        """Start with nothing."""
        self._rows: list[torch.Tensor] = []
        self._kept: dict[str, list[tuple[float, int, Any]]] = {"best": [], "worst": [], "first": []}

    def take(self, outputs: Any, batch: Any, data: Any) -> None:
        """Measure the pictures of the batch, and keep some."""
        image, ab, target = batch["image"].float(), outputs["preds"], outputs["target"]
        pictures = recoloured(image, ab)
        errors = ab_error(ab, target).cpu()
        truth = image.expand(-1, 3, -1, -1)
        columns = [errors, ab_error(torch.zeros_like(target), target), image_psnr(pictures, truth)]
        columns += [colourfulness(pictures), colourfulness(truth)]
        columns.append((truth.double().flatten(1) * 255).round().sum(dim=1))  # exact: tells test sets apart
        index = batch["index"].cpu()
        self._rows.append(torch.stack([index.double(), *(c.double().cpu() for c in columns)], dim=1))
        for i, error in enumerate(errors.tolist()):
            row, shown = int(index[i]), (image[i], pictures[i], ab[i], target[i])
            for name, rank in (("best", -error), ("worst", error), ("first", -float(row))):
                self._keep(name, rank, row, shown)

    def _keep(self, name: str, rank: float, row: int, shown: tuple[torch.Tensor, ...]) -> None:
        heap = self._kept[name]
        if len(heap) < KEPT or (rank, row) > heap[0][:2]:
            push = heapq.heappush if len(heap) < KEPT else heapq.heapreplace
            push(heap, (rank, row, _pictures(*shown)))

    def collected(self) -> Any:
        """Return the measures and the kept pictures."""
        return (torch.cat(self._rows).numpy(), self._kept) if self._rows else None

    def write(self, everywhere: list[Any], data: Any) -> None:
        """Write both files."""
        rows = np.concatenate([found for found, _ in everywhere])
        kept = {
            name: sorted((one for _, found in everywhere for one in found[name]), key=lambda k: (-k[0], k[1]))
            for name in ("best", "worst", "first")
        }
        self._write(data.test, rows[np.argsort(rows[:, 0], kind="stable")], kept)

    def _write(self, dataset: Any, rows: np.ndarray, kept: dict[str, list[tuple[float, int, Any]]]) -> None:
        ids = np.asarray(dataset.ids)
        columns: dict[str, Any] = dict(zip(COLUMNS, rows[:, 1:].T, strict=True))
        np.savez(self.dirpath / "test.npz", ids=ids[rows[:, 0].astype(int)].astype(str), **columns)
        place = {int(index): i for i, index in enumerate(rows[:, 0])}
        shown = [(name, row, found) for name, all_ in kept.items() for _, row, found in all_[:KEPT]]
        np.savez(
            self.dirpath / "colours.npz",
            group=np.array([name for name, _, _ in shown]),
            row=np.array([place[row] for _, row, _ in shown]),  # in test.npz
            truth=np.stack([found[0] for *_, found in shown]),
            pred=np.stack([found[1] for *_, found in shown]),
            error=np.stack([found[2] for *_, found in shown]),
        )


def _pictures(
    image: torch.Tensor, picture: torch.Tensor, ab: torch.Tensor, target: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth and prediction (H, W, 3) uint8 and the distance in ab (H, W) float32, made small."""
    distance = (ab.float() - target.float()).square().sum(dim=0, keepdim=True).sqrt()
    both = [_small(x.float().expand(3, -1, -1)).clamp(0, 1) * 255 for x in (image, picture)]
    truth, pred = (x.round().byte().permute(1, 2, 0).cpu().numpy() for x in both)
    return truth, pred, _small(distance)[0].cpu().numpy()


def _small(x: torch.Tensor) -> torch.Tensor:
    scale = SIDE / max(x.shape[1:])
    if scale >= 1:
        return x
    size = [max(1, round(side * scale)) for side in x.shape[1:]]
    return torch.nn.functional.interpolate(x[None], size, mode="bilinear", antialias=True)[0]
