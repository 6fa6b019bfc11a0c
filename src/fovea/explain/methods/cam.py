"""Class activation maps of the last features: Zhou et al. (2016), https://arxiv.org/abs/1512.04150."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fovea.explain.core.grid import to_grid
from fovea.explain.core.in_place import require_in_place
from fovea.explain.core.latents import require_places
from fovea.explain.core.layers import cam_layer
from fovea.explain.core.method import enlarge, explaining, score_gradient, unit_range, watch
from fovea.explain.core.targets import ClassScore, Target
from fovea.models.hooks import find, record

Grid = Callable[[Tensor], Tensor]  # features of a layer to (B, D, h, w)


class ActivationMap:
    """Base class of class activation maps: the layer, its grid, upsampling and stretching.

    Args:
        layer: dotted path of the layer to read; None: see `cam_layer`.
        grid: puts the layer's output on a grid (B, D, h, w); None: see `to_grid`.
        stretch: stretch each map to 0…1; else it keeps the units of the method's equation.
    """

    def __init__(self, *, layer: str | None = None, grid: Grid | None = None, stretch: bool = True) -> None:
        self.layer, self.grid, self.stretch = layer, grid, stretch
        self._found: WeakKeyDictionary[nn.Module, dict[tuple[torch.Size, str | None], str]]
        self._found = WeakKeyDictionary()

    def run(self, net: nn.Module, image: Tensor, target: Target | None = None) -> tuple[Tensor, Tensor]:
        """Return the net's output, and the layer's as the module gives it, both in one graph.

        Without `layer` it is that of the target, where it has one.
        """
        layer = self._layer_of(net, image, getattr(target, "layer", None))
        with record(net, layer) as outputs:
            output = net(image)
        if layer not in outputs:
            raise ValueError(f"layer={layer!r} of {type(net).__name__} does not run, or gives no tensor")
        return output, outputs[layer]

    def _layer_of(self, net: nn.Module, image: Tensor, of_target: str | None) -> str:
        """Find or check the layer once for each net and size of image: it costs some forward passes."""
        wanted = self.layer or of_target
        known, key = self._found.setdefault(net, {}), (image.shape[1:], wanted)
        if key not in known:
            if wanted is not None and self.grid is None:
                find(net, wanted)
                require_places(net, image, wanted)
            known[key] = wanted or cam_layer(net, image)
            if self.grid is None:
                require_in_place(net, image, known[key], partial(self._map_of, net, known[key]))
        return known[key]

    def _map_of(self, net: nn.Module, layer: str, image: Tensor) -> Tensor:
        with record(net, layer) as outputs:
            net(image)
        return self.on_grid(net, outputs[layer], image)

    def on_grid(self, net: nn.Module, features: Tensor, image: Tensor) -> Tensor:
        """Return features of a layer as (B, D, h, w), in single precision at least."""
        grid = self.grid(features) if self.grid else to_grid(net, features, tuple(image.shape[-2:]))
        return grid.float() if grid.dtype in (torch.bfloat16, torch.float16) else grid

    def finish(self, maps: Tensor, image: Tensor) -> Tensor:
        """Bring maps (B, h, w) to the images' size (B, H, W)."""
        maps = enlarge(maps.detach(), (image.shape[-2], image.shape[-1]))
        return unit_range(maps) if self.stretch else maps


class CAM(ActivationMap):
    """Weigh the channels of the last map by the weights that the head gives their averages: equation 2.

    Takes nets whose head is one linear layer on the average of the features, `forward_features` or those of
    `layer`; this is checked on the images. The map has no ReLU: its average is the logit, less the bias.
    """

    @property
    def signed(self) -> bool:
        """Whether negative values are evidence against the class."""
        return not self.stretch

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W)."""
        with explaining(net):
            with torch.no_grad():
                features, logits = self._features(net, image)
            grid = self.on_grid(net, features, image)  # (B, D, h, w)
            pooled = watch(grid.mean((2, 3)).to(features))  # (B, D)
            head = _head(net)
            found = head(pooled) if getattr(head, "in_features", None) == pooled.shape[1] else None
            if found is None or not _agree(found, logits):
                raise ValueError(
                    f"the logits of {type(net).__name__} are not a linear layer on the average of its last "
                    "map, as CAM needs: use Grad-CAM, or name the averaged layer with layer="
                )
            weights = score_gradient((target or ClassScore())(found), pooled)  # w of the class, (B, D)
            return self.finish((weights[:, :, None, None] * grid).sum(1), image)

    def _features(self, net: Any, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.layer is None and callable(getattr(net, "forward_features", None)):
            require_in_place(
                net, image, "forward_features", lambda one: self.on_grid(net, net.forward_features(one), one)
            )
            return net.forward_features(image), net(image)
        output, features = self.run(net, image)
        return features, output


def _agree(found: Tensor, logits: Tensor) -> bool:
    """Return whether logits are equal but for rounding, which in half precision is coarse."""
    coarse = max(torch.finfo(t.dtype).eps for t in (found, logits))
    size = float(logits.abs().amax())
    return torch.allclose(found.float(), logits.float(), rtol=1e-3, atol=max(1e-4, 4 * coarse * size))


def _head(net: Any) -> Any:
    if callable(getattr(net, "get_classifier", None)):
        return net.get_classifier()
    return next((m for m in reversed(list(net.modules())) if isinstance(m, nn.Linear)), None)
