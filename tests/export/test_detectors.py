import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.errors import UsageError
from fovea.export import box_parity, formats, predict_example
from fovea.export.formats import FORMATS
from fovea.export.parity import gate
from fovea.models.detectors.faster_rcnn import FasterRCNN
from fovea.models.detectors.fcos import FCOS
from fovea.models.detectors.retinanet import RetinaNet
from fovea.models.detectors.ssdlite import SSDLite
from fovea.models.detectors.yolo_v1 import YOLOv1
from fovea.models.strided_maps import StridedMaps
from helpers.detector_run import write_run

DETECTORS = {
    "yolo_v1": lambda maps: YOLOv1(backbone=maps, num_classes=3, stride=16),
    "retinanet": lambda maps: RetinaNet(backbone=maps, num_classes=3, channels=16),
    "fcos": lambda maps: FCOS(backbone=maps, num_classes=3),
    "ssdlite": lambda maps: SSDLite(backbone=maps, num_classes=3),
    "faster_rcnn": lambda maps: FasterRCNN(
        backbone=maps, num_classes=3, channels=16, hidden=16, proposals=30
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_onnx_finds_what_the_net_does_in_batches_of_any_size_and_where_nothing_is(name, tmp_path):
    torch.manual_seed(1)
    net = DETECTORS[name](StridedMaps(name="mobilenetv3_small_050")).eval().requires_grad_(False)
    images = 3 * torch.randn(11, 3, 64, 96)
    images[2] = 0.0
    net.score_threshold = 0.0
    best = net(images)[:, 0, 4]
    net.score_threshold = float((best.min() + best.max()) / 2)  # some images have an object, some have none
    path = tmp_path / "model.onnx"
    formats.write(FORMATS["onnx"], net, images[:2].contiguous(), path, opset=None)
    model = predict_example.open_model(path, {"format": "onnx", "outputs": [{"name": "output"}]}, threads=1)
    for batch in (images[:1], images[1:4], images):
        (found,) = model(batch.numpy()).values()
        own = net(batch).numpy()
        assert found.shape == own.shape == (len(batch), 100, 6)
        np.testing.assert_array_equal((found[..., 4] > 0).sum(1), (own[..., 4] > 0).sum(1))
        assert not found[found[..., 4] == 0].any()
    objects = (found[..., 4] > 0).sum(1)
    assert objects.min() == 0 < objects.max()
    assert gate(box_parity.compare(net, model, images), tolerance=1e-4)["outputs"]["output"]["detections"] > 0


class Fixed(nn.Module):
    """Find the same boxes in every image."""

    score_threshold, nms_threshold = 0.05, 0.5

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, x):
        return self.rows.expand(len(x), -1, -1).clone()


ROWS = [[10.0, 20, 30, 40, 0.9, 1], [50, 20, 60, 40, 0.9, 1], [5, 5, 9, 9, 0.05001, 0], [0] * 6]


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        (lambda r: r[:, [1, 0, 2, 3]], 0.0),  # equal scores in another order
        (lambda r: r * ([[[1], [1], [0], [0]]]), 1e-5),  # one that is hardly kept is lost
        (lambda r: r * ([[[1], [0], [1], [0]]]), 0.4),  # a detection is lost; the nearest is 40 of 100 away
        (lambda r: r + np.array([8.0, 0, 8, 0, 0, 0]) * (r[..., 4:5] > 0), 0.08),
        (lambda r: r + np.array([0, 0, 0, 0, 0, 1.0]) * (r[..., 4:5] > 0), 0.85),
        (lambda r: r + np.array([0, 0, 0, 0, -0.01, 0]) * (r[..., 4:5] > 0.5), 0.01),  # less certain
        (lambda r: r + np.array([2.0, 0, 2, 0, 2e-6, 0]) * (r[..., 4:5] > 0.5), 2e-6),  # a duplicate of it
        (lambda r: r * np.nan, math.nan),
    ],
)
def test_detections_are_compared_whatever_their_order(change, gap):
    net = Fixed(ROWS)

    def model(x):
        return {"output": change(net(torch.from_numpy(x)).numpy()).astype(np.float32)}

    found = box_parity.compare(net, model, torch.zeros(11, 3, 100, 100))["output"]
    assert found["detections"] == 3 * (11 + 3 + 3)
    assert found["max_abs_difference"] == pytest.approx(gap, abs=2e-6, nan_ok=True)


def test_a_detector_is_refused_in_formats_that_cannot_hold_it(tmp_path, call):
    run = write_run(tmp_path / "run", "yolo_scenes")
    with pytest.raises(UsageError, match="a detector, which is written as format=onnx alone: torchscript"):
        call("export", run=run, format="torchscript")
    assert not (run / "export").exists()


@pytest.mark.slow
def test_the_folder_alone_finds_the_boxes_that_predict_does(tmp_path, call):
    """In the photo's own pixels, also where it is no square."""
    ids = [3, 7, 9, 11, 20, 21, 22, 90]
    run = write_run(tmp_path / "run", "yolo_scenes", "data.resize=pad", labelling={"category_ids": ids})
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((200, 120)).save(tmp_path / "photo.png")
    call("export", run=run, rounds=1)
    call("predict", run=run, input=tmp_path / "photo.png", threshold=0.3, output=tmp_path / "out")
    folder = tmp_path / "elsewhere"
    (run / "export" / "onnx").rename(folder)
    about = json.loads((folder / "export.json").read_text())
    assert about["category_ids"] == ids and about["task"] == "detection"
    assert about["outputs"] == [{"name": "output", "shape": ["batch", 100, 6], "dtype": "float32"}]
    assert "Duplicates are suppressed" in (folder / "README.md").read_text()
    command = [sys.executable, "-E", "-s", str(folder / "predict_example.py"), str(tmp_path / "photo.png")]
    done = subprocess.run([*command, "drawn.png"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[1:]
    own = [line.split(",")[1:] for line in lines]
    assert (
        done.stdout == "nothing found\n" if own == [[""] * 6] else len(done.stdout.splitlines()) == len(own)
    )
    for line, (name, score, *box) in zip(done.stdout.splitlines(), own, strict=True):
        words = line.split()
        if name:
            np.testing.assert_allclose(float(words[0]), float(score), atol=1e-3)
            np.testing.assert_allclose(np.array(words[2:], float), np.array(box, float), atol=0.2)
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.size == (200, 120)


def test_boxes_of_the_example_are_those_of_the_photo():
    options = {"image_size": [64, 64], "resize": "pad", "crop_pct": 1.0}
    where = predict_example.placement(np.zeros((120, 200, 3), np.uint8), options)
    corners = where.points(np.array([[20.0, 30.0], [90.0, 100.0]])).ravel()
    rows = np.zeros((1, 5, 6), np.float32)
    rows[0, :2] = [[*corners, 0.8, 1], [0, 0, 64, 64, 0.2, 0]]
    found = predict_example.boxes({"output": rows}, where)
    np.testing.assert_allclose(found, [[20, 30, 90, 100, 0.8, 1]], atol=1e-3)
    row = np.array([[0.0, 2.0, *(corners / 64)]], np.float32)
    (one,) = predict_example.box_of({"output": row}, where)
    np.testing.assert_allclose(one[:4], [20, 30, 90, 100], atol=1e-3)
    assert one[5] == 1 and one[4] == pytest.approx(1 / (1 + math.exp(-2)))
