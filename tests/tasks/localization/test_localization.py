import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from fovea.data.preprocess import Preprocess
from fovea.metrics.localization import BoxIoU, Localized
from fovea.ops.box_losses import MSE, GIoU
from fovea.tasks.localization.task import Localization, truth
from fovea.tasks.localization.view import BoxView

NAN = float("nan")


class Fixed(nn.Module):
    """Give the same output for every image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, x):
        return self.rows[: len(x)]


def batch(boxes, labels, label, size=(50, 100)):
    return {
        "image": torch.zeros(len(boxes), 3, *size),
        "boxes": [torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in boxes],
        "labels": [torch.tensor(k, dtype=torch.int64) for k in labels],
        "label": torch.tensor(label),
    }


def test_the_truth_is_the_largest_box_of_the_label_as_shares_of_the_sides():
    several = [[0, 0, 90, 50], [10, 10, 30, 30], [20, 0, 60, 40]]
    given = batch([several, [], [[0, 0, 9, 9]]], [[0, 1, 1], [], [0]], [1, 2, 1])
    wanted = torch.tensor([[1, 0.2, 0, 0.6, 0.8], [2, NAN, NAN, NAN, NAN], [1, NAN, NAN, NAN, NAN]])
    torch.testing.assert_close(truth(given), wanted, equal_nan=True)


def test_the_losses_are_means_over_the_images_of_which_those_without_a_box_have_none():
    given = batch([[[0, 0, 50, 25]], []], [[0], []], [0, 1])
    rows = [[2.0, 0.0, 0.1, 0.0, 0.5, 0.6], [0.0, 1.0, 0.0, 0.0, 1.0, 1.0]]
    task = Localization(net=Fixed(rows), losses={"mse": MSE(weight=2.0), "giou": GIoU(weight=0.0)})
    task._check = lambda output: None
    found = task.step(given)
    label = nn.functional.cross_entropy(torch.tensor(rows)[:, :2], torch.tensor([0, 1]))
    torch.testing.assert_close(found["loss_label"], label)
    torch.testing.assert_close(found["loss_mse"], torch.tensor((0.1**2 + 0.1**2) / 4 / 2))
    torch.testing.assert_close(found["loss"], label + 2 * found["loss_mse"])
    assert "loss_giou" not in found
    found["loss"].backward()
    assert bool(task.net.rows.grad.isfinite().all()) and not bool(task.net.rows.grad[1, 2:].any())


def test_data_without_boxes_are_refused_with_the_key():
    given = batch([[]], [[]], [0])
    del given["boxes"]
    task = Localization(net=Fixed([[0.0] * 6]), losses={"mse": MSE()})
    with pytest.raises(ValueError, match=r"data\.targets=\[label,boxes\]"):
        task.step(given)


def test_metrics_equal_torchvision_and_leave_out_images_without_a_box():
    draw = torch.Generator().manual_seed(0)
    preds, target = torch.rand(40, 7, generator=draw), torch.rand(40, 5, generator=draw)
    target[:, 3:] = target[:, 1:3] + 0.3
    target[:, 0] = torch.randint(3, (40,), generator=draw)
    target[5:9, 1:] = NAN
    preds[:, 3:] = target[:, 1:].nan_to_num(0.2) + 0.1 * preds[:, 3:]
    has = target[:, 1:].isfinite().all(1)
    each = box_iou(preds[has, 3:], target[has, 1:]).diagonal()
    right = preds[has, :3].argmax(1) == target[has, 0]
    mean, localized = BoxIoU(), Localized(threshold=0.5)
    for part in torch.arange(40).split(13):
        mean.update(preds[part], target[part])
        localized.update(preds[part], target[part])
    torch.testing.assert_close(mean.compute(), each.mean(), atol=1e-6, rtol=0)
    torch.testing.assert_close(localized.compute(), (right & (each >= 0.5)).float().mean())


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (32, 32)])
def test_a_box_found_in_the_input_lies_where_it_is_in_the_photo(resize, shape):
    """What the net would answer is the true box, brought into the input as training brings it there."""
    true = np.array([[shape[1] * 0.4, shape[0] * 0.4, shape[1] * 0.6, shape[0] * 0.7]])
    preprocess = Preprocess(
        {
            "image_size": [32, 48], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3,
            "interpolation": "bilinear", "crop_pct": 0.9, "resize": resize,
        }
    )  # fmt: skip
    photo = np.zeros((*shape, 3), dtype=np.uint8)
    fitted = preprocess.fit({"image": photo, "boxes": true, "labels": np.zeros(1, dtype=np.int64)})
    share = fitted["boxes"][0] / np.array([48, 32, 48, 32])
    view, net = BoxView(classes=["a", "b"]), Fixed([[3.0, 0.0, *share.tolist()]])
    with torch.inference_mode():
        output = view.infer(net, torch.from_numpy(photo).permute(2, 0, 1)[None], preprocess)[0].numpy()
    answer = view.decode(output, photo)
    np.testing.assert_allclose(answer[2:6], true[0], atol=0.05)
    row = view.row(answer)
    assert row["predicted"] == "a" and row["x2"] == pytest.approx(true[0, 2], abs=0.05)
    assert view.lines(answer, np.array([1, *true[0]]))[1:] == ["IoU 1.000", "true: b"]


def test_a_box_is_drawn_in_its_place_on_a_smaller_copy_of_the_image():
    view, answer = BoxView(classes=["a"]), np.array([1.0, 40, 20, 80, 60, 200, 100])
    for factor in (1, 2):
        image = np.full((100 // factor, 200 // factor, 3), 128, dtype=np.uint8)
        drawn = view.draw(image, answer)
        column = drawn[drawn.shape[0] // 2 - 10]  # crosses the left and the right edge
        changed = np.flatnonzero((column != 128).any(axis=1)) / drawn.shape[1]
        assert changed.min() == pytest.approx(0.2, abs=0.02) and changed.max() == pytest.approx(0.4, abs=0.02)
