import os
import random

import numpy as np
import pytest
import torch

from fovea.data.geometry import fit_sample
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


def test_an_image_of_the_size_is_returned_unchanged():
    assert fit(PHOTO, size=(90, 120), interpolation="bicubic", crop_pct=0.5) is PHOTO


def test_the_crop_is_centred():
    image = np.zeros((100, 200, 1), np.uint8)
    image[:, 50:150] = 255
    assert (fit(image, size=(50, 50), interpolation="bilinear") == 255).all()
    image = np.zeros((100, 100, 1), np.uint8)
    image[25:75, 25:75] = 255
    assert (fit(image, size=(20, 20), interpolation="bilinear", crop_pct=0.5) == 255).all()


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_agrees_with_torchvision_up_to_resampling(crop_pct):
    from torchvision.transforms.v2 import functional as F

    size = round(40 / crop_pct)
    reference = F.resize(torch.from_numpy(PHOTO).permute(2, 0, 1), [size], antialias=True)
    reference = F.center_crop(reference, [40, 40]).permute(1, 2, 0).numpy()
    out = fit(PHOTO, size=(40, 40), interpolation="bilinear", crop_pct=crop_pct)
    assert np.abs(out.astype(int) - reference).mean() < 3


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
