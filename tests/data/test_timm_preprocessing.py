"""Images are prepared as timm prepares them for evaluation: to one grey level, whatever their shape."""

import numpy as np
import pytest
import timm
from PIL import Image
from timm.data import create_transform, resolve_data_config

from fovea.data.preprocess import Preprocess
from helpers.real_formats import images

SHAPES = [(150, 211), (211, 150), (48, 48), (40, 23), (30, 210), (400, 613)]  # of photos, to 48 × 48
PHOTOS = [images(1, shape, 3, seed=7)[0] for shape in SHAPES]
MODES = {"center": "crop", "squash": "stretch", "border": "pad"}
PUBLISHED = [
    "resnet18.tv_in1k", "resnet50.a1_in1k", "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "vit_base_patch16_siglip_224.webli", "tf_efficientnetv2_b3.in21k_ft_in1k", "volo_d4_448.sail_in1k",
    "mobilenetv3_small_050.lamb_in1k", "deepseek_vit_412m.deepseek_v4_flash_vision_exp",
]  # fmt: skip


def agree(how, *, size):
    """Compare on every photo; `how` are timm's words."""
    transform = create_transform(input_size=(3, *size), **how, normalize=False)
    own = Preprocess(
        {
            "image_size": list(size), "channels": 3, "mean": list(how["mean"]), "std": list(how["std"]),
            "interpolation": how["interpolation"], "crop_pct": how["crop_pct"],
            "resize": MODES[how["crop_mode"]],
        }
    )  # fmt: skip
    for photo in PHOTOS:
        expected = transform(Image.fromarray(photo)).permute(1, 2, 0).numpy()
        found = own.to_array(photo)
        assert np.abs(found.astype(int) - expected).max() <= 1, (photo.shape, how)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_mode(interpolation, mode):
    for crop_pct in (1.0, 0.9, 0.875, 1.15):
        for size in ((48, 48), (32, 56)):
            how = {"interpolation": interpolation, "crop_pct": crop_pct, "crop_mode": mode}
            agree(how | {"mean": [0.485, 0.456, 0.406], "std": [0.2] * 3}, size=size)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights(name):
    how = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    size = how.pop("input_size")[1:]
    agree(how, size=size)


def test_interpolations_differ():
    how = {"image_size": [32, 32], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    found = [
        Preprocess(how | {"interpolation": name}).to_array(PHOTOS[0]).tobytes()
        for name in ("nearest", "bilinear", "bicubic", "lanczos", "area")
    ]
    assert len(set(found)) == 5
