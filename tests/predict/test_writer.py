import csv

import numpy as np
import pytest
from PIL import Image

from fovea.errors import UsageError
from fovea.files import unique_names
from fovea.page.label import annotate
from fovea.predict.writer import PredictionWriter
from fovea.tasks.classification.view import ClassView

CLASSES = ["cat", 'say "x", y', "猫"]
PATHS = ["a/ü, 1.png", "b/ü, 1.png", "line\nbreak.png", "B/Ü, 1.jpg"]
PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
TARGETS = [0, 1, None, None]


def write(folder, *, paths=PATHS, top_k=5, side=8, targets=TARGETS, **options):
    """Write predictions of grey images, each of another level; return what is printed."""
    view = ClassView(classes=CLASSES, top_k=top_k)
    writer = PredictionWriter(view, out_dir=folder, paths=paths, **options)
    for i, path in enumerate(paths):
        image = np.full((side, side, 3), 40 * (i % 4), np.uint8)
        writer.add(path, image, np.log(PROBS[i % 4]), targets[i % 4])
    return writer.finish()


def test_csv_round_trip(tmp_path):
    write(tmp_path / "new")
    with (tmp_path / "new" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == PATHS
    assert [row["predicted"] for row in rows] == ["cat", "猫", 'say "x", y', "cat"]
    assert [row["true"] for row in rows] == ["cat", 'say "x", y', "", ""]
    assert [row["correct"] for row in rows] == ["true", "false", "", ""]
    ranks = np.array(
        [[float(row[key]) for key in ("probability", "top2_probability", "top3_probability")] for row in rows]
    )
    np.testing.assert_allclose(ranks, -np.sort(-PROBS, axis=1), rtol=1e-5)
    assert "top4" not in rows[0]


def test_csv_survives_a_file_name_that_is_no_text(tmp_path):
    write(tmp_path, paths=["bad\udcff.png"], top_k=1, pictures=False)
    text = (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert "bad\\udcff.png" in text and text.splitlines()[0] == "path,predicted,probability,true,correct"


def test_names_from_elsewhere_are_no_formulas_of_a_spreadsheet_and_numbers_stay(tmp_path):
    names = ["=HYPERLINK(A1)", "+cmd|' /C calc'!A0", "@SUM(1)", "-1e3"]
    writer = PredictionWriter(ClassView(classes=names[:3]), out_dir=tmp_path, paths=names)
    for name in names:
        writer.add(name, np.zeros((8, 8, 3), np.uint8), np.log(PROBS[0][:3]), 1)
    writer.finish()
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"'{name}" for name in names[:3]] + ["-1e3"]
    assert all(row["predicted"][0] == row["true"][0] == "'" for row in rows)


def test_same_name_in_two_folders_is_not_overwritten(tmp_path):
    write(tmp_path)
    paths = [tmp_path / "annotated" / name for name in unique_names(PATHS, suffix=".jpg")]
    assert len({path.name.casefold() for path in paths}) == 4
    for i, path in enumerate(paths):
        with Image.open(path) as picture:
            assert picture.getpixel((picture.width // 2, 10)) == pytest.approx((40 * i,) * 3, abs=3)
    assert (tmp_path / "predictions.png").exists()


def test_a_second_call_leaves_nothing_of_the_first(tmp_path):
    write(tmp_path)
    assert "1 of 1 images" in write(tmp_path, paths=["in/9.jpg"])
    assert [path.name for path in (tmp_path / "annotated").iterdir()] == ["9.jpg"]


def test_failures_are_for_answers_that_are_right_or_wrong(tmp_path):
    assert "1 of 4 images" in write(tmp_path, failures_only=True)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [PATHS[1]]
    view = ClassView(classes=CLASSES)
    view.columns = ["colourfulness"]
    with pytest.raises(UsageError, match="failures_only=true"):
        PredictionWriter(view, out_dir=tmp_path, paths=[], failures_only=True)
    assert (tmp_path / "predictions.csv").is_file()  # refused before the earlier ones are deleted


def test_pictures_are_small_however_large_the_image(tmp_path):
    write(tmp_path, paths=PATHS[:1], side=2000)
    with Image.open(tmp_path / "predictions.png") as sheet:
        assert max(sheet.size) < 300
    with Image.open(tmp_path / "annotated" / unique_names(PATHS[:1], suffix=".jpg")[0]) as picture:
        assert picture.width == 1280


def test_rows_are_there_at_once_and_pictures_are_a_sample_spread_over_all(tmp_path):
    paths = [f"{i:03}.png" for i in range(50)]
    view = ClassView(classes=CLASSES)
    writer = PredictionWriter(view, out_dir=tmp_path, paths=paths, pictures=5)
    for i, path in enumerate(paths):
        writer.add(path, np.zeros((8, 8, 3), np.uint8), np.log(PROBS[0]), None)
        assert len((tmp_path / "predictions.csv").read_text().splitlines()) == i + 2
    drawn = sorted(path.name for path in (tmp_path / "annotated").iterdir())
    assert drawn == ["000.jpg", "010.jpg", "020.jpg", "030.jpg", "040.jpg"]
    assert len((tmp_path / ".predict_files").read_text().splitlines()) == 6  # what was written, no more
    assert "5 images drawn" in writer.finish() and "annotate=all" in writer.finish()
    write(tmp_path, paths=paths, pictures=3, failures_only=True)
    assert len(list((tmp_path / "annotated").iterdir())) == 3


def test_the_printed_table_shortens_and_counts_the_rest(tmp_path):
    paths = ["data/" + "deep/" * 30 + f"{i}.png" for i in range(43)]
    lines = write(tmp_path, paths=paths, pictures=False).splitlines()
    assert max(map(len, lines)) <= 110 and "0.png" in lines[2] and "cat 0.700" in lines[2]
    assert 'true: say "x", y' in lines[3]
    assert any("3 more" in line and "predictions.csv" in line for line in lines)


def test_output_names_are_unique_and_legal():
    paths = [
        "x/a.png",
        "y/a.png",
        "x__a.png.jpg",
        "q/y__a.png",
        "z/a:b*.png",
        "n" * 300 + ".png",
        ".png",
        "x/a.png",
    ]
    names = unique_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(len(name.encode()) <= 255 and not set(name) & set('/\\:*?"<>|\n') for name in names)
    assert unique_names(["some/where/cat.jpg"]) == ["cat.png"]


@pytest.mark.parametrize(
    "shape", [(28, 28), (28, 28, 1), (200, 300, 3), (40, 50, 4), (300, 3, 3), (3, 300, 1), (1, 1)]
)
def test_annotate_keeps_the_picture_and_adds_a_bar(shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    drawn = annotate(image, ["cat  0.912", "true: 猫"], ok=False)
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3 and drawn.shape[1] >= 128
    assert (drawn[-30:] < 128).any()  # text
    if shape == (200, 300, 3):
        np.testing.assert_array_equal(drawn[:200], image)


def test_annotate_marks_right_and_wrong_beyond_colour():
    image = np.zeros((150, 150, 3), np.uint8)
    bars = [annotate(image, ["cat"], ok=ok)[160:].mean(axis=2) < 200 for ok in (True, False, None)]
    assert (bars[0] != bars[1]).any() and (bars[1] != bars[2]).any()


def test_annotate_never_draws_beyond_its_width():
    drawn = annotate(np.zeros((140, 140, 3), np.uint8), ["a very long class name " * 9 + "0.5"], ok=None)
    assert (drawn[150:, -4:] == 255).all()


def test_annotate_refuses_floats():
    with pytest.raises(ValueError, match="uint8"):
        annotate(np.zeros((4, 4, 3), np.float32), ["x"], ok=None)
