"""Find the cause of each error of a detector, and what it costs: TIDE, Bolya et al. (2020).

https://arxiv.org/abs/2008.08115, sections 2.2 and 2.3; where the paper leaves an order open, that of the
authors' program: a detection near an object of its own class is a wrong location before all else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fovea.metrics.judged_boxes import Judged
from fovea.ops.box_pairs import Pairs, overlapping

BACKGROUND = 0.1  # overlap below which a detection has to do with no object
CAUSES = ("classification", "localisation", "both", "duplicate", "background")  # of wrong detections


@dataclass(frozen=True)
class Errors:
    """The errors of a detector, and the average precision without each kind.

    Attributes:
        ap: as it is, the mean over the classes that have objects; NaN without any.
        number: of the errors of each kind: those of CAUSES, "missed", "false positive", "false negative".
        without: the average precision where that kind alone is mended.
    """

    ap: float
    number: dict[str, int]
    without: dict[str, float]

    def cost(self, kind: str) -> float:
        """Return what the kind costs in average precision."""
        return self.without[kind] - self.ap


def box_errors(judged: Judged) -> Errors:
    """Give each wrong detection one cause, each missed object too, and mend one kind after the other.

    A wrong class or location is mended by making the most certain of those at an object right, unless another
    detection found it; all others are taken away. What is missed is taken from the objects to be found; a
    class of which nothing is left to find counts as 1.
    """
    near, target = _nearest(judged)
    cause = _causes(judged, near)
    missed, wrong = judged.missed, judged.wrong
    mended = {name: _mendable(judged, cause == k, target[k], missed) for k, name in enumerate(CAUSES[:2])}
    usable = np.zeros_like(missed)
    for k in range(2):
        usable[target[k][cause == k]] = True
    lost = missed & ~usable
    without = {name: _mended_ap(judged, cause == k, *mended[name]) for k, name in enumerate(CAUSES[:2])}
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    removed = {name: cause == k for k, name in enumerate(CAUSES) if k > 1} | {"false positive": wrong}
    without |= {name: _mended_ap(judged, gone, *nothing) for name, gone in removed.items()}
    none = np.zeros_like(wrong)
    for name, gone in (("missed", lost), ("false negative", missed)):
        without[name] = _mended_ap(judged, none, *nothing, gone=gone)
    number = {name: int((cause == k).sum()) for k, name in enumerate(CAUSES)}
    number |= {"missed": int(lost.sum()), "false positive": int(wrong.sum())}
    number["false negative"] = int(missed.sum())
    return Errors(_mended_ap(judged, none, *nothing), number, without)


def _nearest(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Return of each detection the largest overlap with objects of other classes and of its own, (2, D) each.

    Also which objects these are, -1 for none. Overlaps below BACKGROUND count as 0.
    """
    found, true = judged.found, judged.true
    pairs = overlapping(
        found.of_one_class(), true.of_one_class(), at_least=BACKGROUND, inclusive=judged.protocol.inclusive
    )
    pairs = Pairs(*(column[~true.ignore[pairs.truth]] for column in pairs))
    alike = found.label[pairs.detection] == true.label[pairs.truth]
    near = np.zeros((2, len(found.score)))
    target = np.full((2, len(found.score)), -1)
    for k, chosen in enumerate((~alike, alike)):
        detection, truth, overlap = (column[chosen] for column in pairs)
        order = np.lexsort((truth, -overlap, detection))
        first = order[np.unique(detection[order], return_index=True)[1]]
        near[k, detection[first]], target[k, detection[first]] = overlap[first], truth[first]
    return near, target


def _causes(judged: Judged, near: np.ndarray) -> np.ndarray:
    """Return the place in CAUSES of each wrong detection (D,), -1 for others."""
    other, own = near
    least = judged.overlap
    cause = np.select(
        [(own >= BACKGROUND) & (own < least), other >= least, own >= least, other >= BACKGROUND],
        [1, 0, 3, 2],
        default=4,
    )
    return np.where(judged.wrong, cause, -1)


def _mendable(
    judged: Judged, of_cause: np.ndarray, target: np.ndarray, missed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the detections that mending makes right, one for each missed object, and those objects."""
    which = np.flatnonzero(of_cause)
    which = which[missed[target[which]]]  # the most certain come first
    objects, first = np.unique(target[which], return_index=True)
    return which[first], objects


def _mended_ap(
    judged: Judged, removed: np.ndarray, made_right: np.ndarray, objects: np.ndarray,
    gone: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Return the average precision without some detections and objects, and with some made right."""
    right, label = judged.right.copy(), judged.found.label.copy()
    right[made_right], label[made_right] = True, judged.true.label[objects]
    stays = ~(removed | judged.ignored)
    stays[made_right] = True
    had = judged.objects
    left = had if gone is None else had - np.bincount(judged.true.label[gone], minlength=len(had))
    label, right = label[stays], right[stays]
    order = np.argsort(label, kind="stable")
    ends = np.cumsum(np.bincount(label, minlength=len(had)))
    parts = np.split(right[order], ends[:-1])
    values = [_ap(judged, parts[k], int(left[k])) for k in np.flatnonzero(had)]
    return float(np.mean(values)) if values else float("nan")


def _ap(judged: Judged, right: np.ndarray, objects: int) -> float:
    if not objects:
        return 1.0
    hits = right.cumsum()
    return judged.protocol.average(hits / objects, hits / np.arange(1, len(hits) + 1))
