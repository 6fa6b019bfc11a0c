import numpy as np
import pytest
import torch

from fovea.explain.analyses.deconvnet_features import DeconvnetAnalysis
from fovea.explain.analyses.feature_maps import feature_maps
from fovea.models.alexnet import AlexNet
from fovea.models.vgg import VGG
from helpers.explained_nets import untouched
from helpers.toy_inside import read_csv, repeats, toy_model

pytestmark = pytest.mark.slow


def alexnet(**options):
    torch.manual_seed(0)
    return AlexNet(num_classes=5, widths=[8, 8, 8, 8, 6], hidden=[4], grid=1, **options)


def vgg():
    torch.manual_seed(0)
    return VGG(num_classes=5, depths=(1, 1), widths=(8, 6), hidden=[4], batch_norm=True)


CHAINS = {
    "alexnet": (alexnet, 64, "features.10"),
    "zfnet": (lambda: alexnet(kernel=7, stride=2, second_stride=2), 64, "features.10"),
    "vgg": (vgg, 16, "features.4"),
    "cnn": (lambda: "cnn", 16, "stages.0.1.0"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_last_convolution_of_a_chain_is_found(tmp_path, name):
    build, size, layer = CHAINS[name]
    model = toy_model(build(), size=size)
    with untouched(model.net):
        (block,) = DeconvnetAnalysis(channels=2, images=3)(model, tmp_path)
    assert layer in block.alt
    rows = read_csv(tmp_path / "deconvnet.csv")
    assert {row["layer"] for row in rows} == {layer} and len(rows) == 6
    maps = feature_maps(model.net, model.load(range(5)).image, layer).amax(dim=(2, 3))  # (5, D)
    for row in rows:
        best = maps[:, int(row["channel"])].argsort(descending=True)
        assert row["image"] == model.ids[int(best[int(row["rank"]) - 1])]
        assert float(row["activation"]) == pytest.approx(
            maps[best, int(row["channel"])][int(row["rank"]) - 1].item()
        )


def test_a_piece_holds_all_of_the_projection(tmp_path):
    DeconvnetAnalysis(layer="stem.2", channels=1, images=2)(toy_model(), tmp_path)
    rows = read_csv(tmp_path / "deconvnet.csv")
    (path,) = tmp_path.glob("*.npy")
    for row, projected in zip(rows, np.load(path), strict=True):
        x1, y1, x2, y2 = (int(row[key]) for key in ("x1", "y1", "x2", "y2"))
        assert 0 <= x1 < x2 <= 16 and (x2 - x1, y2 - y1) <= (3, 3)  # the field of one 3×3 convolution
        inside = np.zeros((16, 16), bool)
        inside[y1:y2, x1:x2] = True
        assert projected.any() and not projected[:, ~inside].any()


@pytest.mark.parametrize("name", ["resnet", "vit", "tiny"])
def test_other_nets_are_told_what_to_use(tmp_path, name):
    model = toy_model(name, size=16 if name == "vit" else 32)
    with untouched(model.net), pytest.raises(ValueError, match="use feature_maps"):
        DeconvnetAnalysis()(model, tmp_path)


def test_it_repeats_and_names_a_wrong_layer(tmp_path):
    assert repeats(DeconvnetAnalysis(channels=2, images=2), toy_model(), tmp_path)
    with pytest.raises(ValueError, match=r"stem\.0"):
        DeconvnetAnalysis(layer="head")(toy_model(), tmp_path)
