import numpy as np
import pytest
import torch

from fovea.explain.analyses.feature_maps import FeatureMapAnalysis, as_pictures, feature_maps, strongest, take
from helpers.explained_nets import untouched
from helpers.inner_nets import linear, make, pictures
from helpers.toy_inside import files, repeats, toy_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
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


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_every_net_has_maps_over_its_depth(tmp_path, name):
    model = toy_model(name, size=16 if name == "vit" else 64)
    with untouched(model.net):
        blocks = FeatureMapAnalysis(limit=1, channels=3)(model, tmp_path)
    assert len(blocks) == 2 and blocks[1].caption == model.ids[0]
    layers = [p.stem.split("__")[1] for p in tmp_path.glob("*.npy")]
    assert 2 <= len(layers) <= 4
    assert all(np.load(p).shape[0] == 3 for p in tmp_path.glob("*.npy"))


def test_the_maps_are_the_layers_strongest(tmp_path):
    model = toy_model()
    FeatureMapAnalysis(layer="stem,stages.0.1.2", limit=3, channels=2)(model, tmp_path)
    assert len(files(tmp_path)) == 3 * 3  # a sheet and two layers of each
    image = model.load([2]).image
    maps = feature_maps(model.net, image, "stages.0.1.2")[0]
    wanted = maps[maps.mean(dim=(1, 2)).argsort(descending=True)[:2]]
    found = torch.from_numpy(np.load(tmp_path / "0002_image_2__stages.0.1.2.npy"))
    torch.testing.assert_close(found, wanted)


def test_unreadable_images_are_passed_over_and_the_rest_repeats(tmp_path):
    model = toy_model(unreadable=(0,))
    assert repeats(FeatureMapAnalysis(limit=2, channels=2), model, tmp_path)
    assert [p.name for p in (tmp_path / "a").glob("*.png")] == ["0001_image_1.png"]


def test_layers_without_maps_are_refused_and_the_net_is_left_as_it_was(tmp_path):
    model = toy_model()
    model.net.train()
    with untouched(model.net), pytest.raises(ValueError, match=r"stages\.0"):
        FeatureMapAnalysis(layer="stage.0")(model, tmp_path)
    with untouched(model.net), pytest.raises(ValueError, match="no positions"):
        FeatureMapAnalysis(layer="head")(model, tmp_path)
    with pytest.raises(ValueError, match="only vectors"):
        FeatureMapAnalysis()(toy_model(linear()), tmp_path)
