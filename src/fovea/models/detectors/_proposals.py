"""Search proposals in the images that a net sees, and remember those of images seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Search = Callable[[np.ndarray], np.ndarray]  # image uint8 (H, W, 3) to boxes (N, 4)


class Proposals:
    """The proposals of images, found by their pixels; those of a mirrored image are mirrored.

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
        key, width = _key(image), image.shape[1]
        if key not in self.known:
            mirrored = self.known.get(_key(image[:, ::-1]))
            if mirrored is not None:
                return np.stack(
                    [width - mirrored[:, 2], mirrored[:, 1], width - mirrored[:, 0], mirrored[:, 3]], axis=1
                )
            while len(self.known) >= max(self.remembered, 1):
                del self.known[next(iter(self.known))]
            self.known[key] = self.search(image)
        return self.known[key]


def _key(image: np.ndarray) -> bytes:
    content = np.ascontiguousarray(image)
    return hashlib.blake2b(content.tobytes() + str(content.shape).encode(), digest_size=16).digest()
