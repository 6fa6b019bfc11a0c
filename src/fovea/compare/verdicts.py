"""Compare on the same test images: refuse different ones, test the differences of all others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fovea.compare.settings import comparable, drop_seed_copies, seed_of
from fovea.compare.types import ModelGroup, PairedTest, PerImageScores
from fovea.metrics.ap_bootstrap import interval as resampled_interval
from fovea.metrics.significance import (
    holm,
    mcnemar,
    of_draws,
    over_images_and_seeds,
    paired_bootstrap,
    t_interval,
    wilson,
)
from fovea.page.formats import counted
from fovea.runs.read import Run
from fovea.types import Resampled

DRAWS = 10_000  # of the bootstrap
SHARES = (  # metrics that lie in 0…1
    "acc", "top5", "f1", "ece", "iou", "dice", "pixel_acc", "boundary_f1", "jaccard_65", "classifier_acc",
    "localized", "ap", "ap50", "ar", "image_f1",
)  # fmt: skip
PROTOCOL = "metrics.protocol"  # of the average precision
CUT = ", cut to 0…1"  # said of an interval of a share that would leave what a share can be


def identity(run: Run, scores: PerImageScores | None) -> dict[str, Any]:
    """Return what identifies a test set; what a run does not tell is left out."""
    data = run.section("data")
    found = {"data set": data.get("name"), "source": data.get("source"), "test images": data.get("num_test")}
    found |= {"classes": run.classes or None, PROTOCOL: (run.config.get("metrics") or {}).get("protocol")}
    if scores is not None:
        names, targets = scores.digests
        found |= {"test images": len(scores.ids), "names of the images": names, "ground truth": targets}
    return {key: value for key, value in found.items() if value is not None}


def different_tests(runs: Sequence[Run], scores: Sequence[PerImageScores | None]) -> str | None:
    """Name the first two runs whose test sets differ, and how; None where all agree."""
    known: dict[str, tuple[Run, Any]] = {}
    for run, one in zip(runs, scores, strict=True):
        for key, value in identity(run, one).items():
            other, before = known.setdefault(key, (run, value))
            if before != value:
                how = "differ" if key in ("names of the images", "ground truth") else _both(before, value)
                unlike = "not measured alike" if key == PROTOCOL else "not tested on the same images"
                return f"{other.dir} and {run.dir} were {unlike}: {key}: {how}"
    return None


def _both(before: Any, value: Any) -> str:
    """Write two values side by side, of two lists their lengths or the first entries that differ."""
    if not isinstance(value, list):
        return f"{before} / {value}"
    if len(before) != len(value):
        return f"{len(before)} / {len(value)}"
    at = next(i for i, pair in enumerate(zip(before, value, strict=True)) if pair[0] != pair[1])
    return f"number {at} is {before[at]!r} / {value[at]!r}"


def odd_ones(runs: Sequence[Run], scores: Sequence[PerImageScores | None]) -> list[Run]:
    """Return the runs that were not tested on the images of most; none where there is no such majority."""
    known = [identity(run, one) for run, one in zip(runs, scores, strict=True)]
    usual = Counter(map(comparable, known)).most_common(1)[0][0]
    most = next(one for one in known if comparable(one) == usual)
    odd = [
        run for run, one in zip(runs, known, strict=True) if any(one[k] != most[k] for k in one.keys() & most)
    ]
    return odd if 2 * len(odd) < len(runs) else []


def interval(group: ModelGroup, metric: str, *, paired: bool) -> tuple[float, float, str]:
    """Return a 95 % interval and what it covers: the seeds where there are several, else the test images.

    Student's interval of a share, symmetric about the mean, is cut to 0…1, and the text says so.
    """
    values = group.values(metric)
    if len(values) > 1:
        low, high = t_interval(values)
        if metric.rsplit("/", 1)[-1] in SHARES and (low < 0 or high > 1):
            return max(low, 0.0), min(high, 1.0), _varied([group]) + CUT
        return low, high, _varied([group])
    if paired and len(values) == 1 and len(group.scores) == 1:
        scores, whole = group.scores[0].values, group.scores[0].whole
        if whole is not None:
            return (*resampled_interval(whole.draws, whole.value), "images")
        if _is_binary(scores):
            return (*wilson(int(scores.sum()), len(scores)), "images")
        return (*t_interval(scores), "images")
    return math.nan, math.nan, ""


def _varied(groups: Sequence[ModelGroup]) -> str:
    """Say what differs between the runs of each group: their seeds alone, or more, as `group_by` may join."""
    for group in groups:
        seeds = [comparable(seed_of(run)) for run in group.runs]
        alike = len({comparable(one) for one in drop_seed_copies(group.runs)}) == 1
        if not alike or len(set(seeds)) < len(seeds):
            return "runs"
    return "seeds"


def _is_binary(scores: np.ndarray) -> bool:
    """Whether every image is either right or wrong."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def paired_tests(groups: Sequence[ModelGroup], base: ModelGroup) -> list[PairedTest]:
    """Test every group that has predictions against the baseline, with Holm's correction."""
    if not base.scores:
        return []
    found = [_paired_test(group, base) for group in groups if group is not base and group.scores]
    adjusted = holm([one.p for one in found])
    return [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def _over_seeds(group: ModelGroup, base: ModelGroup, means: tuple[np.ndarray, np.ndarray],
                of_images: float, images: int) -> PairedTest:  # fmt: skip
    """Test the difference of figures (seeds,) that has variance `of_images` over images."""
    seeds = [[seed_of(run) for run in g.runs] for g in (group, base) if len(g.runs) == len(g.scores)]
    varied = _varied([group, base])
    same = varied == "seeds" and len(seeds) == 2 and seeds[0] == seeds[1]
    low, high, p = over_images_and_seeds(*means, of_images, images=images, same_seeds=same)
    return PairedTest(
        group.name, float(means[0].mean() - means[1].mean()), low, high, p,
        f"t over images{f' and {varied}, paired' if same else f', paired, and {varied}'}",
        detail=_means_over(*means), covers=f"images and {varied}",
    )  # fmt: skip


def _means_over(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"means over {counted(len(ours), 'run')} and {counted(len(theirs), 'run')}"


def _paired_test(group: ModelGroup, base: ModelGroup) -> PairedTest:
    wholes = [[scores.whole for scores in g.scores if scores.whole is not None] for g in (group, base)]
    if all(wholes):
        return _of_wholes(group, base, *wholes)
    ours, theirs = (np.array([scores.values for scores in g.scores]) for g in (group, base))
    gaps = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    if len(ours) > 1 and len(theirs) > 1:
        of_images = float(gaps.var(ddof=1)) / len(gaps) if len(gaps) > 1 else 0.0
        return _over_seeds(group, base, (ours.mean(axis=1), theirs.mean(axis=1)), of_images, len(gaps))
    low, high, p = paired_bootstrap(gaps, draws=DRAWS)
    result = PairedTest(
        group.name, float(gaps.mean()), low, high, p, "paired bootstrap", detail=_means_over(ours, theirs),
        draws=DRAWS, bound=p <= 2 / (DRAWS + 1),
    )  # fmt: skip
    if len(ours) > 1 or len(theirs) > 1 or not _is_binary(np.concatenate([*ours, *theirs])):
        return result
    won, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
    detail = f"{won} won, {lost} lost"
    return replace(result, p=mcnemar(won, lost), method="McNemar, exact", detail=detail, bound=False)


def _of_wholes(
    group: ModelGroup, base: ModelGroup, ours: Sequence[Resampled], theirs: Sequence[Resampled]
) -> PairedTest:
    """Test the difference of a metric of all images together by the same resamples of them for both."""
    means = np.array([one.value for one in ours]), np.array([one.value for one in theirs])
    draws = np.mean([one.draws for one in ours], axis=0) - np.mean([one.draws for one in theirs], axis=0)
    images = len(group.scores[0].values)
    if np.isnan(draws).all():  # nothing is to be found
        return PairedTest(group.name, 0.0, math.nan, math.nan, 1.0, "paired bootstrap", draws=len(draws))
    if len(ours) > 1 and len(theirs) > 1:
        return _over_seeds(group, base, means, float(np.nanvar(draws, ddof=1)), images)
    low, high, p = of_draws(draws, signs=images, tolerance=1e-6)
    return PairedTest(
        group.name, float(means[0].mean() - means[1].mean()), low, high, p, "paired bootstrap",
        detail=_means_over(*means), draws=len(draws), bound=p <= 2 / (len(draws) + 1),
    )  # fmt: skip
