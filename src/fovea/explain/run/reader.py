"""Show images to a model as that model sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fovea.data.images import to_channels
from fovea.data.preprocess import Preprocess
from fovea.explain.core.model import Views
from fovea.explain.open import Opened
from fovea.explain.run.images import Images
from fovea.types import Sample

log = logging.getLogger(__name__)


class Reader:
    """Turn samples into what one model sees; `label_of` tells the classes (B,) of masks (B, H, W)."""

    def __init__(
        self, images: Images, model: Opened, label_of: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.label_of = label_of
        self.images, self.preprocess = images, Preprocess(model.preprocessing)  # type: ignore[arg-type]
        number = {name: i for i, name in enumerate(model.classes)}
        self.label = [-1 if name is None else number.get(name, -1) for name in images.truth]
        self.numbers = np.array([number.get(name, -1) for name in images.names], dtype=np.int64)

    def load(self, rows: Sequence[int]) -> Views:
        """Read images; leave out those that cannot be read."""
        found: dict[int, Sample] = {}
        for row in rows:
            try:
                found[row] = self.images.sample(row)
            except (OSError, ValueError) as error:  # said once, when the maps are made
                log.debug("%s: %s", self.images.ids[row], error)
        return self.views(found)[0]

    def views(self, samples: Mapping[int, Sample]) -> tuple[Views, np.ndarray]:
        """Return the images as `Views`, and as pictures uint8 (B, H, W, 3)."""
        height, width = self.preprocess.size
        fitted = [self._fitted(sample) for sample in samples.values()]
        arrays = [sample["image"] for sample in fitted]
        stacked = np.stack(arrays) if arrays else np.zeros((0, height, width, 3), np.uint8)
        batch = torch.from_numpy(stacked).permute(0, 3, 1, 2)
        boxed, masked = (bool(fitted) and all(key in s for s in fitted) for key in ("boxes", "mask"))
        mask = torch.from_numpy(np.stack([s["mask"] for s in fitted])).long() if masked else None
        label = torch.tensor([self.label[row] for row in samples], dtype=torch.int64)
        if mask is not None and self.label_of is not None:
            label = self.label_of(mask)
        views = Views(
            image=self.preprocess.to_input(batch),
            rows=list(samples),
            label=label,
            boxes=[torch.from_numpy(s["boxes"]) for s in fitted] if boxed else None,
            box_labels=[torch.from_numpy(self.numbers[s["labels"]]) for s in fitted] if boxed else None,
            mask=mask,
        )
        return views, np.stack([to_channels(a, channels=3) for a in stacked]) if arrays else stacked

    def _fitted(self, sample: Sample) -> Sample:
        """Bring a sample to the model's size and channels, as in training without augmentation."""
        how = self.preprocess
        image = to_channels(sample["image"], channels=how.channels)
        fitted = how.fit({**sample, "image": image})
        return {**fitted, "image": np.ascontiguousarray(fitted["image"].reshape(*how.size, -1))}
