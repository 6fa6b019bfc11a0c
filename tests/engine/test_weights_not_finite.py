"""Weights with NaN are refused wherever they are opened, by file and tensor."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fovea.errors import UsageError
from fovea.ops.finite import first_not_finite


@pytest.fixture
def diverged(untrained_run):
    """Write NaN into a layer of a run."""
    path = untrained_run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(n for n, t in content["state_dict"].items() if t.ndim == 2)
    content["state_dict"][name][0, 0] = float("nan")
    torch.save(content, path)
    return untrained_run, name.removeprefix("net.")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("command", ["predict", "eval", "explain", "export"])
def test_of_a_run(call, diverged, photo, command):
    run, tensor = diverged
    given = {"input": str(photo)} if command in ("predict", "explain") else {}
    with pytest.raises(UsageError, match=rf"best\.ckpt: {tensor} holds NaN.*checkpoint="):
        call(command, run=str(run), **given)
    assert not (run / "predict").exists() and not list(run.glob("eval*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_of_a_file(call, tmp_path, photo, value):
    state = timm.create_model("test_vit", num_classes=3).state_dict()
    state["blocks.0.norm1.weight"][1] = value
    torch.save(state, tmp_path / "own.pth")
    own = {"model.pretrained": False, "model.checkpoint": str(tmp_path / "own.pth"), "data.num_classes": 3}
    with pytest.raises(UsageError, match=r"own\.pth: blocks\.0\.norm1\.weight holds NaN"):
        call("explain", model="timm", **{"model.name": "test_vit"}, input=str(photo), **own)


def test_masks_of_minus_infinity_are_no_fault():
    net = torch.nn.Linear(2, 2)
    net.register_buffer("mask", torch.tensor(float("-inf")))
    assert first_not_finite(net) is None
