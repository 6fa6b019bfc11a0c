from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fovea.engine.sizes import check_sizes
from fovea.errors import UsageError
from fovea.ops.multi_scale import MultiScale


class Fixed(nn.Module):
    def forward(self, x):
        assert x.shape[2:] == (64, 64), "64 only"
        return x


def data(*augment_batch):
    preprocessing = {"image_size": [64, 64], "channels": 3}
    return SimpleNamespace(augment_batch=augment_batch, preprocessing=preprocessing)


def test_a_net_for_one_size_is_refused_with_batches_of_others_before_it_trains():
    for scale in (0.4, 0.5):
        with pytest.raises(UsageError, match=r"takes \[64, 64\] only.*multi_scale"):
            check_sizes(Fixed(), data(MultiScale(scale=scale)))
    check_sizes(Fixed(), data(MultiScale(scale=0.0), abs))
    check_sizes(nn.Conv2d(3, 1, 3), data(MultiScale(scale=0.5)))
    check_sizes(nn.Linear(5, 1), data(MultiScale(scale=0.5)))  # says so itself


def test_the_extremes_hold_every_size():
    augment = MultiScale(scale=0.4)
    low, high = augment.extremes(96, 160)
    for i in range(40):
        batch = {"image": torch.zeros(1, 3, 96, 160), "epoch": 0, "index": torch.tensor([i])}
        size = augment(batch, seed=0, num_classes=1)["image"].shape[2:]
        assert all(a <= b <= c for a, b, c in zip(low, size, high, strict=True))
