import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fovea.data.preprocess import Preprocess
from fovea.predict.full_size import bands, class_maps, over_image, sides_of


def preprocess(size=(16, 16), resize="crop"):
    return Preprocess(
        {"image_size": list(size), "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3,
         "interpolation": "bilinear", "crop_pct": 1.0, "resize": resize}
    )  # fmt: skip


def halves(height, width):
    """Return an image whose left half is dark and whose right half is bright."""
    image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    image[..., width // 2 :] = 255
    return image


def bright(x):
    return torch.cat([0.5 - x[:, :1], x[:, :1] - 0.5], 1)


@pytest.mark.parametrize("size", [(7, 9), (20, 31), (3, 4), (1, 1), (5, 31)])
@pytest.mark.parametrize("most", [1, 200, 2**22])
def test_bands_are_the_rows_of_a_bilinear_image(size, most):
    output = torch.randn(1, 3, 7, 9)
    parts = list(bands(output, size, most=most))
    whole = F.interpolate(output, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(torch.cat(parts, 2), whole)
    assert len(parts) == (size[0] if most == 1 else len(parts)) and (most < 2**22 or len(parts) == 1)


def test_an_image_of_the_input_size_gives_what_the_net_gives():
    image, how = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8), preprocess()
    assert torch.equal(over_image(bright, image, how), bright(how.to_input(image)))


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(16, 16), (40, 60), (61, 23), (8, 10), (300, 2), (1, 1)])
@pytest.mark.parametrize("window", [None, 8, [8, 12]])
def test_every_pixel_of_any_size_gets_its_class(resize, size, window):
    image = halves(*size)
    found = class_maps(bright, image, preprocess(resize=resize), window=window)
    truth = image[:, 0] > 0
    assert found.dtype == torch.uint8 and found.shape == (1, *size)
    slack = 2 if window is None else 0  # pixels of the image to one of the net's
    assert ((found > 0) != truth).any(1).sum() <= slack * max(1, max(size) // 16)


def test_what_the_net_sees_keeps_its_aspect_and_has_borders_only_as_in_training():
    seen = {}
    for resize in ("crop", "pad", "stretch"):
        over_image(lambda x, r=resize: seen.setdefault(r, x), halves(20, 40), preprocess(resize=resize))
    assert [tuple(seen[r].shape[2:]) for r in seen] == [(8, 16), (16, 16), (16, 16)]
    assert not seen["pad"][:, :, :4].any() and seen["pad"][:, :, 4:12, 8:].all()


def test_a_grey_net_and_one_logit():
    how = Preprocess({**preprocess().preprocessing, "channels": 1, "mean": [0.0], "std": [1.0]})
    found = class_maps(lambda x: x - 0.5, halves(12, 24)[:, :1], how)
    np.testing.assert_array_equal(found[0, 0].numpy(), [0] * 12 + [1] * 12)


@pytest.mark.parametrize("options", [{"window": 0}, {"window": [4]}, {"window": [4, 0]}, {"overlap": 1.0}])
def test_options_that_make_no_sense_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}=.*such as|{name}=.*try"):
        sides_of(**{"window": None, "overlap": 0.25} | options)
