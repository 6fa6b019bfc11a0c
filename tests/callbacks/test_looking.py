from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder
from torch import nn

from fovea.callbacks.looking import Looking
from fovea.errors import UsageError


class Sees(nn.Module):
    """Write down what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forget(self):
        self.told.append("forget")

    def observe(self, x, preds, target):
        self.told.append("observe")

    def conclude(self):
        self.told.append("conclude")


def module(net):
    return SimpleNamespace(net=net)


def test_a_net_that_looks_forgets_and_concludes_and_others_are_left_alone():
    looking, net = Looking(), Sees()
    looking.on_train_epoch_start(None, module(net))
    looking.on_validation_epoch_start(None, module(net))
    looking.on_train_epoch_end(None, module(net))
    assert net.told == ["forget", "conclude", "conclude"]
    for hook in (looking.on_train_epoch_start, looking.on_validation_epoch_start, looking.on_train_epoch_end):
        hook(None, module(torch.nn.Linear(2, 2)))


def test_processes_that_share_the_images_and_a_search_for_the_learning_rate_are_refused():
    two, search = (SimpleNamespace(world_size=2, callbacks=[]), [LearningRateFinder()])
    with pytest.raises(UsageError, match=r"2 that share them.*trainer\.devices=1"):
        Looking().setup(two, module(Sees()), "fit")
    with pytest.raises(UsageError, match=r"no gradients.*callbacks=lr_finder"):
        Looking().setup(SimpleNamespace(world_size=1, callbacks=search), module(Sees()), "fit")
    Looking().setup(two, module(Sees()), "test")
    Looking().setup(two, module(nn.Linear(2, 2)), "fit")
