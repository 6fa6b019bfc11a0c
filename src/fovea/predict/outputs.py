"""Run a net over images, one after the other, or in batches where it sees them at its input size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch

from fovea.data.find_images import read_chunks
from fovea.data.images import to_channels
from fovea.data.preprocess import Preprocess
from fovea.ops.tta import average
from fovea.types import TaskView


class Running(NamedTuple):
    """A net on its device, and how it is run."""

    net: Callable[[torch.Tensor], torch.Tensor]
    context: AbstractContextManager[object]
    preprocess: Preprocess
    place: torch.device
    views: Sequence[str]  # of which the mean is taken; none: the image as it is
    batch_size: int


def outputs(
    run: Running, view: TaskView, *, numbers: Iterable[int], read_image: Callable[[int], np.ndarray]
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each image with its image and output, or with the error that reading it gave.

    The net sees batches of its input size; where the view infers at the images' own, one after the other.
    """
    whole = view.infer is not None
    fit = np.ascontiguousarray if whole else run.preprocess.to_array

    def read(number: int) -> dict[str, np.ndarray]:
        image = read_image(number)
        return {"image": image, "fitted": fit(to_channels(image, channels=run.preprocess.channels))}

    for chunk in read_chunks(numbers, read, size=1 if whole else run.batch_size):
        arrays = [x["fitted"] for _, x in chunk if not isinstance(x, Exception)]
        found: Iterator[np.ndarray] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(run.place)
            with torch.inference_mode(), run.context:
                if view.infer is not None:
                    answers = view.infer(run.net, batch, run.preprocess)
                else:
                    given = run.preprocess.to_input(batch)
                    answers = (average(run.net, given, run.views) if run.views else run.net(given)).float()
                found = iter(answers.cpu().numpy())
        for number, x in chunk:
            yield number, x if isinstance(x, Exception) else (x["image"], next(found))
