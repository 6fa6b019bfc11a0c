"""Check what a command line sets: against the signatures of what is built of it, and against `conf/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups, members
from fovea.config.help import compose_choices
from fovea.config.kinds import fits, in_words
from fovea.config.overrides import for_shell, nearest, parse
from fovea.config.signatures import arguments, built_around
from fovea.config.validate import RULES
from fovea.config.values import ABSENT, at
from fovea.errors import UsageError

NEEDED_NODES = ("model.net", "data.dataset", "checkpoint")
BUILT = ("model", "optimizer", "scheduler", "finetune", "callbacks", "logger", "augment", "metrics")
LATER = ("optimizer", "scheduler", "data.dataset")  # what takes parameters, steps, a split
OF_TASK = ("metrics", "report")  # groups whose members are named after the task that they are for


def check_given(config: DictConfig, given: list[str], *, choices: Mapping[str, Any]) -> None:
    """Raise a `UsageError` for the first value given that what it is for cannot take.

    `choices` are the members of groups that were chosen. Nothing that would be built is imported.
    """
    _same_task(choices)
    for group, name in choices.items():
        unlisted = group in BUILT and str(name) not in members(group)  # a member of a user's own
        if unlisted and OmegaConf.is_dict(config.get(group)):
            _complete(group, OmegaConf.to_container(config[group], resolve=False), {})
    line = [o for o in parse(given).overrides if not o.is_delete()]
    keys = [str(o.key_or_group) for o in line]
    keys = [key for key in dict.fromkeys(keys) if key not in groups() and not key.startswith("hydra.")]
    if not keys:
        return
    plain: Any = OmegaConf.to_container(config, resolve=False)
    own: Any = OmegaConf.to_container(compose_choices(given), resolve=False)
    for key in keys:
        if key in RULES and not key.startswith("model."):
            continue
        value, default = OmegaConf.select(config, key), at(own, key, ABSENT)
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        _node(key, value, default)
        _complete(key, value, default)
        _read_of_model(key, value, default, config, str(choices.get("model")))
        if key not in RULES:
            _kind(key, value, default, plain)


def _same_task(choices: Mapping[str, Any]) -> None:
    """Raise for metrics or a report that are named after another task."""
    task = str(choices.get("task"))
    for group in OF_TASK if task in members("task") else ():  # one of a user's own takes what it likes
        chosen = str(choices.get(group))
        others = {name.split("_")[0] for name in members("task")} - {task.split("_")[0]}
        if chosen.split("_")[0] in others:
            own = max((name for name in members("task") if chosen.startswith(name)), key=len)
            raise UsageError(
                f"{group}={chosen} is not for task={task}: leave {group}= out, or choose task={own}"
            )


def _node(key: str, value: Any, default: Any) -> None:
    """Raise where a plain value would replace what is built of several keys."""
    if not isinstance(default, dict) or isinstance(value, dict):
        return
    if value is None and key not in NEEDED_NODES:
        return
    group = key.split(".")[0]
    inside = [f"{key}.{name}=" for name in default if not name.startswith("_")][:3]
    other = f"; another is chosen with {group}=NAME (--help lists them)" if members(group) else ""
    raise UsageError(
        f"{for_shell(key, value)}: {key} is no single value; set a key inside it, such as "
        f"{', '.join(inside) or f'{key}.KEY='}{other}"
    )


def _complete(key: str, value: Any, default: Any) -> None:
    """Raise for a node that lacks an argument without which it cannot be built, those inside it included."""
    if not isinstance(value, dict):
        return
    if "_target_" in value and not value.get("_partial_") and key != "task":
        target = value["_target_"]
        if key in LATER or (isinstance(default, dict) and default.get("_partial_")):
            raise UsageError(f"{key} is built when its data are there: add _partial_: true to its {target}")
        found = arguments(str(target))
        lacking = sorted(found.needed - value.keys()) if found is not None else []
        if lacking:
            raise UsageError(
                f"{key} lacks {', '.join(lacking)}, without which {target} cannot be built: add "
                f"{' '.join(f'+{key}.{name}=VALUE' for name in lacking)}"
            )
    for name, inner in value.items():
        _complete(f"{key}.{name}", inner, default.get(name) if isinstance(default, dict) else None)


def _read_of_model(key: str, value: Any, default: Any, config: DictConfig, model: str) -> None:
    """Raise for a key of the model that its net is not built with."""
    group, _, name = key.partition(".")
    if group != "model" or "." in name or name == "net" or value in (default, None):
        return
    text = OmegaConf.to_yaml(config, resolve=False)
    if f"${{{key}" in text or f"oc.select:{key}" in text:
        return
    advice = {
        "name": f"choose the net with model=NAME, one of timm's with model=timm {for_shell(key, value)}; "
        f"the run is named with {for_shell('name', value)}",
        "pretrained": f"it has no published weights; leave {key}= out, or choose one that has: model=timm",
    }
    raise UsageError(
        f"{for_shell(key, value)} is not read by model={model}: {advice.get(name, 'leave it out')}"
    )


def _kind(key: str, value: Any, default: Any, plain: Any) -> None:
    """Raise for a value of another type than the signature says, else than the value in `conf/` has."""
    above, name, node = built_around(key, plain)
    found = arguments(str(node["_target_"])) if node is not None else None
    hint: Any = Any
    closed = found is not None and not found.others and above != "data" and not name.startswith("_")
    if found is not None and closed and name not in found.types:
        takes = [f"{above}.{one}" for one in found.types]
        near = ", ".join(nearest(key, takes)) or ", ".join(takes)
        raise UsageError(f"unknown key {key!r}: what {above} builds does not take it; nearest: {near}")
    if found is not None and key == f"{above}.{name}":
        hint = found.types.get(name, Any)
    if isinstance(value, dict) and "_target_" in value:
        return
    if hint is Any:
        hint = _type_of(default)
    if not fits(value, hint):
        raise UsageError(f"{key} is {value!r}; allowed: {in_words(hint)}")


def _type_of(default: Any) -> Any:
    """Return the type of a value in `conf/`, as far as others of that key have it too."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float):
        return float | None
    if isinstance(default, list):
        return list[float] if default and all(isinstance(one, int | float) for one in default) else list
    return Any
