import numpy as np
import pytest
import torch
from PIL import Image

from fovea.data.images import to_channels
from fovea.data.preprocess import Preprocess, match_channels
from helpers.real_formats import images

PHOTO = images(1, (60, 90))[0]


def make(channels=3, size=(32, 32)):
    return Preprocess(
        {
            "image_size": list(size),
            "channels": channels,
            "mean": [0.4, 0.5, 0.6][:channels],
            "std": [0.2, 0.3, 0.4][:channels],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
        }
    )


def test_to_input_is_the_textbook_formula_and_leaves_its_input():
    batch = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    expected = (batch.double() / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    for pixels in (batch, batch.float()):
        copy = pixels.clone()
        torch.testing.assert_close(make().to_input(pixels).double(), expected, rtol=0, atol=2e-6)
        assert torch.equal(pixels, copy)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_and_its_pixels_give_the_same_input(tmp_path, channels):
    path = tmp_path / "a.png"
    Image.fromarray(PHOTO).save(path)
    pixels = to_channels(PHOTO, channels=channels)
    assert torch.equal(make(channels)(path), make(channels)(pixels))
    assert make(channels)(path).shape == (1, channels, 32, 32)


def test_grey_conversion_of_tensors_equals_opencv_on_every_colour():
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, -1, 3)
    tensor = torch.from_numpy(cube).permute(2, 0, 1)[None]
    assert np.array_equal(match_channels(tensor, channels=1)[0, 0], to_channels(cube, channels=1)[..., 0])
    floats = match_channels(tensor.float(), channels=1)
    assert (floats - match_channels(tensor, channels=1)).abs().max() <= 0.51


def test_grey_to_colour_and_back_changes_nothing():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(match_channels(match_channels(grey, channels=3), channels=1), grey)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros(4, np.uint8)])
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match="expected a uint8 image"):
        make().to_array(array)


def test_two_dimensional_arrays_are_grey():
    assert make(1).to_array(PHOTO[..., 0]).shape == (32, 32, 1)
