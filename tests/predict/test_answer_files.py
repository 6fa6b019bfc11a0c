import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.coco_folder import CocoFolder
from fovea.data.datasets.yolo_folder import YoloFolder
from fovea.data.formats.coco_objects import category_ids as ids_of
from fovea.errors import UsageError
from fovea.metrics.detection import measure
from fovea.predict.answer_files import category_ids, choose
from fovea.predict.writer import PredictionWriter
from fovea.tasks.classification.view import ClassView
from fovea.tasks.detection.view import DetectionView
from fovea.tasks.localization.view import BoxView
from helpers.shared import shared_data


def write(folder, names, sizes, outputs, *, classes, ids=None, numbers=None, threshold=0.0, form="coco"):
    """Write detections (n, 6) of images; return the folder."""
    view = DetectionView(classes=classes, threshold=threshold)
    writer = PredictionWriter(
        view, out_dir=folder, paths=names, pictures=0, files=choose(["csv", form], view),
        classes=(classes, ids or category_ids({}, len(classes))), numbers=numbers,
    )  # fmt: skip
    for name, (width, height), output in zip(names, sizes, outputs, strict=True):
        image = np.zeros((height, width, 3), np.uint8)
        writer.add(name, image, np.asarray(output, np.float32).reshape(-1, 6), None)
    writer.finish()
    return folder


def near(sample, classes, rng):
    """Return detections around true boxes, some of them wrong, the most certain first."""
    boxes, labels = sample["boxes"], sample["labels"]
    twice = np.concatenate([boxes, boxes, boxes[:2] * 0.5])
    label = np.concatenate([labels, labels, labels[:2]])
    label = np.where(rng.random(len(label)) < 0.8, label, rng.integers(0, classes, len(label)))
    height, width = sample["image"].shape[:2]
    shifted = (twice + rng.normal(0, 6, twice.shape)).clip(0, [width, height, width, height])
    found = np.concatenate([shifted, rng.random((len(twice), 1)), label[:, None]], axis=1)
    found = found[(found[:, 2:4] > found[:, :2] + 1).all(axis=1)]
    return found[np.argsort(-found[:, 4])]


def test_coco_files_give_the_ap_of_the_metric_by_the_ids_of_the_data(tmp_path):
    """As COCO's own tools read them: `loadRes` on the ground truth of the data."""
    from faster_coco_eval import COCO, COCOeval_faster

    data = CocoFolder(root=shared_data("coco_cc"), split="val")
    rng = np.random.default_rng(0)
    samples = [data.load(i) for i in range(len(data))]
    outputs = [near(sample, len(data.classes), rng) for sample in samples]
    sizes = [(sample["image"].shape[1], sample["image"].shape[0]) for sample in samples]
    folder = write(
        tmp_path, list(data.ids), sizes, outputs, classes=data.classes,
        ids=data.category_ids.tolist(), numbers=data.image_ids.tolist(),
    )  # fmt: skip
    (file,) = {data.files(i)["annotation"] for i in range(len(data))}
    truth = COCO(str(file))
    evaluation = COCOeval_faster(truth, truth.loadRes(str(folder / "detections.json")), "bbox")
    evaluation.run()
    true = [
        np.column_stack([np.full(len(s["boxes"]), i), s["boxes"], s["labels"], s["ignore"]])
        for i, s in enumerate(samples)
    ]
    found = [np.column_stack([np.full(len(o), i), o]) for i, o in enumerate(outputs)]
    own = measure(
        np.concatenate(found).astype(np.float32), np.concatenate(true).astype(np.float32),
        num_classes=len(data.classes), protocol="coco",
    )  # fmt: skip
    assert 0.2 < evaluation.stats[0] < 0.9
    assert own.mean() == pytest.approx(evaluation.stats[0], abs=1e-4)


def test_coco_files_are_a_data_set_of_their_own(tmp_path):
    classes = ["a <b> & c", "猫"]
    outputs = [[[1, 2, 11, 22, 0.9, 1], [0, 0, 40, 30, 0.2, 0]], [], [[5, 5, 5, 9, 0.8, 0]]]
    names = ["x/one.png", "two\udcff.png", "three.png"]
    folder = write(tmp_path, names, [(40, 30)] * 3, outputs, classes=classes, ids=[7, 90], threshold=0.1)
    document = json.loads((folder / "annotations.json").read_text())
    assert [row["id"] for row in document["images"]] == [1, 2, 3]
    assert document["images"][0] == {"id": 1, "file_name": "x/one.png", "width": 40, "height": 30}
    assert document["categories"] == [{"id": 7, "name": classes[0]}, {"id": 90, "name": classes[1]}]
    first, second = document["annotations"]  # a box without area is none
    assert (first["category_id"], first["bbox"], first["area"], first["score"]) == (
        90,
        [1, 2, 10, 20],
        200,
        0.9,
    )
    assert second["category_id"] == 7
    results = json.loads((folder / "detections.json").read_text())
    assert results == [
        {k: one[k] for k in ("image_id", "category_id", "bbox", "score")} for one in (first, second)
    ]
    for name in ("one", "three"):
        (tmp_path / "photos" / "x").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / ("x/one.png" if name == "one" else "three.png"))
    document["images"].pop(1)
    (tmp_path / "photos" / "all.json").write_text(json.dumps(document))
    read = CocoFolder(root=tmp_path / "photos")
    assert read.classes == classes and read.category_ids.tolist() == [7, 90]
    np.testing.assert_allclose(read.load(0)["boxes"], [[1, 2, 11, 22], [0, 0, 40, 30]], atol=1e-3)
    none = write(tmp_path / "none", ["a.png"], [(4, 4)], [[]], classes=classes)
    assert json.loads((none / "detections.json").read_text()) == []


