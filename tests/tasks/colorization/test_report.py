import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.compare.types import ModelGroup
from fovea.ops.lab import lightness, rgb_to_lab
from fovea.runs.read import read_run
from fovea.tasks.colorization.compare import ColourComparison
from fovea.tasks.colorization.predicted import ColourPredictions, colour
from fovea.tasks.colorization.report import sections, without_colour

GROUPS = ["best", "best", "worst", "first"]


def run_dir(path, *, shift=0.0, count=4):
    draw = np.random.default_rng(0)
    (path / "predictions").mkdir(parents=True)
    error = draw.random(count) * 20 + shift
    np.savez(
        path / "predictions" / "test.npz", ids=np.array([f"<{i}>.png" for i in range(count)]), ab_error=error,
        grey_error=np.full(count, 12.0), psnr=30 - error, colourfulness=np.full(count, 20.0),
        true_colourfulness=np.full(count, 30.0), pixels=np.arange(count, dtype=float),
    )  # fmt: skip
    pictures = draw.integers(0, 256, (2, len(GROUPS), 8, 9, 3), dtype=np.uint8)
    np.savez(
        path / "predictions" / "colours.npz", group=np.array(GROUPS), row=np.array([0, 1, 2, 3]),
        truth=pictures[0], pred=pictures[1], error=draw.random((len(GROUPS), 8, 9)).astype(np.float32) * 60,
    )  # fmt: skip
    metrics = {"test/ab_error": 9.5, "test/psnr": 21.0, "test/ab_error_grey": 12.0, "test/psnr_mean": 19.0}
    (path / "summary.json").write_text(json.dumps({"metrics": metrics}))
    return path


def test_the_report_shows_pictures_and_baselines(tmp_path):
    run = run_dir(tmp_path / "run")
    html = "".join(section.html() for section in sections(run))
    assert html.count("<img") == 3 and "Mean colour" in html and "9.5" in html
    assert (run / "figures" / "colours_best.png").is_file()
    (run / "predictions" / "colours.npz").write_bytes(b"PK cut off")
    (section,) = sections(run)
    assert "cannot be read" in section.html()
    assert sections(tmp_path) == []


def test_a_picture_keeps_its_lightness_and_takes_the_colours():
    image = np.random.default_rng(0).integers(90, 160, (40, 30, 3), dtype=np.uint8)
    found = colour(image, np.stack([np.full((5, 4), 12.0), np.full((5, 4), -9.0)]).astype(np.float32))
    before, after = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (image, found))
    assert found.shape == image.shape
    assert (lightness(before) - lightness(after)).abs().max() < 0.5
    assert rgb_to_lab(after)[0, 1:].mean((1, 2)).tolist() == pytest.approx([12, -9], abs=0.2)
    assert np.ptp(without_colour(image).astype(int), axis=2).max() == 0
    with pytest.raises(ValueError, match="a and b"):
        colour(image, np.zeros((313, 40, 30), np.float32))


def test_bands_leave_no_seam(monkeypatch):
    from fovea.tasks.colorization import predicted as predicted_colours

    image = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)
    ab = np.random.default_rng(1).normal(0, 20, (2, 11, 7)).astype(np.float32)
    whole = colour(image, ab)
    monkeypatch.setattr(predicted_colours, "BAND", 20)
    assert np.array_equal(colour(image, ab), whole)


def test_predict_leaves_coloured_pictures_a_table_and_a_sheet(tmp_path):
    paths = [str(tmp_path / "in" / name) for name in ("a.jpg", "b.jpg")]
    sink = ColourPredictions(out_dir=tmp_path, paths=paths, classes=[])
    sink.add(paths[0], np.full((20, 31, 3), 128, np.uint8), np.full((2, 20, 31), 30, np.float32), None)
    sink.add(paths[1], np.full((9, 9, 3), 128, np.uint8), np.zeros((2, 5, 5), np.float32), None)
    assert "predictions.csv" in sink.finish()
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.jpg"]
    assert float(rows[0]["colourfulness"]) > 10 > 1 > float(rows[1]["colourfulness"])
    assert Image.open(tmp_path / rows[0]["picture"]).size == (31, 20)
    assert (tmp_path / "predictions.png").is_file()
    ColourPredictions(out_dir=tmp_path, paths=paths)
    assert not list((tmp_path / "coloured").iterdir())
    with pytest.raises(ValueError, match="failures_only"):
        ColourPredictions(out_dir=tmp_path, paths=[], failures_only=True)


def test_runs_are_compared_picture_by_picture(tmp_path):
    task = ColourComparison()
    runs = [read_run(run_dir(tmp_path / name, shift=shift)) for name, shift in (("a", 0.0), ("b", 2.0))]
    rows = [ModelGroup(name, [run], [task.read(run)]) for name, run in zip("ab", runs, strict=True)]
    assert rows[0].scores[0].digests == rows[1].scores[0].digests
    assert (rows[0].scores[0].values - rows[1].scores[0].values).tolist() == pytest.approx([2.0] * 4)
    _, headers, lines = task.table(rows)
    assert headers == ["Score", "Grey", "Truth", "a", "b"]
    assert lines[0][4] - lines[0][3] == pytest.approx(2.0)
    (section,) = task.sections(rows, rows[0], lambda ids: {}, tmp_path)
    assert "&lt;0&gt;.png" in section.html()
    assert task.read(read_run(tmp_path)) is None
    with np.load(tmp_path / "a" / "predictions" / "test.npz") as old:
        np.savez(tmp_path / "a" / "predictions" / "test.npz", ids=old["ids"])
    with pytest.raises(ValueError, match="another task"):
        task.read(runs[0])
