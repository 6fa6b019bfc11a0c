"""The weights of a run as the start of another whose classes stand in another order."""

from functools import partial

import pytest
import torch
from torch import nn

from fovea.engine.start_weights import order_head
from fovea.models.cnn import CNN
from fovea.models.detectors.sliding_window import SlidingWindow
from fovea.models.squeezenet import create as squeezenet
from fovea.models.timm import create

SAVED = ["ant", "bee", "cow"]
NETS = {
    "linear": lambda: create(name="resnet10t", num_classes=3).eval(),
    "convolution": lambda: squeezenet(num_classes=3).eval(),
}


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"state_dict": {}, "fovea": {"classes": SAVED}}, tmp_path / "best.ckpt")
    return str(tmp_path / "best.ckpt")


@pytest.mark.parametrize("kind", NETS)
def test_outputs_follow_the_names(kind, checkpoint):
    net, x = NETS[kind](), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = net(x)
        order_head(net, checkpoint, SAVED)  # nothing to do
        torch.testing.assert_close(net(x), before)
        order_head(net, checkpoint, ["cow", "ant", "bee"])
        torch.testing.assert_close(net(x), before[:, [2, 0, 1]])


def test_the_output_for_the_background_stays_the_last(checkpoint):
    net, x = SlidingWindow(classifier=partial(CNN, widths=[4]), num_classes=3).eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = net.classifier(x)
        order_head(net, checkpoint, ["cow", "ant", "bee"])
        torch.testing.assert_close(net.classifier(x), before[:, [2, 0, 1, 3]])


def test_other_classes_are_said(checkpoint, caplog):
    net = NETS["linear"]()
    before = net.fc.weight.clone()
    order_head(net, checkpoint, ["cow", "dog", "bee"])
    assert "ant, bee, cow" in caplog.text and "cow, dog, bee" in caplog.text
    assert torch.equal(net.fc.weight, before)


def test_a_head_of_several_layers_is_said(checkpoint, caplog):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

        def get_classifier(self):
            return self.head

    order_head(Net(), checkpoint, ["cow", "ant", "bee"])
    assert "head starts from the weights of other classes" in caplog.text
