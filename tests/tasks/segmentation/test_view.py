import csv

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.ops.segmentation import confusion, iou_per_class
from fovea.predict.writer import PredictionWriter
from fovea.tasks.segmentation.view import MaskView

CLASSES = ["background", "cat, the", "dog"]
PALETTE = [[0, 0, 0], [200, 10, 10], [10, 200, 10]]


@pytest.fixture
def view():
    return MaskView(classes=CLASSES, labelling={"palette": PALETTE})


@pytest.fixture
def masks():
    draw = np.random.default_rng(0)
    return {f"in/{n}.jpg": draw.integers(0, 3, (5 * n, 7), dtype=np.uint8) for n in (1, 2, 3)}


def maps(count=4):
    draw = torch.Generator().manual_seed(0)
    preds, target = (torch.randint(0, 3, (count, 6, 6), generator=draw) for _ in range(2))
    target[1, :2], target[3] = 255, 255
    return {"preds": preds, "target": target}


def test_an_image_scores_by_the_iou_of_the_classes_in_it(view):
    output = maps()
    found = view.measure(output, {})
    each = confusion(output["preds"], output["target"], 3)
    torch.testing.assert_close(found.rows["score"], iou_per_class(each).nanmean(1), equal_nan=True)
    assert found.rows["score"].isnan().tolist() == [False, False, False, True]  # all of it is ignored
    torch.testing.assert_close(found.sums["confusion"], each.sum(0))
    for key, counts in (("target", each.sum(2)), ("found", each.sum(1))):
        assert found.rows[key].tolist() == counts.tolist()
    for i in range(3):
        said = view.lines(found.answer[i].numpy(), found.truth[i].numpy())
        assert said == [f"IoU {float(found.rows['score'][i]):.3f}"]


def test_kept_maps_are_bytes(view):
    found = view.measure(maps(), {})
    assert found.answer.dtype == found.truth.dtype == torch.uint8


def write(folder, view, masks, **options):
    writer = PredictionWriter(view, out_dir=folder, paths=list(masks), **options)
    for path, mask in masks.items():
        writer.add(path, np.full((*mask.shape, 3), 120, np.uint8), mask, None)
    return writer.finish()


def test_masks_keep_size_classes_and_colours(tmp_path, view, masks):
    said = write(tmp_path, view, masks)
    for path, mask in masks.items():
        with Image.open(tmp_path / "masks" / f"{path[3]}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), mask)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.array(PALETTE)[mask])
        assert path in said
    assert len(list((tmp_path / "annotated").iterdir())) == 3 and (tmp_path / "predictions.png").is_file()


def test_the_table_has_the_share_of_every_class(tmp_path, view, masks):
    write(tmp_path, view, masks, pictures=False)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "mask", *CLASSES] and [row["path"] for row in rows] == list(masks)
    for row, mask in zip(rows, masks.values(), strict=True):
        assert [float(row[c]) for c in CLASSES] == pytest.approx(
            [(mask == k).mean() for k in range(3)], rel=1e-5
        )
        assert (tmp_path / row["mask"]).is_file()
    assert not (tmp_path / "annotated").exists()


def test_a_second_call_leaves_nothing_of_the_first(tmp_path, view, masks):
    write(tmp_path, view, masks)
    write(tmp_path, view, {"in/9.jpg": np.zeros((1, 1), np.uint8)})
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["9.png"]


def test_nothing_but_background_is_said_so_and_failures_are_for_classes(tmp_path, view, masks):
    assert "background 100.0 %" in write(tmp_path, view, {"in/9.jpg": np.zeros((1, 1), np.uint8)})
    with pytest.raises(ValueError, match="failures_only=true"):
        write(tmp_path, view, masks, failures_only=True)
    with pytest.raises(ValueError, match="the mask is"):
        view.decode(np.zeros((4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))


def test_a_wrong_window_is_refused_before_anything_is_written():
    with pytest.raises(ValueError, match="window=-3"):
        MaskView(classes=CLASSES, window=-3)


def test_the_truth_is_drawn_beside_the_answer(view):
    answer, truth = np.zeros((2, 80, 120), np.uint8)
    truth[:40], answer[:] = 255, 1
    drawn = view.draw(np.full((80, 120, 3), 90, np.uint8), answer, truth)
    width = 120 + 4
    assert drawn.shape[1] == 4 * width - 4 and drawn.shape[0] > 80  # with a legend
    assert (drawn[:80, 2 * width : 2 * width + 120] == PALETTE[1]).all()
    assert (drawn[:40, 3 * width :] == 255).all() and (drawn[50, 3 * width + 5] == (214, 39, 40)).all()
    alone = view.draw(np.full((80, 120, 3), 90, np.uint8), answer)
    assert alone.shape[1] == 200


def test_a_class_that_is_not_there_is_said_to_be_false(view):
    right = {"target": np.array([4, 4, 0]), "found": np.array([4, 4, 0]), "right": np.array([4, 4, 0])}
    good = {**right, "score": 1.0}
    false = {**right, "found": np.array([4, 3, 1]), "right": np.array([4, 3, 0]), "score": 0.6}
    assert view.differ(good, false) == ["IoU 1.00 / 0.60", "false: dog"]
    missed = {**right, "found": np.array([6, 2, 0]), "right": np.array([4, 2, 0]), "score": 0.6}
    assert view.differ(good, missed)[1] == "cat, the 1.00 / 0.50"


def test_classes_named_like_columns_of_the_table_stay_classes(tmp_path):
    view = MaskView(classes=["path", "mask", "correct", "cat"])
    writer = PredictionWriter(view, out_dir=tmp_path, paths=["a.png"], pictures=False)
    writer.add("a.png", np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 2, np.uint8), 1)
    assert "known class" not in writer.finish()
    (row,) = csv.DictReader((tmp_path / "predictions.csv").open(encoding="utf-8", newline=""))
    assert row == {
        "path": "a.png", "mask": "masks/a.png", "path 0": "0", "mask 1": "0", "correct 2": "1", "cat": "0",
    }  # fmt: skip
