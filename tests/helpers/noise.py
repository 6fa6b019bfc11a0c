"""A data set of random images that takes the place of any other."""

import numpy as np


class Noise:
    """Random images with the shape and classes that a config asks for."""

    splits = ("train", "val", "test")
    targets = ("label", "mask")
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
        return {"image": image, "label": label, "mask": np.full(self.shape[:2], label, dtype=np.uint8)}
