import pytest

from fovea.config import build
from fovea.config.paths import CONF
from fovea.types import TaskView
from helpers import runs

TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
REQUIRED = ("score", "margin", "galleries", "caption", "columns")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_brings_its_metrics_and_its_report(task):
    config = runs.compose([*runs.QUICK, f"task={task}", "run_dir=x"])
    assert config.metrics.monitor.startswith("val/")
    assert all(callable(build.make(node)) for node in config.report.sections)
    view = build.view(config)
    if view is None:
        return
    made = view(classes=["cat", "dog"])
    assert TaskView in type(made).__mro__ and all(hasattr(made, name) for name in REQUIRED)
    assert made.shown == config.report.view.shown


def test_metrics_can_still_be_chosen_apart():
    words = ["task=segmentation", "metrics=segmentation_isic", "run_dir=x"]
    config = runs.compose([*runs.QUICK, *words])
    assert "jaccard_65" in config.metrics["values"] and config.report.view._target_.endswith("MaskView")
