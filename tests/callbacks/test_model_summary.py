import csv

import pytest
import torch
from torch import nn

from fovea.callbacks.model_summary import layers
from helpers import runs


class Twice(nn.Module):
    """A layer that is called twice, a parameter of its own, a batch norm that must stay as it is."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.conv(self.norm(self.conv(x)))


def test_each_call_stands_with_its_shape_and_parameters_once():
    net = Twice().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = layers(net, torch.zeros(1, 3, 4, 6))
    assert [row[0] for row in found] == ["conv", "norm", "conv", "(the net itself)"]
    assert [row[3] for row in found] == [84, 6, 0, 2]
    assert sum(row[3] for row in found) == sum(p.numel() for p in net.parameters())
    assert {row[2] for row in found} == {"1 × 3 × 4 × 6"}
    assert net.training and net.norm.training and not net.conv._forward_hooks
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.slow
def test_the_layers_of_a_run_stand_in_its_report(tmp_path):
    words = ["experiment=vit_digits", "trainer=cpu", "debug=summary", "data.num_workers=0"]
    assert runs.train(words, run_dir=tmp_path / "run", report=True) == 0, runs.output(tmp_path / "run")
    with (tmp_path / "run" / "layers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["output"] == "1 × 10" and "1 × 10" in runs.output(tmp_path / "run")
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Layers" in report and rows[0]["layer"] in report
    assert not (tmp_path / "run" / "checkpoints").exists()
