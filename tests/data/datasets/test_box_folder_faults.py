"""What people's annotation files get wrong: judged by the photo, refused by name, never counted twice."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.coco_folder import CocoFolder
from fovea.data.datasets.voc_folder import VocFolder
from fovea.data.datasets.yolo_folder import YoloFolder
from fovea.data.formats.named_files import find_twice
from helpers.formats_own_boxes import (
    KINDS,
    OBJECTS,
    SIZE,
    SPLITS,
    edit_json,
    of_each_kind,
    photo,
    state_size,
    write_coco,
    write_voc,
    write_yolo,
)


@of_each_kind
@pytest.mark.parametrize("size", [(30, 20), SIZE[::-1], (0, 0), (-1, 5), (99, 99)])
def test_good_boxes_are_good_whatever_size_the_file_states(tmp_path, kind, size, caplog):
    cls, write = KINDS[kind]
    write(tmp_path, splits=SPLITS)
    state_size(tmp_path, *size)
    for policy in ("error", "drop", "clip"):
        data = cls(root=tmp_path, split="train", bad_boxes=policy)
        assert [len(data.load(i)["boxes"]) for i in range(3)] == [2, 0, 1]
    assert "bad_boxes" not in caplog.text  # nothing was left out or cut
    assert data.stated_size(0) == (None if kind == "yolo" or min(size) <= 0 else size)


@of_each_kind
def test_boxes_out_of_the_photo_are_named_before_it_is_opened(tmp_path, kind, caplog):
    """Also where the file states a size that they lie in, or EXIF turns the photo."""
    cls, write = KINDS[kind]
    box = (10, 5, 20, 42) if kind == "yolo" else (10, 5, 45, 20)  # shares are of the upright photo
    write(tmp_path, {"a": [("cat", box)], "b": [], "c": OBJECTS["c"]}, splits=SPLITS)
    state_size(tmp_path, *SIZE)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = next(path for path in tmp_path.rglob("a.jpg") if "val" not in path.parts)
    photo(path, exif=exif)
    says = "" if kind == "yolo" else r" \(the file says 50×40\)"
    with pytest.raises(ValueError, match=rf"has 1 box (?s:.*)a\.jpg of 40×50{says} has the box"):
        cls(root=tmp_path, split="train")
    with caplog.at_level(logging.WARNING):
        data = cls(root=tmp_path, split="train", bad_boxes="drop")
    assert "left out 1 box" in caplog.text and len(data.load(0)["boxes"]) == 0
    assert len(cls(root=tmp_path, split="train", bad_boxes="clip").load(0)["boxes"]) == 1


def test_a_share_is_out_of_the_photo_by_its_pixels(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 .95 .5 .112 .2")  # 0.006 beyond the right edge
    assert YoloFolder(root=tmp_path, split="train").load(0)["boxes"][0, 2] == SIZE[0]
    photo(tmp_path / "images" / "train" / "a.jpg", size=(1000, 40))
    with pytest.raises(ValueError, match="of 1000×40 has the box 894, 16, 1006, 24"):
        YoloFolder(root=tmp_path, split="train")


def test_infinity_is_no_edge(tmp_path):
    endless = {"a": [("cat", (5, 5, float("inf"), 20))], "b": [], "c": [("cat", (1, 1, 1e300, 9))]}
    write_coco(tmp_path, endless)
    for policy in ("drop", "clip"):
        data = CocoFolder(root=tmp_path, split="train", bad_boxes=policy)
        assert not any(len(data.load(i)["boxes"]) for i in range(3))
    with pytest.raises(ValueError, match=r"2 boxes(?s:.*)5, 5, inf, 20"):
        CocoFolder(root=tmp_path, split="train")
    assert np.isfinite(data.load(0)["boxes"]).all()


ODD = [
    (lambda d: d["images"][0].update(width=10**30), r"a\.jpg states a width or height of 1000.*correct"),
    (lambda d: d["annotations"][0].update(bbox=[]), r"bbox \[\], expected 4 numbers"),
    (lambda d: [row.update(bbox=[]) for row in d["annotations"]], r"bbox \[\], expected 4 numbers"),
    (lambda d: d["annotations"][0].update(bbox={"x": 1}), r"bbox \{'x': 1\}, expected 4 numbers"),
    (lambda d: d["annotations"][0].update(bbox=[10**400, 1, 2, 3]), r"bbox \[1000.*\], expected 4 numbers"),
    (lambda d: d["annotations"][0].update(bbox=None), "bbox None, expected 4 numbers"),
    (lambda d: d["annotations"][0].update(category_id=3.7), r"category_id 3\.7, expected a whole number"),
    (lambda d: d["annotations"][0].update(category_id=[3]), r"category_id \[3\], expected a whole number"),
    (lambda d: d["annotations"][0].update(image_id="0.5"), r"image_id '0\.5', expected a whole number"),
    (lambda d: d["annotations"][0].update(image_id=float("nan")), "image_id nan, expected a whole number"),
    (lambda d: d["annotations"][0].update(image_id=10**30), r"image_id 1000.*, expected a whole number"),
    (lambda d: d["images"][0].update(id=0.5), r"image id 0\.5, expected a whole number"),
    (lambda d: d["images"][0].update(id=10**30), r"image id 1000.*, expected a whole number"),
    (lambda d: [row.update(id=[]) for row in d["images"]], r"image id \[\], expected a whole number"),
    (lambda d: d["categories"][0].update(id=True), "category id True, expected a whole number"),
    (lambda d: d["annotations"][0].update(iscrowd="2"), "iscrowd '2', expected 0 or 1"),
    (lambda d: d["annotations"][0].update(iscrowd=[0]), r"iscrowd \[0\], expected 0 or 1"),
]


@pytest.mark.parametrize(("change", "message"), ODD)
def test_coco_names_the_key_with_an_odd_value(tmp_path, change, message):
    write_coco(tmp_path)
    edit_json(tmp_path, change)
    with pytest.raises(ValueError, match=rf"instances_train\.json.*{message}.*(correct|remove)"):
        CocoFolder(root=tmp_path, split="train")


def test_coco_takes_whole_numbers_and_flags_as_tools_write_them(tmp_path):
    write_coco(tmp_path)
    edit_json(
        tmp_path, lambda d: [row.update(category_id=float(row["category_id"])) for row in d["annotations"]]
    )
    edit_json(tmp_path, lambda d: [row.update(id=str(row["id"])) for row in d["images"]])
    for value, ignored in (("0", False), (0, False), (None, False), ("", False), ("1", True), (True, True)):
        edit_json(tmp_path, lambda d, value=value: d["annotations"][0].update(iscrowd=value))
        assert CocoFolder(root=tmp_path, split="train").load(0)["ignore"].tolist() == [ignored, False]


def test_a_number_of_thousands_of_digits_is_named_by_its_file(tmp_path):
    write_coco(tmp_path)
    path = edit_json(tmp_path, lambda d: d["images"][0].update(width=123454321))
    path.write_text(path.read_text().replace("123454321", "9" * 5000))
    with pytest.raises(ValueError, match=r"instances_train\.json .*thousands of digits.*correct it"):
        CocoFolder(root=tmp_path, split="train")


@pytest.mark.parametrize("width", ["1" + "0" * 30, "9" * 5000])
def test_voc_names_the_file_that_states_an_impossible_size(tmp_path, width):
    write_voc(tmp_path)
    state_size(tmp_path, width, 40)
    with pytest.raises(ValueError, match=r"a\.xml states a width or height of [19]\d.*correct"):
        VocFolder(root=tmp_path)


def test_voc_flags(tmp_path):
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "c.xml"
    text = path.read_text()
    for value, ignored in (
        ("<difficult>1</difficult>", True),
        ("<difficult> 0 </difficult>", False),
        ("<difficult/>", False),
        ("", False),
    ):
        path.write_text(text.replace("<difficult>0</difficult>", value))
        assert VocFolder(root=tmp_path).load(2)["ignore"].tolist() == [ignored]
    path.write_text(text.replace("<difficult>0<", "<difficult>maybe<"))
    with pytest.raises(ValueError, match=r"c\.xml .*<difficult> 'maybe', expected 0 or 1: correct it"):
        VocFolder(root=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../out/x.jpg", r"names the image \.\./\.\./out/x\.jpg, which leads out of .*data\.root"),
        ("{out}/x.jpg", r"names the image /.*/x\.jpg, which leads out of .*data\.root"),
        ("./c.jpg", r"lists the image c\.jpg twice, once as \./c\.jpg: remove one"),
        ("sub/../c.jpg", r"lists the image c\.jpg twice, once as sub/\.\./c\.jpg: remove one"),
        ("{root}/train/c.jpg", r"lists the image c\.jpg twice, once as /.*: remove one"),
        ("c.jpg", r"lists the image c\.jpg twice: remove one"),
        ("a\0.jpg", r"file_name 'a\\x00\.jpg', with a character that no name has: correct it"),
        ("\ud800.jpg", r"file_name '\\ud800\.jpg', with a character"),
        ("a" * 5000, r"file_name of 5,000 characters, 'aaaaaaaaaaaaaaaaaaaa'…: shorten it"),
        (None, "file_name None, expected a text: correct it"),
        (["a.jpg"], r"file_name \['a\.jpg'\], expected a text: correct it"),
    ],
)
def test_coco_names_lie_in_the_root_and_name_each_photo_once(tmp_path, name, message):
    root, out = tmp_path / "root", tmp_path / "out"
    write_coco(root)
    (root / "train" / "sub").mkdir()
    photo(out / "x.jpg")
    name = name.format(root=root, out=out) if isinstance(name, str) else name
    edit_json(root, lambda d: d["images"][0].update(file_name=name))
    with pytest.raises(ValueError, match=rf"instances_train\.json.* {message}"):
        CocoFolder(root=root, split="train")


def test_coco_names_may_take_a_detour(tmp_path, caplog):
    write_coco(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "train" / "b.jpg").rename(tmp_path / "elsewhere" / "b.jpg")
    names = [f"{tmp_path}/train/a.jpg", "../elsewhere/b.jpg", "./c.jpg"]
    edit_json(
        tmp_path, lambda d: [row.update(file_name=n) for row, n in zip(d["images"], names, strict=True)]
    )
    data = CocoFolder(root=tmp_path, split="train")
    assert list(data.ids) == ["train/a.jpg", "elsewhere/b.jpg", "train/c.jpg"]
    assert len(data.load(0)["boxes"]) == 2 and "left out" not in caplog.text


def test_one_file_in_two_letter_cases_is_found_where_the_system_says_so(tmp_path):
    photo(tmp_path / "a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "A.JPG")  # as a file system does that ignores case
    photo(tmp_path / "b.jpg")
    photo(tmp_path / "B.jpg")  # two photos
    names = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "A.JPG", "B.jpg", "é.jpg", "e\u0301.jpg")]
    assert list(find_twice(names)) == [(0, 2)]


def test_yolo_lists_name_each_photo_once_and_none_outside(tmp_path):
    root = tmp_path / "root"
    write_yolo(root)
    (root / "train.txt").write_text("images/train/a.jpg\n./images/train/a.jpg\nimages/train/../train/a.jpg\n")
    (root / "data.yaml").write_text("train: [train.txt, images/train, images]\nnames: [cat, dog]\n")
    assert len(YoloFolder(root=root, split="train")) == 4  # a, b and c, and a of images/val
    photo(tmp_path / "out" / "images" / "x.jpg")
    for name in ("../out/images/x.jpg", f"{tmp_path}/out/images/x.jpg"):
        (root / "train.txt").write_text(f"images/train/a.jpg\n{name}\n")
        with pytest.raises(ValueError, match=r"train\.txt, line 2 names the image .*x\.jpg, which leads out"):
            YoloFolder(root=root, split="train")
    # `path` names the home of the data, which may be anywhere
    (root / "data.yaml").write_text(f"path: {tmp_path}/out\ntrain: {root}/train.txt\nnames: [cat, dog]\n")
    assert len(YoloFolder(root=root, split="train")) == 2


def test_yolo_reads_its_own_photos_where_an_export_means_them(tmp_path):
    root = tmp_path / "set"
    photo(root / "train" / "images" / "a.jpg")
    photo(tmp_path / "train" / "images" / "other.jpg")  # of a set beside it
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "a.txt").write_text("0 .5 .5 .2 .2")
    (root / "data.yaml").write_text("train: ../train/images\nnames: [cat]")
    assert list(YoloFolder(root=root, split="train").ids) == ["train/images/a.jpg"]


def test_voc_files_that_are_no_annotations_are_no_negatives(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text("<html/>")
    with pytest.raises(ValueError, match=r"b\.xml holds <html>, expected <annotation>: get it again"):
        VocFolder(root=tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(f"<annotation>{'<a>' * 9999}{'</a>' * 9999}</annotation>")
    assert len(VocFolder(root=tmp_path)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('train: ""', "has the train '', expected a text: correct it"),
        ('train: "a\\0"', r"has the train 'a\\x00', with a character"),
        ("train: {a: 1}", r"has the train \{'a': 1\}, expected a text: correct it"),
        ("train: images/none", "has train: images/none, which is not there"),
        ("train: [images/train, null]", "has the train None, expected a text: correct it"),
        ("train: labels", "has train: 'labels', which holds no image: correct it"),
    ],
)
def test_yolo_names_the_key_of_a_split_that_names_no_images(tmp_path, text, message):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(f"{text}\nnames: [cat, dog]\n")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"data\.yaml {message}"):
        YoloFolder(root=tmp_path, split="train")
