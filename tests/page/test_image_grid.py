import numpy as np
import pytest
from PIL import Image

from fovea.page.image_grid import GAP, Row, Tile, beside, draw_row, draw_sheet, grid, sheet, stacked, wrap

RED = np.zeros((10, 20, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


def red(pixels):
    return (pixels == (255, 0, 0)).all(axis=2)


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_picture_has_the_width_of_its_tile_and_its_words_below():
    drawn = draw_row(Row(tiles=[Tile(picture=RED, lines=["cat", "0.9"])]), side=100)
    assert red(drawn).sum() == 100 * 50 and drawn.shape[1] == 100
    assert drawn[54:].min() < 128  # ink


def test_words_of_a_row_begin_at_one_height():
    tall = RED.transpose(1, 0, 2)
    drawn = draw_row(Row(tiles=[Tile(picture=RED), Tile(picture=tall), None]), side=100)
    rows, columns = np.nonzero(red(drawn))
    assert rows[columns < 100].max() == rows[columns > 100].max() == 99
    assert rows[columns < 100].min() == 50 and drawn.shape[1] == 3 * 100 + 2 * GAP


def test_a_tile_without_a_picture_says_why():
    drawn = draw_row(Row(tiles=[Tile(picture=None, instead="no attention in this net")]), side=100)
    assert drawn[:100, :100].max() < 255 and drawn[5:30, 8:90].min() < 128


def test_long_rows_are_broken_and_nothing_is_lost():
    drawn = draw_row(Row(tiles=[Tile(picture=RED)] * 5, heading="model"), side=20, columns=2)
    assert red(drawn).sum() == 5 * 20 * 10


@pytest.mark.parametrize("count", [1, 3, 40])
def test_pictures_share_the_width_of_a_page(tmp_path, count):
    path = grid(
        tmp_path / "new" / "a.png", [[Tile(picture=RED)] * count, [Tile(picture=RED)]], titles=["a", "b"]
    )
    assert read(path).shape[1] <= 1260 and [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_a_title_has_its_room_over_a_single_picture(tmp_path):
    narrow = read(grid(tmp_path / "a.png", [[Tile(picture=RED)]], titles=["a"]))
    wide = read(grid(tmp_path / "b.png", [[Tile(picture=RED)]], titles=["a long title " * 4]))
    assert wide.shape[1] > narrow.shape[1]


def test_a_sheet_centres_its_tiles(tmp_path):
    pixels = read(sheet(tmp_path / "a.png", [RED, RED[:, :10], RED], columns=2))
    assert red(pixels).sum() == 2 * 200 + 100
    columns = np.nonzero(red(pixels[: GAP + 10]))[1]
    assert set(columns) == {*range(GAP, GAP + 20), *range(2 * GAP + 25, 2 * GAP + 35)}


def test_a_sheet_of_any_text_is_drawn(tmp_path):
    rows = [
        Row(heading="\udcff $x$ 猫" * 50, ok=False, tiles=[]),
        Row(tiles=[Tile(picture=RED, lines=["\n"])]),
    ]
    path = draw_sheet(tmp_path / "a.png", rows, title=["id" * 400, "more"], signs=[False, True])
    assert read(path).shape[1] <= 1500


def test_pieces_are_put_together_on_white():
    assert beside([RED, RED[:4]], gap=2).shape == (10, 42, 3)
    assert stacked([RED, RED[:, :4]], gap=2, margin=3).shape == (28, 26, 3)
    assert (beside([RED, RED[:4]], gap=2)[5:, 22:] == 255).all()


def test_text_is_broken_at_words_and_cut_at_the_last_line():
    assert wrap("one two", size=11, width=1000, lines=3) == ["one two"]
    assert wrap("word " * 50, size=11, width=80, lines=3)[-1] == "…"
