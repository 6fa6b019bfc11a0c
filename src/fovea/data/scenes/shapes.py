"""Describe every shape by its outline in polar coordinates, so that one formula covers all of them.

Unrotated outlines have x to the right and y down; the circle has radius 1. A shape is what lies between an
inner and an outer radius that depend on the direction; a table holds both for `STEPS` directions. Directions
are counted in diamond angles, y / (|x| + |y|) continued around the circle, which need no transcendental
function: pixels are then the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
CLUTTER = ("bar", "leaf")  # what lies about in the background, without annotation
STEPS = 4096  # directions in the tables
TURN = 1024  # rotations are whole numbers of 1/1024 turn
_AWAY = -8.0  # an inner radius that never cuts


class Tables(NamedTuple):
    """What `cover` looks up; the first axis runs over SHAPES + CLUTTER."""

    outer: np.ndarray  # (S * (STEPS + 1),) float32, radius by direction
    outer_slope: np.ndarray  # the same, cosine between the ray and the outline's normal
    inner: np.ndarray
    inner_slope: np.ndarray
    support: np.ndarray  # (S, TURN) float64, how far the shape reaches in a direction in turns
    area: np.ndarray  # (S,) float64
    reach: np.ndarray  # (S,) float64, the largest radius


def _polygon(x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return the radius in each direction of a polygon that sees all its corners from the origin."""
    radius, cos, sin = np.zeros_like(theta), np.cos(theta), np.sin(theta)
    for ax, ay, bx, by in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        ex, ey = bx - ax, by - ay
        with np.errstate(divide="ignore", invalid="ignore"):
            along = cos * ey - sin * ex
            hit, at = (ax * ey - ay * ex) / along, (sin * ax - cos * ay) / along
        radius = np.where((hit > 0) & (at > -1e-9) & (at < 1 + 1e-9), np.maximum(radius, hit), radius)
    return radius


def _corners(count: int, first: float, radii: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    angle = first + 2 * np.pi * np.arange(count) / count
    radius = np.resize(radii, count)
    return radius * np.cos(angle), radius * np.sin(angle)


def _heart(theta: np.ndarray) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 241)[:-1]
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return _polygon(x / 15, (y - 1) / 15, theta)


def _leaf() -> tuple[np.ndarray, np.ndarray]:
    along = np.linspace(-1, 1, 33)
    half = 0.42 * (1 - along**2)
    return 1.15 * np.append(along, along[-2:0:-1]), np.append(half, -half[-2:0:-1])


def _cross(theta: np.ndarray) -> np.ndarray:
    arm = 0.36
    first = [(1, -arm), (1, arm), (arm, arm)]
    points = [(x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in first]
    x, y = np.array(points, dtype=np.float64).T
    return _polygon(x, y, theta)


def _bite(theta: np.ndarray) -> np.ndarray:
    """Return where rays leave a circle around (0.45, 0): what it covers is cut out of the crescent."""
    centre, radius = 0.45, 0.75
    return centre * np.cos(theta) + np.sqrt(radius**2 - (centre * np.sin(theta)) ** 2)


def _outlines(theta: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    one, none = np.ones_like(theta), np.full_like(theta, _AWAY)
    return {
        "circle": (one, none),
        "square": (_polygon(*_corners(4, np.pi / 4, (1.2,)), theta), none),
        "triangle": (_polygon(*_corners(3, -np.pi / 2, (1.25,)), theta), none),
        "star": (_polygon(*_corners(10, -np.pi / 2, (1.3, 0.58)), theta), none),
        "cross": (_cross(theta), none),
        "ring": (one, 0.52 * one),
        "heart": (_heart(theta), none),
        "crescent": (one, _bite(theta)),
        "bar": (_polygon(np.array([-1.4, 1.4, 1.4, -1.4]), np.array([-0.2, -0.2, 0.2, 0.2]), theta), none),
        "leaf": (_polygon(*_leaf(), theta), none),
    }


def _slope(radius: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return what turns a difference of radii into a distance: 1 / sqrt(1 + (r' / r)²)."""
    return 1 / np.sqrt(1 + (np.gradient(radius, theta) / radius) ** 2)


@lru_cache(maxsize=1)
def tables() -> Tables:
    """Compute the tables once per process."""
    diamond = np.linspace(-1, 3, STEPS + 1)  # -1 is up, 0 right, 1 down, 2 left, 3 up again
    y = np.where(diamond > 1, 2 - diamond, diamond)
    x = np.where(diamond > 1, -1.0, 1.0) * (1 - np.abs(y))
    theta = np.unwrap(np.arctan2(y, x))
    pairs = [_outlines(theta)[name] for name in SHAPES + CLUTTER]
    slopes = [tuple(_slope(radius, theta) for radius in pair) for pair in pairs]
    outer, inner = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    solid = np.maximum(outer**2 - np.maximum(inner, 0) ** 2, 0)
    towards = np.arange(TURN) * (2 * np.pi / TURN)
    edge = np.where(inner < outer, outer, 0)
    curves = (outer, [s[0] for s in slopes], inner, [s[1] for s in slopes])
    flat = [np.asarray(curve, dtype=np.float32).ravel() for curve in curves]
    support = (edge[:, None] * np.cos(theta - towards[:, None])).max(axis=-1)
    area = np.trapezoid(solid / 2, theta, axis=1)
    return Tables(flat[0], flat[1], flat[2], flat[3], support, area, edge.max(axis=1))
