import numpy as np
import pytest

from fovea.explain.studies.inversion import InversionStudy
from fovea.models.mlp import MLP
from helpers.inner_nets import linear, untouched
from helpers.toy_inside import read_csv, repeats, toy_subject

pytestmark = pytest.mark.slow


def test_a_shallow_layer_gives_more_of_the_image_back(tmp_path):
    subject = toy_subject()
    with untouched(subject.net):
        study = InversionStudy(layer=["stem.0", "stages.0"], limit=1, steps=150, lr=0.1, tv_weight=0.0)
        study(subject, tmp_path)
    wanted = subject.pixels.decode(subject.load([0]).image)[0].numpy()
    shallow, deep = (
        np.abs(np.load(tmp_path / f"0000_image_0__{layer}.npy") - wanted).mean()
        for layer in ("stem.0", "stages.0")
    )
    assert shallow < 0.5 * deep
    rows = read_csv(tmp_path / "inversion.csv")
    assert [row["layer"] for row in rows] == ["stem.0", "stages.0"] and float(rows[0]["distance"]) < 0.1


def test_layers_are_found_also_without_maps(tmp_path):
    net = MLP(num_classes=5, image_size=16, hidden=(7,))
    InversionStudy(limit=1, steps=2)(toy_subject(net), tmp_path)
    assert len(read_csv(tmp_path / "inversion.csv")) >= 1
    InversionStudy(limit=1, steps=2, layer="head")(toy_subject(linear()), tmp_path)


def test_a_seed_repeats_and_the_net_survives_errors(tmp_path):
    subject = toy_subject()
    assert repeats(InversionStudy(limit=3, steps=3), subject, tmp_path)
    with untouched(subject.net), pytest.raises(KeyError, match="near it"):
        InversionStudy(layer="nothing")(subject, tmp_path)
    with pytest.raises(ValueError, match="limit=0"):
        InversionStudy(limit=0)
