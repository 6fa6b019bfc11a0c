import copy

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from fovea.callbacks.ema import CURRENT, EMA, update
from helpers.toys import Toy, equal, loader, net, trainer


class Save(Callback):
    """Save as a checkpoint callback does, at the end of a training epoch or in mid-validation."""

    def __init__(self, folder, hook="on_train_epoch_end"):
        self.folder = folder
        setattr(self, hook, self.save)

    def save(self, trainer, pl_module, *rest):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


class Weights(Callback):
    """Note the weights after every step and those that validation sees."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.trained.append(copy.deepcopy(pl_module.state_dict()))

    def on_validation_batch_end(self, trainer, pl_module, *rest):
        if not trainer.sanity_checking:
            self.validated.append(copy.deepcopy(pl_module.state_dict()))


def fit(folder, *callbacks, ckpt_path=None, **kw):
    module = Toy(net())
    run = trainer(folder, *callbacks, **kw)
    run.fit(module, loader(), loader(), ckpt_path=ckpt_path)
    return module, run


def average(states, decay):
    start = Toy(net()).state_dict()
    mean = {k: v.double() if v.is_floating_point() else v for k, v in start.items()}
    for t, state in enumerate(states, 1):
        d = min(decay, (1 + t) / (10 + t))
        mean = {k: d * mean[k] + (1 - d) * v if v.is_floating_point() else v for k, v in state.items()}
    return mean


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_validation_and_the_trained_net_hold_the_average(tmp_path, decay):
    seen = Weights()
    module, _ = fit(tmp_path, EMA(decay=decay), seen, max_epochs=2)
    for epoch, state in enumerate((seen.validated[0], seen.validated[-1])):
        expected = average(seen.trained[: 4 * (epoch + 1)], decay)
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value.to(state[name].dtype), msg=name)
    assert equal(module.state_dict(), seen.validated[-1])
    assert equal(seen.validated[4], seen.validated[7])


def test_statistics_are_averaged_and_counts_copied():
    mean = {"running_mean": torch.zeros(2), "num_batches_tracked": torch.tensor(3)}
    update(mean, {"running_mean": torch.ones(2), "num_batches_tracked": torch.tensor(9)}, decay=0.75)
    assert mean["running_mean"].tolist() == [0.25, 0.25] and mean["num_batches_tracked"] == 9


def test_averaging_leaves_training_as_it_is(tmp_path):
    with_ema, without = Weights(), Weights()
    fit(tmp_path, EMA(), with_ema, max_epochs=2, val_check_interval=0.5)
    fit(tmp_path, without, max_epochs=2, val_check_interval=0.5)
    assert all(equal(a, b) for a, b in zip(with_ema.trained, without.trained, strict=True))


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_validation_end", "on_validation_batch_end"])
@pytest.mark.parametrize("order", [1, -1])
def test_checkpoints_hold_the_average_wherever_they_are_saved(tmp_path, hook, order):
    seen = Weights()
    fit(tmp_path, *[EMA(), Save(tmp_path, hook)][::order], seen, max_epochs=2)
    checkpoint = torch.load(tmp_path / "1.ckpt", weights_only=True)
    assert equal(checkpoint["state_dict"], seen.validated[-1])
    assert equal(checkpoint[CURRENT], seen.trained[-1])


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_end"])
@pytest.mark.parametrize("order", [1, -1])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path, hook, order):
    whole, parts = Weights(), Weights()
    module, _ = fit(tmp_path, EMA(), whole, max_epochs=4)
    fit(tmp_path, *[EMA(), Save(tmp_path, hook)][::order], parts, max_epochs=2)
    path = max(tmp_path.glob("*.ckpt"), key=lambda p: p.stat().st_mtime)
    rest, _ = fit(tmp_path, EMA(), parts, max_epochs=4, ckpt_path=path)
    assert all(equal(a, b) for a, b in zip(whole.trained, parts.trained, strict=True))
    assert all(equal(a, b) for a, b in zip(whole.validated, parts.validated, strict=True))
    assert equal(module.state_dict(), rest.state_dict())


def test_one_update_per_optimizer_step(tmp_path):
    ema = EMA()
    fit(tmp_path, ema, max_epochs=1, accumulate_grad_batches=2)
    assert ema.state_dict() == {"updates": 2, "step": 2}


@pytest.mark.parametrize("method", ["test", "validate"])
def test_the_trainer_that_fitted_tests_a_checkpoints_average(tmp_path, method):
    module, run = fit(tmp_path, EMA(), Save(tmp_path), max_epochs=3)
    checkpoint = torch.load(tmp_path / "1.ckpt", weights_only=True)
    getattr(run, method)(module, loader(), ckpt_path=tmp_path / "1.ckpt", verbose=False)
    assert equal(module.state_dict(), checkpoint["state_dict"])
    fresh, other = Toy(net()), trainer(tmp_path)
    getattr(other, method)(fresh, loader(), ckpt_path=tmp_path / "1.ckpt", verbose=False)
    assert run.callback_metrics == other.callback_metrics


def test_a_checkpoint_without_an_average_starts_one(tmp_path):
    _module, run = fit(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "x.ckpt")
    seen = Weights()
    fit(tmp_path, EMA(decay=0.0), seen, max_epochs=2, ckpt_path=tmp_path / "x.ckpt")
    assert equal(seen.validated[-1], seen.trained[-1])


def test_an_interrupted_validation_leaves_the_trained_weights_trainable(tmp_path):
    class Stop(Callback):
        def on_validation_batch_end(self, trainer, pl_module, *rest):
            if not trainer.sanity_checking:
                raise RuntimeError("cut short")

    seen = Weights()
    module, run = Toy(net()), trainer(tmp_path, EMA(), seen, Stop(), max_epochs=1)
    with pytest.raises(RuntimeError, match="cut short"):
        run.fit(module, loader(), loader())
    assert equal(module.state_dict(), seen.trained[-1])


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_that_never_moves_is_refused(decay):
    with pytest.raises(ValueError, match=f"decay={decay}"):
        EMA(decay=decay)