def test_yolo_files_are_read_by_the_data_set_of_that_format(tmp_path):
    classes = ["yes", "cell: 'a' #1", "null"]
    rng = np.random.default_rng(1)
    names, sizes, outputs = [f"{d}/{n}.png" for d in "ab" for n in ("x", "y")], [], []
    for name in names:
        width, height = (int(v) for v in rng.integers(30, 200, 2))
        start = rng.uniform(0, 0.6, (5, 2))
        boxes = np.concatenate([start, start + rng.uniform(0.05, 0.4, (5, 2))], axis=1) * np.tile(
            (width, height), 2
        )
        outputs.append(np.column_stack([boxes, np.sort(rng.random(5))[::-1], rng.integers(0, 3, 5)]))
        sizes.append((width, height))
        path = tmp_path / "out" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", sizes[-1]).save(path)
    outputs[3] = outputs[3][:0]
    folder = write(tmp_path / "out", names, sizes, outputs, classes=classes, form="yolo")
    read = YoloFolder(root=folder, split="train")
    assert read.classes == classes and len(read) == 4
    for i in range(4):
        own = outputs[names.index(str(Path(read.ids[i]).relative_to("images")))]
        sample = read.load(i)
        np.testing.assert_allclose(sample["boxes"], own[:, :4], atol=2e-3)
        assert sample["labels"].tolist() == own[:, 5].astype(int).tolist()
    assert (folder / "labels" / "b" / "y.txt").read_text() == ""  # a negative, which it says
    text = (folder / "labels" / "a" / "x.txt").read_text().split()
    assert len(text) == 30 and 0 <= float(text[5]) <= 1
    write(
        tmp_path / "out", names[:1], sizes[:1], outputs[:1], classes=classes
    )  # nothing is left of the first
    assert not (folder / "labels").exists() and (folder / "images" / names[0]).is_file()


def test_yolo_files_that_cannot_have_the_name_of_their_image_are_named(tmp_path, caplog):
    names = ["d/x.jpg", "d/x.png", "d/X.jpg", "d/a b.jpg", "nl\nx.jpg"]
    box = [[1, 1, 3, 3, 0.9, 0]]
    folder = write(tmp_path / "a", names, [(4, 4)] * 5, [box] * 5, classes=["c"], form="yolo")
    there = {str(p.relative_to(folder / "labels")) for p in folder.glob("labels/**/*.txt")}
    assert there == {"d/x.txt", "d/x_2.txt", "d/X_3.txt", "d/a b.txt", "nl_x.txt"}
    assert "3 files in labels/" in caplog.text and "(d/x.png: labels/d/x_2.txt)" in caplog.text
    caplog.clear()
    write(tmp_path / "b", names[:1], [(4, 4)], [box], classes=["c"], form="yolo")
    assert not caplog.text


def test_a_localiser_has_one_box_and_a_classifier_none():
    view = BoxView(classes=["a", "b"])
    answer = np.array([0.3, 0.7, 1.0, 2.0, 11.0, 22.0, 40.0, 30.0])
    np.testing.assert_allclose(view.boxes(answer), [[1, 2, 11, 22, 0.7, 1]])
    assert len(choose(["coco", "yolo", "coco"], view)) == 2
    with pytest.raises(UsageError, match="format=yolo is for runs that find boxes"):
        choose(["csv", "yolo"], ClassView(classes=["a", "b"]))
    with pytest.raises(UsageError, match="format is 'voc'; allowed: csv, coco, yolo"):
        choose(["voc"], view)


def test_classes_without_an_id_get_those_behind_all_others():
    assert ids_of(["x", "cat", "y"], {"cat": 90, "dog": 3, "y": -1}) == [91, 90, 92]
    assert category_ids({"category_ids": [4, 9]}, 2) == [4, 9] and category_ids({}, 3) == [1, 2, 3]
