import numpy as np
import pytest
import torch

from fovea.explain.studies.feature_maps import FeatureMapStudy
from fovea.explain.studies.feature_tiles import feature_maps
from helpers.inner_nets import linear, untouched
from helpers.toy_inside import files, repeats, toy_subject

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["cnn", "tiny", "resnet", "vit"])
def test_every_net_has_maps_over_its_depth(tmp_path, name):
    subject = toy_subject(name, size=16 if name == "vit" else 64)
    with untouched(subject.net):
        blocks = FeatureMapStudy(limit=1, channels=3)(subject, tmp_path)
    assert len(blocks) == 2 and blocks[1].caption == subject.ids[0]
    layers = [p.stem.split("__")[1] for p in tmp_path.glob("*.npy")]
    assert 2 <= len(layers) <= 4
    assert all(np.load(p).shape[0] == 3 for p in tmp_path.glob("*.npy"))


def test_the_maps_are_the_layers_strongest(tmp_path):
    subject = toy_subject()
    FeatureMapStudy(layer="stem,stages.0.1.2", limit=3, channels=2)(subject, tmp_path)
    assert len(files(tmp_path)) == 3 * 3  # a sheet and two layers of each
    image = subject.load([2]).image
    maps = feature_maps(subject.net, image, "stages.0.1.2")[0]
    wanted = maps[maps.mean(dim=(1, 2)).argsort(descending=True)[:2]]
    found = torch.from_numpy(np.load(tmp_path / "0002_image_2__stages.0.1.2.npy"))
    torch.testing.assert_close(found, wanted)


def test_unreadable_images_are_passed_over_and_the_rest_repeats(tmp_path):
    subject = toy_subject(unreadable=(0,))
    assert repeats(FeatureMapStudy(limit=2, channels=2), subject, tmp_path)
    assert [p.name for p in (tmp_path / "a").glob("*.png")] == ["0001_image_1.png"]


def test_layers_without_maps_are_refused_and_the_net_is_left_as_it_was(tmp_path):
    subject = toy_subject()
    subject.net.train()
    with untouched(subject.net), pytest.raises(KeyError, match=r"stages\.0"):
        FeatureMapStudy(layer="stage.0")(subject, tmp_path)
    with untouched(subject.net), pytest.raises(ValueError, match="no positions"):
        FeatureMapStudy(layer="head")(subject, tmp_path)
    with pytest.raises(ValueError, match="only vectors"):
        FeatureMapStudy()(toy_subject(linear()), tmp_path)
