import os
import pickle

import numpy as np
import pytest

from fovea.data.datasets.cars20 import Cars20
from helpers.formats_labels import one_hot, write_cars20, write_cars20_folder
from helpers.real_formats import images, write_folder


def both(root):
    return [Cars20(root=root, split=split, subset=True) for split in Cars20.splits]


@pytest.mark.parametrize("size", [(25, 25), (12, 30)])
@pytest.mark.parametrize("form", ["int", "column", "float", "one_hot"])
@pytest.mark.parametrize("first", [0, 1])
def test_arrays_are_read_in_all_forms(tmp_path, form, first, size):
    write_cars20(tmp_path, form=form, first=first, size=size)
    for data, count, seed in zip(both(tmp_path), (60, 20), (9, 10), strict=True):
        assert data.labels.tolist() == [i % 20 for i in range(count)] and data.labels.dtype == np.int64
        assert np.array_equal(data.images, images(count, size, 3, seed))
        sample = data.load(21 % count)
        assert sample["label"] == 1 and np.array_equal(
            sample["image"], images(count, size, 3, seed)[21 % count]
        )
        assert data.ids[2] == f"{data.split}/00002" and data.files(2) == {} and len(set(data.classes)) == 20


def test_images_stay_on_disk_and_samples_may_be_written(tmp_path):
    write_cars20(tmp_path)
    data = Cars20(root=tmp_path, subset=True)
    assert isinstance(data.images, np.memmap)
    sample = data.load(0)["image"]
    sample[:] = 0
    assert type(sample) is np.ndarray and data.load(0)["image"].any()


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", np.ndarray), ("int64", np.ndarray), ("uint8", np.memmap)]
)
def test_other_numbers_become_bytes(tmp_path, dtype, kind):
    write_cars20(tmp_path)
    path = tmp_path / "cars20" / "x_train.npy"
    pixels = np.load(path)
    np.save(path, pixels.astype(dtype))
    data = Cars20(root=tmp_path, subset=True)
    assert data.images.dtype == np.uint8 and type(data.images) is kind and np.array_equal(data.images, pixels)


def test_grey_arrays_get_a_channel(tmp_path):
    write_cars20(tmp_path)
    np.save(tmp_path / "cars20" / "x_test.npy", np.full((20, 5, 6), 7, np.uint8))
    assert Cars20(root=tmp_path, split="test", subset=True).load(0)["image"].shape == (5, 6, 1)


def test_both_splits_count_alike_although_one_lacks_the_first_class(tmp_path):
    write_cars20(tmp_path, first=0)
    np.save(tmp_path / "cars20" / "y_test.npy", np.full(20, 5))
    assert both(tmp_path)[1].labels.tolist() == [5] * 20
    np.save(tmp_path / "cars20" / "y_test.npy", one_hot(np.full(20, 5), 20))
    np.save(tmp_path / "cars20" / "y_train.npy", one_hot(np.arange(60) % 19 + 1, 20))
    train, test = both(tmp_path)
    assert test.labels.tolist() == [5] * 20 and train.labels[:3].tolist() == [1, 2, 3]


def test_class_names_may_stand_in_a_file(tmp_path):
    write_cars20(tmp_path)
    names = [f"Modèle {i}" for i in range(20)]
    path = tmp_path / "cars20" / "classes.txt"
    path.write_text("\n".join(names) + "\n\n", encoding="utf-8")
    assert Cars20(root=tmp_path, subset=True).classes == names
    path.write_text("\n".join(names[:19]))
    with pytest.raises(ValueError, match=r"classes.txt has 19 different names in 19 lines, expected 20"):
        Cars20(root=tmp_path, subset=True)


def test_folders_are_read(tmp_path):
    write_cars20_folder(tmp_path)
    train, test = both(tmp_path)
    assert train.classes == test.classes and train.classes[0] == "Citroën C4" and train.images is None
    assert train.labels.tolist() == [i // 3 for i in range(60)] and test.labels.tolist() == list(range(20))
    assert train.ids[0] == "train/Citroën C4/000.jpg" and not set(train.ids) & set(test.ids)
    assert train.load(59)["image"].shape == (20, 24, 3) and train.load(59)["label"] == 19
    assert Cars20(root=tmp_path, channels=1, subset=True).load(0)["image"].shape == (20, 24, 1)
    assert train.files(0) == {"image": tmp_path / "cars20" / "train" / "Citroën C4" / "000.jpg"}


def test_wrong_folders_say_what_they_hold(tmp_path):
    write_cars20_folder(tmp_path)
    write_folder(tmp_path / "cars20" / "test", {"tricycle": 1})
    with pytest.raises(
        ValueError, match=r"cars20/test holds 21 folders .*expected folders named as the classes"
    ):
        Cars20(root=tmp_path, split="test", subset=True)
    write_folder(tmp_path / "cars20" / "train", {"tricycle": 1})
    with pytest.raises(
        ValueError, match=r"cars20/train needs 20 folders, one per model; it holds 21 folders"
    ):
        Cars20(root=tmp_path, subset=True)


def test_nothing_there_says_how_to_lay_it_out(tmp_path):
    for call in (Cars20, Cars20.prepare):
        with pytest.raises(FileNotFoundError) as info:
            call(root=tmp_path)
        for part in (
            str(tmp_path / "cars20" / "x_train.npy"),
            "ComputerVisionLab",
            "{train,test}/<model>/*.jpg",
        ):
            assert part in str(info.value)
        assert "data.download=true" not in str(info.value) and "experiment=vit_digits" in str(info.value)
    write_cars20(tmp_path)
    Cars20.prepare(root=tmp_path, channels=3, download=True, subset=True)
    (tmp_path / "cars20" / "y_test.npy").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"looked for .*y_test.npy(.|\n)*holds x_test.npy, x_train.npy"
    ):
        Cars20(root=tmp_path)


