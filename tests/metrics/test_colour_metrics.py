import json

import numpy as np
import pytest
import torch
from torch import nn

from fovea.metrics.colour import ABError, Colourfulness, ab_error, colourfulness, image_psnr
from fovea.metrics.colour_classifier import ClassifierAccuracy, classifier_accuracy, prepare
from fovea.tasks.base import collection

DRAW = torch.Generator().manual_seed(0)
AB, TRUE_AB = (100 * torch.randn(2, 11, 2, 6, 5, generator=DRAW)).unbind(0)
RGB, TRUE_RGB = torch.rand(2, 11, 3, 6, 5, generator=DRAW).unbind(0)


@pytest.mark.parametrize("size", [1, 4, 11])
def test_uneven_batches_change_nothing(size):
    error, vivid, ratio = ABError(), Colourfulness(), Colourfulness(relative=True)
    for at in range(0, 11, size):
        part = slice(at, at + size)
        error.update(AB[part], TRUE_AB[part])
        for metric in (vivid, ratio):
            metric.update(RGB[part], TRUE_RGB[part])
    assert error.compute() == pytest.approx(float(ab_error(AB, TRUE_AB).double().mean()), rel=1e-6)
    assert vivid.compute() == pytest.approx(float(colourfulness(RGB).double().mean()), rel=1e-6)
    assert ratio.compute() == pytest.approx(float(vivid.compute() / colourfulness(TRUE_RGB).mean()), rel=1e-5)


def test_metrics_of_one_state_are_updated_once_and_give_the_same():
    alone = {"vivid": Colourfulness(), "ratio": Colourfulness(relative=True)}
    together = collection({name: metric.clone() for name, metric in alone.items()})
    for metric in (*alone.values(), together):
        metric.update(RGB, TRUE_RGB)
    assert list(together.compute_groups.values()) == [["vivid", "ratio"]]
    assert together.compute() == {name: metric.compute() for name, metric in alone.items()}


def test_known_values():
    assert ab_error(torch.full((1, 2, 2, 2), 3.0), torch.zeros(1, 2, 2, 2)) == 3
    assert colourfulness(torch.full((1, 3, 4, 4), 0.5)) == 0
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1
    assert colourfulness(red) == pytest.approx(0.3 * (255**2 + 127.5**2) ** 0.5)
    picture = RGB[0].permute(1, 2, 0).numpy() * 255  # the formula of the paper, written out
    rg, yb = picture[..., 0] - picture[..., 1], picture[..., :2].mean(axis=2) - picture[..., 2]
    want = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert colourfulness(RGB[:1]) == pytest.approx(want, rel=1e-5)
    assert image_psnr(RGB, RGB).tolist() == pytest.approx([100] * 11)


class ByRedness(nn.Module):
    def forward(self, x):
        return torch.stack([x[:, 0].mean((1, 2)), x[:, 2].mean((1, 2))], dim=1)


@pytest.fixture
def exported(tmp_path):
    how = {"image_size": [4, 4], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    how |= {"interpolation": "bilinear"}
    about = {
        "format": "onnx",
        "file": "/else/a.pt2",
        "classes": ["red", "blue"],
        "preprocessing": how,
    }
    batch = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.onnx.export(
        ByRedness().eval(), (torch.zeros(2, 3, 4, 4),), tmp_path / "model.onnx", dynamic_shapes=batch
    )
    (tmp_path / "export.json").write_text(json.dumps(about))
    return tmp_path


def test_a_classifier_is_asked(exported):
    metric = classifier_accuracy(folder=str(exported)).clone()
    label = torch.tensor([0, 1, 1])
    pictures = torch.zeros(3, 3, 6, 5)
    pictures[[0, 1, 2], [0, 2, 0]] = 1.0
    metric.update(preds=pictures, label=label)
    metric.update(preds=pictures[:1], label=label[:1])
    assert metric.compute() == 0.75
    assert classifier_accuracy(folder=None) is None
    assert not list(metric.state_dict())


def test_a_classifier_that_cannot_be_asked_says_why(exported, tmp_path):
    metric = ClassifierAccuracy(folder=exported)
    with pytest.raises(ValueError, match="data with labels"):
        metric.update(preds=torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"2 classes.* 7"):
        metric.update(preds=torch.zeros(1, 3, 4, 4), label=torch.tensor([7]))
    with pytest.raises(FileNotFoundError, match=r"src/export.py run=DIR"):
        ClassifierAccuracy(folder=tmp_path / "nothing")
    (exported / "export.json").write_text('{"format": "onnx"}')
    with pytest.raises(ValueError, match=r"classes.*format=onnx"):
        ClassifierAccuracy(folder=exported)
    (exported / "model.onnx").rename(exported / "model.pt2")
    with pytest.raises(FileNotFoundError, match=r"model\.onnx.*format=onnx"):
        ClassifierAccuracy(folder=exported)


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("side", [(8, 8), (5, 12), (20, 9)])
def test_pictures_are_prepared_as_for_the_classifier(resize, side):
    from fovea.data.preprocess import Preprocess

    how = {"image_size": [8, 8], "channels": 3, "mean": [0.4] * 3, "std": [0.2] * 3, "crop_pct": 0.9}
    how |= {"interpolation": "bilinear", "resize": resize}
    smooth = torch.linspace(0, 1, side[1]).expand(1, 3, *side)
    array = (smooth[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert (prepare(smooth, how) - Preprocess(how)(array)).abs().max() < 1e-5
    grey = how | {"channels": 1, "mean": [0.4], "std": [0.2]}
    assert prepare(smooth, grey).shape == (1, 1, 8, 8)
