import math
from datetime import datetime

import pytest

from fovea.page import formats
from fovea.page.text_table import text_table
from fovea.runs.report import final_table
from helpers.toy_runs import summary


def test_text_table_aligns_numbers_right_and_wide_characters():
    lines = text_table([("a", 1.0), ("猫猫", 22.5), ("b", None)], ("name", "value")).splitlines()
    assert lines == ["name    value", "----  -------", "a      1.0000", "猫猫  22.5000", "b           –"]
    assert text_table([]) == ""


def test_text_table_refuses_ragged_rows():
    with pytest.raises(ValueError, match="different lengths"):
        text_table([(1, 2), (1,)])


def test_final_table_says_result_cost_and_place():
    lines = final_table(summary(), "logs/toy/1").splitlines()
    found = {line[:15].strip(): line[15:].strip() for line in lines}
    assert found == {
        "status": "finished", "best val/acc": "0.7500 in epoch 1", "test/acc": "0.5000",
        "test/loss": "1.2500",
        "parameters": "11.2 M, 5,130 trained", "training time": "3 min 12 s in 3 epochs",
        "throughput": "1,234 images/s", "peak memory": "2.0 GB", "run directory": "logs/toy/1",
    }  # fmt: skip


def test_final_table_of_an_empty_summary_leaves_the_unknown_out():
    assert final_table({}, "x").splitlines() == ["status         killed or still running", "run directory  x"]
    assert "failed" in final_table(dict.fromkeys(summary()) | {"status": "failed"}, "x")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765, "0.9877"),
        (0, "0.0000"),
        (1e-5, "1.00e-05"),
        (123.456, "123.5"),
        (math.nan, "NaN"),
        (None, "–"),
        (1e9, "1.00e+09"),
    ],
)
def test_metric(value, shown):
    assert formats.metric(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.4, "0.40 s"),
        (48.06, "48.1 s"),
        (59.99, "60.0 s"),
        (119.7, "2 min 00 s"),
        (7500, "2 h 05 min"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_duration(value, shown):
    assert formats.duration(value) == shown


def test_counts_dates_and_cuts():
    assert [formats.short_count(n) for n in (7850, 25_557, 11_173_962, 1.5e9)] == [
        "7,850",
        "25.6 k",
        "11.2 M",
        "1.5 G",
    ]
    assert formats.date(datetime(2026, 5, 4, 9, 3)) == "4 May 2026, 09:03"
    cut = formats.middle("data/some/folder/image_000123.jpg", width=20)
    assert len(cut) == 20 and cut.startswith("data/") and cut.endswith("000123.jpg")
