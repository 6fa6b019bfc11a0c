import logging
import os
import unicodedata

import pytest

from fovea.data.datasets.folder import Folder
from helpers.real_formats import write_folder


def test_reads_classes_in_order_and_ignores_what_is_no_image(tmp_path, caplog):
    write_folder(tmp_path, {"zebra": 2, "ant": 3, "Éléphant": 1})
    (tmp_path / "ant" / "notes.txt").write_text("x")
    (tmp_path / "ant" / "._000.jpg").write_text("left by another system")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "readme.md").write_text("x")
    with caplog.at_level(logging.INFO):
        data = Folder(root=tmp_path)
    assert data.classes == ["ant", "zebra", "Éléphant"] and Folder.find_classes(root=tmp_path) == data.classes
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert list(data.ids) == [
        "ant/000.jpg",
        "ant/001.jpg",
        "ant/002.jpg",
        "zebra/000.jpg",
        "zebra/001.jpg",
        "Éléphant/000.jpg",
    ]
    assert "ignored 1 files" in caplog.text
    assert data.load(5)["image"].shape == (20, 24, 3)
    assert Folder(root=tmp_path, channels=1).load(5)["image"].shape == (20, 24, 1)


def test_nested_folders_belong_to_their_class(tmp_path):
    write_folder(tmp_path, {"a/2019": 1, "a/2020/may": 2, "b": 1})
    data = Folder(root=tmp_path)
    assert data.classes == ["a", "b"] and data.labels.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("val", ["val", "valid", "Validation", "val_set", "validation-images", "dev", "Eval"])
def test_split_folders_are_the_splits(tmp_path, val):
    for split, count in (("train", 3), (val, 2), ("test", 1)):
        write_folder(tmp_path / split, {"cat": count, "dog": count})
    assert Folder.find_splits(root=tmp_path) == ("train", "val", "test")
    sizes = [len(Folder(root=tmp_path, split=split)) for split in ("train", "val", "test")]
    assert sizes == [6, 4, 2] and Folder.find_classes(root=tmp_path) == ["cat", "dog"]
    assert Folder(root=tmp_path, split="val").ids[0] == f"{val}/cat/000.jpg"


def test_classes_named_like_splits_stay_classes(tmp_path):
    write_folder(tmp_path, {"train": 2, "bus": 2})
    assert Folder.find_splits(root=tmp_path) == ("all",)
    assert Folder.find_classes(root=tmp_path) == ["bus", "train"]


def test_val_may_lack_a_class_but_not_bring_a_new_one(tmp_path):
    write_folder(tmp_path / "train", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "val", {"dog": 1})
    data = Folder(root=tmp_path, split="val")
    assert data.labels.tolist() == [1] and data.classes == ["cat", "dog"]
    write_folder(tmp_path / "val", {"bird": 1})
    with pytest.raises(ValueError, match="'bird'"):
        Folder(root=tmp_path, split="val")


def test_links_are_followed_once_and_never_out_of_the_class(tmp_path):
    write_folder(tmp_path / "data", {"a": 2, "b": 3})
    write_folder(tmp_path / "elsewhere", {"more": 1})
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a", target_is_directory=True)
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "b" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert Folder(root=tmp_path / "data").labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_errors_name_the_class_or_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere(.|\n)*data.root=DIR"):
        Folder(root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="at least 2 class folders"):
        Folder.find_classes(root=tmp_path)
    write_folder(tmp_path, {"full": 1, "hollow": 0})
    with pytest.raises(ValueError, match="'hollow' has no image"):
        Folder(root=tmp_path)


def test_empty_classes_are_all_counted_and_described(tmp_path):
    write_folder(tmp_path, {"full": 1, "hollow": 0, "void": 0})
    (tmp_path / "hollow" / "list.csv").write_text("x")
    with pytest.raises(ValueError, match=r"'hollow' .*2 classes.*1 other"):
        Folder(root=tmp_path)


