"""Run the net of a trained run over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fovea.config.values import count
from fovea.data.find_images import read_chunks
from fovea.engine.trained import Trained, device
from fovea.types import TaskView


def outputs(
    trained: Trained,
    view: TaskView,
    config: DictConfig,
    *,
    numbers: Iterable[int],
    read_image: Callable[[int], np.ndarray],
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each image with its image and output, or with the error that reading it gave.

    The net sees batches of its input size; where the view infers at the images' own, one after the other.
    """
    import torch

    from fovea.data.images import to_channels
    from fovea.data.preprocess import Preprocess
    from fovea.ops.tta import average

    preprocess, place = Preprocess(trained.preprocessing), device(str(config.accelerator))
    (net, context), views = trained.as_measured(place), trained.config.task.get("tta") or []
    size = count(config, "batch_size", trained.config.data.batch_size) if view.infer is None else 1
    fit = preprocess.to_array if view.infer is None else np.ascontiguousarray

    def read(number: int) -> dict[str, np.ndarray]:
        image = read_image(number)
        return {"image": image, "fitted": fit(to_channels(image, channels=preprocess.channels))}

    for chunk in read_chunks(numbers, read, size=size):
        arrays = [x["fitted"] for _, x in chunk if not isinstance(x, Exception)]
        found: Iterator[np.ndarray] = iter(())
        if arrays:
            batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(place)
            with torch.inference_mode(), context:
                if view.infer is not None:
                    answers = view.infer(net, batch, preprocess)
                else:
                    given = preprocess.to_input(batch)
                    answers = (average(net, given, views) if views else net(given)).float()
                found = iter(answers.cpu().numpy())
        for number, x in chunk:
            yield number, x if isinstance(x, Exception) else (x["image"], next(found))
