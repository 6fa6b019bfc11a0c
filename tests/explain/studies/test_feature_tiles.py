import pytest
import torch

from fovea.explain.studies.feature_tiles import as_pictures, feature_maps, strongest, take
from helpers.inner_nets import make, pictures, untouched

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
        ("cnn", "stem", (8, 16, 16)),
        ("cnn", "stages.0", (12, 8, 8)),
        ("tiny", "stem.0", (8, 16, 16)),
        ("resnet", "layer1", (64, 4, 4)),
        ("vit", "blocks.1", (24, 4, 4)),
    ],
)
def test_maps_of_any_layer(name, path, shape):
    net = make(name)  # in training mode: maps are those of evaluation all the same
    image = pictures(2)
    with untouched(net):
        maps = feature_maps(net, image, path)
    assert maps.shape == (2, *shape) and not maps.requires_grad
    torch.testing.assert_close(feature_maps(net.eval(), image[1:], path)[0], maps[1])


def test_a_map_is_what_the_layer_gives():
    net, image = make("tiny").eval(), pictures(2)
    torch.testing.assert_close(
        feature_maps(net, image, "stem.0"), net.stem[0](image)
    )  # a ReLU in place follows
    torch.testing.assert_close(feature_maps(net, image, "stages"), net.forward_features(image))


def test_tokens_lie_where_their_patches_do():
    net, image = make("vit").eval(), pictures(1)
    other = image.clone()
    other[:, :, 4:8, 12:16] += 1  # the patch in row 1, column 3
    before, after = (feature_maps(net, x, "norm_pre") for x in (image, other))  # with a class token in front
    change = (after - before).abs().sum(1)[0]
    assert change[1, 3] > 0 and change.sum() == change[1, 3]


def test_the_strongest_channels_come_first():
    maps = torch.zeros(2, 4, 3, 3)
    maps[0, 2], maps[0, 1], maps[1, 3] = 5.0, 2.0, 1.0
    assert strongest(maps, 2)[0].tolist() == [2, 1] and strongest(maps, 1)[1].tolist() == [3]
    assert torch.equal(take(maps, strongest(maps, 2))[0], maps[0, [2, 1]])
    with pytest.raises(ValueError, match="count=9"):
        strongest(maps, 9)


def test_each_map_fills_the_range():
    maps = torch.randn(2, 3, 5, 5) * torch.tensor([1.0, 100.0, 0.0]).view(3, 1, 1) + 7
    seen = as_pictures(maps)
    assert (seen[:, :2].amin((2, 3)) == 0).all() and (seen[:, :2].amax((2, 3)) == 1).all()
    assert (seen[:, 2] == 0).all()
    assert seen[0, 1].flatten().argmax() == maps[0, 1].flatten().argmax()


def test_an_unknown_layer_is_named():
    with pytest.raises(KeyError, match="stages"):
        feature_maps(make("cnn"), pictures(1), "stage")
