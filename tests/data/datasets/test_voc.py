import numpy as np
import pytest

from fovea.data.datasets import voc
from fovea.data.datasets.voc import VOC
from helpers.formats_boxes import (
    COUNTS_2007,
    FRACTION,
    PERSON,
    palette_png,
    voc_masks,
    voc_objects,
    voc_xml,
    write_voc,
)
from helpers.real_formats import images

LABELS = {"person": 14, "dog": 11}


@pytest.fixture
def root(tmp_path):
    write_voc(tmp_path, 2012)
    write_voc(tmp_path, 2007)
    return tmp_path


def test_boxes_are_converted_and_parts_are_left_out(root):
    data = VOC(root=root, subset=True)
    assert len(data.classes) == 20 and data.classes[11] == "dog" and data.classes[14] == "person"
    assert data.targets == ("boxes", "labels", "ignore") and data.labels is None
    sample = data.load(2)
    assert set(sample) == {"image", *data.targets}
    np.testing.assert_allclose(sample["boxes"], [[0, 2, 30, 28], [10, 4.7, 44, 40]], atol=1e-5)
    assert sample["boxes"].dtype == np.float32
    assert sample["labels"].tolist() == [14, 11] and sample["labels"].dtype == np.int64
    assert sample["ignore"].tolist() == [False, True] and sample["ignore"].dtype == bool
    truth = images(12, (40, 50), seed=0)[2].astype(int)
    assert np.abs(sample["image"].astype(int) - truth).mean() < 4


def test_an_image_without_objects_has_no_box(root):
    sample = VOC(root=root, subset=True).load(0)
    assert sample["boxes"].shape == (0, 4) and sample["boxes"].dtype == np.float32
    assert sample["labels"].shape == (0,) and sample["labels"].dtype == np.int64
    assert sample["ignore"].shape == (0,) and sample["ignore"].dtype == bool


def test_splits_of_both_years_are_apart(root):
    assert VOC.find_splits(root=root, year=2007, annotation="masks", channels=3) == ("train", "val", "test")
    assert VOC.find_splits(root=root, year=2012, annotation="boxes", subset=True) == ("train", "test")
    parts = {s: VOC(root=root, year=2007, split=s, subset=True) for s in ("train", "val", "test")}
    assert {name: len(data) for name, data in parts.items()} == COUNTS_2007
    ids = [name for data in parts.values() for name in data.ids]
    assert len(set(ids)) == len(ids) == 17 and ids[0] == "JPEGImages/2007_000000.jpg"
    # the official val of 2012 is the test set
    assert VOC(root=root, split="test", subset=True).ids[0] == "JPEGImages/2012_000012.jpg"
    with pytest.raises(ValueError, match="split='val' is unknown"):
        VOC(root=root, split="val")


def test_masks_instances_and_palette(root):
    data = VOC(root=root, annotation="masks", subset=True)
    assert data.classes[:2] == ["background", "aeroplane"] and len(data.classes) == 21
    assert data.classes[15] == "person" and data.targets == ("mask", "instances")
    sample = data.load(1)
    classes, objects = voc_masks()
    assert data.raw_boxes(1).shape == (0, 4)
    assert set(sample) == {"image", "mask", "instances"}
    assert (sample["mask"] == classes).all() and sample["mask"].dtype == np.uint8
    assert (sample["instances"] == objects).all() and set(np.unique(sample["mask"])) == {0, 12, 15, 255}
    assert data.palette.shape == (21, 3) and data.palette[15].tolist() == [192, 128, 128]


@pytest.mark.parametrize("annotation", ["boxes", "masks"])
def test_files_and_extra_files(root, annotation):
    data = VOC(root=root, annotation=annotation, subset=True)
    files = data.files(3)
    roles = {"image", "annotation"} if annotation == "boxes" else {"image", "mask", "instances"}
    assert set(files) == roles and all(path.is_file() for path in files.values())
    assert {path.stem for path in files.values()} == {"2012_000003"}
    assert data.extra_files() == []
    last = [path for role, path in files.items() if role != "image"]
    strays = [path.with_name(f"9999_000001{path.suffix}") for path in last]
    for stray in strays:
        stray.write_bytes(b"")
    assert data.extra_files() == sorted(strays)


