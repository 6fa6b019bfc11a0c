"""Initialise a net with the weights of another run: what fits by name, shape and classes."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from fovea.engine import checkpoint, resume
from fovea.engine.start_weights import classes_of
from fovea.engine.trained import find_checkpoint
from fovea.errors import UsageError
from fovea.files import write_text
from fovea.models.weights_file import read_state
from fovea.ops.finite import first_not_finite
from fovea.optim.finetune_parts import head_parameters

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fovea.types import Preprocessing

log = logging.getLogger(__name__)
LOADED, NEW, SKIPPED = "loaded", "new", "skipped"
SHOWN = 4  # modules in a message


class Line(NamedTuple):
    """What became of a tensor of the net (loaded, new) or of the file (skipped), and why."""

    tensor: str
    shape: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Initial:
    """The weights of a file, with what it says of the run that they are of.

    Attributes:
        path: the file.
        state: tensors by the names that they have in the net.
        classes: names in the order of the outputs; None where the file does not say.
        preprocessing: how that run's images became inputs; None where the file does not say.
    """

    path: Path
    state: dict[str, Tensor]
    classes: list[str] | None
    preprocessing: Preprocessing | None

    def adapt(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return the preprocessing with the mean and deviation that the weights are used to."""
        own = self.preprocessing
        if own is None or len(own["mean"]) != preprocessing["channels"]:
            return preprocessing
        return {**preprocessing, "mean": own["mean"], "std": own["std"]}

    def adopt(self, config: DictConfig) -> None:
        """Make that mean and deviation those of the data, for nets that undo the normalisation of images."""
        own = self.preprocessing
        if own is None or len(own["mean"]) != config.data.channels:
            return
        if (own["mean"], own["std"]) != (list(config.data.mean), list(config.data.std)):
            log.info("images are normalised as those of %s: %s, %s", self.path, own["mean"], own["std"])
        resume.replace_value(config, "data.mean", own["mean"])
        resume.replace_value(config, "data.std", own["std"])

    def load(self, net: nn.Module, *, classes: Sequence[str], skip: Sequence[str] = ()) -> list[Line]:
        """Copy what fits into the net, and return what became of every tensor.

        The head is loaded only where the classes are the same in the same order.

        Args:
            net: whose tensors are replaced.
            classes: names in the order of its outputs.
            skip: patterns of names, such as `net.head.*`, of tensors that keep their random values.

        Raises:
            UsageError: less than half of the tensors that could be loaded are in the file.
        """
        own = net.state_dict()
        self._check_patterns(own, skip)
        others = self.classes is not None and self.classes != [str(name) for name in classes]
        head = head_parameters(net) if others else set()
        lines = [self._judge(name, tensor, name in head, skip) for name, tensor in own.items()]
        loaded = {line.tensor for line in lines if line.state == LOADED}
        wanted = [line for line in lines if line.why not in ("other classes", "init.skip")]
        if 2 * len(loaded) < len(wanted) or not loaded:
            raise UsageError(
                f"init.checkpoint={self.path} holds the weights of another net: {len(loaded)} of "
                f"{len(own)} tensors fit; choose model= and its sizes as in that run"
            )
        net.load_state_dict({name: self.state[name] for name in loaded}, strict=False)
        if name := first_not_finite(net):
            raise UsageError(f"init.checkpoint={self.path}: {name} holds NaN or infinity: give other weights")
        unused = [name for name in self.state if name not in own]
        return lines + [Line(name, _shape(self.state[name]), SKIPPED, "not in the net") for name in unused]

    def _judge(self, name: str, tensor: Tensor, of_head: bool, skip: Sequence[str]) -> Line:
        shape, given = _shape(tensor), self.state.get(name)
        if any(fnmatchcase(name, pattern) for pattern in skip):
            return Line(name, shape, NEW, "init.skip")
        if given is None:
            return Line(name, shape, NEW, "not in the file")
        if of_head:
            return Line(name, shape, NEW, "other classes")
        if given.shape != tensor.shape:
            return Line(name, shape, NEW, f"the file has {_shape(given)}")
        return Line(name, shape, LOADED)

    def _check_patterns(self, own: dict[str, Tensor], skip: Sequence[str]) -> None:
        for pattern in skip:
            if not any(fnmatchcase(name, pattern) for name in own):
                tops = sorted({".".join(name.split(".")[:-1][:2]) for name in own})
                raise UsageError(
                    f"init.skip={pattern} matches no tensor; names begin with {', '.join(tops[:12])}"
                )

    def report(self, lines: Sequence[Line], run_dir: Path) -> None:
        """Say how much was loaded, is new and was skipped; list every tensor in init.csv."""
        count = Counter(line.state for line in lines)
        new = [line for line in lines if line.state == NEW]
        modules = dict.fromkeys((line.tensor.rpartition(".")[0], line.why) for line in new)
        named = ", ".join(f"{module} ({why})" for module, why in list(modules)[:SHOWN])
        more = f" and {len(modules) - SHOWN} more modules" if len(modules) > SHOWN else ""
        log.info(
            "%s: %d tensors loaded, %d new%s, %d of the file skipped; init.csv lists them",
            self.path, count[LOADED], count[NEW], f": {named}{more}" if new else "", count[SKIPPED],
        )  # fmt: skip
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([Line._fields, *lines])
        write_text(run_dir / "init.csv", text.getvalue())


def read(config: DictConfig) -> Initial | None:
    """Read the checkpoint that `init.checkpoint` names, a run directory or a file; None where it is null."""
    given = (config.get("init") or {}).get("checkpoint")
    if given is None:
        return None
    try:
        path = find_checkpoint(str(given), "best")
        state, classes = read_state(path), classes_of(str(path))
    except (ValueError, FileNotFoundError) as error:  # a UsageError is a ValueError
        said = str(error).replace("model.checkpoint", "init.checkpoint")
        raise UsageError(f"init.checkpoint={given}: {said}") from None
    about: Any = {} if classes is None else checkpoint.load(path)["fovea"]
    return Initial(path, state, classes, about.get("preprocessing"))


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
