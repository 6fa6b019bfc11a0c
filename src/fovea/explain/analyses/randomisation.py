"""Check that maps change when the weights of the net are re-initialised."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fovea.explain.analyses.base import Analysis, first_selected, write_table
from fovea.explain.core.method import Method
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import moments, to_uint8
from fovea.explain.core.targets import Target
from fovea.metrics.significance import t_interval
from fovea.page.blocks import Block, Picture, Table, Text
from fovea.page.formats import shorten
from fovea.page.heatmap import heat, scaled
from fovea.page.image_grid import Tile, grid
from fovea.page.label import drawable
from fovea.page.plots import SOFT, dress, legend_beside, new_figure, panel, save, style

ABOUT = (
    "The layers are re-initialised from the top down to the named one, and the maps are compared "
    "with those of the trained net: Spearman's rank correlation of absolute values, 1 for a map that is "
    "ranked alike. A map that tells what the net has learnt must change; one that does not change shows the "
    "image, like an edge detector."
)
LEGEND, LINE = 2.0, 0.19  # inches
COLUMNS = ("method", "layer", "images", "correlation", "low", "high")


def cascade(net: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Re-initialise the layers from the top down; yield each layer's path and a copy of the net then.

    Adebayo et al. (2018), https://arxiv.org/abs/1810.03292, section 3: cascading randomisation. Each tensor
    is drawn from the normal distribution with its own mean and standard deviation, so that signals neither
    die nor burst on their way through deep nets and the shape of a map is all that can change. It is one copy
    that keeps changing; `net` and the random state are left as they were.
    """
    net = copy.deepcopy(getattr(net, "_orig_mod", net))  # what torch.compile wraps
    generator = torch.Generator().manual_seed(seed)
    for path, module in reversed(list(net.named_modules())):
        own = list(module.parameters(recurse=False))
        with torch.no_grad():
            for parameter in own:
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(drawn * parameter.std(correction=0) + parameter.mean())
        if own:
            yield path, net


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation (B,) of two batches of maps (B, H, W); equal values share a rank.

    It is 0 where a map is constant.
    """
    from scipy.stats import rankdata

    ranks = (torch.from_numpy(rankdata(m.flatten(1).numpy(), axis=1)) for m in (first, second))  # (B, H W)
    a, b = (r - r.mean(1, keepdim=True) for r in ranks)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


@dataclass
class MapsUnderRandomisation:
    """The maps of one method as the layers are re-initialised.

    Attributes:
        before: batches of maps (B, H, W) of the trained net.
        correlation: rank correlations of the images, by layer from the top down.
        shown: maps (H, W) of one image: of the trained net, then by layer.
        problem: why the method has no maps of this net.
    """

    before: list[Tensor] = field(default_factory=list)
    correlation: dict[str, list[float]] = field(default_factory=dict)
    shown: list[Tensor] = field(default_factory=list)
    problem: str | None = None

    @property
    def means(self) -> list[float]:
        """Return the mean correlation of each layer."""
        return [float(np.mean(values)) for values in self.correlation.values()]


class RandomisationAnalysis(Analysis):
    """Follow the maps of the call's methods along the `cascade`.

    Args:
        limit: images at most.
        points: layers at which maps are made, evenly among all, the last always one of them.
        same: mean correlation over these layers from which a method counts as not changing.
        seed: of the weights.
    """

    title = "Randomised weights"

    def __init__(self, *, limit: int = 8, points: int = 6, same: float = 0.6, seed: int = 0) -> None:
        if limit < 1 or points < 1:
            raise ValueError(f"limit={limit}, points={points}: take one or more")
        self.limit, self.points, self.same, self.seed = limit, points, same, seed

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write randomisation.csv, curves.png and examples.png; return the table and both figures."""
        picture, found = self.measure(model)
        known = {name: maps for name, maps in found.items() if maps.problem is None}
        problems = [Text(f"{name}: {c.problem}", "note") for name, c in found.items() if c.problem]
        if not known:
            return problems
        rows = (
            dict(zip(COLUMNS, (name, layer, len(c), float(np.mean(c)), *t_interval(c)), strict=True))
            for name, maps in known.items()
            for layer, c in maps.correlation.items()
        )
        write_table(folder / "randomisation.csv", rows, columns=COLUMNS)
        lines = {name: maps.means for name, maps in known.items()}
        layers = list(next(iter(known.values())).correlation)
        shown = {name: maps.shown for name, maps in known.items()}
        return [
            Text(ABOUT, "note"),
            self._table(known, layers),
            Text(self._verdict(known)),
            Picture(curves(lines, layers, folder / "curves.png"), "rank correlation of maps by layer"),
            Picture(examples(picture, shown, layers, folder / "examples.png"), "maps along the cascade"),
            *problems,
        ]

    def measure(self, model: ExplainedModel) -> tuple[Tensor, dict[str, MapsUnderRandomisation]]:
        """Return the first image as a picture (C, H, W), and the maps of every method."""
        if not model.methods:
            raise ValueError("randomisation compares maps: name some, as in method=[saliency,randomisation]")
        batches = list(_selected(model, self.limit))
        if not batches:
            raise ValueError("randomisation: no image has a selected class; see target=")
        found = {name: MapsUnderRandomisation() for name in model.methods}
        for name, method in model.methods.items():
            try:
                found[name].before = [_maps(method, model.net, *batch) for batch in batches]
                found[name].shown = [found[name].before[0][0]]
            except ValueError as error:
                found[name].problem = str(error)
        working = [(model.methods[name], c) for name, c in found.items() if c.problem is None]
        for layer, net in self._nets(model.net) if working else ():
            for method, maps in working:
                after = [_maps(method, net, *batch) for batch in batches]
                pairs = zip(maps.before, after, strict=True)
                maps.correlation[layer] = [v for a, b in pairs for v in rank_correlation(a, b).tolist()]
                maps.shown.append(after[0][0])
        return model.pixels.decode(batches[0][0][0]).cpu().clamp(0, 1), found

    def _nets(self, net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Choose layers evenly; yield each with the net that is random down to it."""
        layers = sum(1 for m in net.modules() if any(True for _ in m.parameters(recurse=False)))
        chosen = set(moments(layers, self.points + 1)[1:])
        for i, (path, changed) in enumerate(cascade(net, seed=self.seed), start=1):
            if i in chosen:
                yield path, changed

    def _table(self, known: Mapping[str, MapsUnderRandomisation], layers: Sequence[str]) -> Table:
        ends = sorted(known, key=lambda name: float(np.mean(known[name].means)))
        rows = [
            [name, *(f"{v:.2f}" for v in known[name].means), "no" if self._stays(known[name]) else "yes"]
            for name in ends
        ]
        images = len(next(iter(known[ends[0]].correlation.values())))
        return Table(
            ["method", *(f"to {layer}" for layer in layers), "changes"],
            rows,
            caption=f"mean rank correlation with the maps of the trained net, {images} images",
            align="l" + "r" * len(layers) + "l",
        )

    def _stays(self, maps: MapsUnderRandomisation) -> bool:
        return float(np.mean(maps.means)) >= self.same

    def _verdict(self, known: Mapping[str, MapsUnderRandomisation]) -> str:
        stay = [name for name, maps in known.items() if self._stays(maps)]
        rule = f"(a mean correlation of {self.same:g} or more along the way)"
        if not stay:
            return f"The maps of every method change; none keeps its maps {rule}."
        return f"These change too little to depend on the trained weights {rule}: {', '.join(stay)}."


def _selected(model: ExplainedModel, limit: int) -> Iterator[tuple[Tensor, Target]]:
    """Yield the images with a selected class, and the target of the first class of each."""
    for batch in model.batches(limit):
        image = batch.image.to(model.device)
        rows, classes = first_selected(model, model.output(image), batch.label)
        if rows:
            yield image[rows], model.selector.target(classes)


def _maps(method: Method, net: nn.Module, image: Tensor, target: Target) -> Tensor:
    return method(net, image, target).float().abs().cpu()


def curves(lines: Mapping[str, Sequence[float]], layers: Sequence[str], path: Path) -> Path:
    """Write one line for each method: the mean correlation by layer, from 1 of the trained net."""
    tall = max(2.6, LINE * len(lines))
    figure = new_figure(width=6.2 + LEGEND, height=tall + 1.1)
    axes = panel(figure, left=0.55, bottom=0.75, width=5.4, height=tall)
    for i, (name, values) in enumerate(lines.items()):
        color, dashes = style(i)
        axes.plot(range(len(layers) + 1), [1.0, *values], color=color, ls=dashes, lw=1.6, label=name)
    axes.axhline(0, color="#b8bec4", lw=0.8)
    dress(axes, "rank correlation with the maps of the trained net", grid="y")
    names = ["trained", *(_name(layer) for layer in layers)]
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_xlabel("re-initialised from the top down to", fontsize=8, color=SOFT)
    axes.set_ylim(min(-0.25, axes.get_ylim()[0]), 1.05)
    legend_beside(axes)
    return save(figure, path)


def examples(
    picture: Tensor, maps: Mapping[str, Sequence[Tensor]], layers: Sequence[str], path: Path
) -> Path:
    """Write the maps of one picture (C, H, W), a row for each method, each map on a scale of its own."""
    heads = ["trained", *(_name(layer) for layer in layers)]
    image = Tile(picture=to_uint8(picture), lines=["image"])
    rows = [
        [image, *(Tile(picture=heat(scaled(one.numpy(), signed=False)), lines=[head])
                  for one, head in zip(shown, heads, strict=True))]
        for shown in maps.values()
    ]  # fmt: skip
    return grid(path, rows, titles=list(maps))


def _name(layer: str) -> str:
    return drawable(shorten(layer, width=18))
