"""One's own images with boxes in three formats: equal objects, and one answer to each trap."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.coco import COCO
from fovea.data.datasets.coco_folder import CocoFolder
from fovea.data.datasets.voc_folder import VocFolder
from fovea.data.datasets.yolo_folder import YoloFolder
from helpers.formats_boxes import voc_xml
from helpers.formats_own_boxes import (
    CLASSES,
    KINDS,
    OBJECTS,
    SIZE,
    SPLITS,
    coco_document,
    of_each_kind,
    photo,
    write_coco,
    write_voc,
    write_yolo,
    yolo_lines,
)
from helpers.shared import shared_data


@of_each_kind
def test_the_formats_give_the_same_objects(tmp_path, kind):
    cls, write = KINDS[kind]
    write(tmp_path, splits=SPLITS)
    assert cls.find_splits(root=tmp_path) == ("train", "val")
    assert cls.find_classes(root=tmp_path) == CLASSES
    data = cls(root=tmp_path, split="train")
    assert [path.stem for path in data.paths] == ["a", "b", "c"] and len(cls(root=tmp_path, split="val")) == 1
    for i, found in enumerate(OBJECTS.values()):
        sample = data.load(i)
        expected = np.array([box for _, box in found], dtype=np.float32).reshape(-1, 4)
        np.testing.assert_allclose(sample["boxes"], expected, atol=1e-3)
        assert sample["boxes"].dtype == np.float32 and sample["ignore"].tolist() == [False] * len(found)
        assert [CLASSES[k] for k in sample["labels"]] == [label for label, _ in found]
        np.testing.assert_allclose(data.raw_boxes(i), expected, atol=1e-3)


@of_each_kind
def test_bad_boxes_stop_or_are_left_out_or_cut_and_are_named(tmp_path, kind, caplog):
    cls, write = KINDS[kind]
    bad = {
        "a": [("dog", (5, 10, 25, 30)), ("cat", (45, 30, 54, 40)), ("dog", (9, 9, 9, 9))],
        "b": [],
        "c": [],
    }
    write(tmp_path, bad, splits=SPLITS)
    with pytest.raises(ValueError, match=r"has 2 boxes without area or out of.*(?s:.*)data\.bad_boxes=drop"):
        cls(root=tmp_path, split="train")
    with caplog.at_level(logging.WARNING):
        dropped = cls(root=tmp_path, split="train", bad_boxes="drop").load(0)
    assert dropped["labels"].tolist() == [1] and len(dropped["boxes"]) == len(dropped["ignore"]) == 1
    assert "left out 2 boxes" in caplog.text and "a." in caplog.text
    clipped = cls(root=tmp_path, split="train", bad_boxes="clip").load(0)
    np.testing.assert_allclose(clipped["boxes"], [[5, 10, 25, 30], [45, 30, 50, 40]], atol=1e-3)
    assert clipped["labels"].tolist() == [1, 0]
    with pytest.raises(
        ValueError, match=r"data\.bad_boxes='keep' is unknown: choose one of error, drop, clip"
    ):
        cls(root=tmp_path, split="train", bad_boxes="keep")


@of_each_kind
def test_classes_are_listed_in_any_order_but_must_cover_the_objects(tmp_path, kind):
    cls, write = KINDS[kind]
    write(tmp_path, splits=SPLITS)
    if kind != "yolo":  # there the numbers in the files say the order
        data = cls(root=tmp_path, split="train", classes=["dog", "horse", "cat"])
        assert data.load(0)["labels"].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"data\.dataset\.classes"):
        cls(root=tmp_path, split="train", classes=["dog"])
    with pytest.raises(ValueError, match="distinct"):
        cls(root=tmp_path, split="train", classes=["dog", "dog"])


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_endings_in_capitals_are_images(tmp_path, kind):
    cls, write = KINDS[kind]
    write(tmp_path, splits=SPLITS, suffix=".JPG")
    assert len(cls(root=tmp_path, split="train")) == 3


@of_each_kind
def test_boxes_belong_to_the_photo_as_it_stands(tmp_path, kind):
    """A photo that EXIF turns is read upright: its boxes are those of the upright one."""
    cls, write = KINDS[kind]
    write(tmp_path, splits=SPLITS)
    exif = Image.Exif()
    exif[0x0112] = 6
    (path,) = [p for p in cls(root=tmp_path, split="train").paths if p.stem == "c"]
    photo(path, size=SIZE[::-1], exif=exif)
    sample = cls(root=tmp_path, split="train").load(2)
    assert sample["image"].shape[:2] == SIZE[::-1]
    np.testing.assert_allclose(sample["boxes"], [[10, 5, 20, 35]], atol=1e-3)


@of_each_kind
def test_a_folder_without_such_files_says_what_is_expected(tmp_path, kind):
    cls, _ = KINDS[kind]
    photo(tmp_path / "photos" / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"(?s)expected|Expected"):
        cls(root=tmp_path, split=cls.find_splits(root=tmp_path)[0], classes=["cat"])


def test_voc_difficult_parts_and_unannotated_images(tmp_path, caplog):
    write_voc(tmp_path, {"a": []})
    photo(tmp_path / "JPEGImages" / "bare.jpg")
    part = [("head", (9, 3, 15, 10))]
    objects = [{"name": "cat", "difficult": 1, "box": (1, 1, 10, 10), "parts": part}]
    (tmp_path / "Annotations" / "a.xml").write_text(voc_xml("a", objects))
    with caplog.at_level(logging.WARNING):
        data = VocFolder(root=tmp_path)
    assert data.classes == ["cat"] and data.load(0)["ignore"].tolist() == [True] and len(data) == 1
    assert "left out 1 image without an XML file" in caplog.text
    assert data.stated_size(0) == (50, 40)
    (tmp_path / "Annotations" / "lost.xml").write_text(voc_xml("lost", []))
    with pytest.raises(FileNotFoundError, match=r"1 XML file without an image.*lost\.xml"):
        VocFolder(root=tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 120 80 40 30", r"line 2 has 120 80 40 30, expected shares.*divide pixels"),
        ("2 .5 .5 .1 .1", r"line 2 has the class 2, but there are 2 names, 0 to 1"),
        ("0.5 .5 .5 .1 .1", r"line 2 has the class 0\.5"),
        ("0 .5 .5 .1", r"line 2 has 4 numbers, expected class x y width height"),
        ("0 .5 .5 .1 nan", r"line 2 has .5 .5 .1 nan, expected shares"),
        ("cat .5 .5 .1 .1", r"line 2 reads 'cat .5 .5 .1 .1', expected numbers"),
    ],
)
def test_yolo_names_a_bad_line(tmp_path, line, message):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text(f"0 .5 .5 .2 .2\n{line}\n")
    with pytest.raises(ValueError, match=message):
        YoloFolder(root=tmp_path, split="train")


def test_yolo_outlines_become_boxes_and_images_without_a_file_are_negatives(tmp_path, caplog):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "c.txt").write_text("1 .2 .25 .6 .5 .4 1")
    with caplog.at_level(logging.WARNING):
        data = YoloFolder(root=tmp_path, split="train")
    np.testing.assert_allclose(data.load(2)["boxes"], [[10, 10, 30, 40]])
    assert "1 image without a text file of boxes: read as negatives" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: images/val\nnames: [a]", "no key 'train'"),
        ("train: images/train\nnames: [a, a]", "names a class twice"),
        ("train: images/train\nnames: [a]\nnc: 2", "nc=2 but 1 names"),
        ("train: images/train\nnames: [yes, no]", "quote it"),
        ("train: images/none\nnames: [a]", "has train: images/none, which is not there"),
        ("train: images/train", "names=None: list the class names"),
        ("- 1", "must hold keys"),
    ],
)
def test_yolo_names_what_is_wrong_with_its_yaml(tmp_path, text, message):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        YoloFolder(root=tmp_path, split="train")


@pytest.mark.parametrize("layout", ["around", "beside", "list", "roboflow"])
def test_yolo_layouts_that_tools_export(tmp_path, layout):
    found = {"a": OBJECTS["a"], "c": OBJECTS["c"]}
    home = {"around": "train/images", "beside": "", "list": "images", "roboflow": "train/images"}[layout]
    for name, objects in found.items():
        photo(tmp_path / home / f"{name}.jpg")
        path = tmp_path / home.replace("images", "labels") / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yolo_lines(objects))
    if layout in ("around", "beside"):
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
    elif layout == "list":
        (tmp_path / "train.txt").write_text("./images/a.jpg\nimages/c.jpg\n")
        (tmp_path / "data.yaml").write_text("train: train.txt\nnames: {0: cat, 1: dog}")
    else:
        (tmp_path / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['cat', 'dog']")
    (split,) = YoloFolder.find_splits(root=tmp_path)
    data = YoloFolder(root=tmp_path, split=split)
    assert split == ("all" if layout == "beside" else "train") and data.classes == CLASSES
    assert [len(data.load(i)["boxes"]) for i in range(2)] == [2, 1]


def test_coco_ids_with_gaps_crowds_and_images_that_no_file_lists(tmp_path, caplog):
    write_coco(tmp_path)
    photo(tmp_path / "train" / "extra.jpg")
    path = tmp_path / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(document))
    (tmp_path / "annotations" / "captions_train.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        data = CocoFolder(root=tmp_path, split="train")
    assert data.category_ids.tolist() == [3, 7] and data.load(0)["ignore"].tolist() == [True, False]
    assert "left out 1 image" in caplog.text
    # labels of another file go by the names of its categories
    other = coco_document({"a": OBJECTS["a"]}, ids=(9, 1))
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(other))
    assert CocoFolder(root=tmp_path, split="val").load(0)["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "no list 'images'"),
        (lambda d: d.update(images=[]), "lists no image"),
        (lambda d: d["images"].append(d["images"][0]), "twice"),
        (lambda d: d["annotations"][0].update(category_id=5), "category id 5, which the file does not list"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "the bbox"),
        (lambda d: d["annotations"][0].update(image_id=99), "image id 99"),
        (lambda d: d["images"][0].update(file_name="lost.jpg"), r"lost\.jpg, which is not there"),
        (lambda d: d["images"][1].update(file_name="lost.jpg"), r"1 image that.*lost\.jpg"),
        (lambda d: d["categories"][0].update(name="cat"), "category name twice"),
    ],
)
def test_coco_names_what_is_wrong_with_its_file(tmp_path, change, message):
    write_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CocoFolder(root=tmp_path, split="train")


@pytest.mark.parametrize("layout", ["roboflow", "one"])
def test_coco_layouts_that_tools_export(tmp_path, layout):
    folder = tmp_path / "train" if layout == "roboflow" else tmp_path
    for name in OBJECTS:
        photo((folder if layout == "roboflow" else folder / "images") / f"{name}.jpg")
    name = "_annotations.coco.json" if layout == "roboflow" else "result.json"
    (folder / name).write_text(json.dumps(coco_document(OBJECTS)))
    (split,) = CocoFolder.find_splits(root=tmp_path)
    assert len(CocoFolder(root=tmp_path, split=split)) == 3


def test_blood_cells_have_two_boxes_without_area():
    root = shared_data("bccd")
    blank = np.empty((480, 640, 3), dtype=np.uint8)
    for policy in ("drop", "clip"):
        parts = [VocFolder(root=root, split=s, bad_boxes=policy) for s in ("train", "val", "test")]
        assert [len(part) for part in parts] == [205, 87, 72]
        counts = [sum(len(p.annotate(i, blank)["boxes"]) for i in range(len(p))) for p in parts]
        assert sum(counts) == 4888 - 2
    with pytest.raises(ValueError, match=r"BloodImage_00343.*640×480 has the box 181, 329, 181, 329"):
        VocFolder(root=root, split="train")


def test_coco_photos_are_read_as_the_official_set_reads_them(tmp_path):
    root = shared_data("coco_cc")
    (tmp_path / "coco").symlink_to(root)
    own, official = CocoFolder(root=root, split="val"), COCO(root=tmp_path, split="test", subset=True)
    assert len(own) == len(official) == 25 and own.classes == official.classes
    assert own.category_ids.tolist() == official.category_ids.tolist()
    for i in range(25):
        for key in ("boxes", "labels", "ignore"):
            np.testing.assert_array_equal(own.load(i)[key], official.load(i)[key])
    assert any(own.load(i)["ignore"].any() for i in range(25))
