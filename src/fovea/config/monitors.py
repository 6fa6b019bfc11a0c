"""Check at the start that a run follows what it will log, and takes the better direction for the better."""

from __future__ import annotations

from typing import Any

from fovea.errors import UsageError

OWN = ("fovea.", "torchmetrics.")  # what others log is known once they have
WEIGHT = "_weight"  # a task with `x_weight` logs the part `loss_x` of its loss


def check_monitors(config: dict[str, Any]) -> None:
    """Raise a `UsageError` for a monitored metric that no epoch logs, and for a loss to be maximised."""
    known = logged(config)
    for key, node, mode in monitors(config):
        name = node.get("monitor")
        if known is not None and name not in known:
            raise UsageError(f"{key}.monitor={name} is not logged; choose one of {', '.join(known)}")
        if str(name).partition("/")[2].startswith("loss") and node.get("mode") == "max":
            raise UsageError(f"{key}.monitor={name} is a loss, so a lower one is better: add {mode}=min")
        if key.startswith("callbacks.") and str(name).startswith("val/") and _never_validates(config):
            raise UsageError(f"{key}.monitor={name}, but trainer.limit_val_batches=0 leaves it unmeasured")


def logged(config: dict[str, Any]) -> list[str] | None:
    """Return the names that every epoch logs; None where code from outside logs what it likes."""
    task, values = config.get("task") or {}, (config.get("metrics") or {}).get("values") or {}
    nodes = {name: node for name, node in values.items() if isinstance(node, dict)}
    if not all(str(node.get("_target_")).startswith(OWN) for node in (task, *nodes.values())):
        return None
    parts = [name for name, one in (task.get("losses") or {}).items() if one and one.get("weight", 1)]
    parts += [key.removesuffix(WEIGHT) for key in task if key.endswith(WEIGHT)]
    losses = ["loss", *(f"loss_{part}" for part in parts)]
    followed = task.get("train_metrics", [n for n in nodes if n not in (task.get("eval_only") or ())])
    validated = [f"val/{name}" for name in (*losses, *nodes)]
    return [*validated, *(f"train/{name}" for name in (*losses, *followed))]


def monitors(config: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Return each node with a monitor: its key with a dot, the node, and the key of its mode."""
    nodes = {"metrics": config.get("metrics"), "checkpoint": config.get("checkpoint")}
    nodes |= {f"callbacks.{name}": node for name, node in (config.get("callbacks") or {}).items()}
    overall = (config.get("metrics") or {}).get("monitor")
    return [
        (key, node, "metrics.mode" if node["monitor"] == overall else f"{key}.mode")
        for key, node in nodes.items()
        if isinstance(node, dict) and node.get("monitor") is not None
    ]


def _never_validates(config: dict[str, Any]) -> bool:
    return (config.get("trainer") or {}).get("limit_val_batches") == 0
