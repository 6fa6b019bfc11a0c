import json
import logging

import numpy as np
import pytest

from fovea.data.datasets.coco import COCO
from fovea.data.datasets.coco_captions import COCOCaptions
from fovea.data.formats.coco_json import read_json
from fovea.data.formats.coco_masks import draw, fill
from fovea.data.formats.rle import decode_counts, decode_rle
from helpers.formats_boxes import coco_categories, jpeg, write_coco
from helpers.real_formats import images

TRAIN = "annotations/instances_train2017.json"


@pytest.fixture
def base(tmp_path):
    return write_coco(tmp_path)


def edit(base, name, change):
    """Let `change` work on the content of a JSON file."""
    document = json.loads((base / name).read_text())
    change(document)
    (base / name).write_text(json.dumps(document))


def test_boxes_labels_and_ignore_by_value(base, caplog):
    with caplog.at_level(logging.INFO):
        data = COCO(root=base.parent, subset=True)
    assert "4 boxes" in caplog.text
    assert len(data) == 12 and data.labels is None and data.targets == ("boxes", "labels", "ignore")
    sample = data.load(2)
    assert set(sample) == {"image", *data.targets}
    assert sample["boxes"].tolist() == [[20, 5, 32, 9], [10, 0, 11, 7], [2, 3, 12, 9]]
    assert sample["boxes"].dtype == np.float32 and sample["labels"].dtype == np.int64
    assert [data.classes[i] for i in sample["labels"]] == ["person", "car", "toothbrush"]
    assert sample["ignore"].tolist() == [False, True, False]
    assert data.raw_boxes(2).tolist() == [[20, 5, 32, 9], [1, 1, 5, 1], [10, 0, 11, 7], [2, 3, 12, 9]]
    assert data.load(1)["boxes"].tolist() == [[2, 3, 12, 9]] and data.load(1)["labels"].tolist() == [79]
    assert data.ids[1] == "train2017/000000000016.jpg"
    truth = images(12, (40, 50), seed=9)[1].astype(int)
    assert np.abs(data.load(1)["image"].astype(int) - truth).mean() < 4


def test_category_ids_with_gaps_become_0_to_79(base):
    data = COCO(root=base.parent, subset=True)
    assert len(data.classes) == 80 and data.classes[:3] == ["person", "bicycle", "car"]
    ids = data.category_ids.tolist()
    assert ids == sorted(row["id"] for row in coco_categories()) and ids[11] == 13 and ids[-1] == 90
    assert data.classes[11] == "stop sign" and data.classes[-1] == "toothbrush"


def test_images_may_be_listed_in_any_order(base):
    edit(base, TRAIN, lambda d: d["images"].reverse())
    edit(base, "annotations/captions_train2017.json", lambda d: d["images"].reverse())
    data = COCO(root=base.parent, masks=True, subset=True)
    assert data.ids[9] == "train2017/000000000023.jpg"
    assert data.load(9)["boxes"].tolist() == [[20, 5, 32, 9], [10, 0, 11, 7], [2, 3, 12, 9]]
    captions = COCOCaptions(root=base.parent, subset=True)
    assert captions.ids[9] == data.ids[9] and captions.sentences(9)[2] == "Two dogs, one cat! 23"


def test_the_official_val_is_the_test_split(base):
    train, test = (COCO(root=base.parent, split=split, subset=True) for split in COCO.splits)
    assert COCO.splits == ("train", "test") and len(test) == 4
    assert test.ids[0] == "val2017/000000001000.jpg" and not set(train.ids) & set(test.ids)
    assert test.load(1)["boxes"].tolist() == [[2, 3, 12, 9]]
    with pytest.raises(ValueError, match="split='val' is unknown"):
        COCO(root=base.parent, split="val", subset=True)


