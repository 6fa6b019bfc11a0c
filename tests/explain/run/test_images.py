from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fovea.data import find_images
from fovea.data.find_images import read_chunks
from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.pixels import Pixels
from fovea.explain.open import OpenedModel
from fovea.explain.run import images as explain_images
from fovea.explain.run.images import ExplainedImages, ImageReader

HOW = {
    "image_size": [8, 12],
    "channels": 3,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}


def opened(name="net", source="a", classes=("cat", "dog"), **how):
    return OpenedModel(
        name=name,
        net=nn.Identity(),
        classes=list(classes),
        preprocessing=HOW | how,
        source=source,
        selector=LogitSelector,
    )


def images(count=3, **changes):
    samples = np.random.default_rng(0).integers(0, 256, (count, 16, 24, 3), dtype=np.uint8)
    found = ExplainedImages(
        ids=[f"{i}.png" for i in range(count)],
        truth=["dog", None, "bird", *[None] * count][:count],
        sample=lambda row: {"image": samples[row]},
        about="here",
        names=["dog", "cat", "bird"],
    )
    return replace(found, **changes)


def test_a_model_sees_images_in_its_own_way():
    reader = ImageReader(images(), opened(classes=("cat", "dog")))
    found, pictures = reader.batch({2: images().sample(2), 0: images().sample(0)})
    assert found.rows == [2, 0] and found.label.tolist() == [-1, 1]  # it knows no birds
    assert found.image.shape == (2, 3, 8, 12) and pictures.shape == (2, 8, 12, 3)
    decoded = Pixels(mean=HOW["mean"], std=HOW["std"]).decode(found.image)
    np.testing.assert_allclose(decoded.permute(0, 2, 3, 1) * 255, pictures, atol=1e-3)
    grey = ImageReader(images(), opened(channels=1, mean=[0.5], std=[0.5]))
    found, pictures = grey.batch({0: images().sample(0)})
    assert found.image.shape == (1, 1, 8, 12) and pictures.shape == (1, 8, 12, 3)


def test_boxes_and_masks_follow_the_image():
    sample = images().sample(0) | {
        "boxes": np.array([[0, 0, 12, 8]], np.float32),
        "labels": np.array([0]),
        "mask": np.eye(16, 24, dtype=np.uint8),
    }
    found, _ = ImageReader(images(), opened(classes=("cat", "dog"))).batch({0: sample})
    assert found.boxes[0].tolist() == [[0, 0, 6, 4]]
    assert found.box_labels[0].tolist() == [1]  # dog, in the order of the model
    assert found.mask.shape == (1, 8, 12) and found.mask.dtype == torch.int64


def test_unreadable_images_are_named_and_the_rest_goes_on(monkeypatch):
    good = images()

    def sample(row):
        if row == 1:
            raise ValueError("it is damaged")
        return good.sample(row)

    broken = replace(good, sample=sample)
    (first, second), (third,) = read_chunks(range(3), sample, size=2)
    assert (first[0], second[0], third[0]) == (0, 1, 2) and first[1].keys() == third[1].keys()
    assert find_images.unreadable("1.png", second[1]) == "1.png: it is damaged"
    assert ImageReader(broken, opened()).load([0, 1, 2]).rows == [0, 2]
    assert ImageReader(broken, opened()).load([1]).rows == []
    monkeypatch.setattr(find_images, "MEMORY", 1)  # large photos end a chunk early
    assert [len(chunk) for chunk in read_chunks(range(3), good.sample, size=9)] == [1, 1, 1]


def test_at_most_so_many_images_of_all_classes():
    many = images(9, truth=["cat"] * 7 + ["dog"] * 2)
    some = explain_images.at_most(many, 4)
    assert sorted(some.truth) == ["cat", "cat", "dog", "dog"]
    assert [many.sample(int(i[0]))["image"][0, 0, 0] for i in some.ids] == [
        some.sample(i)["image"][0, 0, 0] for i in range(4)
    ]
    assert explain_images.at_most(images(9, truth=[None] * 9), 2).ids == ["0.png", "1.png"]
    assert explain_images.at_most(many, None) is many