def test_wrong_layouts_say_what_was_found_and_what_was_expected(tmp_path):
    write_folder(tmp_path, {"": 3})
    with pytest.raises(ValueError, match=r"DIR/<class>/\*.jpg.*holds 0 folders, 3 images and 0 other files"):
        Folder(root=tmp_path)
    write_folder(tmp_path / "inner", {"cat": 1, "dog": 1})
    with pytest.raises(ValueError, match=r"holds 1 folder \(inner\), 3 images"):
        Folder.find_classes(root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"000.jpg"):
        Folder(root=tmp_path / "000.jpg")


@pytest.mark.parametrize("other", ["annotations/xml", "Train/cat"])
def test_splits_beside_other_folders_are_never_read_as_classes(tmp_path, other):
    for split in ("train", "val"):
        write_folder(tmp_path / split, {"cat": 1, "dog": 1})
    (tmp_path / other).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"annotations|Train, train, val"):
        Folder.find_splits(root=tmp_path)


def test_a_split_folder_without_classes_is_told(tmp_path, caplog):
    write_folder(tmp_path / "train", {"cat": 1, "dog": 1})
    write_folder(tmp_path, {"test": 2})
    assert Folder.find_splits(root=tmp_path) == ("train",)
    assert "test has no class folder" in caplog.text


def test_long_and_foreign_names_survive(tmp_path):
    accent = "Éléphant"
    names = {"ネコ " * 20: 1, unicodedata.normalize("NFC", accent): 1}
    write_folder(tmp_path / "train", names)
    write_folder(tmp_path / "val", {"ネコ " * 20: 1, unicodedata.normalize("NFD", accent): 2})
    raw = (
        os.fsencode(tmp_path / "train" / unicodedata.normalize("NFC", accent))
        + b"/caf\xe9"
        + b"x" * 240
        + b".jpg"
    )
    with open(raw, "wb") as file:
        file.write((tmp_path / "val" / ("ネコ " * 20) / "000.jpg").read_bytes())
    train, val = (Folder(root=tmp_path, split=split) for split in ("train", "val"))
    assert train.classes == val.classes and val.labels.tolist() == [0, 0, 1]
    assert train.labels.tolist() == [0, 0, 1] and len(train.classes[1]) == 60
    pictures = [train.load(i)["image"].shape for i in range(3)] + [val.load(2)["image"].shape]
    assert pictures == [(20, 24, 3)] * 4


def test_two_spellings_of_one_class_are_named(tmp_path):
    write_folder(tmp_path, {unicodedata.normalize(form, "Éléphant"): 1 for form in ("NFC", "NFD")})
    with pytest.raises(ValueError, match=r"'Éléphant'"):
        Folder(root=tmp_path)


def test_links_to_themselves_and_pipes_are_skipped_and_broken_links_named(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a" / "round")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    (tmp_path / "b" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    data = Folder(root=tmp_path)
    assert list(data.ids) == ["a/000.jpg", "b/000.jpg", "b/broken.jpg"]
    with pytest.raises(FileNotFoundError, match=r"broken.jpg"):
        data.load(2)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 1, "b/locked": 1})
    real = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("locked"):  # as for users without rights: root may read everything
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"b/locked may not be read.*data\.root"):
        Folder(root=tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("Trainset", "Testing Data"),
        ("train", "holdout"),
    ],
)
def test_the_usual_names_of_splits_are_known(tmp_path, train, test):
    for split in (train, test):
        write_folder(tmp_path / split, {"cat": 2, "dog": 2})
    assert Folder.find_splits(root=tmp_path) == ("train", "test")
    assert Folder.find_classes(root=tmp_path) == ["cat", "dog"]


def test_a_train_folder_beside_one_with_the_same_classes_is_no_class(tmp_path):
    for split in ("train", "unlike_any"):
        write_folder(tmp_path / split, {"cat": 2, "dog": 2})
    with pytest.raises(ValueError, match=r"mixes split folders.*unlike_any"):
        Folder(root=tmp_path)


def test_folders_with_the_same_folders_are_classes_with_a_warning(tmp_path, caplog):
    for name in ("first", "second"):
        write_folder(tmp_path / name, {"cat": 2, "dog": 2})
    assert Folder(root=tmp_path).classes == ["first", "second"]
    assert "first, second are read as classes" in caplog.text and "name them train" in caplog.text
