import logging
import re
import warnings
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from fovea.callbacks.freezing import Freezing
from fovea.optim.finetune import Finetune
from helpers.toys import Toy, equal, loader, net, trainer

GRADUAL = Finetune(unfreeze_epoch=1, stage_epochs=1)


class Spy(Callback):
    """Note what trains and which modules are in train mode, in every training step."""

    def __init__(self):
        self.steps, self.weights = [], []

    def on_before_backward(self, trainer, pl_module, loss):
        net = pl_module.net
        trains = {n for n, p in net.named_parameters() if p.requires_grad}
        self.steps.append((trainer.current_epoch, trains, {n for n, m in net.named_modules() if m.training}))

    def on_train_epoch_start(self, trainer, pl_module):
        self.weights.append({k: v.clone() for k, v in pl_module.net.state_dict().items()})

    def on_train_end(self, trainer, pl_module):
        self.on_train_epoch_start(trainer, pl_module)


def fit(folder, plan, *callbacks, net=None, ckpt_path=None, loader=loader, **kw):
    module = Toy(net if net is not None else globals()["net"](drop=0.5), plan)
    run = trainer(folder, Freezing(), *callbacks, **kw)
    run.fit(module, loader(), loader(), ckpt_path=ckpt_path)
    return module, run


@pytest.mark.parametrize(
    "plan", [Finetune(), GRADUAL, Finetune(unfreeze_epoch=2), Finetune(unfreeze_epoch=None)]
)
def test_each_step_trains_what_the_plan_says(tmp_path, plan):
    spy = Spy()
    module, _ = fit(tmp_path, plan, spy, max_epochs=5, val_check_interval=0.5)
    assert len(spy.steps) == 20
    for epoch, trains, training in spy.steps:
        assert trains == plan.trainable(module.net, epoch)
        still = {id(m) for m in plan.frozen_modules(module.net, epoch)}
        assert training == {n for n, m in module.net.named_modules() if id(m) not in still}


def test_frozen_parts_stand_still_and_others_do_not(tmp_path):
    spy = Spy()
    _module, _ = fit(tmp_path, GRADUAL, spy, max_epochs=4, val_check_interval=0.5)
    frozen = [("0.", "1.", "4."), ("0.", "1."), ("0.",), ()]
    for (before, after), names in zip(zip(spy.weights, spy.weights[1:], strict=False), frozen, strict=True):
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name]) == name.startswith(names), name


def test_a_mode_set_during_validation_does_not_thaw_statistics(tmp_path):
    class Meddler(Toy):
        def on_validation_model_train(self):
            self.train()

    module = Meddler(net(), Finetune(unfreeze_epoch=None))
    before = module.net[1].running_mean.clone()
    trainer(tmp_path, Freezing(), max_epochs=2, val_check_interval=0.5).fit(module, loader(), loader())
    assert torch.equal(module.net[1].running_mean, before)


def test_gradients_of_what_is_frozen_stay_none(tmp_path):
    class Grads(Callback):
        def on_after_backward(self, trainer, pl_module):
            found.append({n for n, p in pl_module.net.named_parameters() if p.grad is not None})

    found = []
    module, _ = fit(tmp_path, GRADUAL, Grads(), max_epochs=4)
    assert found == [GRADUAL.trainable(module.net, step // 4) for step in range(16)]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path, stop):
    whole, _ = fit(tmp_path, GRADUAL, net=net(), max_epochs=4)
    _, run = fit(tmp_path, GRADUAL, net=net(), max_epochs=stop)
    run.save_checkpoint(tmp_path / "x.ckpt")
    rest, _ = fit(tmp_path, GRADUAL, net=net(), max_epochs=4, ckpt_path=tmp_path / "x.ckpt")
    assert equal(whole.state_dict(), rest.state_dict())


def test_a_run_resumed_in_mid_epoch_is_frozen_too(tmp_path):
    class Save(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "x.ckpt")

    _whole, _ = fit(tmp_path, GRADUAL, Save(), net=net(), max_epochs=3)
    spy = Spy()
    rest, _ = fit(tmp_path, GRADUAL, spy, net=net(), max_epochs=3, ckpt_path=tmp_path / "x.ckpt")
    assert all(trains == GRADUAL.trainable(rest.net, epoch) for epoch, trains, _ in spy.steps)
    assert all(("1" in training) == (epoch >= 2) for epoch, _, training in spy.steps)


def test_unfreezing_is_told_in_plain_words(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="fovea"):
        fit(tmp_path, GRADUAL, max_epochs=4)
    said = [r.getMessage() for r in caplog.records if r.name == "fovea.callbacks.freezing"]
    parts = [(0, 6, 27), (1, 4, 99), (2, 1, 115), (3, 0, 163)]  # epoch, what opens, how many train
    for line, (epoch, opened, trained) in zip(said, parts, strict=True):
        assert re.match(rf"Epoch {epoch}\b.*\b{opened}\b.*\b{trained} of 163\b", line)


def test_nothing_is_said_where_nothing_is_frozen(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="fovea"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, Finetune(), max_epochs=1)
        fit(tmp_path, None, max_epochs=1)
    assert not [r for r in caplog.records if r.name == "fovea.callbacks.freezing"]
    assert not [w for w in caught if "eval mode" in str(w.message)]


def test_a_net_in_which_nothing_trains_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Flatten.*epoch 0.*finetune\.head"):
        fit(tmp_path, Finetune(unfreeze_epoch=None), net=nn.Flatten(), max_epochs=1)


class Keep(Callback):
    """Write each process's weights."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.net.state_dict(), self.folder / f"{trainer.world_size}_{trainer.global_rank}.pt")


@pytest.mark.slow
def test_two_processes_equal_one_after_unfreezing(tmp_path):
    strategy = DDPStrategy(start_method="spawn", process_group_backend="gloo")
    run = partial(fit, tmp_path, GRADUAL, Keep(tmp_path), max_epochs=4)
    run(net=net(norm=False), loader=partial(loader, 4, 32), devices=2, strategy=strategy)
    run(net=net(norm=False), loader=partial(loader, 8, 32))
    first, second, single = (torch.load(tmp_path / f"{n}.pt") for n in ("2_0", "2_1", "1_0"))
    assert equal(first, second)
    for name, tensor in single.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-5, rtol=0)
    assert not equal(single, net(norm=False).state_dict())
