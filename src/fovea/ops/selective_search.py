"""Propose boxes by grouping segments: selective search, Uijlings et al. (2013), IJCV 104(2), 154–171.

The segments of Felzenszwalb & Huttenlocher (2004) are merged, two neighbours at a time, the most similar
first, until one is left. The box of every segment on the way is a proposal.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

BINS = 25  # of a channel's colours
STEPS = 10  # bins of a derivative
DIRECTIONS = 8
SIGMA = 0.8  # pixels, blur before the segmentation
CLOSEST = 0.5  # least side of what is proposed, as a share of the square root of the smallest segment
ALL_ALIKE = (1.0, 1.0, 1.0, 1.0)  # weights of colour, texture, size, fill


def selective_search(
    image: np.ndarray,
    *,
    colours: Sequence[str] = ("hsv", "lab"),
    scales: Sequence[float] = (50.0, 100.0),
    smallest: int = 20,
    weights: Sequence[float] = ALL_ALIKE,
    most: int = 2000,
) -> np.ndarray:
    """Return proposals (N, 4), x1 y1 x2 y2 in pixels, at least one, for an image (H, W, 3) uint8.

    Boxes of large segments come first. The same image has the same boxes, and its mirror image
    has them mirrored, but for ties.

    Args:
        image: in RGB.
        colours: spaces in which the image is segmented and compared: rgb, hsv, lab.
        scales: of the segmentation (k of the paper): more makes larger first segments.
        smallest: pixels of a first segment.
        weights: of the similarities of colour, texture, size and fill; 0 leaves one out.
        most: proposals.
    """
    _check(image, colours, scales, weights)
    chains = []
    for colour in colours:
        values = SPACES[colour](image)
        texture = _texture(values)
        for scale in scales:
            regions = segments(values, scale=scale, smallest=smallest)
            chains.append(_Grouping(values, texture, regions, weights).run()[::-1])  # the largest first
    turns = itertools.chain.from_iterable(itertools.zip_longest(*chains))
    boxes = list(dict.fromkeys(box for box in turns if box is not None))
    least = CLOSEST * smallest**0.5
    kept = [b for b in boxes if min(b[2] - b[0], b[3] - b[1]) >= least] or boxes[:1]
    return np.array(kept[:most], dtype=np.float32)


def segments(values: np.ndarray, *, scale: float, smallest: int) -> np.ndarray:
    """Number the segments of an image (H, W, 3) in 0…1 from 0 (H, W), after Felzenszwalb & Huttenlocher."""
    from skimage.segmentation import felzenszwalb

    if min(values.shape[:2]) < 2:  # which it does not take
        return np.zeros(values.shape[:2], dtype=np.int64)
    return felzenszwalb(values, scale=scale, sigma=SIGMA, min_size=smallest, channel_axis=-1)


def _check(
    image: np.ndarray, colours: Sequence[str], scales: Sequence[float], weights: Sequence[float]
) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image {image.dtype} {image.shape}: give one (H, W, 3) of uint8")
    unknown = [name for name in colours if name not in SPACES]
    if unknown or not colours:
        raise ValueError(f"colours={list(colours)}: choose from {', '.join(SPACES)}")
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales={list(scales)}: give positive numbers, such as [50,100]")
    if len(weights) != 4 or min(weights) < 0 or not any(weights):
        raise ValueError(
            f"weights={list(weights)}: give those of colour, texture, size and fill, one above 0"
        )


class _Grouping:
    """The merging of the segments of one image in one colour space.

    Args:
        values: (H, W, 3) in 0…1.
        texture: (H, W, 3 · 8) what the directions say of each pixel, as bins.
        regions: (H, W) numbers of the first segments.
        weights: of the similarities.
    """

    def __init__(
        self, values: np.ndarray, texture: np.ndarray, regions: np.ndarray, weights: Sequence[float]
    ) -> None:
        self.area, self.weights, count = float(regions.size), weights, int(regions.max()) + 1
        total = 2 * count - 1  # segments there will be
        pixels = np.bincount(regions.ravel(), minlength=count)
        self.size = np.zeros(total)
        self.size[:count] = pixels
        self.box = np.zeros((total, 4))
        self.box[:count] = _extents(regions, count)
        colour = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        self.colour = np.zeros((total, 3 * BINS))
        self.colour[:count] = _histograms(colour, regions, count, BINS)
        self.texture = np.zeros((total, texture.shape[2] * STEPS))
        self.texture[:count] = _histograms(texture, regions, count, STEPS)
        self.near = _neighbours(regions, count)
        self.count = count

    def run(self) -> list[tuple[float, ...]]:
        """Merge until one segment is left; return the boxes of all, in the order of their making."""
        alive = set(range(self.count))
        heap: list[tuple[float, int, int]] = []
        for i, near in enumerate(self.near):
            self._push(heap, i, sorted(j for j in near if j > i))
        while heap:
            _, i, j = heapq.heappop(heap)
            if i in alive and j in alive:
                alive -= {i, j}
                new = self._merge(i, j)
                alive.add(new)
                self._push(heap, new, sorted(self.near[new]))
        return [tuple(box) for box in self.box[: self.count].tolist()]

    def _push(self, heap: list[tuple[float, int, int]], i: int, others: list[int]) -> None:
        for score, j in zip(self._similarity(i, others).tolist(), others, strict=True):
            heapq.heappush(heap, (-score, min(i, j), max(i, j)))

    def _similarity(self, i: int, others: list[int]) -> np.ndarray:
        """Return how similar a segment is to others: equations 1 to 6."""
        if not others:
            return np.zeros(0)
        size = self.size[i] + self.size[others]
        box = self.box[others]
        corner = np.maximum(self.box[i, 2:], box[:, 2:]) - np.minimum(self.box[i, :2], box[:, :2])
        parts = (
            np.minimum(self.colour[i], self.colour[others]).sum(axis=1),
            np.minimum(self.texture[i], self.texture[others]).sum(axis=1),
            1 - size / self.area,
            1 - (corner.prod(axis=1) - size) / self.area,
        )
        return sum(w * part for w, part in zip(self.weights, parts, strict=True))

    def _merge(self, i: int, j: int) -> int:
        """Join two segments; return the number of the new one."""
        new, (a, b) = self.count, (self.size[i], self.size[j])
        self.count += 1
        self.size[new] = a + b
        for histogram in (self.colour, self.texture):
            histogram[new] = (a * histogram[i] + b * histogram[j]) / (a + b)
        self.box[new, :2] = np.minimum(self.box[i, :2], self.box[j, :2])
        self.box[new, 2:] = np.maximum(self.box[i, 2:], self.box[j, 2:])
        near = (self.near[i] | self.near[j]) - {i, j}
        self.near.append(near)
        for other in near:
            self.near[other] = (self.near[other] - {i, j}) | {new}
        return new


def _texture(values: np.ndarray) -> np.ndarray:
    """Return for each pixel the bins of Gaussian derivatives in 8 directions (H, W, 3 · 8)."""
    from scipy.ndimage import gaussian_filter

    values = values.astype(np.float32)
    down, right = (gaussian_filter(values, 1.0, order=order, axes=(0, 1)) for order in ((1, 0), (0, 1)))
    angles = np.arange(DIRECTIONS, dtype=np.float32) * (2 * np.pi / DIRECTIONS)
    steps = right[..., None] * np.cos(angles) + down[..., None] * np.sin(angles)  # (H, W, 3, 8)
    steps = np.maximum(steps, 0)
    most = steps.max() or 1.0
    bins = np.minimum((steps / most * STEPS).astype(np.int64), STEPS - 1)
    return bins.reshape(*values.shape[:2], -1)


def _histograms(bins: np.ndarray, regions: np.ndarray, count: int, number: int) -> np.ndarray:
    """Return the histograms (count, C · number) of bins (H, W, C); those of a region sum to 1."""
    channels = bins.shape[2]
    at = (regions[..., None] * channels + np.arange(channels)) * number + bins
    found = np.bincount(at.ravel(), minlength=count * channels * number).reshape(count, -1).astype(float)
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1)


def _extents(regions: np.ndarray, count: int) -> np.ndarray:
    """Return the boxes (count, 4) of the regions, the corners after their last pixels."""
    from scipy.ndimage import find_objects

    slices = find_objects(regions + 1, max_label=count)
    return np.array([[x.start, y.start, x.stop, y.stop] for y, x in slices], dtype=float)


def _neighbours(regions: np.ndarray, count: int) -> list[set[int]]:
    """Return for each region those that share a side of a pixel with it."""
    keys = []
    for a, b in ((regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])):
        apart = a != b
        keys.append(a[apart] * count + b[apart])
    found: list[set[int]] = [set() for _ in range(count)]
    for key in np.unique(np.concatenate(keys)).tolist():
        i, j = divmod(key, count)
        found[i].add(j)
        found[j].add(i)
    return found


def _rgb(image: np.ndarray) -> np.ndarray:
    return image / 255.0


def _hsv(image: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2hsv

    return rgb2hsv(image)


def _lab(image: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    return (rgb2lab(image) + np.array([0, 128, 128])) / np.array([100, 255, 255])


SPACES: dict[str, Callable[[np.ndarray], Any]] = {"rgb": _rgb, "hsv": _hsv, "lab": _lab}
