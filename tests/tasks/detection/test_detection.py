import numpy as np
import pytest
import torch
from torch import nn

from fovea.callbacks.collector import stacked
from fovea.data.preprocess import Preprocess
from fovea.metrics.detection import AveragePrecision, AverageRecall, ImageF1, measure
from fovea.ops.box_match import padded
from fovea.tasks.base import collection
from fovea.tasks.detection.task import Detection
from fovea.tasks.detection.view import DetectionView, numbered
from helpers.random_boxes import random_boxes

NAN = float("nan")


class Fixed(nn.Module):
    """Find the same in every image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def raw(self, x):
        return self.rows[None].expand(len(x), -1, -1)

    def losses(self, raw, objects):
        self.seen = [(one["boxes"].tolist(), one["labels"].tolist()) for one in objects]
        return {"loss_class": raw[..., 4].sum() + torch.rand(()), "box": raw[..., :4].mean()}

    def split(self, raw):
        return raw.split(1)

    def detect(self, raw):
        return raw.detach()

    def forward(self, x):
        return self.detect(self.raw(x))


ROWS = [[10.0, 10, 30, 30, 0.9, 1], [0.0, 0, 5, 5, 0.2, 0]]


def batch():
    return {
        "image": torch.zeros(2, 3, 40, 50),
        "boxes": [torch.tensor([[10.0, 10, 30, 30], [1, 1, 9, 9]]), torch.zeros(0, 4)],
        "labels": [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.int64)],
        "ignore": [torch.tensor([False, True]), torch.zeros(0, dtype=torch.bool)],
    }


def test_what_is_ignored_trains_nothing_and_the_parts_of_the_loss_are_named():
    task = Detection(net=Fixed(ROWS))
    task.train()
    found = task.step(batch())
    assert task.net.seen == [([[10.0, 10, 30, 30]], [1]), ([], [])] and "preds" not in found
    torch.testing.assert_close(found["loss"], found["loss_class"] + found["loss_box"])


def test_validation_has_losses_and_detections_and_leaves_the_random_state_alone():
    task = Detection(net=Fixed(ROWS)).eval()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = task.step(batch()), task.step(batch())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first["loss"], second["loss"])
    assert first["preds"].shape == (2, 2, 6) and first["target"].shape == (2, 2, 6)


def test_other_nets_and_data_are_refused_with_what_to_choose():
    with pytest.raises(ValueError, match=r"a Linear finds no boxes.*model=retinanet"):
        Detection(net=nn.Linear(2, 2))
    given = batch()
    del given["boxes"]
    with pytest.raises(ValueError, match=r"data\.targets=\[boxes,labels\]"):
        Detection(net=Fixed(ROWS)).step(given)


def as_batches(found, true, images, size=7):
    """Give the boxes of random images in batches, as a detector and the data do."""
    for start in range(0, images, size):
        members = range(start, min(start + size, images))
        rows = [np.flatnonzero(found.image == i) for i in members]
        rows = [r[np.argsort(-found.score[r], kind="stable")] for r in rows]
        preds = torch.zeros(len(rows), max([1, *map(len, rows)]), 6)
        for out, r in zip(preds, rows, strict=True):
            out[: len(r)] = torch.tensor(np.c_[found.box[r], found.score[r], found.label[r]])
        own = [np.flatnonzero(true.image == i) for i in members]
        boxes = [torch.tensor(true.box[r], dtype=torch.float32) for r in own]
        yield preds, padded(boxes, *([torch.tensor(c[r]) for r in own] for c in (true.label, true.ignore)))


def test_metrics_share_one_copy_of_the_boxes_and_equal_the_figures_of_all_images_together():
    found, true = random_boxes(1, images=30, classes=4, most=6)
    found = found.take(found.score > 0)
    made = {
        "ap": AveragePrecision(num_classes=4), "ap50": AveragePrecision(num_classes=4, at=0.5),
        "ar": AverageRecall(num_classes=4), "f1": ImageF1(),
    }  # fmt: skip
    metrics = collection(made, prefix="val/")
    for preds, target in as_batches(found, true, 30):
        metrics.update(preds, target)
    rows = np.c_[found.image, found.box.astype(np.float32), found.score.astype(np.float32), found.label]
    wanted = np.c_[true.image, true.box.astype(np.float32), true.label, true.ignore]
    expected = measure(rows, wanted, num_classes=4, protocol="coco")
    values = {name: float(value) for name, value in metrics.compute().items()}
    assert values["val/ap"] == pytest.approx(expected.mean(), abs=1e-6) and 0 < values["val/ap"] < 1
    assert values["val/ap50"] == pytest.approx(expected.mean(at=0.5), abs=1e-6)
    assert values["val/ar"] == pytest.approx(expected.mean_recall(), abs=1e-6)
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["ap", "ap50", "ar"], ["f1"]]


def test_images_of_two_processes_have_numbers_of_their_own(monkeypatch):
    found, true = random_boxes(2, images=20, classes=3, most=5)
    alone, parts = AveragePrecision(num_classes=3), []
    batches = list(as_batches(found, true, 20, size=1))  # every other image is that of one process
    for preds, target in batches:
        alone.update(preds, target)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(AveragePrecision(num_classes=3))
        for preds, target in batches[rank::2]:
            parts[-1].update(preds, target)
    parts[0].found += parts[1].found
    parts[0].true += parts[1].true
    assert parts[0].precision().mean() == pytest.approx(alone.precision().mean(), abs=1e-9)


def test_without_objects_there_is_no_average_precision():
    metric = AveragePrecision(num_classes=2)
    metric.update(torch.zeros(3, 5, 6), torch.full((3, 0, 6), NAN))
    assert metric.compute().isnan()
    with pytest.raises(ValueError, match=r"metrics\.protocol='pascal' is unknown: choose one of coco"):
        AveragePrecision(num_classes=2, protocol="pascal")
    with pytest.raises(ValueError, match=r"not at=0\.75: leave that metric out"):
        AveragePrecision(num_classes=2, protocol="voc07", at=0.75)


def test_rows_of_batches_with_more_or_fewer_objects_are_joined():
    joined = stacked([np.ones((2, 1, 6), np.float32), np.ones((1, 3, 6), np.float32)])
    assert joined.shape == (3, 3, 6) and np.isnan(joined[:2, 1:]).all() and (joined[2] == 1).all()


def test_boxes_are_found_back_in_a_photo_of_any_size():
    """The net sees the photo padded and shrunk; what it finds lies where it is in the photo."""
    settings = {"image_size": [40, 40], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3,
                "interpolation": "bilinear", "crop_pct": 1.0, "resize": "pad"}  # fmt: skip
    view = DetectionView(classes=["a", "b"], threshold=0.5)
    photo = np.zeros((100, 200, 3), np.uint8)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    output = view.infer(Fixed([[4.0, 14, 20, 30, 0.9, 1], [0.0, 0, 0, 0, 0, 0]]), image, Preprocess(settings))
    np.testing.assert_allclose(output[0, 0], [20, 20, 100, 100, 0.9, 1], atol=1e-4)
    assert not output[0, 1].any()
    answer = view.decode(output[0].numpy(), photo)
    assert view.lines(answer) == ["b"] and view.rows(answer) == [
        {"class": "b", "score": pytest.approx(0.9), "x1": 20.0, "y1": 20.0, "x2": 100.0, "y2": 100.0}
    ]
    drawn = view.draw(photo, answer)
    assert drawn.shape[2] == 3 and drawn.any()
    nothing = view.decode(np.zeros((2, 6), np.float32), photo)
    assert view.lines(nothing) == ["nothing found"] and view.rows(nothing) == [{}] and view.row(nothing) == {}


def test_the_rows_of_a_run_are_the_boxes_again():
    found, true = random_boxes(4, images=12, classes=3, most=4)
    preds, target = next(as_batches(found, true, 12, size=12))
    rows, wanted = numbered({"found": preds.numpy(), "true": target.numpy()})
    assert len(rows) == int((found.score > 0).sum()) and len(wanted) == len(true.label)
    assert sorted(wanted[:, 0].tolist()) == sorted(true.image.tolist())
