"""Compute the maps of one model with every method; a method that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fovea import errors
from fovea.errors import UsageError
from fovea.explain.core.class_choice import SelectedClass, by_layer
from fovea.explain.core.method import Method
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.targets import Target
from fovea.explain.run.methods import LayerMethod, possible, reason
from fovea.explain.view.attribution import Attribution

log = logging.getLogger(__name__)
UNKNOWN = "its true class is not known"


class Mapper:
    """Computes the maps of one model.

    A method that fails on the first images that it is given is not tried again; `problems` says why.

    Args:
        every: gives all methods that there are, to name those that work where one does not.
    """

    def __init__(
        self,
        model: ExplainedModel,
        methods: Sequence[LayerMethod],
        every: Callable[[], Mapping[str, Method]] = dict,
    ) -> None:
        self.model, self.methods, self.every = model, list(methods), every
        self.nothing: str = getattr(model.selector, "nothing", UNKNOWN)  # why an image has nothing to explain
        self.problems: dict[str, str] = {}
        self.worked: set[str] = set()
        self.unsaid: list[str] = []  # of the problems, those that `report` has not said
        self.first: Tensor | None = None

    def __call__(
        self, batch: ImageBatch, advance: Callable[[int], object] = lambda done: None
    ) -> tuple[list[SelectedClass], list[list[Attribution]]]:
        """Return of each image the predicted class, and the maps of every method."""
        image = batch.image.to(self.model.device, _dtype(self.model.net))
        output = self.model.output(image)
        selected = self.model.selector.select(output, batch.label)
        found: list[list[Attribution]] = [[] for _ in batch.rows]
        for method in self.methods:
            for row, more in zip(found, self._of(method, image, selected), strict=True):
                row += more
            advance(len(image))
        return self.model.selector.predicted(output), found

    def _of(
        self, method: LayerMethod, image: Tensor, selected: Sequence[Sequence[SelectedClass]]
    ) -> list[list[Attribution]]:
        """Return the maps of one method: one for each class, or a single one where classes play no part."""
        targeted = getattr(method.call, "targeted", True)
        why = self.problems.get(method.key)
        if why is None:
            try:
                if targeted:
                    found = self._of_classes(method, image, selected)
                else:
                    found = [[_attribution(method, None, one)] for one in self._maps(method, image, None)]
                self.worked.add(method.key)
                return found
            except Exception as error:  # of one method on one architecture; the others go on
                why = self._refused(method, image, error)
        nothing: list[SelectedClass | None] = [None]
        rows = [[*row] or nothing if targeted else nothing for row in selected]
        return [[_attribution(method, one, problem=why) for one in row] for row in rows]

    def _of_classes(
        self, method: LayerMethod, image: Tensor, selected: Sequence[Sequence[SelectedClass]]
    ) -> list[list[Attribution]]:
        found: list[list[Attribution]] = [[] for _ in selected]
        for rank in range(max(map(len, selected), default=0)):
            there = [i for i, classes in enumerate(selected) if len(classes) > rank]
            for group in by_layer([selected[i][rank] for i in there]):
                rows = [there[place] for place in group]
                target = self.model.selector.target([selected[i][rank] for i in rows])
                some = image if len(rows) == len(image) else image[rows]
                for i, one in zip(rows, self._maps(method, some, target), strict=True):
                    found[i].append(_attribution(method, selected[i][rank], one))
        return [row or [_attribution(method, None, problem=self.nothing)] for row in found]

    def _maps(self, method: LayerMethod, image: Tensor, target: Target | None) -> np.ndarray:
        """Run a method, and return its maps (B, H, W) as float32."""
        maps = method.call(self.model.net, image, target)
        if maps.shape != (len(image), *image.shape[2:]):
            raise ValueError(
                f"{method.key} gives {tuple(maps.shape)} of images {tuple(image.shape)}, not (B, H, W)"
            )
        return maps.detach().float().cpu().numpy()

    def _refused(self, method: LayerMethod, image: Tensor, error: Exception) -> str:
        if errors.is_out_of_memory(error):
            raise UsageError(
                f"{self.model.name}: {method.key} ran out of memory: try batch_size="
                f"{max(1, len(image) // 2)}, or smaller images"
            ) from error
        why = reason(error)
        log.debug("%s: %s", self.model.name, method.key, exc_info=error)
        if method.key in self.worked:
            log.warning("%s: %s: %s", self.model.name, method.key, why)
            return why
        self.problems[method.key], self.first = why, image[:1]
        self.unsaid.append(method.key)
        return why

    def report(self) -> list[str]:
        """Log, once, why methods give no maps of this model, and which methods do."""
        lines = [f"{self.model.name}: {key}: {self.problems[key]}" for key in self.unsaid]
        self.unsaid = []
        if lines and self.first is not None:
            selector = self.model.selector
            target = selector.target(selector.predicted(self.model.output(self.first)))
            can = possible(self.every(), self.model.net, self.first, target)
            lines.append(f"{self.model.name} gives {', '.join(can) or 'none of the methods'}")
        return lines


def _dtype(net: torch.nn.Module) -> torch.dtype:
    return next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)


def _attribution(
    method: LayerMethod,
    selected: SelectedClass | None,
    one: np.ndarray | None = None,
    *,
    problem: str | None = None,
) -> Attribution:
    if one is not None and not np.isfinite(one).all():
        one, problem = None, "the map has values that are not finite"
    signed = one is not None and bool(getattr(method.call, "signed", False))
    return Attribution(
        method=method.name, layer=method.layer, selected=selected, map=one, signed=signed, problem=problem
    )
