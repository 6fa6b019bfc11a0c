import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.view import page as explain_page
from fovea.explain.view.attribution import Attribution
from fovea.explain.view.page import ExplainPage
from fovea.page.blocks import Text
from helpers.toy_explained import CAT, bump, record

NASTY = '</td><script>alert("x")</script>&\'.png'


def new_page(tmp_path, **options):
    return ExplainPage(
        out_dir=tmp_path / "out", models=["net"], command="python src/explain.py", facts=[("Input", "x", "")],
        **options,
    )  # fmt: skip


def test_a_page_shows_images_by_methods_by_layers_by_models(tmp_path):
    page = new_page(tmp_path)
    for id in ("a.png", "b.png"):
        page.add(
            [
                record(
                    id=id,
                    model=model,
                    attributions=[
                        Attribution(method="grad_cam", layer=layer, selected=CAT, map=bump())
                        for layer in ("layer3", "layer4")
                    ],
                )
                for model in ("net", "other")
            ],
            name=id,
        )
    html = page.finish().read_text()
    head = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", html.split("</thead>")[0])
    assert head == ["model", "input", "grad_cam<small>layer3</small>", "grad_cam<small>layer4</small>"]
    rows = [row for body in re.findall(r"<tbody.*?</tbody>", html, re.S) for row in body.split("<tr>")[1:]]
    assert [re.search(r"<b>(.*?)</b>", row)[1] for row in rows] == ["net", "other"] * 2
    assert all(row.count("<img") == 3 and row.count("cat 0.750") == 3 for row in rows)


def test_columns_line_up_over_models_that_have_different_maps(tmp_path):
    two = [
        Attribution(method="cam", selected=CAT, map=bump()),
        Attribution(method="cam", selected=SelectedClass(1, "dog", 0.2), map=bump()),
    ]
    page = new_page(tmp_path)
    refused = Attribution(method="rollout", problem="no attention")
    page.add([record(attributions=two), record(model="b", attributions=[refused])], name="a")
    page.add([record(id="c", attributions=two[:1])], name="c")
    html = page.finish().read_text()
    assert html.count("class no. 2") == 1
    rows = [row for body in re.findall(r"<tbody.*?</tbody>", html, re.S) for row in body.split("<tr>")[1:]]
    assert [row.count("<td") for row in rows] == [4, 4, 4]
    assert rows[1].count("<td></td>") == 2 and "no attention" in rows[1]


def test_names_cannot_become_markup_and_nothing_is_loaded(tmp_path):
    page = new_page(tmp_path)
    attributions = [
        Attribution(method=NASTY, layer=NASTY, selected=SelectedClass(0, NASTY, 0.5), map=bump()),
        Attribution(method="m", problem=NASTY),
    ]
    page.add(
        [record(id=NASTY, model=NASTY, truth=NASTY, correct=False, attributions=attributions)], name="<a&b>"
    )
    page.analysis(NASTY, NASTY, [Text(NASTY)])
    html = page.finish().read_text()
    assert "<script" not in html and "Content-Security-Policy" in html
    assert html.count("&lt;script&gt;") >= 8
    assert not re.findall(r'src="(?!data:image/)', html)
    (link,) = set(re.findall(r'href="(figures[^"]*)"', html))
    assert not set(link) & set("<>&' ")
    names = new_page(tmp_path / "other")
    names.add([record(id="bad\udcff.png")], name="bad")  # a file name that is not text
    assert names.finish().is_file()


def test_an_image_comes_alone_and_before_the_analyses(tmp_path):
    page = new_page(tmp_path)
    assert page.add([record()], name="v1.2__cat").name == "v1.2__cat.png"
    with pytest.raises(ValueError, match="one image"):
        page.add([record(id="a"), record(id="b")], name="a")
    page.analysis("Filters", "net", [Text("first")])
    with pytest.raises(ValueError, match="before analyses"):
        page.add([record()], name="b")


def test_analyses_stand_side_by_side_and_a_broken_block_spares_the_rest(tmp_path):
    class Broken:
        def html(self):
            raise OSError("disk")

    page = new_page(tmp_path)
    page.analysis("Filters", "one", [Text("first")])
    page.analysis("Filters", "two", [Text("second")])
    page.analysis("Attention", "one", [Broken(), Text("after")])
    html = page.finish().read_text()
    filters, attention = html.split("<section")[1:]
    assert re.findall(r"<h3>(.*?)</h3>", filters) == ["one", "two"]
    assert "first" in filters and "second" in filters
    assert "OSError: disk" in attention and "after" in attention
    assert "maps" not in html.split("</style>")[1]  # no images, no table
    assert html.count('<a href="#part') == 2


def test_an_empty_page_is_a_page(tmp_path):
    assert "0 images" in new_page(tmp_path).finish().read_text()


def test_later_images_are_named_with_a_link_and_the_page_is_bounded(tmp_path, monkeypatch):
    page = new_page(tmp_path, page_images=2)
    for i in range(5):
        page.add([record(id=f"{i}.png")], name=f"{i}")
    html = page.finish().read_text()
    assert html.count("<tbody") == 2 and "3 more images" in html
    assert re.findall(r'<li><a href="(.*?)"', html) == [f"figures/{i}.png" for i in (2, 3, 4)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["explain.html", "figures"]
    monkeypatch.setattr(explain_page, "MOST_BYTES", 1)
    page = new_page(tmp_path / "small")
    for i in range(3):
        page.add([record(id=f"{i}.png")], name=f"{i}")
    assert page.finish().read_text().count("<tbody") == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    page = new_page(tmp_path)
    monkeypatch.setattr(explain_page, "draw_figure", lambda path, shown: path)
    page.add([record(id="first", side=96)], name="first")
    tracemalloc.start()
    held = []
    for i in range(60):
        page.add([record(id=f"{i}.png", side=96, seed=i)], name=f"{i}")
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert page._bytes > 1_500_000  # what would be held otherwise
    assert held[-1] - held[9] < 60_000


def test_a_figure_is_bounded_however_many_methods(tmp_path):
    page = new_page(tmp_path)
    attributions = [
        Attribution(method=f"m{i}", selected=CAT, map=bump(64), signed=i % 2 == 1) for i in range(20)
    ]
    with Image.open(page.add([record(side=64, attributions=attributions)], name="a")) as figure:
        assert figure.width <= 1500 and figure.height <= 1500


@pytest.mark.slow
def test_a_figure_of_hundreds_of_maps_has_smaller_tiles(tmp_path):
    page = new_page(tmp_path)
    attributions = [Attribution(method=f"m{i}", selected=CAT, map=bump(64)) for i in range(400)]
    with Image.open(page.add([record(side=64, attributions=attributions)], name="a")) as figure:
        assert figure.width * figure.height < 40_000_000


def test_small_pictures_keep_their_pixels(tmp_path):
    small = record(side=8)
    with Image.open(new_page(tmp_path).add([small], name="a")) as figure:
        pixels = np.asarray(figure.convert("RGB"))
    tile = small.picture.repeat(28, axis=0).repeat(28, axis=1)
    rows, columns = np.where((pixels == tile[0, 0]).all(axis=2))
    top, left = rows.min(), columns[rows == rows.min()].min()
    assert (pixels[top : top + 224, left : left + 224] == tile).all()
