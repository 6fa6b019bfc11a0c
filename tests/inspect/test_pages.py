import re

import numpy as np
import pytest

from fovea.inspect import check as data_check
from fovea.inspect import preview as data_preview
from fovea.inspect import stats as data_stats
from fovea.inspect.findings import KINDS, Finding
from fovea.inspect.preview import Shown, lines, write_preview
from fovea.page.annotations import Drawing, draw

CLASSES = ["background", "cat", "dog"]
HOW = Drawing(CLASSES, np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8), side=100)
GREY = np.full((50, 100, 3), 120, np.uint8)


def spread(low, high):
    histogram = {"edges": [low, high, high + 1], "counts": [1, 2]}
    return {"min": low, "median": low, "mean": low, "max": high, "histogram": histogram}


STATS = {
    "train": {
        "images": 1200, "readable": 1200, "classes": {"cat": 900, "dog $x$ 猫": 300},
        "mean": [0.5], "std": [0.2],
        "sizes": {
            "width": spread(20, 90), "height": spread(30, 60), "aspect": spread(0.5, 1.5), "distinct": 2,
            "common": [{"width": 20, "height": 30, "images": 800}],
        },
        "boxes": {
            "objects": 70, "per_image": spread(0, 3), "images_without": 4,
            "per_class": {"cat": 40, "dog": 30},
            "side": spread(5, 50), "small_medium_large": [50, 20, 0],
        },
        "masks": {"share": {"cat": 0.75, "dog": 0.25}, "images": {"cat": 3, "dog": 2}, "ignored": 0.125},
        "captions": {
            "captions": 9, "per_image": spread(4, 5), "words": spread(3, 12), "vocabulary": 321,
            "seen_5_times": 45,
            "common": {"the": 9, "surfboard": 5},
        },
    },
    "val": {"images": 5, "readable": 5},
}  # fmt: skip


def test_boxes_are_drawn_where_they_are():
    drawn = draw({"image": GREY, "boxes": np.array([[10, 20, 60, 45.0]]), "labels": np.array([1])}, HOW)
    assert drawn.shape == (50, 100, 3)
    assert tuple(drawn[30, 10]) == tuple(drawn[45, 40]) == (200, 0, 0) and tuple(drawn[32, 35]) == (
        120,
        120,
        120,
    )
    ignored = {
        "image": GREY,
        "boxes": np.array([[10, 20, 60, 45.0]]),
        "labels": np.array([1]),
        "ignore": np.array([True]),
    }
    assert len(set(draw(ignored, HOW)[30, 10].tolist())) > 1 and tuple(draw(ignored, HOW)[30, 10]) != (
        200,
        0,
        0,
    )


def test_a_small_image_is_enlarged_with_its_boxes():
    drawn = draw({"image": np.zeros((5, 10, 1), np.uint8), "boxes": np.array([[2, 1, 6, 4.0]])}, HOW)
    assert drawn.shape == (50, 100, 3) and drawn[25, 20].any() and not drawn[25, 40].any()


def test_boxes_outside_or_broken_do_not_stop_the_drawing():
    rows = [
        [-50, -9, -10, -5],
        [500, 5, 600, 9],
        [5, 5, 5, 9],
        [9, 9, 5, 5],
        [np.nan, 0, 5, 5],
        [-20, 5, 300, 30],
    ]
    draw({"image": GREY, "boxes": np.array(rows), "labels": np.array([1, 2, 0, 1, 1, 7])}, HOW)
    draw({"image": GREY, "boxes": np.array(rows), "labels": np.array([1])}, HOW)


def test_masks_are_laid_over_and_named():
    mask = np.zeros((50, 100), np.uint8)
    mask[:, 50:], mask[40:, 50:] = 1, 255
    drawn = draw({"image": GREY, "mask": mask}, HOW)
    assert tuple(drawn[10, 10]) == (120, 120, 120) and tuple(drawn[10, 70]) == (148, 78, 78)
    assert drawn[45, 70].min() > 180 and drawn.shape[0] > 50 + 2 * 17
    assert (drawn[50:] == (200, 0, 0)).all(axis=-1).any()  # the legend has the colour of the cat
    empty = draw({"image": GREY, "mask": np.zeros((50, 100), np.uint8)}, HOW)
    assert 50 < empty.shape[0] < drawn.shape[0] and not (empty[50:] == (200, 0, 0)).all(axis=-1).any()


def test_mask_values_and_classes_share_colours_where_only_the_background_differs():
    how = Drawing(["cat", "dog"], HOW.palette, CLASSES)
    assert how.box_colour(0) == (200, 0, 0) == how.colour(1) and how.background
    assert Drawing(["cat", "dog"], HOW.palette).box_colour(1) == (200, 0, 0)
    assert len({Drawing(CLASSES).colour(k) for k in range(50)}) == 50


def test_instances_are_outlined():
    instances = np.zeros((50, 100), np.uint8)
    instances[10:30, 20:60] = 1
    drawn = draw({"image": GREY, "instances": instances}, HOW)
    assert tuple(drawn[10, 40]) == (255, 255, 255) and tuple(drawn[20, 40]) == (120, 120, 120)


