import io
import json

import numpy as np
import pytest
from PIL import Image

from fovea.tasks.style_transfer.report import animate, number, sections, spread
from fovea.tasks.style_transfer.view import write


@pytest.fixture
def painted_run(tmp_path):
    (tmp_path / "images").mkdir()
    names = ["content", "style", *(f"step_{step:04d}" for step in (0, 50, 100, 9950, 10000))]
    for i, name in enumerate(names):
        write(tmp_path / "images" / f"{name}.png", np.full((6, 8, 3), 30 * i, dtype=np.uint8))
    write(tmp_path / "result.png", np.zeros((6, 8, 3), dtype=np.uint8))
    return tmp_path


def test_shows_the_pictures_the_result_and_the_way(painted_run):
    (section,) = sections(painted_run)
    html = section.html()
    assert html.count("<img") == 7  # three in one, five on the way, all of them moving
    assert "step 10000" in html and "image/gif" in html
    assert (painted_run / "figures" / "style_transfer.png").is_file()


def test_leaves_out_what_had_no_weight(painted_run):
    with Image.open((sections(painted_run), painted_run / "figures" / "style_transfer.png")[1]) as image:
        whole = image.width
    (painted_run / "config.yaml").write_text(json.dumps({"task": {"style_weight": 0.0}}))
    sections(painted_run)
    with Image.open(painted_run / "figures" / "style_transfer.png") as image:
        assert image.width < whole


def test_an_unfinished_run_shows_what_there_is(painted_run):
    (painted_run / "result.png").unlink()
    assert "step 50" in sections(painted_run)[0].html()
    assert sections(painted_run / "nothing") == []


def test_the_animation_goes_through_all_pictures(painted_run):
    files = sorted((painted_run / "images").glob("step_*.png"), key=number)
    assert [number(f) for f in files] == [0, 50, 100, 9950, 10000]
    assert Image.open(io.BytesIO(animate(files))).n_frames == 5
    assert [number(f) for f in spread(files, 3)] == [0, 100, 10000]
