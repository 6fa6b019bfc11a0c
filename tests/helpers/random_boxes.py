"""Random true boxes and detections near them, with crowds, absent classes, ties and empty images."""

from __future__ import annotations

import numpy as np

from fovea.ops.box_pairs import Boxes


def random_boxes(
    seed: int, *, images: int, classes: int, most: int, crowds: float = 0.1
) -> tuple[Boxes, Boxes]:
    """Return detections and true boxes; the last class has no object."""
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, images, rng.integers(1, images * most)))
    start, low = rng.uniform(0, 200, (len(image), 2)), rng.choice([4.0, 30.0, 100.0], (len(image), 1))
    box = np.concatenate([start, start + low + rng.uniform(0, low, (len(image), 2))], axis=1)
    label = rng.integers(0, max(1, classes - 1), len(image))
    true = Boxes(image, label, box, np.zeros(len(image)), rng.random(len(image)) < crowds)
    near = rng.integers(0, len(image), 3 * len(image))
    near_box = box[near] + rng.normal(0, 6, (len(near), 4))
    near_label = np.where(rng.random(len(near)) < 0.8, label[near], rng.integers(0, classes, len(near)))
    score = rng.random(len(near)).round(1)
    found = Boxes(image[near], near_label, near_box, score, np.zeros(len(near), dtype=bool))
    return found.take((near_box[:, 2:] > near_box[:, :2] + 1).all(axis=1)), true
