"""Optuna studies: in the metric's direction, kept in the sweep's directory, continued after any end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from fovea.config.overrides import quote
from fovea.errors import UsageError

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from optuna import Study

log = logging.getLogger(__name__)
DIRECTION = {"min": "minimize", "max": "maximize"}


def prepare(config: DictConfig) -> None:
    """Fit Hydra's Optuna sweeper to this sweep, before it is built: direction, storage, the trials to go."""
    sweeper = config.hydra.sweeper
    if "n_trials" not in sweeper or "direction" not in sweeper:
        return
    for name in ("hydra_plugins.hydra_optuna_sweeper", "optuna"):  # each job reports for itself
        logging.getLogger(name).setLevel(logging.ERROR)
    if OmegaConf.is_list(sweeper.direction):
        raise UsageError("a job returns one value, metrics.monitor; hydra.sweeper.direction cannot be a list")
    changes: dict[str, Any] = {"direction": DIRECTION[config.metrics.mode]}
    if sweeper.get("storage") is None:
        changes["storage"] = f"sqlite:///{config.sweep_dir}/study.db"
    if sweeper.get("study_name") is None:
        changes["study_name"] = str(config.sweep_name)
    if not any(str(o).startswith("hydra.sweeper.max_failure_rate=") for o in config.hydra.overrides.hydra):
        changes["max_failure_rate"] = 1.0  # a failed trial ends nothing
    _change(config, changes)
    _continue(config)


def wrong_direction(config: DictConfig, hydra: HydraConf) -> str | None:
    """Return the error where a job's metric is optimised in the other direction than the study's."""
    direction = hydra.sweeper.get("direction")
    if direction is None or str(direction).rsplit(".", 1)[-1] == DIRECTION[config.metrics.mode]:
        return None
    return (
        f"the study is to {direction} its metric, but metrics.mode={config.metrics.mode}; sweep these apart"
    )


def _continue(config: DictConfig) -> None:
    """Request only the trials that a stored study lacks; failed or interrupted ones are repeated."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweeper = config.hydra.sweeper
    if str(sweeper.storage).startswith("sqlite:///"):
        Path(str(sweeper.storage).removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    except KeyError:
        return
    if study.direction.name.lower() != sweeper.direction:
        raise UsageError(
            f"the study {sweeper.study_name} in {sweeper.storage} is to "
            f"{study.direction.name.lower()} its metric, but metrics.mode={config.metrics.mode}; "
            "use another sweep_dir"
        )
    _require_same_space(config, study)
    changes = {"n_trials": max(0, int(sweeper.n_trials) - requeue(study))}
    seed = OmegaConf.select(sweeper, "sampler.seed")
    if seed is not None:  # the same seed would suggest again what the study began with
        changes["sampler.seed"] = int(seed) + len(study.trials)
    log.info("the study holds %d trials; %d to go", len(study.trials), changes["n_trials"])
    _change(config, changes)


def _require_same_space(config: DictConfig, study: Study) -> None:
    """Raise where a key is searched in another way than by the trials that a study holds."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
    from optuna.distributions import check_distribution_compatibility

    own = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    searched, *_ = create_params_from_overrides([*own, *config.hydra.overrides.task])
    for trial in study.get_trials(deepcopy=False):
        for key in searched.keys() & trial.distributions.keys():
            try:
                check_distribution_compatibility(trial.distributions[key], searched[key])
            except ValueError:
                before = _written(trial.distributions[key])
                raise UsageError(
                    f"{key}={_written(searched[key])}: the study in sweep_dir={config.sweep_dir} searches "
                    f"{key} in another space; give '{key}={before}' as before, or another sweep_dir"
                ) from None


def _written(space: Any) -> str:
    """Write a search space as a command line does."""
    if hasattr(space, "choices"):
        return f"choice({','.join(map(str, space.choices))})"
    span = f"interval({space.low:g},{space.high:g})"
    if isinstance(space.low, int):
        span = f"range({space.low},{space.high + space.step},{space.step})"
    return f"tag(log,{span})" if space.log else span


def requeue(study: Study) -> int:
    """Requeue the trials that did not finish; return how many finished."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    done = [t.params for t in trials if t.state == TrialState.COMPLETE]
    known = [*done, *(t.system_attrs.get("fixed_params") for t in trials if t.state == TrialState.WAITING)]
    for params in (t.params for t in trials if t.state == TrialState.FAIL):
        if params and params not in known:
            study.enqueue_trial(params)
            known.append(params)
    return len(done)


def _change(config: DictConfig, changes: dict[str, Any]) -> None:
    """Set options of the sweeper, also in what jobs are composed from: Hydra holds every job to its sweep."""
    with read_write(config), open_dict(config), read_write(config.hydra), open_dict(config.hydra):
        for key, value in changes.items():
            OmegaConf.update(config.hydra.sweeper, key, value)
            config.hydra.overrides.hydra.append(f"hydra.sweeper.{key}={quote(value)}")
