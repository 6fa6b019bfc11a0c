from functools import partial

import pytest
import torch

from fovea.callbacks.freezing import Freezing
from fovea.ops.style_losses import content_loss, gram, style_loss
from helpers import painted


class Losses(painted.L.Callback):
    """Note the loss of the image after every epoch, and how often the optimiser asked for it."""

    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, pl_module):
        with torch.no_grad():
            self.seen.append({k: float(v) for k, v in pl_module.step({}).items()})


def fit(tmp_path, task, *, epochs=3, ckpt_path=None, steps=6):
    losses = Losses()
    trainer = painted.trainer(epochs, [Freezing(), losses], limit_val_batches=0)
    trainer.fit(task, datamodule=painted.data(tmp_path, steps=steps), ckpt_path=ckpt_path, weights_only=True)
    return trainer, losses.seen


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [painted.ADAM, painted.LBFGS])
def test_both_optimisers_reduce_the_loss_and_leave_the_backbone_alone(optimizer, tmp_path):
    task = painted.task(optimizer=optimizer)
    before = {k: v.clone() for k, v in task.net.backbone.state_dict().items()}
    _, seen = fit(tmp_path, task)
    losses = [s["loss"] for s in seen]
    assert losses == sorted(losses, reverse=True)
    after = task.net.backbone.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert all(p.grad is None and not p.requires_grad for p in task.net.backbone.parameters())
    assert not any(m.training for m in task.net.backbone.modules())


@pytest.mark.slow
def test_lbfgs_records_each_step_once(tmp_path):
    class Counting(type(painted.task())):
        asked, recorded = 0, 0

        def step(self, batch):
            self.asked += 1
            return super().step(batch)

        def _record(self, stage, batch, output):
            self.recorded += 1
            super()._record(stage, batch, output)

    task = Counting(net=painted.pixel_image(), optimizer=painted.LBFGS)
    trainer = painted.trainer(1, limit_val_batches=0)
    trainer.fit(task, datamodule=painted.data(tmp_path, steps=5))
    assert task.recorded == 5 == trainer.global_step < task.asked


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [painted.ADAM, painted.LBFGS])
def test_resumed_equals_uninterrupted(optimizer, tmp_path):
    whole = painted.task(optimizer=optimizer, start="noise")
    fit(tmp_path, whole, epochs=4)
    part = painted.task(optimizer=optimizer, start="noise")
    trainer, _ = fit(tmp_path, part, epochs=2)
    trainer.save_checkpoint(tmp_path / "part.ckpt")
    resumed = painted.task(optimizer=optimizer, start="content", seed=5)  # neither start nor seed matter now
    fit(tmp_path, resumed, epochs=4, ckpt_path=tmp_path / "part.ckpt")
    assert not torch.equal(part.net.render(), whole.net.render())
    assert all(torch.equal(a, b) for a, b in zip(whole.net.image, resumed.net.image, strict=True))


@pytest.mark.slow
def test_inversion_from_noise_approaches_the_features_of_the_content(tmp_path):
    net = painted.pixel_image(content_layers=["stage0"], style_layers=[])
    task = painted.task(net, style_weight=0.0, start="noise", optimizer=partial(torch.optim.Adam, lr=0.05))
    _, seen = fit(tmp_path, task, epochs=6, steps=25)
    assert seen[-1]["loss_content"] < 0.02 and seen[-1]["loss_style"] == 0
    away = (task.net.render() - task.content).abs().mean()
    assert away < 0.1  # the first layer still knows the picture


@pytest.mark.slow
def test_texture_from_noise_approaches_the_statistics_of_the_style(tmp_path):
    net = painted.pixel_image(content_layers=[])
    task = painted.task(net, content_weight=0.0, start="noise")
    _, seen = fit(tmp_path, task, epochs=6, steps=20)
    assert seen[-1]["loss_style"] < 0.25 * seen[0]["loss_style"] and seen[-1]["loss_content"] == 0


@pytest.fixture
def placed(tmp_path):
    """Return a function that gives a task its two pictures without a training."""

    def place(**kwargs):
        task = painted.task(**kwargs)
        data = painted.data(tmp_path)
        data.setup()
        task.trainer = type("Trainer", (), {"datamodule": data})()
        task.setup("fit")
        return task

    return place


def test_the_loss_is_the_weighted_sum_of_its_parts(placed):
    task = placed(content_weight=2.0, style_weight=3.0, tv_weight=0.5, start="noise")
    out = task.step({})
    expected = 2 * out["loss_content"] + 3 * out["loss_style"] + 0.5 * out["loss_tv"]
    torch.testing.assert_close(out["loss"], expected)
    found, content, style = task(task.net.render()), task(task.content), task(task.style)
    torch.testing.assert_close(out["loss_content"], content_loss(found, {"stage1": content["stage1"]}))
    torch.testing.assert_close(out["loss_style"], style_loss(found, {k: gram(v) for k, v in style.items()}))


def test_the_content_has_no_content_loss_and_the_style_no_style_loss(placed):
    task = placed()
    assert float(task.step({})["loss_content"].detach()) < 1e-10
    task.net.put(task.style)
    assert float(task.step({})["loss_style"].detach()) < 1e-10


def test_the_gradient_goes_to_the_image_alone(placed):
    task = placed(start="noise")
    task.step({})["loss"].backward()
    assert {n for n, p in task.named_parameters() if p.grad is not None} == {
        f"net.image.{i}" for i in range(3)
    }


def test_a_new_fit_starts_where_it_should(placed):
    task = placed()
    torch.testing.assert_close(task.net.render(), task.content)
    noise = placed(start="noise", seed=3)
    again, other = placed(start="noise", seed=3), placed(start="noise", seed=4)
    assert torch.equal(noise.net.render(), again.net.render())
    assert not torch.equal(noise.net.render(), other.net.render())


def test_a_test_first_does_not_spoil_a_fit(placed):
    task = placed(start="noise")
    with torch.inference_mode():
        task.step({})
    task.step({})["loss"].backward()


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"start": "nothing"}, "task.start='nothing' is unknown: choose one of content, noise"),
        ({"style_weight": -1.0}, "task.style_weight=-1.0 must be a number of at least 0"),
        ({"content_weight": float("nan")}, "task.content_weight=nan"),
        ({"content_weight": 0.0, "style_weight": 0.0}, "raise one of them"),
    ],
)
def test_bad_options_name_the_remedy(kwargs, said):
    with pytest.raises(ValueError, match=said):
        painted.task(**kwargs)


def test_a_weight_without_layers_is_refused():
    net = painted.pixel_image(style_layers=[])
    with pytest.raises(ValueError, match=r"model.net.style_layers=\[\].*task.style_weight=0"):
        painted.task(net)