def test_two_forms_at_once_are_refused(tmp_path):
    write_cars20(tmp_path)
    write_cars20_folder(tmp_path)
    with pytest.raises(ValueError, match=r"holds x_train.npy and train, two forms of the same images"):
        Cars20(root=tmp_path, subset=True)


def test_the_official_count_is_demanded(tmp_path):
    write_cars20(tmp_path)
    for split, found, official in (("train", 60, 791), ("test", 20, 784)):
        with pytest.raises(ValueError, match=f"Cars-20 {split} has {found} images, officially {official}"):
            Cars20(root=tmp_path, split=split)


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_train", "y_test"])
def test_a_hostile_array_is_refused_unrun(tmp_path, name):
    write_cars20(tmp_path)
    trap, path = tmp_path / "trap", tmp_path / "cars20" / f"{name}.npy"
    np.save(path, np.array([Hostile(trap), 1], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=rf"{name}.npy is not a readable array \(.*object"):
        Cars20(root=tmp_path, subset=True)
    assert not trap.exists()
    np.load(path, allow_pickle=True)
    assert trap.exists()  # the trap works: it is the reader that kept it from springing


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.arange(60) % 20 + 2, "holds labels 1 to 20, expected 0 to 19"),
        (np.arange(60) % 21, "holds labels 0 to 20"),
        (np.arange(60) % 20 - 1, "holds labels -1 to 18"),
        (np.arange(59) % 20 + 1, "59 labels for 60 images"),
        (np.arange(60) / 2, "not whole numbers"),
        (np.full(60, np.nan), "not whole numbers"),
        (np.zeros((60, 20)), "not one-hot"),
        (np.full((60, 20), 0.05), "not one-hot"),
        (np.zeros((60, 3)), r"has shape \(60, 3\), expected labels"),
        (np.array(["a"] * 60), "expected numbers"),
    ],
)
def test_wrong_labels_are_named(tmp_path, values, problem):
    write_cars20(tmp_path)
    np.save(tmp_path / "cars20" / "y_train.npy", values)
    with pytest.raises(ValueError, match=f"y_train.npy.*{problem}"):
        Cars20(root=tmp_path, subset=True)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((60, 3, 8, 8), np.uint8), r"has shape \(60, 3, 8, 8\), expected images"),
        (np.zeros((60, 192), np.uint8), r"has shape \(60, 192\)"),
        (np.random.default_rng(0).random((60, 4, 4, 3)), "holds values 0…1"),
        (np.full((60, 4, 4, 3), 256), "outside 0…255"),
        (np.full((60, 4, 4, 3), np.nan), "outside 0…255"),
        (np.zeros((60, 4, 4, 3), complex), "expected numbers"),
    ],
)
def test_wrong_images_are_named(tmp_path, values, problem):
    write_cars20(tmp_path)
    np.save(tmp_path / "cars20" / "x_train.npy", values)
    with pytest.raises(ValueError, match=f"x_train.npy.*{problem}"):
        Cars20(root=tmp_path, subset=True)


def test_a_bare_pickle_under_the_name_of_an_array_is_refused_unrun(tmp_path):
    write_cars20(tmp_path)
    trap, path = tmp_path / "trap", tmp_path / "cars20" / "y_train.npy"
    path.write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(ValueError, match=r"y_train.npy is not a readable array"):
        Cars20(root=tmp_path, subset=True)
    assert not trap.exists()
    np.load(path, allow_pickle=True)
    assert trap.exists()


def test_damaged_arrays_are_named(tmp_path):
    write_cars20(tmp_path)
    path = tmp_path / "cars20" / "x_train.npy"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:40], b"", b"junk"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x_train.npy is not a readable array"):
            Cars20(root=tmp_path, subset=True)
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"x_train.npy is an archive of arrays"):
        Cars20(root=tmp_path, subset=True)
