"""Describe scenes in sentences: a small grammar over count, size, colour, texture, shape and place.

    sentence: thing | thing and thing | thing place thing | "there is" thing | number kind …
    thing:    ("a" | "an") [small | large] [colour] [texture] shape
    place:    "left of" | "right of" | "above" | "below" | "in front of" | "behind"

Sentences speak of the objects that are not to be ignored, and every number is the exact count among those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fovea.data.scenes.colours import COLOURS
from fovea.data.scenes.plan import ScenePlan
from fovea.data.scenes.shapes import SHAPES
from fovea.data.scenes.textures import TEXTURES
from fovea.data.scenes.visible import Found

PLURAL = {shape: shape + ("es" if shape.endswith("s") else "s") for shape in (*SHAPES, "shape")}
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve"
NUMBERS = tuple(_NUMBERS.split())
SIZES = {"small": (0.0, 0.035), "large": (0.1, 1.0)}  # shares of the square over the shorter side
OPPOSITE = {"left of": "right of", "above": "below", "in front of": "behind"}
APART = 0.15  # two centres that differ less, in shorter sides, are in no order
COVERED = 0.06  # so much of an object is hidden by one that is in front of it
DRAWS = 32
_OTHER_WORDS = "a an and are is only other single there"


class Thing(NamedTuple):
    """One object that sentences may mention."""

    shape: str
    texture: str
    colour: str
    size: str  # "small", "large" or ""
    x: float  # centre of what is visible, in shorter sides
    y: float
    slot: int  # a larger one is painted later


def vocabulary() -> list[str]:
    """Return every word that a sentence can hold, sorted."""
    places = " ".join([*OPPOSITE, *OPPOSITE.values()]).split()
    other = _OTHER_WORDS.split()
    return sorted({*PLURAL, *PLURAL.values(), *NUMBERS[1:], *SIZES, *COLOURS, *TEXTURES, *places, *other})


def things(plan: ScenePlan, found: Found, *, unit: float) -> list[list[Thing]]:
    """Return what can be spoken of in each scene, from front to back."""
    at = found.scene, found.slot
    area = plan.area[at]
    sizes = [next((s for s, (low, high) in SIZES.items() if low <= a < high), "") for a in area.tolist()]
    centre = ((found.boxes[:, :2] + found.boxes[:, 2:]) / (2 * unit)).tolist()
    columns = (plan.shape[at], plan.texture[at], plan.colour[at], found.ignore, found.scene, found.slot)
    scenes: list[list[Thing]] = [[] for _ in range(len(plan.x))]
    for size, (x, y), (shape, texture, colour, ignore, scene, slot) in zip(
        sizes, centre, np.stack(columns, axis=1).tolist(), strict=True
    ):
        if not ignore:
            thing = Thing(SHAPES[shape], TEXTURES[texture], COLOURS[colour], size, x, y, slot - plan.clutter)
            scenes[scene].append(thing)
    return scenes


def phrase(thing: Thing, draw: Iterator[float], *, count: int = 1) -> str:
    """Describe one thing, or `count` things that are alike, with some of its properties."""
    size = thing.size if next(draw) < 0.5 else ""
    colour = thing.colour if next(draw) < 0.85 else ""
    texture = thing.texture if next(draw) < (0.15 if thing.texture == "plain" else 0.65) else ""
    noun = thing.shape if count == 1 else PLURAL[thing.shape]
    words = " ".join(word for word in (size, colour, texture, noun) if word)
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article if count == 1 else NUMBERS[count]} {words}"


def _alike(group: Sequence[Thing]) -> Thing:
    """Return a thing with the properties that all share; the others are empty."""
    fields = zip(*(thing[:4] for thing in group), strict=True)
    shape, texture, colour, size = (v[0] if len(set(v)) == 1 else "" for v in fields)
    return group[0]._replace(shape=shape, texture=texture, colour=colour, size=size)


def _inventory(scene: Sequence[Thing], draw: Iterator[float]) -> str:
    """Count the things of the first shape, and of one other."""
    groups: dict[str, list[Thing]] = {}
    for thing in scene:
        groups.setdefault(thing.shape, []).append(thing)
    first, *rest = groups.values()
    chosen = [first, rest[int(next(draw) * len(rest))]] if rest else [first]
    return " and ".join(phrase(_alike(group), draw, count=len(group)) for group in chosen)


def _among_others(scene: Sequence[Thing], draw: Iterator[float]) -> str:
    thing, others = phrase(scene[0], draw), len(scene) - 1
    if not others:
        return f"a single {thing.split(' ', 1)[1]}"
    return f"{thing} and {NUMBERS[others]} other {'shape' if others == 1 else 'shapes'}"


def _kind(scene: Sequence[Thing], draw: Iterator[float]) -> str:
    """Count the things of one colour or texture."""
    field = ("colour", "texture")[int(next(draw) * 2)]
    value = getattr(scene[int(next(draw) * len(scene))], field)
    count = sum(getattr(thing, field) == value for thing in scene)
    if count == 1:
        return f"there is only one {value} shape"
    return f"there are {NUMBERS[count]} {value} shapes"


def places(scene: Sequence[Thing], shown: np.ndarray) -> list[tuple[Thing, str, Thing]]:
    """Return the true relations between pairs of things; `shown` is this scene's part of `Found.shown`."""
    known = []
    for i, a in enumerate(scene):
        for b in scene[i + 1 :]:  # a was painted after b
            if shown[b.slot, a.slot] > COVERED * shown[b.slot].sum():
                known.append((a, "in front of", b))
            dx, dy = b.x - a.x, b.y - a.y
            if max(abs(dx), abs(dy)) > APART:
                way = "left of" if abs(dx) >= abs(dy) else "above"
                known.append((a, way, b) if (dx if way == "left of" else dy) > 0 else (b, way, a))
    return known


def _place(scene: Sequence[Thing], known: Sequence[tuple[Thing, str, Thing]], draw: Iterator[float]) -> str:
    """Relate two things, either way round, or mention one or two where there is no clear relation."""
    if known:
        a, way, b = known[int(next(draw) * len(known))]
        if next(draw) < 0.4:
            a, way, b = b, OPPOSITE[way], a
        verb = " is " if next(draw) < 0.3 else " "
        return f"{phrase(a, draw)}{verb}{way} {phrase(b, draw)}"
    if len(scene) > 1:
        return f"{phrase(scene[0], draw)} and {phrase(scene[1], draw)}"
    return f"there is {phrase(scene[0], draw)}"


def describe(scene: Sequence[Thing], shown: np.ndarray, draw: Sequence[float]) -> list[str]:
    """Return four or five different sentences about one scene; `draw` (DRAWS,) is uniform in [0, 1)."""
    numbers = iter(draw)
    known = places(scene, shown)
    sentences = [
        _inventory(scene, numbers),
        _place(scene, known, numbers),
        _among_others(scene, numbers),
        _kind(scene, numbers),
        _place(scene, known, numbers),
    ]
    return list(dict.fromkeys(sentences))
