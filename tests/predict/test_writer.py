import csv

import numpy as np
import pytest
from PIL import Image

from fovea.files import unique_names
from fovea.predict.writer import (
    Prediction,
    annotate,
    prediction_table,
    write_annotated,
    write_predictions,
)

CLASSES = ["cat", 'say "x", y', "猫"]
PATHS = ["a/ü, 1.png", "b/ü, 1.png", "line\nbreak.png", "B/Ü, 1.jpg"]
PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)


def predictions():
    targets = [0, 1, None, None]
    return [
        Prediction(path, probs, target) for path, probs, target in zip(PATHS, PROBS, targets, strict=True)
    ]


def test_csv_round_trip(tmp_path):
    path = write_predictions(tmp_path / "new", predictions(), CLASSES)
    with path.open(encoding="utf-8", newline="") as file:
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
    path = write_predictions(tmp_path, [Prediction("bad\udcff.png", PROBS[0])], CLASSES, top_k=1)
    assert "bad\\udcff.png" in path.read_text(encoding="utf-8")


def test_same_name_in_two_folders_is_not_overwritten(tmp_path):
    images = (np.full((8, 8, 1), 40 * i, np.uint8) for i in range(4))
    paths = write_annotated(tmp_path, predictions(), images, CLASSES)
    assert len({path.name.casefold() for path in paths}) == 4
    for i, path in enumerate(paths):
        with Image.open(path) as picture:
            assert picture.getpixel((picture.width // 2, 10)) == (40 * i,) * 3
    assert (tmp_path / "predictions.png").exists()


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


def test_prediction_table_shortens_and_says_what_is_missing():
    rows = [Prediction("data/" + "deep/" * 30 + f"{i}.png", PROBS[0]) for i in range(5)]
    text = prediction_table(rows, CLASSES, limit=3)
    assert max(map(len, text.splitlines())) <= 110
    assert text.endswith("… and 2 more, all in predictions.csv") and "0.png" in text and "true" not in text
    assert "true" in prediction_table(predictions(), CLASSES)
