import json

import numpy as np
import pytest

from fovea.compare.examples import PairedExamples
from fovea.compare.types import ModelGroup
from fovea.ops.ab_regression import Regression
from fovea.runs.examples import sections as examples
from fovea.runs.read import read_run
from fovea.tasks.colorization.report import sections
from fovea.tasks.colorization.view import ColourView

GALLERIES = ["colours_first", "colours_best", "colours_worst"]


def view(**options):
    return ColourView(encoding=Regression(), **options)


def run_dir(path, *, shift=0.0, count=4):
    draw = np.random.default_rng(0)
    (path / "predictions").mkdir(parents=True)
    error = draw.random(count) * 20 + shift
    np.savez(
        path / "predictions" / "test.npz", ids=np.array([f"<{i}>.png" for i in range(count)]), ab_error=error,
        grey_error=np.full(count, 12.0), psnr=30 - error, colourfulness=np.full(count, 20.0),
        true_colourfulness=np.full(count, 30.0), target=np.arange(count, dtype=float), score=30 - error,
    )  # fmt: skip
    arrays = {"labelling": np.array("{}")}
    for name in GALLERIES:
        image, answer, truth = draw.integers(0, 256, (3, 2, 8, 9, 3), dtype=np.uint8)
        kept = {
            "ids": np.array(["<a>.png", "b.png"]),
            "image": image,
            "answer": answer,
            "truth": truth,
            "score": np.zeros(2),
        }
        arrays |= {f"{name}_{key}": values for key, values in kept.items()}
    np.savez(path / "predictions" / "examples.npz", **arrays)
    metrics = {"test/ab_error": 9.5, "test/psnr": 21.0, "test/ab_error_grey": 12.0, "test/psnr_mean": 19.0}
    (path / "summary.json").write_text(json.dumps({"metrics": metrics}))
    return path


def test_the_report_shows_baselines_and_images(tmp_path):
    run = run_dir(tmp_path / "run")
    html = "".join(section.html() for section in [*sections(run), *examples(read_run(run), view)])
    assert html.count("<img") == 2 * 3 and "Mean colour" in html and "9.5" in html
    assert {path.name for path in (run / "figures").iterdir()} == {f"{name}.png" for name in GALLERIES}
    (run / "predictions" / "test.npz").write_bytes(b"PK cut off")
    with pytest.raises(ValueError, match=r"test\.npz cannot be read"):
        sections(run)
    assert sections(tmp_path) == []


def test_runs_are_compared_image_by_image(tmp_path):
    task = PairedExamples(view())
    runs = [read_run(run_dir(tmp_path / name, shift=shift)) for name, shift in (("a", 0.0), ("b", 2.0))]
    rows = [ModelGroup(name, [run], [task.read(run)]) for name, run in zip("ab", runs, strict=True)]
    assert rows[0].scores[0].digests == rows[1].scores[0].digests
    assert (rows[0].scores[0].values - rows[1].scores[0].values).tolist() == pytest.approx([2.0] * 4)
    _, headers, lines = task.table(rows)
    assert headers == ["Score", "Grey", "Ground truth", "a", "b"]
    assert lines[0][4] - lines[0][3] == pytest.approx(2.0)
    pictures = {f"<{i}>.png": np.full((8, 9, 3), 90, np.uint8) for i in range(4)}
    (section,) = task.sections(rows, rows[0], lambda ids: {name: pictures[name] for name in ids}, tmp_path)
    assert "&lt;0&gt;.png" in section.html() and "a better than b by 1 or more: 4 of 4" in section.html()
    assert task.read(read_run(tmp_path)) is None
    with np.load(tmp_path / "a" / "predictions" / "test.npz") as old:
        np.savez(tmp_path / "a" / "predictions" / "test.npz", ids=old["ids"])
    with pytest.raises(ValueError, match=r"test\.npz "):
        task.read(runs[0])
