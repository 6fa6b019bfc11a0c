import os
import random

import numpy as np
import pytest

from fovea.data.geometry import fit_sample
from fovea.data.preprocess import Preprocess
from fovea.data.transforms import SampleTransform
from helpers.real_formats import images

PHOTO = images(1, (90, 120))[0]


def fit(image, **options):
    return fit_sample({"image": image}, **options)["image"]


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (10, 300), (300, 7), (1, 1), (64, 64), (63, 65)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_any_image_gets_the_size(shape, channels, size, interpolation):
    image = np.full((*shape, channels), 77, np.uint8)
    out = fit(image, size=size, interpolation=interpolation, crop_pct=0.875)
    assert out.shape == (*size, channels) and out.dtype == np.uint8 and (out == 77).all()


def test_an_image_of_the_size_is_returned_unchanged_unless_a_part_is_wanted():
    assert fit(PHOTO, size=(90, 120), interpolation="bicubic") is PHOTO
    assert not np.array_equal(fit(PHOTO, size=(90, 120), interpolation="bicubic", crop_pct=0.5), PHOTO)


def test_the_crop_is_centred():
    image = np.zeros((100, 200, 1), np.uint8)
    image[:, 50:150] = 255
    found = fit(image, size=(50, 50), interpolation="bilinear")[..., 0]
    assert (found[:, 1:-1] == 255).all() and np.array_equal(found, found[:, ::-1]) and found.min() > 200
    image = np.zeros((100, 100, 1), np.uint8)
    image[25:75, 25:75] = 255
    found = fit(image, size=(20, 20), interpolation="bilinear", crop_pct=0.5)[..., 0]
    assert (found[1:-1, 1:-1] == 255).all() and np.array_equal(found, found.T[::-1, ::-1])


def test_an_augmented_image_of_the_size_is_not_cropped_again():
    how = {"image_size": [90, 120], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.5}
    preprocess = Preprocess(how | {"interpolation": "bilinear"})
    assert preprocess.finish({"image": PHOTO})["image"] is PHOTO
    assert preprocess.finish({"image": PHOTO[:45]})["image"].shape == PHOTO.shape


def test_a_sliver_is_resized_within_bounds():
    sliver = np.random.default_rng(0).integers(0, 256, (1, 60_000, 3), np.uint8)
    out = fit(sliver, size=(64, 64), interpolation="bicubic")  # as a whole it would be 64 × 3,840,000
    assert out.shape == (64, 64, 3) and out.std() > 1


def test_albumentations_stays_offline():
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def transforms():
    import albumentations as A

    return {
        "crop": A.RandomResizedCrop(size=(32, 32)),
        "pick": A.OneOf([A.Affine(rotate=(-45, 45), p=1), A.Solarize(p=1), A.GaussNoise(p=1)], p=1),
        "some": A.SomeOf([A.HorizontalFlip(p=1), A.ColorJitter(p=1), A.CoarseDropout(p=1)], n=2),
        "none": None,
    }


def test_depends_on_seed_epoch_and_index_only():
    transform, other = SampleTransform(transforms(), seed=0), SampleTransform(transforms(), seed=0)
    keys = [(epoch, index) for epoch in (0, 1) for index in range(12)]
    first = {key: transform({"image": PHOTO}, epoch=key[0], index=key[1])["image"] for key in keys}
    np.random.seed(99)
    random.seed(99)
    for key in reversed(keys):
        assert np.array_equal(other({"image": PHOTO}, epoch=key[0], index=key[1])["image"], first[key])
    assert len({image.tobytes() for image in first.values()}) == len(keys)
    seeded = SampleTransform(transforms(), seed=1)
    assert not np.array_equal(seeded({"image": PHOTO}, epoch=0, index=0)["image"], first[0, 0])


def test_grey_images_keep_their_axis():
    import albumentations as A

    transform = SampleTransform(
        {"crop": A.RandomResizedCrop(size=(8, 8)), "color": A.ColorJitter(p=1)}, seed=0
    )
    assert transform({"image": PHOTO[..., :1].copy()}, epoch=0, index=0)["image"].shape == (8, 8, 1)


@pytest.mark.filterwarnings("ignore:Argument")
def test_unknown_arguments_are_refused_wherever_they_are():
    import albumentations as A

    wrong = A.RandomResizedCrop(size=(8, 8), sclae=(0.1, 1))
    with pytest.raises(ValueError, match=r"RandomResizedCrop .*sclae"):
        SampleTransform({"crop": wrong}, seed=0)
    with pytest.raises(ValueError, match="sclae"):
        SampleTransform({"one": A.OneOf([A.Sequential([wrong])])}, seed=0)


@pytest.mark.filterwarnings("error")
def test_colours_alone_leave_boxes_where_they_are_without_a_word():
    import albumentations as A

    boxes = np.array([[10.0, 20.0, 50.0, 60.0]], dtype=np.float32)
    sample = {"image": PHOTO, "boxes": boxes, "labels": np.array([1])}
    found = SampleTransform({"color": A.ColorJitter(p=1)}, seed=0)(sample, epoch=0, index=0)
    np.testing.assert_array_equal(found["boxes"], boxes)
    assert not np.array_equal(found["image"], PHOTO)
