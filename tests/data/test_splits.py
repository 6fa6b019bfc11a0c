from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from fovea.data.splits import build_splits, folds, part_of, select_targets, stratified_split
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


def splits(factory=TOYS, seed=0, **choice):
    return build_splits(factory, fractions=FRACTIONS, seed=seed, **choice)


def names(view):
    return set(view.ids)


def test_fractions_are_stratified_and_nested():
    parts = [splits(train_fraction=f)["train"] for f in (0.01, 0.05, 0.1, 0.5, 1.0)]
    assert [np.bincount(p.labels).tolist() for p in parts] == [[k] * 3 for k in (1, 4, 7, 35, 70)]
    for small, large in pairwise(parts):
        assert names(small) < names(large)
    whole = splits()
    assert names(parts[-1]) == names(whole["train"])
    for split in ("val", "test"):
        assert names(splits(train_fraction=0.01)[split]) == names(whole[split])


def test_a_limit_per_class_is_part_of_every_larger_one():
    few, more = (splits(limit_per_class=k)["train"] for k in (2, 9))
    assert np.bincount(few.labels).tolist() == [2] * 3 and names(few) < names(more)
    assert np.bincount(splits(limit_per_class=10**6)["train"].labels).tolist() == [70] * 3
    both = splits(limit_per_class=5, train_fraction=0.05)["train"]
    assert np.bincount(both.labels).tolist() == [4] * 3


def test_the_seed_of_the_split_decides():
    assert names(splits(train_fraction=0.1)["train"]) == names(splits(train_fraction=0.1)["train"])
    assert names(splits(train_fraction=0.1)["train"]) != names(splits(train_fraction=0.1, seed=1)["train"])
    first, second = splits(fold=0, num_folds=5), splits(fold=0, num_folds=5, seed=1)
    assert names(first["val"]) != names(second["val"])


@pytest.mark.parametrize("factory", [partial(Toy, count=307), Official])
def test_folds_share_out_all_but_the_test_images(factory):
    parts = [splits(factory, fold=i, num_folds=5) for i in range(5)]
    plain = build_splits(factory, fractions=FRACTIONS, seed=0)
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
    train = splits(Official, fold=0, num_folds=3)["train"]
    sets = {"train": Official(split="train"), "val": Official(split="val")}
    assert {name.split("/")[0] for name in train.ids} == {"train", "val"}
    for i, name in enumerate(train.ids):
        split, number = name.split("/")
        assert np.array_equal(train.load(i)["image"], sets[split].images[int(number)])


@pytest.mark.parametrize("choice", [{}, {"fold": 1, "num_folds": 4}])
def test_a_person_is_on_one_side_only(choice):
    parts = splits(People, **choice)
    people = {name: set(view.dataset.groups[view.indices]) for name, view in parts.items()}
    assert not people["train"] & people["val"] and not people["test"] & (people["train"] | people["val"])
    assert sum(map(len, parts.values())) == 180 and abs(len(parts["test"]) - 36) <= 9
    assert all(np.bincount(view.labels, minlength=3).min() > 0 for view in parts.values())


def test_images_without_classes_are_split_too():
    class Plain(Toy):
        def __init__(self, *, split="all"):
            super().__init__(split=split, count=100)
            self.labels, self.classes, self.targets = None, [], ()

    parts = splits(Plain, train_fraction=0.1)
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
            splits(**choice)
    with pytest.raises(ValueError, match=r"data\.targets: .*boxes, mask.* label"):
        select_targets(splits(), ["boxes", "mask"], name="toy")


def test_every_part_of_a_grouped_split_needs_its_groups():
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=" 2 parts"):
        stratified_split(labels, fractions={"val": 0.5}, seed=0, classes=["a", "b"], groups=groups)


NAMES = ["a", "b", "c"]


def split(labels, seed=0, **fractions):
    return stratified_split(np.asarray(labels), fractions=fractions, seed=seed, classes=NAMES)


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("counts", [(3, 3, 3), (100, 10, 3), (7, 50, 31)])
def test_parts_cover_all_never_overlap_and_hold_every_class(counts, seed):
    labels = np.repeat([0, 1, 2], counts)[np.random.default_rng(1).permutation(sum(counts))]
    parts = split(labels, seed, test=0.15, val=0.15)
    assert list(parts) == ["train", "test", "val"]
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(labels)))
    for indices in parts.values():
        assert set(labels[indices]) == {0, 1, 2} and np.array_equal(indices, np.sort(indices))


def test_each_class_gives_its_share():
    labels = np.repeat([0, 1, 2], [100, 200, 40])
    parts = split(labels, test=0.15, val=0.25)
    assert np.bincount(labels[parts["test"]]).tolist() == [15, 30, 6]
    assert np.bincount(labels[parts["val"]]).tolist() == [25, 50, 10]


def test_the_seed_fixes_the_split_and_zero_is_a_seed():
    labels = np.repeat([0, 1, 2], 50)
    first, again, other = (split(labels, seed, val=0.2)["val"] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_large_fractions_still_leave_an_image_to_train_on():
    parts = split([0, 0, 0, 1, 1, 1, 2, 2, 2], test=0.45, val=0.45)
    assert [len(parts[name]) for name in ("train", "test", "val")] == [3, 3, 3]


def test_too_few_images_name_the_class_and_the_counts():
    with pytest.raises(ValueError, match=r"'b' .*2 .* 3 "):
        split([0] * 9 + [1] * 2 + [2] * 9, test=0.1, val=0.1)
    with pytest.raises(ValueError, match=r"class 'c' has 0 images"):
        split([0] * 9 + [1] * 9, val=0.1)


@pytest.mark.parametrize("fraction", [1, -0.1, 1.5])
def test_impossible_fractions_are_named(fraction):
    with pytest.raises(ValueError, match=f"data.val_fraction={fraction}"):
        split([0, 1, 2] * 9, val=fraction)
    with pytest.raises(ValueError, match="to train"):
        split([0, 1, 2] * 9, val=0.5, test=0.5)


def test_a_part_of_nothing_is_empty():
    parts = split([0, 1, 2] * 9, val=0, test=0.2)
    assert len(parts["val"]) == 0 and len(parts["test"]) and len(parts["train"]) + len(parts["test"]) == 27
    assert {name: len(part) for name, part in split([0, 1, 2], val=0, test=0).items()} == {
        "train": 3, "val": 0, "test": 0,
    }  # fmt: skip
