import pytest
import torch

from fovea.models.adapt_input import IMAGENET, AdaptInput


def test_adapted_input_shows_the_backbone_what_it_knows():
    torch.manual_seed(0)
    pixels = torch.rand(2, 1, 8, 8)
    own = [torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET]
    adapt = AdaptInput(mean=[0.3], std=[0.2])
    torch.testing.assert_close(adapt((pixels - 0.3) / 0.2), (pixels.expand(-1, 3, -1, -1) - own[0]) / own[1])
    assert AdaptInput(mean=[0.3], std=[0.2], size=[16, 24])(pixels).shape == (2, 3, 16, 24)
    assert not adapt.state_dict()
    with pytest.raises(ValueError, match=r"3 channels.* 1"):
        adapt(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match="one or three"):
        AdaptInput(mean=[0.3, 0.4], std=[0.2, 0.2])