def test_images_without_objects_are_kept_unless_told_otherwise(base):
    sample = COCO(root=base.parent, subset=True).load(0)
    assert (
        sample["boxes"].shape == (0, 4) and sample["labels"].shape == (0,) and sample["ignore"].dtype == bool
    )

    def flatten(document):  # image 16 keeps nothing but a box without area
        for row in document["annotations"]:
            if row["image_id"] == 16:
                row["bbox"][2] = 0

    edit(base, TRAIN, flatten)
    data = COCO(root=base.parent, keep_empty=False, subset=True)
    assert len(data) == 7 and "train2017/000000000016.jpg" not in list(data.ids)
    assert data.load(0)["boxes"].tolist() == [[20, 5, 32, 9], [10, 0, 11, 7], [2, 3, 12, 9]]


def test_instances_are_drawn_from_polygons_and_runs(base):
    data = COCO(root=base.parent, masks=True, subset=True)
    assert data.targets == ("boxes", "labels", "ignore", "instances")
    expected = np.zeros((40, 50), dtype=np.uint8)
    expected[0:7, 10] = 255  # the crowd
    expected[5:9, 20:24], expected[5:7, 30:32] = 1, 1
    expected[3:9, 2:12] = 3  # over the crowd
    found = data.load(2)["instances"]
    assert (found == expected).all() and found.dtype == np.uint8
    assert not data.load(0)["instances"].any()


def test_small_objects_lie_on_large_ones_and_objects_without_outline_have_none(base):
    def change(document):
        rows = [row for row in document["annotations"] if row["image_id"] == 23]
        rows[0]["segmentation"] = [[5, 5, 7, 5, 7, 7, 5, 7]]
        rows[1]["segmentation"] = []
        del rows[2]["segmentation"]
        rows[3]["segmentation"] = [[4, 4, 20, 4, 20, 20, 4, 20]]

    edit(base, TRAIN, change)
    found = COCO(root=base.parent, masks=True, subset=True).load(2)["instances"]
    expected = np.zeros((40, 50), dtype=np.uint8)
    expected[4:20, 4:20] = 3
    expected[5:7, 5:7] = 1
    assert (found == expected).all()


def test_a_polygon_holds_the_pixels_whose_centres_are_inside():
    assert (
        fill(np.array([[1, 1], [4, 1], [4, 3], [1, 3]]), height=4, width=6).nonzero()[1] == [1, 2, 3] * 2
    ).all()
    y, x = fill(np.array([[1.4, 1.4], [3.6, 1.4], [3.6, 2.4], [1.4, 2.4]]), height=5, width=5).nonzero()
    assert y.tolist() == [1] * 3 and x.tolist() == [1, 2, 3]
    disc = np.array([[20 + 10.3 * np.cos(a), 15 + 10.3 * np.sin(a)] for a in np.linspace(0, 2 * np.pi, 400)])
    y, x = np.mgrid[:30, :40] + 0.5
    inside = (x - 20) ** 2 + (y - 15) ** 2 < 10.3**2
    assert (fill(disc, height=30, width=40) != inside).sum() <= 2
    left = fill(disc - [25, 0], height=30, width=40)  # beyond the border
    assert (left[:, :15] == fill(disc, height=30, width=40)[:, 25:]).all()


def test_text_run_lengths_as_pycocotools_writes_them():
    y, x = np.mgrid[:20, :30]
    ellipse = (x - 14) ** 2 + (2 * y - 18) ** 2 < 150
    text = "`13`02N2N2O0O2O0000000O2O00000001N100000001N101N2N2Ne1"  # mask.encode of version 2.0.11
    assert (decode_rle(text, height=20, width=30) == ellipse).all() and encode([407, 5, 1588]) == "g<5da1"


def test_text_run_lengths():
    square = np.zeros((5, 5), dtype=bool)
    square[1:4, 1:4] = True
    assert (decode_rle("6320004", height=5, width=5) == square).all()
    assert decode_counts("Z11") == [42, 1]
    assert decode_counts("122O") == [1, 2, 2, 1]
    assert decode_counts("022O31MO31MO00010O00010O00010O00010O00010O31MO3")[:4] == [0, 2, 2, 1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("5", "cover 5 pixels"),
        ([3, 2], "cover 5 pixels"),
        ([-1, 5], "negative"),
        ("P", "cut off"),
        ("\x10", "character"),
    ],
)
def test_wrong_run_lengths_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(counts, height=2, width=2)