def test_what_is_said_below_a_sample():
    assert lines({"label": 1}, HOW) == ["cat"] and lines({"boxes": np.zeros((1, 4))}, HOW) == ["1 object"]
    assert lines({"label": np.array([0.0, 0.25, 0.75])}, HOW) == ["0.75 dog + 0.25 cat"]
    assert lines({"label": np.array([0.0, 1.0, 0.0])}, HOW) == ["cat"]
    assert lines({"captions": ["one ", "two", "three", "four"]}, HOW) == [
        "“one”",
        "“two”",
        "“three”",
        "and 1 more",
    ]


def test_the_preview_escapes_what_a_data_set_says(tmp_path):
    bad = "<script>alert(1)</script>"
    sample = {"image": GREY, "label": 0, "captions": [bad, "\udcff"]}
    shown = [
        Shown(f"a{bad}\udcff.jpg", sample, [sample] * 2),
        Shown("b", {"image": GREY[:, :30]}, [{"image": GREY}] * 2),
    ]
    page = write_preview(
        tmp_path,
        shown,
        name=bad,
        drawing=Drawing([bad]),
        facts=[("Classes", bad, "")],
        command=f"python {bad}",
    ).read_text(encoding="utf-8")
    assert (
        "<script" not in page
        and page.count("<img") == 8
        and "default-src 'none'" in page.replace("&#x27;", "'")
    )
    assert {p.name for p in tmp_path.iterdir()} == {"preview.html", "preview.png", "preview_augmented.png"}


def test_the_stats_page_has_every_part():
    page = data_stats.stats_page("toy", STATS, remarks=["the mean differs"], command="python src/data.py")
    for word in (
        "Classes",
        "Sizes",
        "Objects",
        "Pixels",
        "Captions",
        "surfboard",
        "321",
        "the mean differs",
        "12.50 %",
    ):
        assert word in page
    assert page.count("<img") == 6 and "3 times as many images" in page
    table = data_stats.stats_table(STATS)
    assert "300 to 900" in table and "20 to 90" in table and re.search(r"images +1,200 +5", table)


def test_statistics_may_be_few():
    assert data_stats.sections({}) and "5" in data_stats.stats_table({"val": STATS["val"]})
    many = {"train": {"images": 3, "classes": {f"c{i}": i for i in range(200)}}}
    assert "smallest class has no images" in data_stats.stats_page("toy", many, remarks=[], command="")


FINDINGS = [
    Finding("empty file", "train", "/data/<b>zero.png", "0 bytes", 3),
    *(Finding("grey", "val", f"/data/grey{i}.png", "the mode is L", i) for i in range(130)),
    Finding("leakage", "test", "leak.png", "the same pixels as train: 1.png", 0, ("train", 1)),
    Finding("imbalance", "train", "", "a has 22 images, b 2"),
]


def test_the_check_table_lists_the_first_of_each_kind_and_counts_all():
    table = data_check.check_table(FINDINGS)
    assert "error: empty file\n  train: /data/<b>zero.png: 0 bytes" in table
    assert table.count("the mode is L") == 20 and "… and 110 more, all in check.json" in table
    assert re.search(r"note +grey +130", table) and table.index("empty file") < table.index("imbalance")
    assert data_check.check_table([]) == ""


def test_the_verdict():
    assert data_check.verdict([]) == "no problem found"
    assert data_check.verdict(FINDINGS) == "2 errors, 1 warning, 130 notes"
    assert data_check.verdict(FINDINGS[1:3]) == "2 notes; training is possible"


def page(findings, show=lambda split, index: {"image": GREY}):
    return data_check.check_page(
        "toy",
        findings,
        {},
        show=show,
        drawing=HOW,
        sizes={"train": 10, "test": 2},
        command="python src/data.py",
    )


def test_the_check_page_shows_examples():
    text = page(FINDINGS)
    assert text.count("<img") == 1 + 8 + 1 and "&lt;b&gt;zero.png" in text and "<b>zero" not in text
    assert "The first 100 of 130" in text and ">errors</span>12 images checked" in text
    assert "No problem was found" in page([]) and ">clean</span>" in page([])
    assert ">warnings</span>" in page(FINDINGS[-1:])


def test_a_pair_is_shown_side_by_side():
    asked = []
    page([FINDINGS[131]], show=lambda split, index: asked.append((split, index)) or {"image": GREY})
    assert asked == [("test", 0), ("train", 1)]


def test_an_image_that_cannot_be_shown_is_left_out():
    assert "<img" not in page(FINDINGS, show=lambda split, index: {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_explained(kind):
    severity, meaning = KINDS[kind]
    assert meaning.endswith(".") and f"1 {severity}" in page([Finding(kind, "train", "a", "b")])


def test_findings_as_plain_values():
    (found,) = data_check.as_json([FINDINGS[131]])
    assert found["partner"] == ["train", 1] and found["severity"] == "error" and found["index"] == 0


def test_lines_wrap():
    assert data_preview.wrapped(["a " * 40], width=30)[0] == "a " * 14 + "a"
