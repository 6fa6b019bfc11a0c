import pytest
import torch
from torchvision.ops import box_iou

from fovea.ops.box_losses import L1, MSE, CIoU, GIoU, iou, ordered

LOSSES = [MSE(), L1(), GIoU(), CIoU()]


def boxes(count, *, seed=0):
    return ordered(torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)))


def test_iou_equals_torchvision_and_empty_boxes_have_none():
    a, b = boxes(50), boxes(50, seed=1)
    torch.testing.assert_close(iou(a, b), box_iou(a, b).diagonal())
    empty = torch.zeros(3, 4)
    assert iou(empty, empty).tolist() == [0.0] * 3


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
def test_a_loss_is_one_number_an_image_nothing_for_the_truth_and_has_a_slope_everywhere(loss):
    true = boxes(20)
    found = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
    found.requires_grad_()  # half of the corners are the wrong way round
    values = loss(found, true)
    assert values.shape == (20,) and bool((values >= 0).all())
    # torchvision adds 1e-7 to the areas, which is 2e-5 of the smallest box here
    torch.testing.assert_close(loss(true, true), torch.zeros(20), atol=1e-4, rtol=0)
    (slope,) = torch.autograd.grad(values.sum(), found)
    assert bool(slope.isfinite().all()) and bool((slope.abs().sum(1) > 0).all())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
def test_descent_brings_a_box_that_is_apart_to_the_truth(loss):
    found, true = (
        torch.tensor([[0.05, 0.05, 0.2, 0.3]]).requires_grad_(),
        torch.tensor([[0.5, 0.4, 0.9, 0.8]]),
    )
    optimizer = torch.optim.Adam([found], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss(found, true).sum().backward()
        optimizer.step()
    assert float(iou(ordered(found.detach()), true)) > 0.85