def test_text_run_lengths_in_a_file(base):
    def change(document):
        rows = [row for row in document["annotations"] if row["image_id"] == 16]
        rows[0]["segmentation"] = {"counts": encode([407, 5, 1588]), "size": [40, 50]}

    edit(base, TRAIN, change)
    found = COCO(root=base.parent, masks=True, subset=True).load(1)["instances"]
    assert found[7:12, 10].tolist() == [1] * 5 and found.sum() == 5


def encode(runs):
    """COCO's text form, following rleToString of the official maskApi.c."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 if more else bits) + 48)
    return text


def test_text_run_lengths_invert_their_encoding():
    rng = np.random.default_rng(0)
    for _ in range(200):
        runs = rng.integers(0, 3000, rng.integers(1, 30)).tolist()
        assert decode_counts(encode(runs)) == runs


def test_a_bad_segmentation_is_named(base):
    def change(document):
        rows = [row for row in document["annotations"] if row["image_id"] == 16]
        rows[0]["segmentation"] = {"counts": [2000], "size": [50, 40]}

    edit(base, TRAIN, change)
    with pytest.raises(ValueError, match=r"000000000016\.jpg .*segmentation.*\[50, 40\]"):
        COCO(root=base.parent, masks=True, subset=True).load(1)
    with pytest.raises(ValueError):
        draw([[1, 2, 3]], height=4, width=4)


def test_the_outlines_stay_in_the_file(base):
    document, places = read_json(base / TRAIN)
    text = (base / TRAIN).read_bytes()
    full = json.loads(text)
    assert len(places) == len(full["annotations"])
    for short, long in zip(document["annotations"], full["annotations"], strict=True):
        start, stop = places[short.pop("segmentation")]
        assert json.loads(text[start:stop]) == long.pop("segmentation") and short == long


def test_a_text_that_looks_like_an_outline_is_left_alone(tmp_path):
    path = tmp_path / "a.json"
    content = {"info": 'a "segmentation": [[1, 2]] b', "annotations": [{"segmentation": [[1.5, 2]], "id": 1}]}
    path.write_text(json.dumps(content))
    document, places = read_json(path)
    assert document["info"] == content["info"] and len(places) == 1


def test_missing_images_are_named_or_left_out_of_a_subset(base):
    (base / "train2017/000000000016.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000000000016\.jpg.*1 of 12 images"):
        COCO(root=base.parent)
    data = COCO(root=base.parent, subset=True)
    assert len(data) == 11 and data.load(1)["boxes"].shape == (3, 4)
    for name in ("instances", "captions"):
        (base / f"annotations/{name}_train2017.json").unlink()
    for cls in (COCO, COCOCaptions):
        with pytest.raises(FileNotFoundError, match=r"_train2017\.json(.|\n)*annotations_trainval2017\.zip"):
            cls(root=base.parent, subset=True)


@pytest.mark.parametrize("cls", [COCO, COCOCaptions])
def test_wrong_counts_are_refused(base, cls):
    with pytest.raises(ValueError, match="COCO 2017 train has 12 images, officially 118287"):
        cls(root=base.parent)
    with pytest.raises(ValueError, match="test has 4 images, officially 5000"):
        cls(root=base.parent, split="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(image_id=4), r"instances_train2017\.json .* image id 4, which"),
        (lambda d: d["annotations"][0].update(category_id=12), "category id 12, which"),
        (lambda d: d["annotations"][3].pop("bbox"), r"annotations\[3\] has no 'bbox'"),
        (lambda d: d["annotations"][3].update(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\], expected 4"),
        (lambda d: d["annotations"][3].update(bbox=[1, 2, 3, "x"]), r"bbox \[1, 2, 3, 'x'\], expected 4"),
        (lambda d: d["images"].append(d["images"][0]), "image id 9 twice"),
        (lambda d: d["categories"].append(d["categories"][0]), "category id 90 twice"),
        (lambda d: d["images"][2].pop("file_name"), r"images\[2\] has no 'file_name'"),
        (lambda d: d["images"][2].update(file_name="../../x.jpg"), r"x\.jpg, which leads out of"),
        (lambda d: d["annotations"][3].update(category_id=1.5), "category_id 1.5, expected a whole"),
        (lambda d: d.pop("annotations"), "'annotations', only categories, images"),
    ],
)
def test_damaged_annotations_are_named(base, change, message):
    edit(base, TRAIN, change)
    with pytest.raises(ValueError, match=message):
        COCO(root=base.parent, subset=True)


def test_a_cut_file_and_a_box_outside_are_named(base):
    def change(document):
        next(r for r in document["annotations"] if r["image_id"] == 16)["bbox"] = [60, 3, 10, 6]

    edit(base, TRAIN, change)
    with pytest.raises(ValueError, match=r"instances_train2017\.json/.*000000000016\.jpg .*\[60"):
        COCO(root=base.parent, subset=True).load(1)
    text = (base / TRAIN).read_text()
    (base / TRAIN).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"instances_train2017\.json .*JSON"):
        COCO(root=base.parent, subset=True)


def test_captions_of_each_image(base):
    data = COCOCaptions(root=base.parent, subset=True)
    assert len(data) == 12 and data.targets == ("captions",) and data.classes == [] and data.labels is None
    expected = [
        "A man riding a wave on top of a surfboard. 16",
        "Don't stop: the SURFER rides on. 16",
        "Two dogs, one cat! 16",
        "A man riding a wave on top of a surfboard. 16",
        "Don't stop: the SURFER rides on. 16",
    ]
    assert data.sentences(1) == expected and data.load(1)["captions"] == expected
    assert set(data.load(1)) == {"image", "captions"}
    (base / "train2017/000000000009.jpg").unlink()
    assert COCOCaptions(root=base.parent, subset=True).sentences(0) == expected


def test_an_image_without_caption_is_named(base):
    def change(document):
        document["annotations"] = [row for row in document["annotations"] if row["image_id"] != 23]

    edit(base, "annotations/captions_train2017.json", change)
    with pytest.raises(ValueError, match=r"captions_train2017\.json .*\b23"):
        COCOCaptions(root=base.parent, subset=True)


def test_files_are_those_of_one_image(base):
    for cls in (COCO, COCOCaptions):
        files = cls(root=base.parent, split="test", subset=True).files(2)
        assert files == {"image": base / "val2017/000000001014.jpg"}  # not the large file of all annotations


def test_images_may_lie_in_folders(base):
    jpeg(base / "train2017/part 1/é.jpg", images(1, (40, 50))[0])
    edit(base, TRAIN, lambda d: d["images"][1].update(file_name="part 1/é.jpg"))
    data = COCO(root=base.parent, subset=True)
    assert data.ids[1] == "train2017/part 1/é.jpg" and data.load(1)["boxes"].tolist() == [[2, 3, 12, 9]]


def test_download_fetches_only_what_lacks(base, monkeypatch):
    from fovea.data.formats import coco_files

    asked = []

    def install(url, archive, *, expected, folder):
        asked.append((url, archive.name, expected, folder))

    monkeypatch.setattr(coco_files, "install", install)
    COCO.prepare(root=base.parent)
    assert asked == []
    (base / "annotations/captions_val2017.json").unlink()
    COCO.prepare(root=base.parent)
    assert asked == []
    COCOCaptions.prepare(root=base.parent)
    (base / "val2017").rename(base / "elsewhere")
    COCO.prepare(root=base.parent)
    assert [(name, md5) for _, name, md5, _ in asked] == [
        ("annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c"),
        ("val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    ]
    assert asked[1][0] == "http://images.cocodataset.org/zips/val2017.zip" and asked[1][3] == base
