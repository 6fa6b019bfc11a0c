"""Choose how a split is served: from memory as whole tensors, from a store of samples, or from its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fovea.data.cache import Store, fits, size_of
from fovea.data.geometry import fit_sample
from fovea.data.loading import SampleBatches, TensorBatches, held, in_memory
from fovea.data.preprocess import Preprocess
from fovea.data.subset import View
from fovea.data.transforms import SampleTransform
from fovea.data.vocabulary import Vocabulary


def serve(
    view: View,
    *,
    fitting: Preprocess,
    training: bool,
    transform: SampleTransform | None,
    encode: Callable[..., Any] | None,
    cache: bool | str,
    skip: bool,
    seed: int,
) -> TensorBatches | SampleBatches:
    """Serve a split: decoded once where it fits into memory, and its results the same either way."""
    finish = partial(
        fit_sample,
        size=fitting.size,
        interpolation=fitting.interpolation,
        crop_pct=fitting.crop_pct,
        resize=fitting.resize,
    )
    common: dict[str, Any] = {"training": training, "encode": encode, "seed": seed}
    if transform is None and (tensors := held(view, size=fitting.size)):
        return TensorBatches(tensors, **common)
    need = size_of(view, finish=None if transform else finish)
    keep = fits(need, cache=cache) and not (training and view.endless)
    if keep and transform is None:
        return TensorBatches(*in_memory(view, finish=finish, skip=skip), **common)
    store = Store(view, finish=None, skip=skip) if keep and not view.holds_images else None
    return SampleBatches(view, finish=finish, transform=transform, store=store, skip=skip, **common)


def vocabulary_of(train: View) -> Vocabulary:
    """Take the words that the data set names, or those of the training captions."""
    known = getattr(train.dataset, "vocabulary", None)
    if known is not None:
        return Vocabulary(known)
    dataset: Any = train.dataset
    return Vocabulary.build(text for i in train.indices for text in dataset.sentences(int(i)))
