import csv
import io
import re

import numpy as np
import pytest

from fovea.compare import text as compare_text
from fovea.compare.examples import PairedExamples, clearest
from fovea.compare.grouping import gather
from fovea.compare.page import page
from fovea.compare.tables import latex, to_latex, to_markdown
from fovea.compare.types import Comparison
from fovea.compare.verdicts import Verdict, different_tests, verdicts
from fovea.metrics.significance import mcnemar, wilson
from fovea.runs.read import read_run
from fovea.tasks.classification.view import ClassView
from helpers.toy_comparison import CLASSES, write_run

TASK = PairedExamples(ClassView(classes=CLASSES))
HOSTILE = "<script>50% & $x_1$ | {a}\\b ~^#"


def gathered(*dirs):
    """Return rows in the given order of their first runs, with predictions."""
    runs = [read_run(path) for path in dirs]
    rows, _ = gather(runs)
    for row in rows:
        row.tested = [TASK.read(run) for run in row.runs]
    return rows


def comparison(folder, *dirs):
    rows = gathered(*dirs)
    return Comparison(
        metric="test/acc", rows=rows, base=rows[0], measure="test/acc", verdicts=verdicts(rows, rows[0]),
        folder=folder, command="python src/compare.py", table=TASK.table(rows), method=["Measured <here>."],
        left_out=[("logs/x", "failed")], notes=["A & b."],
    )  # fmt: skip


def test_predictions_are_read_in_the_order_of_their_names(tmp_path):
    runs = [read_run(write_run(tmp_path, str(s), seed=s, wrong=[3, 4])) for s in (0, 1)]
    first, second = (TASK.read(run) for run in runs)
    assert first.digests == second.digests
    assert np.flatnonzero(first.values == 0).tolist() == [3, 4] == np.flatnonzero(second.values == 0).tolist()


def test_damaged_predictions_are_named(tmp_path):
    run = write_run(tmp_path, "r")
    (run / "predictions" / "test.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"test\.npz cannot be read"):
        TASK.read(read_run(run))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"data": "other"}, "data set: toy / other"), ({"size": 57}, "test images: 60 / 57")],
)
def test_different_test_sets_are_named(tmp_path, change, said):
    runs = [read_run(write_run(tmp_path, "a")), read_run(write_run(tmp_path, "b", **change))]
    found = different_tests([(run, TASK.read(run)) for run in runs])
    assert str(tmp_path / "a") in found and str(tmp_path / "b") in found and said in found


@pytest.mark.parametrize(("key", "said"), [("ids", "names of the images"), ("target", "true answers")])
def test_same_size_but_other_images_or_answers(tmp_path, key, said):
    runs = [read_run(write_run(tmp_path, name)) for name in "ab"]
    path = runs[1].dir / "predictions" / "test.npz"
    arrays = dict(np.load(path))
    arrays[key][5] = arrays[key][5] + (1 if key == "target" else "")
    if key == "ids":
        arrays[key] = np.char.add(arrays[key], "x")
    np.savez(path, **arrays)
    assert said in different_tests([(run, TASK.read(run)) for run in runs])


def test_a_run_without_predictions_is_no_other_test_set(tmp_path):
    runs = [read_run(write_run(tmp_path, "a")), read_run(write_run(tmp_path, "b", test=False))]
    assert different_tests([(run, TASK.read(run)) for run in runs]) is None


def test_single_runs_are_tested_by_mcnemar(tmp_path):
    rows = gathered(
        write_run(tmp_path, "a", wrong=range(4)), write_run(tmp_path, "b", model="cnn", wrong=range(2, 20))
    )
    (found,) = verdicts(rows, rows[0])
    assert found.p == found.adjusted == mcnemar(2, 16)
    assert found.difference == pytest.approx(-14 / 60) and found.low < found.difference < found.high < 0
    assert "2 won, 16 lost" in found.detail and found.words("mlp") == "worse than mlp (p = 0.001)"
    (reverse,) = verdicts(rows, rows[1])
    assert reverse.words("cnn") == "better than cnn (p = 0.001)"


