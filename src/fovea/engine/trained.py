"""Open a trained run: its checkpoint, its config and its network, from the checkpoint alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.machine import require_device
from fovea.config.offline import offline
from fovea.config.validate import ACCELERATORS
from fovea.engine import rundir
from fovea.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from fovea.data.module import DataModule
    from fovea.types import Preprocessing


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network with what it needs to be used."""

    path: Path
    checkpoint: dict[str, Any]
    config: DictConfig
    net: nn.Module

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the outputs."""
        return list(self.checkpoint["fovea"]["classes"])

    @property
    def labelling(self) -> dict[str, Any]:
        """The meaning of other numbers: the palette of masks, the words of captions."""
        known = ("version", "config", "classes", "preprocessing", "splits")
        return {key: value for key, value in self.checkpoint["fovea"].items() if key not in known}

    def recorded_split(self, split: str) -> list[str]:
        """Return the names of the images of a split in training, as far as the checkpoint records them."""
        names = (self.checkpoint["fovea"].get("splits") or {}).get(split)
        return names.split("\0") if names else []

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing of images."""
        return self.checkpoint["fovea"]["preprocessing"]

    def as_measured(
        self, place: torch.device
    ) -> tuple[Callable[[Tensor], Tensor], AbstractContextManager[object]]:
        """Return the net on a device, and what to run it in, so that it computes as it does for `eval`."""
        import torch

        kind, _, how = precision(self.config, place).partition("-")
        numbers = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}
        dtype, mixed = numbers.get(kind, torch.float32), kind in ("16", "bf16") and how != "true"
        weights = torch.float32 if mixed else dtype
        layout = torch.channels_last if self.config.get("channels_last") else torch.contiguous_format
        net = self.net.to(place, weights)

        def run(images: Tensor) -> Tensor:
            return net(images.to(weights).contiguous(memory_format=layout))

        return run, torch.autocast(place.type, dtype) if mixed else nullcontext()

    def datamodule(
        self,
        *,
        data_root: str | None = None,
        num_workers: int | None = 0,
        all_targets: bool = False,
    ) -> DataModule:
        """Return the data of the run, not augmented, and set up to be measured; nothing is downloaded.

        Args:
            data_root: where the data lie here; None for where they lay in training.
            num_workers: None for as many as in training.
            all_targets: give everything that the data set knows of an image, not just what training needs.
        """
        from fovea.data.recorded import Recorded

        config = moved(self.config, data_root=data_root, num_workers=num_workers)
        elsewhere = data_root is not None and str(data_root) != str(self.config.data.root)
        if elsewhere and config.data.dataset == self.config.data.dataset:
            raise UsageError(
                f"data_root={data_root}: the data of this run ({config.data.name}) come with the suite and "
                "lie in no folder; leave data_root= out"
            )
        config.augment = {"sample": {}, "batch": {}}
        if all_targets:
            config.data.targets = None
        module = build.datamodule(config, self.preprocessing)
        module.recorded = Recorded.read(self.checkpoint["fovea"])
        module.prepare_data()
        module.setup("test")
        if data_root is not None and module.same_names:
            log.warning(
                "%s: images that are named as the run's are taken for them: its %d test images are measured, "
                "not all %d. For other images use other names, or a folder test/",
                module.name, len(module.test), len(module.train.dataset),
            )  # fmt: skip
        return module


def moved(run: DictConfig, *, data_root: str | None, num_workers: int | None) -> DictConfig:
    """Return a run's config with this machine's data root and workers."""
    run = run.copy()
    if num_workers is not None:
        run.data.num_workers = num_workers
    if data_root is not None:
        data = OmegaConf.to_container(run.data)
        run.data = OmegaConf.create(rundir.replaced(data, str(run.data.root), str(data_root)))
    return run


def find_checkpoint(run: str, name: str) -> Path:
    """Return the path of a checkpoint: `best` or `last` of a run directory, or a file."""
    if name not in ("best", "last"):
        return Path(name)
    run_dir = Path(run)
    if run_dir.is_file():
        return run_dir
    if not run_dir.is_dir():
        raise UsageError(f"there is no run directory {run_dir}")
    if not (run_dir / "checkpoints").is_dir():
        found = sorted(
            str(p.parent) for depth in ("*", "*/*", "*/*/*") for p in run_dir.glob(f"{depth}/checkpoints")
        )
        if found:
            several = "holds several runs; choose one of them, such as" if len(found) > 1 else "holds the run"
            raise UsageError(f"{run_dir} {several} {', '.join(found[-3:])}")
    return run_dir / "checkpoints" / f"{name}.ckpt"


def open_run(run: str, name: str) -> Trained:
    """Load a checkpoint, refuse what could run code, rebuild the network."""
    from fovea.engine import checkpoint
    from fovea.ops.finite import first_not_finite

    path = find_checkpoint(run, name)
    loaded = checkpoint.load(path)
    found = Trained(path, loaded, offline(checkpoint.config_of(loaded)), checkpoint.rebuild(loaded, path))
    if tensor := first_not_finite(found.net):
        raise UsageError(
            f"{path}: {tensor} holds NaN or infinity, so the net predicts nothing: the training diverged. "
            "Use another checkpoint=best | last | PATH of it, or train with a smaller optimizer.lr"
        )
    return found


def precision(run: DictConfig, place: torch.device) -> str:
    """Return the precision in which a net is measured: its run's own, where the device has that."""
    name = str(OmegaConf.select(run, "trainer.precision", default="32-true"))
    return "32-true" if place.type == "cpu" and name == "16-mixed" else name


def device(accelerator: str) -> torch.device:
    """Return the torch device for an accelerator's name."""
    import torch

    if accelerator not in ACCELERATORS:
        raise UsageError(f"accelerator is {accelerator!r}; allowed: {', '.join(ACCELERATORS)}")
    require_device(accelerator, key="accelerator")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if accelerator == "mps" else "cpu")
