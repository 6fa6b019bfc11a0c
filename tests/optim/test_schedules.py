import copy
import io
import math

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fovea.optim import schedules

NAMES = ("none", "step", "multistep", "cosine", "one_cycle")


def optimizer(*, lrs=(0.1, 0.02), cls=torch.optim.SGD, **kw):
    kw = kw or {"momentum": 0.9}
    return cls([{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs], lr=1.0, **kw)


def rates(scheduler, steps):
    """Return the learning rate that each optimizer step would use, a list per group."""
    used = []
    for _ in range(steps):
        used.append([g["lr"] for g in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return [list(group) for group in zip(*used, strict=True)]


def configured(name, opt, *, total_steps, steps_per_epoch=5, **knobs):
    config = OmegaConf.merge(OmegaConf.load(f"conf/scheduler/{name}.yaml"), knobs)
    return instantiate(config, _execution_whitelist_="fovea.*")(
        opt, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )


def test_constant():
    s = schedules.constant(optimizer(), total_steps=4, steps_per_epoch=2)
    assert rates(s, 6) == [[0.1] * 6, [0.02] * 6]


def test_step():
    s = schedules.step(optimizer(), total_steps=30, steps_per_epoch=5, every_epochs=2, gamma=0.5)
    assert rates(s, 30)[0] == pytest.approx([0.1 * 0.5 ** (i // 10) for i in range(30)])


def test_multistep():
    s = schedules.multistep(optimizer(), total_steps=30, steps_per_epoch=5, milestones=[1, 4, 4.4], gamma=0.1)
    expected = [0.1 * 0.1 ** sum(i >= m for m in (5, 20, 22)) for i in range(30)]
    assert rates(s, 30)[0] == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 2, 2.6])
def test_cosine(warmup):
    s = schedules.cosine(optimizer(), total_steps=40, steps_per_epoch=5, warmup_epochs=warmup, min_factor=0.1)
    w = round(5 * warmup)
    expected = [
        (i + 1) / w if i < w else 0.1 + 0.9 * (1 + math.cos(math.pi * (i - w) / (40 - w))) / 2
        for i in range(40)
    ]
    got = rates(s, 40)
    assert got[0] == pytest.approx([0.1 * f for f in expected])
    assert got[1] == pytest.approx([0.02 * f for f in expected])
    assert [g["lr"] for g in s.optimizer.param_groups] == pytest.approx([0.01, 0.002])
    assert rates(s, 3)[0] == pytest.approx([0.01] * 3)


@pytest.mark.parametrize("name", ["none", "step", "multistep"])
def test_warm_up_multiplies_every_curve(name):
    cold = rates(configured(name, optimizer(), total_steps=40), 40)[0]
    warm = rates(configured(name, optimizer(), total_steps=40, warmup_epochs=2), 40)[0]
    assert warm == pytest.approx([lr * min((i + 1) / 10, 1) for i, lr in enumerate(cold)])


def test_one_cycle_peaks_at_each_groups_own_rate():
    opt = optimizer()
    got = rates(configured("one_cycle", opt, total_steps=100), 100)
    for group, peak in zip(got, (0.1, 0.02), strict=True):
        assert max(group) == pytest.approx(peak)
        assert group.index(max(group)) == 29
        assert group[0] == pytest.approx(0.04 * peak) and group[-1] == pytest.approx(4e-6 * peak)
    reference = optimizer()
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        reference, max_lr=[0.1, 0.02], total_steps=100, div_factor=25, final_div_factor=1e4
    )
    assert got[0] == pytest.approx(rates(theirs, 100)[0])


def test_one_cycle_serves_optimizers_without_momentum():
    opt = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    s = schedules.one_cycle(opt, total_steps=10, steps_per_epoch=5)
    assert max(rates(s, 10)[0]) == pytest.approx(0.1)


def test_plateau_waits_then_drops():
    opt = optimizer()
    s = schedules.plateau(
        opt, total_steps=1, steps_per_epoch=1, mode="min", factor=0.5, patience=2, min_lr=0.04
    )
    seen = []
    for value in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        s.step(value)
        seen.append(opt.param_groups[0]["lr"])
    assert seen == [0.1] * 4 + [0.05] * 3 + [0.04]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(name, total):
    knobs = {} if name == "one_cycle" else {"warmup_epochs": 100}
    s = configured(name, optimizer(), total_steps=total, steps_per_epoch=1, **knobs)
    got = rates(s, total)
    assert all(0 < lr <= 0.1 for lr in got[0])


def saved(scheduler):
    """Pass both states through a file, as a checkpoint does."""
    file = io.BytesIO()
    torch.save([scheduler.optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def resumed(name, state, *, total_steps, opt=None):
    s = configured(name, opt or optimizer(), total_steps=total_steps)
    s.optimizer.load_state_dict(state[0])
    s.load_state_dict(state[1])
    return s


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", NAMES)
def test_resumed_is_uninterrupted_to_the_bit(name, cls):
    kw = {"weight_decay": 0.1} if cls is torch.optim.AdamW else {"momentum": 0.9}
    whole = configured(name, optimizer(cls=cls, **kw), total_steps=40)
    rates(whole, 17)
    again = resumed(name, copy.deepcopy(saved(whole)), total_steps=40, opt=optimizer(cls=cls, **kw))
    for a, b in zip(whole.optimizer.param_groups, again.optimizer.param_groups, strict=True):
        assert {k: v for k, v in a.items() if k != "params"} == {k: v for k, v in b.items() if k != "params"}
    assert rates(whole, 23) == rates(again, 23)
    assert whole.get_last_lr() == again.get_last_lr()


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_run_goes_on_with_its_own_curve(name):
    short = configured(name, optimizer(), total_steps=40)
    rates(short, 40)
    longer = rates(configured(name, optimizer(), total_steps=80), 80)
    assert [g[40:] for g in longer] == rates(resumed(name, saved(short), total_steps=80), 40)


def test_a_finished_cycle_is_not_cut_short():
    s = configured("one_cycle", optimizer(), total_steps=40)
    rates(s, 30)
    with pytest.raises(ValueError, match=r"step 30.*ends at 20.*max_epochs"):
        resumed("one_cycle", saved(s), total_steps=20)


def test_plateau_resumes_with_its_patience():
    opt = optimizer()
    s = schedules.plateau(opt, total_steps=1, steps_per_epoch=1, patience=1)
    for _ in range(2):
        s.step(1.0)
    state = saved(s)
    again = schedules.plateau(optimizer(), total_steps=1, steps_per_epoch=1, patience=1)
    again.optimizer.load_state_dict(state[0])
    again.load_state_dict(state[1])
    again.step(1.0)
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_step_of_no_length_is_refused():
    with pytest.raises(ValueError, match="every_epochs=0"):
        schedules.step(optimizer(), total_steps=1, steps_per_epoch=1, every_epochs=0)
