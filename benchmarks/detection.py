"""Compare detection with floors of the same run, in CPU time on one core.

python benchmarks/detection.py
First a training step through the Trainer with that of a bare loop over the same batches, net and optimizer
(below 1, fovea is faster), in turns. Then what share of such a step the target assignment, the decoding of
boxes and the suppression of duplicates of the same batch take together. Last, the AP of 5,000 images with
36,000 objects against faster-coco-eval, which gets its arrays without any file (below 1, fovea is faster).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import logging
import statistics
import sys
import time
import warnings
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch.utils.data import DataLoader

from fovea.metrics.detection import measure
from fovea.models.detectors.faster_rcnn import FasterRCNN
from fovea.models.detectors.retinanet import RetinaNet
from fovea.models.detectors.yolo_v1 import YOLOv1
from fovea.models.strided_maps import StridedMaps
from fovea.tasks.detection.task import Detection
from steps import fitted, median_step, show

CLASSES, OBJECTS = 8, 6
NETS = {"YOLO": partial(YOLOv1, stride=16), "RetinaNet": RetinaNet, "Faster R-CNN": FasterRCNN}


class InMemory(torch.utils.data.Dataset):
    """Random images with random boxes."""

    def __init__(self, count, size):
        draw = torch.Generator().manual_seed(0)
        self.image = torch.randn(count, 3, size, size, generator=draw)
        corner = torch.rand(count, OBJECTS, 2, generator=draw) * size * 0.6
        side = size * (0.1 + 0.25 * torch.rand(count, OBJECTS, 2, generator=draw))
        self.boxes = torch.cat([corner, corner + side], dim=2)
        self.labels = torch.randint(CLASSES, (count, OBJECTS), generator=draw)

    def __len__(self):
        return len(self.image)

    def __getitems__(self, rows):
        return {"image": self.image[rows], "boxes": list(self.boxes[rows]), "labels": list(self.labels[rows])}


def loader(images, batch):
    return DataLoader(images, batch_size=batch, shuffle=True, collate_fn=lambda rows: rows)


def net(name):
    torch.manual_seed(0)
    return NETS[name](backbone=StridedMaps(name="mobilenetv2_100.tv_in1k"), num_classes=CLASSES)


def ours(name, images, batch):
    task = Detection(net=net(name), metrics={}, optimizer=partial(torch.optim.AdamW, lr=1e-4))
    return fitted(task, loader(images, batch))


def bare(name, images, batch):
    model = net(name).train()
    steps, times = torch.optim.AdamW(model.parameters(), lr=1e-4), []
    for rows in loader(images, batch):
        times.append(time.process_time())
        steps.zero_grad()
        sum(losses(model, model.raw(rows["image"]), rows).values()).backward()
        steps.step()
    return median_step(times)


def losses(model, raw, rows):
    pairs = zip(rows["boxes"], rows["labels"], strict=True)
    return model.losses(raw, [{"boxes": boxes, "labels": labels} for boxes, labels in pairs])


@contextmanager
def clocked(owner, name, spent):
    """Add the seconds of a method to those of its name."""
    method = getattr(owner, name)

    def timed(*args, **kwargs):
        start = time.process_time()
        found = method(*args, **kwargs)
        spent[name] = spent.get(name, 0.0) + time.process_time() - start
        return found

    setattr(owner, name, timed)
    yield
    delattr(owner, name)


def assigned(model, raw, rows):
    """Return the seconds of the assignment of targets of one batch."""
    spent = {}
    if isinstance(model, YOLOv1):
        with clocked(model, "assign", spent):
            losses(model, raw, rows)
        return spent["assign"]
    if isinstance(model, RetinaNet):
        with clocked(model.net, "compute_loss", spent), clocked(model.net.head, "compute_loss", inner := {}):
            losses(model, raw, rows)
        return spent["compute_loss"] - inner["compute_loss"]
    first, second = model.net.rpn, model.net.roi_heads
    with (
        clocked(first, "assign_targets_to_anchors", spent),
        clocked(second, "select_training_samples", spent),
    ):
        losses(model, raw, rows)
    return sum(spent.values())


def found(model, raw):
    """Return the seconds that the decoding of boxes and the suppression of duplicates take."""
    if isinstance(model, FasterRCNN):  # but not what its two heads take
        spent, inner, heads = {}, {}, model.net.roi_heads
        with (
            clocked(model, "detect", spent),
            clocked(model, "_pooled", inner),
            clocked(heads.box_head, "forward", inner),
            clocked(model.net.rpn.head, "forward", inner),
        ):
            model.detect(raw)
        return spent["detect"] - sum(inner.values())
    start = time.process_time()
    model.detect(raw)
    return time.process_time() - start


def share(name, images, batch):
    """Return the share of a training step of assignment, decoding and suppression."""
    step, model = bare(name, images, batch), net(name).train()
    parts = []
    for rows in loader(images, batch):
        raw = model.raw(rows["image"])
        parts.append((assigned(model, raw, rows), found(model.eval(), raw)))
        model.train()
    assignment, decoding = (statistics.median(part[i] for part in parts) for i in (0, 1))
    return (assignment + decoding) / step, assignment / step, decoding / step


def boxes(images, objects, detections):
    """Return detections (N, 7) and objects (M, 7), each with the number of its image before it."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 400, (objects, 2)), rng.uniform(8, 200, (objects, 2))
    image, label = rng.integers(images, size=objects), rng.integers(80, size=objects)
    true = np.column_stack([image, corner, corner + side, label, np.zeros(objects)])
    guess = true[rng.integers(objects, size=detections)]
    guess[:, 1:5] += rng.normal(0, 8, (detections, 4))
    guess[:, 3:5] = np.maximum(guess[:, 3:5], guess[:, 1:3] + 1)
    label = np.where(rng.random(detections) < 0.8, guess[:, 5], rng.integers(80, size=detections))
    return np.column_stack([guess[:, :5], rng.random(detections), label]), true


