import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fovea.files import DRAFT
from fovea.runs.quoting import override
from fovea.runs.read import UNFINISHED, read_metrics, read_run
from fovea.runs.report import write_report
from fovea.runs.sections import message
from fovea.tasks.classification.report import sections
from fovea.tasks.classification.view import ClassView
from helpers.toy_runs import CLASSES, HEADER, rows, summary

VOID = {"meta", "img", "br", "rect", "link", "hr", "input"}
TRACEBACK = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in f
    raise FileNotFoundError
FileNotFoundError: no images under data/<flowers>
  get them: https://example.org/flowers"""


class Page(HTMLParser):
    """Collect tags and text; fail on tags that do not nest."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def states():
    """Every state a run directory is found in, as (name, arguments of make_run, status shown)."""
    nothing = summary(metrics={}, best=None, timing={"startup_s": 1.0}, model={}, data={}, environment={})
    failed = nothing | {"status": "failed", "error": TRACEBACK}
    nan = summary(
        metrics={"test/acc": float("nan")}, best={"monitor": "val/acc", "value": float("nan"), "epoch": 0}
    )
    blank = "epoch,step,train/loss,lr\n0,10,0.5,0.1\n1,20,,0.1\n"
    return [
        ("finished", {"record": summary()}, "finished"),
        ("failed before the first epoch", {"record": failed, "metrics": None, "test": False}, "failed"),
        (
            "interrupted without metrics",
            {"record": nothing | {"status": "interrupted"}, "metrics": HEADER},
            "interrupted",
        ),
        ("killed", {"record": None}, UNFINISHED),
        ("killed at once", {"record": None, "metrics": None, "config": None, "test": False}, UNFINISHED),
        ("summary cut off", {"record": None, "config": "a: [1,"}, UNFINISHED),
        (
            "no validation",
            {"record": summary(metrics={"train/loss": 1}, best=None), "metrics": blank},
            "finished",
        ),
        ("one epoch", {"record": summary(), "metrics": HEADER + rows(1)}, "finished"),
        ("nan", {"record": nan, "metrics": HEADER + "0,1,nan,nan,inf,nan,0.1,nan\n"}, "finished"),
        ("nulls", {"record": dict.fromkeys(summary()) | {"status": "failed"}, "metrics": ""}, "failed"),
    ]


@pytest.mark.parametrize(("name", "arguments", "status"), states(), ids=[state[0] for state in states()])
def test_every_state_makes_a_complete_page(make_run, name, arguments, status):
    run = make_run(**arguments)
    if name == "summary cut off":
        (run / "summary.json").write_text(json.dumps(summary())[:200])
    page = Page(write_report(run, sections, view=ClassView))
    assert re.search(rf'class="badge \w+">{status}<', page.source)
    assert "could not be made" not in page.text
    assert "python src/train.py" in page.text
    assert not any(DRAFT.fullmatch(path.name) for path in run.iterdir())


def test_page_stands_alone_and_escapes_everything(make_run):
    failed = summary(status="failed", error=TRACEBACK)
    page = Page(write_report(make_run(record=failed), sections, view=ClassView))
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "i", "b", "flowers"})
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) >= 3 and all(source.startswith("data:image/") for source in sources)
    assert not any(
        "http" in (value or "") for tag, attrs in page.tags for key, value in attrs.items() if key != "src"
    )
    assert "url(" not in page.source and "@import" not in page.source
    assert "https://example.org/flowers" in page.text  # only as text
    for text in (
        *CLASSES,
        "toy <i>",
        'python src/train.py experiment=toy "model.name=<b>"',
        "data/<flowers>",
    ):
        assert text in page.text


def test_page_shows_the_headline_numbers(make_run):
    text = Page(write_report(make_run(record=summary()))).text
    for shown in (
        "Best val/acc",
        "0.7500",
        "in epoch 1",
        "11.2 M",
        "5,130 trained",
        "3 min 12 s",
        "2.0 GB",
        "1,200",
    ):
        assert shown in text
    assert "1,234 images/s" in text
    assert "by a program" in text


def test_killed_run_finds_its_best_epoch(make_run):
    config = "experiment: toy\nmetrics: {monitor: val/acc, mode: max}\n"
    run = make_run(record=None, config=config)
    assert dict(read_run(run).best) == {"monitor": "val/acc", "value": 0.75, "epoch": 1}
    loss = make_run(name="loss", record=None, config="metrics: {monitor: train/loss, mode: min}\n")
    assert read_run(loss).best["epoch"] == 2


def test_failing_task_section_is_named_and_spares_the_rest(make_run):
    def broken(run_dir):
        raise RuntimeError("no such <thing>")

    page = Page(write_report(make_run(record=summary()), broken))
    assert "RuntimeError: no such <thing>" in page.text
    assert "Time and memory" in page.text


def test_a_view_that_cannot_be_made_spares_the_rest(make_run):
    def broken(**options):
        raise RuntimeError("no such <thing>")

    page = Page(write_report(make_run(record=summary()), view=broken))
    assert "RuntimeError: no such <thing>" in page.text
    assert "Time and memory" in page.text and "Environment and configuration" in page.text


def test_report_is_the_same_when_written_again(make_run):
    run = make_run(record=summary())
    first = write_report(run, sections, view=ClassView).read_bytes()
    assert write_report(run, sections, view=ClassView).read_bytes() == first


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run directory"):
        write_report(tmp_path / "nowhere")


def test_metrics_drop_a_line_cut_off_and_merge_repeated_epochs(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/acc\n0,1,0.5\n1,2,\n1,2,0.75\n0,1,0.6\n,,0.9\n2,3,0.1")
    assert read_metrics(path) == {"epoch": [0, 1], "step": [1, 2], "val/acc": [0.6, 0.75]}


def test_error_message_is_the_end_of_the_traceback():
    assert message(TRACEBACK).startswith("FileNotFoundError: no images")
    assert message(TRACEBACK).endswith("https://example.org/flowers")
    assert message("plain\nlines") == "plain\nlines"


@pytest.mark.parametrize(
    "value", ["logs/a_b/2026-05-04_1-2", "my runs/a", "a=b", "it's", 'say "x"', "c:\\x\\", "a,b", "猫"]
)
def test_commands_survive_shell_and_hydra(value):
    (word,) = shlex.split(override("run", value))
    assert OverridesParser.create().parse_override(word).value() == value


def test_commands_offer_only_what_the_checkpoints_allow(make_run):
    run = make_run(record=summary())
    assert "eval.py" not in write_report(run).read_text()
    (run / "checkpoints" / "best.ckpt").touch()
    assert "eval.py" in write_report(run).read_text() and "resume=true" not in write_report(run).read_text()
    (run / "checkpoints" / "last.ckpt").touch()
    assert "resume=true" in write_report(run).read_text()


def test_reports_need_neither_torch_nor_pyplot(make_run):
    run = make_run(record=summary())
    code = (
        "import sys; from pathlib import Path; from fovea.runs.report import write_report;"
        "from fovea.tasks.classification.report import sections; import fovea.predict.writer;"
        "from fovea.tasks.classification.view import ClassView;"
        "assert not {'matplotlib', 'PIL', 'jinja2'} & set(sys.modules);"
        f"write_report(Path({str(run)!r}), sections, view=ClassView);"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2] / "src")
