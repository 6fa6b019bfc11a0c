from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from fovea.data.partition import Choice, build_views, want
from fovea.data.splits import folds, part_of, stratified_split
from helpers.toy_data import Toy

FRACTIONS = {"test": 0.2, "val": 0.1}


class Official(Toy):
    """A set with its own validation and test images."""

    splits = ("train", "val", "test")

    def __init__(self, *, split):
        super().__init__(split=split, count={"train": 60, "val": 30, "test": 18}[split])


class People(Toy):
    """Three images of each person, whose label is the same in all."""

    def __init__(self, *, split="all"):
        super().__init__(split=split, count=180)
        self.groups = np.arange(180) // 3 * 7
        self.labels = self.groups // 7 % 3


TOYS = partial(Toy, count=300)


def views(factory=TOYS, seed=0, **choice):
    return build_views(factory, fractions=FRACTIONS, seed=seed, choice=Choice(**choice))


def names(view):
    return set(view.ids)


def test_fractions_are_stratified_and_nested():
    parts = [views(fraction=f)["train"] for f in (0.01, 0.05, 0.1, 0.5, 1.0)]
    assert [np.bincount(p.labels).tolist() for p in parts] == [[k] * 3 for k in (1, 4, 7, 35, 70)]
    for small, large in pairwise(parts):
        assert names(small) < names(large)
    whole = views()
    assert names(parts[-1]) == names(whole["train"])
    for split in ("val", "test"):
        assert names(views(fraction=0.01)[split]) == names(whole[split])


def test_a_limit_per_class_is_part_of_every_larger_one():
    few, more = (views(limit_per_class=k)["train"] for k in (2, 9))
    assert np.bincount(few.labels).tolist() == [2] * 3 and names(few) < names(more)
    assert np.bincount(views(limit_per_class=10**6)["train"].labels).tolist() == [70] * 3
    both = views(limit_per_class=5, fraction=0.05)["train"]
    assert np.bincount(both.labels).tolist() == [4] * 3


def test_the_seed_of_the_split_decides():
    assert names(views(fraction=0.1)["train"]) == names(views(fraction=0.1)["train"])
    assert names(views(fraction=0.1)["train"]) != names(views(fraction=0.1, seed=1)["train"])
    first, second = views(fold=0, num_folds=5), views(fold=0, num_folds=5, seed=1)
    assert names(first["val"]) != names(second["val"])


@pytest.mark.parametrize("factory", [partial(Toy, count=307), Official])
def test_folds_share_out_all_but_the_test_images(factory):
    parts = [views(factory, fold=i, num_folds=5) for i in range(5)]
    plain = build_views(factory, fractions=FRACTIONS, seed=0)
    pool = sorted([*plain["train"].ids, *plain["val"].ids])
    assert sorted(name for part in parts for name in part["val"].ids) == pool
    for part in parts:
        assert sorted([*part["train"].ids, *part["val"].ids]) == pool
        assert part["test"].ids == plain["test"].ids
        counts = np.bincount(part["val"].labels)
        assert counts.max() - counts.min() <= 1 and abs(len(part["val"]) - len(pool) / 5) < 1
        for view in part.values():
            assert all(view.load(i)["label"] == view.labels[i] for i in range(0, len(view), 7))


def test_joined_images_are_those_of_their_own_sets():
    train = views(Official, fold=0, num_folds=3)["train"]
    sets = {"train": Official(split="train"), "val": Official(split="val")}
    assert {name.split("/")[0] for name in train.ids} == {"train", "val"}
    for i, name in enumerate(train.ids):
        split, number = name.split("/")
        assert np.array_equal(train.load(i)["image"], sets[split].images[int(number)])


@pytest.mark.parametrize("choice", [{}, {"fold": 1, "num_folds": 4}])
def test_a_person_is_on_one_side_only(choice):
    parts = views(People, **choice)
    people = {name: set(view.dataset.groups[view.indices]) for name, view in parts.items()}
    assert not people["train"] & people["val"] and not people["test"] & (people["train"] | people["val"])
    assert sum(map(len, parts.values())) == 180 and abs(len(parts["test"]) - 36) <= 9
    assert all(np.bincount(view.labels, minlength=3).min() > 0 for view in parts.values())


def test_images_without_classes_are_split_too():
    class Plain(Toy):
        def __init__(self, *, split="all"):
            super().__init__(split=split, count=100)
            self.labels, self.classes, self.targets = None, [], ()

    parts = views(Plain, fraction=0.1)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [7, 10, 20]
    assert len(names(parts["train"]) | names(parts["val"]) | names(parts["test"])) == 37


def test_refusals_name_the_key():
    labels = np.arange(30) % 3
    for options, message in (
        ({"fraction": 0}, "train_fraction=0"),
        ({"limit_per_class": 0}, "limit_per_class=0"),
    ):
        with pytest.raises(ValueError, match=message):
            part_of(labels, num_classes=3, seed=0, **options)
    for number in (1, 31):
        with pytest.raises(ValueError, match=f"num_folds={number}"):
            folds(labels, num_classes=3, num_folds=number, seed=0)
    for choice in ({"fold": 5, "num_folds": 5}, {"fold": 1}, {"num_folds": 4}):
        with pytest.raises(ValueError, match=r"data\.fold=.*set both"):
            views(**choice)
    with pytest.raises(ValueError, match=r"data\.targets: toy has no boxes, mask, only label"):
        want(views(), ["boxes", "mask"], name="toy")


def test_every_part_of_a_grouped_split_needs_its_groups():
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="too few for 2 parts"):
        stratified_split(labels, fractions={"val": 0.5}, seed=0, classes=["a", "b"], groups=groups)
