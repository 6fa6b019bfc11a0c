import base64
import re

import numpy as np
import pytest
from PIL import Image

from fovea.page.blocks import (
    Bars,
    Beside,
    Code,
    Facts,
    Fold,
    Gallery,
    Heading,
    Picture,
    Section,
    Table,
    Text,
    encode,
)
from fovea.page.document import document
from fovea.page.plots import new_figure

BAD = "</p><script>alert('x')</script>\"&\udcff{{ 1 }}"
PIXELS = np.zeros((4, 6, 3), np.uint8)


def blocks(path, text):
    Image.fromarray(PIXELS).save(path)
    return [
        Text(text, text), Heading(text), Code(text, text, copy=True), Facts([(text, text, text)]),
        Table([text], [[text]], text), Picture(path, text, text), Bars([1.0, 2.0], text),
        Gallery([(*encode(PIXELS), [text], text)], text), Fold(text, [Text(text)]), Beside([Text(text)]),
        Section(text, [Section(text, [Text(text)])]),
    ]  # fmt: skip


@pytest.mark.parametrize("k", range(11))
def test_no_text_becomes_markup_in_any_block(tmp_path, k):
    html = blocks(tmp_path / "a.png", BAD)[k].html()
    assert "&lt;script&gt;alert(&#39;x&#39;)" in html and "{{ 1 }}" in html
    plain = blocks(tmp_path / "a.png", "x")[k].html()
    assert re.findall(r"<[^>]*?[\s>]", html) == re.findall(r"<[^>]*?[\s>]", plain)  # the same tags


def test_a_document_escapes_what_it_is_given_and_allows_nothing_to_be_loaded():
    page = document(BAD, badge=("good", BAD), about=BAD, body=[Text(BAD)], footer=BAD, layout="wide")
    assert "<script" not in page and page.count("&lt;script&gt;") == 6
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert page.encode("utf-8") and '<body class="wide">' in page


def test_pictures_have_the_size_that_they_were_drawn_for(tmp_path):
    figure = new_figure(width=2.0, height=1.0)
    assert 'width="192"' in Picture(figure, "drawn").html()
    figure.savefig(tmp_path / "a.png")
    assert 'width="192"' in Picture(tmp_path / "a.png", "saved").html()


def test_an_animation_is_shown_at_the_size_of_its_pixels(tmp_path):
    frames = [Image.new("L", (30, 20), shade) for shade in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    html = Picture(tmp_path / "a.gif", "moving", "both").html()
    assert 'width="30"' in html and "<figcaption>both" in html
    data = base64.b64decode(re.search(r"data:image/gif;base64,([^\"]*)", html)[1])
    assert data == (tmp_path / "a.gif").read_bytes()


def test_a_gallery_names_its_images_unless_columns_stand_for_them():
    items = [(*encode(PIXELS), ["cat"], "a.png")]
    assert "a.png</small>" in Gallery(items).html() and "--columns: auto-fill" in Gallery(items).html()
    assert "</small>" not in Gallery(items, columns=3).html()
    assert "--columns: 3" in Gallery(items, columns=3).html()


def test_columns_of_numbers_go_right_and_blanks_do_not_count():
    html = Table(("a", "b"), [("x", 1), ("y", None)]).html()
    assert "<td>x</td><td class=num>1</td>" in html and "<td class=num>–</td>" in html
    assert "class=num" not in Table(("a",), [(None,)]).html()
    assert "<td class=num>1,200</td><td>0.5000</td>" in Table(("a", "b"), [(1200, 0.5)], align="rl").html()
