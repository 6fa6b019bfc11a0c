import pytest
import torch

from fovea.explain.core.pixels import Pixels, blur, moments, total_variation
from helpers.inner_nets import PIXELS, pictures


def test_pixels_go_there_and_back():
    given = pictures(2)
    encoded = PIXELS.encode(given)
    torch.testing.assert_close(PIXELS.decode(encoded), given)
    torch.testing.assert_close(encoded[:, 1], (given[:, 1] - 0.4) / 0.25)
    clipped = PIXELS.decode(PIXELS.clip(encoded * 5))
    torch.testing.assert_close(clipped, PIXELS.decode(encoded * 5).clamp(0, 1))
    with pytest.raises(ValueError, match="0…1"):
        PIXELS.check(encoded)
    with pytest.raises(ValueError, match="channels"):
        PIXELS.encode(given[:, :2])
    with pytest.raises(ValueError, match="std"):
        Pixels(mean=[0.5], std=[0.0])


def test_blur_is_a_gaussian():
    from torchvision.transforms.v2 import functional as F

    image = pictures(2, size=20)
    expected = F.gaussian_blur(image, [9, 9], [1.3, 1.3])
    torch.testing.assert_close(blur(image, 1.3)[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5])
    torch.testing.assert_close(blur(torch.full((1, 2, 6, 6), 0.7), 2.0), torch.full((1, 2, 6, 6), 0.7))
    assert torch.equal(blur(image, 0), image)


def test_moments_are_evenly_apart():
    assert moments(10, 3) == [0, 5, 10] and moments(2, 9) == [0, 1, 2] and moments(7, 1) == [7]
    with pytest.raises(ValueError, match="steps=0"):
        moments(0, 3)


def test_total_variation_is_the_papers():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    image[0, 0, 1, 2] = -2.0
    # a differences: of the pixel itself (both), of its left and of its upper neighbour, of 9 places
    assert total_variation(image, 2).item() == pytest.approx((8 + 4 + 4) / 9)
    assert total_variation(image, 1).item() == pytest.approx((8**0.5 + 2 + 2) / 9, abs=1e-5)
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(flat, 1.5).sum(), flat)
    assert gradient.isfinite().all()
