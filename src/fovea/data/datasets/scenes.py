"""Generate scenes of textured shapes: no files, as many as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fovea.data.images import to_channels
from fovea.data.packed import Strings
from fovea.data.scenes import language
from fovea.data.scenes.cover import Windows, windows
from fovea.data.scenes.draws import SPLITS, labels_of, sentence_draws
from fovea.data.scenes.paint import border, paint, softness
from fovea.data.scenes.plan import ScenePlan, make_plan
from fovea.data.scenes.shapes import SHAPES
from fovea.data.scenes.visible import find
from fovea.data.sources import check_split
from fovea.types import Sample

MASK_CLASSES = ("background", *SHAPES)
PALETTE = [(24, 24, 32), (230, 75, 60), (250, 160, 40), (240, 215, 70), (95, 185, 90),
           (60, 185, 185), (70, 120, 225), (150, 95, 205), (240, 140, 190)]  # fmt: skip
BOXES = ("boxes", "labels", "ignore")
ANNOTATIONS = {
    "all": ("label", *BOXES, "mask", "instances", "captions"),
    "label": ("label",),
    "boxes": BOXES,
    "masks": ("mask", "instances"),
    "captions": ("captions",),
}
_CHUNK = 100_000  # pixels that are made at a time: intermediate results stay in the cache


class Scenes:
    """Draw shapes with class, boxes, masks and captions; a sample depends on (seed, split, index) only.

    Splits: train, val and test of `num_<split>` scenes; `load` takes any further index too, and an `endless`
    set is to be read at index + epoch × length. 8 shapes in 6 textures and 8 colours, rotated and lit, one in
    front of another on a patterned ground. `difficulty` goes from 0 (one or two large plain shapes) to 1
    (up to `max_objects` small ones that overlap, among clutter, in poor light, with noise). The label is the
    shape in front, which is also the largest. Boxes and instance numbers run from front to back; an object of
    which more than three quarters are hidden is to be ignored, one of which hardly anything is seen is not
    listed (255 in `instances`).

    `annotation` is what the set is annotated with: all, label, boxes, masks (then `classes` begin with
    background) or captions. Nothing is downloaded; the images are free of rights.
    """

    splits: ClassVar[tuple[str, ...]] = SPLITS
    source: ClassVar[str] = "generated"
    images: None = None
    mask_classes: ClassVar[list[str]] = list(MASK_CLASSES)
    palette: ClassVar[np.ndarray] = np.array(PALETTE, dtype=np.uint8)

    def __init__(
        self,
        *,
        split: str = "train",
        image_size: int | Sequence[int] = 64,
        seed: int = 0,
        difficulty: float = 0.5,
        max_objects: int = 4,
        num_train: int = 8192,
        num_val: int = 1024,
        num_test: int = 1024,
        annotation: str = "all",
        endless: bool = False,
        channels: int = 3,
    ) -> None:
        self.split, self.seed, self.endless = check_split(split, SPLITS), int(seed), endless
        self.size, self.channels = _check_size(image_size), channels
        self.difficulty, self.max_objects = float(difficulty), int(max_objects)
        self.count = int({"train": num_train, "val": num_val, "test": num_test}[split])
        _check("difficulty", self.difficulty, 0, 1)
        _check("max_objects", self.max_objects, 1, 12)
        _check(f"num_{split}", self.count, 1, 2**40)
        if channels not in (1, 3):
            raise ValueError(f"channels={channels} is not supported: choose 1 (grey) or 3 (RGB)")
        if annotation not in ANNOTATIONS:
            raise ValueError(f"annotation={annotation!r} is unknown: choose one of {', '.join(ANNOTATIONS)}")
        self.targets = ANNOTATIONS[annotation]
        self.classes = self.find_classes(annotation=annotation)

    @classmethod
    def find_classes(cls, *, annotation: str = "all", **options: Any) -> list[str]:
        """Return the class names: with background where the set is for masks."""
        return list(MASK_CLASSES if annotation == "masks" else SHAPES)

    def __len__(self) -> int:
        return self.count

    @cached_property
    def ids(self) -> Strings:
        """Name every scene by its split and position."""
        return Strings(f"{self.split}/{i:05d}" for i in range(self.count))

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The shape in front of every scene (N,) int64, without rendering one; None in a set for masks."""
        if self.classes != list(SHAPES):  # the classes of pixels, of which background is one
            return None
        return labels_of(self.seed, self.split, np.arange(self.count))

    @property
    def vocabulary(self) -> list[str]:
        """Every word that the captions can hold, sorted."""
        return language.vocabulary()

    def load(self, index: int) -> Sample:
        """Return one scene with its annotations; the index may go beyond the length of the set."""
        made = self.load_many(np.array([index]))
        sample: Any = {key: values[0] for key, values in made.items()}
        if "label" in sample:
            sample["label"] = int(sample["label"])
        return sample

    def load_many(self, indices: np.ndarray) -> dict[str, Any]:
        """Return B scenes: image (B, H, W, C), mask, instances (B, H, W), label (B,), the others as lists."""
        return self._make(indices, ("image", *self.targets))

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the boxes of one scene (N, 4)."""
        return self._make(np.array([index]), BOXES)["boxes"][0]

    def sentences(self, index: int) -> list[str]:
        """Return the captions of one scene, without painting it."""
        return self._make(np.array([index]), ("captions",))["captions"][0]

    def _make(self, indices: np.ndarray, wanted: Sequence[str]) -> dict[str, Any]:
        indices = np.asarray(indices)
        if indices.ndim != 1 or not len(indices) or indices.dtype.kind not in "iu" or indices.min() < 0:
            raise ValueError(f"expected a row of whole numbers from 0, got {indices!r}")
        step = max(1, _CHUNK // (self.size[0] * self.size[1]))
        parts = [self._chunk(indices[i : i + step], wanted) for i in range(0, len(indices), step)]
        return {key: _chain([part[key] for part in parts]) for key in wanted}

    def _chunk(self, indices: np.ndarray, wanted: Sequence[str]) -> dict[str, Any]:
        plan = make_plan(
            indices, seed=self.seed, split=self.split, size=self.size,
            difficulty=self.difficulty, max_objects=self.max_objects,
        )  # fmt: skip
        win = windows(plan, size=self.size, pad=border(self.size), soft=softness(self.size))
        made: dict[str, Any] = {"label": plan.shape[:, -1]}
        if "image" in wanted:
            image = paint(plan, win, size=self.size, difficulty=self.difficulty)
            flat = to_channels(image.reshape(-1, self.size[1], 3), channels=self.channels)
            made["image"] = flat.reshape(len(indices), *self.size, self.channels)
        if set(wanted) - {"image", "label"}:
            made |= self._annotations(indices, plan, win, captions="captions" in wanted)
        return made

    def _annotations(
        self, indices: np.ndarray, plan: ScenePlan, win: Windows, *, captions: bool
    ) -> dict[str, Any]:
        found = find(plan, win, size=self.size, pad=border(self.size))
        ends = np.searchsorted(found.scene, np.arange(1, len(indices)))
        made: dict[str, Any] = {"mask": found.mask, "instances": found.instances}
        columns = {
            "boxes": found.boxes,
            "labels": plan.shape[found.scene, found.slot],
            "ignore": found.ignore,
        }
        made |= {key: np.split(values, ends) for key, values in columns.items()}
        if captions:
            draws = sentence_draws(self.seed, self.split, indices, n=language.DRAWS)
            scenes = language.things(plan, found, unit=min(self.size))
            made["captions"] = list(map(language.describe, scenes, found.shown, draws))
        return made


def _chain(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must lie in {low}…{high}")


def _check_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or not all(16 <= side <= 2048 for side in sides):
        raise ValueError(f"image_size={image_size} must be a number or [height, width], each 16…2048")
    return int(sides[0]), int(sides[1])
