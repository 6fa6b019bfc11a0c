import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from fovea.data.datasets.scenes import ANNOTATIONS, Scenes
from fovea.data.images import to_channels
from fovea.data.scenes.plan import make_plan
from fovea.data.scenes.shapes import SHAPES, STEPS, tables

ROOT = Path(__file__).parents[3]
DIGEST = """
import hashlib, numpy as np
from fovea.data.datasets.scenes import Scenes
made = Scenes(split="val", difficulty=0.8).load_many(np.array([3, 900, 7]))
text = repr([made["captions"], [b.tolist() for b in made["boxes"]]]).encode()
print(hashlib.sha256(made["image"].tobytes() + made["instances"].tobytes() + text).hexdigest())
"""


def same(a, b):
    assert set(a) == set(b)
    for key in a:
        equal = np.array_equal(a[key], b[key]) if isinstance(a[key], np.ndarray) else a[key] == b[key]
        assert equal, key


def plan_of(scenes, indices):
    return make_plan(
        np.asarray(indices), seed=scenes.seed, split=scenes.split, size=scenes.size,
        difficulty=scenes.difficulty, max_objects=scenes.max_objects,
    )  # fmt: skip


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [64, (40, 56)])
def test_a_scene_is_the_same_alone_and_in_any_batch_and_order(difficulty, size):
    scenes = Scenes(difficulty=difficulty, image_size=size)
    indices = np.array([5, 0, 17, 123456789012, 5, *range(30, 90)])  # more than one chunk
    together, backwards = scenes.load_many(indices), scenes.load_many(indices[::-1])
    for i in (0, 1, 2, 3, 4, 40, 64):
        alone = scenes.load(int(indices[i]))
        same(alone, {key: values[i] for key, values in together.items()})
        same(alone, {key: values[len(indices) - 1 - i] for key, values in backwards.items()})


