"""Say at the start of a run what it will not do as its user may think."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config import gate
from fovea.config.offline import switches
from fovea.errors import UsageError

log = logging.getLogger(__name__)


def caution(config: DictConfig) -> None:
    """Warn of a new run that the other commands will refuse, and of one that freezes random weights."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    try:
        gate.check(plain, source=f"{config.run_dir}/config.yaml")
    except gate.Refused as refused:
        group = refused.at.partition(".")[0]
        log.warning(
            "eval, predict, explain, export and resume=true will refuse this run, as it would %s at %s. To "
            "use it further, stop it and write that into a file conf/%s/NAME.yaml, chosen by %s=NAME",
            refused.what, refused.at, group, group,
        )  # fmt: skip
    except UsageError as refused:
        log.warning("eval, predict, explain, export and resume=true will refuse this run: %s", refused)
    plan = plain.get("finetune") or {}
    frozen = plan.get("unfreeze_epoch", 0) != 0 or plan.get("stage_epochs", 0) != 0
    frozen = frozen or bool(plan.get("trainable_names"))
    read = [(key, node[name] != off) for key, name, node, off in switches(plain)]
    loaded = any(on for key, on in read if key.startswith(("model.", "init.")))
    if frozen and not loaded:
        log.warning(
            "finetune trains only a part, at first or to the end, but the other weights are random: load "
            "some with model.pretrained=true, model.checkpoint=FILE or init.checkpoint=RUN, or train all "
            "with finetune=none"
        )
