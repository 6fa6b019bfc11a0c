"""Keep what a network predicts on the test split, for the report and for comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fovea.callbacks.collector import Collector

MISTAKES = 24
SIDE = 160  # pixels of a kept picture at most


class ClassPredictions(Collector):
    """Write `test.npz` (ids, target, probs) and `mistakes.npz` (the most confident mistakes as pictures)."""

    def clear(self) -> None:
        """Start with nothing."""
        self._parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def take(self, outputs: Any, batch: Any, data: Any) -> None:
        """Keep the batch, still on the device."""
        self._parts.append((batch["index"], outputs["target"], outputs["preds"].softmax(dim=1)))

    def collected(self) -> Any:
        """Return index, target and probabilities of every batch."""
        return [tuple(t.cpu().numpy() for t in part) for part in self._parts] or None

    def write(self, everywhere: list[Any], data: Any) -> None:
        """Write both files."""
        parts = [part for one in everywhere for part in one]
        index, target, probs = (np.concatenate(x) for x in zip(*parts, strict=True))
        order = np.argsort(index, kind="stable")
        index, target, probs = index[order], target[order], probs[order]
        dataset = data.test
        ids = np.asarray(dataset.ids)[index].astype(str)
        np.savez(self.dirpath / "test.npz", ids=ids, target=target, probs=probs.astype(np.float32))
        preds = probs.argmax(axis=1)
        wrong = np.flatnonzero(preds != target)
        worst = wrong[np.argsort(-probs[wrong, preds[wrong]], kind="stable")][:MISTAKES]
        images = [picture(dataset.load(int(i))["image"]) for i in index[worst]]
        np.savez(
            self.dirpath / "mistakes.npz",
            images=_stack(images),
            ids=ids[worst],
            target=target[worst],
            preds=preds[worst],
            prob=probs[worst, preds[worst]].astype(np.float32),
        )


def picture(image: np.ndarray) -> np.ndarray:
    """Return an RGB thumbnail on a square (SIDE, SIDE, 3) canvas, or the image itself where it is small."""
    import cv2

    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    scale = min(1.0, SIDE / max(image.shape[:2]))
    if scale < 1.0:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def _stack(images: list[np.ndarray]) -> np.ndarray:
    if not images:
        return np.zeros((0, 1, 1, 3), np.uint8)
    height, width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    canvas = np.full((len(images), height, width, 3), 255, np.uint8)
    for place, image in zip(canvas, images, strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        place[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
