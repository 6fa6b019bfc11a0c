"""Hash images, to find equal and nearly equal ones."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

CELLS = 6
SIDE = 12  # pixels of a thumbnail
FLAT = 4.0  # standard deviation below which a thumbnail shows too little to be recognised
ALIKE = 0.12  # of the contrast: how much the thumbnails of one picture differ at most


def digest(image: np.ndarray) -> bytes:
    """Return 16 bytes that two images share only if all their pixels (H, W, C) are equal."""
    found = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(image).data)
    return found.digest()


def perceptual_hash(image: np.ndarray) -> int:
    """Return 60 bits that change little when an image (H, W, C) uint8 is encoded, scaled or lit differently.

    Of 6×6 grey cells, whether each is brighter than its left and its upper neighbour: the difference hash (N.
    Krawetz, "Kind of like that", 2013) in both directions. So coarse, it hardly sees noise, and different
    pictures may share it: `alike` decides.
    """
    grey = image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.concatenate([(cells[:, 1:] > cells[:, :-1]).ravel(), (cells[1:] > cells[:-1]).ravel()])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, C) to SIDE × SIDE: (SIDE, SIDE, C) uint8."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE, SIDE, -1)


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which pairs of thumbnails (N, SIDE, SIDE, C) agree, whatever their brightness.

    The mean is taken out of each channel, the contrast out of the whole; what is left may differ by ALIKE of
    the contrast. Flat pictures are like no other.
    """
    one, two = (_centred(thumbs) for thumbs in (first, second))
    spread = [np.sqrt((x**2).mean(axis=(1, 2, 3))) for x in (one, two)]
    flat = np.minimum(*spread) < FLAT
    safe = [np.maximum(x, 1e-6)[:, None, None, None] for x in spread]
    difference = np.sqrt(((one / safe[0] - two / safe[1]) ** 2).mean(axis=(1, 2, 3)))
    return ~flat & (difference < ALIKE)


def _centred(thumbs: np.ndarray) -> np.ndarray:
    values = thumbs.astype(np.float32)
    return values - values.mean(axis=(1, 2), keepdims=True)