def measured(given, wanted):
    start = time.process_time()
    ap = measure(given, wanted, num_classes=80, protocol="coco").mean()
    return time.process_time() - start, ap


def reference(given, wanted, images):
    """Measure by faster-coco-eval, from dictionaries to figures."""
    start = time.process_time()

    def entries(rows, label):
        size = rows[:, 3:5] - rows[:, 1:3]
        columns = rows[:, 0].astype(int), rows[:, label].astype(int), np.hstack([rows[:, 1:3], size])
        table = zip(*(column.tolist() for column in (*columns, size.prod(axis=1))), strict=True)
        return [{"image_id": i, "category_id": k, "bbox": box, "area": area} for i, k, box, area in table]

    true = [{**one, "id": number, "iscrowd": 0} for number, one in enumerate(entries(wanted, 5), 1)]
    guess = [
        {**one, "score": score} for one, score in zip(entries(given, 6), given[:, 5].tolist(), strict=True)
    ]
    with redirect_stdout(StringIO()):
        truth = COCO({
            "images": [{"id": i, "width": 640, "height": 640} for i in range(images)],
            "annotations": true,
            "categories": [{"id": i, "name": str(i)} for i in range(80)],
        })  # fmt: skip
        judge = COCOeval_faster(truth, truth.loadRes(guess), "bbox", print_function=lambda *_: None)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return time.process_time() - start, float(judge.stats[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nets", nargs="*", choices=NETS, default=list(NETS))
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("faster_coco_eval").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    images, rounds = InMemory(options.images, options.size), range(options.rounds)
    for name in options.nets:
        ours(name, images, options.batch)  # not counted
        ratios = [ours(name, images, options.batch) / bare(name, images, options.batch) for _ in rounds]
        show(f"{name}, a step at {options.size} px", ratios, "<= 1.05")
        shares = [share(name, images, options.batch) for _ in rounds]
        assignment, decoding = (statistics.median(one[i] for one in shares) for i in (1, 2))
        show(
            f"  of it targets {assignment:.3f}, detections {decoding:.3f}",
            [one[0] for one in shares],
            "<= 0.1",
        )
    given, wanted = boxes(5000, 36000, 100000)
    pairs = [(measured(given, wanted), reference(given, wanted, 5000)) for _ in rounds]
    assert all(abs(mine - their) < 1e-6 for (_, mine), (_, their) in pairs)
    seconds = statistics.median(mine for (mine, _), _ in pairs)
    show(f"AP of 5,000 images, {seconds:.2f} s", [mine / their for (mine, _), (their, _) in pairs], "<= 1")


if __name__ == "__main__":
    main()
