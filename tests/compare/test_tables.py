import csv
import io
import re
from dataclasses import replace

import pytest

from fovea.compare.grouping import gather
from fovea.compare.tables import facts, latex, latex_table, markdown_table, summary, to_csv
from fovea.metrics.significance import mcnemar, wilson
from fovea.runs.read import read_run
from helpers.toy_comparison import CLASSES, HOSTILE, compared, write_run


def test_csv_holds_full_numbers(tmp_path):
    found = compared(
        tmp_path, write_run(tmp_path, "a", wrong=range(3)), write_run(tmp_path, "b", model="cnn", wrong=[1])
    )
    first, second = csv.DictReader(io.StringIO(to_csv(found)))
    assert first["model"] == "mlp" and float(first["test/acc"]) == 57 / 60 and first["test/acc std"] == ""
    assert (float(first["low"]), float(first["high"])) == pytest.approx(wilson(57, 60))
    assert first["interval over"] == "images" and float(first["parameters"]) == 3000
    assert float(first["epoch_s"]) == 1.2 and first["flops"] == "" and first["p"] == ""
    assert float(second["p"]) == mcnemar(0, 2) and second["test"] == "McNemar, exact"
    assert float(second[f"test/acc of {CLASSES[1]}"]) == 0.95
    assert second["directories"] == str(tmp_path / "b")


def test_markdown_rows_have_as_many_cells_as_heads():
    lines = markdown_table(["a|b", "c"], [[HOSTILE, "1"], ["x\ny", "2"]]).splitlines()
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
    text = latex_table(["Model", "95 % interval"], cells, caption=HOSTILE)
    assert read_latex(text) == [["Model", "95 % interval"], *cells]
    assert text.count("\\begin{") == text.count("\\end{") == 2 and "{lr}" in text
    assert _plain(latex(HOSTILE)) == HOSTILE


def test_text_and_facts_hold_everything(tmp_path):
    found = compared(
        tmp_path / "out", write_run(tmp_path, "a", model=HOSTILE, wrong=[0]),
        *[write_run(tmp_path, f"b{s}", seed=s, model="cnn", lr=s + 1, wrong=range(9)) for s in (0, 1)],
    )  # fmt: skip
    text = summary(found)
    assert "logs/x: failed" in text and "A & b." in text and "cnn, lr=1: worse (p = " in text
    assert HOSTILE in text  # a terminal runs nothing
    plain = facts(found)
    assert plain["baseline"] == found.base.name and len(plain["rows"]) == 3 and len(plain["tests"]) == 2


def test_a_model_without_the_metric_is_shown_as_such(tmp_path):
    found = compared(tmp_path, write_run(tmp_path, "a"))
    bare, _ = gather([read_run(write_run(tmp_path, "b", model="cnn", test=False))], [None])
    lines = summary(replace(found, groups=[*found.groups, *bare])).splitlines()
    assert re.search(r"^cnn +1 +– +– +–", next(line for line in lines if line.startswith("cnn")))
