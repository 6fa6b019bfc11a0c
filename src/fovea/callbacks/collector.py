"""Collect the answers of a net to the test split on every process, and write them once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import numpy as np
import torch
from torch import Tensor

from fovea.files import own_folder, replacing
from fovea.types import TaskView, ViewFactory


class Kept(NamedTuple):
    """The images of one gallery: rank (n,), index in the data set (n,), answer (n, …), truth (n, …)."""

    rank: Tensor
    place: Tensor
    answer: Tensor
    truth: Tensor


class Collected(NamedTuple):
    """The answers of one process, on the CPU."""

    rows: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]
    shown: dict[str, Kept]


class Collector(L.Callback):
    """Write `test.npz`, the scores of every test image, and `examples.npz`, the images that the report shows.

    test.npz: `ids` and the rows of the task's view, in the order of the data set; its sums as `total_…`.
    examples.npz: for each gallery of the view `…_ids`, `…_score`, `…_image` (as the net saw it), `…_answer`,
    `…_truth`; the `labelling` as JSON. Until the end all is kept on the device, of answers only those shown.
    """

    def __init__(self, *, view: ViewFactory, dirpath: Path | str | None = None) -> None:
        self._make = view
        self.view: TaskView = view()  # for now: wrong options are refused before the training
        if self.view.shown < 0:
            raise ValueError(f"report.view.shown={self.view.shown} must be at least 0")
        self.dirpath = Path() if dirpath is None else Path(dirpath)
        self.writes = dirpath is not None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear the collected answers."""
        data = _data(trainer)
        self.view = self._make(classes=data.classes, labelling=data.labelling())
        self._rows: list[dict[str, Tensor]] = []
        self._sums: dict[str, Tensor] = {}
        self._shown: dict[str, Kept] = {}
        self.arrays: dict[str, np.ndarray] = {}  # at the end: `index`, and what test.npz holds

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect one batch of this process with the output of `step`."""
        found = self.view.measure(outputs, batch)
        self._rows.append({"index": batch["index"], **found.rows})
        for name, value in found.sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        for name, rank in found.ranks.items() if self.view.shown else ():
            rank = rank.float().masked_fill(rank.isnan(), -torch.inf)
            maps = (_as_shown(values, _data(trainer)) for values in (found.answer, found.truth))
            new = Kept(rank, batch["index"].to(rank.device), *maps)
            before = [self._shown[name]] if name in self._shown else []
            self._shown[name] = highest([*before, highest([new], self.view.shown)], self.view.shown)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather from all processes, and write on the first."""
        everywhere: list[Collected | None] = [self._collected()]
        if trainer.world_size > 1:
            mine, everywhere = everywhere[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, mine)
        found = [one for one in everywhere if one is not None]
        if not found or not trainer.is_global_zero:
            return
        self.arrays = _joined(found)
        if self.writes:
            own_folder(self.dirpath)
            ids = _ids(_data(trainer), self.arrays["index"])
            rows = {key: values for key, values in self.arrays.items() if key != "index"}
            _save(self.dirpath / "test.npz", {"ids": ids, **rows})
            self._write_examples([one.shown for one in found], _data(trainer))

    def _collected(self) -> Collected | None:
        if not self._rows:
            return None
        names = self._rows[0]
        rows = {name: stacked([part[name].cpu().numpy() for part in self._rows]) for name in names}
        shown = {name: Kept(*(t.cpu() for t in kept)) for name, kept in self._shown.items()}
        return Collected(rows, {name: total.cpu().numpy() for name, total in self._sums.items()}, shown)

    def _write_examples(self, shown: Sequence[Mapping[str, Kept]], data: Any) -> None:
        """Write the images that rank highest over all processes, each as the net saw it."""
        arrays: dict[str, Any] = {"labelling": np.array(json.dumps(data.labelling()))}
        for name in shown[0]:
            kept = highest([one[name] for one in shown], self.view.shown)
            kept = Kept(*(values[kept.rank > -torch.inf] for values in kept))
            images = [data.preprocess.to_array(data.test.load(int(i))["image"]) for i in kept.place]
            rows = np.searchsorted(self.arrays["index"], kept.place.numpy())
            arrays |= {
                f"{name}_ids": _ids(data, kept.place.numpy()),
                f"{name}_score": self.arrays["score"][rows],
                f"{name}_image": np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8),
                f"{name}_answer": kept.answer.numpy(),
                f"{name}_truth": kept.truth.numpy(),
            }
        _save(self.dirpath / "examples.npz", arrays)


def _joined(found: Sequence[Collected]) -> dict[str, np.ndarray]:
    """Return the rows of all processes in the order of the data set, and their sums as `total_…`."""
    rows = {key: stacked([one.rows[key] for one in found]) for key in found[0].rows}
    order = np.argsort(rows["index"], kind="stable")
    sums = {f"total_{name}": np.sum([one.sums[name] for one in found], axis=0) for name in found[0].sums}
    return {**{key: values[order] for key, values in rows.items()}, **sums}


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join rows (B, …) of batches; where M of (B, M, …) differs, NaN fills up the shorter ones."""
    if len({part.shape[1:] for part in parts}) > 1:
        most = max(part.shape[1] for part in parts)
        fill = [[(0, 0), (0, most - part.shape[1]), *[(0, 0)] * (part.ndim - 2)] for part in parts]
        parts = [np.pad(p, f, constant_values=np.nan) for p, f in zip(parts, fill, strict=True)]
    return np.concatenate(parts)


def highest(parts: Sequence[Kept], count: int) -> Kept:
    """Return the `count` images of all parts that rank highest; of equal ones the first of the data set."""
    joined = Kept(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    by_place = joined.place.argsort()
    rows = by_place[joined.rank[by_place].argsort(stable=True, descending=True)][:count]
    return Kept(*(tensor[rows] for tensor in joined))


def _as_shown(maps: Tensor, data: Any) -> Tensor:
    """Bring maps (B, H, W) at the images' own size to the size of the pictures, which is the net's."""
    if maps.ndim != 3 or not data.own_size or tuple(maps.shape[1:]) == data.preprocess.size:
        return maps
    fitted = [data.preprocess.fit_mask(one) for one in maps.cpu().numpy()]
    return torch.from_numpy(np.stack(fitted)).to(maps.device)


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def _ids(data: Any, index: np.ndarray) -> np.ndarray:
    return np.asarray([data.test.name(int(i)) for i in index], dtype=str)


def _data(trainer: Any) -> Any:
    return trainer.datamodule  # Lightning sets it without declaring it
