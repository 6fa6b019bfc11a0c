"""Folders and tables as people have them: what is read as what, and what is refused."""

import logging
from functools import partial

import cv2
import numpy as np
import pytest

from fovea.data.datasets.folder import Folder
from fovea.data.datasets.table import TableImages
from fovea.data.find_images import find_images
from fovea.data.formats.listing import SUFFIXES
from fovea.data.images import read_image
from fovea.data.splits import build_splits, check_images, warn_of_near_names


def write(root, *folders, suffix=".png"):
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            pixels = cv2.imencode(".png", np.full((4, 4, 3), 20 * number + i, np.uint8))[1]
            (root / folder / f"{i}{suffix}").write_bytes(pixels.tobytes())


@pytest.mark.parametrize("names", [("training", "validation", "testing"), ("Training", "val", "test")])
def test_the_usual_names_of_splits_are_known(tmp_path, names):
    write(tmp_path, *(f"{split}/{label}" for split in names for label in "ab"))
    assert Folder.find_splits(root=tmp_path) == ("train", "val", "test")
    assert Folder(root=tmp_path, split="train").classes == ["a", "b"]


@pytest.mark.parametrize("names", [("val", "test"), ("fold1", "fold2"), ("split_0", "split_1"), ("testing",)])
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names):
    write(tmp_path, *(f"{split}/{label}" for split in names for label in "ab"))
    with pytest.raises(ValueError, match=rf"{names[0]}.*look like splits.*train.*data\.root="):
        Folder.find_classes(root=tmp_path)


def test_class_folders_may_hold_folders(tmp_path):
    write(tmp_path, "cat/indoor", "cat/outdoor", "dog/indoor", "part/x")
    assert Folder(root=tmp_path).classes == ["cat", "dog", "part"]


def test_what_a_system_made_is_left_out_and_said(tmp_path, caplog):
    write(tmp_path, "a", "b", "__c", "$RECYCLE.BIN", "lost+found", "@eaDir", "a/@eaDir/thumbs")
    with caplog.at_level(logging.WARNING):
        data = Folder(root=tmp_path)
    assert data.classes == ["__c", "a", "b"] and len(data) == 9  # no folder of a person's is left out
    assert "$RECYCLE.BIN" in caplog.text and "lost+found" in caplog.text
    assert len(find_images(str(tmp_path))) == 9


def test_all_commands_take_the_same_endings(tmp_path):
    for suffix in SUFFIXES:
        write(tmp_path, "a", "b", suffix=suffix)
    assert len(Folder(root=tmp_path)) == len(find_images(str(tmp_path))) == 6 * len(SUFFIXES)
    assert {".jfif", ".jpe", ".avif", ".heic"} <= SUFFIXES


def test_heic_is_named_with_the_way_out(tmp_path):
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(ValueError, match=r"x\.heic.*HEIC.*JPEG"):
        read_image(tmp_path / "x.heic")


def test_a_table_of_one_label_is_refused(tmp_path):
    write(tmp_path, "a")
    (tmp_path / "table.csv").write_text("path,label\na/0.png,x\na/1.png,x\n")
    with pytest.raises(ValueError, match=r"'x'.*label_column"):
        TableImages(root=tmp_path, table="table.csv")


def test_classes_of_nearly_the_same_name_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_near_names(["Yes", "no", "yes ", "polar bear", "polar_bear"], name="x")
    pairs = [record.getMessage() for record in caplog.records]
    assert len(pairs) == 2 and "'Yes' and 'yes '" in pairs[0] and "'polar_bear'" in pairs[1]


def test_an_empty_split_is_named(tmp_path):
    write(tmp_path, "train/a", "train/b")
    for label in "ab":
        (tmp_path / "val" / label).mkdir(parents=True)
    splits = build_splits(partial(Folder, root=tmp_path), fractions={"val": 0.2, "test": 0.34}, seed=0)
    with pytest.raises(ValueError, match=r"val split.*no image"):
        check_images(splits, name="x")


def test_every_wrong_line_of_a_table_is_listed(tmp_path):
    (tmp_path / "table.csv").write_text("path,label,x1,y1,x2,y2\na,x,0,0,5,5\nb,x,3,3,3,9\nc,,1,1,2,2\nd,x\n")
    with pytest.raises(ValueError, match=r"(?s)line 3 .*box.*line 4 .*label.*line 5 has 2 cells"):
        TableImages(root=tmp_path, table="table.csv")
