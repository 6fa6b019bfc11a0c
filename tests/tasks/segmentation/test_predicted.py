import csv

import numpy as np
import pytest
from PIL import Image

from fovea.tasks.segmentation.predicted import MaskPredictions

CLASSES = ["background", "cat, the", "dog"]
PALETTE = [[0, 0, 0], [200, 10, 10], [10, 200, 10]]


@pytest.fixture
def masks():
    draw = np.random.default_rng(0)
    return {f"in/{n}.jpg": draw.integers(0, 3, (5 * n, 7), dtype=np.uint8) for n in (1, 2, 3)}


def write(folder, masks, **options):
    sink = MaskPredictions(
        out_dir=folder, paths=list(masks), classes=CLASSES, labelling={"palette": PALETTE}, **options
    )
    for path, mask in masks.items():
        sink.add(path, np.full((*mask.shape, 3), 120, np.uint8), mask, None)
    return sink.finish()


def test_masks_keep_size_classes_and_colours(tmp_path, masks):
    said = write(tmp_path, masks)
    for path, mask in masks.items():
        with Image.open(tmp_path / "masks" / f"{path[3]}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), mask)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.array(PALETTE)[mask])
        assert path in said
    assert len(list((tmp_path / "annotated").iterdir())) == 3 and (tmp_path / "predictions.png").is_file()


def test_the_table_has_the_share_of_every_class(tmp_path, masks):
    write(tmp_path, masks, pictures=False)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "mask", *CLASSES] and [row["path"] for row in rows] == list(masks)
    for row, mask in zip(rows, masks.values(), strict=True):
        assert [float(row[c]) for c in CLASSES] == pytest.approx(
            [(mask == k).mean() for k in range(3)], rel=1e-5
        )
        assert (tmp_path / row["mask"]).is_file()
    assert not (tmp_path / "annotated").exists()


def test_a_second_call_leaves_nothing_of_the_first(tmp_path, masks):
    write(tmp_path, masks)
    write(tmp_path, {"in/9.jpg": np.zeros((1, 1), np.uint8)})
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["9.png"]
    assert [p.name for p in (tmp_path / "annotated").iterdir()] == ["9.png"]


def test_nothing_but_background_is_said_so_and_failures_are_for_classes(tmp_path, masks):
    assert "background 100.0 %" in write(tmp_path, {"in/9.jpg": np.zeros((1, 1), np.uint8)})
    with pytest.raises(ValueError, match="failures_only=true is for one class per image"):
        write(tmp_path, masks, failures_only=True)
    sink = MaskPredictions(out_dir=tmp_path, paths=["x"], classes=CLASSES)
    with pytest.raises(ValueError, match="the mask is"):
        sink.add("x", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 3), np.uint8), None)
