import logging

import pytest
from real_formats import write_folder

from fovea.data.datasets.folder import Folder, count_classes, find_classes


def test_reads_classes_in_order_and_ignores_what_is_no_image(tmp_path, caplog):
    write_folder(tmp_path, {"zebra": 2, "ant": 3, "Éléphant": 1})
    (tmp_path / "ant" / "notes.txt").write_text("x")
    (tmp_path / "ant" / "._000.jpg").write_text("left by another system")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "readme.md").write_text("x")
    with caplog.at_level(logging.INFO):
        data = Folder(root=tmp_path)
    assert data.classes == ["ant", "zebra", "Éléphant"] and count_classes(tmp_path) == 3
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert data.ids == [
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


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_the_splits(tmp_path, val):
    for split, count in (("train", 3), (val, 2), ("test", 1)):
        write_folder(tmp_path / split, {"cat": count, "dog": count})
    assert Folder.find_splits(root=tmp_path) == ("train", "val", "test")
    sizes = [len(Folder(root=tmp_path, split=split)) for split in ("train", "val", "test")]
    assert sizes == [6, 4, 2] and count_classes(tmp_path) == 2
    assert Folder(root=tmp_path, split="val").ids[0] == f"{val}/cat/000.jpg"


def test_classes_named_like_splits_stay_classes(tmp_path):
    write_folder(tmp_path, {"train": 2, "bus": 2})
    assert Folder.find_splits(root=tmp_path) == ("all",) and find_classes(tmp_path) == ["bus", "train"]


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
        count_classes(tmp_path)
    write_folder(tmp_path, {"full": 1, "hollow": 0})
    with pytest.raises(ValueError, match="'hollow' has no image"):
        Folder(root=tmp_path)
