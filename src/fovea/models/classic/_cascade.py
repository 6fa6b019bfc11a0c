"""Read a cascade of Haar-like features as OpenCV writes it, and run it: Viola & Jones (2001)."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from xml.etree import ElementTree

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# OpenCV 4's detector of upright faces seen from the front, by R. Lienhart; the file holds its licence
FILE = Path(__file__).parent / "haarcascade_frontalface_alt.xml.gz"
SHA256 = "6281df13459cc218ff047d02b2ae3859b12ff14a93ffe8952f7b33fad7b9697b"
EPS = 1e-5  # OpenCV takes it off the threshold of each stage
FAINTEST = 10.0  # standard deviation of the grey values, of 255, below which a window holds no face
AT_ONCE = 2**15  # windows


class Cascade(nn.Module):
    """Find faces by stages of stumps, most of which most windows never reach.

    A stump compares one feature, the difference of the sums over two or three rectangles, with a threshold
    and gives one of two values; a stage is passed where these add up to its own. An integral image makes
    every sum four look-ups. Windows are places of the image at several sizes, larger ones in a smaller image.

    Args:
        scale_factor: how much larger each size of the window is than the one before.
        smallest: side in pixels of the smallest window; below 20, the side of the stumps, it is 20.
    """

    rects: Tensor  # (F, 3, 4) x y w h within the window
    weights: Tensor  # (F, 3) of the rectangles
    thresholds: Tensor  # (F,)
    leaves: Tensor  # (F, 2) below the threshold, and not
    stages: Tensor  # (S,) of each stage the number of stumps
    passes: Tensor  # (S,) the sum that passes a stage

    def __init__(self, *, scale_factor: float = 1.1, smallest: int = 20) -> None:
        super().__init__()
        if not scale_factor >= 1.01:
            raise ValueError(f"scale_factor={scale_factor} must be at least 1.01, such as 1.1")
        self.scale_factor, self.smallest = scale_factor, smallest
        self.side, tensors = read_cascade(FILE)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    @torch.no_grad()
    def forward(self, grey: Tensor) -> list[Tensor]:
        """Return for each image the windows (n, 4) x1 y1 x2 y2 that pass; grey is (B, 1, H, W) in 0…255."""
        found: list[list[Tensor]] = [[] for _ in grey]
        for scale, size in self.sizes(grey.shape[2], grey.shape[3]):
            level = grey if scale == 1 else F.interpolate(grey, size, mode="bilinear", align_corners=False)
            hits = self._passing(level.round(), stride=1 if scale > 2 else 2)  # (n, 3) image, y, x
            corners = (hits[:, [2, 1]] * scale).round()
            boxes = torch.cat([corners, corners + round(self.side * scale)], dim=1)
            for image, own in enumerate(found):
                own.append(boxes[hits[:, 0] == image])
        return [torch.cat(own) if own else grey.new_zeros(0, 4) for own in found]

    def sizes(self, height: int, width: int) -> list[tuple[float, tuple[int, int]]]:
        """Return the factors by which the window grows, and the size of the image for each."""
        scales, scale = [], 1.0
        while round(self.side * scale) <= min(height, width):
            scales.append((scale, (round(height / scale), round(width / scale))))
            scale *= self.scale_factor
        enough = self.smallest / self.side
        return [(s, size) for s, size in scales if s >= enough and min(size) >= self.side]

    def _passing(self, level: Tensor, *, stride: int) -> Tensor:
        """Return image, y and x (n, 3) of the windows that pass every stage."""
        batch, _, height, width = level.shape
        across = width + 1
        sums, squares = _integral(level), _integral(level.square())  # (B, (H + 1) (W + 1))
        places = torch.cartesian_prod(
            torch.arange(batch, device=level.device),
            torch.arange(0, height - self.side + 1, stride, device=level.device),
            torch.arange(0, width - self.side + 1, stride, device=level.device),
        )
        starts = (places * places.new_tensor([(height + 1) * across, across, 1])).sum(dim=1)
        kept = [
            chosen[self._classify(sums, squares, first, across)]
            for chosen, first in zip(places.split(AT_ONCE), starts.split(AT_ONCE), strict=True)
        ]
        return torch.cat(kept)

    def _classify(self, sums: Tensor, squares: Tensor, starts: Tensor, across: int) -> Tensor:
        """Return the numbers of the windows, of those that begin at `starts`, that pass every stage."""
        inner = starts.new_tensor([[1, 1, self.side - 2, self.side - 2]])  # OpenCV leaves out a border
        area = (self.side - 2) ** 2
        total = _rectangles(sums, starts, inner, across)[:, 0]
        spread = area * _rectangles(squares, starts, inner, across)[:, 0] - total.square()
        norm = spread.clamp(min=1).sqrt()  # area times the standard deviation
        alive = (norm > FAINTEST * area).nonzero()[:, 0]
        first = 0
        for count, needed in zip(self.stages.tolist(), self.passes.tolist(), strict=True):
            stumps = slice(first, first + count)
            rects = self.rects[stumps].flatten(0, 1)  # (3 count, 4)
            value = _rectangles(sums, starts[alive], rects, across).unflatten(1, (count, 3))
            value = (value * self.weights[stumps]).sum(dim=2) / norm[alive, None]  # (n, count)
            below, above = self.leaves[stumps].unbind(1)
            alive = alive[torch.where(value < self.thresholds[stumps], below, above).sum(dim=1) >= needed]
            first += count
        return alive


def _integral(image: Tensor) -> Tensor:
    """Return (B, (H + 1) (W + 1)), at y, x the sum of all pixels above and left of there."""
    exact = torch.float32 if image.device.type == "mps" else torch.float64  # Apple's GPUs have no doubles
    sums = image[:, 0].to(exact).cumsum(dim=1).cumsum(dim=2)
    return F.pad(sums, (1, 0, 1, 0)).flatten()


def _rectangles(sums: Tensor, starts: Tensor, rects: Tensor, across: int) -> Tensor:
    """Return the sums (n, R) over rectangles (R, 4) x y w h of windows that begin at `starts` (n,)."""
    x, y, w, h = rects.unbind(1)
    corner = y * across + x
    ends = torch.stack([corner, corner + w, corner + h * across, corner + h * across + w])  # (4, R)
    a, b, c, d = sums.take(starts[:, None, None] + ends).unbind(1)
    return a - b - c + d


def read_cascade(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Return the side of the window, and the tensors of a cascade of stumps in OpenCV's XML, zipped."""
    content = gzip.decompress(path.read_bytes())
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{path} is damaged: its sha256 is {found[:12]}…, not {SHA256[:12]}…; install anew")
    cascade = ElementTree.fromstring(content)[0]
    stages = cascade.findall("stages/_")
    stumps = [one for stage in stages for one in stage.findall("weakClassifiers/_")]
    nodes = torch.tensor([_numbers(one, "internalNodes") for one in stumps], dtype=torch.float64)
    features = [_rects(one) for one in cascade.findall("features/_")]
    shapes = torch.tensor([features[int(number)] for number in nodes[:, 2]], dtype=torch.float64)
    passes = [_numbers(one, "stageThreshold")[0] - EPS for one in stages]
    return int(cascade.findtext("width", "0")), {
        "rects": shapes[..., :4].long(),
        "weights": shapes[..., 4].float(),
        "thresholds": nodes[:, 3].float(),
        "leaves": torch.tensor([_numbers(one, "leafValues") for one in stumps]),
        "stages": torch.tensor([len(one.findall("weakClassifiers/_")) for one in stages]),
        "passes": torch.tensor(passes),
    }


def _numbers(node: ElementTree.Element, name: str) -> list[float]:
    return [float(word) for word in node.findtext(name, "").split()]


def _rects(feature: ElementTree.Element) -> list[list[float]]:
    """Return three rectangles x y w h weight; one that a feature has not weighs nothing."""
    rects = [[float(word) for word in (one.text or "").split()] for one in feature.findall("rects/_")]
    return [*rects, *[[0.0] * 5] * (3 - len(rects))]
