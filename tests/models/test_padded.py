import pytest
import torch
from torch import nn

from fovea.models.padded import Padded


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (32, 64)], ids=str)
def test_the_net_sees_multiples_and_the_output_has_the_size_of_the_image(size):
    seen = []
    net = nn.Conv2d(3, 2, 1)
    net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    x = torch.randn(2, 3, *size)
    found = Padded(net)(x)
    assert seen == [tuple(-(-side // 32) * 32 for side in size)]
    torch.testing.assert_close(found, net(x))


def test_the_image_lies_in_the_middle_and_goes_on_as_its_mirror_image():
    kept = []
    x = torch.arange(5.0).view(1, 1, 1, 5)
    net = nn.Identity()
    net.register_forward_hook(lambda module, inputs, output: kept.append(output))
    Padded(net, multiple=8)(x)
    assert kept[0][0, 0, 0].tolist() == [1, 0, 1, 2, 3, 4, 3, 2] and kept[0].shape[2] == 8


def test_a_multiple_of_zero_is_refused():
    with pytest.raises(ValueError, match="multiple=0: give at least 1"):
        Padded(nn.Identity(), multiple=0)
