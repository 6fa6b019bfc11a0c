"""Record a run with Weights & Biases, online or off."""

from __future__ import annotations

import atexit
import json
import logging
import os
import shlex
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fovea.callbacks.wandb_media import WandbMedia
from fovea.files import own_folder, write_text

log = logging.getLogger(__name__)


class RunLogger(WandbLogger):
    """One wandb run per run directory; a resumed run keeps its id.

    Without credentials the run is recorded offline at once, and nothing is asked. What wandb cannot do
    becomes a warning: it never stops a training. `offline=None` means online when credentials are found.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        project: str = "fovea",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        offline: bool | None = None,
        init_timeout: float = 20.0,
        finish_timeout: float = 120.0,
    ) -> None:
        about: dict[str, Any] = {"entity": entity, "group": group, "job_type": job_type, "notes": notes}
        super().__init__(name=name, save_dir=run_dir, project=project, tags=list(tags), **about)
        del self._wandb_init["anonymous"]  # wandb warns of it
        self.run_dir, self.wanted = Path(run_dir), offline
        self.init_timeout, self.finish_timeout = init_timeout, finish_timeout
        self._step, self._closed, self._warned = 0, False, set[str]()

    def callbacks(self) -> list[L.Callback]:
        """Return the callback that feeds this logger what the Trainer does not log by itself."""
        return [WandbMedia(logger=self)]

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, started at its first use."""
        if self._experiment is None:
            self._experiment = self._start()
            atexit.register(self.close)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Record a config."""
        with self.warn_on_error("record the config"):
            super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add values to the row of `step`; without one, to the row of the last step that was logged."""
        given = self._step if step is None else step
        # wandb drops what comes for an earlier step, and would count a resumed offline run from 0 again
        self._step = max(self._step, given)
        with self.warn_on_error("record metrics"):
            self.experiment.log({**metrics, "trainer/global_step": given}, step=self._step)

    @rank_zero_only
    def close(self) -> None:
        """Add the figures and the summary of the run directory, and end the wandb run."""
        if self._closed or self._experiment is None:
            return
        self._closed, facts = True, {}
        atexit.unregister(self.close)
        with self.warn_on_error("record the summary"):
            facts = json.loads((self.run_dir / "summary.json").read_text(encoding="utf-8"))
            self._conclude(facts)
        with self.warn_on_error("end its run"):
            self._experiment.finish(exit_code=0 if facts.get("status") == "finished" else 1)
        if getattr(self._experiment, "offline", False):
            place = shlex.quote(str(self.run_dir / "wandb"))
            log.info("wandb: recorded offline; upload with: wandb sync %s/offline-run-*", place)

    @contextmanager
    def warn_on_error(self, what: str) -> Iterator[None]:
        """Turn any error into a warning, once for each `what`."""
        try:
            yield
        except Exception as error:
            logging.getLogger("traceback").info("wandb could not %s", what, exc_info=True)  # train.log only
            if what not in self._warned:
                log.warning("wandb could not %s (%s); training continues", what, _line(error))
            self._warned.add(what)

    def _start(self) -> Any:
        """Start online when possible, else offline, else not at all."""
        self._prepare()
        import wandb

        mode, why = choose_mode(self.wanted)
        if mode not in ("offline", "disabled"):
            try:
                return self._init(mode)
            except Exception as error:
                log.warning("wandb: %s; this run is recorded offline", _line(error))
                mode = "offline"
                wandb.teardown()  # the run that failed to start holds the id until then
        elif why:
            log.info("wandb: %s; this run is recorded offline", why)
        with self.warn_on_error("record this run"):
            return self._init(mode)
        return wandb.init(mode="disabled")

    def _prepare(self) -> None:
        """Keep wandb quiet on the terminal and in `train.log`, and its files inside the run directory."""
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would go out in offline mode too
        # pictures of a table wait for their upload here instead of in the home directory
        os.environ.setdefault("WANDB_DATA_DIR", str((self.run_dir / "wandb" / "data").absolute()))
        logging.getLogger("wandb").propagate = False  # it keeps a debug.log of its own

    def _init(self, mode: str) -> Any:
        import wandb

        settings = wandb.Settings(console="off", reinit="create_new", finish_timeout_raises=True)
        settings.init_timeout, settings.finish_timeout = self.init_timeout, self.finish_timeout
        resume = "allow" if mode not in ("offline", "disabled") else None
        own = {"id": self._run_id(), "mode": mode, "resume": resume, "settings": settings}
        run = wandb.init(**(self._wandb_init | own))
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        if run.url:
            log.info("wandb: %s", run.url)
        return run

    def _run_id(self) -> str:
        """Return the id that the run directory keeps; a sweep agent chooses that of a new run."""
        file = self.run_dir / "wandb" / "run_id"
        run_id = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if not run_id:
            run_id = os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8]
            own_folder(file.parent)
            write_text(file, run_id)
        return run_id

    def _conclude(self, facts: dict[str, Any]) -> None:
        import wandb

        figures = sorted((self.run_dir / "figures").glob("*.png")) if facts["status"] == "finished" else []
        images = {f"figures/{f.stem}": wandb.Image(str(f)) for f in figures}
        # committed, so that the last row cannot overwrite the summary
        self.experiment.log({**images, "trainer/global_step": self._step}, step=self._step, commit=True)
        self.experiment.summary.update(flatten({k: v for k, v in facts.items() if k != "process"}))


def flatten(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the single values of nested facts as `part/name`; metrics keep their own names."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= dict(value) if name == "metrics" else flatten(value, f"{name}/")
        elif not isinstance(value, list):
            flat[name] = value
    return flat


def choose_mode(offline: bool | None) -> tuple[str, str]:
    """Return the wandb mode and, where it is offline unasked, why; nothing is asked and nothing is sent."""
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    try:
        settings = wandb_setup.singleton().settings
        if settings.mode == "disabled":
            return "disabled", ""
        if offline or (offline is None and settings.mode in ("offline", "dryrun")):
            return "offline", ""
        found = wbauth.authenticate_session(
            host=settings.base_url, source="fovea", prompt=False, update_session=False
        )
    except Exception as error:
        return "offline", _line(error)
    return ("online", "") if found else ("offline", "no credentials (see: wandb login, or WANDB_API_KEY)")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