def test_seeds_are_tested_by_the_bootstrap_of_their_means(tmp_path):
    a = [write_run(tmp_path, f"a{s}", seed=s, wrong=range(s, s + 3)) for s in (0, 1)]
    b = [write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=range(s, s + 4)) for s in (0, 1, 2)]
    rows = gathered(*a, *b)
    (found,) = verdicts(rows, rows[0])
    assert found.method == "paired bootstrap" and found.words("mlp").startswith(
        "no clear difference from mlp (p ="
    )
    assert found.difference == pytest.approx((57 + 57 - 57 * 2) / 120 - 1 / 60)


def test_several_comparisons_are_corrected(tmp_path):
    rows = gathered(
        write_run(tmp_path, "a"), write_run(tmp_path, "b", model="cnn", wrong=range(6)),
        write_run(tmp_path, "c", model="vit", wrong=range(12)),
    )  # fmt: skip
    found = verdicts(rows, rows[0])
    raw = [mcnemar(0, 6), mcnemar(0, 12)]
    assert [v.adjusted for v in found] == pytest.approx([max(raw[0], 2 * raw[1]), 2 * raw[1]])


def test_a_p_at_the_limit_of_the_draws_is_a_bound():
    at_limit = Verdict("x", -0.1, -0.2, -0.05, 2e-4, "paired bootstrap", adjusted=0.008, bound=True)
    assert at_limit.words() == "worse (p ≤ 0.008)"


def test_disagreements_come_clearest_first(tmp_path):
    rows = gathered(
        write_run(tmp_path, "a", wrong=[7]), write_run(tmp_path, "b", model="cnn", wrong=[1, 2, 7, 9])
    )
    rows[1].tested[0].extra["tie_break"][[1, 2, 9]] = [0.3, 0.01, 0.2]
    assert clearest(*rows, margin=1).tolist() == [2, 9, 1]
    assert clearest(*rows[::-1], margin=1).tolist() == []


def test_an_image_counts_by_most_of_the_runs(tmp_path):
    base = [write_run(tmp_path, "a")]
    other = [
        write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=w)
        for s, w in enumerate([[1, 2], [1], [1, 3]])
    ]
    assert clearest(*gathered(*base, *other), margin=1).tolist() == [1]


def test_classes_side_by_side(tmp_path):
    rows = gathered(write_run(tmp_path, "a", wrong=[0, 3]), write_run(tmp_path, "b", model="cnn", wrong=[1]))
    _, heads, lines = TASK.table(rows)
    assert heads == ["Class", "Images", "mlp", "cnn"]
    assert lines == [[CLASSES[0], 20, 0.9, 1.0], [CLASSES[1], 20, 1.0, 0.95], [CLASSES[2], 20, 1.0, 1.0]]


def test_csv_holds_full_numbers(tmp_path):
    found = comparison(
        tmp_path, write_run(tmp_path, "a", wrong=range(3)), write_run(tmp_path, "b", model="cnn", wrong=[1])
    )
    first, second = csv.DictReader(io.StringIO(compare_text.table_csv(found)))
    assert first["model"] == "mlp" and float(first["test/acc"]) == 57 / 60 and first["test/acc std"] == ""
    assert (float(first["low"]), float(first["high"])) == pytest.approx(wilson(57, 60))
    assert first["interval over"] == "images" and float(first["parameters"]) == 3000
    assert float(first["epoch_s"]) == 1.2 and first["flops"] == "" and first["p"] == ""
    assert float(second["p"]) == mcnemar(0, 2) and second["test"] == "McNemar, exact"
    assert float(second[f"test/acc of {CLASSES[1]}"]) == 0.95
    assert second["directories"] == str(tmp_path / "b")