def test_raw_boxes_are_neither_cut_nor_refused(root):
    xml = root / "VOCdevkit/VOC2012/Annotations/2012_000000.xml"
    xml.write_text(
        voc_xml("2012_000000", [{**PERSON, "box": (0, 1, 60, 41)}, {**PERSON, "box": (70, 1, 80, 9)}])
    )
    data = VOC(root=root, subset=True)
    assert data.raw_boxes(0).tolist() == [[-1, 0, 60, 41], [69, 0, 80, 9]]
    with pytest.raises(ValueError, match=r"2012_000000\.xml .*box"):
        data.load(0)
    xml.write_text(voc_xml("2012_000000", [{**PERSON, "box": (0, 1, 60, 41)}]))
    assert data.load(0)["boxes"].tolist() == [[0, 0, 50, 40]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            voc_xml("x", [{**PERSON, "name": "unicorn"}]),
            r"000000\.xml .*'unicorn'.*aeroplane",
        ),
        (voc_xml("x", [{**PERSON, "box": ("a", 1, 2, 3)}]), r"000000\.xml has a <bndbox> of \['a'"),
        (
            voc_xml("x", [{**PERSON, "box": ("", 1, 2, 3)}]),
            r"000000\.xml .*<bndbox/xmin>",
        ),
        (
            voc_xml("x", [PERSON]).replace("person</name>", "</name>"),
            r"000000\.xml .*<name>",
        ),
        (voc_xml("x", [PERSON])[:300], r"000000\.xml .*XML"),
        (
            '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]>' + voc_xml("x", [{**PERSON, "name": "&d;"}]),
            r"000000\.xml declares a DOCTYPE",
        ),
    ],
)
def test_a_bad_annotation_is_named(root, text, message):
    (root / "VOCdevkit/VOC2012/Annotations/2012_000000.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        VOC(root=root, subset=True).load(0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_declaration_cannot_hide_in_another_encoding(root, encoding):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "person">]>'
    data = (text + voc_xml("x", [PERSON])).encode(encoding)
    (root / "VOCdevkit/VOC2012/Annotations/2012_000000.xml").write_bytes(data)
    with pytest.raises(ValueError, match=r"2012_000000\.xml .*XML"):
        VOC(root=root, subset=True).load(0)


def test_a_bad_mask_is_named(root):
    folder = root / "VOCdevkit/VOC2012"
    data = VOC(root=root, annotation="masks", subset=True)
    palette_png(folder / "SegmentationClass/2012_000000.png", np.full((40, 50), 21))
    with pytest.raises(ValueError, match=r"SegmentationClass/2012_000000\.png .* 21"):
        data.load(0)
    palette_png(folder / "SegmentationObject/2012_000001.png", np.zeros((30, 50)))
    with pytest.raises(ValueError, match=r"SegmentationObject/2012_000001\.png is 50×30"):
        data.load(1)
    (folder / "SegmentationObject/2012_000002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"SegmentationObject/2012_000002\.png"):
        data.load(2)


def test_missing_images_are_named_or_left_out_of_a_subset(root):
    folder = root / "VOCdevkit/VOC2012"
    (folder / "JPEGImages/2012_000004.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2012_000004\.jpg.*1 of 12 images"):
        VOC(root=root)
    data = VOC(root=root, subset=True)
    assert len(data) == 11 and "JPEGImages/2012_000004.jpg" not in list(data.ids)
    (folder / "Annotations/2012_000001.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"Annotations/2012_000001\.xml"):
        data.load(1)
    (folder / "ImageSets/Main/train.txt").write_text("2012_000001\n2012_000002\n2012_000001\n")
    with pytest.raises(ValueError, match=r"train\.txt names 2012_000001 twice"):
        VOC(root=root, subset=True)
    (folder / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt(.|\n)*data.download=true"):
        VOC(root=root, subset=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "VOC 2012 train has 12 images, officially 5717"),
        ({"annotation": "masks", "split": "test"}, "has 4 images, officially 1449"),
        ({"year": 2007, "split": "test"}, "has 4 images, officially 4952"),
        ({"year": 2010}, "year=2010 .*2007, 2012"),
        ({"annotation": "poses"}, "annotation='poses' is unknown"),
    ],
)
def test_wrong_counts_and_options_are_refused(root, options, message):
    with pytest.raises(ValueError, match=message):
        VOC(root=root, **options)


def test_download_fetches_only_the_archives_that_lack(tmp_path, monkeypatch):
    import tarfile

    from fovea.data.fetch import download as module

    write_voc(tmp_path / "a", 2007, {"train": 9, "val": 4})
    write_voc(tmp_path / "b", 2007, {"test": 3})
    asked = []

    def fetch(urls, path, *, expected):
        asked.append((path.name, expected))
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w") as tar:
            source = tmp_path / ("a" if "trainval" in path.name else "b") / "VOCdevkit"
            tar.add(source, arcname="VOCdevkit")

    monkeypatch.setattr(module, "fetch", fetch)
    root = tmp_path / "root"
    assert len(VOC(root=root, year=2007, download=True, subset=True)) == 9
    assert len(VOC(root=root, year=2007, split="test", download=True, subset=True)) == 3
    trainval = ("VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64")
    test = ("VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f")
    assert asked == [trainval, test]
    assert [path.name for path in root.iterdir()] == ["VOCdevkit"]


def test_the_fixture_has_what_it_is_meant_to_have():
    assert [len(voc_objects(i)) for i in range(3)] == [0, 1, 2]
    assert voc_xml("x", [PERSON]).count("<bndbox>") == 2 and FRACTION["difficult"] == 1
    assert [voc.CLASSES.split(",").index(name) for name in LABELS] == list(LABELS.values())
