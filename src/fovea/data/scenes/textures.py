"""Generate the textures of objects and backdrops as tiles, once per process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fovea.ops import rng

TEXTURES = ("plain", "striped", "checked", "dotted", "shaded", "speckled")
SIDE = 64  # a tile covers one period with 64 × 64 values
LEVELS = 32  # values are levels of a ramp between two colours
# The period of each pattern in radii of its object, and its least number of pixels
PERIOD = np.array([1.0, 0.62, 0.95, 0.68, 2.6, 1.8])
LEAST = np.array([1.0, 3.5, 5.0, 4.5, 1.0, 12.0])
BACKDROPS = ("sky", "grass", "sand", "slate")
_SEED, _STREAM = 7, 40


def _noise(height: int, width: int, *, stream: int) -> np.ndarray:
    """Return white noise (height, width) of deviation 1, the same in every process."""
    rows = rng.uniform(_SEED, 0, np.arange(height), n=width, stream=_STREAM + stream)
    return (rows - 0.5) * np.sqrt(12)


def smooth(height: int, width: int, *, decay: float, stretch: float = 1.0, stream: int) -> np.ndarray:
    """Return noise that repeats seamlessly, with amplitudes that fall as frequency ** -decay.

    `stretch` above 1 draws it out vertically.
    """
    fy, fx = np.fft.fftfreq(height)[:, None] * stretch, np.fft.rfftfreq(width)[None]
    frequency = np.sqrt(fy**2 + fx**2)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(_noise(height, width, stream=stream)) * frequency**-decay
    field = np.fft.irfft2(spectrum, s=(height, width))
    return (field - field.mean()) / field.std()


def _wave(turns: np.ndarray, *, sharpness: float) -> np.ndarray:
    """Return a square wave with soft edges in 0…1."""
    return np.clip(np.sin(2 * np.pi * turns) * sharpness, -1, 1)


@lru_cache(maxsize=1)
def atlas() -> np.ndarray:
    """Return the tiles of all TEXTURES as ramp levels: (6 * SIDE * SIDE,)."""
    at = (np.arange(SIDE) + 0.5) / SIDE
    u, v = np.meshgrid(at, at)
    tiles = [
        np.zeros_like(u),
        _wave(u, sharpness=2.5) / 2 + 0.5,
        _wave(u, sharpness=3.0) * _wave(v, sharpness=3.0) / 2 + 0.5,
        np.clip((0.34 - np.hypot(u - 0.5, v - 0.5)) * 12 + 0.5, 0, 1),
        np.clip((v - 0.5) * 1.15 + 0.5, 0, 1),
        _spots(smooth(SIDE, SIDE, decay=0.6, stream=9)),
    ]
    levels = np.rint(np.array(tiles) * (LEVELS - 1)).astype(np.int64)
    return levels.ravel()


def _spots(field: np.ndarray) -> np.ndarray:
    """Turn noise into spots that cover about a third, with soft edges, in 0…1."""
    near = range(-3, 4)
    blurred = np.mean([np.roll(field, (dy, dx), axis=(0, 1)) for dy in near for dx in near], axis=0)
    blurred = (blurred - blurred.mean()) / blurred.std()
    return np.clip((blurred - 0.35) * 1.8 + 0.5, 0, 1)


@lru_cache(maxsize=4)
def backdrops(height: int, width: int) -> np.ndarray:
    """Return the patterns of BACKDROPS, from which pictures are cut: (4, 2 height, 2 width) float32."""
    size = (2 * height, 2 * width)
    layers = [
        smooth(*size, decay=1.9, stream=1),
        smooth(*size, decay=0.9, stretch=4.0, stream=2),
        0.8 * smooth(*size, decay=1.6, stream=3) + 0.5 * smooth(*size, decay=0.4, stream=4),
        smooth(*size, decay=1.6, stretch=0.3, stream=5),
    ]
    return np.clip(np.array(layers), -2.5, 2.5).astype(np.float32)


@lru_cache(maxsize=4)
def grain(pixels: int) -> np.ndarray:
    """Return about normal noise of deviation 1, long enough to start reading at 65,536 places: float32."""
    rows = rng.uniform(_SEED, 0, np.arange(3), n=pixels + 65_536, stream=_STREAM)
    return ((rows.sum(axis=0) - 1.5) * 2).astype(np.float32)
