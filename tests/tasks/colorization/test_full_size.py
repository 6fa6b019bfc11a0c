import pytest
import torch

from fovea.ops.ab_regression import Regression
from fovea.tasks.colorization.full_size import WholeColour


class Small:
    """A preprocessing of 16 x 16 pixels."""

    size = (16, 16)

    def to_input(self, images):
        return images / 255


@pytest.mark.parametrize("height, width", [(1, 1), (16, 16), (64, 16), (31, 90)])
def test_the_whole_picture_is_seen_and_its_colours_have_its_size(height, width):
    seen = []

    def net(x):
        seen.append(x.shape)
        return x[:, :2] * 100

    image = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
    ab = WholeColour(encoding=Regression())(net, image, Small())
    assert ab.shape == (1, 2, height, width)
    ((_, _, h, w),) = seen
    assert abs(h * w - 256) <= 40 and abs(h / w - height / width) / (height / width) < 0.2
    assert torch.allclose(ab.mean(), image[:, :2].float().mean() * 100 / 255, atol=10)
