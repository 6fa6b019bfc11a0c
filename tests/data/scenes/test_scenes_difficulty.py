"""What the knob does, and what can be learnt from the scenes."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from fovea.data.datasets.scenes import Scenes
from fovea.data.scenes.colours import HABIT, USUAL
from fovea.data.scenes.plan import make_plan
from fovea.data.scenes.textures import TEXTURES

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)


def plan_of(difficulty, count, split="train"):
    return make_plan(
        np.arange(count), seed=0, split=split, size=(64, 64), difficulty=difficulty, max_objects=4
    )


def measures(difficulty):
    """Things that grow with the difficulty."""
    made, plan = Scenes(difficulty=difficulty).load_many(np.arange(400)), plan_of(difficulty, 400)
    ground = made["image"].astype(np.float64).mean(axis=-1)
    ground[made["mask"] > 0] = np.nan
    red, green = (made["image"][..., c].astype(np.float64) for c in (0, 1))
    pixels = np.array([np.bincount(i[i < 255], minlength=2)[1] for i in made["instances"]])
    return {
        "objects": np.mean([len(b) for b in made["boxes"]]),
        "smallness": -pixels.mean(),
        "rough ground": np.nanmean(np.abs(np.diff(ground, axis=2))),
        "noise": np.abs(np.diff(red - green, axis=2)).mean(),  # patterns are alike in all channels
        "uneven ground": np.nanmean(np.nanstd(ground, axis=(1, 2))),
        "clutter": plan.present[:, : plan.clutter].sum() / 400 if plan.clutter else 0.0,
        "textured": (plan.texture[:, -1] > 0).mean(),
        "dull": -np.ptp(made["image"].astype(np.float64), axis=-1)[made["instances"] == 1].mean(),
    }


@pytest.mark.slow
def test_everything_gets_harder_with_the_difficulty():
    rows = [measures(d) for d in STEPS]
    for name in rows[0]:
        values = [row[name] for row in rows]
        slack = 0.03 * (max(values) - min(values))
        assert all(b >= a - slack for a, b in pairwise(values)), (name, values)
        assert values[-1] > values[0], (name, values)


def test_easy_scenes_are_plain_and_hard_ones_hide_each_other():
    easy, hard = (Scenes(difficulty=d).load_many(np.arange(400)) for d in (0, 1))
    assert max(len(b) for b in easy["boxes"]) == 2 and not any(i.any() for i in easy["ignore"])
    assert max(len(b) for b in hard["boxes"]) == 4 and any(i.any() for i in hard["ignore"])
    assert (plan_of(0.0, 400).texture == 0).all()
    one = Scenes(difficulty=1, max_objects=1).load_many(np.arange(50))
    assert all(len(b) == 1 for b in one["boxes"])


def chroma(image, pixels):
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[pixels][:, 1:].mean(axis=0)


def front_colours(split, count):
    """The mean a, b of each label's object, with its shape and texture."""
    made, plan = Scenes(split=split).load_many(np.arange(count)), plan_of(0.5, count, split)
    ab = np.array([chroma(i, m == 1) for i, m in zip(made["image"], made["instances"], strict=True)])
    return ab, plan.shape[:, -1] * len(TEXTURES) + plan.texture[:, -1]


@pytest.mark.slow
def test_shape_and_texture_tell_the_colour_of_scenes_not_seen_before():
    seen, kind = front_colours("train", 1500)
    new, new_kind = front_colours("val", 500)
    mean = seen.mean(axis=0)
    table = np.array([seen[kind == k].mean(axis=0) if (kind == k).any() else mean for k in range(48)])
    chance, informed = (((new - guess) ** 2).sum(axis=1).mean() for guess in (mean, table[new_kind]))
    assert informed < 0.65 * chance
    shuffled = np.random.default_rng(0).permutation(new_kind)
    assert ((new - table[shuffled]) ** 2).sum(axis=1).mean() > chance  # it is the kind that tells


def test_colours_follow_the_habit_as_often_as_said_and_all_occur():
    plan = plan_of(0.5, 4000)
    front = plan.colour[:, -1]
    usual = USUAL[plan.shape[:, -1], plan.texture[:, -1]]
    assert abs((front == usual).mean() - (HABIT + (1 - HABIT) / 8)) < 0.03
    assert np.bincount(front, minlength=8).min() > 0.03 * len(front)
    # The colour alone does not give the class away
    share = [
        np.bincount(plan.shape[front == c, -1], minlength=8).max() / (front == c).sum() for c in range(8)
    ]
    assert np.mean(share) < 0.35


def test_the_grey_picture_shows_the_label():
    """Nearest neighbours among aligned silhouettes name the shape: the classes differ as they should."""

    def features(split, count):
        made = Scenes(split=split, difficulty=0.0).load_many(np.arange(count))
        rows = []
        for box, inst in zip(made["boxes"], made["instances"], strict=True):
            x1, y1, x2, y2 = box[0].astype(int)
            rows.append(cv2.resize((inst[y1:y2, x1:x2] == 1).astype(np.float32), (12, 12)).ravel())
        return np.array(rows), made["label"]

    known, labels = features("train", 400)
    new, truth = features("val", 200)
    nearest = ((new[:, None] - known[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert (labels[nearest] == truth).mean() > 0.95
