"""A data set of random images that takes the place of any other."""

import numpy as np


class Noise:
    """Random images with the shape and classes that a config asks for."""

    splits = ("train", "val", "test")
    targets = ("label", "boxes", "labels", "mask")
    source = "generated"

    def __init__(self, *, split, num_classes, size, channels):
        self.classes = [f"class {i}" for i in range(num_classes)]
        numbers = np.arange(2 * max(num_classes, 4))
        self.labels = numbers % num_classes if num_classes else None
        self.ids = [f"{split}/{i}" for i in numbers]
        self.shape = (*size, channels)

    def __len__(self):
        return len(self.ids)

    def load(self, index):
        image = np.random.default_rng(index).integers(0, 256, self.shape, dtype=np.uint8)
        label = 0 if self.labels is None else int(self.labels[index])
        height, width = self.shape[:2]
        return {
            "image": image,
            "label": label,
            "boxes": np.array([[0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height]], dtype=np.float32),
            "labels": np.array([label]),
            "mask": np.full((height, width), label, dtype=np.uint8),
        }
