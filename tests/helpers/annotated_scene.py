"""One picture with all annotations, and a check that they agree."""

import numpy as np


def scene(height=90, width=140, count=6):
    """Bright rectangles, each with its box, its instance and its class."""
    image = np.zeros((height, width, 3), np.uint8)
    mask, instances = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for i in range(count):
        left, top = i * width // count, 20 + 3 * i
        right, bottom = left + width // count - 6, top + 30
        boxes[i] = left, top, right, bottom
        image[top:bottom, left:right] = 255
        mask[top:bottom, left:right] = 1 + i % 2
        instances[top:bottom, left:right] = i + 1
    labels = np.arange(count) % 2
    points = np.stack([boxes[:, :2].mean(1), boxes[:, 1:3].mean(1)], 1).astype(np.float32)
    points[:, 0], points[:, 1] = boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)
    return {
        "image": image, "mask": mask, "instances": instances, "boxes": boxes, "labels": labels,
        "ignore": labels == 1, "keypoints": points,
    }  # fmt: skip


def agree(sample, slack=1.5):
    """Whether boxes, masks, instances and points all mark the same places."""
    ids = [i for i in np.unique(sample["instances"]) if i not in (0, 255)]
    assert len(ids) <= len(sample["boxes"]) == len(sample["labels"]) == len(sample["ignore"])
    for i in ids:
        y, x = np.nonzero(sample["instances"] == i)
        found = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert np.abs(sample["boxes"][i - 1] - found).max() <= slack, (i, sample["boxes"][i - 1], found)
        assert set(sample["mask"][y, x]) <= {1 + sample["labels"][i - 1], 255}
    inside = ~np.isnan(sample["keypoints"]).any(1)
    spots = sample["keypoints"][inside].astype(int)
    assert (sample["image"][spots[:, 1], spots[:, 0]] > 100).all()
