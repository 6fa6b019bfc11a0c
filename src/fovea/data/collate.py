"""Make batches of samples, and take their flattened boxes apart again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.data.cache import FLATTENED
from fovea.ops import rng
from fovea.types import Batch, Sample

Encode = Callable[[str], np.ndarray]  # a sentence → token ids
_STREAM = 106


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack images, masks and labels; arrays the boxes of all samples, with the number of their image."""
    given: Any = samples  # whose keys are variables below
    first = given[0]
    image = torch.from_numpy(np.stack([sample["image"] for sample in given]))  # (B, H, W, C)
    batch: Any = {"image": image.permute(0, 3, 1, 2).contiguous()}
    for key in ("mask", "instances", "keypoints"):
        if key in first:
            batch[key] = torch.from_numpy(np.stack([sample[key] for sample in given]))
    if "label" in first:
        batch["label"] = torch.tensor([sample["label"] for sample in given])
    for key in FLATTENED:
        if key in first:
            rows: list[np.ndarray] = [np.asarray(sample[key], dtype=FLATTENED[key][1]) for sample in given]
            batch[key] = torch.from_numpy(np.concatenate(rows))
            batch_index = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
            batch["batch_index"] = torch.from_numpy(batch_index)
    if "captions" in first:
        batch["captions"] = [sample["captions"] for sample in given]
    return batch


def captions(
    texts: list[list[str]], index: Tensor, *, epoch: int, encode: Encode | None, seed: int
) -> dict[str, Any]:
    """Return all references and, as padded token ids (B, T), one of each drawn by (seed, epoch, index)."""
    if encode is None:
        return {"captions": texts}
    drawn = rng.uniform(seed, epoch, index.numpy(), n=1, stream=_STREAM)[:, 0]
    rows = [
        encode(text[int(u * len(text))]) if text else np.zeros(0, dtype=np.int64)
        for text, u in zip(texts, drawn, strict=True)
    ]
    tokens = np.zeros((len(rows), max(1, *(len(row) for row in rows))), dtype=np.int64)
    for out, row in zip(tokens, rows, strict=True):
        out[: len(row)] = row
    return {"captions": texts, "caption": torch.from_numpy(tokens)}


def split_boxes(batch: Batch) -> Batch:
    """Split the flattened boxes, labels and ignore by image: lists of B tensors."""
    if "batch_index" not in batch:
        return batch
    entries: Any = {**batch}
    counts = torch.bincount(entries.pop("batch_index"), minlength=len(batch["image"])).tolist()
    for key in FLATTENED:
        if key in entries:
            entries[key] = list(entries[key].split(counts))
    return entries
