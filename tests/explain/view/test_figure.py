import numpy as np
from PIL import Image

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.view.figure import write_sheet
from fovea.runs.report import explanations
from helpers.toy_explained import bump


def sheet(folder, *, epoch=0, count=3, **options):
    maps = {"grad_cam": np.stack([bump(16)] * count), "rollout": "no attention"}
    return write_sheet(
        folder,
        epoch=epoch,
        ids=[f"{i}.png" for i in range(count)],
        pictures=np.full((count, 16, 16, 3), 90, np.uint8),
        predicted=[SelectedClass(0, "cat", 0.5)] * count,
        truth=["cat", "dog", None, *[None] * count][:count],
        maps=maps,
        **options,
    )


def test_a_sheet_marks_what_is_right_and_what_is_wrong(tmp_path):
    with Image.open(sheet(tmp_path)) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    for ink in ((26, 107, 60), (163, 32, 32)):
        assert (pixels == ink).all(axis=1).any()


def test_many_images_are_broken_into_groups(tmp_path):
    with Image.open(sheet(tmp_path, epoch=1, count=8)) as few, Image.open(sheet(tmp_path, count=20)) as many:
        assert many.width == few.width and many.height > 2 * few.height


def test_the_report_shows_the_last_sheet_and_the_first(tmp_path):
    assert explanations(tmp_path) == []
    for epoch in (0, 3, 12):
        sheet(tmp_path / "explain", epoch=epoch)
    (tmp_path / "explain" / "other.png").write_bytes(b"")
    (found,) = explanations(tmp_path)
    html = found.html()
    assert html.index("Epoch 12.") < html.index("after epoch 0")
    assert html.count("<img") == 2
