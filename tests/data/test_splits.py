import numpy as np
import pytest

from fovea.data.splits import stratified_split

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
    with pytest.raises(ValueError, match=r"class 'b' has 2 images, too few for 3 parts"):
        split([0] * 9 + [1] * 2 + [2] * 9, test=0.1, val=0.1)
    with pytest.raises(ValueError, match=r"class 'c' has 0 images"):
        split([0] * 9 + [1] * 9, val=0.1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_impossible_fractions_are_named(fraction):
    with pytest.raises(ValueError, match=f"data.val_fraction={fraction}"):
        split([0, 1, 2] * 9, val=fraction)
    with pytest.raises(ValueError, match="nothing to train on"):
        split([0, 1, 2] * 9, val=0.5, test=0.5)
