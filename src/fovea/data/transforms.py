"""Augment single samples with albumentations, reproducibly."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fovea.data.geometry import keep_boxes, visible
from fovea.ops import rng
from fovea.ops.annotations import VISIBLE
from fovea.types import IGNORE, Sample

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # albumentations asks a server for its version on import

_STREAM = 102


class SampleTransform:
    """Transform an image and its annotations: a pure function of sample, seed, epoch and index.

    Boxes are cut to the image, and dropped where less than a quarter stays; what a mask shows beside the old
    image is 255, ignored; keypoints outside become NaN.
    """

    def __init__(self, transforms: Mapping[str, Any], *, seed: int) -> None:
        self.transforms = [transform for transform in transforms.values() if transform is not None]
        for transform in _nested(self.transforms):
            _refuse_unknown_arguments(transform)
            if getattr(transform, "fill_mask", None) == 0:
                transform.fill_mask = IGNORE
        self.seed = seed
        # One pair of generators for all transforms, reset for each image: seeding every transform on its
        # own costs twenty times as much.
        self._python = random.Random(0)
        self._numpy = np.random.Generator(np.random.PCG64(0))
        self._state = self._numpy.bit_generator.state
        self._pipelines: dict[tuple[bool, bool], Any] = {}
        self._keys: dict[tuple[int, int], list[int]] = {}

    def prepare(self, items: Sequence[tuple[int, int]]) -> None:
        """Draw the random keys of a batch of (epoch, index) at once, which is far cheaper than one by one."""
        epoch = items[0][0]
        keys = rng.bits(self.seed, epoch, np.array([i for _, i in items]), n=2, stream=_STREAM).tolist()
        self._keys = dict(zip(items, keys, strict=True))

    def __call__(self, sample: Sample, *, epoch: int, index: int) -> Sample:
        """Return a new sample; its image is (H', W', C) uint8."""
        if (epoch, index) not in self._keys:
            self.prepare([(epoch, index)])
        low, high = self._keys[epoch, index]
        self._python.seed(low)
        self._numpy.bit_generator.state = {
            **self._state,
            "state": {**self._state["state"], "state": high << 64 | low},
        }
        given: dict[str, Any] = {"image": sample["image"]}
        given |= {key: sample[key] for key in ("mask", "instances") if key in sample}
        if "boxes" in sample:
            given |= {"bboxes": sample["boxes"], "rows": np.arange(len(sample["boxes"]))}
        if "keypoints" in sample:
            given["keypoints"] = np.nan_to_num(sample["keypoints"], nan=-1e6)
        return self._unpack(sample, self._pipeline("boxes" in sample, "keypoints" in sample)(**given))

    def _unpack(self, sample: Sample, found: Mapping[str, Any]) -> Sample:
        image = found["image"]
        out: Sample = {**sample, "image": image if image.ndim == 3 else image[..., None]}
        for key in ("mask", "instances"):
            if key in sample:
                out[key] = found[key]
        if "keypoints" in sample:
            points = np.asarray(found["keypoints"], dtype=np.float32).reshape(-1, 2)
            out["keypoints"] = visible(points, image.shape[:2])
        if "boxes" in sample:
            rows = np.asarray(found["rows"], dtype=np.int64)
            keep = np.zeros(len(sample["boxes"]), dtype=bool)
            keep[rows] = True
            out = keep_boxes(out, keep)
            out["boxes"] = np.asarray(found["bboxes"], dtype=np.float32).reshape(-1, 4)[np.argsort(rows)]
        return out

    def _pipeline(self, boxes: bool, keypoints: bool) -> Any:
        key = (boxes, keypoints)
        if key not in self._pipelines:
            import albumentations as A

            box_rules = A.BboxParams(
                format="pascal_voc",
                label_fields=["rows"],
                min_visibility=VISIBLE,
                min_width=1,
                min_height=1,
                clip=True,
            )
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Got processor for")  # colours alone move no boxes
                self._pipelines[key] = A.Compose(
                    self.transforms,
                    bbox_params=box_rules if boxes else None,
                    keypoint_params=A.KeypointParams(format="xy", remove_invisible=False)
                    if keypoints
                    else None,
                    additional_targets={"instances": "mask"},
                )
            self._pipelines[key].set_random_state(self._numpy, self._python)
        return self._pipelines[key]


def _nested(transforms: Iterable[Any]) -> Iterator[Any]:
    for transform in transforms:
        yield transform
        yield from _nested(getattr(transform, "transforms", None) or ())


def _refuse_unknown_arguments(transform: Any) -> None:
    """Raise ValueError for arguments that albumentations would only warn about."""
    if unknown := getattr(transform, "invalid_args", None):
        raise ValueError(f"augment.sample: {type(transform).__name__} has no argument {', '.join(unknown)}")
