import shutil

import numpy as np
import pytest
from scipy.io import savemat

from fovea.data.datasets.stanford_cars import StanfordCars
from helpers.formats_labels import car_annotations, write_stanford_cars
from helpers.real_formats import images


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cars")
    write_stanford_cars(folder)
    return folder


@pytest.fixture(scope="module")
def one_each(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few_cars")
    write_stanford_cars(folder, per_class=1)
    return folder


@pytest.fixture
def small(tmp_path, one_each):
    """All classes, but one training image each, to be changed by a test."""
    return shutil.copytree(one_each, tmp_path / "data")


def annotate(root, *rows, split="train"):
    name = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}[split]
    savemat(root / "stanford_cars" / name, car_annotations(list(rows)))


@pytest.mark.parametrize(("split", "count", "seed"), [("train", 588, 7), ("test", 196, 8)])
def test_labels_and_boxes_are_those_of_the_tables(root, split, count, seed):
    data = StanfordCars(root=root, split=split, subset=True)
    assert len(data) == count and len(data.classes) == 196
    assert data.classes[0] == "Make Model 000 2012" and data.classes[-1] == "smart fortwo Convertible 2012"
    assert data.labels.tolist() == [(n * 5) % 196 for n in range(1, count + 1)]
    pictures = images(count, (20, 24), 3, seed)
    for index in (0, 3, count - 1, -1):
        n = index % count + 1
        sample = data.load(index)
        assert set(sample) == {"image", *data.targets} and sample["label"] == (n * 5) % 196
        # counted from 1 and inclusive in the table: n % 5 + 1, 2, 20, 20
        assert sample["boxes"].tolist() == [[n % 5, 1, 20, 20]] and sample["boxes"].dtype == np.float32
        assert sample["labels"].tolist() == [(n * 5) % 196] and sample["labels"].dtype == np.int64
        assert np.abs(sample["image"].astype(int) - pictures[n - 1]).mean() < 3
        assert data.files(index)["image"] == root / "stanford_cars" / f"cars_{split}" / f"{n:05d}.jpg"
        assert data.ids[index] == f"cars_{split}/{n:05d}.jpg"


def test_agrees_with_torchvision(root):
    from torchvision.datasets import StanfordCars as Reference

    for split in StanfordCars.splits:
        reference, data = Reference(root, split=split), StanfordCars(root=root, split=split, subset=True)
        assert reference.classes == data.classes and len(reference) == len(data)
        for index in (0, 77):
            image, label = reference[index]
            assert (
                np.array_equal(np.asarray(image), data.load(index)["image"]) and label == data.labels[index]
            )


def test_splits_do_not_overlap(root):
    train, test = (StanfordCars(root=root, split=split, subset=True) for split in ("train", "test"))
    assert not set(train.ids) & set(test.ids)


def test_boxes_over_the_border_are_cut_and_raw_ones_are_not(small):
    annotate(small, (3, 4, 400, 21, 1, "00001.jpg"), (30, 1, 40, 20, 2, "00002.jpg"))
    data = StanfordCars(root=small, subset=True)
    assert data.raw_boxes(0).tolist() == [[2, 3, 400, 21]] and data.load(0)["boxes"].tolist() == [
        [2, 3, 24, 20]
    ]
    assert data.raw_boxes(1).tolist() == [[29, 0, 40, 20]]
    with pytest.raises(ValueError, match=r"00002.jpg .*\[29.0, 0.0, 40.0, 20.0\].*24×20"):
        data.load(1)


def test_one_annotation_alone_is_read(small):
    annotate(small, (1, 1, 9, 9, 196, "00005.jpg"))
    data = StanfordCars(root=small, subset=True)
    assert data.labels.tolist() == [195] and list(data.ids) == ["cars_train/00005.jpg"]


def test_nothing_there_says_where_to_get_it_and_how_to_lay_it_out(tmp_path):
    for call in (StanfordCars, StanfordCars.prepare):
        with pytest.raises(FileNotFoundError) as info:
            call(root=tmp_path)
        for part in (
            str(tmp_path / "stanford_cars" / "devkit" / "cars_meta.mat"),
            "github.com/pytorch/vision/issues/7545",
            "stanford_cars/cars_test_annos_withlabels.mat",
            "experiment=vit_digits",
        ):
            assert part in str(info.value)
        assert "data.download=true" not in str(info.value)


def test_missing_tables_and_images_are_named(small):
    folder = small / "stanford_cars"
    (folder / "cars_test_annos_withlabels.mat").unlink()
    StanfordCars(root=small, subset=True)
    for call in (lambda: StanfordCars(root=small, split="test"), lambda: StanfordCars.prepare(root=small)):
        with pytest.raises(
            FileNotFoundError, match=r"withlabels.mat(.|\n)*\(cars_test_annos.mat has no labels\)"
        ):
            call()
    (folder / "cars_train" / "00007.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"cars_train/00007.jpg. 1 of 196"):
        StanfordCars(root=small)
    rest = StanfordCars(root=small, subset=True)
    assert len(rest) == 195 and rest.ids[6] == "cars_train/00008.jpg" and rest.labels[6] == 40


def test_the_nested_folder_of_some_archives_is_described(small):
    folder = small / "stanford_cars"
    (folder / "cars_train").rename(folder / "inner")
    (folder / "cars_train").mkdir()
    (folder / "inner").rename(folder / "cars_train" / "cars_train")
    with pytest.raises(
        FileNotFoundError, match=r"196 of 196 .*cars_train holds 1 folder \(cars_train\), 0 images"
    ):
        StanfordCars(root=small, subset=True)


def test_the_official_count_is_demanded(root):
    for split, found, official in (("train", 588, 8144), ("test", 196, 8041)):
        with pytest.raises(
            ValueError, match=f"Stanford Cars {split} has {found} images, officially {official}"
        ):
            StanfordCars(root=root, split=split)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([(1, 1, 9, 9, 197, "00001.jpg")], "labels 196 to 196, expected 0 to 195"),
        ([(1, 1, 9, 9, 0, "00001.jpg")], "labels -1 to -1"),
        ([(1, 1, 9, 9, 1, "00001.jpg"), (1, 1, 9, 9, 2, "00001.jpg")], "'00001.jpg' twice"),
        ([(1, 1, 9, 9, 1, "../cars_test/00001.jpg")], "'../cars_test/00001.jpg' outside its folder"),
    ],
)
def test_wrong_tables_are_named(small, rows, problem):
    annotate(small, *rows)
    with pytest.raises(ValueError, match=f"cars_train_annos.mat.*{problem}"):
        StanfordCars(root=small, subset=True)


def test_damaged_and_other_matlab_files_are_named(small):
    devkit = small / "stanford_cars" / "devkit"
    path = devkit / "cars_train_annos.mat"
    whole = path.read_bytes()
    for size in (0, 60, 150, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cars_train_annos.mat (is not a readable|has no)"):
            StanfordCars(root=small, subset=True)
    path.write_bytes((devkit / "cars_test_annos.mat").read_bytes())
    with pytest.raises(ValueError, match=r"cars_train_annos.mat: annotations lack class"):
        StanfordCars(root=small, subset=True)
    path.write_bytes((devkit / "cars_meta.mat").read_bytes())
    with pytest.raises(ValueError, match=r"cars_train_annos.mat .*'annotations'"):
        StanfordCars(root=small, subset=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array([["a", "b"]], object)})
    with pytest.raises(ValueError, match=r"cars_meta.mat .* 2 .*196"):
        StanfordCars(root=small, subset=True)
