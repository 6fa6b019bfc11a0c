"""Choose samples of a data set, with the augmented versions that training sees."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.ops import rng

if TYPE_CHECKING:
    from fovea.data.module import DataModule
    from fovea.data.subset import Subset
    from fovea.types import Preprocessing, Sample

log = logging.getLogger(__name__)
_STREAM = 107


def choose(labels: np.ndarray | None, *, size: int, count: int, seed: int) -> list[int]:
    """Choose up to `count` of `size` images, a fixed choice by seed: one of every class in turn."""
    order = np.argsort(rng.bits(seed, 0, np.arange(size), n=1, stream=_STREAM)[:, 0], kind="stable")
    if labels is not None:
        turn = np.zeros(size, dtype=np.int64)  # (N,) how many images of the class come before
        for label in np.unique(labels):
            members = order[labels[order] == label]
            turn[members] = np.arange(len(members))
        order = order[np.argsort(turn[order], kind="stable")]
    chosen = order[:count]
    return [int(i) for i in (chosen if labels is None else chosen[np.argsort(labels[chosen], kind="stable")])]


def readable(subset: Subset, chosen: Sequence[int]) -> dict[int, Sample]:
    """Load samples, and leave out those that are damaged; the first error where all are."""
    found: dict[int, Sample] = {}
    failed = []
    for index in chosen:
        try:
            found[index] = subset.load(index)
        except (OSError, ValueError) as error:
            log.warning("left out: %s", error)
            failed.append(error)
    if failed and not found:
        raise failed[0]
    return found


def augmented(module: DataModule, chosen: Sequence[int], *, versions: int) -> list[list[dict[str, Any]]]:
    """Return, for each chosen training image, its versions in the first epochs, drawable.

    They come out of the training loader itself, narrowed to these images. Only the normalisation is undone.
    """
    module.splits["train"] = module.splits["train"].take(np.array(chosen))
    module.batch_size, module.num_workers, module.cache = len(chosen), 0, False
    loader = module.train_dataloader()
    found: list[list[dict[str, Any]]] = [[] for _ in chosen]
    for epoch in range(versions):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]  # TrainBatches
        for batch in loader:
            finished = module.finish_batch(batch, training=True)
            for row, index in enumerate(finished["index"].tolist()):
                found[index].append(sample_of(finished, row, module.preprocessing))
    return found


def sample_of(batch: Mapping[str, Any], row: int, preprocessing: Preprocessing) -> dict[str, Any]:
    """Take one sample out of a finished batch, its image back in 0…255."""
    mean, std = (np.asarray(preprocessing[key], dtype=np.float32) for key in ("mean", "std"))
    image = batch["image"][row].permute(1, 2, 0).float().cpu().numpy() * std + mean  # (H, W, C)
    sample: dict[str, Any] = {"image": np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)}
    for key in ("label", "boxes", "labels", "ignore", "mask", "instances", "keypoints"):
        if key in batch:
            value = batch[key][row].cpu()
            sample[key] = (value.float() if value.is_floating_point() else value).numpy()
    if "captions" in batch:
        sample["captions"] = batch["captions"][row]
    return sample
