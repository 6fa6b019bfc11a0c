import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.ops.ab_regression import Regression
from fovea.ops.lab import lightness, rgb_to_lab
from fovea.predict.writer import PredictionWriter
from fovea.tasks.colorization import view as module
from fovea.tasks.colorization.view import ColourView, ab_distance, without_colour


@pytest.fixture
def view():
    return ColourView(encoding=Regression())


def test_an_image_keeps_its_lightness_and_takes_the_colours(view):
    image = np.random.default_rng(0).integers(90, 160, (40, 30, 3), dtype=np.uint8)
    found = view.decode(np.stack([np.full((5, 4), 12.0), np.full((5, 4), -9.0)]).astype(np.float32), image)
    before, after = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (image, found))
    assert found.shape == image.shape
    assert (lightness(before) - lightness(after)).abs().max() < 0.5
    assert rgb_to_lab(after)[0, 1:].mean((1, 2)).tolist() == pytest.approx([12, -9], abs=0.2)
    assert np.ptp(without_colour(image).astype(int), axis=2).max() == 0
    with pytest.raises(ValueError, match="a and b"):
        view.decode(np.zeros((313, 40, 30), np.float32), image)


def test_bands_leave_no_seam(view, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)
    ab = np.random.default_rng(1).normal(0, 20, (2, 11, 7)).astype(np.float32)
    whole = view.decode(ab, image)
    monkeypatch.setattr(module, "BAND", 20)
    assert np.array_equal(view.decode(ab, image), whole)


def test_the_truth_is_drawn_beside_the_answer(view):
    image, answer = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
    drawn = view.draw(image, answer, image)
    assert drawn.shape == (8, 4 * 9 + 3 * 4, 3)
    np.testing.assert_array_equal(drawn[:, 13:22], answer)
    np.testing.assert_array_equal(drawn[:, 26:35], image)
    assert view.draw(image.repeat(2, 0).repeat(2, 1), answer).shape == (16, 2 * 18 + 4, 3)
    distance = ab_distance(answer, image)
    assert distance.shape == (8, 9) and not ab_distance(image, image).any()
    assert view.lines(answer, image) == [f"error {distance.square().mean().div(2).sqrt():.1f}"]
    assert view.lines(image, image) == ["error 0.0"]


def test_predict_leaves_coloured_pictures_a_table_and_a_sheet(view, tmp_path):
    paths = [str(tmp_path / "in" / name) for name in ("a.jpg", "b.jpg")]
    writer = PredictionWriter(view, out_dir=tmp_path, paths=paths)
    writer.add(paths[0], np.full((20, 31, 3), 128, np.uint8), np.full((2, 20, 31), 30, np.float32), None)
    writer.add(paths[1], np.full((9, 9, 3), 128, np.uint8), np.zeros((2, 5, 5), np.float32), None)
    assert "predictions.csv" in writer.finish()
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.jpg"]
    assert list(rows[0]) == ["path", "picture", "colourfulness"]
    assert float(rows[0]["colourfulness"]) > 10 > 1 > float(rows[1]["colourfulness"])
    assert Image.open(tmp_path / rows[0]["picture"]).size == (31, 20)
    assert (tmp_path / "predictions.png").is_file()
    PredictionWriter(view, out_dir=tmp_path, paths=paths)
    assert not (tmp_path / "coloured").exists()
    with pytest.raises(ValueError, match="failures_only"):
        PredictionWriter(view, out_dir=tmp_path, paths=[], failures_only=True)


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
    ab = ColourView(encoding=Regression()).infer(net, image, Small())
    assert ab.shape == (1, 2, height, width)
    ((_, _, h, w),) = seen
    assert abs(h * w - 256) <= 40 and abs(h / w - height / width) / (height / width) < 0.2
    assert torch.allclose(ab.mean(), image[:, :2].float().mean() * 100 / 255, atol=10)
