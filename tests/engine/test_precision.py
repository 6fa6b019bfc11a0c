import random
import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fovea.engine import checkpoint, precision, rundir
from helpers import runs


class Data:
    """Serve one batch; looking at it draws from every generator, as starting a real loader does."""

    def train_dataloader(self):
        torch.rand(3)
        np.random.rand(3)
        random.random()
        return [{"image": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)}]

    class preprocess:
        @staticmethod
        def to_input(image):
            return image.float() + torch.arange(8.0)


class Net(nn.Module):
    """A network with everything that a step changes: weights, gradients, statistics, random numbers."""

    def __init__(self, shape=lambda x: x):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head, self.shape = nn.Linear(4, 2), shape

    def forward(self, x):
        return self.shape(self.head(self.body(x).mean(dim=(2, 3))))


@pytest.fixture
def config():
    trainer = {"precision": "auto", "accelerator": "cpu"}
    config = OmegaConf.create({"trainer": trainer, "channels_last": False})
    OmegaConf.set_struct(config, True)
    return config


@pytest.fixture
def timed(monkeypatch):
    """Replace the trials: each candidate takes the given seconds, after a first step that takes longer."""

    def fake(**seconds):
        def trial(net, image, device, name, channels_last):
            yield 100.0
            while True:
                yield seconds["fp32" if name == "32-true" else "reduced"]

        monkeypatch.setattr(precision, "_trial", trial)

    return fake


@pytest.mark.parametrize(
    ("reduced", "chosen", "layout"),
    [
        (0.5, "bf16-mixed", True),
        (0.94, "bf16-mixed", True),
        (0.96, "32-true", False),
        (2.0, "32-true", False),
    ],
)
def test_the_faster_is_chosen_and_the_reason_recorded(config, timed, reduced, chosen, layout):
    timed(fp32=1.0, reduced=reduced)
    precision.choose(config, Net(), Data())
    assert (config.trainer.precision, config.channels_last) == (chosen, layout)
    assert re.fullmatch(rf"bf16-mixed .*channels-last.* {reduced:.2f} .*fp32 on cpu", config.precision_reason)


def test_a_layout_that_the_user_chose_stays(config, timed):
    timed(fp32=1.0, reduced=2.0)
    config.channels_last = True
    precision.choose(config, Net(), Data())
    assert (config.trainer.precision, config.channels_last) == ("32-true", True)


def test_an_outlier_does_not_decide(config, monkeypatch):
    def trial(net, image, device, name, channels_last):
        yield from [1.0, 1.0, 1.0, 50.0] if name == "bf16-mixed" else [1.0, 2.0, 2.0, 0.1]

    monkeypatch.setattr(precision, "_trial", trial)
    precision.choose(config, Net(), Data())
    assert config.trainer.precision == "bf16-mixed"


def test_a_hopeless_candidate_is_given_up_after_its_first_step(config, monkeypatch):
    steps = []

    def trial(net, image, device, name, channels_last):
        while True:
            steps.append(name)
            yield 1.0 if name == "32-true" else 30.0

    monkeypatch.setattr(precision, "_trial", trial)
    precision.choose(config, Net(), Data())
    assert config.trainer.precision == "32-true" and steps == ["32-true", "bf16-mixed"]


def state(net):
    return {
        "weights": {k: v.clone() for k, v in net.state_dict().items()},
        "layout": [p.stride() for p in net.parameters()],
        "modes": [m.training for m in net.modules()],
        "grads": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "requires": [p.requires_grad for p in net.parameters()],
        "random": [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()],
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_real_trial_leaves_everything_as_it_was(config, training):
    net = Net().train(training)
    net.head.bias.requires_grad_(False)
    net.body[0].weight.grad = torch.ones_like(net.body[0].weight)
    before = state(net)
    precision.choose(config, net, Data())
    assert config.trainer.precision in ("32-true", "bf16-mixed")
    assert "fp32 on cpu" in config.precision_reason
    assert runs.difference(before, state(net)) is None


def test_a_failing_trial_leaves_the_random_numbers_too(config):
    def broken(x):
        torch.rand(5)
        raise RuntimeError("no kernel")

    net = Net(broken)
    before = state(net)
    precision.choose(config, net, Data())
    assert runs.difference(before, state(net)) is None


class OnlyFloat32(torch.autograd.Function):
    """An operator without a kernel for bfloat16."""

    @staticmethod
    def forward(ctx, x):
        if x.dtype != torch.float32:
            raise NotImplementedError(
                "\"special\" not implemented for 'BFloat16'\nand a long list of backends"
            )
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_an_operator_that_fails_in_bf16_means_fp32(config, caplog):
    precision.choose(config, Net(OnlyFloat32.apply), Data())
    assert (config.trainer.precision, config.channels_last) == ("32-true", False)
    wanted = "the trial failed: bf16-mixed: \"special\" not implemented for 'BFloat16'"
    assert config.precision_reason == wanted
    assert f"trainer.precision=auto: 32-true, because {wanted}" in caplog.text


def test_a_network_that_fails_anyway_fails_in_training_not_here(config):
    def broken(x):
        raise KeyError("boxes")

    precision.choose(config, Net(broken), Data())
    assert config.trainer.precision == "32-true"
    assert config.precision_reason == "the trial failed: 32-true: 'boxes'"


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: {"logits": x, "aux": [x, (x, {"deep": x})], "name": "x", "count": 3, "none": None},
        lambda x: [x, x.argmax(dim=1)],
        lambda x: (x,),
        lambda x: [],
        lambda x: x.detach(),
    ],
)
def test_any_output_will_do(config, shape):
    precision.choose(config, Net(shape), Data())
    assert "of fp32" in config.precision_reason, config.precision_reason


