from functools import partial

import cv2
import numpy as np
import pytest

from fovea.data.datasets.folder import Folder
from fovea.data.recorded import Recorded, match, record
from fovea.data.splits import build_splits

PARTS = {"fractions": {"val": 0.2, "test": 0.2}, "seed": 0}


def write_classes(root, counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(root / name / f"{number:02d}.png"), np.full((4, 4, 3), 9 * number, np.uint8))


def splits_of(root, **options):
    return build_splits(partial(Folder, root=root), **PARTS, **options)


def recorded_of(splits):
    return Recorded.read({"classes": splits["train"].classes, "splits": record(splits)})


@pytest.mark.parametrize("options", [{}, {"train_fraction": 0.5}, {"fold": 1, "num_folds": 3}])
def test_a_trained_image_is_never_tested_whatever_came_or_went(tmp_path, options):
    write_classes(tmp_path, {"a": 12, "b": 12})
    before = splits_of(tmp_path, **options)
    recorded = recorded_of(before)
    write_classes(tmp_path, {"a": 20, "b": 12})  # a/12 … a/19 came
    gone = before["test"].ids[0]
    (tmp_path / gone).unlink()
    after, found = match(splits_of(tmp_path, **options), recorded, name="x")
    assert set(after["train"].ids) == set(before["train"].ids)
    assert [*after["test"].ids] == [name for name in before["test"].ids if name != gone]
    assert len(found.came) == 8 and found.went == [gone]
    assert all(name.startswith("a/") for name in found.came)


def test_nothing_changes_where_the_images_are_the_same(tmp_path):
    write_classes(tmp_path, {"a": 9, "b": 9})
    before = splits_of(tmp_path)
    after, found = match(splits_of(tmp_path), recorded_of(before), name="x")
    assert all(after[k].ids == before[k].ids for k in before) and not found.lines()


def test_labels_go_by_name(tmp_path):
    write_classes(tmp_path / "abc", {"a": 9, "b": 9, "c": 9})
    write_classes(tmp_path / "bcd", {"b": 9, "c": 9, "d": 9})
    recorded = recorded_of(splits_of(tmp_path / "abc"))
    after, found = match(splits_of(tmp_path / "bcd"), recorded, name="x")
    for subset in after.values():
        for row, image in enumerate(subset.ids):
            label = subset.labels[row]
            assert recorded.classes[label] == image[0] and subset.load(row)["label"] == label
    assert found.unknown == {"d": 9} and found.lacking == ["a"]


def test_data_of_no_known_class_are_refused(tmp_path):
    write_classes(tmp_path / "ab", {"a": 9, "b": 9})
    write_classes(tmp_path / "xy", {"x": 9, "y": 9})
    with pytest.raises(ValueError, match=r"none of the run's classes.*x, y.*a, b"):
        match(splits_of(tmp_path / "xy"), recorded_of(splits_of(tmp_path / "ab")), name="xy")


def test_a_new_image_of_an_official_split_is_measured(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"a": 9, "b": 9})
    recorded = recorded_of(splits_of(tmp_path))
    write_classes(tmp_path / "test", {"a": 10, "b": 9})
    after, found = match(splits_of(tmp_path), recorded, name="x")
    assert len(after["test"]) == 19 and len(found.came) == 1
    assert np.array_equal(after["train"].labels, splits_of(tmp_path)["train"].labels)


def test_a_trained_image_that_moves_into_the_test_folder_is_not_tested(tmp_path):
    write_classes(tmp_path / "train", {"a": 12, "b": 12})
    write_classes(tmp_path / "test", {"a": 3, "b": 3})
    before = splits_of(tmp_path)
    recorded = recorded_of(before)
    trained = next(name for name in before["train"].ids if int(name[-6:-4]) > 3)
    moved = trained.replace("train/", "test/")
    (tmp_path / trained).rename(tmp_path / moved)
    write_classes(tmp_path / "test", {"a": 4})  # test/a/03.png came, and did not train under its name
    after, found = match(splits_of(tmp_path), recorded, name="x")
    assert found.moved == [moved] and moved not in after["test"].ids and len(after["test"]) == 7
    assert any("left out" in line and moved in line for line in found.lines())


def test_a_split_folder_may_get_another_of_its_names(tmp_path):
    write_classes(tmp_path / "train", {"a": 12, "b": 12})
    write_classes(tmp_path / "test", {"a": 3, "b": 3})
    before = splits_of(tmp_path)
    recorded = recorded_of(before)
    (tmp_path / "train").rename(tmp_path / "Training_Set")
    after, found = match(splits_of(tmp_path), recorded, name="x")
    assert len(after["train"]) == len(before["train"]) and len(after["val"]) == len(before["val"])
    assert not found.came and not found.went


def test_of_other_data_all_images_are_measured(tmp_path):
    write_classes(tmp_path / "own", {"a": 12, "b": 12})
    write_classes(tmp_path / "other", {"a": 4, "b": 9})
    for path in sorted((tmp_path / "other").rglob("*.png")):
        path.rename(path.with_stem(f"new{path.stem}"))
    recorded = recorded_of(splits_of(tmp_path / "own"))
    after, found = match(splits_of(tmp_path / "other"), recorded, name="x")
    assert found.elsewhere and len(after["test"]) == len(after["val"]) == 13
    assert any("own data" in line for line in found.lines())
    going_on, _ = match(splits_of(tmp_path / "other"), recorded, name="x", training=True)
    assert sum(map(len, going_on.values())) == 13


def test_what_trained_stays_on_record_when_a_run_goes_on_without_it(tmp_path):
    write_classes(tmp_path / "train", {"a": 12, "b": 12})
    write_classes(tmp_path / "test", {"a": 3, "b": 3})
    first = splits_of(tmp_path)
    trained = next(name for name in first["train"].ids if int(name[-6:-4]) > 3)
    recorded = recorded_of(first)
    aside = tmp_path / "aside.png"
    (tmp_path / trained).rename(aside)
    resumed, _ = match(splits_of(tmp_path), recorded, name="x", training=True)
    again = Recorded.read({"classes": ["a", "b"], "splits": record(resumed, before=recorded)})
    moved = trained.replace("train/", "test/")
    aside.rename(tmp_path / moved)
    after, found = match(splits_of(tmp_path), again, name="x")
    assert found.moved == [moved] and moved not in after["test"].ids
