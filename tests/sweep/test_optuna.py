"""Studies: direction, storage, the trials that are left."""

import json
import math
from types import SimpleNamespace

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict, read_write
from optuna.trial import TrialState

from fovea import errors
from fovea.config.paths import CONF
from fovea.sweep.optuna import prepare, requeue, wrong_direction


def optuna_config(tmp_path, *overrides, study="sweep=optuna"):
    with initialize_config_dir(str(CONF)):
        return compose(
            "train",
            overrides=[study, f"sweep_dir={tmp_path}", "sweep_name=s", *overrides],
            return_hydra_config=True,
        )


def suggest(optuna_study, state, lr, value=None):
    optuna_study.enqueue_trial({"lr": lr})
    trial = optuna_study.ask()
    trial.suggest_float("lr", 0, 1)
    if state != TrialState.RUNNING:
        optuna_study.tell(trial, value, state=state)


def test_trials_that_did_not_finish_are_queued_once():
    first = optuna.create_study()
    suggest(first, TrialState.COMPLETE, 0.1, 1.0)
    suggest(first, TrialState.FAIL, 0.2)
    suggest(first, TrialState.RUNNING, 0.3)
    suggest(first, TrialState.FAIL, 0.4)
    suggest(first, TrialState.COMPLETE, 0.4, 2.0)  # repeated already
    for _ in range(2):
        assert requeue(first) == 2
        waiting = [
            t.system_attrs["fixed_params"]["lr"] for t in first.trials if t.state == TrialState.WAITING
        ]
        assert sorted(waiting) == [0.2, 0.3]
    assert not [t for t in first.trials if t.state == TrialState.RUNNING]


@pytest.mark.parametrize(("mode", "direction"), [("min", "minimize"), ("max", "maximize")])
def test_the_direction_follows_the_mode(tmp_path, mode, direction):
    config = optuna_config(tmp_path, f"metrics.mode={mode}")
    prepare(config)
    assert config.hydra.sweeper.direction == direction
    assert f"hydra.sweeper.direction='{direction}'" in config.hydra.overrides.hydra
    assert wrong_direction(config, config.hydra) is None
    config.metrics.mode = {"min": "max", "max": "min"}[mode]
    assert "sweep these apart" in wrong_direction(config, config.hydra)


def test_a_stored_study_is_asked_for_what_it_lacks_with_another_seed(tmp_path):
    stored = optuna.create_study(
        study_name="s", storage=f"sqlite:///{tmp_path}/study.db", direction="maximize"
    )
    suggest(stored, TrialState.COMPLETE, 0.1, 1.0)
    suggest(stored, TrialState.FAIL, 0.2)
    config = optuna_config(tmp_path, "hydra.sweeper.n_trials=5", "seed=3")
    prepare(config)
    assert config.hydra.sweeper.n_trials == 4
    assert config.hydra.sweeper.sampler.seed == 3 + 3
    assert "hydra.sweeper.n_trials=4" in config.hydra.overrides.hydra


def test_a_stored_study_of_the_other_direction_is_refused(tmp_path):
    optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db", direction="minimize")
    with pytest.raises(errors.UsageError, match="another sweep_dir"):
        prepare(optuna_config(tmp_path))


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL])
@pytest.mark.parametrize("space", ["choice(0.1,0.2)", "interval(0.1,0.2)", "tag(log,interval(1e-3,1e-1))"])
def test_a_key_that_a_stored_study_searched_otherwise_is_refused(tmp_path, state, space):
    first = optuna.create_study(
        study_name="s", storage=f"sqlite:///{tmp_path}/study.db", direction="maximize"
    )
    trial = first.ask()
    trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    first.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state=state)
    config = optuna_config(tmp_path)
    with open_dict(config.hydra), read_write(config.hydra):
        config.hydra.sweeper.params["optimizer.lr"] = space
    if "log" in space:  # a range may grow
        return prepare(config)
    with pytest.raises(errors.UsageError) as said:
        prepare(config)
    assert f"sweep_dir={tmp_path}" in str(said.value) and space in str(said.value)
    assert "'optimizer.lr=tag(log,interval(0.0001,0.01))'" in str(said.value)
    assert len(first.trials) == 1


def test_a_plain_optuna_sweeper_is_stored_and_outlives_failures(tmp_path):
    config = optuna_config(tmp_path, study="hydra/sweeper=optuna")
    prepare(config)
    sweeper = config.hydra.sweeper
    assert (sweeper.study_name, sweeper.storage) == ("s", f"sqlite:///{tmp_path}/study.db")
    assert sweeper.max_failure_rate == 1.0 and sweeper.direction == "maximize"


def test_other_sweepers_are_left_alone(tmp_path):
    config = optuna_config(tmp_path, study="sweep=lr")
    before = OmegaConf.to_container(config.hydra, resolve=False)
    prepare(config)
    assert OmegaConf.to_container(config.hydra, resolve=False) == before


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "sweep").glob("*.yaml")))
def test_every_study_composes(name):
    with initialize_config_dir(str(CONF)):
        config = compose("train", overrides=[f"sweep={name}"], return_hydra_config=True)
    assert config.hydra.sweeper.params


def test_the_slurm_example_composes():
    with initialize_config_dir(str(CONF)):
        config = compose("train", overrides=["hydra/launcher=fovea_slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher") and launcher.tasks_per_node == 1


def test_a_failed_job_is_not_a_number_to_the_sweeper(tmp_path):
    from fovea.sweep import sweep

    where = SimpleNamespace(run_dir=tmp_path, name="0")
    assert math.isnan(sweep._failed(where, {"status": "running", "metrics": {"a": 1}}, "killed"))
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "metrics": {"a": 1}, "status": "failed", "error": "killed",
    }  # fmt: skip