def test_the_gradient_reaches_every_part_of_an_output():
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    precision._score({"x": a, "y": [b, "text", None]}).backward()
    assert a.grad.abs().min() > 0 and b.grad.abs().min() > 0


def test_a_frozen_network_is_tried_too(config):
    net = Net().requires_grad_(False)
    precision.choose(config, net, Data())
    assert "fp32 on cpu" in config.precision_reason
    assert all(p.grad is None for p in net.parameters())


def test_a_resumed_run_keeps_the_choice_and_tries_nothing(config, monkeypatch, tmp_path):
    saved = {
        "trainer": {"precision": "bf16-mixed"},
        "channels_last": True,
        "precision_reason": "it was faster",
    }
    monkeypatch.setattr(checkpoint, "load", lambda path: {"fovea": {"config": saved}})
    monkeypatch.setattr(precision, "choose", lambda *args: pytest.fail("it tried again"))
    precision.settle(config, None, None, tmp_path / "last.ckpt")
    assert (config.trainer.precision, config.channels_last) == ("bf16-mixed", True)
    assert config.precision_reason == "it was faster"


@pytest.mark.slow
def test_a_run_records_its_choice_and_goes_on_with_it(tmp_path):
    run_dir = tmp_path / "run"
    command = [*runs.QUICK, "trainer.precision=auto"]
    assert runs.train([*command, "trainer.max_epochs=1"], run_dir=run_dir) == 0, runs.output(run_dir)
    first = rundir.read_config(run_dir)
    assert first.trainer.precision in ("32-true", "bf16-mixed")
    assert first.channels_last == (first.trainer.precision == "bf16-mixed")
    assert f"trainer.precision=auto: {first.trainer.precision}" in runs.output(run_dir)
    assert first.precision_reason in runs.output(run_dir)
    saved = runs.checkpoint(run_dir, "last")["fovea"]["config"]
    assert saved["trainer"]["precision"] == first.trainer.precision
    for again in (["resume=true", "trainer.max_epochs=2"], ["resume=true", "trainer.precision=auto"]):
        assert runs.train(again, run_dir=run_dir) == 0, runs.output(run_dir)
        assert "trainer.precision=auto" not in runs.output(run_dir)
        second = rundir.read_config(run_dir)
        for key in ("trainer.precision", "channels_last", "precision_reason"):
            assert OmegaConf.select(second, key) == OmegaConf.select(first, key)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "fused"), [("bf16-mixed", False), ("32-true", True)])
def test_gradients_are_clipped_in_every_precision_and_the_optimizer_is_recorded(tmp_path, precision, fused):
    command = [*runs.QUICK, "trainer.max_epochs=1", "trainer.gradient_clip_val=1.0"]
    run_dir = tmp_path / "run"
    assert runs.train([*command, f"trainer.precision={precision}"], run_dir=run_dir) == 0, runs.output(
        run_dir
    )
    assert rundir.read_config(run_dir).optimizer.fused is fused
    assert ("optimizer.fused=false" in runs.output(run_dir)) is not fused


@pytest.mark.slow
def test_an_automatic_choice_trains_as_the_same_choice_by_hand(tmp_path):
    auto, hand = tmp_path / "auto", tmp_path / "hand"
    command = [*runs.QUICK, "trainer.max_epochs=1", "model.net.dropout=0.5"]
    assert runs.train([*command, "trainer.precision=auto"], run_dir=auto) == 0, runs.output(auto)
    chosen = rundir.read_config(auto)
    given = [f"trainer.precision={chosen.trainer.precision}", f"channels_last={chosen.channels_last}"]
    assert runs.train([*command, *given], run_dir=hand) == 0, runs.output(hand)
    a, b = (runs.checkpoint(d, "last")["state_dict"] for d in (auto, hand))
    assert runs.difference(a, b) is None
