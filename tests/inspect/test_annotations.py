import numpy as np
import pytest

from fovea.inspect.annotations import check_sample

CLASSES = ["background", "cat", "dog"]
IMAGE = np.zeros((40, 50, 3), np.uint8)


def mask(**places):
    values = np.zeros((40, 50), np.uint8)
    for at, value in places.items():
        values[int(at[1:]), :] = value
    return values


def check(**entries):
    boxes = entries.pop("raw", None)
    named = entries.pop("mask_classes", None)
    return check_sample({"image": IMAGE, **entries}, classes=CLASSES, mask_classes=named, boxes=boxes)


def kinds(**entries):
    return [kind for kind, _ in check(**entries)]


def boxes(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


CLEAN = [
    {"label": 0},
    {"label": 2},
    {"boxes": boxes([0, 0, 50, 40]), "labels": np.array([1])},
    {"boxes": boxes([-0.9, -1, 51, 40.5]), "labels": np.array([2])},  # rounding
    {"mask": mask(r3=1, r4=255)},
    {"instances": mask(r3=1, r4=255), "boxes": boxes([0, 3, 50, 6]), "labels": np.array([1])},
    {"captions": ["a cat"]},
]


@pytest.mark.parametrize("entries", CLEAN)
def test_clean_samples_have_no_problem(entries):
    assert check(**entries) == []


FAULTS = [
    ("bad label", {"label": 3}),
    ("bad label", {"label": -1}),
    ("box without area", {"boxes": boxes([5, 5, 5, 9]), "labels": np.array([1])}),
    ("box without area", {"boxes": boxes([9, 5, 5, 9]), "labels": np.array([1])}),
    ("box without area", {"boxes": boxes([5, 5, np.nan, 9]), "labels": np.array([1])}),
    ("box outside", {"boxes": boxes([50, 5, 60, 9]), "labels": np.array([1])}),
    ("box outside", {"boxes": boxes([5, -9, 60, 0]), "labels": np.array([1])}),
    ("box over edge", {"boxes": boxes([5, 5, 52, 9]), "labels": np.array([1])}),
    ("box over edge", {"boxes": boxes([5, -2, 20, 9]), "labels": np.array([1])}),
    ("tiny box", {"boxes": boxes([5, 5, 7, 20]), "labels": np.array([1])}),
    ("bad label", {"boxes": boxes([5, 5, 17, 20]), "labels": np.array([3])}),
    ("bad annotation", {"boxes": boxes([5, 5, 17, 20]), "labels": np.array([1, 1])}),
    ("bad mask", {"mask": mask(r3=3)}),
    ("bad mask", {"mask": mask(r3=1)[:, :-1]}),
    ("ignored mask", {"mask": np.full((40, 50), 255, np.uint8)}),
    ("bad mask", {"instances": mask(r3=2), "boxes": boxes([0, 3, 50, 6]), "labels": np.array([1])}),
    ("bad mask", {"instances": mask(r3=1)[1:]}),
    ("empty caption", {"captions": []}),
    ("empty caption", {"captions": ["a cat", "  "]}),
    ("no object", {"boxes": boxes(), "labels": np.array([], int)}),
    ("no object", {"mask": mask(r4=255)}),
]


@pytest.mark.parametrize(("kind", "entries"), FAULTS)
def test_every_fault_is_found_and_only_it(kind, entries):
    assert kinds(**entries) == [kind]


def test_the_boxes_of_the_file_count_not_those_that_were_cut():
    cut = {"boxes": boxes([0, 0, 50, 40]), "labels": np.array([1])}
    assert kinds(**cut, raw=boxes([0, 0, 90, 40])) == ["box over edge"] and kinds(**cut) == []


def test_masks_may_have_classes_of_their_own():
    assert kinds(mask=mask(r3=3), mask_classes=["background", "a", "b", "c"]) == []
    assert kinds(mask=mask(r3=2), mask_classes=["background", "a"]) == ["bad mask"]


def test_many_wrong_boxes_of_an_image_are_summed_up():
    problems = check(boxes=boxes(*[[5, 5, 5, 5]] * 10), labels=np.ones(10, int))
    assert len(problems) == 4 and problems[-1] == ("box without area", "and 7 more in this image")


def test_messages_say_values_and_sizes():
    assert "(50, 5, 60, 9) in a 50×40 image" in check(boxes=boxes([50, 5, 60, 9]), labels=np.array([1]))[0][1]
    assert check(mask=mask(r3=7))[0][1] == "the mask holds 7, allowed are 0 to 2 and 255"
    assert check(mask=mask()[1:])[0][1] == "the mask is 50×39, the image 50×40"
