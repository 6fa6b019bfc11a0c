"""The study of randomised weights tells maps of the net from maps of the image."""

import csv

import pytest
import torch

from fovea.explain.methods.saliency import InputTimesGradient
from fovea.explain.studies.randomisation import RandomisationStudy
from helpers.toy_subject import COUNT, Quarter, refused, subject

pytestmark = pytest.mark.slow


def edges(net, image, target=None):
    return image.diff(dim=2, append=image[:, :, -1:]).abs().sum(1)


def weights(net, image, target=None):
    """Map images to noise that the weights alone decide."""
    seed = int(net.conv.weight.abs().sum() * 1e4)
    return torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(seed)).expand(len(image), -1, -1)


def test_a_map_of_the_image_alone_is_told(tmp_path):
    net_before = Quarter().state_dict()
    methods = {"edges": edges, "weights": weights, "product": InputTimesGradient(), "refused": refused}
    made = subject(methods)
    blocks = RandomisationStudy(points=1)(made, tmp_path)
    page = "".join(block.html() for block in blocks)
    assert "These do not change enough" in page and "refused: Quarter has no attention" in page
    with (tmp_path / "randomisation.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["edges"]["correlation"]) == pytest.approx(1)
    assert float(rows["weights"]["correlation"]) < 0.5
    assert rows["edges"]["layer"] == "conv" and int(rows["edges"]["images"]) == COUNT - 1
    assert (tmp_path / "curves.png").stat().st_size > 5000 < (tmp_path / "examples.png").stat().st_size
    for key, value in made.net.state_dict().items():
        assert torch.equal(value, net_before[key])


def test_all_methods_change(tmp_path):
    page = "".join(b.html() for b in RandomisationStudy()(subject({"weights": weights}), tmp_path))
    assert "The maps of every method change" in page


def test_calls_without_maps_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name some, as in method=\[saliency,randomisation\]"):
        RandomisationStudy()(subject({}), tmp_path)
    with pytest.raises(ValueError, match="of no image is the class known"):
        RandomisationStudy()(subject({"edges": edges}, known=False), tmp_path)
    with pytest.raises(ValueError, match="points=0"):
        RandomisationStudy(points=0)
    (block,) = RandomisationStudy()(subject({"refused": refused}), tmp_path)
    assert "no attention" in block.html()
