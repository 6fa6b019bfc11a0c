"""A data set of random images that takes the place of any other."""

import numpy as np


class Noise:
    """Random images with the shape and classes that a config asks for."""

    splits = ("train", "val", "test")
    targets = ("label", "mask")
    source = "generated"

    def __init__(self, *, split, num_classes, size, channels):
        self.classes = [f"class {i}" for i in range(num_classes)]
        self.labels = np.arange(2 * max(num_classes, 4)) % max(num_classes, 1)
        self.ids = [f"{split}/{i}" for i in range(len(self.labels))]
        self.shape = (*size, channels)

    def __len__(self):
        return len(self.labels)

    def load(self, index):
        image = np.random.default_rng(index).integers(0, 256, self.shape, dtype=np.uint8)
        mask = np.full(self.shape[:2], self.labels[index], dtype=np.uint8)
        return {"image": image, "label": int(self.labels[index]), "mask": mask}
