"""Bring data to what a run recorded of them: its classes by name, and which images train, validate and test.

A random split is drawn from the images that lie there. What a run trained on is therefore recorded by the
names of the images: later commands measure those that it never saw, whatever came or went since.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fovea.data.formats.coco_objects import category_ids
from fovea.data.formats.listing import split_named
from fovea.data.subset import Subset
from fovea.page.formats import counted

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Recorded:
    """What a checkpoint says of its data; `splits` is None where it does not say."""

    classes: Sequence[str]
    splits: Mapping[str, Sequence[str]] | None = (
        None  # names of images; unused: in no split; past: trained, and gone
    )

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> Recorded:
        """Read the record of a checkpoint."""
        splits = about.get("splits")
        if splits is not None:
            splits = {name: text.split("\0") if text else [] for name, text in splits.items()}
        return cls([str(name) for name in about["classes"]], splits)


@dataclass
class Differences:
    """How data differ from those of the run."""

    unknown: dict[str, int] = field(default_factory=dict)  # classes the run has not: images left out
    lacking: list[str] = field(default_factory=list)  # classes of the run without an image
    came: list[str] = field(default_factory=list)  # images that the run did not know
    went: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)  # of those that trained, into a split that is measured
    elsewhere: bool = False  # none of the images of the run
    recorded: bool = True  # that run is known: what trained a net of others is not

    def lines(self) -> list[str]:
        """Say in sentences what differs."""
        found = []
        if self.unknown:
            count = counted(sum(self.unknown.values()), "image")
            found.append(f"{count} left out, of classes that the run does not know: {_some(self.unknown)}")
        if self.lacking:
            found.append(f"there is no image of the run's classes: {_some(self.lacking)}")
        if self.elsewhere and self.recorded:
            found.append("none of these images is one of the run's own data")
        if self.came:
            found.append(f"{counted(len(self.came), 'image')} came since the training: {_some(self.came)}")
        if self.moved:
            count = counted(len(self.moved), "image")
            found.append(
                f"{count} that trained lie in another split now, and are left out: {_some(self.moved)}"
            )
        if self.went:
            found.append(f"{counted(len(self.went), 'image')} of the run are gone: {_some(self.went)}")
        return found

    def tell(self, name: str, *, training: bool) -> None:
        """Warn of what differs; ValueError where a training would go on with other classes."""
        if training and (self.unknown or self.lacking):
            raise ValueError(
                f"{name}: {'; '.join(self.lines())}. A run goes on with the classes that it began with: "
                f"bring them back, or start a new run"
            )
        for line in self.lines():
            log.warning("%s: %s", name, line)

    def facts(self) -> dict[str, Any]:
        """Return what differs as plain values."""
        return {
            "left_out": dict(self.unknown), "classes_lacking": list(self.lacking),
            "num_came": len(self.came), "num_went": len(self.went), "num_moved": len(self.moved),
            "of_the_run": not self.elsewhere,
        }  # fmt: skip


def record(splits: Mapping[str, Subset], *, before: Recorded | None = None) -> dict[str, str]:
    """Return the names of the images of each split, each joined by NUL, which no name holds.

    What trained `before` and is gone stays on record, so that it is never tested should it come back.
    """
    named = {name: splits[name].ids for name in SPLITS if name in splits}
    train = splits["train"]
    used = {name for ids in named.values() for name in ids}
    named["unused"] = [name for name in map(str, train.dataset.ids) if name not in used]
    if before is not None and before.splits is not None:
        trained = {image for name in ("train", "past") for image in before.splits.get(name, ())}
        past = sorted(trained - set(map(str, splits["train"].ids)))
        named |= {"past": past} if past else {}
    return {name: "\0".join(map(str, ids)) for name, ids in named.items()}


def match(
    splits: dict[str, Subset], recorded: Recorded, *, name: str, training: bool = False
) -> tuple[dict[str, Subset], Differences]:
    """Return the splits with the classes and the images of a run, and how the data differ from its own.

    Of other data that have no splits of their own all images are measured, unless a training goes on.
    """
    found = Differences()
    splits = _by_class(splits, recorded.classes, found, name=name)
    if recorded.splits is not None:
        splits = _by_name(splits, recorded.splits, found)
        if found.elsewhere and not training:
            train = splits["train"]
            whole = train.replaced(np.arange(len(train.dataset)))
            splits |= {
                k: whole for k in ("val", "test") if k in splits and splits[k].dataset is train.dataset
            }
    return splits, found


def _by_class(
    splits: dict[str, Subset], classes: Sequence[str], found: Differences, *, name: str
) -> dict[str, Subset]:
    """Number labels as the run did, and leave out images of classes that it does not know."""
    train = splits["train"]
    if list(train.classes) == list(classes) or not {"label", "labels", "mask"} & set(train.targets):
        return splits
    if train.labels is None or {"labels", "mask"} & set(train.targets):
        raise ValueError(
            f"{name} has the classes {', '.join(train.classes)}, the run {', '.join(classes)}: "
            f"give data with the classes of the run, in its order"
        )
    if not set(train.classes) & set(classes):
        raise ValueError(
            f"{name} has none of the run's classes: {_some(train.classes)} instead of {_some(classes)}. "
            f"Labels go by name: rename the class folders or labels, or give other data"
        )
    new = {split: subset.as_classes(classes) for split, subset in splits.items()}
    for subset in splits.values():
        counts = np.bincount(subset.labels, minlength=len(subset.classes))  # type: ignore[arg-type]
        for label, count in zip(subset.classes, counts.tolist(), strict=True):
            if label not in classes and count:
                found.unknown[label] = found.unknown.get(label, 0) + count
    seen = np.concatenate([s.labels for s in new.values() if s.labels is not None])
    found.lacking = [label for number, label in enumerate(classes) if number not in set(seen.tolist())]
    return new


def _by_name(
    splits: dict[str, Subset], recorded: Mapping[str, Sequence[str]], found: Differences
) -> dict[str, Subset]:
    """Choose the images of each split as the run did; official splits keep new images, never trained ones."""
    if all(list(map(str, splits[k].ids)) == list(recorded.get(k, ())) for k in SPLITS if k in splits):
        return splits
    recorded = {name: list(map(_usual, ids)) for name, ids in recorded.items()}
    train = splits["train"]
    base = {_usual(image): place for place, image in enumerate(train.dataset.ids)}
    ids = {name: list(map(_usual, subset.ids)) for name, subset in splits.items()}
    drawn = [name for name, subset in splits.items() if subset.dataset is train.dataset]
    usable = {image for name in drawn for image in ids[name]} | (set() if found.unknown else set(base))
    here = usable.union(*ids.values())
    known = {image for images in recorded.values() for image in images}
    if not here & known:
        found.elsewhere, found.recorded = True, bool(known)
        return splits
    found.came = sorted(here - known)
    found.went = sorted({image for name in SPLITS for image in recorded.get(name, ())} - here - set(base))
    trained = {image for name in ("train", "past") for image in recorded.get(name, ())}
    left = {_within(image) for image in trained - here}
    found.moved = [i for n in ids if n not in drawn for i in ids[n] if i not in known and _within(i) in left]
    barred = trained | set(found.moved)
    out = {}
    for name, subset in splits.items():
        if name in drawn:
            places = [base[image] for image in recorded.get(name, ()) if image in base]
            out[name] = subset.replaced(np.array(places, dtype=np.int64))
        else:
            out[name] = subset.take(np.flatnonzero([image not in barred for image in ids[name]]))
    return out


def _usual(name: object) -> str:
    """Return an image's name with the usual name of its split's folder: train/a.jpg for Training/a.jpg."""
    folder, _, rest = str(name).partition("/")
    split = split_named(folder) if rest else None
    return str(name) if split is None else f"{split}/{rest}"


def _within(name: str) -> str:
    """Return the usual name of an image without its split's folder."""
    folder, _, rest = name.partition("/")
    return rest if rest and folder in SPLITS else name


def _some(names: Any) -> str:
    listed = list(names)
    return ", ".join(map(str, listed[:SHOWN])) + (f", … ({len(listed)})" if len(listed) > SHOWN else "")


def recorded_ids(dataset: Any, classes: Sequence[str]) -> dict[str, list[int]]:
    """Return the ids that the JSON files of a data set give its classes, where it has such files."""
    ids = getattr(dataset, "category_ids", None)
    known = {} if ids is None else dict(zip(dataset.classes, ids.tolist(), strict=True))
    return {} if ids is None else {"category_ids": category_ids(classes, known)}
