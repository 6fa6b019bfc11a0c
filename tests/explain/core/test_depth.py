import pytest

from fovea.explain.analyses.feature_maps import feature_maps
from fovea.explain.core.depth import spread_layers
from helpers.explained_nets import NETS, SIDE, built, images, untouched
from helpers.inner_nets import linear, pictures

pytestmark = pytest.mark.slow
EXPECTED = {
    "resnet": ["act1", "layer1", "layer3", "layer4"],
    "vit": ["blocks.0", "blocks.1"],
    "our_vit": ["blocks.0", "blocks.1"],
    "swin": ["layers.0", "layers.1"],
    "our_cnn": ["stem", "stages.0", "stages"],
}


@pytest.mark.parametrize("name", NETS)
def test_layers_of_every_net_have_maps_that_do_not_grow(name):
    net, image = built(name), images(1)
    with untouched(net):
        paths = spread_layers(net, image)
    assert 1 < len(paths) <= 4 and paths == EXPECTED.get(name, paths)
    sides = [min(feature_maps(net, image, path).shape[2:]) for path in paths]
    assert sides == sorted(sides, reverse=True) and 1 < sides[0] <= SIDE


def test_nets_without_maps():
    with pytest.raises(ValueError, match="only vectors"):
        spread_layers(linear(), pictures(1))
    assert spread_layers(linear(), pictures(1), vectors=True) == ["head"]
