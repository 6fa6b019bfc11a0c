import re
from dataclasses import replace
from html import unescape

from fovea.compare.page import COVERS, page
from helpers.toy_comparison import HOSTILE, compared, write_run


def test_the_page_holds_everything_and_nothing_foreign(tmp_path):
    found = compared(
        tmp_path / "out", write_run(tmp_path, "a", model=HOSTILE, wrong=[0]),
        *[write_run(tmp_path, f"b{s}", seed=s, model="cnn", lr=s + 1, wrong=range(9),
                    overrides=[f"optimizer.lr={s + 1}"]) for s in (0, 1)],
    )  # fmt: skip
    html = page(found)
    assert "<script" not in html and 'src="http' not in html and "&lt;script&gt;" in html
    for title in ("Results", "significant", "Cost", "Curves", "Effects", "Runs"):
        assert re.search(f"<h2>[^<]*{title}[^<]*</h2>", html)
    assert "A &amp; b." in html and "logs/x" in html and "Measured &lt;here&gt;." in html
    assert html.count("data:image/png") == 3  # curves, cost, one effect


def test_many_classes_are_folded_and_the_most_different_shown(tmp_path):
    found = compared(tmp_path, write_run(tmp_path, "a"), write_run(tmp_path, "b", model="cnn"))
    lines = [[f"class {i}", 5, 0.5, 0.5 + (i == 17) / 2] for i in range(30)]
    table = ("Accuracy per class", ["Class", "Images", "mlp", "cnn"], lines)
    html = page(replace(found, table=table)).split("<h2>Accuracy per class</h2>")[1]
    first, rest = html.split("<details>")[:2]
    assert first.index("class 17") < first.index("class 0") and first.count("<tr>") == 11
    assert rest.split("</details>")[0].count("<tr>") == 31


def test_the_page_says_what_each_interval_covers(tmp_path):
    single = write_run(tmp_path, "a")
    seeds = [write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=[s]) for s in (0, 1)]
    for dirs, expected in (
        ([single], {"images"}),
        (seeds, {"seeds"}),
        ([single, *seeds], {"images", "seeds"}),
    ):
        found = compared(tmp_path / "out", *dirs)
        html = unescape(page(replace(found, tests=[])))
        assert {over for over, text in COVERS.items() if text in html} == expected
