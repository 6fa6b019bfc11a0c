import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.content_style import EMBEDDED, ContentStyle, find_picture
from helpers import painted


def test_content_and_style_come_in_turn(tmp_path):
    content, style = painted.pictures(tmp_path)
    data = ContentStyle(content=content, style=style, steps=5)
    assert len(data) == 5 and data.ids == [content, style, content, style, content]
    assert data.load(0)["image"].shape == (24, 32, 3) and data.load(1)["image"].shape == (40, 30, 3)
    assert [data.load(i)["label"] for i in range(5)] == [0, 1, 0, 1, 0]
    assert len(ContentStyle(content=content, style=style, split="val")) == 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_any_mode_is_read(mode, tmp_path):
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    image = (
        Image.fromarray(np.full((9, 7), 40000, dtype=np.uint16))
        if mode == "I;16"
        else Image.new(mode, (7, 9))
    )
    image.save(path)
    assert ContentStyle(content=path, style="flower").load(0)["image"].shape == (9, 7, 3)


@pytest.mark.parametrize(
    ("shape", "longest", "size"),
    [((40, 20), 10, [10, 5]), ((20, 40), 64, [32, 64]), ((1, 300), 100, [1, 100])],
)
def test_the_size_has_the_aspect_of_the_content(shape, longest, size, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(path)
    assert ContentStyle.find_size(longest=longest, content=path, style="flower", steps=3) == size


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_pictures_are_there(name):
    assert find_picture(name, key="content").is_file()


def test_embedded_pictures_are_the_source(tmp_path):
    content, _ = painted.pictures(tmp_path)
    assert ContentStyle(content="china", style="flower").source == "embedded"
    assert ContentStyle(content=content, style="flower").source == "real"


def test_bad_pictures_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"style=/nowhere.jpg: .* china, flower, hopper"):
        ContentStyle(content="china", style="/nowhere.jpg")
    (tmp_path / "words.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"words.jpg cannot be read"):
        ContentStyle(content=tmp_path / "words.jpg", style="flower")
    with pytest.raises(FileNotFoundError, match="content="):
        ContentStyle(content=tmp_path, style="flower")
    with pytest.raises(ValueError, match=r"data.steps=1"):
        ContentStyle(content="china", style="flower", steps=1)