def test_markdown_rows_have_as_many_cells_as_heads():
    lines = to_markdown(["a|b", "c"], [[HOSTILE, "1"], ["x\ny", "2"]]).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "\\<script" in lines[2] and len(lines) == 4


def read_latex(text: str) -> list[list[str]]:
    """Parse a table strictly: balanced groups, no unescaped special character, only known commands."""
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    rows = []
    for line in body.strip().splitlines():
        assert line.endswith(r" \\")
        rows.append([_plain(cell.strip()) for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))])
    return rows


def _plain(cell: str) -> str:
    words = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"$\pm$": "±", r"$-$": "−", r"$\le$": "≤", "--": "–",
    }  # fmt: skip
    pattern = "|".join(map(re.escape, words)) + r"|\\[&%$#_{}]|[^\\&%$#_{}~^]"
    assert re.fullmatch(f"(?:{pattern})*", cell), cell
    return "".join(words.get(t, t[-1]) for t in re.findall(pattern, cell))


def test_latex_survives_any_name():
    cells = [[HOSTILE, "0.9 ± 0.1"], ["b", "−0.1 (p ≤ 0.01)"]]
    text = to_latex(["Model", "95 % interval"], cells, caption=HOSTILE)
    assert read_latex(text) == [["Model", "95 % interval"], *cells]
    assert text.count("\\begin{") == text.count("\\end{") == 2 and "{lr}" in text
    assert _plain(latex(HOSTILE)) == HOSTILE


def test_page_and_text_hold_everything_and_nothing_foreign(tmp_path):
    found = comparison(
        tmp_path / "out", write_run(tmp_path, "a", model=HOSTILE, wrong=[0]),
        *[write_run(tmp_path, f"b{s}", seed=s, model="cnn", lr=s + 1, wrong=range(9),
                    overrides=[f"optimizer.lr={s + 1}"]) for s in (0, 1)],
    )  # fmt: skip
    html = page(found)
    assert "<script" not in html and 'src="http' not in html and "&lt;script&gt;" in html
    for title in ("Results", "Is the difference real?", "Cost", "Curves", "Effects of settings", "Runs"):
        assert f"<h2>{title}</h2>" in html
    assert "A &amp; b." in html and "logs/x" in html and "Measured &lt;here&gt;." in html
    assert html.count("data:image/png") == 3  # curves, cost, one effect
    said = compare_text.summary(found)
    assert "1 left out:\n  logs/x: failed" in said and "cnn, lr=1: worse (p = " in said
    assert "<script>50% & $x_1$" in said  # a terminal runs nothing
    facts = compare_text.facts(found)
    assert facts["baseline"] == found.base.name and len(facts["rows"]) == 3 and len(facts["tests"]) == 2


def test_many_classes_are_folded_and_the_most_different_shown(tmp_path):
    found = comparison(tmp_path, write_run(tmp_path, "a"), write_run(tmp_path, "b", model="cnn"))
    lines = [[f"class {i}", 5, 0.5, 0.5 + (i == 17) / 2] for i in range(30)]
    found.table = ("Accuracy of every class", ["Class", "Images", "mlp", "cnn"], lines)
    html = page(found).split("<h2>Accuracy of every class</h2>")[1]
    first, rest = html.split("<details>")[:2]
    assert first.index("class 17") < first.index("class 0") and first.count("<tr>") == 11
    assert rest.split("</details>")[0].count("<tr>") == 31


def test_a_row_without_the_metric_is_shown_as_such(tmp_path):
    found = comparison(tmp_path, write_run(tmp_path, "a"))
    bare, _ = gather([read_run(write_run(tmp_path, "b", model="cnn", test=False))])
    found.rows += bare
    lines = compare_text.summary(found).splitlines()
    assert re.search(r"^cnn +1 +– +– +–", next(line for line in lines if line.startswith("cnn")))
    assert page(found)
