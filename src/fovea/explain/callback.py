"""Explain the same few validation images epoch after epoch, without changing the training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from fovea.callbacks.wandb import RunLogger
from fovea.data.collate import collate
from fovea.explain.core.class_choice import ClassSelector, LogitSelector, SelectedClass, by_layer
from fovea.explain.core.method import Method, explaining
from fovea.explain.core.pixels import Pixels
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.view.figure import write_sheet
from fovea.ops import rng
from fovea.types import Batch, ViewFactory

log = logging.getLogger(__name__)


@contextmanager
def preserve_state(net: nn.Module) -> Iterator[None]:
    """Run `net` as `explaining` does, in the precision of its weights, without touching any generator."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    with rng.restored(device), torch.autocast(device.type, enabled=False), explaining(net):
        yield


class Explain(L.Callback):
    """Write `explain/epoch_0007.png` into the run directory, and show it in a wandb run.

    The maps are of the net as it is validated (an average of the weights, where one is kept), in the
    precision of its weights, for the predicted class. The training does not notice: no random number is
    drawn, no mode, gradient or statistic changes. In a run of several processes the first one does it alone.

    Args:
        run_dir: where `explain/` goes.
        methods: of fovea.explain, by name; None: Grad-CAM. One that cannot explain the net is named once.
        view: of the task: what is explained of an image; None: its predicted class.
        every_n_epochs: how often; the first sheet comes after as many epochs.
        number: how many validation images, evenly apart: some data sets come class by class.
        ids: the ids of the images to take instead, as the data set names them.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        methods: Mapping[str, Method] | None = None,
        view: ViewFactory | None = None,
        every_n_epochs: int = 1,
        number: int = 8,
        ids: Sequence[str] | None = None,
    ) -> None:
        if every_n_epochs < 1 or number < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs} and number={number} must be at least 1")
        chosen = {k: v for k, v in (methods or {}).items() if v is not None}
        self.methods: dict[str, Method] = chosen or {"grad_cam": GradCAM()}
        self.folder = Path(run_dir) / "explain"
        self.view = view
        self.every_n_epochs, self.number, self.ids = every_n_epochs, number, ids
        self._batch: Batch | None = None  # on the CPU
        self._names: list[str] = []
        self._warned: set[str] = set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse strategies under which one process does not hold the whole net."""
        if stage == "fit" and not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ValueError(
                f"{type(trainer.strategy).__name__} splits the net, which one process then cannot explain: "
                "set trainer.strategy=ddp, or take the explain callback out"
            )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the sheet of the epoch; whatever fails becomes a warning."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not (due and fitting and trainer.is_global_zero):
            return
        task: Any = pl_module
        net: nn.Module = task.net
        try:
            with preserve_state(net):
                path = self._sheet(trainer, net)
                self._show(trainer, path)
        except Exception as error:  # a picture is never worth a training run; train.log has the traceback
            self._warn("the explanations of this run", error)

    def _sheet(self, trainer: Any, net: nn.Module) -> Path:
        data = trainer.datamodule
        batch = self._images(data)
        weight = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
        image = batch["image"].to(device=weight.device, dtype=weight.dtype)
        selector, net = self._selector(data, net)
        with torch.no_grad():
            predicted = selector.predicted(net(image))
        maps = {
            name: self._maps(name, method, net, image, selector, predicted)
            for name, method in self.methods.items()
        }
        return write_sheet(
            self.folder,
            epoch=trainer.current_epoch,
            ids=self._names,
            pictures=_pictures(batch["image"], data.preprocessing),
            predicted=predicted,
            truth=_truth(batch, data.classes),
            maps=maps,
            signed=[k for k, method in self.methods.items() if getattr(method, "signed", False)],
        )

    def _selector(self, data: Any, net: nn.Module) -> tuple[ClassSelector, nn.Module]:
        """Return the selector, and the net whose output it reads."""
        if self.view is None:
            return LogitSelector(classes=data.classes), net
        view = self.view(classes=data.classes, labelling=data.labelling())
        if view.selector is None:
            raise ValueError("its task has nothing that can be explained: take the explain callback out")
        return view.selector(), net if view.explained is None else view.explained(net)

    def _maps(
        self, name: str, method: Method, net: nn.Module, image: Tensor, selector: ClassSelector,
        predicted: Sequence[SelectedClass],
    ) -> np.ndarray | str:  # fmt: skip
        found = np.zeros((len(image), *image.shape[2:]), np.float32)
        try:
            for rows in by_layer(predicted):
                target = selector.target([predicted[i] for i in rows])
                found[rows] = method(net, image[rows], target).detach().float().cpu().numpy()
            return found
        except (ValueError, RuntimeError) as error:  # a net that the method cannot take
            self._warn(name, error)
            return str(error) or type(error).__name__

    def _images(self, data: Any) -> Batch:
        """Read the images, once."""
        if self._batch is None:
            view = data.val
            rows = self._rows(view)
            samples = [data.preprocess.fit(view.load(row)) for row in rows]
            self._names = [str(view.name(row)) for row in rows]
            self._batch = data.finish_batch(collate(samples), training=False)
        return self._batch

    def _rows(self, view: Any) -> list[int]:
        if self.ids is None:
            count = min(self.number, len(view))
            return [i * len(view) // count for i in range(count)]
        known = {str(view.name(row)): row for row in range(len(view))}
        missing = [name for name in self.ids if name not in known]
        if missing:
            raise ValueError(
                f"{missing[0]!r} is not a validation image: ids= takes those like {next(iter(known), '')!r}"
            )
        return [known[name] for name in self.ids]

    def _show(self, trainer: L.Trainer, path: Path) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                with logger.warn_on_error("record the explanations"):
                    import wandb

                    logger.log_metrics({"explain": wandb.Image(str(path), caption=path.stem)})

    def _warn(self, what: str, error: Exception) -> None:
        if what not in self._warned:
            log.warning("%s: %s; training continues", what, str(error) or type(error).__name__)
            logging.getLogger("traceback").info("%s failed", what, exc_info=True)  # train.log only
        self._warned.add(what)


def _pictures(image: Tensor, preprocessing: Any) -> np.ndarray:
    """Undo the normalisation of (B, C, H, W): uint8 (B, H, W, 3)."""
    pixels = Pixels(mean=preprocessing["mean"], std=preprocessing["std"])
    plain = pixels.decode(image.float()).clamp(0, 1).mul(255).round().byte()
    return plain.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def _truth(batch: Batch, classes: Sequence[str]) -> list[str | None]:
    if "label" not in batch:
        return [None] * len(batch["image"])
    return [classes[label] if 0 <= label < len(classes) else None for label in batch["label"].tolist()]