@pytest.mark.slow
def test_a_scene_is_the_same_in_another_process():
    command = [sys.executable, "-c", DIGEST]
    runs = [
        subprocess.run(
            command, cwd=ROOT / "src", capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": h}
        )
        for h in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout and len(runs[0].stdout) == 65


def test_no_two_scenes_are_alike_whatever_index_split_or_seed():
    sets = [Scenes(split=s, seed=seed) for s in Scenes.splits for seed in (0, 1)]
    images = np.concatenate([s.load_many(np.arange(150))["image"] for s in sets])
    small = np.array([cv2.resize(i, (8, 8), interpolation=cv2.INTER_AREA) for i in images], dtype=np.float64)
    flat = small.reshape(len(images), -1)
    square = (flat**2).sum(axis=1)
    distance = square[:, None] + square[None] - 2 * flat @ flat.T
    np.fill_diagonal(distance, np.inf)
    # The typical pair differs by 40 levels a pixel, the closest of 400,000 pairs still by more than 8
    assert np.sqrt(distance.min() / flat.shape[1]) > 8
    assert 20 < np.sqrt(np.median(distance) / flat.shape[1]) < 60


@pytest.mark.parametrize("difficulty", [0.0, 0.6, 1.0])
def test_boxes_masks_and_instances_agree_exactly(difficulty):
    made = Scenes(difficulty=difficulty, max_objects=8).load_many(np.arange(200))
    for i in range(200):
        boxes, labels, inst, mask = (made[key][i] for key in ("boxes", "labels", "instances", "mask"))
        assert boxes.dtype == np.float32 and labels.dtype == np.int64 and made["ignore"][i].dtype == bool
        assert set(np.unique(inst)) - {0, 255} == set(range(1, len(boxes) + 1))
        assert np.array_equal(inst > 0, mask > 0)
        for number, (box, label) in enumerate(zip(boxes, labels, strict=True), start=1):
            y, x = np.nonzero(inst == number)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert (mask[y, x] == label + 1).all()


def outline(plan, scene, slot):
    """The outline of one object as points in the picture, from the tables alone."""
    diamond = np.linspace(-1, 3, STEPS + 1)
    v = np.where(diamond > 1, 2 - diamond, diamond)
    u = np.where(diamond > 1, -1.0, 1.0) * (1 - np.abs(v))
    radius = tables().outer.reshape(-1, STEPS + 1)[plan.shape[scene, slot]] / np.hypot(u, v)
    inner = np.maximum(tables().inner.reshape(-1, STEPS + 1)[plan.shape[scene, slot]], 0) / np.hypot(u, v)
    turn = 2 * np.pi * plan.angle[scene, slot] / 1024
    for r in (radius, np.minimum(inner, radius)):
        x, y = r * u * plan.scale[scene, slot], r * v * plan.scale[scene, slot]
        yield np.stack([
            plan.x[scene, slot] + x * np.cos(turn) - y * np.sin(turn),
            plan.y[scene, slot] + x * np.sin(turn) + y * np.cos(turn),
        ], axis=1)  # fmt: skip


def filled(plan, scene, slot, size):
    """Fill an object by OpenCV's polygons, 8 times finer."""
    fine = np.zeros((size * 8, size * 8), dtype=np.uint8)
    for colour, points in zip((1, 0), outline(plan, scene, slot), strict=True):
        cv2.fillPoly(fine, [np.rint(points * 8 - 0.5).astype(np.int32)], colour)
    return fine.reshape(size, 8, size, 8).mean(axis=(1, 3)) >= 0.5


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_the_visible_parts_are_those_of_polygons_painted_one_over_another(difficulty):
    scenes, indices = Scenes(difficulty=difficulty, image_size=96, max_objects=6), np.arange(50)
    plan, made = plan_of(scenes, indices), scenes.load_many(indices)
    wrong = far = ignored = 0
    for i in range(len(indices)):
        mask, top = np.zeros((96, 96), dtype=int), np.zeros((96, 96), dtype=int)
        slots = [s for s in range(plan.clutter, plan.present.shape[1]) if plan.present[i, s]]
        whole = {s: filled(plan, i, s, 96) for s in slots}
        for s in slots:
            mask[whole[s]], top[whole[s]] = plan.shape[i, s] + 1, s
        ours, square = made["mask"][i], np.ones((3, 3), dtype=np.uint8)
        inside = cv2.erode(ours, square) == cv2.dilate(ours, square)
        wrong, far = wrong + (mask != ours).sum(), far + ((mask != ours) & inside).sum()
        shares = [(top[whole[s]] == s).mean() for s in slots[::-1]]
        listed = [share for share in shares if share > 0.04]
        clear = [abs(share - 0.25) > 0.05 for share in listed]
        if len(listed) == len(made["ignore"][i]):
            for share, sure, ignore in zip(listed, clear, made["ignore"][i], strict=True):
                assert not sure or (share < 0.25) == ignore
                ignored += bool(ignore)
        else:
            assert any(abs(share - 0.04) < 0.02 for share in shares)
    area = (made["mask"] > 0).sum()
    assert wrong < 0.03 * area and far < 10  # only pixels right on an edge
    assert ignored > 0 or difficulty == 0


def test_the_outlines_have_the_areas_of_their_shapes():
    area = dict(zip(SHAPES, tables().area, strict=False))
    d, r = 0.45, 0.75  # where the circle that is cut out of the crescent lies, and its radius
    corner = (d**2 + 1 - r**2) / (2 * d)
    cut = np.arccos(corner) + r**2 * np.arccos((d**2 + r**2 - 1) / (2 * d * r)) - d * np.sqrt(1 - corner**2)
    exact = {
        "circle": np.pi, "square": 2 * 1.2**2, "triangle": 1.25**2 * 3 * np.sqrt(3) / 4,
        "star": 10 * 1.3 * 0.58 * np.sin(np.pi / 5) / 2, "cross": 4 * 0.72 - 0.72**2,
        "ring": np.pi * (1 - 0.52**2), "crescent": np.pi - cut,
    }  # fmt: skip
    for shape, value in exact.items():
        assert abs(area[shape] / value - 1) < 2e-3, shape


def test_the_label_is_the_shape_in_front_and_the_largest():
    for difficulty in (0.0, 0.5, 1.0):
        scenes = Scenes(difficulty=difficulty, max_objects=6)
        made = scenes.load_many(np.arange(300))
        assert np.array_equal(made["label"], scenes.labels[:300])
        assert np.array_equal(made["label"], [labels[0] for labels in made["labels"]])
        for inst in made["instances"]:
            area = np.bincount(inst[inst < 255], minlength=2)[1:]
            assert area.argmax() == 0
        assert not any(ignore[0] for ignore in made["ignore"])


@pytest.mark.parametrize("split", Scenes.splits)
def test_labels_are_balanced_and_in_no_order(split):
    labels = Scenes(split=split, num_train=4096).labels
    assert np.bincount(labels).tolist() == [len(labels) // 8] * 8
    assert (labels[8:] == labels[:-8]).mean() < 0.2 and (np.diff(labels) == 1).mean() < 0.2


def test_the_kind_of_annotation_decides_classes_and_targets():
    for annotation, given in ANNOTATIONS.items():
        scenes = Scenes(annotation=annotation)
        assert scenes.targets == given and set(scenes.load(3)) == {"image", *given}
        assert scenes.classes == (["background"] if annotation == "masks" else []) + list(SHAPES)
        assert scenes.classes == Scenes.find_classes(annotation=annotation)
    whole, part = Scenes().load(9), Scenes(annotation="boxes").load(9)
    same(part, {key: whole[key] for key in part})
    assert Scenes().mask_classes == ["background", *SHAPES] and len(Scenes.palette) == 9


def test_boxes_and_sentences_come_without_the_picture():
    scenes = Scenes(annotation="label")
    whole = Scenes().load(4)
    assert np.array_equal(scenes.raw_boxes(4), whole["boxes"]) and scenes.sentences(4) == whole["captions"]


@pytest.mark.parametrize("size", [16, 31, (16, 200), (200, 24), 256, (512, 300)])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_every_size_works_and_looks_alike(size, difficulty):
    scenes = Scenes(image_size=size, difficulty=difficulty, max_objects=5)
    height, width = (size, size) if isinstance(size, int) else size
    made = scenes.load_many(np.arange(4 if height * width > 60_000 else 60))
    assert made["image"].shape[1:] == (height, width, 3) and made["mask"].shape[1:] == (height, width)
    for boxes, captions in zip(made["boxes"], made["captions"], strict=True):
        assert len(boxes) and len(captions) >= 3 and (boxes >= 0).all()
        assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    share = (made["instances"] == 1).sum(axis=(1, 2)) / min(height, width) ** 2
    low, high = (0.11, 0.24) if difficulty == 0 else (0.03, 0.12)
    assert (share > low).all() and (share < high).all()


def test_a_scene_is_the_same_at_twice_the_size():
    small, large = (Scenes(image_size=s, difficulty=0.5).load_many(np.arange(40)) for s in (64, 128))
    half = large["mask"][:, ::2, ::2]
    assert (half == small["mask"]).mean() > 0.95
    assert np.array_equal(small["label"], large["label"])


def test_grey_pictures_are_the_luma_of_the_colour_ones():
    colour, grey = Scenes().load(11), Scenes(channels=1).load(11)
    assert grey["image"].shape == (64, 64, 1)
    assert np.array_equal(grey["image"], to_channels(colour["image"], channels=1))


def test_indices_beyond_the_length_are_scenes_too():
    scenes = Scenes(num_train=16, endless=True)
    assert len(scenes) == len(scenes.ids) == 16 and scenes.ids[15] == "train/00015" and scenes.endless
    same(scenes.load(5000), Scenes().load(5000))
    with pytest.raises(ValueError, match="from 0"):
        scenes.load(-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 1.2}, "difficulty=1.2 .*0…1"),
        ({"difficulty": float("nan")}, "difficulty=nan"),
        ({"max_objects": 0}, "max_objects=0 .*1…12"),
        ({"num_val": 0, "split": "val"}, "num_val=0"),
        ({"image_size": 8}, "image_size=8"),
        ({"image_size": [64]}, "height, width"),
        ({"channels": 2}, "channels=2"),
        ({"split": "all"}, "train, val, test"),
        ({"annotation": "keypoints"}, "all, label, boxes, masks, captions"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**options)


def test_the_config_says_what_the_scenes_are():
    node = OmegaConf.load(ROOT / "conf" / "data" / "scenes.yaml")
    pixels = Scenes().load_many(np.arange(1500))["image"] / 255.0
    assert np.abs(pixels.mean(axis=(0, 1, 2)) - node.mean).max() < 0.01
    assert np.abs(pixels.std(axis=(0, 1, 2)) - node.std).max() < 0.01
    assert node.num_classes is None and node.flip is False
