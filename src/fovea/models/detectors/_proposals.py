"""Search proposals in the images that a net sees, and remember those of images seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Search = Callable[[np.ndarray], np.ndarray]  # image uint8 (H, W, 3) to boxes (N, 4)


class Proposals:
    """The proposals of images, found by their pixels; those of a mirror image are the mirrored ones.

    A training without other augmentation than the mirror searches each image once.

    Args:
        search: what proposes; it takes long.
        mean, std: what the images were normalised with, per channel, of pixels in 0…1.
        remembered: images, the last ones that were searched.
    """

    def __init__(
        self, search: Search, *, mean: Sequence[float], std: Sequence[float], remembered: int
    ) -> None:
        self.search, self.remembered = search, remembered
        self.mean, self.std = np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)
        self.known: dict[bytes, np.ndarray] = {}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the proposals of images (B, C, H, W): (N, 4) each, in pixels, on the images' device."""
        pixels = images.detach().float().permute(0, 2, 3, 1).cpu().numpy() * self.std + self.mean
        whole = (pixels * 255).round().clip(0, 255).astype(np.uint8)
        if whole.shape[3] == 1:
            whole = whole.repeat(3, axis=3)
        return [torch.from_numpy(self._of(image)).to(images.device) for image in whole]

    def _of(self, image: np.ndarray) -> np.ndarray:
        """Search an image and its mirror image in one and the same view, whichever comes first."""
        mirror = image[:, ::-1]
        key, other = _key(image), _key(mirror)
        boxes = self._searched(image, key) if key <= other else self._searched(mirror, other)
        return boxes if key <= other else _mirrored(boxes, image.shape[1])

    def _searched(self, image: np.ndarray, key: bytes) -> np.ndarray:
        if key not in self.known:
            while len(self.known) >= max(self.remembered, 1):
                del self.known[next(iter(self.known))]
            self.known[key] = self.search(np.ascontiguousarray(image))
        return self.known[key]


def _mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Mirror boxes (N, 4) left to right."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _key(image: np.ndarray) -> bytes:
    content = np.ascontiguousarray(image)
    return hashlib.blake2b(content.tobytes() + str(content.shape).encode(), digest_size=16).digest()
